//! What each cell is expected to show: `expected.toml`, whose head explains its form.
//!
//! An expectation holds for the default kernel. A pass that nobody expects differs just as a failure does: either the mapping
//! got better, and the file has to say so, or the search got worse.

use crate::registry::{self, Scenario};
use freebsd_sys::cpu::MAXCPU;
use freebsd_sys::machine::{Engine, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The file, as it was when this program was built.
const SOURCE: &str = include_str!("../expected.toml");

/// The names of verdicts.
pub const VERDICTS: [&str; 7] = ["pass", "panic", "deadlock", "livelock", "starvation", "corruption", "error"];

/// A text, or a set of them: any is as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "this must be a string or a list of strings")]
pub enum OneOf {
    /// `"panic"`
    One(String),
    /// `["panic", "livelock"]`
    Any(Vec<String>),
}

impl OneOf {
    /// Them, as a slice.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Any(names) => names,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names().iter().any(|known| known == name)
    }
}

/// What one cell is expected to show.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The verdict.
    pub verdict: OneOf,
    /// Part of the message, unless the verdict is a pass.
    pub message: Option<OneOf>,
    /// The chain of rules.
    pub because: String,
}

impl Expectation {
    /// Whether `verdict`, found on `engine`, is as expected.
    ///
    /// `smp` shows what happened to happen: a pass there says little, and a machine that stands still is only seen not to end.
    pub fn met_by(&self, engine: Engine, verdict: &Verdict) -> bool {
        let has = self.verdict.has(verdict.name());
        let told = |parts: &OneOf| parts.names().iter().any(|part| verdict.message().contains(part));
        let told = self.message.as_ref().is_none_or(told);
        match (engine, verdict) {
            (Engine::Explore, Verdict::Pass) => has,
            (Engine::Smp, Verdict::Pass) => true,
            (Engine::Smp, Verdict::Error(text))
                if text.starts_with("no end after") || text.starts_with("endless loop") =>
            {
                has || ["deadlock", "livelock", "starvation"].iter().any(|name| self.verdict.has(name))
            }
            _ => has && told,
        }
    }

    fn check(&self) -> Result<(), String> {
        let names = self.verdict.names();
        if names.is_empty() {
            return Err("the set of verdicts is empty".to_owned());
        }
        if let Some(name) = names.iter().find(|name| !VERDICTS.contains(&name.as_str())) {
            return Err(registry::unknown("verdict", name, VERDICTS));
        }
        if self.because.trim().is_empty() {
            return Err("'because' is empty".to_owned());
        }
        if self.message.is_some() && names.iter().all(|name| name == "pass") {
            return Err("a pass has no message".to_owned());
        }
        Ok(())
    }
}

/// A cell's table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    verdict: OneOf,
    message: Option<OneOf>,
    because: String,
    #[serde(default)]
    cpus: BTreeMap<String, Expectation>,
}

/// The expectations of a cell: on most machines, and on those with a certain number of CPUs.
#[derive(Debug)]
struct Row {
    usual: Expectation,
    cpus: BTreeMap<usize, Expectation>,
}

/// The whole file.
#[derive(Debug)]
pub struct Expected(BTreeMap<(String, String), Row>);

impl Expected {
    /// The program's own, and where it and the scenarios disagree about which cells there are.
    pub fn load() -> Result<(Self, Vec<String>), String> {
        Self::parse(SOURCE, registry::scenarios()).map_err(|error| format!("expected.toml: {error}"))
    }

    /// Parses a file that should have exactly the cells of `scenarios`.
    ///
    /// Cells too many or too few are returned as complaints: whoever adds or removes a mapping wants to see what it does before
    /// writing down what it should do. A test sees to it that there are none in the end.
    pub fn parse(text: &str, scenarios: &[Scenario]) -> Result<(Self, Vec<String>), String> {
        let file: BTreeMap<String, BTreeMap<String, Entry>> =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let mut rows = BTreeMap::new();
        let mut complaints = Vec::new();
        for (name, entries) in file {
            let Some(scenario) = scenarios.iter().find(|scenario| scenario.name == name) else {
                let known = scenarios.iter().map(|scenario| scenario.name);
                complaints.push(format!("[{name}]: {}", registry::unknown("scenario", &name, known)));
                continue;
            };
            for (mapping, entry) in entries {
                let at = format!("[{name}.{mapping}]");
                if !scenario.cells.iter().any(|cell| cell.mapping == mapping) {
                    let known = scenario.cells.iter().map(|cell| cell.mapping);
                    complaints.push(format!("{at}: {}", registry::unknown("mapping", &mapping, known)));
                }
                let row = entry.into_row().map_err(|error| format!("{at}: {error}"))?;
                rows.insert((name.clone(), mapping), row);
            }
        }
        for scenario in scenarios.iter().filter(|scenario| !scenario.is_users()) {
            for cell in &scenario.cells {
                if !rows.contains_key(&(scenario.name.to_owned(), cell.mapping.to_owned())) {
                    complaints.push(format!("[{}.{}] is missing", scenario.name, cell.mapping));
                }
            }
        }
        Ok((Self(rows), complaints))
    }

