//! Waits for a condition under a deadline, so that no test needs a sleep.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::{Failure, Outcome};

/// The longest time that a behavior waits for an event. A test that passes does not use it up.
pub const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// Checks again and again until the condition holds.
///
/// # Errors
///
/// If it does not hold within [`WAIT_LIMIT`].
pub async fn until<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> Outcome {
    let deadline = Instant::now() + WAIT_LIMIT;
    let mut pause = Duration::from_millis(1);
    while !condition().await {
        if Instant::now() >= deadline {
            return Err(format!("waited {WAIT_LIMIT:?} in vain until {what}").into());
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(32));
    }
    Ok(())
}

/// Awaits a future that must end.
///
/// # Errors
///
/// If it does not end within [`WAIT_LIMIT`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(WAIT_LIMIT, future)
        .await
        .map_err(|_| format!("{what} did not end within {WAIT_LIMIT:?}").into())
}
