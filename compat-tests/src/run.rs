//! One cell: runs it again and again until its verdict is settled.
//!
//! A cell has a machine of its own, booted once. On `explore`, the strategies of a portfolio take turns, each execution determined
//! by the seed and its number in the cell, so results depend neither on the number of workers nor on what else runs; or an exhaustive
//! search takes one schedule of each class. The first execution that does not pass settles the verdict, also where several are
//! expected: none that comes later is looked at. On `smp` the scenario runs in a loop for some time.

use crate::registry::{Cell, Scenario};
use crate::schedule::Printable;
use crate::shrink::{self, Limit, Shrunk, Subject};
use freebsd_sys::host::explore::{self, Execution};
use freebsd_sys::host::schedule::portfolio::{Portfolio, Strategy};
use freebsd_sys::host::schedule::{Schedule, dpor::Dpor};
use freebsd_sys::host::{smp, workers};
use freebsd_sys::lock_profile;
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Unit, Verdict};
use std::fmt;
use std::time::{Duration, Instant};

/// Time after which a run on `smp` that has not ended is called a hang; a scenario takes a few milliseconds.
const SMP_LIMIT: Duration = Duration::from_secs(20);

/// Replays that may be spent on shrinking a cell's schedule: about as many executions as a cell has anyway.
const SHRINKING: u64 = 2000;

/// Executions between two reports of progress.
const STRIDE: u64 = 64;

/// How schedules are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// So many, of the mix's strategies in turn.
    Sample(u64),
    /// All of them, or as many as the limit allows.
    Exhaustive(Option<u64>),
}

/// Which strategies sample schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    /// They take turns.
    pub strategies: Vec<Strategy>,
    /// Depth of the failures that PCT looks for.
    pub depth: usize,
}

impl Default for Mix {
    /// What finds all that is expected soonest: see ARCHITECTURE.md. Most failures need two or three events in order.
    fn default() -> Self {
        use Strategy::{Pct, Pos, Random, Urw};
        Self { strategies: vec![Pos, Pct, Pos, Urw, Pos, Random], depth: 3 }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = Vec::new();
        for name in self.strategies.iter().map(|strategy| strategy.name()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        f.write_str(&names.join(", "))
    }
}

/// What is done to each cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Who drives the CPUs.
    pub engine: Engine,
    /// The kernel.
    pub config: Config,
    /// (explore) How schedules are found.
    pub search: Search,
    /// (explore) What samples, if the search does.
    pub mix: Mix,
    /// Seed of the schedules, or of the interrupts' times.
    pub seed: u64,
    /// (smp, exhaustive) How long each cell runs at most.
    pub time: Duration,
}

impl Plan {
    /// Whether the kernel is the default one, of whatever number of CPUs: the one that `expected.toml` speaks of.
    pub fn is_default_kernel(&self) -> bool {
        self.config == Config { cpus: self.config.cpus, profile: self.config.profile, ..Config::default() }
    }
}

/// What was found in a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The verdict: a pass if nothing else was found.
    pub verdict: Verdict,
    /// Executions run, the last one included.
    pub schedules: u64,
    /// Every schedule within the budget was run, or one that is equivalent.
    pub exhausted: bool,
    /// (exhaustive) A guess at how much of the search was done when it was stopped: 0 to 1.
    pub done: f64,
    /// (exhaustive) The largest budget within which every schedule was run.
    pub proved: Option<Budget>,
    /// Ctrl-C ended it early.
    pub interrupted: bool,
    /// (explore) What replays the verdict: as short as shrinking made it.
    pub schedule: Option<Printable>,
    /// (explore) What shrinking came to; none if there was nothing to shrink.
    pub shrunk: Option<Shrunk>,
    /// (smp) The locks' profile over all runs, if asked for.
    pub profile: Vec<lock_profile::Row>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self::new(Verdict::Pass)
    }
}

