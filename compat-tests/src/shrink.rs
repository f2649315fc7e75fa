//! Shrinking: a failing schedule is reduced to a short one that ends with the same verdict and message.
//!
//! # What is short
//!
//! A schedule is measured by its *deviations* from a default policy: the CPU that moved last goes on while it can, else the lowest
//! that can; no interrupt comes, the clock does not tick, and an alternative inside a primitive is its first. So each deviation
//! is a context switch between CPUs, an interrupt, a tick or a migration that somebody has to understand. Among schedules with
//! equally many deviations, fewer changes of the moving CPU are better, and then fewer steps.
//!
//! # How
//!
//! 1. Delta debugging: ever smaller groups of deviations are taken out, and what is left is replayed leniently: a deviation that
//!    is not possible is left out too. What comes after a deviation that was taken out may shift, so the rest is tried at the same
//!    numbers of choices ([`Anchor::Choice`]) and at the same progress of the CPU that moved ([`Anchor::Cpu`]).
//! 2. Parts of the list of events are taken out or swapped, so that runs of one CPU merge.
//! 3. What is left may be a long way round: schedules with fewer deviations are searched outright, all with none, with one, with two,
//!    as far as the limit goes. That is how few deviations suffice, whatever was found first.
//!
//! What is kept is always the recording of a replay, hence a strict schedule. The bounds are numbers of replays and steps, never
//! time, so the result is the same everywhere.
//!
//! References: Zeller, Hildebrandt, "Simplifying and isolating failure-inducing input", TSE 2002; Musuvathi, Qadeer, "Iterative
//! context bounding for systematic testing of multithreaded programs", PLDI 2007.

use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::{Choice, Diverged, Event, Schedule};
use freebsd_sys::host::workers;
use freebsd_sys::machine::{Machine, Unit, Verdict};

/// How much may be spent on one schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Replays.
    pub replays: u64,
    /// Steps of all replays together: an execution that makes no progress has very many.
    pub steps: u64,
}

impl Limit {
    /// So many replays, of a length that is usual.
    pub fn replays(replays: u64) -> Self {
        Self { replays, steps: replays.saturating_mul(200) }
    }
}

/// What is run.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The machine, of the schedule's kernel.
    pub machine: &'a Machine,
    /// thread0's main.
    pub main: &'a dyn Fn(),
    /// Units whose static memory is restored before each execution.
    pub units: &'a [Unit],
}

impl core::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// A shrunk schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// The events, to be replayed strictly.
    pub events: Vec<Event>,
    /// How many of them are not what the default policy would do.
    pub deviations: usize,
    /// The same of the schedule that was found.
    pub deviations_before: usize,
    /// Events of the schedule that was found.
    pub events_before: usize,
    /// Replays that it took.
    pub replays: u64,
    /// No schedule with fewer deviations ends alike: all were run.
    pub fewest: bool,
    /// Ctrl-C ended it early.
    pub interrupted: bool,
}

impl core::fmt::Display for Shrunk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { deviations, deviations_before, events, events_before, replays, fewest, interrupted } = self;
        let events = events.len();
        write!(
            f,
            "shrunk from {deviations_before} deviations in {events_before} events to {deviations} in {events}, with {replays} replays"
        )?;
        f.write_str(match (fewest, interrupted) {
            (true, _) => "; no fewer suffice",
            (false, true) => "; interrupted",
            (false, false) => "",
        })
    }
}

/// An event that the default policy would not have chosen, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deviation {
    /// Number of the choice.
    pub choice: usize,
    /// The CPU that moved last, and how many choices there were before after a move of it.
    pub cpu: (usize, usize),
    /// What happens instead.
    pub event: Event,
}

/// Where a deviation belongs when others are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// At the choice of the same number.
    Choice,
    /// At the same choice of the same CPU.
    Cpu,
}

