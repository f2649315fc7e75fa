//! What Linux promises a C driver, and what a driver may pass without ending more than its machine.

use compat_tests::c_units::{CUnit, units};
use freebsd_sys::host::explore::{self, Execution, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};

fn cells(scenario: &str) -> Vec<CUnit> {
    let cells: Vec<_> = units().into_iter().filter(|unit| unit.scenario == scenario).collect();
    assert!(!cells.is_empty(), "no scenario {scenario}");
    cells
}

/// `n` random executions; the first that does not pass.
fn explored(cell: &CUnit, n: u64) -> Option<Execution> {
    let machine = Machine::new(Config::default(), Engine::Explore);
    let units = (cell.units)();
    let mut schedule = Random::new(1);
    (0..n)
        .map(|index| {
            explore::run(&machine, &mut schedule, Options { index, units: &units, ..Options::default() }, &cell.run)
        })
        .find(|execution| execution.verdict != Verdict::Pass)
}

fn passes(scenario: &str, n: u64) {
    passes_unless(scenario, n, &[]);
}

/// Under each mapping but busted and those that cannot.
fn passes_unless(scenario: &str, n: u64, cannot: &[&str]) {
    for cell in cells(scenario).iter().filter(|cell| cell.mapping != "busted" && !cannot.contains(&cell.mapping)) {
        if let Some(execution) = explored(cell, n) {
            panic!("{scenario} on {}: {} {:?}", cell.mapping, execution.verdict, execution.console);
        }
    }
}

/// The verdict of a scenario that fails, under today's mapping; the process goes on.
fn verdict(scenario: &str) -> Verdict {
    let cell = cells(scenario).into_iter().find(|cell| cell.mapping == "linuxkpi_today").expect("a mapping");
    explored(&cell, 3).unwrap_or_else(|| panic!("{scenario} passes")).verdict
}

#[test]
fn irq_work_queue_says_whether_it_queued() {
    passes("selftest-irq-work-twice", 20);
}

#[test]
fn arguments_are_evaluated_once() {
    passes("selftest-wait-arguments", 3);
}

#[test]
fn jiffies_do_not_wrap() {
    passes("selftest-jiffies", 1);
}

#[test]
fn a_timer_may_be_set_far_ahead() {
    passes("selftest-timer-far", 3);
    passes("selftest-timer-rearmed", 3);
}

#[test]
fn max_schedule_timeout_is_for_ever() {
    let Verdict::Deadlock(text) = verdict("selftest-wait-for-ever") else { panic!("it returned") };
    assert!(text.contains("completion"), "{text}");
}

#[test]
fn more_memory_than_there_is() {
    passes("selftest-huge-allocations", 1);
}

#[test]
fn interrupts_that_nobody_has() {
    passes("selftest-irq-numbers", 20);
}

#[test]
fn a_workqueue_of_default_concurrency_runs_two_works_at_once() {
    passes("selftest-workqueue-default", 100);
}

#[test]
fn a_typesafe_cache_waits_for_readers() {
    passes("selftest-typesafe-cache", 300);
}

#[test]
fn once_is_once() {
    let cell = &cells("selftest-warn-once")[0];
    let machine = Machine::new(Config::default(), Engine::Explore);
    let units = (cell.units)();
    let options = Options { units: &units, ..Options::default() };
    let execution = explore::run(&machine, &mut Random::new(1), options, &cell.run);
    assert_eq!(execution.verdict, Verdict::Pass);
    assert_eq!(execution.console.len(), 2, "{:?}", execution.console);
}

#[test]
fn counts_saturate() {
    passes("selftest-refcount", 1);
}

#[test]
fn bits_lists_and_memory() {
    passes("selftest-bits", 1);
    passes("selftest-lists", 1);
    passes("selftest-slab", 1);
}

#[test]
fn reader_writer_semaphores() {
    passes("selftest-rwsem", 1);
}

#[test]
fn the_last_to_wait_is_woken_first() {
    passes("selftest-wait-order", 50);
}

#[test]
fn a_lock_is_given_up_while_its_holder_waits() {
    // The queue's lock inside another one: what blocks there does so in a critical section.
    passes_unless("selftest-wait-lock-irq", 300, &["lock_then_critical"]);
}

#[test]
fn a_deadline_that_is_polled_comes() {
    passes("selftest-poll-deadline", 20);
}

#[test]
fn times() {
    passes("selftest-ktime", 3);
}

#[test]
fn lists_that_readers_walk() {
    passes("selftest-rculist", 300);
}

/// Each of Linux's forms is a count or a flag of its own, so they mix. LinuxKPI's are not: an irqsave form is no critical section, and
/// local_irq_save is one, so a mix leaves one behind, or ends one that was not begun.
#[test]
fn forms_of_locking_mix() {
    for cell in cells("selftest-irq-mixes-untold") {
        let expected = match cell.mapping {
            "busted" | "cpu_mutex" => Verdict::Pass,
            // irqflags.h had no effect.
            "linuxkpi_2021" | "trylock_spin" => Verdict::Pass,
            _ => Verdict::Panic("critical_exit: td_critnest == 0".to_owned()),
        };
        let verdict = explored(&cell, 20).map_or(Verdict::Pass, |execution| execution.verdict);
        assert_eq!(verdict, expected, "{}", cell.mapping);
    }
    let cell = cells("selftest-irq-mixes").into_iter().find(|cell| cell.mapping == "cpu_mutex").expect("a mapping");
    let failed = explored(&cell, 20).map(|execution| execution.verdict);
    assert_eq!(failed, None);
}

#[test]
fn a_head_that_is_queued_twice_is_named() {
    assert_eq!(verdict("selftest-rcu-twice"), Verdict::Panic("call_rcu: the head is queued already".to_owned()));
    assert_eq!(verdict("selftest-zero-timer"), Verdict::Panic("mod_timer: the timer was not set up".to_owned()));
}

/// What is enabled more often than disabled is no large count from then on.
#[test]
fn enabling_too_often_is_a_panic() {
    for (scenario, name) in [
        ("selftest-preempt-underflow", "preempt_enable"),
        ("selftest-irq-underflow", "local_irq_enable"),
        ("selftest-bh-underflow", "local_bh_enable"),
    ] {
        let cell = cells(scenario).into_iter().find(|cell| cell.mapping == "cpu_mutex").expect("a mapping");
        let verdict = explored(&cell, 1).expect("it fails").verdict;
        assert_eq!(verdict, Verdict::Panic(format!("{name}: was not disabled")), "{scenario}");
    }
}

#[test]
fn null_objects_are_page_faults() {
    for what in ["work", "dwork", "irq-work", "timer", "tasklet", "wait", "rcu"] {
        let Verdict::Panic(text) = verdict(&format!("selftest-null-{what}")) else { panic!("{what}: no panic") };
        assert!(text.starts_with("page fault"), "{what}: {text}");
    }
}

#[test]
fn what_was_never_initialised_is_a_verdict() {
    for what in ["zero-timer", "zero-tasklet", "zero-work", "zero-irq-work", "zero-held", "garbage-held", "rcu-twice"] {
        let verdict = verdict(&format!("selftest-{what}"));
        println!("{what}: {verdict}");
        assert!(matches!(verdict, Verdict::Panic(_) | Verdict::Error(_)), "{what}: {verdict}");
    }
}
