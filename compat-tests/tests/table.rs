//! What the project promises of its table, cell by cell, beyond the verdicts that `expected.toml` records: messages, replays, and why.

use compat_tests::expected::Expected;
use compat_tests::registry::{self, Scenario};
use compat_tests::replay;
use compat_tests::run::{self, Mix, Outcome, Plan, Search};
use compat_tests::schedule::Printable;
use freebsd_sys::host::explore::{self, Execution, Options, Step};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::machine::{Config, Engine, Granularity, Machine, Verdict};
use freebsd_sys::sched::pri;
use std::time::Duration;

const CASE: &str = "dma-resv-fence-callback";
const SWITCH: &str = "mi_switch: switch in a critical section";
const MALLOC: &str = "malloc: called with spinlock or critical section held";

/// What `lkpi compare --cpus CPUS --schedules N` finds in a cell.
#[track_caller]
fn compare(scenario: &str, mapping: &str, cpus: usize, schedules: u64) -> Outcome {
    compare_seed(scenario, mapping, cpus, schedules, 1)
}

/// [`compare`] with `--seed`.
#[track_caller]
fn compare_seed(scenario: &str, mapping: &str, cpus: usize, schedules: u64, seed: u64) -> Outcome {
    let cell = registry::cell(scenario, mapping).expect("a cell");
    let config = Config { cpus, ..Config::default() };
    let search = Search::Sample(schedules);
    let plan = Plan { engine: Engine::Explore, config, search, mix: Mix::default(), seed, time: Duration::ZERO };
    run::cells(&plan, &[cell], 1, &run::Tally::new(), |_| ()).remove(0).expect("an outcome")
}

/// `n` random walks, traced, the schedule of each as it would be printed.
fn walk(scenario: &str, mapping: &str, config: &Config, seed: u64, n: u64, mut see: impl FnMut(&Execution, Printable)) {
    let (_, cell) = registry::cell(scenario, mapping).expect("a cell");
    let machine = Machine::new(config.clone(), Engine::Explore);
    let mut random = Random::new(seed);
    for index in 0..n {
        let options = Options { index, trace: true, ..Options::default() };
        let execution = explore::run(&machine, &mut random, options, &|| (cell.run)());
        let (scenario, mapping) = (scenario.to_owned(), mapping.to_owned());
        let events = execution.events.clone();
        see(&execution, Printable { scenario, mapping, config: config.clone(), events });
    }
}

/// The owner of the lock of that name when the execution ended.
fn owner<'a>(execution: &'a Execution, lock: &str) -> &'a str {
    let mutex = format!("exclusive sleep mutex {lock} ");
    let line = execution.locks.iter().find(|line| line.starts_with(&mutex));
    let line = line.unwrap_or_else(|| panic!("{lock} is not held: {:?}", execution.locks));
    let (_, owner) = line.split_once(" owned by ").expect("an owner");
    owner.trim_end_matches(" (not enrolled)")
}

/// Whether `thread` was off its CPU when the execution ended: preempted, blocked or asleep since its last step, by the trace.
fn off_cpu(trace: &[Step], thread: &str) -> bool {
    let left = |step: &Step| {
        let fates = ["preempted by ", "blocks on ", "sleeps on ", "yields to "];
        let own =
            |change: &String| change.strip_prefix(thread).and_then(|rest| rest.strip_prefix(' ').map(str::to_owned));
        step.changes.iter().filter_map(own).any(|change| fates.iter().any(|fate| change.starts_with(fate)))
    };
    let left = trace.iter().rposition(left);
    let ran = trace.iter().rposition(|step| step.thread == thread);
    // Who loses the CPU does so at the end of a step of its own, or of an interrupt that it took.
    left.is_some() && left >= ran
}