/// The policy that deviations are deviations from.
fn default_of(choice: &Choice<'_>) -> usize {
    let runs = |cpu: usize| choice.enabled.iter().position(|&event| event == Event::Run(cpu as u8));
    // `enabled` begins with the CPUs, in order; alternatives stand alone.
    runs(choice.current).unwrap_or(0)
}

/// What a replay follows as long as it can.
enum Guide<'a> {
    /// Deviations, each where it belongs.
    Deviations(&'a [Deviation], Anchor),
    /// Events in their order; those that are not possible are passed over.
    List(&'a [Event]),
}

/// A lenient replay that remembers what could have been done otherwise.
struct Lenient<'a> {
    guide: Guide<'a>,
    /// Choices so far, in all and after moves of each CPU.
    at: usize,
    of_cpu: Vec<usize>,
    /// Position in the list.
    next: usize,
    deviations: Vec<Deviation>,
    /// From the last deviation on: where it could be left next, and how.
    branches: Vec<Deviation>,
    wants_branches: bool,
}

impl<'a> Lenient<'a> {
    fn new(guide: Guide<'a>, cpus: usize, wants_branches: bool) -> Self {
        let (deviations, branches) = (Vec::new(), Vec::new());
        Self { guide, at: 0, of_cpu: vec![0; cpus], next: 0, deviations, branches, wants_branches }
    }

    /// What the guide says, if that can happen.
    fn guided(&mut self, choice: &Choice<'_>, cpu: (usize, usize)) -> Option<usize> {
        let enabled = |event: Event| choice.enabled.iter().position(|&other| other == event);
        match self.guide {
            Guide::Deviations(deviations, anchor) => {
                let here = |deviation: &&Deviation| match anchor {
                    Anchor::Choice => deviation.choice == self.at,
                    Anchor::Cpu => deviation.cpu == cpu,
                };
                deviations.iter().find(here).and_then(|deviation| enabled(deviation.event))
            }
            Guide::List(list) => {
                let rest = list.get(self.next..).unwrap_or_default();
                let skip = rest.iter().position(|&event| enabled(event).is_some())?;
                self.next += skip + 1;
                enabled(rest[skip])
            }
        }
    }
}

impl Schedule for Lenient<'_> {
    fn begin(&mut self, _index: u64) {}

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        let cpu = (choice.current, self.of_cpu[choice.current]);
        let default = default_of(choice);
        let taken = self.guided(choice, cpu).unwrap_or(default);
        let deviation = |at: usize| Deviation { choice: self.at, cpu, event: choice.enabled[at] };
        if taken != default {
            self.deviations.push(deviation(taken));
            self.branches.clear();
        } else if self.wants_branches {
            let others = (0..choice.enabled.len()).filter(|&at| at != default);
            self.branches.extend(others.map(deviation));
        }
        self.at += 1;
        self.of_cpu[choice.current] += 1;
        Ok(taken)
    }

    fn end(&mut self, _choices: usize) -> bool {
        false
    }
}

/// What a replay came to.
struct Trial {
    /// The same verdict and message.
    same: bool,
    events: Vec<Event>,
    deviations: Vec<Deviation>,
    branches: Vec<Deviation>,
    steps: u64,
}

impl Trial {
    /// What is to be small, the most important first.
    fn cost(&self) -> (usize, usize, u64) {
        let cpus: Vec<_> = self.events.iter().filter_map(|event| event.cpu()).collect();
        let changes = cpus.windows(2).filter(|pair| pair[0] != pair[1]).count();
        (self.deviations.len(), changes, self.steps)
    }
}

struct Shrinker<'a> {
    subject: Subject<'a>,
    verdict: &'a Verdict,
    limit: Limit,
    replays: u64,
    steps: u64,
    watch: &'a mut dyn FnMut(u64),
}

