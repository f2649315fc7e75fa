//! A schedule as a picture: time goes down, a lane for each CPU, a column for each lock.
//!
//! A block is a thread on a CPU, stripes in it are a critical section, a bar is a lock that somebody holds, pale where its owner
//! has no CPU. Everything is read from the typed side of the trace ([`After`]), not from its texts. Read holds of rmlocks are not in it:
//! nothing in such a lock says who reads.

use crate::replay::Line;
use freebsd_sys::host::explore::{After, Doing, Kind, ThreadAfter};
use freebsd_sys::machine::Verdict;
use maud::{Markup, html};

/// Height of a row; the list beside the picture has the same.
const ROW: usize = 54;
/// Height of the head.
const HEAD: usize = 40;
/// Where the first lane begins.
const LEFT: usize = 44;
const LANE: usize = 232;
const LOCK: usize = 132;
const BAR: usize = 20;
const GAP: usize = 12;
/// Letters that fit into a lane.
const LETTERS: usize = 27;
/// Colours of threads that the style has.
const COLOURS: usize = 8;

/// What is drawn.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    cpus: usize,
    rows: Vec<Row>,
    /// Threads in the order of their appearance: their colours.
    threads: Vec<String>,
    /// Locks that are held or waited for, in order.
    locks: Vec<String>,
    blocks: Vec<Span>,
    sections: Vec<Span>,
    holds: Vec<Hold>,
    waits: Vec<Wait>,
    /// CPUs whose thread waits for a lock, or spins, at the end.
    stuck: Vec<usize>,
}

/// A step.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    number: usize,
    cpu: usize,
    what: String,
    kind: Kind,
}

/// A thread on a CPU, or in a critical section there, from one row to another, both included.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    cpu: usize,
    thread: String,
    from: usize,
    to: usize,
}

/// A lock held from the middle of one row to the middle of another, or to the end.
#[derive(Debug, PartialEq, Eq)]
struct Hold {
    lock: usize,
    holder: String,
    from: usize,
    to: Option<usize>,
    /// Rows after which the holder has no CPU.
    off_cpu: Vec<usize>,
}

/// A thread begins to wait for a lock.
#[derive(Debug, PartialEq, Eq)]
struct Wait {
    row: usize,
    cpu: usize,
    thread: String,
    lock: usize,
    blocks: bool,
}

