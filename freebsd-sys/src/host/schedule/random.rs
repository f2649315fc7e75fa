//! A random walk: every CPU that can move is equally likely; the budgeted events are spread over the execution.

use super::{Choice, Diverged, Event, Rng, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    rng: Rng,
    /// Expected number of choices, from the first execution: events of the budget come with 4 chances in so many.
    length: usize,
}

impl Random {
    /// The walk under `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, rng: Rng::new(seed, 0), length: 32 }
    }
}

impl Schedule for Random {
    fn begin(&mut self, index: u64) {
        self.rng = Rng::new(self.seed, index);
        // Executions differ in pace: some are left alone for long stretches, some are interrupted at once.
        self.length = 8 << self.rng.below(5);
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        let enabled = choice.enabled;
        let runs = enabled.iter().take_while(|event| matches!(event, Event::Run(_) | Event::Pick(_))).count();
        let others = enabled.len() - runs;
        Ok(if runs == 0 || others > 0 && self.rng.below(self.length) < 2 {
            runs + self.rng.below(others)
        } else {
            self.rng.below(runs)
        })
    }

    fn end(&mut self, _choices: usize) -> bool {
        true
    }
}
