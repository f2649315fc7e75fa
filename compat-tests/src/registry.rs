//! What can be run: scenarios, each on its mappings. Names are looked up here, and mistyped ones get the nearest that exists.

use freebsd_sys::machine::Unit;
use std::fmt;
use std::sync::OnceLock;

/// A scenario on a mapping.
#[derive(Clone, Copy)]
pub struct Cell {
    /// The mapping's name.
    pub mapping: &'static str,
    /// The scenario: thread0's main, on either engine.
    pub run: &'static (dyn Fn() + Sync),
    /// The C units whose static memory it uses.
    pub units: &'static (dyn Fn() -> Vec<Unit> + Sync),
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("mapping", &self.mapping).field("units", &(self.units)()).finish_non_exhaustive()
    }
}

/// Something that a driver does.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name, which is stable.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Where it was met.
    pub source: &'static str,
    /// Mainline Linux allows it.
    pub mainline: bool,
    /// PREEMPT_RT allows it.
    pub rt: bool,
    /// What `lkpi replay` is to be told besides the schedule: the files that it is of, if they are the user's.
    pub with: String,
    /// One for each mapping, in the order of the tables.
    pub cells: Vec<Cell>,
}

impl Scenario {
    /// Whether it is not one of ours, of which expectations are known.
    pub fn is_users(&self) -> bool {
        !self.with.is_empty()
    }
}

static SCENARIOS: OnceLock<Vec<Scenario>> = OnceLock::new();

/// All scenarios, in the order of the tables.
pub fn scenarios() -> &'static [Scenario] {
    SCENARIOS.get_or_init(crate::scenarios::make)
}

/// Puts scenarios of the user's behind those that are here.
///
/// # Errors
///
/// One of them has a name that another has; or somebody has asked for scenarios already, which would not know of these.
pub fn add(more: &[Scenario]) -> Result<(), String> {
    let mut all = crate::scenarios::make();
    for scenario in more {
        if all.iter().any(|other| other.name == scenario.name) {
            return Err(format!("there is a scenario '{}' already", scenario.name));
        }
        all.push(scenario.clone());
    }
    SCENARIOS.set(all).map_err(|_| "scenarios are in use, and no more can be added".to_owned())
}

/// The names of all mappings, in the order of the tables.
pub fn mappings() -> Vec<&'static str> {
    let mut names = Vec::new();
    macro_rules! name {
        ($mapping:ty, $name:literal) => {
            names.push($name);
        };
    }
    linuxkpi::for_each_mapping!(name);
    names
}

/// The scenario of that name; the error suggests the nearest.
pub fn scenario(name: &str) -> Result<&'static Scenario, String> {
    let found = scenarios().iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| unknown("scenario", name, scenarios().iter().map(|scenario| scenario.name)))
}

/// The mapping of that name; the error suggests the nearest.
pub fn mapping(name: &str) -> Result<&'static str, String> {
    let found = mappings().into_iter().find(|mapping| *mapping == name);
    found.ok_or_else(|| unknown("mapping", name, mappings()))
}

/// The cell of a scenario and a mapping; the error says which of them is unknown.
pub fn cell(scenario_name: &str, mapping_name: &str) -> Result<(&'static Scenario, &'static Cell), String> {
    let scenario = scenario(scenario_name)?;
    let mapping = mapping(mapping_name)?;
    let found = scenario.cells.iter().find(|cell| cell.mapping == mapping);
    Ok((scenario, found.ok_or_else(|| format!("scenario '{scenario_name}' does not run on mapping '{mapping}'"))?))
}

/// The error text of an unknown name.
pub fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("no {kind} '{}'; did you mean '{nearest}'?", brief(name)),
        None => format!("no {kind} '{}', and none are known", brief(name)),
    }
}

/// What a user typed, made fit for a message.
pub(crate) fn brief(text: &str) -> String {
    const MOST: usize = 60;
    let (mut out, mut length) = (String::new(), 0);
    for c in text.chars() {
        let shown = if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        length += shown.chars().count();
        if length > MOST {
            out.push_str("...");
            break;
        }
        out.push_str(&shown);
    }
    out
}

/// The known name that is most like `name`.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A part of a name is the likeliest abbreviation of it; otherwise letters decide.
    let likeness = |known: &str| {
        let part = if !name.is_empty() && known.contains(name) { 1.0 } else { 0.0 };
        part + strsim::jaro_winkler(name, known).max(strsim::normalized_damerau_levenshtein(name, known))
    };
    known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let known = ["linuxkpi_2021", "linuxkpi_today", "seq_rwlock", "cpu_mutex"];
        for (name, meant) in
            [("linuxkpi-2021", 0), ("today", 1), ("seq_rwlok", 2), ("cpumutex", 3), ("linuxkpi_tody", 1), ("rwlock", 2)]
        {
            assert_eq!(nearest(name, known), Some(known[meant]), "{name}");
        }
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn what_a_user_typed_stays_brief() {
        assert_eq!(brief("a\tb"), "a\\tb");
        assert_eq!(brief(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(brief(&"\0".repeat(60)), format!("{}...", "\\u{0}".repeat(12)));
    }

    #[test]
    fn names_are_unique_and_printable() {
        let plain =
            |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        for (at, scenario) in scenarios().iter().enumerate() {
            assert!(plain(scenario.name) && !scenario.name.is_empty(), "{}", scenario.name);
            assert!(scenarios()[..at].iter().all(|other| other.name != scenario.name), "{} twice", scenario.name);
            for (at, cell) in scenario.cells.iter().enumerate() {
                assert!(plain(cell.mapping) && !cell.mapping.is_empty(), "{}", cell.mapping);
                assert!(
                    scenario.cells[..at].iter().all(|other| other.mapping != cell.mapping),
                    "{} twice",
                    cell.mapping
                );
            }
        }
    }
}
