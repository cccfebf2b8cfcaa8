//! apalis-redis.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use pymq_benches::{Meter, Sample, text, unique};

pub(crate) const NAME: &str = "apalis-redis, batches of 100";

/// How often the end of the work is checked.
const POLL: Duration = Duration::from_micros(200);

/// How many items were handled. A handler of apalis is a function, and one case runs at a time.
static HANDLED: AtomicUsize = AtomicUsize::new(0);

async fn handle(_: String) -> Result<(), BoxDynError> {
    HANDLED.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

pub(crate) async fn drain(url: String, items: usize) -> Sample {
    let connection = apalis_redis::connect(url.as_str()).await.expect("a Redis");
    let config = Config::default().queue(unique("apalis")).batch_size(100);
    let mut storage = RedisStorage::new(connection).with_config(config);
    for _ in 0..items {
        storage.push(text()).await.expect("push");
    }
    HANDLED.store(0, Ordering::Relaxed);
    let meter = Meter::with_server(&url);
    let worker = tokio::spawn(async move {
        let worker = WorkerBuilder::new(unique("worker")).backend(storage);
        worker.build(handle).run().await
    });
    while HANDLED.load(Ordering::Relaxed) < items {
        tokio::time::sleep(POLL).await;
    }
    let sample = meter.stop(items);
    worker.abort();
    sample
}
