//! Callers of a remote under a fault: each call has one outcome, in time, and its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pymq_core::{Bus, ErrorKind};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Report;
use crate::Failure;

/// The remote, which returns its argument.
const ECHO: &str = "echo";

/// The time limit of a call, and how late a call may be on a machine that is busy with faults.
const TIMEOUT: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_secs(1);

/// A caller that calls at a steady pace.
#[derive(Debug)]
pub struct Caller {
    task: JoinHandle<Result<Calls, Failure>>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Calls {
    answered: u64,
    failed: u64,
    wrong: u64,
    longest: Duration,
}

/// Exposes the remote until the bus is gone.
pub async fn serve(bus: &Bus) -> Result<(), Failure> {
    let echo = |number: u64| async move { number };
    bus.expose(ECHO, echo).await?.keep();
    Ok(())
}

impl Caller {
    /// Starts to call this many times a second, one call after the other.
    pub fn start(bus: &Bus, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pace = Duration::from_secs(1) / per_second;
        let task = tokio::spawn(call(bus.clone(), pace, Arc::clone(&stop)));
        Self { task, stop }
    }

    /// Adds the results of the calls to a report. Asserts that each call got its own answer or
    /// failed in time.
    pub async fn finish(self, report: &mut Report) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let calls = self.task.await??;
        let (answered, failed, wrong) = (calls.answered, calls.failed, calls.wrong);
        report.figure(format!("calls: {answered} answered, {failed} failed"));
        report.demand(answered > 0, || "no call was answered".to_owned());
        report.demand(wrong == 0, || {
            format!("{wrong} calls got the answer of another")
        });
        report.demand(calls.longest <= TIMEOUT + LATE, || {
            format!("a call of {TIMEOUT:?} took {:?}", calls.longest)
        });
        Ok(())
    }
}

async fn call(bus: Bus, pace: Duration, stop: Arc<AtomicBool>) -> Result<Calls, Failure> {
    let echo = bus.stub::<(u64,), u64>(ECHO).timeout(TIMEOUT);
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut calls = Calls::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        ticks.tick().await;
        let start = Instant::now();
        match echo.call((number,)).await {
            Ok(answer) if answer == number => calls.answered += 1,
            Ok(_) => calls.wrong += 1,
            Err(error)
                if error.is_retryable()
                    || matches!(error.kind(), ErrorKind::Timeout | ErrorKind::NoSuchRemote) =>
            {
                calls.failed += 1;
            }
            Err(error) => return Err(error.into()),
        }
        calls.longest = calls.longest.max(start.elapsed());
    }
    Ok(calls)
}
