//! The longest duration that the library works with.

use std::time::Duration;

/// The longest duration that pymq distinguishes, about 100 years.
///
/// A longer duration is treated as this one. Adding it to the current time never overflows.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use pymq::provider::MAX_DURATION;
///
/// let deadline = Instant::now() + Duration::MAX.min(MAX_DURATION);
///
/// assert!(deadline > Instant::now());
/// ```
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