#[test]
fn linuxkpi_2021_panics_within_1000_random_schedules_and_replays_100_times_of_100() {
    for seed in 1..=5 {
        let mut found = None;
        walk(CASE, "linuxkpi_2021", &Config::default(), seed, 1000, |execution, schedule| {
            if execution.verdict != Verdict::Pass && found.is_none() {
                assert_eq!(execution.verdict, Verdict::Panic(SWITCH.to_owned()));
                found = Some(schedule);
            }
        });
        let found = found.unwrap_or_else(|| panic!("seed {seed}: not found in 1,000 random schedules"));
        let read = Printable::parse(&found.to_string()).expect("what is printed is parsed");
        assert_eq!(read, found);
        let replayed = replay::replay(&read, Some(100)).expect("it fits");
        assert_eq!(replayed.execution().verdict, Verdict::Panic(SWITCH.to_owned()));
        assert_eq!(replayed.again(), Some((100, 100)), "seed {seed}");
    }
}

#[test]
fn trylock_spin_livelocks_since_the_owner_waits_for_the_spinners_cpu() {
    for cpus in [1, 2] {
        let outcome = compare(CASE, "trylock_spin", cpus, 2000);
        let Verdict::Livelock(text) = &outcome.verdict else { panic!("{cpus} CPUs: {}", outcome.verdict) };
        let schedule = outcome.schedule.expect("a schedule");
        let replayed = replay::replay(&schedule, Some(10)).expect("it fits");
        assert!(replayed.agrees());
        let owner = owner(replayed.execution(), "lnxspin");
        let spins = "ioctl spins in mtx_trylock on lnxspin#";
        assert!(text.starts_with(spins), "{text}");
        let (_, waiting) = text.split_once(" in a critical section on cpu").expect("where it spins");
        // "0, with A, B waiting for this CPU; ..": the owner is in the run queue of the spinner's CPU.
        let (_, queue) = waiting.split_once(", with ").expect("who waits for its CPU");
        let (queue, _) = queue.split_once(" waiting for this CPU").expect("who waits for its CPU");
        assert!(queue.split(", ").any(|name| name == owner), "{owner} owns the lock: {text}");
    }
}

#[test]
fn the_mappings_that_pass_the_fence_callback_and_the_control_that_fails() {
    for mapping in ["linuxkpi_today", "seq_rwlock", "seq_rmlock", "seq_turnstile", "cpu_mutex"] {
        for cpus in [1, 2] {
            assert_eq!(compare(CASE, mapping, cpus, 2000).verdict, Verdict::Pass, "{mapping} on {cpus} CPUs");
        }
    }
    assert_eq!(compare(CASE, "busted", 2, 2000).verdict.name(), "corruption");
}

#[test]
fn a_callback_that_allocates_panics_in_mallocs_own_words() {
    for mapping in ["linuxkpi_2021", "lock_then_critical", "spin_mutex"] {
        let outcome = compare("callback-frees-memory", mapping, 2, 2000);
        assert_eq!(outcome.verdict, Verdict::Panic(MALLOC.to_owned()), "{mapping}");
    }
}

#[test]
fn a_preempted_seq_writer_hangs_linuxkpi_today_and_is_lent_the_readers_priority_by_seq_turnstile() {
    let outcome = compare("preempted-seq-writer", "linuxkpi_today", 2, 2000);
    assert_eq!(outcome.verdict.name(), "livelock", "{}", outcome.verdict);
    assert_eq!(compare("preempted-seq-writer", "seq_turnstile", 2, 2000).verdict, Verdict::Pass);
    // Some of the passes were passes because the writer got the reader's priority: replay the first.
    let lent = |trace: &[Step]| {
        let expected = format!("update priority={} (lent, ", pri::PI_SOFT);
        trace.iter().position(|step| step.changes.iter().any(|change| change.starts_with(&expected)))
    };
    let mut found = None;
    walk("preempted-seq-writer", "seq_turnstile", &Config::default(), 1, 500, |execution, schedule| {
        assert_eq!(execution.verdict, Verdict::Pass);
        if found.is_none() && lent(&execution.trace).is_some() {
            found = Some(Printable::parse(&schedule.to_string()).expect("what is printed is parsed"));
        }
    });
    let schedule = found.expect("a reader that met a preempted writer");
    let replayed = replay::replay(&schedule, Some(10)).expect("it fits");
    assert!(replayed.agrees());
    let execution = replayed.execution();
    assert_eq!(execution.verdict, Verdict::Pass);
    let at = lent(&execution.trace).expect("lent again");
    let lends = &execution.trace[at];
    let blocks = format!("{} blocks on ", lends.thread);
    let reader = |change: &String| change.starts_with(&blocks) && change.ends_with("lends its priority to update");
    assert!(lends.thread.starts_with("clock ") && lends.changes.iter().any(reader), "{lends:?}");
    // It was preempted before, and gives the loan back at the end of its section.
    let preempted = |change: &String| change.starts_with("update preempted by ");
    assert!(execution.trace[..at].iter().any(|step| step.changes.iter().any(preempted)), "{:#?}", execution.trace);
    let given_back = |change: &String| {
        change.starts_with("update priority=") && change.ends_with(&format!("(was {})", pri::PI_SOFT))
    };
    let back = execution.trace[at..].iter().find(|step| step.changes.iter().any(given_back)).expect("given back");
    assert_eq!((back.thread.as_str(), back.what.as_str()), ("update", "seqc_write_end"));
}

