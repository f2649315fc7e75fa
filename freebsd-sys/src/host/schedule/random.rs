//! A random walk: every CPU that can move is equally likely; the budgeted events are spread over the execution.

use super::{Choice, Diverged, Pace, Rng, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    rng: Rng,
    pace: Pace,
}

impl Random {
    /// The walk under `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, rng: Rng::new(seed, 0), pace: Pace::default() }
    }
}

impl Schedule for Random {
    fn begin(&mut self, index: u64) {
        self.rng = Rng::new(self.seed, index);
        self.pace = Pace::new(&mut self.rng);
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        let enabled = choice.enabled;
        let free = super::free(enabled);
        if free < enabled.len()
            && let Some(at) = self.pace.outside(&mut self.rng, enabled)
        {
            return Ok(at);
        }
        Ok(self.rng.below(free))
    }

    fn looks_ahead(&self) -> bool {
        false
    }

    fn lend(&mut self) -> Option<Rng> {
        Some(self.rng.clone())
    }

    fn give_back(&mut self, rng: Rng) {
        self.rng = rng;
    }

    fn end(&mut self, _choices: usize) -> bool {
        true
    }
}
