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
pub struct Portfolio {
    members: Vec<Box<dyn Schedule>>,
    current: usize,
}

impl core::fmt::Debug for Portfolio {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Portfolio").field("current", &self.current).finish_non_exhaustive()
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
        let member = |strategy: &Strategy| -> Box<dyn Schedule> {
            match strategy {
                Strategy::Random => Box::new(Random::new(seed)),
                Strategy::Pct => Box::new(Pct::new(seed, depth)),
                Strategy::Pos => Box::new(Pos::new(seed)),
                Strategy::Urw => Box::new(Urw::new(seed)),
            }
        };
        Self { members: strategies.iter().map(member).collect(), current: 0 }
    }

    fn current(&mut self) -> &mut dyn Schedule {
        &mut *self.members[self.current]
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
        self.members[self.current].looks_ahead()
    }

    fn lend(&mut self) -> Option<Rng> {
        self.current().lend()
    }

    fn give_back(&mut self, rng: Rng) {
        self.current().give_back(rng);
    }
}
