//! F6: the server is away for longer than a client would retry without an endless reconnect. Idle
//! subscribers, remotes and takers are back by themselves when the server is back, without a
//! command.

use std::time::Duration;

use pymq_core::{Bus, Received};
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Report, Setting};
use crate::redis::Controlled;
use crate::{Failure, Outcome};

const OUTAGE: Duration = Duration::from_secs(12);

/// How many buses of each kind there are. Each chooses its own pauses, and the slowest counts.
const BUSES: usize = 16;

/// The longest pause between two attempts to connect is 5 s.
const BACK: Duration = Duration::from_secs(6);

/// Their names in Redis.
const CHANNEL: &str = "__eventbus:global:news";
const LIST: &str = "__eventbus:global:jobs";

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&[]).await?;
    let (mut subscribers, mut takers) = (Vec::new(), Vec::new());
    for _ in 0..BUSES {
        let bus = setting.bus(server.url().parse()?).await?;
        subscribers.push((bus.topic("news").stream::<u32>().await?, bus));
        let bus = setting.bus(server.url().parse()?).await?;
        takers.push(tokio::spawn(take(bus)));
    }
    let server_bus = setting.bus(server.url().parse()?).await?;
    server_bus
        .expose("echo", |number: u32| async move { number })
        .await?
        .keep();
    // Idle for a while, so that no command of the start is in flight.
    sleep(setting.dice("idle").millis(500..=1_500)).await;

    server.kill().await?;
    sleep(OUTAGE).await;
    server.start_again().await?;
    let ready = server.ready().await?;
    let deadline = ready + BACK;
    let mut raw = server.raw().await?;
    let back = come_back(&mut raw, deadline).await?;
    // Every taker must see the new messages, so each gets one.
    redis::cmd("LPUSH")
        .arg(LIST)
        .arg(&[7; BUSES])
        .exec_async(&mut raw)
        .await?;
    redis::cmd("PUBLISH")
        .arg(CHANNEL)
        .arg(7)
        .exec_async(&mut raw)
        .await?;

    let mut report = Report {
        sent: 2 * u64::try_from(BUSES)? + 1,
        ..Report::default()
    };
    report.accepted = report.sent;
    report.demand(back.is_some(), || {
        format!("not all {BUSES} subscribers were back after {BACK:?}")
    });
    report.recovered(back.unwrap_or_else(|| ready.elapsed()));
    let hear_until = Instant::now().max(deadline);
    let mut silent = 0;
    for (mut events, _bus) in subscribers {
        let heard = async {
            let gap = events.recv().await?;
            Ok::<_, Failure>((gap, events.recv().await?))
        };
        let heard = timeout(hear_until.saturating_duration_since(Instant::now()), heard).await;
        let is_right = matches!(
            heard,
            Ok(Ok((Received::Lagged { .. }, Received::Event { .. })))
        );
        report.worked += u64::from(is_right);
        silent += usize::from(!is_right);
    }
    report.demand(silent == 0, || {
        format!("{silent} of {BUSES} subscribers did not hear of the gap, and then the event")
    });
    takers_are_back(takers, hear_until, &mut report).await?;
    let echo = echo(&server, &setting).await;
    report.worked += u64::from(echo.is_ok());
    report.demand(echo.is_ok(), || format!("the remote is not back: {echo:?}"));
    Ok(report)
}

/// Waits at the queue, and returns when a message came.
async fn take(bus: Bus) -> Result<Instant, Failure> {
    bus.queue::<u32>("jobs").get().await?;
    Ok(Instant::now())
}

/// Waits until the server counts every subscriber, and returns how long that took.
async fn come_back(
    raw: &mut MultiplexedConnection,
    deadline: Instant,
) -> Result<Option<Duration>, Failure> {
    let start = Instant::now();
    while Instant::now() < deadline {
        let (_, count): (String, usize) = redis::cmd("PUBSUB")
            .arg(&["NUMSUB", CHANNEL])
            .query_async(raw)
            .await?;
        if count == BUSES {
            return Ok(Some(start.elapsed()));
        }
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    }
    Ok(None)
}

async fn takers_are_back(
    takers: Vec<tokio::task::JoinHandle<Result<Instant, Failure>>>,
    deadline: Instant,
    report: &mut Report,
) -> Outcome {
    let mut late = 0;
    for taker in takers {
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout(left, taker).await {
            Ok(taken) => report.worked += u64::from(taken?.is_ok()),
            Err(_) => late += 1,
        }
    }
    report.demand(late == 0, || {
        format!("{late} of {BUSES} takers were not back after {BACK:?}")
    });
    Ok(())
}

async fn echo(server: &Controlled, setting: &Setting) -> Outcome {
    let bus = setting.bus(server.url().parse()?).await?;
    let echo = bus
        .stub::<(u32,), u32>("echo")
        .timeout(Duration::from_secs(2));
    echo.call((7,)).await?;
    Ok(())
}
