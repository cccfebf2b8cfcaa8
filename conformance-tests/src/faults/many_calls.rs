//! F12: 10,000 calls at once of one remote on 4 servers. 1 % of them are slow and 1 % fail.
//!
//! Each call has one outcome, and its own. No call runs twice, and nothing of the calls is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use pymq_core::{Bus, ErrorKind, RemoteError};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::{Dice, Report, Setting};
use crate::redis::Controlled;
use crate::wait::until;
use crate::{Failure, Outcome};

const CALLS: usize = 10_000;
const SERVERS: usize = 4;

/// How long a slow call takes.
const SLOW: Duration = Duration::from_secs(1);

/// The timeout of a call, and how much later the caller may get the answer on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_secs(2);

/// The expected outcome of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Quick,
    Slow,
    Failing,
}

/// What is known of every call, by its number.
#[derive(Debug)]
struct Calls {
    kinds: Vec<Kind>,
    runs: Vec<AtomicU8>,
}

impl Calls {
    fn draw(dice: &mut Dice) -> Arc<Self> {
        let kinds = (0..CALLS).map(|_| match dice.within(0..=99) {
            0 => Kind::Slow,
            1 => Kind::Failing,
            _ => Kind::Quick,
        });
        Arc::new(Self {
            kinds: kinds.collect(),
            runs: (0..CALLS).map(|_| AtomicU8::new(0)).collect(),
        })
    }

    fn has_run(&self, number: usize) -> u8 {
        self.runs[number].load(Ordering::Relaxed)
    }
}

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&[]).await?;
    let calls = Calls::draw(&mut setting.dice("calls"));
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(serve(&setting, &server, &calls).await?);
    }
    let bus = setting.bus(server.url().parse()?).await?;
    let stub = bus.stub::<(usize,), usize>("work").timeout(TIMEOUT);
    // Its connections exist.
    while stub.call((CALLS,)).await.is_err() {}
    let before = Handle::current().metrics().num_alive_tasks();

    let start = Instant::now();
    let outcomes = join_all((0..CALLS).map(|number| {
        let stub = stub.clone();
        async move { (number, stub.call((number,)).await) }
    }))
    .await;
    let took = start.elapsed();

    let mut report = judge(&calls, &outcomes);
    report.figure(format!("all in {} ms", took.as_millis()));
    report.demand(took <= TIMEOUT + LATE, || {
        format!("the last call of {TIMEOUT:?} ended after {took:?}")
    });
    let settled = until("no more tasks are there than before", || async {
        Handle::current().metrics().num_alive_tasks() <= before
    });
    let is_settled = settled.await;
    report.demand(is_settled.is_ok(), || {
        let now = Handle::current().metrics().num_alive_tasks();
        format!("{before} tasks before, {now} now")
    });
    let pending = pending(&bus);
    report.demand(pending == Some(0), || {
        format!("calls that are still waited for: {pending:?}")
    });
    let left = answers(&server).await?;
    report.demand(left.is_empty(), || {
        format!("answers that were not taken: {left:?}")
    });
    Ok(report)
}

async fn serve(setting: &Setting, server: &Controlled, calls: &Arc<Calls>) -> Result<Bus, Failure> {
    let bus = setting.bus(server.url().parse()?).await?;
    let calls = Arc::clone(calls);
    let work = move |number: usize| {
        let calls = Arc::clone(&calls);
        async move {
            let Some(kind) = calls.kinds.get(number) else {
                return Ok(number);
            };
            calls.runs[number].fetch_add(1, Ordering::Relaxed);
            match kind {
                Kind::Quick => Ok(number),
                Kind::Slow => {
                    sleep(SLOW).await;
                    Ok(number)
                }
                Kind::Failing => Err(RemoteError::new("ValueError", number.to_string())),
            }
        }
    };
    bus.expose("work", work).await?.keep();
    Ok(bus)
}

/// Compares each outcome with the expected one, and with how often the call ran.
fn judge(calls: &Calls, outcomes: &[(usize, pymq_core::Result<usize>)]) -> Report {
    let mut report = Report {
        sent: u64::try_from(outcomes.len()).unwrap_or(u64::MAX),
        ..Report::default()
    };
    let (mut failed, mut overloaded, mut timeouts) = (0, 0, 0);
    for (number, outcome) in outcomes {
        let (kind, runs) = (calls.kinds[*number], calls.has_run(*number));
        let is_right = match outcome {
            Ok(answer) => {
                report.worked += 1;
                answer == number && kind != Kind::Failing && runs == 1
            }
            Err(error) if error.kind() == ErrorKind::Remote => {
                failed += 1;
                let text = error.remote().map(RemoteError::message);
                kind == Kind::Failing && runs == 1 && text == Some(&*number.to_string())
            }
            Err(error) if error.kind() == ErrorKind::Overloaded => {
                overloaded += 1;
                runs == 0
            }
            Err(error) if error.kind() == ErrorKind::Timeout => {
                timeouts += 1;
                runs <= 1
            }
            Err(_) => false,
        };
        report.duplicates += u64::from(runs > 1);
        report.demand(is_right, || {
            format!("call {number}, {kind:?}, ran {runs} times: {outcome:?}")
        });
    }
    // Every call that did not time out has a known outcome.
    report.accepted = report.worked + failed;
    report.figure(format!(
        "{} answered, {failed} failed as they should, {overloaded} refused by a full server, {timeouts} timed out",
        report.worked
    ));
    report.demand(timeouts == 0, || {
        format!("{timeouts} calls heard nothing, with every server there")
    });
    report
}

/// Counts the calls for which a bus still has an entry. The provider shows this in its `Debug`
/// output.
fn pending(bus: &Bus) -> Option<u64> {
    let shown = format!("{:?}", bus.provider());
    let (_, count) = shown.split_once("calls: ")?;
    let end = count.find(|letter: char| !letter.is_ascii_digit())?;
    count[..end].parse().ok()
}

/// Lists the inboxes that are not empty.
async fn answers(server: &Controlled) -> Result<Vec<String>, Failure> {
    let mut raw = server.raw().await?;
    Ok(redis::cmd("KEYS")
        .arg("__eventbus:global:__rpc_*")
        .query_async(&mut raw)
        .await?)
}