impl Outcome {
    /// Of no execution yet.
    fn new(verdict: Verdict) -> Self {
        let (exhausted, interrupted, schedule, shrunk) = (false, false, None, None);
        Self {
            verdict,
            schedules: 0,
            exhausted,
            done: 0.0,
            proved: None,
            interrupted,
            schedule,
            shrunk,
            profile: Vec::new(),
        }
    }

    /// FreeBSD's message, or what a pass is worth.
    pub fn message(&self, plan: &Plan) -> String {
        match (&self.verdict, plan.engine) {
            (Verdict::Pass, Engine::Smp) => format!("{} runs passed", self.schedules),
            (Verdict::Pass, Engine::Explore) if self.exhausted => {
                format!("not found in any of {} classes of schedules, all within the budget", self.schedules)
            }
            (Verdict::Pass, Engine::Explore) => match plan.search {
                Search::Sample(_) => format!("not found in {} schedules, seed {}", self.schedules, plan.seed),
                Search::Exhaustive(_) => {
                    let within = self.proved.map_or(String::new(), |Budget { ticks, interrupts, migrations }| {
                        format!("in any with ticks {ticks}, interrupts {interrupts}, migrations {migrations}, nor ")
                    });
                    let percent = 100.0 * self.done;
                    let n = self.schedules;
                    format!(
                        "not found {within}in {n} classes of schedules, of which there are more ({percent:.2} % done)"
                    )
                }
            },
            (verdict, _) => verdict.message().to_owned(),
        }
    }
}

/// What the cells that run have come to, while somebody watches.
#[derive(Debug, Default)]
pub struct Tally {
    executions: workers::Tally,
    /// Parts of exhaustive searches that are done, in millionths of a cell.
    searched: workers::Tally,
}

impl Tally {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { executions: workers::Tally::new(), searched: workers::Tally::new() }
    }

    /// Executions so far.
    pub fn executions(&self) -> u64 {
        self.executions.get()
    }

    /// A guess at how many cells' worth of exhaustive search is done.
    pub fn searched(&self) -> f64 {
        self.searched.get() as f64 / MILLION
    }
}

const MILLION: f64 = 1e6;

/// Runs each cell on some worker; `None` for those that Ctrl-C left undone. `tally` counts executions; `watch` is told how many
/// cells are done.
pub fn cells(
    plan: &Plan,
    cells: &[(&'static Scenario, &'static Cell)],
    workers: usize,
    tally: &Tally,
    watch: impl FnMut(usize),
) -> Vec<Option<Outcome>> {
    let work = |&(scenario, cell): &(&'static Scenario, &'static Cell)| {
        if workers::interrupted() {
            return None;
        }
        let units = (cell.units)();
        Some(match plan.engine {
            Engine::Explore => sampled(plan, scenario, cell, &units, tally),
            Engine::Smp => looped(plan, cell, &units, tally),
        })
    };
    workers::map(workers, cells, work, watch)
        .into_iter()
        .map(|result| {
            result
                .unwrap_or_else(|text| Some(Outcome::new(Verdict::Error(format!("Rust panic in the harness: {text}")))))
        })
        .collect()
}

fn sampled(plan: &Plan, scenario: &'static Scenario, cell: &'static Cell, units: &[Unit], tally: &Tally) -> Outcome {
    let mut progress = Progress { tally, told: 0, searched: 0 };
    let outcome = match plan.search {
        Search::Sample(n) => sample(plan, n, scenario, cell, units, &mut progress),
        Search::Exhaustive(limit) => exhaust(plan, limit, scenario, cell, units, &mut progress),
    };
    progress.tell(outcome.schedules);
    progress.searched(1.0);
    outcome
}

/// Tells others how far a cell is.
struct Progress<'a> {
    tally: &'a Tally,
    told: u64,
    searched: u64,
}

