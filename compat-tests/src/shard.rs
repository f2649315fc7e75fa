//! A comparison in parts, for machines that run side by side: `--shard K/N` runs every N-th cell, `merge` joins what the parts found.
//!
//! A part is the JSON of its cells, and beside it which part of which run it is. Cells do not depend on each other, so the parts together
//! are what one run would have found, and joined they print the same, apart from times. What does not fit together is refused: the
//! answer to it would be wrong.

use crate::compare::JsonBudget;
use crate::registry::{self, brief};
use crate::run::Outcome;
use crate::schedule::Printable;
use freebsd_sys::machine::{Budget, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Most parts of a run.
const MOST: usize = 100_000;

/// A part's place: `index` from 1 to `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which part.
    pub index: usize,
    /// Of how many.
    pub of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<usize>().ok();
        let parts = text.split_once('/').and_then(|(index, of)| Some((number(index)?, number(of)?)));
        let (index, of) = parts.ok_or("it is K/N, such as 1/4")?;
        let shard = Self { index, of };
        shard.check().map(|()| shard)
    }
}

impl Shard {
    fn check(self) -> Result<(), String> {
        if !(1..=MOST).contains(&self.of) {
            return Err(format!("a run has 1 to {MOST} shards"));
        }
        if !(1..=self.of).contains(&self.index) {
            return Err(format!("shards of {0} count from 1 to {0}", self.of));
        }
        Ok(())
    }

    /// Its part of `cells`: neighbours, which take alike long, go to different shards.
    pub fn of_cells<T>(self, cells: Vec<T>) -> Vec<T> {
        cells.into_iter().skip(self.index - 1).step_by(self.of).collect()
    }
}

/// What a part's JSON says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// Which part it is.
    #[serde(flatten)]
    pub shard: Shard,
    /// Whether Ctrl-C cut it short.
    pub interrupted: bool,
    /// How long it took.
    pub seconds: f64,
    /// The command's options that decide what is found.
    pub run: Value,
}

/// A part's JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    shard: Header,
    cells: Vec<Value>,
}

/// What is read of a cell; the rest follows from it.
#[derive(Debug, Deserialize)]
struct Found {
    scenario: String,
    mapping: String,
    verdict: String,
    message: String,
    schedules: u64,
    exhaustive: bool,
    #[serde(default)]
    done: f64,
    proved: Option<JsonBudget>,
    schedule: Option<String>,
}

impl Found {
    fn outcome(self) -> Result<Outcome, String> {
        let verdict = match self.verdict.as_str() {
            "pass" => Verdict::Pass,
            "panic" => Verdict::Panic(self.message),
            "deadlock" => Verdict::Deadlock(self.message),
            "livelock" => Verdict::Livelock(self.message),
            "starvation" => Verdict::Starvation(self.message),
            "corruption" => Verdict::Corruption(self.message),
            "error" => Verdict::Error(self.message),
            other => return Err(registry::unknown("verdict", other, crate::expected::VERDICTS)),
        };
        let schedule = self.schedule.as_deref().map(Printable::parse).transpose()?;
        let (schedules, exhausted, done) = (self.schedules, self.exhaustive, self.done);
        let proved = self.proved.map(Budget::from);
        Ok(Outcome { verdict, schedules, exhausted, done, proved, schedule, ..Outcome::default() })
    }
}

/// The parts of one run, joined.
#[derive(Debug)]
pub struct Joined {
    /// The run's options.
    pub run: Value,
    /// What was found in each cell, in the order of the cells: its scenario, its mapping, its outcome.
    pub outcomes: Vec<(String, String, Outcome)>,
    /// The cells as the parts had them.
    pub cells: Vec<Value>,
    /// As long as the longest part.
    pub elapsed: Duration,
}

