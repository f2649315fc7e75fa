//! A schedule again, step by step.
//!
//! The text is for reading: what thread0 does until the threads of the scenario have begun is one line, a thread's coming back on
//! a CPU and another turn of a spin loop are left out unless something changed, and equal steps that follow each other share
//! a line. JSON has every step.

use crate::registry;
use crate::schedule::Printable;
use freebsd_sys::cpu::MAXCPU;
use freebsd_sys::host::explore::{self, Execution, Kind, Step};
use freebsd_sys::host::schedule::replay::Replay;
use freebsd_sys::host::workers;
use freebsd_sys::machine::{Engine, Granularity, Machine};
use serde::Serialize;
use std::fmt::Write as _;

/// A replayed schedule.
#[derive(Debug)]
pub struct Replayed<'a> {
    schedule: &'a Printable,
    execution: Execution,
    /// How many of how many more replays ended alike.
    again: Option<(u64, u64)>,
    /// Ctrl-C came before as many as were asked for.
    interrupted: bool,
}

#[derive(Serialize)]
struct JsonReplay<'a> {
    scenario: &'a str,
    mapping: &'a str,
    cpus: usize,
    verdict: &'a str,
    message: &'a str,
    steps: Vec<JsonStep<'a>>,
    locks: &'a [String],
    console: &'a [String],
    schedule: String,
    again: Option<JsonAgain>,
    interrupted: bool,
}

/// A step in JSON.
#[derive(Debug, Serialize)]
pub struct JsonStep<'a> {
    step: usize,
    cpu: usize,
    thread: &'a str,
    what: &'a str,
    at: Option<&'a str>,
    changes: &'a [String],
}

#[derive(Serialize)]
struct JsonAgain {
    same: u64,
    of: u64,
}

/// Replays `schedule` once, and then `times` more if asked to, or until Ctrl-C. An error if it does not fit what it is of.
pub fn replay(schedule: &Printable, times: Option<u64>) -> Result<Replayed<'_>, String> {
    let (_, cell) = registry::cell(&schedule.scenario, &schedule.mapping)?;
    let units = (cell.units)();
    let machine = Machine::new(schedule.config.clone(), Engine::Explore);
    let once = |trace| {
        let mut replay = Replay::new(schedule.events.clone());
        let options = explore::Options { trace, index: 0, units: &units, ..explore::Options::default() };
        let execution = explore::run(&machine, &mut replay, options, &|| (cell.run)());
        match (&execution.diverged, replay.left()) {
            (Some(diverged), _) => Err(format!("{diverged} (of {} events)", schedule.events.len())),
            (None, 0) => Ok(execution),
            (None, left) => Err(format!(
                "diverged at step {}: expected {}, but it has ended with {}",
                schedule.events.len() - left,
                schedule.events[schedule.events.len() - left],
                execution.verdict
            )),
        }
    };
    let execution = once(true)
        .map_err(|error| format!("the schedule does not fit {} on {}: {error}", schedule.scenario, schedule.mapping))?;
    let again = times.map(|times| {
        let (mut same, mut done) = (0, 0);
        while done < times && !workers::interrupted() {
            same += u64::from(once(false).is_ok_and(|other| other.verdict == execution.verdict));
            done += 1;
        }
        (same, done)
    });
    let interrupted = again.map(|(_, done)| done) < times;
    Ok(Replayed { schedule, execution, again, interrupted })
}

