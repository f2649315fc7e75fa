//! Misuse: what FreeBSD's kernel says when its primitives are used wrongly, row by row.
//!
//! A row of the table is a misuse, a case one way of committing it. Each case is committed on a fresh machine under three sets of
//! switches, and each time the whole console and the end are compared with what the kernel shows: its message, letter for letter,
//! or what happens where it says nothing. [`Suite::Locking`] is the same for the two tables of locking(9), cell by cell.
//!
//! The texts are patterns in the kernel's own notation: see `pattern.rs`.

mod pattern;
mod report;
mod run;
pub(crate) mod tools;

// -- the rows, by what they are about
mod callout;
mod epoch;
mod init;
mod linuxkpi;
mod lockmgr;
mod malloc;
mod mutex;
mod rmlock;
mod rwlock;
mod seqc;
mod sleep;
mod switch;
mod sx;
mod turnstile;
mod userret;
mod witness;
mod witness_console;

// -- locking(9)
mod context;
mod interaction;

pub use report::{CaseResult, Outcome, Report};

use crate::registry::{self, brief};
use freebsd_sys::host::workers;
use freebsd_sys::machine::Engine;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// A table of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// The misuse table, rows 1 to [`ROWS`].
    Misuse,
    /// locking(9): what may be taken while holding what, and what may be used where.
    Locking,
}

/// Rows of the misuse table.
pub const ROWS: u16 = 125;

/// Runs the rows of these names, or all if there are none, on `engine`; until Ctrl-C.
///
/// # Errors
///
/// A name that no row has.
pub fn run(suite: Suite, names: &[String], engine: Engine) -> Result<Report, String> {
    let rows = select(suite.rows(), names)?;
    let mut machines = run::Machines::new(engine);
    let cases = rows.iter().take_while(|_| !workers::interrupted()).flat_map(|row| machines.row(row)).collect();
    Ok(Report::new(cases, workers::interrupted()))
}

/// The rows of these names: a number or name, or a range of numbers as in `36-47`.
fn select(rows: Vec<Row>, names: &[String]) -> Result<Vec<Row>, String> {
    let numbers = || rows.iter().filter_map(Row::number);
    for name in names {
        let known = rows.iter().any(|row| row.is(name));
        match (numbers().min(), numbers().max()) {
            // A number, or a range: none is nearer than another.
            (Some(first), Some(last)) if name.bytes().all(|b| b.is_ascii_digit() || b == b'-') => {
                let inside = range(name).is_none_or(|range| first <= *range.start() && *range.end() <= last);
                if !known || !inside {
                    return Err(format!("no row '{}'; rows are {first} to {last}", brief(name)));
                }
            }
            _ if !known => {
                let known: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
                return Err(registry::unknown("row", name, known.iter().map(String::as_str)));
            }
            _ => {}
        }
    }
    let wanted = |row: &Row| names.is_empty() || names.iter().any(|name| row.is(name));
    Ok(rows.into_iter().filter(wanted).collect())
}

/// What `36-47` says.
fn range(name: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = name.split_once('-')?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}

impl Suite {
    /// Its rows, in order.
    fn rows(self) -> Vec<Row> {
        match self {
            Self::Misuse => {
                let mut rows = [
                    switch::rows(),
                    mutex::rows(),
                    init::rows(),
                    rwlock::rows(),
                    sx::rows(),
                    rmlock::rows(),
                    witness::rows(),
                    witness_console::rows(),
                    sleep::rows(),
                    turnstile::rows(),
                    userret::rows(),
                    malloc::rows(),
                    callout::rows(),
                    epoch::rows(),
                    seqc::rows(),
                    linuxkpi::rows(),
                ]
                .concat();
                rows.sort_by_key(Row::number);
                for row in &mut rows {
                    let more = row.number().map_or(Vec::new(), lockmgr::cases);
                    row.cases.extend(more);
                }
                rows
            }
            Self::Locking => [interaction::rows(), context::rows()].concat(),
        }
    }
}

/// What a row is called.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    /// Its number in the misuse table.
    Number(u16),
    /// Its name in a table of locking(9).
    Name(&'static str),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A row and the ways to commit it.
#[derive(Clone)]
struct Row {
    id: Id,
    cases: Vec<Case>,
}

impl Row {
    /// Whether `name` is its name, or a range that it lies in.
    fn is(&self, name: &str) -> bool {
        self.id.to_string() == name
            || self.number().is_some_and(|number| range(name).is_some_and(|range| range.contains(&number)))
    }

    fn number(&self) -> Option<u16> {
        match self.id {
            Id::Number(number) => Some(number),
            Id::Name(_) => None,
        }
    }
}

/// A row of the misuse table.
fn row(number: u16, cases: impl IntoIterator<Item = Case>) -> Row {
    Row { id: Id::Number(number), cases: cases.into_iter().collect() }
}

/// A row of which no case applies here.
fn not_applicable(number: u16, name: &'static str, reason: &'static str) -> Row {
    row(number, [Case::not_applicable(name, reason)])
}

/// Which options the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Switches {
    None,
    Invariants,
    Witness,
}

impl Switches {
    const ALL: [Self; 3] = [Self::None, Self::Invariants, Self::Witness];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Invariants => "INVARIANTS",
            Self::Witness => "INVARIANTS+WITNESS",
        }
    }
}

/// How a case ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Nothing notices, and the kernel goes on.
    Pass,
    /// A panic, with this text.
    Panic(String),
    /// Threads wait for ever.
    Deadlock,
    /// A CPU spins for ever.
    Livelock,
}

