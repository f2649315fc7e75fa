//! What came of the cases: a table for people, JSON for programs.

use super::{Case, Id, Row};
use serde::Serialize;
use std::fmt::Write as _;

/// What came of one case under one set of switches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel showed what it should; this.
    Pass(String),
    /// It did not.
    Fail {
        /// What it showed: the console, then the end.
        shown: String,
        /// What it should have.
        expected: String,
    },
    /// The case cannot be committed here, because.
    NotApplicable(&'static str),
}

/// One case under one set of switches.
#[derive(Debug, Clone)]
pub struct CaseResult {
    row: Id,
    name: String,
    switches: &'static str,
    outcome: Outcome,
}

impl CaseResult {
    pub(super) fn new(row: &Row, case: &Case, switches: &'static str, outcome: Outcome) -> Self {
        Self { row: row.id.clone(), name: case.name.clone(), switches, outcome }
    }

    /// `pass`, `fail` or `n/a`.
    pub fn result(&self) -> &'static str {
        match self.outcome {
            Outcome::Pass(_) => "pass",
            Outcome::Fail { .. } => "fail",
            Outcome::NotApplicable(_) => "n/a",
        }
    }
}

/// All results of a run.
#[derive(Debug)]
pub struct Report {
    cases: Vec<CaseResult>,
    /// Ctrl-C ended it early.
    pub interrupted: bool,
}

/// A row's name in JSON: a number in the misuse table, a text in locking(9)'s.
#[derive(Serialize)]
#[serde(untagged)]
enum JsonRow {
    Number(u16),
    Name(&'static str),
}

#[derive(Serialize)]
struct JsonCase<'a> {
    row: JsonRow,
    name: &'a str,
    switches: &'a str,
    result: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    cases: Vec<JsonCase<'a>>,
    interrupted: bool,
}

impl Report {
    pub(super) fn new(cases: Vec<CaseResult>, interrupted: bool) -> Self {
        Self { cases, interrupted }
    }

    /// Results that read `pass`, `fail` or `n/a`.
    pub fn count(&self, result: &str) -> usize {
        self.cases.iter().filter(|case| case.result() == result).count()
    }

    /// The failures, each with what was shown and what was expected; empty if there are none.
    pub fn failures(&self) -> String {
        let mut out = String::new();
        for case in &self.cases {
            if let Outcome::Fail { shown, expected } = &case.outcome {
                let indent = |text: &str| text.replace('\n', "\n            ");
                // Writing to a String cannot fail.
                let _ = writeln!(
                    out,
                    "row {}, {}, {}:\n  expected  {}\n  shown     {}",
                    case.row,
                    case.name,
                    case.switches,
                    indent(expected),
                    indent(shown)
                );
            }
        }
        out
    }

    /// For people: a line per result, then the failures in full.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let width = self.cases.iter().map(|case| case.name.chars().count()).max().unwrap_or(0);
        let row = self.cases.iter().map(|case| case.row.to_string().len()).max().unwrap_or(0).max(3);
        let _ = writeln!(out, "{:row$}  {:width$}  {:18}  result", "row", "misuse", "switches");
        for case in &self.cases {
            let why = match &case.outcome {
                Outcome::NotApplicable(reason) => format!(": {reason}"),
                _ => String::new(),
            };
            let (id, name) = (case.row.to_string(), &case.name);
            let _ = writeln!(out, "{id:>row$}  {name:width$}  {:18}  {}{why}", case.switches, case.result());
        }
        let failures = self.failures();
        if !failures.is_empty() {
            let _ = write!(out, "\n{failures}");
        }
        let count = |result| self.count(result);
        let cut = if self.interrupted { "interrupted: " } else { "" };
        let _ = writeln!(out, "\n{cut}{} pass, {} fail, {} n/a", count("pass"), count("fail"), count("n/a"));
        out
    }

    /// For programs.
    pub fn json(&self) -> String {
        let cases = self.cases.iter().map(|case| {
            let (message, expected, reason) = match &case.outcome {
                Outcome::Pass(shown) => (Some(shown.as_str()), None, None),
                Outcome::Fail { shown, expected } => (Some(shown.as_str()), Some(expected.as_str()), None),
                Outcome::NotApplicable(reason) => (None, None, Some(*reason)),
            };
            let row = match case.row {
                Id::Number(number) => JsonRow::Number(number),
                Id::Name(name) => JsonRow::Name(name),
            };
            let (name, switches, result) = (case.name.as_str(), case.switches, case.result());
            JsonCase { row, name, switches, result, message, expected, reason }
        });
        let json = JsonReport { cases: cases.collect(), interrupted: self.interrupted };
        let mut text = serde_json::to_string_pretty(&json).unwrap_or_default();
        text.push('\n');
        text
    }
}
