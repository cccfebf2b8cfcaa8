//! A worker that lives through the end of its server. It puts numbered items, works on them, and
//! counts at the end: every item whose put was `Ok` must have been worked on.
//!
//!     PYMQ_URL='redis-sentinel://s1,s2,s3/orders?replicas=1' cargo run -p pymq --features redis --example failover
//!
//! `PYMQ_URL` may also name a cluster (`redis-cluster://a,b,c?replicas=1`). With `replicas=1` a put
//! is `Ok` when a replica has the item too. Without it, a failover may lose items. A number behind
//! `--` is the number of items. To see failovers without servers of your own:
//!
//!     cargo run -p pymq-conformance --example with_redis -- --sentinels cargo run -p pymq --features redis --example failover

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pymq::health::{Lifecycle, LifecycleEvent};
use pymq::queue::Queue;
use pymq::topic::{Events, Received};
use tokio::time::sleep;
use uuid::Uuid;

#[tokio::main]
async fn main() -> pymq::Result<ExitCode> {
    let url = std::env::var("PYMQ_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok());
    let bus = pymq::connect(url).await?;
    tokio::spawn(log(bus.lifecycle()));

    // A name for each run, so that two of them may share a server.
    let name = format!("failover.{}", Uuid::new_v4().simple());
    let topic = bus.topic(&name);
    tokio::spawn(watch(topic.stream::<u64>().await?));

    // A lease that its worker cannot ack ends soon.
    let items = bus.queue::<u64>(&name).lease_time(Duration::from_secs(5));
    let worked = Arc::<Mutex<HashMap<u64, u32>>>::default();
    let counts = Arc::clone(&worked);
    let work = move |number: u64| {
        *counts.lock().expect("a count").entry(number).or_default() += 1;
        // Slower than the puts, so that items are in the queue when its server ends.
        sleep(Duration::from_millis(100))
    };
    items.worker(work).concurrency(3).start()?.keep();

    let (count, mut failed) = (count.unwrap_or(1_000), 0);
    for number in 1..=count {
        failed += put(&items, number).await?;
        // An event has no second try: who needs it uses a queue.
        if let Err(error) = topic.publish(&number).await {
            println!("event {number}: {error}");
        }
        sleep(Duration::from_millis(20)).await;
    }
    println!("{count} items are in the queue, {failed} puts failed and were repeated");
    items.join().await?;
    bus.shutdown(Duration::from_secs(5)).await?;

    let worked = worked.lock().expect("a count");
    let missing = (1..=count).filter(|number| !worked.contains_key(number));
    let missing: Vec<u64> = missing.collect();
    let twice = worked.values().filter(|times| **times > 1).count();
    let count = worked.len();
    println!("{count} were worked on, {twice} of them more than once");
    println!("{} are missing: {missing:?}", missing.len());
    Ok(ExitCode::from(u8::from(!missing.is_empty())))
}

/// Puts an item, and returns how often that failed before it was `Ok`. The id makes it safe to
/// repeat a put whose outcome is unknown: the item is in the queue once.
async fn put(items: &Queue<u64>, number: u64) -> pymq::Result<u32> {
    let mut failed = 0;
    loop {
        match items.put_once(number.to_string(), &number).await {
            Ok(_) => return Ok(failed),
            Err(error) if error.is_retryable() => println!("put {number}: {error}, once more"),
            Err(error) => return Err(error),
        }
        failed += 1;
        sleep(Duration::from_millis(100)).await;
    }
}

/// Prints where events are missing.
async fn watch(mut events: Events<u64>) {
    while let Ok(received) = events.recv().await {
        if let Received::Lagged(_) = received {
            println!("subscriber: events are missing here");
        }
    }
}

/// Prints what happens to the connections.
async fn log(mut lifecycle: Lifecycle) {
    while let Some(event) = lifecycle.recv().await {
        match event {
            LifecycleEvent::Status(status) => println!("the bus is {status}"),
            LifecycleEvent::Disconnected { connection, error } => {
                println!("no connection for {connection}: {error}");
            }
            LifecycleEvent::Reconnected { connection } => {
                println!("the connection for {connection} is back");
            }
            _ => {}
        }
    }
}