impl Progress<'_> {
    /// So many executions; a search that is begun anew counts from 0.
    fn tell(&mut self, schedules: u64) {
        self.tally.executions.add(schedules.saturating_sub(self.told));
        self.told = self.told.max(schedules);
    }

    /// So much of the search, from 0 to 1. A guess may go back; what was told does not.
    fn searched(&mut self, part: f64) {
        let part = (part * MILLION) as u64;
        self.tally.searched.add(part.saturating_sub(self.searched));
        self.searched = self.searched.max(part);
    }
}

fn sample(
    plan: &Plan,
    n: u64,
    scenario: &'static Scenario,
    cell: &'static Cell,
    units: &[Unit],
    progress: &mut Progress<'_>,
) -> Outcome {
    let machine = Machine::new(plan.config.clone(), Engine::Explore);
    let mut schedule = Portfolio::new(&plan.mix.strategies, plan.seed, plan.mix.depth);
    let mut outcome = Outcome::new(Verdict::Pass);
    while outcome.schedules < n && !outcome.interrupted {
        let index = outcome.schedules;
        let options = explore::Options { index, units, ..explore::Options::default() };
        let execution = explore::run(&machine, &mut schedule, options, &|| (cell.run)());
        outcome.schedules += 1;
        if execution.verdict != Verdict::Pass {
            settle(&mut outcome, &plan.config, scenario, cell, execution);
            shorten(&mut outcome, Subject { machine: &machine, main: &|| (cell.run)(), units });
            break;
        }
        if outcome.schedules.is_multiple_of(STRIDE) {
            progress.tell(outcome.schedules);
            outcome.interrupted = workers::interrupted();
        }
    }
    outcome
}

/// Executions that are sampled before a search.
const SAMPLES: u64 = 2000;

/// Budgets from nothing up to `full`, each with one event more than the one before. Interrupts last: they come at each boundary of
/// their CPU, where ticks and migrations are seldom possible.
fn budgets(full: Budget) -> Vec<Budget> {
    let mut budget = Budget { ticks: 0, interrupts: 0, migrations: 0 };
    let mut budgets = vec![budget];
    let mut grow = |more: fn(&mut Budget) -> &mut u32, most: u32| {
        while *more(&mut budget) < most {
            *more(&mut budget) += 1;
            budgets.push(budget);
        }
    };
    grow(|budget| &mut budget.ticks, full.ticks);
    grow(|budget| &mut budget.migrations, full.migrations);
    grow(|budget| &mut budget.interrupts, full.interrupts);
    budgets
}

/// Samples first, unless few executions are asked for: what fails mostly does so at once. Then searches with no ticks, interrupts and
/// migrations, then with one, and so on up to the budget: a search that does not come to its end has proved the smaller ones.
fn exhaust(
    plan: &Plan,
    limit: Option<u64>,
    scenario: &'static Scenario,
    cell: &'static Cell,
    units: &[Unit],
    progress: &mut Progress<'_>,
) -> Outcome {
    let started = Instant::now();
    if limit.is_none() {
        let outcome = sample(plan, SAMPLES, scenario, cell, units, progress);
        if outcome.verdict != Verdict::Pass || outcome.interrupted {
            return outcome;
        }
    }
    let mut outcome = Outcome::new(Verdict::Pass);
    let budgets = budgets(plan.config.budget);
    let mut before = progress.told;
    for (nth, &budget) in budgets.iter().enumerate() {
        let config = Config { budget, ..plan.config.clone() };
        let machine = Machine::new(config.clone(), Engine::Explore);
        // What came before decides whether somebody starves.
        let mut dpor = if config.starvation.is_some() { Dpor::new() } else { Dpor::of_states() };
        for index in 0.. {
            let options = explore::Options { index, units, ..explore::Options::default() };
            let execution = explore::run(&machine, &mut dpor, options, &|| (cell.run)());
            if !dpor.lost() && execution.verdict != Verdict::Pass {
                outcome.schedules = dpor.counts().executions + 1;
                settle(&mut outcome, &config, scenario, cell, execution);
                shorten(&mut outcome, Subject { machine: &machine, main: &|| (cell.run)(), units });
                return outcome;
            }
            let more = dpor.end(execution.events.len());
            outcome.schedules = dpor.counts().executions;
            if !more {
                break;
            }
            if index.is_multiple_of(STRIDE) {
                progress.tell(before + outcome.schedules);
                progress.searched((nth as f64 + dpor.progress()) / budgets.len() as f64);
                outcome.interrupted = workers::interrupted();
            }
            let enough = limit.is_some_and(|n| outcome.schedules >= n) || started.elapsed() >= plan.time;
            if outcome.interrupted || enough {
                outcome.done = dpor.progress();
                return outcome;
            }
        }
        if !dpor.exhausted() {
            outcome.verdict = Verdict::Error("memory moves between executions: is the heap installed?".to_owned());
            return outcome;
        }
        outcome.proved = Some(budget);
        before += outcome.schedules;
    }
    outcome.exhausted = true;
    outcome
}

