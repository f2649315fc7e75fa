//! The printable schedule: one line that says what ran, on which kernel, and every decision, so that anybody can replay it.
//!
//! ```text
//! lkpi1;scenario=abba;mapping=busted;cpus=2;preempt=ule;invariants=1;witness=1;lint=0;ticks=2;interrupts=2;migrations=1;run=0*3,1,0!2
//! ```
//!
//! First the format and its version, then each key once, `run` last; its events are those of [`freebsd_sys::host::schedule`].
//! `granularity=insn`, `adaptive=0` and `starvation=N` stand before it where they are not the default.
//! A file holds one such line; empty lines and lines that begin with `#` are comments. The parser is strict: what it accepts,
//! it accepts completely.

use crate::registry::{self, brief};
use freebsd_sys::cpu::MAXCPU;
use freebsd_sys::host::schedule::{self, Event};
use freebsd_sys::machine::{Budget, Config, Granularity, Preemption};
use std::fmt;

/// The format and its version.
const VERSION: &str = "lkpi1";

/// The keys, in the order in which they are printed.
const KEYS: [&str; 14] = [
    "scenario",
    "mapping",
    "cpus",
    "preempt",
    "invariants",
    "witness",
    "lint",
    "ticks",
    "interrupts",
    "migrations",
    "granularity",
    "adaptive",
    "starvation",
    "run",
];

/// Keys that may be missing, and what that says.
const DEFAULTS: [(&str, &str); 3] = [("granularity", "op"), ("adaptive", "1"), ("starvation", "none")];

/// A schedule and what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printable {
    /// The scenario's name.
    pub scenario: String,
    /// The mapping's name.
    pub mapping: String,
    /// The kernel.
    pub config: Config,
    /// The decisions, in order.
    pub events: Vec<Event>,
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { cpus, preemption, invariants, witness, lint, budget, granularity, adaptive, starvation, .. } =
            &self.config;
        write!(
            f,
            "{VERSION};scenario={};mapping={};cpus={cpus};preempt={};invariants={};witness={};lint={};ticks={};\
             interrupts={};migrations={};",
            self.scenario,
            self.mapping,
            preemption.name(),
            u8::from(*invariants),
            u8::from(*witness),
            u8::from(*lint),
            budget.ticks,
            budget.interrupts,
            budget.migrations,
        )?;
        let starvation = starvation.map_or("none".to_owned(), |bound| bound.to_string());
        let adaptive = if *adaptive { "1" } else { "0" };
        for (key, value) in [("granularity", granularity.name()), ("adaptive", adaptive), ("starvation", &*starvation)]
        {
            if !DEFAULTS.contains(&(key, value)) {
                write!(f, "{key}={value};")?;
            }
        }
        write!(f, "run={}", schedule::print(&self.events))
    }
}

impl Printable {
    /// Parses what a file holds: one schedule, and comments.
    pub fn parse_file(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or("there is no schedule in it")?;
        if lines.next().is_some() {
            return Err("there is more than one line in it; a schedule is one line".to_owned());
        }
        Self::parse(line)
    }

    /// Parses a schedule whose scenario and mapping exist.
    pub fn parse(line: &str) -> Result<Self, String> {
        let parsed = Self::parse_unchecked(line)?;
        let hint = |error| format!("{error} (one of a driver of yours is known by --with FILE.c)");
        registry::scenario(&parsed.scenario).map_err(hint)?;
        registry::cell(&parsed.scenario, &parsed.mapping)?;
        Ok(parsed)
    }

