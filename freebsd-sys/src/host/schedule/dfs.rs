//! Plain depth-first search: every execution within the budget, without reduction.

use super::{Choice, Diverged, Schedule};

/// See the module.
#[derive(Debug, Default)]
pub struct Dfs {
    /// The choices of the last execution: what was taken, out of how many.
    path: Vec<(usize, usize)>,
    at: usize,
    exhausted: bool,
}

impl Dfs {
    /// A search from the beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether every execution has been run.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }
}

impl Schedule for Dfs {
    fn begin(&mut self, _index: u64) {
        self.at = 0;
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        let n = choice.enabled.len();
        if self.at == self.path.len() {
            self.path.push((0, n));
        }
        let (taken, of) = self.path[self.at];
        if of != n {
            // The program did something else than last time with the same choices: it is not deterministic.
            return Err(Diverged { at: self.at, expected: None, enabled: choice.enabled.to_vec() });
        }
        self.at += 1;
        Ok(taken)
    }

    fn end(&mut self, choices: usize) -> bool {
        self.path.truncate(choices);
        while let Some((taken, of)) = self.path.pop() {
            if taken + 1 < of {
                self.path.push((taken + 1, of));
                return true;
            }
        }
        self.exhausted = true;
        false
    }
}