/// The execution did not pass: its verdict is the cell's.
fn settle(outcome: &mut Outcome, config: &Config, scenario: &Scenario, cell: &Cell, execution: Execution) {
    outcome.verdict = match execution.diverged {
        // Only the exhaustive search repeats itself, so only it can notice.
        Some(diverged) => Verdict::Error(format!("the scenario is not deterministic: {diverged}")),
        None => execution.verdict,
    };
    outcome.schedule = Some(Printable {
        scenario: scenario.name.to_owned(),
        mapping: cell.mapping.to_owned(),
        config: config.clone(),
        events: execution.events,
    });
}

/// Shrinks the schedule that was found.
fn shorten(outcome: &mut Outcome, subject: Subject<'_>) {
    let Some(schedule) = &mut outcome.schedule else { return };
    let limit = Limit::replays(SHRINKING);
    outcome.shrunk = shrink::shrink(subject, &outcome.verdict, &schedule.events, limit, &mut |_| ());
    if let Some(shrunk) = &outcome.shrunk {
        schedule.events.clone_from(&shrunk.events);
        outcome.interrupted |= shrunk.interrupted;
    }
}

fn looped(plan: &Plan, cell: &'static Cell, units: &[Unit], tally: &Tally) -> Outcome {
    let machine = Machine::new(plan.config.clone(), Engine::Smp);
    let started = Instant::now();
    let mut outcome = Outcome::new(Verdict::Pass);
    while outcome.verdict == Verdict::Pass && (outcome.schedules == 0 || started.elapsed() < plan.time) {
        if workers::interrupted() {
            outcome.interrupted = true;
            break;
        }
        let options = smp::Options { limit: SMP_LIMIT, seed: plan.seed.wrapping_add(outcome.schedules), units };
        let run = smp::run(&machine, options, &|| (cell.run)());
        outcome.verdict = run.verdict;
        add_profile(&mut outcome.profile, run.profile);
        outcome.schedules += 1;
        tally.executions.add(1);
    }
    outcome
}

