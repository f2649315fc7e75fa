//! A process that explores for long does not grow: what one execution dirties, the next one uses again.
//!
//! One test, so one process with nothing else in it: the resident memory is the process's.

use compat_tests::registry;
use compat_tests::run::{self, Mix, Plan, Search};
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::Schedule;
use freebsd_sys::host::schedule::pct::Pct;
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use std::time::Duration;

/// Executions after which everything has its size: stacks, tables, the allocator's bins.
const WARM: u64 = 1_000;

/// All executions of a cell; `LKPI_MEMORY_SCHEDULES` overrides it.
const EXECUTIONS: u64 = 100_000;

/// Machines, made one after the other, and those after which the allocator has its size: a leak of 110 bytes in each would show.
const MACHINES: u64 = 3_000;
const WARM_MACHINES: u64 = 500;

/// What a cell's resident memory may grow by: an execution that leaked a single block of malloc's smallest size (16 bytes and its head)
/// would grow by 3 MiB in 99,000 executions, one that leaked a page by 400 MiB. Below that are single new maxima: a stack that an
/// execution used one page deeper than any before, a vector that doubled.
const SLACK: u64 = 256 << 10;

/// Resident bytes, counted page by page: what statm says is summed up now and then, and may be a quarter of a megabyte off.
fn resident() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("procfs");
    let rss = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line of that name");
    let kib: u64 = rss.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib << 10
}

/// Verdicts other than a pass, and the growth after the first [`WARM`] executions.
fn grows(scenario: &str, mapping: &str, executions: u64) -> (u64, u64) {
    let (_, cell) = registry::cell(scenario, mapping).expect("a cell");
    let units = (cell.units)();
    let machine = Machine::new(Config::default(), Engine::Explore);
    let (mut random, mut pct) = (Random::new(1), Pct::new(1, 3));
    let (mut failures, mut warm) = (0, 0);
    for index in 0..executions {
        if index == WARM {
            warm = resident();
        }
        let schedule: &mut dyn Schedule = if index % 2 == 0 { &mut random } else { &mut pct };
        let options = Options { index, units: &units, ..Options::default() };
        let execution = explore::run(&machine, schedule, options, &|| (cell.run)());
        schedule.end(execution.events.len());
        failures += u64::from(execution.verdict != Verdict::Pass);
    }
    (failures, resident().saturating_sub(warm))
}

#[test]
fn executions_leave_nothing_behind() {
    let executions = std::env::var("LKPI_MEMORY_SCHEDULES").map_or(EXECUTIONS, |n| n.parse().expect("a number"));
    for (scenario, mapping, fails) in [
        ("dma-resv-fence-callback", "cpu_mutex", false),
        ("callback-frees-memory", "linuxkpi_2021", true),
        ("dma-resv-fence-callback", "trylock_spin", true),
        ("dma-resv-fence-callback-c", "linuxkpi_2021", true),
    ] {
        let (failures, growth) = grows(scenario, mapping, executions);
        println!("{scenario} on {mapping}: {failures} of {executions} failed, grew by {} KiB", growth >> 10);
        assert_eq!(failures > 0, fails, "{scenario} on {mapping}: {failures} failures");
        assert!(growth <= SLACK, "{scenario} on {mapping} grew by {growth} bytes in {} executions", executions - WARM);
    }
    // The command's own loop makes a machine per cell: machines are given back as well.
    let (scenario, cell) = registry::cell("dma-resv-fence-callback", "linuxkpi_2021").expect("a cell");
    let (config, time) = (Config::default(), Duration::ZERO);
    let plan =
        Plan { engine: Engine::Explore, config, search: Search::Sample(100), mix: Mix::default(), seed: 1, time };
    let mut warm = 0;
    for round in 0..=MACHINES {
        if round == WARM_MACHINES {
            warm = resident();
        }
        run::cells(&plan, &[(scenario, cell)], 1, &run::Tally::new(), |_| ());
    }
    let growth = resident().saturating_sub(warm);
    println!("{} machines: grew by {} KiB", MACHINES - WARM_MACHINES, growth >> 10);
    assert!(growth <= SLACK, "machines grew by {growth} bytes");
}
