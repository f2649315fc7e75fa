//! A schedule again, step by step.

use crate::registry;
use crate::schedule::Printable;
use freebsd_sys::cpu::MAXCPU;
use freebsd_sys::host::explore::{self, Execution, Step};
use freebsd_sys::host::schedule::replay::Replay;
use freebsd_sys::machine::{Engine, Machine};
use serde::Serialize;
use std::fmt::Write as _;

/// A replayed schedule.
#[derive(Debug)]
pub struct Replayed<'a> {
    schedule: &'a Printable,
    execution: Execution,
    /// How many of how many more replays ended alike.
    again: Option<(u64, u64)>,
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
}

#[derive(Serialize)]
struct JsonStep<'a> {
    step: usize,
    cpu: usize,
    thread: &'a str,
    what: &'a str,
    changes: &'a [String],
}

#[derive(Serialize)]
struct JsonAgain {
    same: u64,
    of: u64,
}

/// Replays `schedule` once, and then `times` more if asked to. An error if it does not fit what it is of.
pub fn replay(schedule: &Printable, times: Option<u64>) -> Result<Replayed<'_>, String> {
    let (_, cell) = registry::cell(&schedule.scenario, &schedule.mapping)?;
    let units = (cell.units)();
    let machine = Machine::new(schedule.config.clone(), Engine::Explore);
    let once = |trace| {
        let mut replay = Replay::new(schedule.events.clone());
        let options = explore::Options { trace, index: 0, units: &units };
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
        let same = (0..times).filter(|_| once(false).is_ok_and(|other| other.verdict == execution.verdict)).count();
        (same as u64, times)
    });
    Ok(Replayed { schedule, execution, again })
}

impl Replayed<'_> {
    /// Whether all replays ended alike.
    pub fn agrees(&self) -> bool {
        self.again.is_none_or(|(same, of)| same == of)
    }

    /// One line for each step, and how it ended.
    pub fn text(&self) -> String {
        const _: () = assert!(MAXCPU <= 1000, "three columns hold a CPU");
        let Printable { scenario, mapping, config, .. } = self.schedule;
        let mut out = String::new();
        let cpus = if config.cpus == 1 { "CPU" } else { "CPUs" };
        let _ =
            writeln!(out, "{scenario} on {mapping}, {} {cpus}, preemption {}\n", config.cpus, config.preemption.name());
        let steps = &self.execution.trace;
        let widest = |of: fn(&Step) -> usize, least: usize| steps.iter().map(of).max().unwrap_or(0).clamp(least, 48);
        let (thread, what) = (widest(|step| step.thread.len(), 6), widest(|step| step.what.len(), 4));
        if !steps.is_empty() {
            let _ = writeln!(out, "step cpu {:thread$} {:what$} changed", "thread", "what");
        }
        for (at, step) in steps.iter().enumerate() {
            let changes = step.changes.join(", ");
            let line = format!("{:4} {:3} {:thread$} {:what$} {changes}", at + 1, step.cpu, step.thread, step.what);
            let _ = writeln!(out, "{}", line.trim_end());
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
            let _ = writeln!(out, "{same} of {of} more replays gave the same verdict and message");
        }
        out
    }

    /// The same as JSON.
    pub fn json(&self) -> String {
        let Self { schedule, execution, again } = self;
        let steps = execution.trace.iter().enumerate().map(|(at, step)| JsonStep {
            step: at + 1,
            cpu: step.cpu,
            thread: &step.thread,
            what: &step.what,
            changes: &step.changes,
        });
        let json = JsonReplay {
            scenario: &schedule.scenario,
            mapping: &schedule.mapping,
            cpus: schedule.config.cpus,
            verdict: execution.verdict.name(),
            message: execution.verdict.message(),
            steps: steps.collect(),
            locks: &execution.locks,
            console: &execution.console,
            schedule: schedule.to_string(),
            again: again.map(|(same, of)| JsonAgain { same, of }),
        };
        let mut text = serde_json::to_string_pretty(&json).unwrap_or_default();
        text.push('\n');
        text
    }
}
