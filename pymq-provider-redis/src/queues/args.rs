//! Arguments of scripts, as text.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use pymq_core::provider::MAX_DURATION;

pub(super) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn number(number: usize) -> Bytes {
    number.to_string().into()
}

/// Whole milliseconds, rounded up, so that nothing happens early.
pub(super) fn millis(time: Duration) -> Bytes {
    time.min(MAX_DURATION)
        .as_nanos()
        .div_ceil(1_000_000)
        .to_string()
        .into()
}

/// Sixteen random characters. They make the ids of one script call unique.
pub(super) fn token() -> Bytes {
    let (token, _) = Uuid::new_v4().as_u64_pair();
    format!("{token:016x}").into()
}

/// Returns a new handoff: the id of a lease batch that ends with zeros. In place of the time it has a
/// number that grows, so the handoffs of a process sort in their order.
pub(super) fn new_handoff() -> Arc<str> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (token, _) = Uuid::new_v4().as_u64_pair();
    format!("{number:016}-{token:016x}-00000000").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_up_and_saturate() {
        assert_eq!(millis(Duration::from_micros(1)), "1");
        assert_eq!(millis(Duration::from_millis(2)), "2");
        assert_eq!(millis(Duration::MAX), millis(MAX_DURATION));
    }
}
