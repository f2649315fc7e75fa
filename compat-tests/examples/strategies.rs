//! How many schedules each strategy needs until a cell that is expected to fail does: the table in ARCHITECTURE.md.
//!
//! ```text
//! cargo run --release -p compat-tests --example strategies -- [CPUS [SEEDS]]
//! ```

use compat_tests::expected::Expected;
use compat_tests::registry::{self, Cell};
use compat_tests::run::Mix;
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::portfolio::{Portfolio, Strategy};
use freebsd_sys::host::workers;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};

/// Executions after which a cell counts as not found.
const MOST: u64 = 2000;

/// The mixes that are compared: each strategy alone, the pair that was there first, all in turn, the best pair, the default.
fn mixes() -> Vec<Vec<Strategy>> {
    use Strategy::{Pct, Pos, Random, Urw};
    let mut mixes: Vec<_> = Strategy::ALL.iter().map(|&strategy| vec![strategy]).collect();
    mixes.extend([vec![Random, Pct], Strategy::ALL.to_vec(), vec![Pos, Urw]]);
    mixes.push(Mix::default().strategies);
    mixes
}

/// The number of the first execution that fails, for each mix and seed; one past the last if there is none.
fn needed(cell: &Cell, cpus: usize, seeds: u64) -> Vec<Vec<u64>> {
    let units = (cell.units)();
    let machine = Machine::new(Config { cpus, ..Config::default() }, Engine::Explore);
    let first = |mix: &[Strategy], seed| {
        let mut schedule = Portfolio::new(mix, seed, Mix::default().depth);
        let fails = |&index: &u64| {
            let options = Options { index, units: &units, ..Options::default() };
            explore::run(&machine, &mut schedule, options, &|| (cell.run)()).verdict != Verdict::Pass
        };
        (0..MOST).find(fails).unwrap_or(MOST) + 1
    };
    mixes().iter().map(|mix| (1..=seeds).map(|seed| first(mix, seed)).collect()).collect()
}

fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers[numbers.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let cpus = arguments.next().unwrap_or(2) as usize;
    let seeds = arguments.next().unwrap_or(20);
    let (expected, _) = Expected::load().expect("expected.toml");
    let fails = |scenario: &str, mapping: &str| {
        let expected = expected.get(scenario, mapping, cpus);
        expected.is_some_and(|expected| !expected.verdict.names().iter().any(|name| name == "pass"))
    };
    let cells: Vec<_> = registry::scenarios()
        .iter()
        .flat_map(|scenario| scenario.cells.iter().map(move |cell| (scenario.name, cell)))
        .filter(|(scenario, cell)| fails(scenario, cell.mapping))
        .collect();
    let found = workers::map(workers::processors(), &cells, |(_, cell)| needed(cell, cpus, seeds), |_| ());
    let found: Vec<_> = found.into_iter().map(|cell| cell.expect("no panic")).collect();
    println!("{} cells that fail on {cpus} CPUs, {seeds} seeds", cells.len());
    println!("mix | median of cells' medians | sum of cells' medians | worst median | not in {MOST} | worst cell");
    for (at, mix) in mixes().into_iter().enumerate() {
        let medians: Vec<u64> = found.iter().map(|cell| median(cell[at].clone())).collect();
        let worst = (0..cells.len()).max_by_key(|&cell| medians[cell]).expect("a cell");
        let missed = found.iter().flat_map(|cell| &cell[at]).filter(|&&n| n > MOST).count();
        println!(
            "{} | {} | {} | {} | {missed} | {} on {}",
            mix.iter().map(|strategy| strategy.name()).collect::<Vec<_>>().join(", "),
            median(medians.clone()),
            medians.iter().sum::<u64>(),
            medians[worst],
            cells[worst].0,
            cells[worst].1.mapping
        );
    }
}