/// Adds a run's profile to that of the runs before.
fn add_profile(sum: &mut Vec<lock_profile::Row>, run: Vec<lock_profile::Row>) {
    for row in run {
        match sum.iter_mut().find(|known| known.name == row.name && known.at == row.at) {
            Some(known) => known.add(&row),
            None => sum.push(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;
    use freebsd_sys::host::schedule::replay::Replay;

    fn plan(search: Search) -> Plan {
        let (engine, time) = (Engine::Explore, Duration::from_secs(1));
        Plan { engine, config: Config::default(), search, mix: Mix::default(), seed: 1, time }
    }

    #[test]
    fn budgets_grow_by_one_event() {
        let full = Budget { ticks: 2, interrupts: 2, migrations: 1 };
        let budgets = budgets(full);
        let sum = |budget: &Budget| budget.ticks + budget.interrupts + budget.migrations;
        assert_eq!(budgets.iter().map(sum).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(budgets.last(), Some(&full));
    }

    fn run_all(plan: &Plan, workers: usize) -> Vec<Option<Outcome>> {
        cells(plan, &all(), workers, &Tally::new(), |_| ())
    }

    fn all() -> Vec<(&'static Scenario, &'static Cell)> {
        registry::scenarios().iter().flat_map(|s| s.cells.iter().map(move |cell| (s, cell))).collect()
    }

    fn toy(name: &'static str, run: fn()) -> (&'static Scenario, &'static Cell) {
        let cells = vec![Cell { mapping: "toy", run: Box::leak(Box::new(run)), units: &Vec::new }];
        let scenario = Scenario { name, about: "", source: "", mainline: true, rt: true, with: String::new(), cells };
        let scenario: &'static Scenario = Box::leak(Box::new(scenario));
        (scenario, &scenario.cells[0])
    }

    #[test]
    fn the_number_of_workers_changes_nothing() {
        let plan = plan(Search::Sample(100));
        let one = run_all(&plan, 1);
        assert_eq!(one, run_all(&plan, 2));
        assert_eq!(one, run_all(&plan, 5));
        assert!(one.iter().all(Option::is_some));
    }

    #[test]
    fn what_is_found_replays() {
        for (outcome, (_, cell)) in run_all(&plan(Search::Sample(300)), 2).into_iter().flatten().zip(all()) {
            let Some(schedule) = outcome.schedule else { continue };
            let units = (cell.units)();
            let machine = Machine::new(schedule.config, Engine::Explore);
            let mut replay = Replay::new(schedule.events);
            let options = explore::Options { units: &units, ..explore::Options::default() };
            let execution = explore::run(&machine, &mut replay, options, &|| (cell.run)());
            assert_eq!((execution.verdict, replay.left()), (outcome.verdict, 0));
        }
    }

    #[test]
    fn one_crash_costs_one_cell() {
        let toys = [
            toy("fine", || ()),
            toy("panics", || panic!("a bug in the driver")),
            // SAFETY: not sound at all: it is the fault that the machine has to contain.
            toy("faults", || unsafe { (8 as *mut u32).write_volatile(1) }),
            toy("fine-too", || ()),
        ];
        let outcomes = cells(&plan(Search::Sample(10)), &toys, 2, &Tally::new(), |_| ());
        let names: Vec<_> = outcomes.iter().flatten().map(|outcome| outcome.verdict.name()).collect();
        assert_eq!(names, ["pass", "error", "error", "pass"]);
        let text = outcomes[1].as_ref().expect("an outcome").verdict.message();
        assert!(text.contains("a bug in the driver"), "{text}");
    }

    #[test]
    fn exhausting_says_so() {
        let toys = [toy("nothing-to-choose", || ())];
        let run = |search| cells(&plan(search), &toys, 1, &Tally::new(), |_| ()).remove(0).expect("an outcome");
        let all = run(Search::Exhaustive(None));
        assert_eq!((all.exhausted, all.schedules), (true, 1));
        let some = run(Search::Sample(7));
        assert_eq!((some.exhausted, some.schedules), (false, 7));
        assert_eq!(some.message(&plan(Search::Sample(7))), "not found in 7 schedules, seed 1");
    }

    #[test]
    fn on_smp_a_cell_loops() {
        let toys = [toy("fine", || ())];
        let plan = Plan { engine: Engine::Smp, time: Duration::from_millis(50), ..plan(Search::Sample(1)) };
        let outcome = cells(&plan, &toys, 1, &Tally::new(), |_| ()).remove(0).expect("an outcome");
        assert_eq!(outcome.verdict, Verdict::Pass);
        assert!(outcome.schedules > 1);
    }
}
