//! `clear`: removes every message of a part.

use pymq_core::provider::Part;

use super::Queues;
use super::state::State;

impl Queues {
    pub(crate) fn clear(&self, name: &str, part: Part) -> usize {
        self.step(name, |state, _| state.clear(part))
            .unwrap_or_default()
    }
}

impl State {
    fn clear(&mut self, part: Part) -> usize {
        match part {
            Part::Ready => std::mem::take(&mut self.ready).len(),
            Part::Delayed => std::mem::take(&mut self.delayed).len(),
            Part::Dead => std::mem::take(&mut self.dead).len(),
            _ => 0,
        }
    }
}
