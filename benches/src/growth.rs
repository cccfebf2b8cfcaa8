//! What grows with the number of topics, subscriptions, items, calls and bytes.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pymq_core::{BufferLimits, Bus, Raw};
use pymq_provider_memory::MemoryConfig;
use pymq_provider_redis::RedisConfig;
use tokio::task::JoinSet;

use crate::report::short;
use crate::{Redis, float, payload, spread, text, unique};

/// One curve. Its points are a size and operations a second.
struct Curve {
    file: String,
    title: String,
    x: &'static str,
    points: Vec<(usize, f64)>,
}

/// Measures all curves, prints their tables and draws them into this folder.
///
/// # Errors
///
/// If a file cannot be written.
pub fn growth(docs: &Path, quick: bool) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let redis = Redis::start()?;
    let url = redis.url();
    let curves = runtime.block_on(async { tokio::spawn(measure(url, quick)).await })?;
    for curve in curves {
        println!("\n{}\n{:>12} {:>12}", curve.title, curve.x, "a second");
        for (size, rate) in &curve.points {
            println!("{size:>12} {:>12}", short(*rate));
        }
        let points: Vec<_> = curve.points.iter().map(|&(x, y)| (float(x), y)).collect();
        let path = docs.join(&curve.file);
        crate::plot::curve(&curve.title, curve.x, "a second", &points, &path)?;
    }
    Ok(())
}