impl Shrinker<'_> {
    /// Nothing more may be spent.
    fn spent(&self) -> bool {
        self.replays >= self.limit.replays || self.steps >= self.limit.steps || workers::interrupted()
    }

    fn run(&mut self, guide: Guide<'_>, wants_branches: bool) -> Trial {
        let Subject { machine, main, units } = self.subject;
        let mut lenient = Lenient::new(guide, machine.config().cpus, wants_branches);
        let options = Options { units, ..Options::default() };
        let execution = explore::run(machine, &mut lenient, options, main);
        self.replays += 1;
        self.steps += execution.steps;
        if is_endless(&execution.verdict) {
            // Others like it may follow.
            self.limit.replays = self.replays;
        }
        (self.watch)(self.replays);
        Trial {
            same: execution.verdict == *self.verdict,
            events: execution.events,
            deviations: lenient.deviations,
            branches: lenient.branches,
            steps: execution.steps,
        }
    }

    /// Replaces `best` by the replay along `guide` if that ends alike and is shorter.
    fn better(&mut self, best: &mut Trial, guide: Guide<'_>) -> bool {
        let trial = self.run(guide, false);
        let better = trial.same && trial.cost() < best.cost();
        if better {
            *best = trial;
        }
        better
    }

    /// Takes out deviations, in groups and one by one, until none can go. True if some went.
    fn take_out(&mut self, best: &mut Trial) -> bool {
        let mut any = false;
        // What could not go before may go after others went.
        while self.take_out_once(best) {
            any = true;
        }
        any
    }

    fn take_out_once(&mut self, best: &mut Trial) -> bool {
        let mut any = false;
        let mut group = best.deviations.len();
        while group > 0 {
            let mut at = 0;
            while at < best.deviations.len() {
                let mut gone = false;
                for anchor in [Anchor::Choice, Anchor::Cpu] {
                    if self.spent() {
                        // With nothing left to spend, another round would be no round.
                        return false;
                    }
                    let mut rest = best.deviations.clone();
                    rest.drain(at..(at + group).min(rest.len()));
                    gone = self.better(best, Guide::Deviations(&rest, anchor));
                    if gone {
                        any = true;
                        break;
                    }
                }
                at = if gone { at } else { at + group };
            }
            group /= 2;
        }
        any
    }

    /// Takes out and swaps runs of equal events. True if something got shorter.
    fn rearrange(&mut self, best: &mut Trial) -> bool {
        let mut any = false;
        let mut at = 0;
        loop {
            let runs: Vec<_> = best.events.chunk_by(|a, b| a == b).map(<[Event]>::to_vec).collect();
            if at >= runs.len() {
                return any;
            }
            let mut without = runs.clone();
            without.remove(at);
            let mut lists = vec![without];
            // Past its neighbour, and past two: next to the run of the same CPU before.
            for distance in [1, 2] {
                if at + distance < runs.len() {
                    let mut moved = runs.clone();
                    let run = moved.remove(at);
                    moved.insert(at + distance, run);
                    lists.push(moved);
                }
            }
            let mut shorter = false;
            for list in lists {
                if self.spent() {
                    return any;
                }
                shorter |= self.better(best, Guide::List(&list.concat()));
                if shorter {
                    break;
                }
            }
            any |= shorter;
            at = if shorter { at.saturating_sub(1) } else { at + 1 };
        }
    }

    /// Runs all schedules with at most as many deviations as `best`, fewest first. True if it came as far as `best` did: no schedule
    /// with fewer deviations ends alike.
    fn search(&mut self, best: &mut Trial) -> bool {
        for deviations in 0..=best.deviations.len() {
            let all = self.descend(best, &mut Vec::new(), deviations);
            // Those with fewer have all been run.
            if best.deviations.len() <= deviations {
                return true;
            }
            if !all {
                return false;
            }
        }
        true
    }

    /// Runs all schedules that begin with `prefix` and have `more` deviations after it. False if that was too much.
    fn descend(&mut self, best: &mut Trial, prefix: &mut Vec<Deviation>, more: usize) -> bool {
        if self.spent() {
            return false;
        }
        let trial = self.run(Guide::Deviations(prefix, Anchor::Choice), more > 0);
        if more == 0 && trial.same && trial.cost() < best.cost() {
            *best = trial;
            return true;
        }
        trial.branches.iter().all(|&branch| {
            prefix.push(branch);
            let all = self.descend(best, prefix, more - 1);
            prefix.pop();
            all
        })
    }
}

