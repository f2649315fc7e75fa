//! Replays a recorded schedule, and says where it no longer fits.

use super::{Choice, Diverged, Event, Schedule};

/// See the module.
#[derive(Debug)]
pub struct Replay {
    events: Vec<Event>,
    at: usize,
}

impl Replay {
    /// A replay of `events`.
    pub fn new(events: Vec<Event>) -> Self {
        Self { events, at: 0 }
    }

    /// Events that were not consumed.
    pub fn left(&self) -> usize {
        self.events.len() - self.at
    }
}

impl Schedule for Replay {
    fn begin(&mut self, _index: u64) {
        self.at = 0;
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        let expected = self.events.get(self.at).copied();
        let found = expected.and_then(|expected| choice.enabled.iter().position(|&event| event == expected));
        match found {
            Some(found) => {
                self.at += 1;
                Ok(found)
            }
            None => Err(Diverged { at: choice.at, expected, enabled: choice.enabled.to_vec() }),
        }
    }

    fn end(&mut self, _choices: usize) -> bool {
        false
    }
}
