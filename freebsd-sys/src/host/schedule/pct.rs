//! PCT, probabilistic concurrency testing: random priorities, changed at a few random points.
//!
//! An execution with `n` movers and `k` choices finds a bug of depth `d` with probability at least `1/(n k^(d-1))`. The movers
//! here are virtual CPUs, interrupt sources and the clock: what the paper calls threads. Departure: `k` is taken from the
//! previous executions, as every implementation does.
//!
//! Reference: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding
//! bugs", ASPLOS 2010.

use super::{Choice, Diverged, Event, Rng, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Pct {
    seed: u64,
    depth: usize,
    rng: Rng,
    /// Priority of each mover met so far; higher moves.
    priorities: Vec<(Event, u64)>,
    /// Choices at which the running mover drops below everybody, in order.
    changes: Vec<usize>,
    /// `k`: a fixed estimate per execution, so that executions do not depend on each other.
    low: u64,
}

impl Pct {
    /// PCT of `depth` (the paper's `d`) under `seed`.
    pub fn new(seed: u64, depth: usize) -> Self {
        Self { seed, depth, rng: Rng::new(seed, 0), priorities: Vec::new(), changes: Vec::new(), low: 0 }
    }

    fn priority(&mut self, event: Event) -> u64 {
        if let Some(&(_, priority)) = self.priorities.iter().find(|(other, _)| *other == event) {
            return priority;
        }
        // The upper half of the range is for first priorities; a change point puts a mover into the lower half.
        let priority = self.rng.next() | 1 << 63;
        self.priorities.push((event, priority));
        priority
    }
}

impl Schedule for Pct {
    fn begin(&mut self, index: u64) {
        self.rng = Rng::new(self.seed ^ 0x0070_6374, index);
        self.priorities.clear();
        self.changes.clear();
        self.low = 1 << 62;
        // The length of executions varies by orders of magnitude between scenarios: spread the estimate instead.
        let length = 16 << self.rng.below(6);
        for _ in 1..self.depth {
            let at = self.rng.below(length);
            self.changes.push(at);
        }
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        if matches!(choice.enabled[0], Event::Pick(_)) {
            return Ok(self.rng.below(choice.enabled.len()));
        }
        let mut best = (0, 0);
        for (at, &event) in choice.enabled.iter().enumerate() {
            let priority = self.priority(event);
            if at == 0 || priority > best.1 {
                best = (at, priority);
            }
        }
        if self.changes.contains(&choice.at) {
            self.low -= 1;
            let low = self.low;
            let event = choice.enabled[best.0];
            if let Some(entry) = self.priorities.iter_mut().find(|(other, _)| *other == event) {
                entry.1 = low;
            }
            return self.next(&Choice { at: usize::MAX, ..*choice });
        }
        Ok(best.0)
    }

    fn looks_ahead(&self) -> bool {
        false
    }

    fn end(&mut self, _choices: usize) -> bool {
        true
    }
}
