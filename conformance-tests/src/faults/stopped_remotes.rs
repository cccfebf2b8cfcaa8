//! F24: the processes that serve a remote are stopped and continued, one or two of three at a time,
//! most of them for longer than the timeout of a call.
//!
//! A stopped server has its requests in its connection, and reads them when it continues. By then
//! another server has run them, or their time is over: no call runs twice, and none begins late.
//! The other servers answer meanwhile.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use pymq_core::{Bus, ErrorKind, Stub};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::ledger::{Job, now};
use super::remote_server::{RemoteServer, TO_ALL, TO_ONE, runs};
use super::{Dice, Report, Setting};
use crate::{Failure, Outcome};

const SERVERS: u32 = 3;

/// For how long servers are stopped now and then, and how long a stop is.
const FAULTS: Duration = Duration::from_secs(20);
const STOP: RangeInclusive<u64> = 300..=3_000;
const PAUSE: RangeInclusive<u64> = 100..=800;

/// The time between two calls. One of ten calls is to all servers.
const PACE: Duration = Duration::from_millis(10);
const CALLS_TO_ALL: u32 = 10;

/// The timeout of a call, and how much later its journal may say that it began.
const TIMEOUT: Duration = Duration::from_secs(1);
const MARGIN: Duration = Duration::from_millis(50);

/// A server may have begun with a call when it is stopped, up to this long before. Between its
/// check of the time and the first line of the function it cannot know that it was stopped.
const IN_HAND: Duration = Duration::from_millis(50);

/// The time in which another server runs a call.
const OTHERS: Duration = Duration::from_millis(250);

/// The time limit until all servers answer again.
const RECOVERY: Duration = Duration::from_secs(6);

/// What is known of a call.
#[derive(Debug)]
struct Call {
    number: u32,
    sent: Duration,
    outcome: Result<Vec<u32>, ErrorKind>,
}

/// A time in which a server was stopped.
#[derive(Clone, Copy, Debug)]
struct Stop {
    server: u32,
    from: Duration,
    to: Duration,
}

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let redis = setting.server(&[]).await?;
    let ledger = setting.ledger("calls")?;
    let mut servers = Vec::new();
    for number in 0..SERVERS {
        servers.push(RemoteServer::start(&ledger, redis.url(), number).await?);
    }
    let bus = setting.bus(redis.url().parse()?).await?;

    let (end, ended) = watch::channel(false);
    let calling = tokio::spawn(call(bus.clone(), ended));
    let stops = stop_in_turn(&servers, setting.dice("stops")).await?;
    end.send_replace(true);
    let calls = calling.await??;
    let worked = recovery(&bus).await;
    for server in servers {
        server.finish().await?;
    }

    let mut report = judge(&calls, &runs(&ledger)?, &stops);
    report.demand(worked.is_ok(), || {
        format!("not all servers answer after the last stop: {worked:?}")
    });
    if let Ok(worked) = worked {
        report.recovered(worked);
    }
    Ok(report)
}

/// Stops one or two servers at a time.
async fn stop_in_turn(servers: &[RemoteServer], mut dice: Dice) -> Result<Vec<Stop>, Failure> {
    let (start, mut stops) = (Instant::now(), Vec::new());
    while start.elapsed() < FAULTS {
        sleep(dice.millis(PAUSE)).await;
        let first = u32::try_from(dice.roll() % u64::from(SERVERS))?;
        let count = if dice.percent(30) { 2 } else { 1 };
        let mut stopped = Vec::new();
        for server in (first..first + count).map(|server| server % SERVERS) {
            let from = now();
            let process = &servers[usize::try_from(server)?];
            stopped.push((server, from, process.stop().await?));
        }
        sleep(dice.millis(STOP)).await;
        for (server, from, process) in stopped {
            let to = now();
            process.resume().await?;
            stops.push(Stop { server, from, to });
        }
    }
    Ok(stops)
}

/// Calls at a steady pace until the end. A call does not wait for the one before it.
async fn call(bus: Bus, mut ended: watch::Receiver<bool>) -> Result<Vec<Call>, Failure> {
    let one = bus.stub::<(u32,), u32>(TO_ONE).timeout(TIMEOUT);
    let all = bus.stub::<(u32,), u32>(TO_ALL).timeout(TIMEOUT);
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut calls = JoinSet::new();
    for number in 0.. {
        tokio::select! {
            _ = ended.wait_for(|&ended| ended) => break,
            _ = ticks.tick() => {}
        }
        let stub = if is_to_all(number) { &all } else { &one };
        let (stub, sent) = (stub.clone(), now());
        calls.spawn(async move {
            let answers = if is_to_all(number) {
                call_all(&stub, number).await
            } else {
                stub.call((number,)).await.map(|answer| vec![answer])
            };
            let outcome = answers.map_err(|error| error.kind());
            Call {
                number,
                sent,
                outcome,
            }
        });
    }
    Ok(calls.join_all().await)
}

