//! A dead letter and its id.

use pymq_core::MessageId;
use pymq_core::provider::Stored;

use super::state::Item;

/// A message that was buried, and why.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) item: Item,
    pub(super) reason: String,
}

impl DeadLetter {
    pub(super) fn to_stored(&self, number: u64) -> Stored {
        let id = MessageId::new(number.to_string());
        Stored::dead(
            self.item.message.clone(),
            self.item.attempt,
            id,
            self.reason.as_str(),
        )
    }
}

/// Reads the id of a dead letter; `None` for an id that this provider does not write.
pub(super) fn number(id: &MessageId) -> Option<u64> {
    let number: u64 = id.as_str().parse().ok()?;
    (number.to_string() == id.as_str()).then_some(number)
}