    /// Parses a schedule, whatever its scenario and mapping are called.
    pub fn parse_unchecked(line: &str) -> Result<Self, String> {
        let mut fields = line.trim().split(';');
        match fields.next().unwrap_or_default() {
            VERSION => {}
            "" => return Err("it is empty".to_owned()),
            other if other.strip_prefix("lkpi").is_some_and(|n| n.parse::<u32>().is_ok()) => {
                return Err(format!("it is of version '{other}', and this program knows {VERSION}"));
            }
            other => return Err(format!("it begins with '{}', not with '{VERSION};'", brief(other))),
        }
        let mut values: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
        for field in fields {
            if values[KEYS.len() - 1].is_some() {
                return Err(format!("'{}' follows the events; 'run=' comes last", brief(field)));
            }
            let (key, value) =
                field.split_once('=').ok_or_else(|| format!("'{}' is not of the form key=value", brief(field)))?;
            let at = KEYS.iter().position(|known| *known == key).ok_or_else(|| registry::unknown("key", key, KEYS))?;
            if values[at].replace(value).is_some() {
                return Err(format!("key '{key}' is given twice"));
            }
        }
        for (key, default) in DEFAULTS {
            let at = KEYS.iter().position(|known| *known == key);
            if let Some(at) = at {
                values[at].get_or_insert(default);
            }
        }
        if let Some(at) = values.iter().position(Option::is_none) {
            return Err(format!("key '{}' is missing", KEYS[at]));
        }
        let value = |key: &str| {
            let at = KEYS.iter().position(|known| *known == key);
            at.and_then(|at| values[at]).unwrap_or_default()
        };
        let number = |key: &'static str| number(key, value(key));
        let switch = |key: &'static str| match value(key) {
            "0" => Ok(false),
            "1" => Ok(true),
            other => Err(format!("{key}={} is neither 0 nor 1", brief(other))),
        };
        let cpus = number("cpus")? as usize;
        if !(1..=MAXCPU).contains(&cpus) {
            return Err(format!("cpus={cpus} is not in 1 to {MAXCPU}"));
        }
        let config = Config {
            cpus,
            invariants: switch("invariants")?,
            witness: switch("witness")?,
            lint: switch("lint")?,
            preemption: Preemption::from_name(value("preempt"))
                .ok_or_else(|| registry::unknown("preemption", value("preempt"), ["ule", "full", "any"]))?,
            granularity: Granularity::from_name(value("granularity"))
                .ok_or_else(|| registry::unknown("granularity", value("granularity"), ["op", "insn"]))?,
            adaptive: switch("adaptive")?,
            starvation: match value("starvation") {
                "none" => None,
                _ => Some(number("starvation")?),
            },
            budget: Budget {
                ticks: number("ticks")?,
                interrupts: number("interrupts")?,
                migrations: number("migrations")?,
            },
            ..Config::default()
        };
        let events = events(value("run"), cpus)?;
        Ok(Self { scenario: value("scenario").to_owned(), mapping: value("mapping").to_owned(), config, events })
    }
}

/// A number without sign, space or leading zero.
fn number(key: &str, text: &str) -> Result<u32, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let parsed = if plain { text.parse().ok() } else { None };
    parsed.ok_or_else(|| format!("{key}={} is not a number", brief(text)))
}