async fn measure(url: String, quick: bool) -> Vec<Curve> {
    const TENS: [usize; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    const BYTES: [usize; 6] = [16, 256, 4_096, 65_536, 1 << 20, 4 << 20];
    // A quick run only shows that everything runs.
    let tens = |most: usize| {
        let most = if quick { most.min(100) } else { most };
        TENS.into_iter().filter(move |&size| size <= most)
    };
    let memory = Bus::connect(MemoryConfig::default()).await.expect("a bus");
    let config: RedisConfig = url.parse().expect("a Redis URL");
    let redis = Bus::connect(config).await.expect("a Redis that answers");
    let mut curves = Vec::new();
    for (provider, bus, most_items) in [("memory", memory, 10_000_000), ("redis", redis, 1_000_000)]
    {
        let new = |name, what, x| Curve {
            file: format!("growth-{name}-{provider}.svg"),
            title: format!("{provider}: {what}"),
            x,
            points: Vec::new(),
        };
        let mut topics = new(
            "topics",
            "publish to so many topics, a stream each",
            "topics",
        );
        for size in tens(10_000) {
            topics.points.push((size, publish_to(&bus, size).await));
        }
        let mut streams = new(
            "streams",
            "so many streams of a topic, deliveries",
            "streams",
        );
        for size in tens(1_000) {
            streams.points.push((size, fan_out(&bus, size).await));
        }
        let mut items = new(
            "items",
            "put and get with so many items in the queue",
            "items",
        );
        for size in tens(most_items) {
            items.points.push((size, put_and_get(&bus, size).await));
        }
        let mut calls = new("calls", "so many calls in flight", "calls in flight");
        for size in tens(10_000) {
            calls.points.push((size, call(&bus, size).await));
        }
        let mut bytes = new("bytes", "publish events of so many bytes", "bytes");
        for size in BYTES {
            bytes.points.push((size, publish_bytes(&bus, size).await));
        }
        curves.extend([topics, streams, items, calls, bytes]);
    }
    curves
}

/// Publishes in turn to so many topics.
async fn publish_to(bus: &Bus, topics: usize) -> f64 {
    const OPERATIONS: usize = 20_032;
    let prefix = unique("topics");
    let mut all = Vec::with_capacity(topics);
    let mut streams = Vec::with_capacity(topics);
    for index in 0..topics {
        let topic = bus.topic(format!("{prefix}-{index}"));
        streams.push(topic.stream::<Raw>().await.expect("a stream"));
        all.push(topic);
    }
    let (all, event) = (Arc::new(all), Raw::from(payload()));
    let start = Instant::now();
    let mut publishing = JoinSet::new();
    for publisher in 0..64 {
        let (all, event) = (Arc::clone(&all), event.clone());
        publishing.spawn(async move {
            for index in 0..OPERATIONS / 64 {
                let topic = &all[(index * 64 + publisher) % all.len()];
                topic.publish(&event).await.expect("publish");
            }
        });
    }
    publishing.join_all().await;
    float(OPERATIONS) / start.elapsed().as_secs_f64()
}

/// Puts and gets on a queue that holds so many items meanwhile.
async fn put_and_get(bus: &Bus, items: usize) -> f64 {
    const OPERATIONS: usize = 6_400;
    const BATCH: usize = 1_000;
    let queue = bus.queue::<Raw>(unique("items"));
    let item = Raw::from(Bytes::from_static(b"\"a short item\""));
    let batch = vec![item.clone(); BATCH.min(items)];
    for _ in 0..items / batch.len() {
        queue.put_all(&batch).await.expect("put_all");
    }
    let start = Instant::now();
    let both = queue.clone();
    spread(OPERATIONS, 64, move || {
        let (both, item) = (both.clone(), item.clone());
        async move {
            both.put(&item).await.expect("put");
            both.get().await.expect("get");
        }
    })
    .await;
    let rate = float(OPERATIONS) / start.elapsed().as_secs_f64();
    queue.clear().await.expect("clear");
    rate
}

async fn call(bus: &Bus, in_flight: usize) -> f64 {
    let name = unique("calls");
    let remote = bus.remote(&name).concurrency(64).backlog(in_flight);
    let _serving = remote
        .expose(async |text: String| text)
        .await
        .expect("a remote");
    let stub = bus.stub::<(String,), String>(&name);
    let operations = if in_flight == 1 { 1_000 } else { 20_000 };
    let start = Instant::now();
    spread(operations, in_flight, move || {
        let stub = stub.clone();
        async move {
            stub.call((text(),)).await.expect("a call");
        }
    })
    .await;
    float(operations) / start.elapsed().as_secs_f64()
}

/// Publishes events of so many bytes, until the stream has them all.
async fn publish_bytes(bus: &Bus, bytes: usize) -> f64 {
    let events = (64 << 20) / bytes.max(4_096);
    let topic = bus.topic(unique("bytes"));
    receive(bus, &topic, 1, events, bytes).await
}

async fn fan_out(bus: &Bus, streams: usize) -> f64 {
    let events = 200_000 / streams.max(10);
    let topic = bus.topic(unique("fan-out"));
    receive(bus, &topic, streams, events, crate::PAYLOAD).await * float(streams)
}

/// Publishes by up to 16 tasks, until every stream has every event. Returns events a second.
async fn receive(
    bus: &Bus,
    topic: &pymq_core::Topic,
    streams: usize,
    events: usize,
    bytes: usize,
) -> f64 {
    let events = events.next_multiple_of(16);
    let limits = BufferLimits::default().items(events + 1).bytes(1 << 40);
    let mut receiving = JoinSet::new();
    for _ in 0..streams {
        let stream = topic.buffer(limits).stream::<Raw>().await;
        let mut stream = stream.expect("a stream");
        receiving.spawn(async move {
            for _ in 0..events {
                stream.recv().await.expect("an event");
            }
        });
    }
    let event = Raw::from([b"\"", "x".repeat(bytes - 2).as_bytes(), b"\""].concat());
    let publisher = bus.topic(topic.name());
    let start = Instant::now();
    spread(events, 16, move || {
        let (publisher, event) = (publisher.clone(), event.clone());
        async move {
            publisher.publish(&event).await.expect("publish");
        }
    })
    .await;
    receiving.join_all().await;
    float(events) / start.elapsed().as_secs_f64()
}