fn position(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

/// The lock that a thread waits for, and whether it blocks.
fn waits_for(thread: &ThreadAfter) -> Option<(&str, bool)> {
    match &thread.doing {
        Doing::Blocks(lock) => Some((lock, true)),
        Doing::Spins(Some(lock)) => Some((lock, false)),
        _ => None,
    }
}

impl Picture {
    /// The picture of what a replay shows on `cpus` CPUs, which it leaves as `end` says.
    pub(super) fn new(cpus: usize, lines: &[Line<'_>], end: &After) -> Self {
        let mut picture = Self { cpus, ..Self::default() };
        let nothing = After::default();
        for (row, line) in lines.iter().enumerate() {
            let (step, before) = (line.step, row.checked_sub(1).map_or(&nothing, |last| &lines[last].step.after));
            picture.rows.push(Row { number: line.number, cpu: step.cpu, what: line.what(), kind: step.kind });
            let on_cpu = |cpu: usize| step.after.cpus.get(cpu).copied().flatten().map(|at| &step.after.threads[at]);
            for cpu in 0..cpus {
                // Where the step was made its own thread is shown, whoever came after it.
                let thread =
                    if cpu == step.cpu { Some(step.thread.as_str()) } else { on_cpu(cpu).map(|td| td.name.as_str()) };
                let Some(thread) = thread.filter(|name| !name.starts_with("idle: ")) else { continue };
                position(&mut picture.threads, thread);
                extend(&mut picture.blocks, cpu, thread, row);
                let critical = step.after.threads.iter().any(|td| td.name == thread && td.critnest > 0);
                if critical {
                    extend(&mut picture.sections, cpu, thread, row);
                }
            }
            picture.hold(row, &step.after);
            for thread in &step.after.threads {
                let known = before.threads.iter().find(|td| td.name == thread.name).and_then(waits_for);
                let Some((lock, blocks)) = waits_for(thread).filter(|now| Some(*now) != known) else { continue };
                let cpu = if thread.name == step.thread { Some(step.cpu) } else { on_which(&step.after, thread) };
                if let Some(cpu) = cpu {
                    let lock = position(&mut picture.locks, lock);
                    picture.waits.push(Wait { row, cpu, thread: thread.name.clone(), lock, blocks });
                }
            }
        }
        // A sequence count's reader spins on no lock.
        let hangs = |thread: &ThreadAfter| waits_for(thread).is_some() || matches!(thread.doing, Doing::Spins(None));
        let waits = |cpu: &usize| end.cpus[*cpu].is_some_and(|at| hangs(&end.threads[at]));
        picture.stuck = (0..end.cpus.len()).filter(waits).collect();
        picture
    }

    /// Continues, begins and ends what is held after `row`.
    fn hold(&mut self, row: usize, after: &After) {
        let mut now = Vec::new();
        for held in &after.held {
            let owner = held.owner.and_then(|at| after.threads.get(at));
            let readers = || format!("{} reader{}", held.readers, if held.readers == 1 { "" } else { "s" });
            let holder = owner.map_or_else(readers, |td| td.name.clone());
            let off = owner.is_some_and(|td| on_which(after, td).is_none());
            now.push((position(&mut self.locks, &held.lock), holder, off));
        }
        for open in self.holds.iter_mut().filter(|hold| hold.to.is_none()) {
            match now.iter().position(|(lock, holder, _)| (*lock, holder) == (open.lock, &open.holder)) {
                Some(at) => {
                    if now.swap_remove(at).2 {
                        open.off_cpu.push(row);
                    }
                }
                None => open.to = Some(row),
            }
        }
        now.sort();
        for (lock, holder, off) in now {
            let off_cpu = if off { vec![row] } else { Vec::new() };
            self.holds.push(Hold { lock, holder, from: row, to: None, off_cpu });
        }
    }

    fn colour(&self, thread: &str) -> String {
        let at = self.threads.iter().position(|known| known == thread);
        at.map_or_else(|| "tx".to_owned(), |at| format!("t{}", at % COLOURS))
    }

    /// The picture as inline SVG. `what` says what it is of, `story` how it ends.
    pub(super) fn svg(&self, what: &str, verdict: &Verdict, story: &[String]) -> Markup {
        let lanes = LEFT + self.cpus * (LANE + GAP);
        let width = (lanes + self.locks.len() * LOCK + GAP).max(560);
        let bottom = HEAD + self.rows.len() * ROW;
        let message = wrapped(&verdict.to_string(), (width - 48) / 9);
        let told: Vec<String> = story.iter().flat_map(|line| wrapped(line, (width - 48) / 7)).collect();
        let banner = 24 + message.len() * 20 + told.len() * 18;
        let height = bottom + GAP + banner + 4;
        let lane = |cpu: usize| LEFT + cpu * (LANE + GAP);
        let column = |lock: usize| lanes + lock * LOCK;
        let top = |row: usize| HEAD + row * ROW;
        // Who hangs is to blame, and otherwise who made the last step.
        let hangs = matches!(verdict, Verdict::Deadlock(_) | Verdict::Livelock(_)) && !self.stuck.is_empty();
        let last = self.rows.last().map(|row| row.cpu);
        let culprits: Vec<usize> = if hangs { self.stuck.clone() } else { last.into_iter().collect() };
        let (title, desc) = (format!("{what}: {verdict}"), story.join(" "));
        html! {
            svg.picture role="img" width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) }
                aria-label={ (title) ". " (desc) } {
                title { (title) }
                desc { (desc) }
                @for cpu in 0..self.cpus {
                    rect.lane x=(lane(cpu)) y="4" width=(LANE) height=(bottom - 4) rx="6" {}
                    text.head x=(lane(cpu) + LANE / 2) y="26" text-anchor="middle" { "CPU " (cpu) }
                }
                @for (at, lock) in self.locks.iter().enumerate() {
                    text.lockhead x=(column(at)) y="26" { (cut(lock, 14)) title { "lock " (lock) } }
                    line.wire x1=(column(at) + BAR / 2) x2=(column(at) + BAR / 2) y1=(HEAD) y2=(bottom) {}
                }
                @for cpu in (0..self.cpus).filter(|cpu| self.blocks.iter().all(|span| span.cpu != *cpu)) {
                    text.idle x=(lane(cpu) + LANE / 2) y=(HEAD + 33) text-anchor="middle" { "idle" }
                }
                @for row in 0..=self.rows.len() {
                    line.rule x1="0" x2=(width) y1=(top(row)) y2=(top(row)) {}
                }
                @for span in &self.blocks {
                    @let (x, y, h) = (lane(span.cpu) + 4, top(span.from) + 2, (span.to - span.from + 1) * ROW - 4);
                    rect class={ "block " (self.colour(&span.thread)) } x=(x) y=(y) width=(LANE - 8) height=(h) rx="6" {}
                }
                @for span in &self.sections {
                    // It begins in the middle of the step that enters it.
                    @let y = top(span.from) + ROW / 2 + 1;
                    @let h = (top(span.to + 1) - 3).saturating_sub(y);
                    rect.critical x=(lane(span.cpu) + 5) y=(y) width=(LANE - 10) height=(h) {}
                    text.criticalname x=(lane(span.cpu) + LANE - 12) y=(top(span.from) + 16) text-anchor="end" {
                        "critical section"
                    }
                }
                @for span in &self.blocks {
                    text.thread x=(lane(span.cpu) + 14) y=(top(span.from) + 17) { (cut(&span.thread, 16)) }
                }
                @for hold in &self.holds {
                    (self.bar(hold, column(hold.lock), top))
                }
                @for wait in &self.waits {
                    @let (x1, x2, y) = (lane(wait.cpu) + LANE - 4, column(wait.lock) - 8, top(wait.row) + ROW - 7);
                    line.wait x1=(x1) x2=(x2) y1=(y) y2=(y) {}
                    path.waithead d={ "M" (x2) "," (y - 5) " l8,5 l-8,5 z" } {}
                    text.waitname x=(column(wait.lock) + BAR + 6) y=(y + 4) {
                        (cut(&wait.thread, 8)) @if wait.blocks { " blocks" } @else { " spins" }
                    }
                }
                @for (at, row) in self.rows.iter().enumerate() {
                    @let (x, y) = (lane(row.cpu), top(at) + 33);
                    text.number x=(LEFT - 10) y=(y) text-anchor="end" { (row.number) }
                    @if matches!(row.kind, Kind::Interrupt | Kind::Tick) {
                        path.flash d={ "M" (x + 18) "," (y - 13) " l-7,9 h5 l-3,8 l8,-10 h-5 l3,-7 z" } {}
                        text.what.interrupt x=(x + 28) y=(y) { (cut(&row.what, LETTERS)) }
                    } @else {
                        circle.dot cx=(x + 17) cy=(y - 4) r="3.5" {}
                        text.what x=(x + 28) y=(y) { (cut(&row.what, LETTERS)) }
                    }
                }
                @for cpu in culprits {
                    path.fall d={ "M" (lane(cpu) + LANE / 2) "," (bottom) " v" (GAP) } {}
                }
                @if let Some(last) = self.rows.last().filter(|_| !hangs) {
                    rect.last x=(lane(last.cpu) + 1) y=(bottom - ROW) width=(LANE - 2) height=(ROW) rx="6" {}
                }
                rect.end x="4" y=(bottom + GAP) width=(width - 8) height=(banner) rx="6" {}
                @for (at, line) in message.iter().enumerate() {
                    text.message x="20" y=(bottom + GAP + 24 + at * 20) { (line) }
                }
                @for (at, line) in told.iter().enumerate() {
                    text.story x="20" y=(bottom + GAP + 24 + message.len() * 20 + at * 18) { (line) }
                }
            }
        }
    }

    /// A lock's bar: whole where its holder runs, hollow where it does not.
    fn bar(&self, hold: &Hold, x: usize, top: impl Fn(usize) -> usize) -> Markup {
        let last = hold.to.unwrap_or(self.rows.len());
        let end = if hold.to.is_some() { top(last) + ROW / 2 } else { top(last) };
        let begin = top(hold.from) + ROW / 2;
        // The holder lost its CPU in the middle of the first of these rows.
        let pieces = hold.off_cpu.chunk_by(|a, b| a + 1 == *b).map(|rows| {
            let from = (top(rows[0]) + ROW / 2).max(begin);
            let to = rows.last().map_or(from, |last| top(last + 1) + ROW / 2).min(end);
            (rows[0], from, to.saturating_sub(from))
        });
        let colour = self.colour(&hold.holder);
        html! {
            rect class={ "hold " (colour) } x=(x) y=(begin) width=(BAR) height=(end.saturating_sub(begin)) rx="3" {}
            @for (row, from, height) in pieces {
                rect class={ "hollow " (colour) } x=(x + 1) y=(from) width=(BAR - 2) height=(height) {}
                @if row + 1 < self.rows.len() || row > hold.from {
                    text.off x=(x + BAR + 6) y=(from + 12) { "off CPU" }
                }
            }
            text.holder x=(x + BAR + 6) y=(begin + 4) { (cut(&hold.holder, 13)) }
        }
    }
}

