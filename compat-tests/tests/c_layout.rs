//! The C side: layouts, the headers' macros under each mapping, static memory, and what driver code may do wrong.

use compat_tests::c_units::{CUnit, units};
use freebsd_sys::host::explore::{self, Execution, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::host::smp;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn cells(scenario: &str) -> Vec<CUnit> {
    let cells: Vec<_> = units().into_iter().filter(|unit| unit.scenario == scenario).collect();
    assert!(!cells.is_empty(), "no scenario {scenario}");
    cells
}

/// `n` random executions; the first that does not pass.
fn explore_on(machine: &Machine, cell: &CUnit, n: u64) -> Option<Execution> {
    let units = (cell.units)();
    let mut schedule = Random::new(1);
    (0..n)
        .map(|index| {
            explore::run(machine, &mut schedule, Options { index, units: &units, ..Options::default() }, &cell.run)
        })
        .find(|execution| execution.verdict != Verdict::Pass)
}

fn passes(scenario: &str, n: u64) {
    for cell in cells(scenario) {
        let machine = Machine::new(Config::default(), Engine::Explore);
        if let Some(execution) = explore_on(&machine, &cell, n) {
            panic!("{scenario} on {}: {} {:?}", cell.mapping, execution.verdict, execution.console);
        }
    }
}

/// The verdict of a scenario that fails, under one mapping; then the same machine goes on.
fn verdict(scenario: &str, n: u64) -> Verdict {
    let today =
        |scenario| cells(scenario).into_iter().find(|cell| cell.mapping == "linuxkpi_today").expect("a mapping");
    let machine = Machine::new(Config::default(), Engine::Explore);
    let failed = explore_on(&machine, &today(scenario), n).unwrap_or_else(|| panic!("{scenario} passes"));
    let next = explore_on(&machine, &today("selftest-spinlock"), 1);
    assert!(next.is_none(), "after {scenario}: {next:?}");
    failed.verdict
}

#[test]
fn every_mapping_has_its_units() {
    let mut names = Vec::new();
    macro_rules! name {
        ($mapping:ty, $name:literal) => {
            names.push($name);
        };
    }
    linuxkpi::for_each_mapping!(name);
    let built: Vec<_> = cells("selftest-spinlock").iter().map(|cell| cell.mapping).collect();
    names.sort_unstable();
    assert_eq!(names, built, "build.rs takes the names from the files of linuxkpi/src/mapping");
}

#[test]
fn c_and_rust_agree_on_sizes() {
    let header = include_str!("../../linuxkpi/include/linuxkpi/layout.h");
    for (name, size) in [
        ("LKPI_SPINLOCK_SIZE", linuxkpi::ffi::SPINLOCK_SIZE),
        ("LKPI_RWLOCK_SIZE", linuxkpi::ffi::RWLOCK_SIZE),
        ("LKPI_SEQCOUNT_SIZE", linuxkpi::ffi::SEQCOUNT_SIZE),
    ] {
        // The other sizes and offsets are asserted where each side is compiled.
        assert!(header.contains(&format!("#define {name} {size}\n")), "{name} is {size} in linuxkpi/src/ffi.rs");
    }
}

/// The headers below `folder`, as `#include` names them.
fn headers(folder: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_str().expect("text"));
        if entry.path().is_dir() {
            found.extend(headers(&entry.path(), &format!("{name}/")));
        } else {
            found.push(name);
        }
    }
    found
}

#[test]
fn every_header_is_included_with_all_others() {
    let mut all = headers(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../linuxkpi/include"), "");
    all.sort();
    let included = |unit: &'static str| -> Vec<_> {
        unit.lines().filter_map(|line| line.strip_prefix("#include <")?.strip_suffix('>')).collect()
    };
    assert_eq!(included(include_str!("../suites/c/headers_forward.c")), all);
    all.reverse();
    assert_eq!(included(include_str!("../suites/c/headers_backward.c")), all);
}

