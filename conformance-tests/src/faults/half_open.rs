//! Connections that stay open and silent. They are found, and the operations on them continue.

use std::convert::Infallible;
use std::time::Duration;

use pymq_core::{Bus, Events, Stub};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::broken_network::{TIMEOUT, network, through};
use super::network::Network;
use super::{Report, Setting, callers};
use crate::redis::Controlled;
use crate::{Failure, Outcome};

/// The time limit until a half-open connection is found. A connection for commands needs two
/// timeouts. A connection that is checked every second, or blocks for 2 s at a time and waits as
/// long again, needs that time and a new connection.
const FOUND: Duration = Duration::from_secs(5);

/// The time limit of a wait.
const WAIT_LIMIT: Duration = Duration::from_secs(12);

/// Leaves every connection half open. Adds to a report how long it took until every operation works
/// again.
pub(super) async fn judge(setting: &Setting, server: &Controlled, report: &mut Report) -> Outcome {
    let near = setting.bus(server.url().parse()?).await?;
    callers::serve(&near, callers::ECHO).await?;
    let far = Far::start(setting, server).await?;
    let found = tokio::select! {
        found = timeout(WAIT_LIMIT, far.come_back(&near)) => found,
        failed = publish_on(&near) => return failed.map(|never| match never {}),
    };
    let Ok(found) = found else {
        report.demand(false, || "a half-open connection is never found".to_owned());
        return Ok(());
    };
    let found = found?;
    let millis = found
        .after
        .map(|(what, after)| format!("{what} {} ms", after.as_millis()));
    report.figure(format!(
        "half open: {} puts failed; back after: {}",
        found.failed_puts,
        millis.join(", ")
    ));
    report.demand(found.failed_puts <= 2, || {
        format!(
            "{} puts failed on a half-open connection",
            found.failed_puts
        )
    });
    for (what, after) in found.after {
        report.demand(after <= FOUND, || {
            format!("a half-open connection for {what} was found after {after:?}")
        });
    }
    Ok(())
}

/// Everything that has a connection of its own, behind a network.
struct Far {
    network: Network,
    bus: Bus,
    echo: Stub<(u64,), u64>,
    events: Events<u64>,
    taker: JoinHandle<pymq_core::Result<u64>>,
}

/// How long each took to work again.
struct Found {
    failed_puts: u32,
    after: [(&'static str, Duration); 4],
}

impl Far {
    /// Connects, and returns when every connection exists.
    async fn start(setting: &Setting, server: &Controlled) -> Result<Self, Failure> {
        let network = network(server).await?;
        let bus = through(&network, setting).await?;
        let echo = bus.stub::<(u64,), u64>("echo").timeout(TIMEOUT);
        echo.call((1,)).await?;
        let queue = bus.queue::<u64>("halves");
        // After a message, a wait has a connection of its own for some seconds.
        queue.put(&1).await?;
        queue.get().await?;
        let taker = tokio::spawn(async move { queue.get().await });
        // The inbox of the calls and the taker wait at the server.
        timeout(WAIT_LIMIT, blocked(server, 2)).await??;
        Ok(Self {
            events: bus.topic("halves").stream().await?,
            network,
            bus,
            echo,
            taker,
        })
    }

    /// Leaves all connections half open, and waits until each operation works again.
    async fn come_back(mut self, near: &Bus) -> Result<Found, Failure> {
        self.network.freeze();
        let start = Instant::now();
        let puts = async {
            let (queue, mut failed) = (self.bus.queue::<i32>("others"), 0);
            while queue.put(&1).await.is_err() {
                failed += 1;
            }
            (failed, start.elapsed())
        };
        let call = async {
            while self.echo.call((7,)).await.is_err() {}
            start.elapsed()
        };
        let event = async {
            while self.events.recv().await?.into_event().is_none() {}
            Ok::<_, Failure>(start.elapsed())
        };
        let take = async {
            near.queue::<i32>("halves").put(&1).await?;
            self.taker.await??;
            Ok::<_, Failure>(start.elapsed())
        };
        let ((failed_puts, put), called, heard, taken) = tokio::join!(puts, call, event, take);
        Ok(Found {
            failed_puts,
            after: [
                ("a put", put),
                ("a call", called),
                ("an event", heard?),
                ("a take", taken?),
            ],
        })
    }
}

/// Publishes events for the subscriber.
async fn publish_on(near: &Bus) -> Outcome<Infallible> {
    loop {
        near.topic("halves").publish(&1).await?;
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until this many clients wait at a server.
async fn blocked(server: &Controlled, clients: u32) -> Outcome {
    let mut raw = server.raw().await?;
    let line = format!("blocked_clients:{clients}");
    loop {
        let info: String = redis::cmd("INFO")
            .arg("clients")
            .query_async(&mut raw)
            .await?;
        if info.lines().any(|found| found == line) {
            return Ok(());
        }
        sleep(Duration::from_millis(5)).await;
    }
}