impl Replayed<'_> {
    /// Whether all replays ended alike.
    pub fn agrees(&self) -> bool {
        self.again.is_none_or(|(same, of)| same == of)
    }

    /// Whether Ctrl-C ended it early.
    pub fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// What was replayed.
    pub fn schedule(&self) -> &Printable {
        self.schedule
    }

    /// The first replay, traced.
    pub fn execution(&self) -> &Execution {
        &self.execution
    }

    /// How many of how many more replays ended alike, if any were asked for.
    pub fn again(&self) -> Option<(u64, u64)> {
        self.again
    }

    /// One line for each step that says something, and how it ended.
    pub fn text(&self) -> String {
        const _: () = assert!(MAXCPU <= 1000, "three columns hold a CPU");
        let Printable { scenario, mapping, config, .. } = self.schedule;
        let mut out = String::new();
        let cpus = if config.cpus == 1 { "CPU" } else { "CPUs" };
        let preemption = config.preemption.name();
        let insn = if config.granularity == Granularity::Insn { ", each atomic operation a transition" } else { "" };
        let _ = writeln!(out, "{scenario} on {mapping}, {} {cpus}, preemption {preemption}{insn}\n", config.cpus);
        let lines = lines(&self.execution.trace);
        let widest = |of: fn(&Line<'_>) -> usize, least| lines.iter().map(of).max().unwrap_or(0).clamp(least, 48);
        let (thread, what) = (widest(|line| line.step.thread.len(), 6), widest(|line| line.what().len(), 4));
        let at = widest(|line| line.at().len(), 2);
        if !lines.is_empty() {
            let _ = writeln!(out, "step cpu {:thread$} {:what$} {:at$} what changed", "thread", "what", "at");
        }
        for line in &lines {
            let Step { cpu, thread: name, .. } = line.step;
            let (number, did, place, changes) = (line.number, line.what(), line.at(), line.changes());
            let text = format!("{number:4} {cpu:3} {name:thread$} {did:what$} {place:at$} {changes}");
            let _ = writeln!(out, "{}", text.trim_end());
        }
        for (title, lines) in [("locks held", &self.execution.locks), ("console", &self.execution.console)] {
            if !lines.is_empty() {
                let _ = writeln!(out, "\n{title}:");
                for line in lines {
                    let _ = writeln!(out, "  {line}");
                }
            }
        }
        let _ = writeln!(out, "\n{}", self.execution.verdict);
        if let Some((same, of)) = self.again {
            let cut = if self.interrupted { "interrupted: " } else { "" };
            let _ = writeln!(out, "{cut}{same} of {of} more replays gave the same verdict and message");
        }
        out
    }

    /// Every step, as JSON has it.
    pub fn json_steps(&self) -> Vec<JsonStep<'_>> {
        let steps = self.execution.trace.iter().enumerate().map(|(at, step)| JsonStep {
            step: at + 1,
            cpu: step.cpu,
            thread: &step.thread,
            what: &step.what,
            at: step.at.as_deref(),
            changes: &step.changes,
        });
        steps.collect()
    }

    /// The same as JSON.
    pub fn json(&self) -> String {
        let Self { schedule, execution, again, interrupted } = self;
        let json = JsonReplay {
            scenario: &schedule.scenario,
            mapping: &schedule.mapping,
            cpus: schedule.config.cpus,
            verdict: execution.verdict.name(),
            message: execution.verdict.message(),
            steps: self.json_steps(),
            locks: &execution.locks,
            console: &execution.console,
            schedule: schedule.to_string(),
            again: again.map(|(same, of)| JsonAgain { same, of }),
            interrupted: *interrupted,
        };
        let mut text = serde_json::to_string_pretty(&json).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// One line of the text.
#[derive(Debug)]
pub struct Line<'a> {
    /// Number of its first step; they count from 1.
    pub number: usize,
    /// That step.
    pub step: &'a Step,
    /// Its last one.
    pub last: &'a Step,
    /// How many steps it stands for, which are equal but for their source lines.
    pub times: usize,
    /// If it stands for all of thread0's preparations, what came of them.
    pub set_up: Option<Vec<String>>,
}

impl Line<'_> {
    /// What was done.
    pub fn what(&self) -> String {
        match (&self.set_up, self.times) {
            (Some(_), _) => "sets up".to_owned(),
            (None, 1) => self.step.what.clone(),
            (None, times) => format!("{} x{times}", self.step.what),
        }
    }

    /// The source line, or the first and the last, without folder.
    pub fn at(&self) -> String {
        let of = |step: &'_ Step| step.at.clone().filter(|_| self.set_up.is_none()).unwrap_or_default();
        let (first, last) = (of(self.step), of(self.last));
        let brief = first.rsplit('/').next().unwrap_or(&first);
        match (first == last, last.rsplit_once(':')) {
            (false, Some((file, number))) if first.starts_with(file) => format!("{brief}..{number}"),
            (false, _) => format!("{brief}.."),
            (true, _) => brief.to_owned(),
        }
    }

    /// What changed; the step's own thread need not be named again.
    pub fn changes(&self) -> String {
        let own = |change: &str| change.strip_prefix(&self.step.thread).is_some_and(|rest| rest.starts_with(' '));
        let brief = |change: &'_ String| match own(change) {
            true => change[self.step.thread.len() + 1..].to_owned(),
            false => change.clone(),
        };
        self.set_up.as_ref().unwrap_or(&self.step.changes).iter().map(brief).collect::<Vec<_>>().join("; ")
    }
}

