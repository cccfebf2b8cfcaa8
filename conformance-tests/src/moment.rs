//! The moments at which a test interrupts a running future: exact on a paused clock, spread over
//! the first milliseconds on a real one.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::Clock;

/// Lets a task start to wait. No test can observe this from outside.
///
/// If the task does not wait yet, the behavior is easier to show, never wrong.
pub async fn parked() {
    sleep(Duration::from_millis(50)).await;
}

/// Returns at the `n`th moment: after `n` turns of the runtime, and on a real clock up to 50
/// microseconds for each.
pub async fn moment(clock: Clock, n: u32) {
    let started = Instant::now();
    for _ in 0..n {
        yield_now().await;
    }
    while clock == Clock::Real && started.elapsed() < Duration::from_micros(50) * n {
        yield_now().await;
    }
}

/// Runs a future until the `n`th moment and drops it then. Returns what it had returned.
///
/// Every second moment comes just before the future would run again: it has been woken and does not
/// know it yet.
pub async fn dropped_at<F: Future>(clock: Clock, n: u32, future: F) -> Option<F::Output> {
    let (future, moment) = (pin!(future), pin!(moment(clock, n / 2)));
    if n.is_multiple_of(2) {
        return match select(future, moment).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(((), _)) => None,
        };
    }
    match select(moment, future).await {
        Either::Left(((), _)) => None,
        Either::Right((output, _)) => Some(output),
    }
}
