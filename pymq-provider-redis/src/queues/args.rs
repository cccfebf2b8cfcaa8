//! Arguments of scripts, as text.

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
