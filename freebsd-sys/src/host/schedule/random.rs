//! A random walk: every CPU that can move is equally likely; the budgeted events are spread over the execution.

use super::{Choice, Diverged, Event, Pace, Rng, Schedule};

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
        if let Some(at) = self.pace.outside(&mut self.rng, enabled) {
            return Ok(at);
        }
        let runs = enabled.iter().take_while(|event| matches!(event, Event::Run(_) | Event::Pick(_))).count();
        Ok(self.rng.below(runs))
    }

    fn end(&mut self, _choices: usize) -> bool {
        true
    }
}