fn is_to_all(number: u32) -> bool {
    number.is_multiple_of(CALLS_TO_ALL)
}

async fn call_all(stub: &Stub<(u32,), u32>, number: u32) -> pymq_core::Result<Vec<u32>> {
    let answers = stub.call_all((number,)).await?.all().await;
    answers.into_iter().collect()
}

/// Waits until all servers answer again, and returns how long that took. From then on each call is
/// answered.
async fn recovery(bus: &Bus) -> Result<Duration, Failure> {
    let (start, number) = (Instant::now(), u32::MAX);
    let all = bus.stub(TO_ALL).timeout(TIMEOUT);
    let is_answered = |answers: &[u32]| answers.len() == SERVERS as usize;
    while !call_all(&all, number)
        .await
        .is_ok_and(|answers| is_answered(&answers))
    {
        if start.elapsed() > RECOVERY {
            return Err(format!("not within {RECOVERY:?}").into());
        }
        sleep(Duration::from_millis(10)).await;
    }
    let took = start.elapsed();
    let one = bus.stub::<(u32,), u32>(TO_ONE).timeout(TIMEOUT);
    for _ in 0..100 {
        one.call((number,)).await?;
    }
    Ok(took)
}

/// Compares the runs with the calls.
fn judge(calls: &[Call], runs: &[(Duration, Job)], stops: &[Stop]) -> Report {
    let mut report = Report {
        sent: count(calls),
        ..Report::default()
    };
    let mut runs_of: HashMap<u32, Vec<(Duration, u32)>> = HashMap::new();
    for &(at, Job { producer, seq }) in runs {
        runs_of.entry(seq).or_default().push((at, producer));
    }
    let (mut timeouts, mut in_hand, mut meanwhile, mut answered_meanwhile) = (0, 0, 0, 0);
    for call in calls {
        let runs = runs_of.remove(&call.number).unwrap_or_default();
        let servers: HashSet<_> = runs.iter().map(|&(_, server)| server).collect();
        let most = if is_to_all(call.number) {
            servers.len()
        } else {
            1
        };
        report.duplicates += u64::from(runs.len() > most);
        report.demand(runs.len() <= most, || {
            format!("{call:?} ran twice: {runs:?}")
        });
        for &(at, server) in &runs {
            if at <= call.sent + TIMEOUT + MARGIN {
                continue;
            }
            let is_in_hand = stops
                .iter()
                .any(|stop| stop.was_begun(server, call.sent, at));
            in_hand += u64::from(is_in_hand);
            report.demand(is_in_hand, || {
                format!("{call:?} began after {:?}", at.saturating_sub(call.sent))
            });
        }
        let is_right = match &call.outcome {
            Ok(answers) => {
                report.worked += 1;
                answers.iter().all(|answer| *answer == call.number) && runs.len() >= answers.len()
            }
            Err(kind) => {
                timeouts += 1;
                // The function does not fail. But a server that continues just before the end may
                // answer that it is too late. Then it has not run the call.
                let all = if is_to_all(call.number) {
                    SERVERS as usize
                } else {
                    1
                };
                let is_refused = *kind == ErrorKind::Remote && runs.len() < all;
                is_refused || *kind == ErrorKind::Timeout
            }
        };
        report.demand(is_right, || format!("{call:?} ran {} times", runs.len()));
        if !is_to_all(call.number) && stops.iter().any(|stop| stop.covers(call.sent)) {
            meanwhile += 1;
            answered_meanwhile += u64::from(call.outcome.is_ok());
        }
    }
    report.accepted = report.worked;
    report.figure(format!(
        "{} stops  {timeouts} timed out  {answered_meanwhile} of {meanwhile} calls to one answered while a server was stopped  \
         {in_hand} late as a server was stopped with them in hand",
        stops.len()
    ));
    report.demand(
        answered_meanwhile * 100 >= meanwhile * 99 && meanwhile > 0,
        || {
            format!(
                "{answered_meanwhile} of {meanwhile} calls were answered while a server was stopped"
            )
        },
    );
    report.demand(in_hand <= count(stops), || {
        format!("{in_hand} calls began late at {} stops", stops.len())
    });
    report
}

impl Stop {
    /// Tells whether a call was sent while the server was stopped, with enough time for another
    /// server to run it.
    fn covers(self, sent: Duration) -> bool {
        sent >= self.from + IN_HAND && sent + OTHERS <= self.to
    }

    /// Tells whether a server may have begun with a call before it was stopped, and run it when it
    /// continued.
    fn was_begun(self, server: u32, sent: Duration, at: Duration) -> bool {
        let is_sent = sent + IN_HAND >= self.from && sent <= self.from + IN_HAND;
        self.server == server && is_sent && at >= self.to && at <= self.to + IN_HAND
    }
}

fn count<T>(things: &[T]) -> u64 {
    u64::try_from(things.len()).unwrap_or(u64::MAX)
}
