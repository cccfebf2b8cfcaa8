//! A message on its way to a consumer, and how it is settled.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;

use crate::message::Message;

/// A message taken from a queue.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// What was put.
    pub message: Message,
    /// How often it has been taken, including this time; starts at 1.
    pub attempt: u32,
    /// Identifies the lease in a settlement; present if the message is leased.
    pub receipt: Option<Receipt>,
}

impl Delivery {
    /// Creates a delivery.
    pub fn new(message: Message, attempt: u32, receipt: Option<Receipt>) -> Self {
        Self {
            message,
            attempt,
            receipt,
        }
    }
}

/// The length up to which a receipt is stored in place. Such a receipt is as large as one that is
/// not.
const MAX_IN_PLACE: usize = 22;

/// Identifies a lease: opaque bytes that the provider creates.
///
/// Short bytes need no allocation, and cloning them counts no references.
#[derive(Clone)]
pub struct Receipt(Repr);

#[derive(Clone)]
enum Repr {
    InPlace(u8, [u8; MAX_IN_PLACE]),
    Shared(Bytes),
}

impl Receipt {
    /// Wraps the bytes by which the provider finds the lease again.
    pub fn new(receipt: impl Into<Bytes>) -> Self {
        let receipt = receipt.into();
        Self(Repr::in_place(&receipt).unwrap_or(Repr::Shared(receipt)))
    }

    /// Copies the bytes by which the provider finds the lease again.
    ///
    /// # Examples
    ///
    /// ```
    /// use pymq::provider::Receipt;
    ///
    /// let receipt = Receipt::copy_from_slice(&7_u64.to_be_bytes());
    ///
    /// assert_eq!(receipt, Receipt::new(vec![0, 0, 0, 0, 0, 0, 0, 7]));
    /// ```
    pub fn copy_from_slice(receipt: &[u8]) -> Self {
        let copy = || Repr::Shared(Bytes::copy_from_slice(receipt));
        Self(Repr::in_place(receipt).unwrap_or_else(copy))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::InPlace(len, bytes) => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl Repr {
    /// Returns `None` for bytes that are too long.
    fn in_place(receipt: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_IN_PLACE];
        bytes.get_mut(..receipt.len())?.copy_from_slice(receipt);
        let len = u8::try_from(receipt.len()).ok()?;
        Some(Self::InPlace(len, bytes))
    }
}

impl PartialEq for Receipt {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Receipt {}

impl Hash for Receipt {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", self.as_bytes().escape_ascii())
    }
}

/// How to settle a leased message.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Settle {
    /// The message is done: remove it.
    Ack,
    /// The attempt failed: give the message back to the queue.
    Nack {
        /// Zero returns the message to the front now. Otherwise it is hidden for this time and then
        /// joins the back.
        delay: Duration,
    },
    /// The attempt did not start: return the message to the front and do not count the attempt.
    Release,
    /// The attempt needs more time: move the end of the lease.
    Extend {
        /// The time from now to the new end, at least [`MIN_LEASE`](super::MIN_LEASE).
        lease: Duration,
    },
    /// The message has no attempts left or cannot be read: make it a dead letter.
    Bury {
        /// Why the message is buried.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_of_any_length_keeps_its_bytes() {
        for len in [0, 1, MAX_IN_PLACE, MAX_IN_PLACE + 1, 300] {
            let bytes = vec![7; len];
            let receipt = Receipt::copy_from_slice(&bytes);

            assert_eq!(receipt.as_bytes(), bytes);
            assert_eq!(receipt, Receipt::new(bytes));
        }
        assert_eq!(size_of::<Receipt>(), size_of::<Bytes>());
    }
}
