//! How many commands Redis runs for an operation, inside of scripts too, and how many connections
//! a bus has. A change that raises one of these numbers is seen here, and one that lowers it
//! updates the table.

use std::error::Error;
use std::time::Duration;

use pymq_benches::{Redis, ServerInfo, text};
use pymq_core::Bus;
use pymq_provider_redis::RedisConfig;
use tokio::sync::mpsc;

/// How often each operation runs.
const TIMES: usize = 100;

/// What a server may run besides, from time to time: sweeps of queues, health checks. It is less
/// than one command for each operation.
const BESIDE: usize = 40;

/// The table: the fewest and the most commands for `TIMES` operations. The two differ where a
/// waiting consumer and a put may meet in two ways.
const PUBLISH: (usize, usize) = (100, 100);
const PUT_AND_GET: (usize, usize) = (200, 200);
const PUT_LEASE_AND_ACK: (usize, usize) = (1_200, 1_200);
const PUT_TO_WAITING_GET: (usize, usize) = (200, 900);
const PUT_TO_WORKER: (usize, usize) = (1_200, 1_800);
const CALL: (usize, usize) = (400, 400);
/// For `TIMES` items that a worker with 64 handlers takes from a full queue.
const DRAIN: (usize, usize) = (100, 260);
/// Of a bus that publishes, subscribes, puts, calls and serves.
const CONNECTIONS: usize = 3;
/// For each busy queue at which a `get` or a worker waits.
const CONNECTIONS_FOR_A_WAIT: usize = 1;

/// A server of its own, so that nothing else is counted.
struct Counted {
    redis: Redis,
    bus: Bus,
}

impl Counted {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let redis = Redis::start()?;
        let bus = Bus::connect(redis.url().parse::<RedisConfig>()?).await?;
        Ok(Self { redis, bus })
    }

    fn info(&self) -> ServerInfo {
        ServerInfo::read(&self.redis.url())
    }

    /// Checks what the server ran since `before`.
    fn check(&self, before: &ServerInfo, (fewest, most): (usize, usize)) {
        let used = self.info().since(before);
        let total = used.total();
        assert!(
            (fewest..=most + BESIDE).contains(&total),
            "{total} commands, expected {fewest} to {most}: {:?}",
            used.commands
        );
    }
}

#[tokio::test]
async fn publish_is_one_command() -> Result<(), Box<dyn Error>> {
    let counted = Counted::start().await?;
    let topic = counted.bus.topic("t");
    let mut events = topic.stream::<String>().await?;
    let before = counted.info();
    for _ in 0..TIMES {
        topic.publish(&text()).await?;
        events.recv().await?;
    }
    counted.check(&before, PUBLISH);
    Ok(())
}

#[tokio::test]
async fn put_and_get_are_two_commands() -> Result<(), Box<dyn Error>> {
    let counted = Counted::start().await?;
    let queue = counted.bus.queue::<String>("q");
    // The first use of a queue sweeps it.
    queue.put(&text()).await?;
    queue.get().await?;
    let before = counted.info();
    for _ in 0..TIMES {
        queue.put(&text()).await?;
        queue.get().await?;
    }
    counted.check(&before, PUT_AND_GET);
    Ok(())
}

#[tokio::test]
async fn put_lease_and_ack() -> Result<(), Box<dyn Error>> {
    let counted = Counted::start().await?;
    let queue = counted.bus.queue::<String>("q");
    queue.put(&text()).await?;
    queue.lease().await?.ack().await?;
    let before = counted.info();
    for _ in 0..TIMES {
        queue.put(&text()).await?;
        queue.lease().await?.ack().await?;
    }
    counted.check(&before, PUT_LEASE_AND_ACK);
    Ok(())
}

#[tokio::test]
async fn put_to_a_waiting_get() -> Result<(), Box<dyn Error>> {
    let counted = Counted::start().await?;
    let queue = counted.bus.queue::<String>("q");
    let gets = queue.clone();
    let (taken, mut arrivals) = mpsc::channel(1);
    let getting = tokio::spawn(async move {
        for _ in 0..=TIMES {
            gets.get().await.expect("get");
            taken.send(()).await.expect("the test waits");
        }
    });
    queue.put(&text()).await?;
    arrivals.recv().await;
    let before = counted.info();
    for _ in 0..TIMES {
        queue.put(&text()).await?;
        arrivals.recv().await;
    }
    counted.check(&before, PUT_TO_WAITING_GET);
    getting.await?;
    Ok(())
}

#[tokio::test]
async fn put_to_a_worker() -> Result<(), Box<dyn Error>> {
    let counted = Counted::start().await?;
    let queue = counted.bus.queue::<String>("q");
    let (reached, mut arrivals) = mpsc::channel(1);
    let handler = move |_: String| {
        let reached = reached.clone();
        async move {
            reached.send(()).await.expect("the test waits");
        }
    };
    let running = queue.worker(handler).start()?;
    queue.put(&text()).await?;
    arrivals.recv().await;
    let before = counted.info();
    for _ in 0..TIMES {
        queue.put(&text()).await?;
        arrivals.recv().await;
    }
    counted.check(&before, PUT_TO_WORKER);
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_worker_drains_in_batches() -> Result<(), Box<dyn Error>> {
    const BATCHES: usize = 10;
    let counted = Counted::start().await?;
    let queue = counted.bus.queue::<String>("q");
    for _ in 0..BATCHES {
        queue.put_all(&vec![text(); TIMES]).await?;
    }
    let before = counted.info();
    let running = queue.worker(async |_: String| {}).concurrency(64).start()?;
    queue.join().await?;
    counted.check(&before, (DRAIN.0 * BATCHES, DRAIN.1 * BATCHES));
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn call() -> Result<(), Box<dyn Error>> {
    let counted = Counted::start().await?;
    let server = Bus::connect(counted.redis.url().parse::<RedisConfig>()?).await?;
    let _serving = server.expose("f", async |text: String| text).await?;
    let stub = counted.bus.stub::<(String,), String>("f");
    stub.call((text(),)).await?;
    let before = counted.info();
    for _ in 0..TIMES {
        stub.call((text(),)).await?;
    }
    counted.check(&before, CALL);
    Ok(())
}

#[tokio::test]
async fn connections_grow_only_with_the_busy_queues_waited_at() -> Result<(), Box<dyn Error>> {
    const EACH: usize = 10;
    let counted = Counted::start().await?;
    let bus = &counted.bus;
    let mut streams = Vec::new();
    let mut waits = tokio::task::JoinSet::new();
    let mut running = Vec::new();
    for index in 0..EACH {
        streams.push(bus.topic(format!("t{index}")).stream::<String>().await?);
        let waiting = bus.queue::<String>(format!("q{index}"));
        waits.spawn(async move { waiting.get().await });
        let work = bus.queue::<String>(format!("w{index}"));
        running.push(work.worker(async |_: String| {}).start()?);
        work.put(&text()).await?;
        work.join().await?;
        let name = format!("f{index}");
        running.push(bus.expose(&name, async |text: String| text).await?);
        bus.stub::<(String,), String>(&name).call((text(),)).await?;
    }
    // Connections are opened as they are needed: the last waits begin.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asking = 1;
    let connections = counted.info().clients - asking;
    let most = CONNECTIONS + CONNECTIONS_FOR_A_WAIT * EACH;
    assert!(
        connections <= most,
        "{connections} connections, at most {most}"
    );
    Ok(())
}