#[test]
fn c_and_rust_agree_on_the_number_of_cpus() {
    let max = format!("#define MAXCPU {}\n", freebsd_sys::cpu::MAXCPU);
    assert!(include_str!("../../linuxkpi/include/sys/param.h").contains(&max), "{max}");
}

#[test]
fn c_and_rust_agree_on_priorities() {
    use freebsd_sys::sched::pri;
    let header = include_str!("../../linuxkpi/include/sys/priority.h");
    for (name, value) in [
        ("PRI_ITHD", pri::CLASS_ITHD),
        ("PRI_REALTIME", pri::CLASS_REALTIME),
        ("PRI_TIMESHARE", pri::CLASS_TIMESHARE),
        ("PRI_IDLE", pri::CLASS_IDLE),
        ("PRI_MAX", pri::PRI_MAX),
        ("PRI_MIN_REALTIME", pri::PRI_MIN_REALTIME),
        ("PRI_MIN_KERN", pri::PRI_MIN_KERN),
        ("PRI_MIN_TIMESHARE", pri::PRI_MIN_TIMESHARE),
        ("PRI_MIN_IDLE", pri::PRI_MIN_IDLE),
    ] {
        assert!(header.contains(&format!("#define {name} {value}\n")), "{name} is {value}");
    }
    for (name, base, value) in [
        ("PI_REALTIME", "PRI_MIN_ITHD", pri::PI_REALTIME),
        ("PI_INTR", "PRI_MIN_ITHD", pri::PI_INTR),
        ("PI_SOFT", "PRI_MIN_ITHD", pri::PI_SOFT),
        ("PVM", "PRI_MIN_KERN", pri::PVM - pri::PRI_MIN_KERN),
        ("PWAIT", "PRI_MIN_KERN", pri::PWAIT - pri::PRI_MIN_KERN),
        ("PLOCK", "PRI_MIN_KERN", pri::PLOCK - pri::PRI_MIN_KERN),
    ] {
        assert!(header.contains(&format!("#define {name} ({base} + {value})\n")), "{name} is {base} + {value}");
    }
    assert_eq!(pri::PRI_MAX_ITHD, pri::PRI_MIN_REALTIME - 1);
    assert_eq!((pri::PRI_MAX_TIMESHARE, pri::PUSER), (pri::PRI_MIN_IDLE - 1, pri::PRI_MIN_TIMESHARE));
}

#[test]
fn zeroed_counts_work_where_nothing_else_is_in_them() {
    for cell in cells("selftest-zeroed-count") {
        let machine = Machine::new(Config::default(), Engine::Explore);
        let failed = explore_on(&machine, &cell, 1);
        // The rwlock or rmlock in the count wants seqcount_init().
        let needs_init = matches!(cell.mapping, "seq_rwlock" | "seq_rmlock");
        assert_eq!(failed.is_some(), needs_init, "{}: {failed:?}", cell.mapping);
    }
}

#[test]
fn messages_name_the_line_in_c() {
    let expected = "_mtx_lock_sleep: recursed on non-recursive mutex lnxspin @ driver.c:1000";
    assert_eq!(verdict("selftest-recursion", 1), Verdict::Panic(expected.to_owned()));
}

#[test]
fn every_form_of_spinlock() {
    passes("selftest-spinlock", 3);
}

#[test]
fn sysinits_run_by_subsystem_and_order() {
    passes("selftest-sysinit", 2);
}

#[test]
fn every_form_of_rwlock() {
    passes("selftest-rwlock", 3);
}

#[test]
fn every_type_of_sequence_count() {
    passes("selftest-seqcount", 3);
}

#[test]
fn every_form_of_seqlock() {
    passes("selftest-seqlock", 3);
}

#[test]
fn preemption_interrupts_and_bottom_halves() {
    passes("selftest-context", 3);
}

#[test]
fn the_mutexes_of_freebsd() {
    passes("selftest-mtx", 3);
}