/// Where a thread is.
fn on_which(after: &After, thread: &ThreadAfter) -> Option<usize> {
    after.cpus.iter().position(|at| at.is_some_and(|at| after.threads[at].name == thread.name))
}

/// Continues what there is in the row before, or begins.
fn extend(spans: &mut Vec<Span>, cpu: usize, thread: &str, row: usize) {
    let last = spans.iter_mut().find(|span| (span.cpu, span.to + 1, span.thread.as_str()) == (cpu, row, thread));
    match last {
        Some(span) => span.to = row,
        None => spans.push(Span { cpu, thread: thread.to_owned(), from: row, to: row }),
    }
}

/// Who waits for whom at the end, in words.
pub(super) fn story(after: &After) -> Vec<String> {
    let mut lines = Vec::new();
    for thread in &after.threads {
        let Some((lock, blocks)) = waits_for(thread) else { continue };
        let critical = match thread.critnest {
            0 => String::new(),
            nest => format!(", in a critical section (td_critnest {nest}),"),
        };
        let does = if blocks { "blocks on" } else { "spins for" };
        let owner = after.held.iter().find(|held| held.lock == lock).and_then(|held| held.owner);
        let owned = match owner.map(|at| &after.threads[at]) {
            Some(owner) => {
                let state = match (&owner.doing, on_which(after, owner)) {
                    (Doing::Blocks(lock), _) => format!("itself blocks on {lock}"),
                    (Doing::Sleeps, _) => "sleeps".to_owned(),
                    (Doing::Spins(Some(lock)), _) => format!("itself spins for {lock}"),
                    (_, Some(cpu)) => format!("runs on CPU {cpu}"),
                    (_, None) => "has no CPU".to_owned(),
                };
                format!("; {} owns it and {state}", owner.name)
            }
            None => String::new(),
        };
        lines.push(format!("{}{critical} {does} {lock}{owned}.", thread.name));
    }
    lines
}