#[test]
fn critical_before_spinlock_panics_only_when_the_owner_is_off_cpu() {
    let (mut panics, mut passes) = (0, 0);
    walk("critical-before-spinlock", "linuxkpi_today", &Config::default(), 1, 2000, |execution, schedule| {
        match &execution.verdict {
            Verdict::Pass => passes += 1,
            Verdict::Panic(text) => {
                panics += 1;
                assert_eq!(text, SWITCH);
                let owner = owner(execution, "lnxspin");
                assert!(off_cpu(&execution.trace, owner), "{owner} runs: {schedule}\n{:#?}", execution.trace);
            }
            other => panic!("{other}: {schedule}"),
        }
    });
    assert!(panics > 10 && passes > 10, "{panics} panics, {passes} passes");
}

#[test]
fn lint_reports_critical_before_spinlock_in_every_execution() {
    let config = Config { lint: true, ..Config::default() };
    let line = "lint: mtx_lock of (sleep mutex) lnxspin in a critical section @ ";
    let mut passes = 0;
    walk("critical-before-spinlock", "linuxkpi_today", &config, 1, 1000, |execution, schedule| {
        assert!(execution.console.iter().any(|text| text.starts_with(line)), "{schedule}: {:?}", execution.console);
        passes += u64::from(execution.verdict == Verdict::Pass);
    });
    assert!(passes > 10, "{passes} passes: lint is to find what FreeBSD does not");
}

#[test]
fn sleeping_in_a_critical_section_panics_on_every_mapping_that_has_one() {
    for mapping in registry::mappings() {
        let verdict = compare("sleep-in-critical", mapping, 2, 2000).verdict;
        match mapping {
            // No section at all: only the data suffers.
            "busted" => assert_eq!(verdict.name(), "corruption"),
            // Its sections are not critical; sleeping is prohibited all the same.
            "cpu_mutex" => {
                let Verdict::Panic(text) = &verdict else { panic!("{verdict}") };
                assert!(text.contains("with sleeping prohibited"), "{text}");
            }
            _ => assert_eq!(verdict, Verdict::Panic(SWITCH.to_owned()), "{mapping}"),
        }
    }
}

#[test]
fn the_c_twin_has_the_same_verdicts() {
    for mapping in registry::mappings() {
        for cpus in [1, 2] {
            let rust = compare(CASE, mapping, cpus, 2000).verdict;
            let c = compare("dma-resv-fence-callback-c", mapping, cpus, 2000).verdict;
            assert_eq!(c.name(), rust.name(), "{mapping} on {cpus} CPUs: {c}, and in Rust {rust}");
            if matches!(rust, Verdict::Panic(_)) {
                assert_eq!(c, rust, "{mapping} on {cpus} CPUs");
            }
        }
    }
}

/// Scenarios that mainline Linux allows.
fn allowed() -> impl Iterator<Item = &'static Scenario> {
    registry::scenarios().iter().filter(|scenario| scenario.mainline)
}