#[test]
fn atomics_bits_and_lists() {
    passes("selftest-atomics", 3);
}

#[test]
fn statics_are_new_in_each_execution() {
    passes("selftest-statics", 100);
    // Another machine finds them new, too.
    passes("selftest-statics", 1);
}

#[test]
fn smp_runs_the_same_code() {
    for scenario in
        ["selftest-spinlock", "selftest-rwlock", "selftest-seqcount", "selftest-seqlock", "selftest-statics"]
    {
        for cell in cells(scenario) {
            let machine = Machine::new(Config::default(), Engine::Smp);
            let units = (cell.units)();
            let options = smp::Options { limit: Duration::from_secs(300), seed: 1, units: &units };
            let run = smp::run(&machine, options, &cell.run);
            assert_eq!(run.verdict, Verdict::Pass, "{scenario} on {}", cell.mapping);
        }
    }
}

#[test]
fn the_other_headers() {
    passes("selftest-headers", 3);
}

#[test]
fn a_signal_ends_the_wait_for_a_mutex() {
    passes("selftest-mutex-interruptible", 50);
}

#[test]
fn a_data_race_is_a_verdict() {
    let Verdict::Corruption(text) = verdict("selftest-data-race", 200) else { panic!("no corruption") };
    assert!(text.starts_with("data race"), "{text}");
}

#[test]
fn locked_data_does_not_race() {
    for cell in cells("selftest-no-data-race").iter().filter(|cell| cell.mapping != "busted") {
        let machine = Machine::new(Config::default(), Engine::Explore);
        let failed = explore_on(&machine, cell, 100);
        assert!(failed.is_none(), "{}: {:?}", cell.mapping, failed.map(|execution| execution.verdict));
    }
}

#[test]
fn a_spin_loop_waits_for_what_it_reads() {
    passes("selftest-spin-wait", 50);
    let Verdict::Livelock(text) = verdict("selftest-livelock", 1) else { panic!("no livelock") };
    assert!(text.contains("waiter spins"), "{text}");
}

#[test]
fn memory_is_checked() {
    let Verdict::Corruption(text) = verdict("selftest-use-after-free", 1) else { panic!("no corruption") };
    assert!(text.starts_with("use after free"), "{text}");
    let Verdict::Error(text) = verdict("selftest-leak", 1) else { panic!("no leak") };
    assert!(text.starts_with("memory leak: 100 bytes"), "{text}");
}

#[test]
fn c_frames_are_unwound() {
    for cell in cells("selftest-unwind") {
        let machine = Machine::new(Config::default(), Engine::Explore);
        for _ in 0..20 {
            let failed = explore_on(&machine, &cell, 1).expect("it panics");
            assert_eq!(failed.verdict, Verdict::Panic("giving up".to_owned()), "{}", cell.mapping);
        }
    }
}

#[test]
fn a_panic_has_its_text() {
    assert_eq!(verdict("selftest-panic", 1), Verdict::Panic("selftest: panic, 7".to_owned()));
}

#[test]
fn an_endless_loop_is_an_error() {
    let Verdict::Error(text) = verdict("selftest-endless-loop", 1) else { panic!("no error") };
    assert!(text.starts_with("endless loop in driver code"), "{text}");
}

#[test]
fn a_null_dereference_is_an_error() {
    let Verdict::Error(text) = verdict("selftest-null-dereference", 1) else { panic!("no error") };
    assert!(text.starts_with("fault in driver code (SIGSEGV"), "{text}");
}

#[test]
fn a_null_lock_is_a_page_fault() {
    let Verdict::Panic(text) = verdict("selftest-null-lock", 1) else { panic!("no panic") };
    assert!(text.starts_with("page fault"), "{text}");
}

#[test]
fn a_stack_overflow_is_an_error() {
    let Verdict::Error(text) = verdict("selftest-stack-overflow", 1) else { panic!("no error") };
    assert!(text.starts_with("kernel stack overflow"), "{text}");
}