/// Joins the parts of a run: for each its file's name and text.
pub fn join(files: &[(String, String)]) -> Result<Joined, String> {
    let mut parts: Vec<(&str, Part)> = Vec::new();
    for (name, text) in files {
        let part = parse(text).map_err(|error| format!("{name}: {error}"))?;
        parts.push((name, part));
    }
    parts.sort_by_key(|(_, part)| part.shard.shard.index);
    let Some((first_name, first)) = parts.first() else { return Err("there is nothing to merge".to_owned()) };
    let of = first.shard.shard.of;
    for (name, part) in &parts[1..] {
        let apart = |what: &str| format!("{first_name} and {name} are of different runs: {what}");
        if part.shard.shard.of != of {
            return Err(apart(&format!("{of} shards and {}", part.shard.shard.of)));
        }
        if let Some(key) = difference(&first.shard.run, &part.shard.run) {
            let value = |part: &Part| part.shard.run[&key].to_string();
            return Err(apart(&format!("{key} is {} and {}", brief(&value(first)), brief(&value(part)))));
        }
    }
    for pair in parts.windows(2) {
        let [(one, part), (other, same)] = pair else { continue };
        if part.shard.shard == same.shard.shard {
            return Err(format!("{one} and {other} are both shard {} of {of}", part.shard.shard.index));
        }
    }
    if parts.len() < of {
        let here = |index: &usize| parts.iter().any(|(_, part)| part.shard.shard.index == *index);
        let missing: Vec<_> = (1..=of).filter(|index| !here(index)).map(|index| index.to_string()).collect();
        return Err(format!("of {of} shards these are missing: {}", brief(&missing.join(", "))));
    }
    let elapsed = parts.iter().map(|(_, part)| part.shard.seconds).fold(0.0, f64::max);
    let elapsed = Duration::try_from_secs_f64(elapsed).map_err(|error| format!("{first_name}: seconds: {error}"))?;
    let run = first.shard.run.clone();
    // Cell by cell in turn, as they were dealt out.
    let (mut cells, mut outcomes) = (Vec::new(), Vec::new());
    let mut rest: Vec<_> = parts.into_iter().map(|(name, part)| (name, part.cells.into_iter())).collect();
    'all: loop {
        for (name, dealt) in &mut rest {
            let Some(cell) = dealt.next() else { break 'all };
            let found = Found::deserialize(&cell).map_err(|error| format!("{name}: a cell: {error}"))?;
            let (scenario, mapping) = (found.scenario.clone(), found.mapping.clone());
            let wrong = |error| format!("{name}: {} on {}: {error}", brief(&scenario), brief(&mapping));
            let outcome = found.outcome().map_err(wrong)?;
            outcomes.push((scenario, mapping, outcome));
            cells.push(cell);
        }
    }
    if let Some((name, _)) = rest.iter().find(|(_, dealt)| dealt.len() > 0) {
        return Err(format!("{name} has more cells than its share"));
    }
    Ok(Joined { run, outcomes, cells, elapsed })
}

fn parse(text: &str) -> Result<Part, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON, or not all of it: {error}"))?;
    if value.get("shard").is_none() {
        return Err("it is no shard: it was not written by compare --shard K/N --format json".to_owned());
    }
    let part: Part = serde_json::from_value(value).map_err(|error| format!("it is no shard: {error}"))?;
    part.shard.shard.check()?;
    if part.shard.interrupted {
        return Err("this shard was interrupted; run it again".to_owned());
    }
    Ok(part)
}

/// The first key whose values differ.
fn difference(one: &Value, other: &Value) -> Option<String> {
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    keys(one).into_iter().chain(keys(other)).find(|key| one.get(key) != other.get(key))
}

/// A part's file, or - for standard input, as [`join`] takes it.
pub fn read(path: &Path) -> Result<(String, String), String> {
    let input = path == Path::new("-");
    let name = if input { "standard input".to_owned() } else { path.display().to_string() };
    let text = if input { text(io::stdin()) } else { std::fs::File::open(path).and_then(text) };
    let text = text.map_err(|error| format!("{}: {error}", brief(&name)))?;
    Ok((name, text))
}

/// What can be read, unless that does not end, as /dev/zero does not.
fn text(from: impl io::Read) -> io::Result<String> {
    /// No shard's JSON is this long.
    const MOST: u64 = 256 << 20;
    let mut text = String::new();
    let read = from.take(MOST).read_to_string(&mut text)? as u64;
    if read == MOST { Err(io::Error::other("too long for a shard")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_named_from_one() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, of: 3 }));
        for bad in ["", "1", "/", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1/99999999999999999999"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shards_share_cells_out() {
        for (n, of) in [(10, 3), (3, 10), (190, 7), (5, 1), (0, 2)] {
            let cells: Vec<usize> = (0..n).collect();
            let mut all: Vec<_> = (1..=of).flat_map(|index| Shard { index, of }.of_cells(cells.clone())).collect();
            all.sort_unstable();
            assert_eq!(all, cells, "{of} shards of {n}");
        }
    }
}
