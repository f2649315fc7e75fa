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
    /// The CPUs that could move at the last choice, one bit each.
    could_move: usize,
    /// What each of them was about to work on, and the priority of that; the highest moves.
    drawn: [(Operand, u64); MAXCPU],
    /// What was performed last: the CPU, and what it worked on.
    performed: (usize, Operand),
}

impl Pos {
    /// The sampling under `seed`.
    pub fn new(seed: u64) -> Self {
        let (drawn, performed) = ([(Operand::NONE, 0); MAXCPU], (0, Operand::NONE));
        Self { seed, rng: Rng::new(seed, 0), pace: Pace::default(), could_move: 0, drawn, performed }
    }

    /// Lets the events that race with what was performed draw anew; the index of the highest, and its CPU.
    #[inline(always)]
    fn draw(&mut self, choice: &Choice<'_>) -> (usize, usize) {
        let could_move = core::mem::take(&mut self.could_move);
        let (mut highest, mut most) = ((0, 0), 0);
        for (at, event) in choice.enabled.iter().enumerate() {
            let &Event::Run(cpu) = event else { break };
            let cpu = usize::from(cpu);
            let operand = choice.pending.on(cpu);
            let (last, priority) = &mut self.drawn[cpu];
            // Where only one CPU could move nobody was asked: what it did shows in what it is about to do now.
            let moved = cpu == self.performed.0 || cpu == choice.current;
            let stays = could_move >> cpu & 1 != 0 && !moved && *last == operand && !operand.races(self.performed.1);
            if !stays {
                (*last, *priority) = (operand, self.rng.next());
            }
            self.could_move |= 1 << cpu;
            if at == 0 || *priority > most {
                (highest, most) = ((at, cpu), *priority);
            }
        }
        highest
    }
}

impl Schedule for Pos {
    fn begin(&mut self, index: u64) {
        self.rng = Rng::new(self.seed ^ 0x0070_6f73, index);
        self.pace = Pace::new(&mut self.rng);
        self.could_move = 0;
        self.performed = (0, Operand::NONE);
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        if matches!(choice.enabled[0], Event::Pick(_)) {
            return Ok(self.rng.below(choice.enabled.len()));
        }
        let (at, cpu) = self.draw(choice);
        if let Some(at) = self.pace.outside(&mut self.rng, choice.enabled) {
            self.performed = (choice.enabled[at].cpu().unwrap_or(0), Operand::NONE);
            return Ok(at);
        }
        self.performed = (cpu, self.drawn[cpu].0);
        Ok(at)
    }

    fn end(&mut self, _choices: usize) -> bool {
        true
    }
}