/// The lines that the steps come to.
pub fn lines(steps: &[Step]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let own = |step: &&Step| step.thread == "thread0" && matches!(step.kind, Kind::Primitive | Kind::Resume);
    let mut set_up = steps.iter().take_while(own).count();
    if set_up == steps.len() {
        // It did not come so far that anything else happened: every step may be the one that matters.
        set_up = 0;
    }
    if let Some(step) = set_up.checked_sub(1).map(|last| &steps[last]) {
        // Threads that start; the words of locks that it takes and releases meanwhile say nothing.
        let says = |change: &&String| !change.contains('=');
        let changes = steps[..set_up].iter().flat_map(|step| &step.changes).filter(says).cloned().collect();
        lines.push(Line { number: 1, step, last: step, times: 1, set_up: Some(changes) });
    }
    for (at, step) in steps.iter().enumerate().skip(set_up) {
        let quiet = step.changes.is_empty();
        if quiet && matches!(step.kind, Kind::Resume | Kind::Again) {
            continue;
        }
        match lines.last_mut() {
            Some(line) if quiet && same(line.step, step) => {
                line.times += 1;
                line.last = step;
            }
            _ => lines.push(Line { number: at + 1, step, last: step, times: 1, set_up: None }),
        }
    }
    lines
}

/// Whether they are equal but for their source lines.
fn same(one: &Step, other: &Step) -> bool {
    let seen = |step: &Step| (step.cpu, step.kind);
    seen(one) == seen(other)
        && one.thread == other.thread
        && one.what == other.what
        && one.changes == other.changes
        && one.after == other.after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(what: &str, changes: &[&str]) -> Step {
        let changes = changes.iter().map(|&change| change.to_owned()).collect();
        let kind = match what {
            "resume" => Kind::Resume,
            _ if what.ends_with(" again") => Kind::Again,
            _ => Kind::Primitive,
        };
        Step { thread: "T".to_owned(), what: what.to_owned(), changes, kind, ..Step::default() }
    }

    #[test]
    fn what_thread0_prepares_is_one_line() {
        let by_thread0 = |what: &str, changes: &[&str]| Step { thread: "thread0".to_owned(), ..step(what, changes) };
        let mut steps = vec![
            by_thread0("mtx_init(a#0)", &[]),
            by_thread0("mtx_lock(a#0)", &["a#0=thread0", "starts T on cpu1"]),
            by_thread0("_sleep", &["thread0 sleeps on \"x\""]),
            step("compute", &[]),
            by_thread0("mtx_lock(a#0)", &[]),
        ];
        let text = |steps: &[Step]| -> Vec<_> {
            lines(steps).iter().map(|line| (line.number, line.what(), line.changes())).collect()
        };
        let expected =
            [(1, "sets up", "starts T on cpu1; sleeps on \"x\""), (4, "compute", ""), (5, "mtx_lock(a#0)", "")];
        assert_eq!(text(&steps), expected.map(|(number, what, changes)| (number, what.to_owned(), changes.to_owned())));
        // A run that ends in them shows them.
        steps.truncate(3);
        assert_eq!(text(&steps).len(), 3);
    }

    #[test]
    fn steps_that_say_nothing_are_folded_and_others_are_not() {
        let steps = [
            step("resume", &[]),
            step("compute", &[]),
            step("compute", &[]),
            step("resume", &["U wakes"]),
            step("compute", &["T critnest=1", "Two critnest=2"]),
            step("compute", &["T critnest=1", "Two critnest=2"]),
            step("mtx_lock(a#0) again", &[]),
            step("mtx_lock(a#0) again", &["a#0=T"]),
        ];
        let lines = lines(&steps);
        let text: Vec<_> = lines.iter().map(|line| (line.number, line.what(), line.changes())).collect();
        let expected = [
            (2, "compute x2", ""),
            (4, "resume", "U wakes"),
            (5, "compute", "critnest=1; Two critnest=2"),
            (6, "compute", "critnest=1; Two critnest=2"),
            (8, "mtx_lock(a#0) again", "a#0=T"),
        ];
        assert_eq!(text, expected.map(|(number, what, changes)| (number, what.to_owned(), changes.to_owned())));
    }

    #[test]
    fn folded_steps_name_their_first_and_last_source_line() {
        let of = |what: &str, at: &str| Step { at: Some(at.to_owned()), ..step(what, &[]) };
        let steps = [
            of("read", "x/d.c:59"),
            of("read", "x/d.c:9"),
            of("write", "x/d.c:10"),
            of("write", "x/d.c:10"),
            of("read", "x/d.c:11"),
            of("read", "x/e.rs:1"),
        ];
        let text: Vec<_> = lines(&steps).iter().map(|line| (line.what(), line.at())).collect();
        let expected = [("read x2", "d.c:59..9"), ("write x2", "d.c:10"), ("read x2", "d.c:11..")];
        assert_eq!(text, expected.map(|(what, at)| (what.to_owned(), at.to_owned())));
    }
}
