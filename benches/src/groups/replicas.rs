//! What it costs that a put waits for a replica.

use std::sync::Arc;

use pymq_core::Raw;
use tokio::sync::OnceCell;

use super::{bus, case};
use crate::{Case, Group, Meter, Redis, Sample, latencies, payload, unique};

/// A master and its replica, started when they are first needed. `None` if this machine lacks them.
type Pair = Arc<OnceCell<Option<(Redis, Redis)>>>;

pub(super) fn groups(url: &str) -> Vec<Group> {
    let pair = Pair::default();
    let group = |in_flight, operations| {
        let pair = Arc::clone(&pair);
        let replicated = Case::optional("pymq, put, n=1 replica", move |n| {
            let pair = Arc::clone(&pair);
            async move {
                let (master, _) = pair.get_or_init(start).await.as_ref()?;
                let url = format!("{}?replicas=1", master.url());
                Some(put(url, master.url(), n, in_flight).await)
            }
        });
        let plain = case(url, "pymq, put", move |url, n| {
            put(url.clone(), url, n, in_flight)
        });
        let title = format!("put, {in_flight} in flight");
        Group::new(title, operations, vec![plain, replicated])
    };
    vec![group(1, 2_048), group(64, 12_800)]
}

async fn start() -> Option<(Redis, Redis)> {
    let started = tokio::task::spawn_blocking(|| {
        let master = Redis::start().ok()?;
        let replica = Redis::start().ok()?;
        replica.follow(&master).then_some((master, replica))
    });
    started.await.ok().flatten()
}

/// Puts into a queue, and then removes it. `server` is the address for the counters.
async fn put(url: String, server: String, operations: usize, in_flight: usize) -> Sample {
    let queue = bus(&url).await.queue::<Raw>(unique("put"));
    let item = Raw::from(payload());
    let putter = queue.clone();
    let meter = Meter::with_server(&server);
    let times = latencies(operations, in_flight, move || {
        let (queue, item) = (putter.clone(), item.clone());
        async move {
            queue.put(&item).await.expect("put");
        }
    });
    let sample = meter.stop_with(times.await);
    queue.clear().await.expect("clear");
    sample
}
