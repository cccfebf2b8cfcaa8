//! Queues on Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pymq_core::{Queue, Raw};
use tokio::sync::mpsc;

use super::{bus, case};
use crate::{
    Case, Goal, Group, Measure, Meter, Runtime, Sample, payload, raw, spread, text, unique,
};

/// How often the end of the work is checked.
pub(super) const POLL: Duration = Duration::from_micros(200);

pub(super) fn groups(url: &str) -> Vec<Group> {
    let mut groups = vec![draining(url), passing(url)];
    groups
        .extend([Runtime::TwoWorkers, Runtime::CurrentThread].map(|runtime| latency(url, runtime)));
    groups
}

const WORKER: &str = "pymq worker(64), acked";

/// A full queue that a worker empties.
fn draining(url: &str) -> Group {
    const RAW: &str = "redis-rs, Lua batch of 64 and RPOP n";
    let cases = vec![case(url, RAW, raw::drain), draining_worker(url)];
    Group::new("worker draining a full queue, acked", 25_600, cases)
        .goal(Goal::faster(WORKER, RAW, 0.8, 1.1))
}

/// A worker of 64 handlers that empties a full queue.
pub fn draining_worker(url: &str) -> Case {
    case(url, WORKER, |url, n| async move {
        let queue = bus(&url).await.queue::<Raw>(unique("drain"));
        let batch = vec![Raw::from(payload()); 64];
        for _ in 0..n / 64 {
            queue.put_all(&batch).await.expect("put_all");
        }
        // Another bus: the worker of another process.
        let queue = bus(&url).await.queue::<String>(queue.name());
        let meter = Meter::with_server(&url);
        let handled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&handled);
        let count = move |_: String| {
            let counter = Arc::clone(&counter);
            async move {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        let running = queue
            .worker(count)
            .concurrency(64)
            .start()
            .expect("a worker");
        while handled.load(Ordering::Relaxed) < n {
            tokio::time::sleep(POLL).await;
        }
        until_settled(&queue).await;
        let sample = meter.stop(n);
        running.stop().await;
        sample
    })
}

/// Waits until every item is acked.
pub(super) async fn until_settled<T>(queue: &Queue<T>) {
    loop {
        let stats = queue.stats().await.expect("stats");
        if stats.leased == 0 && stats.ready == 0 {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Items that go from 64 tasks to 64 tasks, at most once.
fn passing(url: &str) -> Group {
    const RAW: &str = "redis-rs, LPUSH 64 tasks, BLMPOP 64";
    const PYMQ: &str = "pymq, 64 putters, 64 getters";
    let cases = vec![
        case(url, RAW, |url, n| raw::push_and_pop(url, n, 64, 64)),
        case(url, PYMQ, |url, n| async move {
            let (producers, consumers) = (bus(&url).await, bus(&url).await);
            let name = unique("pass");
            let (puts, gets) = (producers.queue::<Raw>(&name), consumers.queue::<Raw>(&name));
            let meter = Meter::with_server(&url);
            let getting = tokio::spawn(spread(n, 64, move || {
                let gets = gets.clone();
                async move {
                    gets.get().await.expect("get");
                }
            }));
            let item = Raw::from(payload());
            spread(n, 64, move || {
                let (puts, item) = (puts.clone(), item.clone());
                async move {
                    puts.put(&item).await.expect("put");
                }
            })
            .await;
            getting.await.expect("a getter does not panic");
            meter.stop(n)
        }),
    ];
    Group::new("64 putters to 64 getters", 25_600, cases).goal(Goal::faster(PYMQ, RAW, 0.9, 1.5))
}

/// One item at a time, from the producer to the waiting consumer.
fn latency(url: &str, runtime: Runtime) -> Group {
    const RAW: &str = "redis-rs, LPUSH to BRPOP";
    const GET: &str = "pymq, put to a waiting get";
    const WORKER: &str = "pymq, put to a worker's handler";
    let cases = vec![
        case(url, RAW, raw::push_and_pop_one),
        case(url, GET, |url, n| async move {
            let (taken, arrivals) = mpsc::channel(1);
            let name = unique("get");
            let queue = bus(&url).await.queue::<String>(&name);
            let getting = tokio::spawn(async move {
                for _ in 0..n {
                    queue.get().await.expect("get");
                    taken.send(()).await.expect("the producer waits");
                }
            });
            let sample = put_each(url, &name, n, arrivals).await;
            getting.await.expect("the consumer does not panic");
            sample
        }),
        case(url, WORKER, |url, n| async move {
            let (taken, arrivals) = mpsc::channel(1);
            let name = unique("work");
            let queue = bus(&url).await.queue::<String>(&name);
            let handler = move |_: String| {
                let taken = taken.clone();
                async move {
                    taken.send(()).await.expect("the producer waits");
                }
            };
            let running = queue.worker(handler).start().expect("a worker");
            let sample = put_each(url, &name, n, arrivals).await;
            running.stop().await;
            sample
        }),
    ];
    Group::new("put to a waiting consumer, 1 in flight", 2_048, cases)
        .on(runtime)
        .goal(Goal::quicker(Measure::P50, GET, RAW, 1.2, 1.0))
        .goal(Goal::quicker(Measure::P50, WORKER, RAW, 1.3, 1.05))
}

/// Puts one item after the other, each when the consumer has the one before.
async fn put_each(
    url: String,
    name: &str,
    operations: usize,
    mut arrivals: mpsc::Receiver<()>,
) -> Sample {
    let queue = bus(&url).await.queue::<String>(name);
    // Until the consumer waits.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let item = text();
    let mut times = Vec::with_capacity(operations);
    let meter = Meter::with_server(&url);
    for _ in 0..operations {
        let start = Instant::now();
        queue.put(&item).await.expect("put");
        arrivals.recv().await.expect("the consumer runs");
        times.push(start.elapsed());
    }
    meter.stop_with(times)
}
