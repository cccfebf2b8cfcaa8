//! What scripts are told, as text.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

/// Longer than anybody waits; adding it overflows nothing.
pub(super) const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

pub(super) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn number(number: usize) -> Bytes {
    number.to_string().into()
}

/// Whole milliseconds, rounded up: nothing is early.
pub(super) fn millis(time: Duration) -> Bytes {
    time.min(CENTURY)
        .as_nanos()
        .div_ceil(1_000_000)
        .to_string()
        .into()
}

/// Sixteen random characters, which make the ids of a script call unlike any others.
pub(super) fn token() -> Bytes {
    let (token, _) = Uuid::new_v4().as_u64_pair();
    format!("{token:016x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_up_and_saturate() {
        assert_eq!(millis(Duration::from_micros(1)), "1");
        assert_eq!(millis(Duration::from_millis(2)), "2");
        assert_eq!(millis(Duration::MAX), millis(CENTURY));
    }
}
