//! F23: under load, everything on the server is deleted repeatedly, then single keys, then its
//! scripts.
//!
//! Deleted data is gone, and its holders are told. The errors end with the wipes, and missing
//! scripts fail no operation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pymq_core::{Bus, Error, ErrorKind};
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Dice, Report, Setting, callers};
use crate::errors::full_text;
use crate::{Failure, Outcome};

/// What is done to the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wipe {
    Everything,
    SingleKeys,
    Scripts,
}

/// How long each wipe lasts.
const TIME: Duration = Duration::from_secs(2);

/// The timeout of a call. If its answer was deleted, a call takes this long.
const TIMEOUT: Duration = Duration::from_millis(500);

/// How long after the last wipe an error may still come, and for how long errors are then counted.
const ECHOES: Duration = Duration::from_millis(1_500);
const QUIET: Duration = Duration::from_millis(700);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&[]).await?;
    let (bus, serving) = (
        setting.bus(server.url().parse()?).await?,
        setting.bus(server.url().parse()?).await?,
    );
    callers::serve(&serving, callers::ECHO).await?;
    let diary = Diary::default();
    let load = load(&bus, &diary).await?;
    let mut raw = server.raw().await?;
    let mut dice = setting.dice("wipes");
    let mut report = Report::default();
    for wipe in [Wipe::Everything, Wipe::SingleKeys, Wipe::Scripts] {
        let start = Instant::now();
        let mut wiped = 0;
        while start.elapsed() < TIME {
            wiped += wipe.once(&mut raw, &mut dice).await?;
        }
        let end = Instant::now();
        sleep(ECHOES + QUIET).await;
        diary.judge(wipe, wiped, start, end, &mut report);
    }
    drop(load);
    Ok(report)
}

impl Wipe {
    /// Does it once, and returns how much was deleted.
    async fn once(self, raw: &mut MultiplexedConnection, dice: &mut Dice) -> Result<u64, Failure> {
        match self {
            Self::Everything => {
                sleep(dice.millis(10..=60)).await;
                redis::cmd("FLUSHALL").exec_async(raw).await?;
            }
            Self::SingleKeys => {
                sleep(dice.millis(0..=3)).await;
                let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(raw).await?;
                let Some(last) = keys.len().checked_sub(1) else {
                    return Ok(0);
                };
                let victim = usize::try_from(dice.within(0..=u64::try_from(last)?))?;
                redis::cmd("DEL").arg(&keys[victim]).exec_async(raw).await?;
            }
            Self::Scripts => {
                sleep(dice.millis(0..=3)).await;
                redis::cmd("SCRIPT").arg("FLUSH").exec_async(raw).await?;
            }
        }
        Ok(1)
    }

    /// Tells whether it explains an error.
    fn explains(self, what: &str, kind: ErrorKind) -> bool {
        match (self, what, kind) {
            (Self::Scripts, ..) => false,
            (_, "ack", ErrorKind::LeaseLost) | (_, "call", ErrorKind::Timeout) => true,
            _ => false,
        }
    }
}

/// What happened, and when.
#[derive(Clone, Debug, Default)]
struct Diary(Arc<Mutex<Vec<Note>>>);

#[derive(Clone, Debug)]
struct Note {
    at: Instant,
    what: &'static str,
    error: Option<(ErrorKind, String)>,
}

impl Diary {
    fn note<T>(&self, what: &'static str, outcome: &Result<T, Error>) {
        let error = outcome
            .as_ref()
            .err()
            .map(|error| (error.kind(), full_text(error)));
        let at = Instant::now();
        self.lock().push(Note { at, what, error });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to a report what was recorded since the start of a wipe. Asserts that the wipe explains
    /// its errors, and that they end with it.
    fn judge(&self, wipe: Wipe, wiped: u64, start: Instant, end: Instant, report: &mut Report) {
        let notes = std::mem::take(&mut *self.lock());
        let (mut counts, mut last) = (BTreeMap::<_, u64>::new(), None);
        let mut after = BTreeMap::<_, u64>::new();
        let (mut well, mut failed) = (0, 0);
        for Note { at, what, error } in notes.into_iter().filter(|note| note.at >= start) {
            let Some((kind, text)) = error else {
                well += 1;
                *after.entry(what).or_default() += u64::from(at > end);
                continue;
            };
            failed += 1;
            *counts.entry(format!("{what} {kind:?}")).or_default() += 1;
            report.demand(wipe.explains(what, kind), || {
                format!("{wipe:?}: {what}: {text}")
            });
            last = last.max(Some(at));
        }
        report.sent += well + failed;
        report.accepted += well;
        report.worked += well;
        let echo = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(end));
        report.recovered(echo);
        report.figure(format!(
            "{wipe:?} {wiped} times: {well} well, errors {counts:?}"
        ));
        report.demand(echo <= ECHOES, || {
            format!("{wipe:?}: an error came {echo:?} after the last")
        });
        for what in WHATS {
            let again = after.get(what).copied().unwrap_or_default();
            report.demand(again > 0, || {
                format!("{wipe:?}: no {what} works afterwards")
            });
        }
    }
}

/// What the load does.
const WHATS: [&str; 6] = ["put", "lease", "ack", "call", "publish", "event"];

/// Runs every operation until it is dropped.
async fn load(bus: &Bus, diary: &Diary) -> Result<JoinSet<Outcome>, Failure> {
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        tasks.spawn(work(
            bus.clone(),
            diary.clone(),
            format!("jobs-{}", task % 2),
        ));
        tasks.spawn(call(bus.clone(), diary.clone()));
    }
    let mut events = bus.topic("news").stream::<u32>().await?;
    let heard = diary.clone();
    tasks.spawn(async move {
        loop {
            let event = events.recv().await;
            heard.note("event", &event);
            event?;
        }
    });
    let (bus, diary) = (bus.clone(), diary.clone());
    tasks.spawn(async move {
        loop {
            let reached = bus.topic("news").publish(&1).await;
            diary.note("publish", &reached);
            sleep(Duration::from_millis(2)).await;
        }
    });
    Ok(tasks)
}

async fn work(bus: Bus, diary: Diary, name: String) -> Outcome {
    let queue = bus.queue::<u32>(&name).unlimited_attempts();
    loop {
        let put = queue.put(&1).await;
        diary.note("put", &put);
        // The item that it put may be gone, or another taker may have it.
        let lease = queue.lease_timeout(Duration::from_millis(50)).await;
        diary.note("lease", &lease);
        if let Ok(Some(lease)) = lease {
            sleep(Duration::from_millis(1)).await;
            let acked = lease.ack().await;
            diary.note("ack", &acked);
        }
    }
}

async fn call(bus: Bus, diary: Diary) -> Outcome {
    let echo = bus.stub::<(u64,), u64>("echo").timeout(TIMEOUT);
    loop {
        // A call that never ends would count neither as an error nor as a success.
        let answer = timeout(TIMEOUT * 4, echo.call((7,))).await?;
        diary.note("call", &answer);
        sleep(Duration::from_millis(1)).await;
    }
}
