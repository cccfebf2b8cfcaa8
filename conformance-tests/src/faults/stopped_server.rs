//! F5: the process of the server is stopped for 10 s. In a container, the container is frozen too.
//! Connections stay open and nothing answers, so only deadlines end the operations meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pymq_core::Bus;
use pymq_provider_redis::RedisConfig;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::ledger::now;
use super::setting::DURABLE;
use super::topic::{Listener, Publisher, judge};
use super::workshop::{Plan, Workshop};
use super::{Report, Setting};
use crate::redis::{Controlled, Source};
use crate::wait::until;
use crate::{Failure, Outcome};

const STOP: Duration = Duration::from_secs(10);

/// The deadline of every operation, and how much later than a timer it may end.
const DEADLINE: Duration = Duration::from_secs(1);
const TIMER: &str = "timer";
const LATE: Duration = Duration::from_millis(100);

const RECOVERY: Duration = Duration::from_secs(6);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let server = setting.server(&DURABLE).await?;
    let plan = Plan {
        per_second: 200,
        consumers: 2,
        op_timeout: DEADLINE,
        ..Plan::default()
    };
    let mut shop = Workshop::open(&setting, &server.url(), &plan).await?;
    let serving = setting.bus(server.url().parse()?).await?;
    serving
        .expose("echo", |number: u64| async move { number })
        .await?
        .keep();
    let before = census()?;

    let listener = Listener::start(&serving, "news").await?;
    let publisher = Publisher::start(&shop.bus, "news", 50);
    let calls = Calls::start(&setting, &server).await?;
    let mut worst = Duration::ZERO;
    for is_frozen in [false, true] {
        if is_frozen && server.source() != Source::Docker {
            continue;
        }
        sleep(setting.dice("stops").millis(300..=900)).await;
        if is_frozen {
            server.pause().await?;
        } else {
            server.stop().await?;
        }
        sleep(STOP).await;
        if is_frozen {
            server.unpause().await?;
        } else {
            server.resume().await?;
        }
        worst = worst.max(shop.recovery(now()).await?);
    }
    let slowest = calls.finish().await?;
    let (outcomes, heard) = publisher.finish(vec![listener]).await?;
    let left = settled(&before).await;

    let (mut report, _) = shop.close().await?;
    judge(&mut report, &outcomes, &heard.concat());
    report.recovered(worst);
    report.demand(worst <= RECOVERY, || format!("took {worst:?} to recover"));
    let timer = slowest.iter().find(|(name, ..)| *name == TIMER);
    let latest = timer.map_or(DEADLINE, |&(_, timer, _)| timer) + LATE;
    for (name, slowest, count) in slowest {
        report.figure(format!(
            "{name} {count} times, {} ms at most",
            slowest.as_millis()
        ));
        let is_in_time = slowest <= latest;
        report.demand(is_in_time, || format!("`{name}` took {slowest:?}"));
        report.demand(slowest >= DEADLINE, || {
            format!("`{name}` never met the stop")
        });
    }
    report.demand(left.is_ok(), || {
        format!("tasks or threads are left: {left:?}")
    });
    Ok(report)
}

/// Counts tasks and threads.
fn census() -> Result<(usize, usize), Failure> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    Ok((Handle::current().metrics().num_alive_tasks(), threads))
}

/// Waits until there are no more tasks than before. Threads for blocking work, such as our shell
/// for the server, stay for a while. There are fewer than calls.
async fn settled(before: &(usize, usize)) -> Outcome {
    let settled = until("no more tasks are there than before", || async {
        census().is_ok_and(|now| now.0 <= before.0 && now.1 <= before.1 + 8)
    });
    settled
        .await
        .map_err(|_| format!("{before:?} before, {:?} now", census()).into())
}

/// The slowest operation and the number of runs, for each operation.
type Slowest = Vec<(&'static str, Duration, u32)>;

/// Every operation, repeated.
struct Calls {
    tasks: JoinSet<Outcome>,
    end: watch::Sender<bool>,
    slowest: Arc<Mutex<Slowest>>,
}

impl Calls {
    async fn start(setting: &Setting, server: &Controlled) -> Result<Self, Failure> {
        let config: RedisConfig = server.url().parse()?;
        let bus = setting.bus(config.op_timeout(DEADLINE)).await?;
        let mut calls = Self {
            tasks: JoinSet::new(),
            end: watch::Sender::new(false),
            slowest: Arc::default(),
        };
        calls.repeat(TIMER, &bus, async |_bus| {
            sleep(DEADLINE).await;
            true
        });
        calls.repeat("put", &bus, async |bus| {
            bus.queue::<i32>("spare").put(&1).await.is_ok()
        });
        calls.repeat("try_get", &bus, async |bus| {
            bus.queue::<u32>("spare").try_get().await.is_ok()
        });
        calls.repeat("lease_timeout", &bus, async |bus| {
            let lease = bus.queue::<u32>("nothing").lease_timeout(DEADLINE).await;
            lease.is_ok()
        });
        calls.repeat("publish", &bus, async |bus| {
            bus.topic("t").publish(&1).await.is_ok()
        });
        calls.repeat("subscribe", &bus, async |bus| {
            bus.topic("t").stream::<u32>().await.is_ok()
        });
        calls.repeat("call", &bus, async |bus| {
            let echo = bus.stub::<(u64,), u64>("echo").timeout(DEADLINE);
            echo.call((7,)).await.is_ok()
        });
        calls.repeat("ping", &bus, async |bus| {
            bus.ping(Duration::MAX).await.is_ok()
        });
        Ok(calls)
    }

    fn repeat<F>(&mut self, name: &'static str, bus: &Bus, call: impl Fn(Bus) -> F + Send + 'static)
    where
        F: Future<Output = bool> + Send,
    {
        let (bus, slowest, mut ended) =
            (bus.clone(), Arc::clone(&self.slowest), self.end.subscribe());
        self.tasks.spawn(async move {
            let (mut longest, mut count) = (Duration::ZERO, 0);
            while !*ended.borrow_and_update() {
                let start = Instant::now();
                let is_ok = call(bus.clone()).await;
                longest = longest.max(start.elapsed());
                count += 1;
                sleep(Duration::from_millis(if is_ok { 20 } else { 5 })).await;
            }
            let mut slowest = slowest.lock().unwrap_or_else(PoisonError::into_inner);
            slowest.push((name, longest, count));
            Ok(())
        });
    }

    async fn finish(mut self) -> Result<Slowest, Failure> {
        self.end.send_replace(true);
        while let Some(task) = self.tasks.join_next().await {
            task??;
        }
        let mut slowest = self.slowest.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut slowest))
    }
}
