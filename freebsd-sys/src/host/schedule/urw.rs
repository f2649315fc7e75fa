//! URW, a uniform random walk: each CPU moves with a probability in proportion to what it still has to do, so that all
//! interleavings are equally likely, as far as the estimate is right.
//!
//! The estimate is the mean number of choices that a CPU won in the earlier executions of this walk, of which the first is a plain
//! random walk. So an execution depends on those of lower index, and on nothing else: on a cell that is run in order, by the seed and
//! the index alone. Events of the budget are spread as in the random walk.
//!
//! Departure: a move that needed no choice, since nothing else could happen, is not counted.
//!
//! Reference: Zhao, Wolff, Mathur, Roychoudhury, "Selectively uniform concurrency testing", ASPLOS 2025; Shuttle has it as well.

use super::{Choice, Diverged, Event, Pace, Rng, Schedule};
use crate::cpu::MAXCPU;

/// See the module.
#[derive(Debug)]
pub struct Urw {
    seed: u64,
    rng: Rng,
    pace: Pace,
    /// How many executions there were before this one, and how many choices each CPU won in all of them.
    executions: u64,
    learned: [u64; MAXCPU],
    /// How many choices each CPU has won in this one.
    won: [u64; MAXCPU],
}

impl Urw {
    /// The walk under `seed`, which knows nothing yet.
    pub fn new(seed: u64) -> Self {
        let (learned, won) = ([0; MAXCPU], [0; MAXCPU]);
        Self { seed, rng: Rng::new(seed, 0), pace: Pace::default(), executions: 0, learned, won }
    }

    /// What the CPU still has to do, times the number of executions learned from; whoever is past its estimate has one move left.
    fn weight(&self, cpu: usize) -> u64 {
        let left = self.learned[cpu].saturating_sub(self.won[cpu] * self.executions);
        left.max(self.executions).max(1)
    }
}

impl Schedule for Urw {
    fn begin(&mut self, index: u64) {
        self.rng = Rng::new(self.seed ^ 0x0075_7277, index);
        self.pace = Pace::new(&mut self.rng);
        let won = core::mem::replace(&mut self.won, [0; MAXCPU]);
        if won != [0; MAXCPU] {
            self.executions += 1;
            for (sum, won) in self.learned.iter_mut().zip(won) {
                *sum += won;
            }
        }
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        if matches!(choice.enabled[0], Event::Pick(_)) {
            return Ok(self.rng.below(choice.enabled.len()));
        }
        if let Some(at) = self.pace.outside(&mut self.rng, choice.enabled) {
            return Ok(at);
        }
        let runs =
            || choice.enabled.iter().map_while(|event| matches!(event, Event::Run(_)).then(|| event.cpu()).flatten());
        let total: u64 = runs().map(|cpu| self.weight(cpu)).sum();
        let mut ticket = self.rng.below(total as usize) as u64;
        for (at, cpu) in runs().enumerate() {
            let weight = self.weight(cpu);
            if ticket < weight {
                self.won[cpu] += 1;
                return Ok(at);
            }
            ticket -= weight;
        }
        unreachable!("the ticket is below the sum of the weights")
    }

    fn looks_ahead(&self) -> bool {
        false
    }

    fn end(&mut self, _choices: usize) -> bool {
        true
    }
}
