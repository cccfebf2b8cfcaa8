//! The shortest and longest times that a provider accepts.

use std::time::Duration;

/// The shortest lease, 10 ms. A lease that ends before its message arrives would only cause
/// redeliveries.
pub const MIN_LEASE: Duration = Duration::from_millis(10);

/// Returns the duration of a lease that is requested with `time`: at least [`MIN_LEASE`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use pymq::provider::{MIN_LEASE, lease_time};
///
/// assert_eq!(lease_time(Duration::ZERO), MIN_LEASE);
/// assert_eq!(lease_time(Duration::from_secs(5)), Duration::from_secs(5));
/// ```
pub fn lease_time(time: Duration) -> Duration {
    time.max(MIN_LEASE)
}

/// The default time for which the id of a put is known, 2 minutes.
pub const ONCE_WINDOW: Duration = Duration::from_secs(2 * 60);

/// The shortest time for which an id is known, 1 second. A put can hardly be repeated in less.
pub const MIN_ONCE_WINDOW: Duration = Duration::from_secs(1);

/// The longest time for which an id is known, 30 days. Each known id takes memory of the provider.
pub const MAX_ONCE_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Returns how long the id of a put with the window `time` is known: at least [`MIN_ONCE_WINDOW`]
/// and at most [`MAX_ONCE_WINDOW`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use pymq::provider::{MAX_ONCE_WINDOW, MIN_ONCE_WINDOW, once_window};
///
/// assert_eq!(once_window(Duration::ZERO), MIN_ONCE_WINDOW);
/// assert_eq!(once_window(Duration::from_secs(3_600)), Duration::from_secs(3_600));
/// assert_eq!(once_window(Duration::MAX), MAX_ONCE_WINDOW);
/// ```
pub fn once_window(time: Duration) -> Duration {
    time.clamp(MIN_ONCE_WINDOW, MAX_ONCE_WINDOW)
}
