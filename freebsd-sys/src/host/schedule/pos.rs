//! POS, partial order sampling: each pending event has a random priority, and the highest happens; then the events that race with
//! it draw anew.
//!
//! A random walk favours orders of many interleavings, so two threads of which one has further to go rarely meet. Here an event
//! that nothing races with keeps its priority, so a CPU may stay behind for long, and how long does not depend on how much the others do.
//!
//! The pending events are the CPUs' next primitives. Two race if they are of one CPU, or work on the same object and one of them writes.
//! Departures: what a primitive does to run queues and wait channels is not known before it is performed, and does not count; events
//! of the budget are spread as in the random walk, since they race with all that their CPU does.
//!
//! Reference: Yuan, Yang, Gu, "Partial order aware concurrency sampling", CAV 2018.

use super::{Choice, Diverged, Event, Pace, Rng, Schedule};
use crate::cpu::MAXCPU;
use crate::host::footprint::Operand;

/// See the module.
#[derive(Debug)]
pub struct Pos {
    seed: u64,
    rng: Rng,
    pace: Pace,
    /// For each CPU that could move at the last choice, what it was about to work on and the priority of that; the highest moves.
    drawn: [Option<(Operand, u64)>; MAXCPU],
    /// What was performed last: the CPU, and what it worked on.
    performed: (usize, Operand),
}

impl Pos {
    /// The sampling under `seed`.
    pub fn new(seed: u64) -> Self {
        let performed = (0, Operand::NONE);
        Self { seed, rng: Rng::new(seed, 0), pace: Pace::default(), drawn: [None; MAXCPU], performed }
    }

    /// Lets the events that race with what was performed draw anew.
    fn draw(&mut self, choice: &Choice<'_>) {
        let before = core::mem::replace(&mut self.drawn, [None; MAXCPU]);
        for event in choice.enabled {
            let &Event::Run(cpu) = event else { continue };
            let cpu = usize::from(cpu);
            let operand = choice.pending.on(cpu);
            // Where only one CPU could move nobody was asked: what it did shows in what it is about to do now.
            let moved = cpu == self.performed.0 || cpu == choice.current;
            let kept = before[cpu].filter(|&(other, _)| !moved && other == operand && !operand.races(self.performed.1));
            self.drawn[cpu] = Some(kept.unwrap_or_else(|| (operand, self.rng.next())));
        }
    }
}

impl Schedule for Pos {
    fn begin(&mut self, index: u64) {
        self.rng = Rng::new(self.seed ^ 0x0070_6f73, index);
        self.pace = Pace::new(&mut self.rng);
        self.drawn = [None; MAXCPU];
        self.performed = (0, Operand::NONE);
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        if matches!(choice.enabled[0], Event::Pick(_)) {
            return Ok(self.rng.below(choice.enabled.len()));
        }
        self.draw(choice);
        if let Some(at) = self.pace.outside(&mut self.rng, choice.enabled) {
            self.performed = (choice.enabled[at].cpu().unwrap_or(0), Operand::NONE);
            return Ok(at);
        }
        let mut best = (0, 0);
        for (at, event) in choice.enabled.iter().enumerate() {
            let &Event::Run(cpu) = event else { break };
            if let Some((operand, priority)) = self.drawn[usize::from(cpu)]
                && (at == 0 || priority > best.1)
            {
                best = (at, priority);
                self.performed = (usize::from(cpu), operand);
            }
        }
        Ok(best.0)
    }

    fn end(&mut self, _choices: usize) -> bool {
        true
    }
}