/// The events, each of a CPU that exists.
fn events(text: &str, cpus: usize) -> Result<Vec<Event>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    for token in text.split(',') {
        let plain = |b: u8| b.is_ascii_digit() || b"*!?t".contains(&b);
        if token.is_empty() || !token.bytes().all(plain) {
            return Err(format!("run: bad event '{}'", brief(token)));
        }
    }
    let events = schedule::parse(text).map_err(|error| format!("run: {}", brief(&error)))?;
    match events.iter().find(|event| event.cpu().is_some_and(|cpu| cpu >= cpus)) {
        Some(event) => Err(format!("run: event '{event}' is of a CPU that does not exist (cpus={cpus})")),
        None => Ok(events),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freebsd_sys::host::schedule::Rng;

    fn random(rng: &mut Rng) -> Printable {
        let cpus = 1 + rng.below(MAXCPU);
        let event = |rng: &mut Rng| {
            let cpu = rng.below(cpus) as u8;
            match rng.below(4) {
                0 => Event::Intr(cpu, rng.below(1 << 16) as u16),
                1 => Event::Tick(cpu),
                2 => Event::Pick(rng.below(1 << 16) as u16),
                _ => Event::Run(cpu),
            }
        };
        let mut events = Vec::new();
        for _ in 0..rng.below(20) {
            let n = 1 + rng.below(5);
            events.extend(std::iter::repeat_n(event(rng), n));
        }
        let preemption = [Preemption::Ule, Preemption::Full, Preemption::Any][rng.below(3)];
        let budget =
            Budget { ticks: rng.next() as u32, interrupts: rng.below(9) as u32, migrations: rng.below(2) as u32 };
        let [invariants, witness, lint, adaptive] = [0; 4].map(|_| rng.below(2) == 1);
        let granularity = [Granularity::Op, Granularity::Insn][rng.below(2)];
        let starvation = [None, Some(rng.below(9) as u32)][rng.below(2)];
        let config = Config { cpus, invariants, witness, lint, preemption, budget, ..Config::default() };
        let config = Config { granularity, adaptive, starvation, ..config };
        Printable { scenario: format!("s-{}", rng.below(100)), mapping: "m_1".to_owned(), config, events }
    }

    #[test]
    fn what_is_printed_is_parsed() {
        let mut rng = Rng::new(1, 0);
        for _ in 0..2000 {
            let schedule = random(&mut rng);
            let line = schedule.to_string();
            assert_eq!(Printable::parse_unchecked(&line), Ok(schedule), "{line}");
        }
    }

    /// What is accepted means what it says: printing it again gives the same decisions, whatever was done to the line.
    #[test]
    fn a_damaged_line_is_refused_or_harmless() {
        let mut rng = Rng::new(2, 0);
        for _ in 0..20_000 {
            let mut line: Vec<char> = random(&mut rng).to_string().chars().collect();
            for _ in 0..=rng.below(3) {
                let at = rng.below(line.len());
                let other = ['0', '9', ';', '=', ',', '*', '!', '?', 't', 'x', ' ', '-', '\u{e9}', '\0'][rng.below(14)];
                match rng.below(3) {
                    0 => line[at] = other,
                    1 => line.insert(at, other),
                    _ => drop(line.drain(at..(at + 1 + rng.below(4)).min(line.len()))),
                }
            }
            let line: String = line.into_iter().collect();
            if let Ok(parsed) = Printable::parse_unchecked(&line) {
                assert_eq!(Printable::parse_unchecked(&parsed.to_string()), Ok(parsed), "{line}");
            }
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let good = "lkpi1;scenario=s;mapping=m;cpus=2;preempt=ule;invariants=1;witness=1;lint=0;ticks=2;interrupts=2;\
                    migrations=1;run=0*3,1";
        assert!(Printable::parse_unchecked(good).is_ok());
        for (from, to, error) in [
            ("lkpi1", "lkpi2", "version 'lkpi2'"),
            ("lkpi1;", "", "begins with 'scenario=s'"),
            (good, "", "empty"),
            ("cpus=2", "cpus=two", "cpus=two is not a number"),
            ("cpus=2", "cpus=0", "cpus=0 is not in 1 to"),
            ("cpus=2", "cpus=99", "cpus=99 is not in 1 to"),
            ("cpus=2", "cpus=99999999999", "is not a number"),
            ("cpus=2", "cpus=02", "is not a number"),
            ("cpus=2", "cpus=1", "event '1' is of a CPU that does not exist"),
            ("cpus=2;", "", "key 'cpus' is missing"),
            ("cpus=2;", "cpus=2;cpus=2;", "'cpus' is given twice"),
            ("ticks", "tikcs", "no key 'tikcs'; did you mean 'ticks'?"),
            ("lint=0", "lint", "'lint' is not of the form key=value"),
            ("lint=0", "lint=yes", "lint=yes is neither 0 nor 1"),
            ("preempt=ule", "preempt=ulee", "did you mean 'ule'?"),
            (";run=0*3,1", "", "key 'run' is missing"),
            ("run=0*3,1", "run=0*3,1;lint=0", "'run=' comes last"),
            ("0*3", "0*0", "bad count in '0*0'"),
            ("0*3", "0*99999999", "bad count"),
            ("0*3", "0*18446744073709551615", "bad count"),
            ("0*3,1", "1,0*18446744073709551615", "bad count"),
            ("0*3", "0*x", "bad event '0*x'"),
            ("0*3,1", "0,,1", "bad event ''"),
            ("0*3,1", "0 ,1", "bad event '0 '"),
            ("0*3,1", "0!", "bad event '0!'"),
        ] {
            let line = good.replacen(from, to, 1);
            let found = Printable::parse_unchecked(&line).expect_err(&line);
            assert!(found.contains(error), "{line}: {found}");
        }
    }

    #[test]
    fn a_file_has_one_schedule_and_comments() {
        let line = random(&mut Rng::new(3, 0)).to_string();
        let error = |text: &str| Printable::parse_file(text).expect_err(text);
        assert!(
            error(&format!("# found by seed 1\n\n{line}\n")).contains("scenario"),
            "parsed, but of no known scenario"
        );
        assert!(error(&format!("{line}\n{line}\n")).contains("more than one"));
        assert!(error("# nothing\n").contains("no schedule"));
    }
}
