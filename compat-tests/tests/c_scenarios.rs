//! The scenarios that are written in C meet the fate of their Rust originals.

use compat_tests::c_units::units;
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::host::smp;
use freebsd_sys::machine::{Config, Engine, Machine, Unit, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

/// Verdicts of `n` random executions, counted by their names, and one message of each.
fn verdicts(run: &dyn Fn(), units: &[Unit], n: u64) -> BTreeMap<&'static str, (u64, String)> {
    let machine = Machine::new(Config::default(), Engine::Explore);
    let mut schedule = Random::new(7);
    let mut found = BTreeMap::new();
    for index in 0..n {
        let execution = explore::run(
            &machine,
            &mut schedule,
            Options { trace: index % 100 == 0, index, units, ..Options::default() },
            run,
        );
        let entry: &mut (u64, String) = found.entry(execution.verdict.name()).or_default();
        entry.0 += 1;
        entry.1 = execution.verdict.message().to_owned();
    }
    found
}

#[test]
fn dma_resv_fence_callback() {
    let mut known = 0;
    for cell in units().iter().filter(|cell| cell.scenario == "dma-resv-fence-callback") {
        let found = verdicts(&cell.run, &(cell.units)(), 2000);
        println!("{}: {found:?}", cell.mapping);
        let message = |verdict| found.get(verdict).map_or("", |(_, message): &(u64, String)| message.as_str());
        match cell.mapping {
            // The writer's critical section: #116.
            "linuxkpi_2021" => assert_eq!(message("panic"), "mi_switch: switch in a critical section"),
            "linuxkpi_today" | "seq_rwlock" | "seq_rmlock" | "seq_turnstile" => {
                assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["pass"], "{}: {found:?}", cell.mapping);
            }
            "busted" => assert_ne!(message("corruption"), "", "{found:?}"),
            _ => continue,
        }
        known += 1;
    }
    assert_eq!(known, 6);
}

/// Host threads, real time: the C code, its unwinding and its static memory are the same.
#[test]
fn dma_resv_fence_callback_on_smp() {
    for cell in units().iter().filter(|cell| cell.scenario == "dma-resv-fence-callback") {
        if !matches!(cell.mapping, "linuxkpi_today" | "seq_turnstile" | "cpu_mutex") {
            continue;
        }
        let machine = Machine::new(Config::default(), Engine::Smp);
        let units = (cell.units)();
        for seed in 0..20 {
            let options = smp::Options { limit: Duration::from_secs(300), seed, units: &units };
            let run = smp::run(&machine, options, &cell.run);
            assert_eq!(run.verdict, Verdict::Pass, "{} seed {seed}", cell.mapping);
        }
    }
}
