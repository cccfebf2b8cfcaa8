//! Callers of a remote under a fault: each call has one outcome, in time, and its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pymq_core::{Bus, ErrorKind, Stub};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Report;
use super::ledger::now;
use crate::Failure;

/// The remote of most faults.
pub const ECHO: &str = "echo";

/// The time limit of a call.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// The time after which a recovery counts as failed.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// How late a call may be on a machine that is busy with faults.
const LATE: Duration = Duration::from_secs(1);

/// A caller that calls at a steady pace.
#[derive(Debug)]
pub struct Caller {
    task: JoinHandle<Result<Calls, Failure>>,
    stop: Arc<AtomicBool>,
    /// When the last call that was answered began.
    answered: watch::Receiver<Duration>,
}

/// The outcomes of calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    answered: u64,
    failed: u64,
    /// Those that found no server.
    pub unserved: u64,
    wrong: u64,
    longest: Duration,
    /// The longest time without an answer.
    pub pause: Duration,
}

/// Exposes a remote that returns its argument, until the bus is gone.
pub async fn serve(bus: &Bus, remote: &str) -> Result<(), Failure> {
    let echo = |number: u64| async move { number };
    bus.expose(remote, echo).await?.keep();
    Ok(())
}

impl Caller {
    /// Starts to call this many times a second, one call after the other.
    pub fn start(bus: &Bus, remote: &str, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pace = Duration::from_secs(1) / per_second;
        let echo = bus.stub(remote).timeout(TIMEOUT);
        let (note, answered) = watch::channel(Duration::ZERO);
        let task = tokio::spawn(call(echo, pace, Arc::clone(&stop), note));
        Self {
            task,
            stop,
            answered,
        }
    }

    /// Waits until a call is answered that began after a moment. Returns how long after it.
    ///
    /// # Errors
    ///
    /// If that does not happen for a long time.
    pub async fn recovery(&mut self, from: Duration) -> Result<Duration, Failure> {
        let answered = self.answered.wait_for(|begun| *begun >= from);
        let answered = timeout(WAIT_LIMIT, answered).await;
        answered.map_err(|_| format!("no call was answered for {WAIT_LIMIT:?}"))??;
        Ok(now().saturating_sub(from))
    }

    /// Adds the results of the calls to a report. Asserts that each call got its own answer or
    /// failed in time.
    pub async fn finish(self, report: &mut Report) -> Result<Calls, Failure> {
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
        Ok(calls)
    }
}

async fn call(
    echo: Stub<(u64,), u64>,
    pace: Duration,
    stop: Arc<AtomicBool>,
    note: watch::Sender<Duration>,
) -> Result<Calls, Failure> {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut calls, mut answered) = (Calls::default(), Instant::now());
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        ticks.tick().await;
        let (start, begun) = (Instant::now(), now());
        match echo.call((number,)).await {
            Ok(answer) if answer == number => {
                calls.answered += 1;
                note.send_replace(begun);
                calls.pause = calls.pause.max(answered.elapsed());
                answered = Instant::now();
            }
            Ok(_) => calls.wrong += 1,
            Err(error)
                if error.is_retryable()
                    || matches!(error.kind(), ErrorKind::Timeout | ErrorKind::NoSuchRemote) =>
            {
                calls.failed += 1;
                calls.unserved += u64::from(error.kind() == ErrorKind::NoSuchRemote);
            }
            Err(error) => return Err(error.into()),
        }
        calls.longest = calls.longest.max(start.elapsed());
    }
    Ok(calls)
}
