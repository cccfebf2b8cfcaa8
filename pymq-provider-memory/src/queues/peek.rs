//! `peek`: looks at messages and takes none.

use pymq_core::provider::{Part, Stored};

use super::Queues;
use super::state::{Item, State};

impl Queues {
    pub(crate) fn peek(&self, name: &str, part: Part, max: usize) -> Vec<Stored> {
        self.step(name, |state, _| state.peek(part, max))
            .unwrap_or_default()
    }
}

impl State {
    pub(super) fn peek(&self, part: Part, max: usize) -> Vec<Stored> {
        let stored = |item: &Item| Stored::new(item.message.clone(), item.attempt);
        match part {
            Part::Ready => self.ready.iter().take(max).map(stored).collect(),
            Part::Delayed => self.delayed.values().take(max).map(stored).collect(),
            Part::Dead => self
                .dead
                .iter()
                .take(max)
                .map(|(number, letter)| letter.to_stored(*number))
                .collect(),
            _ => Vec::new(),
        }
    }
}
