//! The report of a comparison: a page for people, JSON and JUnit XML for programs.
//!
//! `report.html` is one file that needs no other and no network; everything in it that comes from outside (names, messages,
//! source lines) passes through maud's escaping. `report.json` has the cells as `--format json` prints them, and besides what
//! was explored and the steps of each failure. `junit.xml` has a test for each cell, which fails where the cell is not as expected.

mod bench;
mod junit;
mod page;
mod picture;

use crate::compare::{JsonCell, Report, Row, write_file};
use crate::replay::{self, JsonStep};
use crate::run::Outcome;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where `ci/bench.sh` leaves its results.
const BENCH: &str = "target/bench/summary.json";

/// What locks and mappings cost, if somebody measured it.
#[derive(Debug)]
pub struct Costs {
    /// The file, without the machine's folders.
    from: PathBuf,
    rows: Vec<bench::Row>,
}

impl Costs {
    /// Reads `file`, or where `ci/bench.sh` leaves its results. None if there are none there.
    pub fn read(file: Option<&Path>) -> Result<Option<Self>, String> {
        let from = file.unwrap_or(Path::new(BENCH)).to_owned();
        let text = match fs::read_to_string(&from) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", from.display())),
        };
        let rows = serde_json::from_str(&text)
            .map_err(|error| format!("{}: not what ci/bench.sh writes: {error}", from.display()))?;
        Ok(Some(Self { from: portable(&from), rows }))
    }
}

/// A path as others may see it: below the working directory, or only its name.
fn portable(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    match (path.is_absolute(), path.strip_prefix(here)) {
        (false, _) => path.to_owned(),
        (true, Ok(below)) => below.to_owned(),
        (true, Err(_)) => path.file_name().map(PathBuf::from).unwrap_or_default(),
    }
}

/// `report.json`.
#[derive(Serialize)]
struct JsonReport<'a> {
    cells: Vec<JsonCell<'a>>,
    explored: JsonExplored<'a>,
    failures: Vec<JsonFailure<'a>>,
    bench: &'a [bench::Row],
}

/// What was explored, and how.
#[derive(Serialize)]
struct JsonExplored<'a> {
    engine: &'a str,
    cpus: usize,
    preemption: &'a str,
    invariants: bool,
    witness: bool,
    lint: bool,
    adaptive: bool,
    granularity: &'a str,
    seed: u64,
    search: String,
    schedules: u64,
    seconds: f64,
    interrupted: bool,
}

/// How a cell fails.
#[derive(Serialize)]
struct JsonFailure<'a> {
    scenario: &'a str,
    mapping: &'a str,
    /// Number of the execution that failed; they count from 1.
    found: u64,
    /// Events of the schedule that failed there, before it was shrunk.
    events_found: Option<usize>,
    /// Events that are not the default policy's, before and after.
    deviations_found: Option<usize>,
    deviations: Option<usize>,
    /// No schedule with fewer deviations ends alike.
    fewest: Option<bool>,
    steps: Vec<JsonStep<'a>>,
    locks: &'a [String],
    console: &'a [String],
}

/// A failing cell, and its schedule replayed.
struct Failure<'a> {
    row: &'a Row,
    outcome: &'a Outcome,
    replayed: Option<replay::Replayed<'a>>,
}

/// Writes `report.html`, `report.json` and `junit.xml` into `dir`.
pub fn write(report: &Report, costs: Option<&Costs>, dir: &Path) -> Result<(), String> {
    let failures: Vec<_> = report
        .failures()
        .map(|(row, outcome)| {
            // On smp there is no schedule, and what a watchdog had to end shows nothing that it did.
            let replayed = outcome.schedule.as_ref().and_then(|schedule| replay::replay(schedule, None).ok());
            Failure { row, outcome, replayed }
        })
        .collect();
    let html = write_file(&dir.join("report.html"), page::page(report, &failures, costs));
    let json = write_file(&dir.join("report.json"), json(report, &failures, costs));
    let junit = junit::xml(report).map_err(|error| format!("junit.xml: {error}"));
    html.and(json).and(junit.and_then(|xml| write_file(&dir.join("junit.xml"), xml)))
}

fn json(report: &Report, failures: &[Failure<'_>], costs: Option<&Costs>) -> String {
    let plan = report.plan();
    let failures = failures.iter().map(|it| {
        let shrunk = it.outcome.shrunk.as_ref();
        let execution = it.replayed.as_ref().map(replay::Replayed::execution);
        JsonFailure {
            scenario: it.row.scenario.name,
            mapping: it.row.mapping,
            found: it.outcome.schedules,
            events_found: shrunk.map(|shrunk| shrunk.events_before),
            deviations_found: shrunk.map(|shrunk| shrunk.deviations_before),
            deviations: shrunk.map(|shrunk| shrunk.deviations),
            fewest: shrunk.map(|shrunk| shrunk.fewest),
            steps: it.replayed.as_ref().map(replay::Replayed::json_steps).unwrap_or_default(),
            locks: execution.map_or(&[], |execution| &execution.locks),
            console: execution.map_or(&[], |execution| &execution.console),
        }
    });
    let config = &plan.config;
    let json = JsonReport {
        cells: report.json_cells(),
        explored: JsonExplored {
            engine: crate::compare::engine_name(plan.engine),
            cpus: config.cpus,
            preemption: config.preemption.name(),
            invariants: config.invariants,
            witness: config.witness,
            lint: config.lint,
            adaptive: config.adaptive,
            granularity: config.granularity.name(),
            seed: plan.seed,
            search: report.search(),
            schedules: report.schedules(),
            seconds: report.elapsed().as_secs_f64(),
            interrupted: report.cut(),
        },
        failures: failures.collect(),
        bench: costs.map_or(&[], |costs| &costs.rows),
    };
    let mut text = serde_json::to_string_pretty(&json).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_no_folder_of_the_machine() {
        let here = std::env::current_dir().expect("a folder");
        for (path, shown) in [
            (here.join("target/bench/summary.json"), "target/bench/summary.json"),
            (PathBuf::from("target/x.json"), "target/x.json"),
            (PathBuf::from("/somewhere/else.json"), "else.json"),
        ] {
            assert_eq!(portable(&path), Path::new(shown));
        }
    }
}