#[test]
fn the_control_fails_whatever_linux_allows() {
    let (expected, _) = Expected::load().expect("expected.toml");
    for scenario in registry::scenarios() {
        let verdict = compare(scenario.name, "busted", 2, 2000).verdict;
        let expectation = expected.get(scenario.name, "busted", 2).expect("a cell");
        // expected.toml lets it pass sleep-under-spinlock alone: nobody waits for the sleeper, and the sleep orders the threads.
        let may_pass = expectation.verdict.names().iter().any(|name| name == "pass");
        assert_eq!(may_pass, scenario.name == "sleep-under-spinlock", "{}", scenario.name);
        assert!(!(may_pass && scenario.mainline), "{}: Linux allows it, so the control has to fail", scenario.name);
        assert!(may_pass || verdict != Verdict::Pass, "{} does not notice that nothing is locked", scenario.name);
    }
}

#[test]
fn cpu_mutex_passes_whatever_linux_allows() {
    assert!(allowed().count() >= 14);
    for scenario in allowed() {
        for (cpus, seed) in [1, 2, 4].into_iter().flat_map(|cpus| [(cpus, 1), (cpus, 2)]) {
            let outcome = compare_seed(scenario.name, "cpu_mutex", cpus, 2000, seed);
            assert_eq!(outcome.verdict, Verdict::Pass, "{} on {cpus} CPUs, seed {seed}", scenario.name);
            assert_eq!(outcome.schedules, 2000);
        }
    }
}

#[test]
fn tracing_changes_nothing_and_finds_something_to_say_in_every_cell() {
    for (scenario, cell) in registry::scenarios().iter().flat_map(|s| s.cells.iter().map(move |cell| (s, cell))) {
        let units = (cell.units)();
        let machine = Machine::new(Config::default(), Engine::Explore);
        let mut random = Random::new(3);
        for index in 0..60 {
            let [plain, traced] = [false, true].map(|trace| {
                let options = Options { trace, index, units: &units, ..Options::default() };
                explore::run(&machine, &mut random, options, &|| (cell.run)())
            });
            let what = format!("{} on {}, execution {index}", scenario.name, cell.mapping);
            assert_eq!((&traced.verdict, &traced.events), (&plain.verdict, &plain.events), "{what}");
            assert_eq!(
                (traced.steps, &traced.console, &traced.locks),
                (plain.steps, &plain.console, &plain.locks),
                "{what}"
            );
            assert!(plain.trace.is_empty() && traced.trace.len() > 5, "{what}");
            assert!(traced.trace.iter().any(|step| step.at.is_some() || !step.changes.is_empty()), "{what}");
            // Nothing depends on the machine that this runs on, and every lock has its name.
            let texts = traced.trace.iter().flat_map(|step| step.changes.iter().chain([&step.what]).chain(&step.at));
            for text in texts {
                assert!(!text.contains("(null)") && !text.starts_with('/'), "{what}: {text}");
            }
        }
    }
}

#[test]
fn at_insn_no_cell_that_passes_fails_and_schedules_replay() {
    let expected = Expected::load().expect("expected.toml").0;
    let cells: Vec<_> = registry::scenarios()
        .iter()
        .flat_map(|scenario| scenario.cells.iter().map(move |cell| (scenario, cell)))
        .collect();
    for adaptive in [true, false] {
        let config = Config { granularity: Granularity::Insn, adaptive, ..Config::default() };
        let (search, mix, time) = (Search::Sample(100), Mix::default(), Duration::ZERO);
        let plan = Plan { engine: Engine::Explore, config, search, mix, seed: 1, time };
        let mut failed = 0;
        for (&(scenario, cell), outcome) in cells.iter().zip(run::cells(&plan, &cells, 2, &run::Tally::new(), |_| ())) {
            let outcome = outcome.expect("an outcome");
            let name = format!("{} on {}: {}", scenario.name, cell.mapping, outcome.verdict);
            if outcome.verdict == Verdict::Pass {
                continue;
            }
            failed += 1;
            let known = expected.get(scenario.name, cell.mapping, 2).expect("a verdict for each cell");
            assert!(!known.met_by(Engine::Explore, &Verdict::Pass), "{name}");
            let line = outcome.schedule.expect("a failure has its schedule").to_string();
            assert!(line.contains(";granularity=insn;"), "{line}");
            let schedule = Printable::parse(&line).expect("what is printed is parsed");
            let again = replay::replay(&schedule, None).expect("it fits");
            assert_eq!(again.execution().verdict, outcome.verdict, "{name}");
        }
        assert!(failed > 80, "{failed}");
    }
}
