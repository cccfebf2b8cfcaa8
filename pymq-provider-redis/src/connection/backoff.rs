//! Pauses between attempts to connect: growing, bounded, and not in step with other clients.

use std::time::Duration;

use uuid::Uuid;

/// The upper limit of the first pause.
const FIRST_LIMIT: Duration = Duration::from_millis(50);

/// The upper limit of any pause.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Returns a random pause after so many failures in a row.
pub(crate) fn pause(failures: u32) -> Duration {
    jittered(failures, random_fraction())
}

/// "Full jitter": from zero to a limit that doubles with each failure.
fn jittered(failures: u32, fraction: f64) -> Duration {
    let limit = FIRST_LIMIT
        .saturating_mul(1 << failures.min(16))
        .min(MAX_PAUSE);
    limit.mul_f64(fraction)
}

/// Returns a number from 0 to 1. A random UUID is random enough for a pause.
pub(crate) fn random_fraction() -> f64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    f64::from((high >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_doubles_up_to_five_seconds() {
        let limits: Vec<_> = [0, 1, 6, 7, 40, u32::MAX]
            .map(|failures| jittered(failures, 1.0).as_millis())
            .into();

        assert_eq!(limits, [50, 100, 3_200, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn the_jitter_is_full() {
        assert_eq!(jittered(3, 0.0), Duration::ZERO);
        assert_eq!(jittered(3, 0.5), Duration::from_millis(200));
    }

    #[test]
    fn fractions_stay_in_range_and_differ() {
        let fractions: Vec<f64> = (0..100).map(|_| random_fraction()).collect();

        assert!(
            fractions
                .iter()
                .all(|fraction| (0.0..=1.0).contains(fraction))
        );
        assert!(
            fractions
                .iter()
                .any(|fraction| (fraction - fractions[0]).abs() > 0.01)
        );
    }
}