/// At most so many letters.
fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters - 1).chain(['\u{2026}']).collect()
}

/// Lines of about so many letters, broken between words.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let used = lines[last].chars().count();
        if used > 0 && used + 1 + word.chars().count() > letters {
            lines.push(word.to_owned());
        } else {
            let gap = if used == 0 { "" } else { " " };
            lines[last] += &format!("{gap}{word}");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use freebsd_sys::host::explore::{Held, Step};

    fn after(threads: &[(&str, u32, Doing)], cpus: &[Option<usize>], held: &[(&str, usize)]) -> After {
        let thread = |(name, critnest, doing): &(&str, u32, Doing)| ThreadAfter {
            name: (*name).to_owned(),
            critnest: *critnest,
            doing: doing.clone(),
        };
        let lock = |(lock, owner): &(&str, usize)| Held { lock: (*lock).to_owned(), owner: Some(*owner), readers: 0 };
        After {
            cpus: cpus.to_vec(),
            threads: threads.iter().map(thread).collect(),
            held: held.iter().map(lock).collect(),
        }
    }

    fn step(cpu: usize, thread: &str, what: &str, after: After) -> Step {
        Step { cpu, thread: thread.to_owned(), what: what.to_owned(), after, ..Step::default() }
    }

    /// A takes a lock and loses its CPU to B, which wants the lock in a critical section.
    fn steps() -> Vec<Step> {
        let lock = Doing::Blocks("l#0".to_owned());
        vec![
            step(
                0,
                "A",
                "mtx_lock(l#0)",
                after(&[("A", 0, Doing::Runs), ("B", 0, Doing::Waits)], &[Some(0)], &[("l#0", 0)]),
            ),
            step(
                0,
                "A",
                "interrupt x",
                after(&[("A", 0, Doing::Waits), ("B", 0, Doing::Runs)], &[Some(1)], &[("l#0", 0)]),
            ),
            step(
                0,
                "B",
                "critical_enter",
                after(&[("A", 0, Doing::Waits), ("B", 1, Doing::Runs)], &[Some(1)], &[("l#0", 0)]),
            ),
            step(0, "B", "mtx_lock(l#0)", after(&[("A", 0, Doing::Waits), ("B", 2, lock)], &[Some(1)], &[("l#0", 0)])),
        ]
    }

    fn lines(steps: &[Step]) -> Vec<Line<'_>> {
        steps
            .iter()
            .enumerate()
            .map(|(at, step)| Line { number: at + 1, step, last: step, times: 1, set_up: None })
            .collect()
    }

    #[test]
    fn what_a_picture_shows_is_what_the_trace_says() {
        let steps = steps();
        let picture = Picture::new(1, &lines(&steps), &steps.last().expect("a step").after);
        let span = |thread: &str, from, to| Span { cpu: 0, thread: thread.to_owned(), from, to };
        assert_eq!(picture.blocks, [span("A", 0, 1), span("B", 2, 3)]);
        assert_eq!(picture.sections, [span("B", 2, 3)]);
        assert_eq!(
            picture.holds,
            [Hold { lock: 0, holder: "A".to_owned(), from: 0, to: None, off_cpu: vec![1, 2, 3] }]
        );
        assert_eq!(picture.waits, [Wait { row: 3, cpu: 0, thread: "B".to_owned(), lock: 0, blocks: true }]);
        assert_eq!(picture.stuck, [0]);
        assert_eq!(
            story(&steps[3].after),
            ["B, in a critical section (td_critnest 2), blocks on l#0; A owns it and has no CPU."]
        );
    }

    #[test]
    fn who_spins_on_a_sequence_count_is_to_blame() {
        let reader = || after(&[("R", 0, Doing::Spins(None)), ("I", 0, Doing::Waits)], &[Some(0), None], &[]);
        // What came last has nothing to do with it.
        let steps = [step(0, "R", "seqc_read", reader()), step(1, "I", "ithread", reader())];
        let picture = Picture::new(2, &lines(&steps), &steps[1].after);
        assert_eq!(picture.stuck, [0]);
        let svg = picture.svg("x", &Verdict::Livelock("R spins".to_owned()), &[]).into_string();
        assert_eq!((svg.matches("class=\"fall\"").count(), svg.matches("class=\"last\"").count()), (1, 0));
    }

    #[test]
    fn a_released_lock_has_an_end() {
        let mut steps = steps();
        steps.truncate(1);
        steps.push(step(0, "A", "mtx_unlock(l#0)", after(&[("A", 0, Doing::Runs)], &[Some(0)], &[])));
        let picture = Picture::new(1, &lines(&steps), &steps.last().expect("a step").after);
        assert_eq!(picture.holds, [Hold { lock: 0, holder: "A".to_owned(), from: 0, to: Some(1), off_cpu: vec![] }]);
    }

    #[test]
    fn names_are_escaped_in_the_picture() {
        let steps = [step(0, "<script>", "mtx_lock(\"&<b>)", After::default())];
        let svg = Picture::new(1, &lines(&steps), &steps.last().expect("a step").after)
            .svg("<i>", &Verdict::Panic("</svg><b>".to_owned()), &[])
            .into_string();
        for raw in ["<script>", "<b>", "<i>", "</svg><"] {
            assert!(!svg.contains(raw), "{raw}: {svg}");
        }
        assert!(svg.contains("&lt;script&gt;"), "{svg}");
    }
}
