//! Random programs of lock calls, legal and illegal, run on the emulated kernel and by a model of FreeBSD's rules: the two have
//! to agree.
//!
//! A [`Program`] is run under three sets of options. What comes of it (a panic with its exact text, the results of all tries, an
//! endless wait) must be one of the `model`'s outcomes; and where depth-first search gets through all schedules, each of those must
//! have come, and come again in the reduced search. Nothing but a FreeBSD panic or an endless wait may end a machine early.

pub mod model;
pub mod program;
mod report;
mod run;

pub use run::{Machines, Run};

use freebsd_sys::host::schedule::dfs::Dfs;
use freebsd_sys::host::schedule::dpor::{self, Dpor};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::host::schedule::{Rng, Schedule};
use freebsd_sys::host::workers::{self, Tally};
use model::{Model, Mutation, Outcome, Verdict};
use program::Program;
use std::collections::BTreeSet;
use std::fmt;

/// Which options the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switches {
    /// Neither.
    None,
    /// INVARIANTS.
    Invariants,
    /// INVARIANTS and WITNESS.
    Witness,
}

impl Switches {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Invariants, Self::Witness];

    /// Their name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Invariants => "INVARIANTS",
            Self::Witness => "INVARIANTS+WITNESS",
        }
    }
}

/// How hard to look.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Random schedules of a program with several threads.
    pub schedules: u64,
    /// Executions that a depth-first search may take; 0 for none. A search that does not get through says nothing.
    pub search: u64,
}

/// Who says what the others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The kernel does what the model does not allow.
    Kernel,
    /// The model allows what no schedule brings about.
    Model,
    /// The unreduced search finds what the reduced one misses.
    Unreduced,
    /// The reduced search finds what the unreduced one does not.
    Reduced,
}

impl Found {
    /// For people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Model => "no schedule",
            Self::Unreduced => "unreduced search only",
            Self::Reduced => "reduced search only",
        }
    }
}

/// What the model and the kernel, or two searches, disagree about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The program.
    pub program: Program,
    /// The kernel's options.
    pub switches: Switches,
    /// What the model allows.
    pub model: BTreeSet<Outcome>,
    /// What the two disagree about.
    pub outcome: Outcome,
    /// Whose it is.
    pub found: Found,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "options: {}", self.switches.name())?;
        write!(f, "{}", self.program)?;
        writeln!(f, "{}: {}", self.found.name(), self.outcome)?;
        for outcome in &self.model {
            writeln!(f, "model: {outcome}")?;
        }
        Ok(())
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Programs.
    pub programs: u64,
    /// Executions of programs, over all options and schedules.
    pub executions: u64,
    /// Programs and options of which some order leaves the rules.
    pub wild: u64,
    /// Programs and options with too many orders.
    pub too_large: u64,
    /// Depth-first searches that got through.
    pub searched: u64,
    /// Of these, executions of the reduced one that came to a state that it had searched.
    pub met: u64,
    /// Programs and options that end well in some order.
    pub end: u64,
    /// Programs and options that panic in some order.
    pub panic: u64,
    /// Programs and options that wait for ever in some order.
    pub stuck: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.programs += other.programs;
        self.executions += other.executions;
        self.wild += other.wild;
        self.too_large += other.too_large;
        self.searched += other.searched;
        self.met += other.met;
        self.end += other.end;
        self.panic += other.panic;
        self.stuck += other.stuck;
    }
}

/// Compares model and kernel.
#[derive(Debug, Default)]
pub struct Judge {
    machines: Machines,
    model: Model,
    mutation: Mutation,
    /// What was done so far.
    pub counts: Counts,
}

impl Judge {
    /// A judge whose model has one rule wrong.
    pub fn mutated(mutation: Mutation) -> Self {
        Self { mutation, ..Self::default() }
    }

    /// Whether model and kernel agree about `program`, under all options.
    ///
    /// # Errors
    ///
    /// The first disagreement.
    pub fn judge(&mut self, program: &Program, seed: u64, effort: Effort) -> Result<(), Box<Disagreement>> {
        self.counts.programs += 1;
        Switches::ALL.into_iter().try_for_each(|switches| self.judge_under(program, switches, seed, effort))
    }