/// What the kernel shows.
#[derive(Debug, Clone)]
struct Expect {
    /// Every line on the console, in order.
    console: Vec<String>,
    end: End,
}

/// What a case does; it is thread0's main.
type Body = Arc<dyn Fn() + Send + Sync>;

/// One way to commit a misuse.
#[derive(Clone)]
struct Case {
    name: String,
    what: What,
    /// Why it cannot be committed on `smp`.
    not_on_smp: Option<&'static str>,
}

#[derive(Clone)]
enum What {
    /// It is committed, and this is what comes of it, by [`Switches`].
    Runs { body: Body, cpus: usize, expect: [Expect; 3] },
    /// It cannot be committed here, because.
    NotApplicable(&'static str),
}

/// A case of which nobody notices anything, until told otherwise.
fn case(name: impl Into<String>, body: impl Fn() + Send + Sync + 'static) -> Case {
    let silence = Expect { console: Vec::new(), end: End::Pass };
    let expect = [silence.clone(), silence.clone(), silence];
    Case { name: name.into(), what: What::Runs { body: Arc::new(body), cpus: 2, expect }, not_on_smp: None }
}

impl Case {
    fn not_applicable(name: impl Into<String>, reason: &'static str) -> Self {
        Self { name: name.into(), what: What::NotApplicable(reason), not_on_smp: None }
    }

    fn not_on_smp(self, reason: &'static str) -> Self {
        Self { not_on_smp: Some(reason), ..self }
    }

    fn expect(mut self, switches: &[Switches], change: impl Fn(&mut Expect)) -> Self {
        if let What::Runs { expect, .. } = &mut self.what {
            switches.iter().for_each(|&at| change(&mut expect[at as usize]));
        }
        self
    }

    fn ends(self, switches: &[Switches], end: &End) -> Self {
        self.expect(switches, |expect| expect.end = end.clone())
    }

    /// On a machine with one CPU.
    fn one_cpu(mut self) -> Self {
        if let What::Runs { cpus, .. } = &mut self.what {
            *cpus = 1;
        }
        self
    }

    /// It panics on any kernel.
    fn always(self, text: &str) -> Self {
        self.ends(&Switches::ALL, &End::Panic(text.to_owned()))
    }

    /// It panics under INVARIANTS, with or without WITNESS.
    fn invariants(self, text: &str) -> Self {
        self.ends(&[Switches::Invariants, Switches::Witness], &End::Panic(text.to_owned()))
    }

    /// It panics under INVARIANTS without WITNESS.
    fn without_witness(self, text: &str) -> Self {
        self.ends(&[Switches::Invariants], &End::Panic(text.to_owned()))
    }

    /// It panics under WITNESS.
    fn witness(self, text: &str) -> Self {
        self.ends(&[Switches::Witness], &End::Panic(text.to_owned()))
    }

    /// What comes of it without INVARIANTS, if it is not silence.
    fn bare(self, end: End) -> Self {
        self.ends(&[Switches::None], &end)
    }

    /// What comes of it under WITNESS, if it is neither silence nor a panic.
    fn witnessed(self, end: End) -> Self {
        self.ends(&[Switches::Witness], &end)
    }

    /// It ends like this with and without INVARIANTS, as long as there is no WITNESS.
    fn unwitnessed(self, end: End) -> Self {
        self.ends(&[Switches::None, Switches::Invariants], &end)
    }

    /// WITNESS prints these lines.
    fn prints(self, lines: &[impl AsRef<str>]) -> Self {
        self.expect(&[Switches::Witness], |expect| expect.console = owned(lines))
    }

    /// A kernel without INVARIANTS prints these lines.
    fn prints_bare(self, lines: &[impl AsRef<str>]) -> Self {
        self.expect(&[Switches::None], |expect| expect.console = owned(lines))
    }

    /// Any kernel prints these lines.
    fn always_prints(self, lines: &[impl AsRef<str>]) -> Self {
        self.expect(&Switches::ALL, |expect| expect.console = owned(lines))
    }
}

fn owned(lines: &[impl AsRef<str>]) -> Vec<String> {
    lines.iter().map(|line| line.as_ref().to_owned()).collect()
}

/// The trap of a kernel that follows a pointer to nowhere.
fn page_fault() -> End {
    End::Panic("page fault".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_there_once() {
        let numbers: Vec<_> = Suite::Misuse.rows().iter().filter_map(Row::number).collect();
        assert_eq!(numbers, (1..=ROWS).collect::<Vec<_>>());
        assert!(Suite::Misuse.rows().iter().all(|row| !row.cases.is_empty()));
    }

    #[test]
    fn names_of_cases_are_unique_in_their_row() {
        for row in [Suite::Misuse.rows(), Suite::Locking.rows()].concat() {
            let mut names: Vec<_> = row.cases.iter().map(|case| &case.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), row.cases.len(), "row {}", row.id);
        }
    }

    #[test]
    fn rows_are_chosen_by_number_range_and_name() {
        let chosen = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            select(Suite::Misuse.rows(), &names).map(|rows| rows.iter().filter_map(Row::number).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&["7", "3"]), Ok(vec![3, 7]));
        assert_eq!(chosen(&["36-38", "37"]), Ok(vec![36, 37, 38]));
        assert!(chosen(&["126"]).is_err() && chosen(&["126-130"]).is_err() && chosen(&["mutex"]).is_err());
        assert!(chosen(&["120-126"]).is_err() && chosen(&["0-3"]).is_err() && chosen(&["3-2"]).is_err());
    }
}