    /// What a cell is expected to show on a machine with `cpus` CPUs.
    pub fn get(&self, scenario: &str, mapping: &str, cpus: usize) -> Option<&Expectation> {
        let row = self.0.get(&(scenario.to_owned(), mapping.to_owned()))?;
        Some(row.cpus.get(&cpus).unwrap_or(&row.usual))
    }
}

impl Entry {
    fn into_row(self) -> Result<Row, String> {
        let usual = Expectation { verdict: self.verdict, message: self.message, because: self.because };
        usual.check()?;
        let mut cpus = BTreeMap::new();
        for (text, expectation) in self.cpus {
            let n = text.parse().ok().filter(|n| (1..=MAXCPU).contains(n));
            let n = n.ok_or_else(|| format!("cpus.{text} is not a number from 1 to {MAXCPU}"))?;
            expectation.check().map_err(|error| format!("cpus.{n}: {error}"))?;
            cpus.insert(n, expectation);
        }
        Ok(Row { usual, cpus })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Cell;

    fn toys() -> Vec<Scenario> {
        let cell = |mapping| Cell { mapping, run: &|| (), units: &Vec::new };
        let (name, about, source) = ("abba", "", "");
        vec![Scenario {
            name,
            about,
            source,
            mainline: false,
            rt: false,
            with: String::new(),
            cells: vec![cell("one"), cell("two")],
        }]
    }

    const GOOD: &str = r#"
        [abba.one]
        verdict = "pass"
        because = "rules"
        [abba.one.cpus.1]
        verdict = ["panic", "livelock"]
        message = "mi_switch"
        because = "one CPU"
        [abba.two]
        verdict = ["panic"]
        because = "rules"
    "#;

    #[test]
    fn the_file_has_exactly_the_cells_that_exist() {
        let (_, complaints) = Expected::load().expect("expected.toml");
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    #[test]
    fn cpus_override() {
        let (expected, complaints) = Expected::parse(GOOD, &toys()).expect("good");
        assert!(complaints.is_empty());
        let get = |cpus| expected.get("abba", "one", cpus).expect("a row");
        let panic = Verdict::Panic("mi_switch: switch in a critical section".to_owned());
        let explore = Engine::Explore;
        assert!(get(2).met_by(explore, &Verdict::Pass) && !get(2).met_by(explore, &panic));
        assert!(!get(1).met_by(explore, &Verdict::Pass) && get(1).met_by(explore, &panic));
        assert!(!get(1).met_by(explore, &Verdict::Panic("another".to_owned())));
        assert!(!get(1).met_by(explore, &Verdict::Error("mi_switch".to_owned())));
        assert!(get(1).met_by(Engine::Smp, &Verdict::Pass));
        assert!(get(1).met_by(Engine::Smp, &Verdict::Error("no end after 5 s".to_owned())));
        assert!(!get(2).met_by(Engine::Smp, &Verdict::Error("no end after 5 s".to_owned())));
        assert!(expected.get("abba", "three", 2).is_none());
    }

    #[test]
    fn errors_name_the_cell() {
        for (from, to, error) in [
            ("[\"panic\"]", "[\"panick\"]", "no verdict 'panick'; did you mean 'panic'?"),
            ("[\"panic\"]", "[]", "empty"),
            ("[\"panic\"]", "7", "must be a string or a list"),
            ("cpus.1", "cpus.0", "cpus.0 is not a number from 1"),
            ("\"pass\"", "\"pass\"\nmessage = \"m\"", "a pass has no message"),
            ("because = \"one CPU\"", "becuse = \"\"", "unknown field `becuse`"),
            ("because = \"one CPU\"", "because = \" \"", "'because' is empty"),
            ("because = \"one CPU\"", "", "missing field `because`"),
        ] {
            let found = Expected::parse(&GOOD.replacen(from, to, 1), &toys()).expect_err(to);
            assert!(found.contains(error), "{to}: {found}");
        }
    }
    #[test]
    fn cells_too_many_and_too_few_are_complaints() {
        let complaints = |to| Expected::parse(&GOOD.replacen("[abba.two]", to, 1), &toys()).expect("parsed").1;
        let missing = "[abba.two] is missing";
        assert_eq!(complaints("[abba.tow]"), ["[abba.tow]: no mapping 'tow'; did you mean 'two'?", missing]);
        assert_eq!(complaints("[aba.two]"), ["[aba]: no scenario 'aba'; did you mean 'abba'?", missing]);
    }
}