    fn judge_under(
        &mut self,
        program: &Program,
        switches: Switches,
        seed: u64,
        effort: Effort,
    ) -> Result<(), Box<Disagreement>> {
        let model = match self.model.outcomes(program, switches, self.mutation) {
            Verdict::Outcomes(model) => model,
            Verdict::Wild if program.alone() => {
                // What comes before the call without rules has some.
                let mut less = program.clone();
                less.threads[0].pop();
                return self.judge_under(&less, switches, seed, effort);
            }
            Verdict::Wild => {
                self.counts.wild += 1;
                return Ok(());
            }
            Verdict::TooLarge => {
                self.counts.too_large += 1;
                return Ok(());
            }
        };
        self.counts.end += u64::from(model.iter().any(|outcome| matches!(outcome, Outcome::Ends(_))));
        self.counts.panic += u64::from(model.iter().any(|outcome| matches!(outcome, Outcome::Panics(_))));
        self.counts.stuck += u64::from(model.contains(&Outcome::Stuck));
        let disagreement = |outcome: Outcome, found| {
            Box::new(Disagreement { program: program.clone(), switches, model: model.clone(), outcome, found })
        };
        let mut random = Random::new(seed);
        let alone = program.alone();
        for index in 0..if alone { 1 } else { effort.schedules } {
            let run = self.machines.run(program, switches, &mut random, index);
            self.counts.executions += 1;
            // What the watchdog of spin mutexes prints has numbers of ours in it.
            let watchdog = matches!(&run.outcome, Outcome::Panics(text) if text == "spin lock held too long");
            if !model.contains(&run.outcome) {
                return Err(disagreement(run.outcome, Found::Kernel));
            }
            if let Some(lines) = self.model.console()
                && !watchdog
                && run.console() != lines
            {
                let mut found = disagreement(Outcome::Prints(run.console()), Found::Kernel);
                found.model = BTreeSet::from([Outcome::Prints(lines.to_vec())]);
                return Err(found);
            }
        }
        if alone || effort.search == 0 {
            return Ok(());
        }
        let (mut dfs, mut reached) = (Dfs::new(), BTreeSet::new());
        for index in 0..effort.search {
            let Run { outcome, choices, .. } = self.machines.run(program, switches, &mut dfs, index);
            self.counts.executions += 1;
            if !model.contains(&outcome) {
                return Err(disagreement(outcome, Found::Kernel));
            }
            reached.insert(outcome);
            if !dfs.end(choices) {
                self.counts.searched += 1;
                // A filter may leave a lock in the name of a thread that waits for it: the reduced search takes it for one that came before.
                let filters = program.interrupt.as_ref().is_some_and(|interrupt| !interrupt.filter.is_empty());
                for dpor in [Dpor::new(), Dpor::of_states()] {
                    if !filters && let Some(reduced) = self.reduced(program, switches, dpor) {
                        if let Some(missed) = reached.difference(&reduced).next() {
                            return Err(disagreement(missed.clone(), Found::Unreduced));
                        }
                        if let Some(invented) = reduced.difference(&reached).next() {
                            return Err(disagreement(invented.clone(), Found::Reduced));
                        }
                    }
                }
                // Who is first of several whose time runs out at once, the model does not say. And what is done under the scheduler's
                // lock is one step of the kernel: who yields a CPU that nobody else wants is never seen off it, as FreeBSD allows.
                let timed = program.interrupt.is_none() && !program.shared || program.pauses() < 2;
                // Nor do ticks come here that nobody waits for, as they would before somebody runs who was woken in time.
                let late = program.one_cpu() && program.times_out();
                let exact = timed && !late && (program.one_cpu() || !program.relinquishes());
                return match model.difference(&reached).next() {
                    Some(missed) if exact => Err(disagreement(missed.clone(), Found::Model)),
                    _ => Ok(()),
                };
            }
        }
        Ok(())
    }

    /// What the reduced search finds; `None` if it does not get through.
    fn reduced(&mut self, program: &Program, switches: Switches, mut dpor: Dpor) -> Option<BTreeSet<Outcome>> {
        let mut reached = BTreeSet::new();
        for index in 0..MOST_CLASSES {
            let Run { outcome, choices, .. } = self.machines.run(program, switches, &mut dpor, index);
            self.counts.executions += 1;
            if !dpor.lost() {
                reached.insert(outcome);
            }
            let more = dpor.end(choices);
            if dpor.counts() == dpor::Counts::default() {
                // Begun anew.
                reached.clear();
            }
            if !more {
                self.counts.met += dpor.counts().met;
                return dpor.exhausted().then_some(reached);
            }
        }
        None
    }

