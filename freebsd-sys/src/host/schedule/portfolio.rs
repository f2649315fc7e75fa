//! Several strategies by turns: none finds every failure soonest (see ARCHITECTURE.md), and failures that one hardly ever
//! finds are easy for another.
//!
//! Execution `i` is of strategy `i` modulo their number, so it depends on the seed and its index alone where the strategy does.
//!
//! Reference for doing so at all: Thomson, Donaldson, Betts, "Concurrency testing using controlled schedulers: an empirical study",
//! TOPC 2016.

use super::{Choice, Diverged, Rng, Schedule, pct::Pct, pos::Pos, random::Random, urw::Urw};

/// A strategy that samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// See [`super::random`].
    Random,
    /// See [`super::pct`].
    Pct,
    /// See [`super::pos`].
    Pos,
    /// See [`super::urw`].
    Urw,
}

impl Strategy {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Random, Self::Pct, Self::Pos, Self::Urw];

    /// Its name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Pct => "PCT",
            Self::Pos => "POS",
            Self::Urw => "URW",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Portfolio {
    members: Vec<Member>,
    current: usize,
}

#[derive(Debug)]
enum Member {
    Random(Random),
    Pct(Pct),
    Pos(Pos),
    Urw(Urw),
}

impl Member {
    fn schedule(&mut self) -> &mut dyn Schedule {
        match self {
            Self::Random(schedule) => schedule,
            Self::Pct(schedule) => schedule,
            Self::Pos(schedule) => schedule,
            Self::Urw(schedule) => schedule,
        }
    }
}

impl Portfolio {
    /// The strategies in turn, under `seed`; `depth` is PCT's.
    ///
    /// # Panics
    ///
    /// A Rust panic when there are none.
    pub fn new(strategies: &[Strategy], seed: u64, depth: usize) -> Self {
        assert!(!strategies.is_empty(), "a portfolio has a strategy");
        let member = |strategy: &Strategy| match strategy {
            Strategy::Random => Member::Random(Random::new(seed)),
            Strategy::Pct => Member::Pct(Pct::new(seed, depth)),
            Strategy::Pos => Member::Pos(Pos::new(seed)),
            Strategy::Urw => Member::Urw(Urw::new(seed)),
        };
        Self { members: strategies.iter().map(member).collect(), current: 0 }
    }

    fn current(&mut self) -> &mut dyn Schedule {
        self.members[self.current].schedule()
    }
}

impl Schedule for Portfolio {
    fn begin(&mut self, index: u64) {
        self.current = (index % self.members.len() as u64) as usize;
        self.current().begin(index);
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        self.current().next(choice)
    }

    fn end(&mut self, choices: usize) -> bool {
        self.current().end(choices)
    }

    fn looks_ahead(&self) -> bool {
        match &self.members[self.current] {
            Member::Random(schedule) => schedule.looks_ahead(),
            Member::Pct(schedule) => schedule.looks_ahead(),
            Member::Pos(schedule) => schedule.looks_ahead(),
            Member::Urw(schedule) => schedule.looks_ahead(),
        }
    }

    fn lend(&mut self) -> Option<Rng> {
        self.current().lend()
    }

    fn give_back(&mut self, rng: Rng) {
        self.current().give_back(rng);
    }
}
