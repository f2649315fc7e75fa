//! C scenarios of the headers themselves, on both engines.

#![allow(
    dead_code,
    reason = "each test binary uses its part; an expectation would be unfulfilled in one that uses all"
)]

use compat_tests::c_units::{CUnit, units};
use freebsd_sys::host::explore::{self, Execution, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::host::smp;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use std::time::Duration;

/// The scenario on one mapping: these headers do not depend on it.
pub(crate) fn cell(scenario: &str) -> CUnit {
    let found = units().into_iter().find(|unit| unit.scenario == scenario && unit.mapping == "linuxkpi_today");
    found.unwrap_or_else(|| panic!("no scenario {scenario}"))
}

/// `n` random executions; the first that does not pass.
pub(crate) fn explore(scenario: &str, n: u64) -> Option<Execution> {
    explore_with(Config::default(), scenario, n)
}

/// [`explore`] on a machine of other options.
pub(crate) fn explore_with(config: Config, scenario: &str, n: u64) -> Option<Execution> {
    let cell = cell(scenario);
    let (machine, units) = (Machine::new(config, Engine::Explore), (cell.units)());
    let mut schedule = Random::new(1);
    (0..n)
        .map(|index| {
            explore::run(&machine, &mut schedule, Options { index, units: &units, ..Options::default() }, &cell.run)
        })
        .find(|execution| execution.verdict != Verdict::Pass)
}

/// One execution, with what it prints.
pub(crate) fn once(config: Config, scenario: &str) -> Execution {
    let cell = cell(scenario);
    let (machine, units) = (Machine::new(config, Engine::Explore), (cell.units)());
    explore::run(&machine, &mut Random::new(1), Options { units: &units, ..Options::default() }, &cell.run)
}

/// `scenario` passes in `n` random executions and on `smp`.
pub(crate) fn passes(scenario: &str, n: u64) {
    if let Some(execution) = explore(scenario, n) {
        panic!("{scenario}: {} {:?}", execution.verdict, execution.console);
    }
    passes_on_smp(Config::default(), scenario);
}

/// `scenario` passes on `smp`.
pub(crate) fn passes_on_smp(config: Config, scenario: &str) {
    let cell = cell(scenario);
    let machine = Machine::new(config, Engine::Smp);
    let options = smp::Options { limit: Duration::from_secs(300), seed: 1, units: &(cell.units)() };
    assert_eq!(smp::run(&machine, options, &cell.run).verdict, Verdict::Pass, "{scenario} on smp");
}

/// The text of the panic that `scenario` ends with.
pub(crate) fn panics(scenario: &str) -> String {
    match explore(scenario, 20).expect("it panics").verdict {
        Verdict::Panic(text) => text,
        other => panic!("{scenario}: {other}"),
    }
}