/// A loop that the watchdog has to end: each costs its patience, which is seconds.
fn is_endless(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Error(text) if text.starts_with("endless loop"))
}

/// Shrinks `events`, which end with `verdict`. The result ends alike, and no deviation can be taken out of it unless the limit was
/// reached before that was known. `watch` is told the number of replays. None if `events` do not end with `verdict`.
pub fn shrink(
    subject: Subject<'_>,
    verdict: &Verdict,
    events: &[Event],
    limit: Limit,
    watch: &mut dyn FnMut(u64),
) -> Option<Shrunk> {
    if is_endless(verdict) {
        return None;
    }
    let mut shrinker = Shrinker { subject, verdict, limit, replays: 0, steps: 0, watch };
    let mut best = shrinker.run(Guide::List(events), false);
    if !best.same || best.events != events {
        return None;
    }
    let deviations_before = best.deviations.len();
    shrinker.take_out(&mut best);
    // A rearranged schedule has other deviations, of which some may go.
    while shrinker.rearrange(&mut best) {
        shrinker.take_out(&mut best);
    }
    let fewest = shrinker.search(&mut best);
    Some(Shrunk {
        deviations: best.deviations.len(),
        events: best.events,
        deviations_before,
        events_before: events.len(),
        replays: shrinker.replays,
        fewest,
        interrupted: workers::interrupted(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{self, Cell};
    use crate::replay;
    use crate::run::{self, Mix, Outcome, Plan, Search};
    use freebsd_sys::host::schedule::random::Random;
    use freebsd_sys::host::schedule::replay::Replay;
    use freebsd_sys::machine::{Config, Engine};
    use std::time::Duration;

    fn with<R>(cell: &Cell, config: Config, work: impl FnOnce(Subject<'_>) -> R) -> R {
        let (machine, units) = (Machine::new(config, Engine::Explore), (cell.units)());
        work(Subject { machine: &machine, main: &|| (cell.run)(), units: &units })
    }

    fn compare(cpus: usize, schedules: u64) -> Vec<(&'static Cell, Outcome)> {
        let config = Config { cpus, ..Config::default() };
        let search = Search::Sample(schedules);
        let plan = Plan { engine: Engine::Explore, config, search, mix: Mix::default(), seed: 1, time: Duration::ZERO };
        let cells: Vec<_> =
            registry::scenarios().iter().flat_map(|s| s.cells.iter().map(move |cell| (s, cell))).collect();
        let outcomes = run::cells(&plan, &cells, 2, &run::Tally::new(), |_| ());
        cells.iter().zip(outcomes).map(|(&(_, cell), outcome)| (cell, outcome.expect("an outcome"))).collect()
    }

    /// Every cell that fails: its schedule replays strictly, ends alike, and needs each of its deviations.
    #[test]
    fn what_is_shrunk_is_needed() {
        let mut shrunk = 0;
        for (cell, outcome) in [1, 2].into_iter().flat_map(|cpus| compare(cpus, 200)) {
            let Some(schedule) = outcome.schedule else { continue };
            let how = outcome.shrunk.expect("it was shrunk");
            assert!(how.deviations <= how.deviations_before, "{schedule}: {how}");
            shrunk += 1;
            with(cell, schedule.config.clone(), |subject| {
                let mut replay = Replay::new(schedule.events.clone());
                let options = Options { units: subject.units, ..Options::default() };
                let strict = explore::run(subject.machine, &mut replay, options, subject.main);
                assert_eq!((&strict.verdict, replay.left()), (&outcome.verdict, 0), "{schedule}");
                let (limit, watch) = (Limit::replays(u64::MAX), &mut |_| ());
                let mut shrinker = Shrinker { subject, verdict: &outcome.verdict, limit, replays: 0, steps: 0, watch };
                let whole = shrinker.run(Guide::List(&schedule.events), false);
                assert_eq!((whole.same, whole.deviations.len()), (true, how.deviations), "{schedule}");
                for at in 0..whole.deviations.len() {
                    let mut rest = whole.deviations.clone();
                    let gone = rest.remove(at);
                    for anchor in [Anchor::Choice, Anchor::Cpu] {
                        let trial = shrinker.run(Guide::Deviations(&rest, anchor), false);
                        assert!(!trial.same, "{schedule}: nobody needs {gone:?}");
                    }
                }
            });
        }
        assert!(shrunk > 100, "{shrunk} cells fail");
    }

    /// drm-kmod #116: one interrupt at the right moment, in a dozen lines.
    #[test]
    fn the_known_panic_takes_one_interrupt() {
        let (_, cell) = registry::cell("dma-resv-fence-callback", "linuxkpi_2021").expect("a cell");
        let found = compare(2, 1000);
        let mut outcomes = found.iter().filter(|(other, _)| std::ptr::eq(*other, cell));
        let (_, outcome) = outcomes.next().expect("its outcome");
        let schedule = outcome.schedule.as_ref().expect("a schedule");
        let how = outcome.shrunk.as_ref().expect("it was shrunk");
        assert!(how.fewest && how.deviations == 1, "{schedule}: {how}");
        let interrupts = schedule.events.iter().filter(|event| matches!(event, Event::Intr(..))).count();
        assert_eq!(interrupts, 1, "{schedule}");
        let replayed = replay::replay(schedule, None).expect("it fits");
        let lines = replay::lines(&replayed.execution().trace).len();
        assert!(lines <= 12, "{lines} lines:\n{}", replayed.text());
    }

    /// Where a random walk first fails in a cell.
    fn walk(subject: Subject<'_>) -> (Verdict, Vec<Event>) {
        let mut random = Random::new(1);
        let mut executions = (0..1000).map(|index| {
            let options = Options { index, units: subject.units, ..Options::default() };
            explore::run(subject.machine, &mut random, options, subject.main)
        });
        let found = executions.find(|execution| execution.verdict != Verdict::Pass).expect("it fails");
        (found.verdict, found.events)
    }

    #[test]
    fn the_limit_holds_and_the_result_repeats() {
        let (_, cell) = registry::cell("abba", "cpu_mutex").expect("a cell");
        with(cell, Config::default(), |subject| {
            let (verdict, events) = walk(subject);
            let shrink = |replays| {
                let mut last = 0;
                let limit = Limit { replays, steps: u64::MAX };
                let shrunk = shrink(subject, &verdict, &events, limit, &mut |n| last = n).expect("it fits");
                assert_eq!(shrunk.replays, last);
                assert!(shrunk.replays <= replays, "{shrunk}");
                shrunk
            };
            let none = shrink(1);
            assert_eq!((&none.events, none.fewest), (&events, false));
            let mut before = none.deviations;
            for replays in [10, 100, 1000] {
                let shrunk = shrink(replays);
                assert!(shrunk.deviations <= before, "{shrunk}");
                before = shrunk.deviations;
                assert_eq!(shrunk, shrink(replays));
            }
            assert!(before < none.deviations, "nothing was shrunk: {none}");
        });
    }

    #[test]
    fn what_does_not_end_so_is_not_shrunk() {
        let (_, cell) = registry::cell("aa", "linuxkpi_today").expect("a cell");
        with(cell, Config::default(), |subject| {
            let (verdict, events) = walk(subject);
            let shrink = |verdict: &Verdict, events: &[Event]| {
                shrink(subject, verdict, events, Limit::replays(1000), &mut |_| ())
            };
            assert!(shrink(&verdict, &events).is_some());
            assert_eq!(shrink(&Verdict::Panic("another".to_owned()), &events), None);
            assert_eq!(shrink(&verdict, &events[..events.len() / 2]), None, "a strict replay would not fit");
        });
    }
}