    /// A small program about which model and kernel disagree, from a large one.
    pub fn shrink(&mut self, found: Disagreement) -> Disagreement {
        let effort = Effort { schedules: 64, search: if found.found == Found::Kernel { 0 } else { 20_000 } };
        let mut found = found;
        // Each round takes something away, so there are no more rounds than things.
        loop {
            let smaller = found.program.smaller();
            match smaller.iter().find_map(|less| self.judge(less, 1, effort).err()) {
                Some(less) => found = *less,
                None => return found,
            }
        }
    }
}

/// Executions of a reduced search.
const MOST_CLASSES: u64 = 20_000;

/// Bytes of a random program.
const BYTES: usize = 128;

/// The random program number `index` of `seed`.
pub fn program(seed: u64, index: u64) -> Program {
    let mut rng = Rng::new(seed, index);
    let bytes: [u8; BYTES] = std::array::from_fn(|_| rng.below(256) as u8);
    Program::decode(&bytes)
}

/// Judges random programs, until one is wrong, or Ctrl-C.
fn judge_range(
    judge: &mut Judge,
    plan: &Plan,
    range: std::ops::Range<u64>,
    tally: &Tally,
) -> Result<(), Box<Disagreement>> {
    for index in range {
        if workers::interrupted() {
            break;
        }
        let search = if index % plan.search_every == 0 { 2000 } else { 0 };
        judge.judge(&program(plan.seed, index), index, Effort { schedules: 3, search })?;
        tally.add(1);
    }
    Ok(())
}

/// What `lkpi fuzz` is to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many programs.
    pub programs: u64,
    /// Their seed.
    pub seed: u64,
    /// One in so many is searched depth first as well, which costs as much as hundreds of programs.
    pub search_every: u64,
}

impl Plan {
    /// The seed's first `programs`, with a search here and there.
    pub fn new(programs: u64, seed: u64) -> Self {
        Self { programs, seed, search_every: 128 }
    }
}

/// What `lkpi fuzz` found.
#[derive(Debug)]
pub struct Report {
    /// What was done.
    pub counts: Counts,
    /// The first disagreement, shrunk.
    pub disagreement: Option<Disagreement>,
    /// Its number among the programs of the seed.
    pub index: Option<u64>,
}

/// Programs that a worker takes at a time.
const CHUNK: u64 = 4096;

/// Judges random programs on `jobs` host threads, until one is wrong. `watch` is told how many are done.
///
/// # Errors
///
/// The text of a Rust panic outside of any machine.
pub fn campaign(plan: &Plan, jobs: usize, mut watch: impl FnMut(u64)) -> Result<Report, String> {
    // Workers count through the chunks themselves: of all the programs there can be, a list does not fit into memory.
    let (chunks, taken) = (plan.programs.div_ceil(CHUNK), Tally::new());
    let (tally, failed) = (Tally::new(), Tally::new());
    let work = |(): &()| {
        let (mut counts, mut found) = (Counts::default(), None);
        while failed.get() == 0 && !workers::interrupted() {
            let chunk = taken.next();
            if chunk >= chunks {
                break;
            }
            let (mut judge, first) = (Judge::default(), chunk * CHUNK);
            let range = first..first.saturating_add(CHUNK).min(plan.programs);
            let result = judge_range(&mut judge, plan, range, &tally);
            counts.add(&judge.counts);
            if let Err(disagreement) = result {
                failed.add(1);
                let index = first + judge.counts.programs.saturating_sub(1);
                found = Some((index, judge.shrink(*disagreement)));
            }
        }
        (counts, found)
    };
    let results = workers::map(jobs, &vec![(); jobs], work, |_| watch(tally.get()));
    let mut report = Report { counts: Counts::default(), disagreement: None, index: None };
    for result in results {
        let (counts, found) = result?;
        report.counts.add(&counts);
        if let Some((index, found)) = found.filter(|(index, _)| report.index.is_none_or(|first| *index < first)) {
            (report.index, report.disagreement) = (Some(index), Some(found));
        }
    }
    Ok(report)
}
