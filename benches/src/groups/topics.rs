//! Topics on Redis.

use std::time::Instant;

use pymq_core::{BufferLimits, Raw, Received, Topic};
use tokio::task::JoinHandle;

use super::{bus, case};
use crate::{Goal, Group, Measure, Meter, Runtime, Sample, payload, raw, spread, text, unique};

pub(super) fn groups(url: &str) -> Vec<Group> {
    let mut groups = vec![
        throughput(url, 64, 1.4, 2.0),
        throughput(url, 256, 1.8, 3.0),
        buffered(url),
        fan_out(url),
    ];
    groups
        .extend([Runtime::TwoWorkers, Runtime::CurrentThread].map(|runtime| latency(url, runtime)));
    groups
}

/// Publishers that each await the number of receivers, and one subscriber on another bus.
fn throughput(url: &str, tasks: usize, target: f64, moonshot: f64) -> Group {
    const RAW: &str = "redis-rs PUBLISH, PubSub";
    const PYMQ: &str = "pymq publish, stream";
    let cases = vec![
        case(url, RAW, move |url, n| raw::publish(url, n, tasks, 1)),
        case(url, PYMQ, move |url, n| publish(url, n, tasks)),
    ];
    Group::new(format!("publish, {tasks} tasks"), 51_200, cases)
        .goal(Goal::faster(PYMQ, RAW, target, moonshot))
}

async fn publish(url: String, operations: usize, tasks: usize) -> Sample {
    let (publishers, subscribers) = (bus(&url).await, bus(&url).await);
    let name = unique("publish");
    let receiving = receiver(&subscribers.topic(&name), operations).await;
    let topic = publishers.topic(&name);
    let meter = Meter::with_server(&url);
    let event = Raw::from(payload());
    spread(operations, tasks, move || {
        let (topic, event) = (topic.clone(), event.clone());
        async move {
            topic.publish(&event).await.expect("publish");
        }
    })
    .await;
    receiving.await.expect("a subscriber does not panic");
    meter.stop(operations)
}

/// One publisher that does not wait for each event, beside 64 that do.
fn buffered(url: &str) -> Group {
    const RAW: &str = "redis-rs PUBLISH, 64 tasks, PubSub";
    const PYMQ: &str = "pymq publish_nowait, 1 task, stream";
    let cases = vec![
        case(url, RAW, |url, n| raw::publish(url, n, 64, 1)),
        case(url, PYMQ, publish_nowait),
    ];
    Group::new("publish buffered", 51_200, cases).goal(Goal::faster(PYMQ, RAW, 2.5, 3.5))
}

async fn publish_nowait(url: String, operations: usize) -> Sample {
    let (publisher, subscribers) = (bus(&url).await, bus(&url).await);
    let name = unique("nowait");
    let receiving = receiver(&subscribers.topic(&name), operations).await;
    let topic = publisher.topic(&name);
    let meter = Meter::with_server(&url);
    let event = Raw::from(payload());
    for _ in 0..operations {
        topic.publish_nowait(&event).await.expect("room");
    }
    publisher.flush().await.expect("everything is published");
    receiving.await.expect("a subscriber does not panic");
    meter.stop(operations)
}

/// Eight subscriptions in one process.
fn fan_out(url: &str) -> Group {
    const SUBSCRIBERS: usize = 8;
    const RAW: &str = "redis-rs, 8 PubSub";
    const PYMQ: &str = "pymq, 8 streams";
    let cases = vec![
        case(url, RAW, |url, n| raw::publish(url, n, 64, SUBSCRIBERS)),
        case(url, PYMQ, |url, n| async move {
            let bus = bus(&url).await;
            let topic = bus.topic(unique("fan-out"));
            let mut receiving = Vec::with_capacity(SUBSCRIBERS);
            for _ in 0..SUBSCRIBERS {
                receiving.push(receiver(&topic, n).await);
            }
            let meter = Meter::with_server(&url);
            let event = Raw::from(payload());
            spread(n, 64, move || {
                let (topic, event) = (topic.clone(), event.clone());
                async move {
                    topic.publish(&event).await.expect("publish");
                }
            })
            .await;
            for task in receiving {
                task.await.expect("a subscriber does not panic");
            }
            meter.stop(n * SUBSCRIBERS)
        }),
    ];
    Group::new("fan-out to 8 subscribers, 64 tasks", 25_600, cases)
        .goal(Goal::faster(PYMQ, RAW, 2.5, 3.0))
}

/// One event at a time, from the publisher to the subscriber on another bus.
fn latency(url: &str, runtime: Runtime) -> Group {
    const RAW: &str = "redis-rs PUBLISH, PubSub";
    const PYMQ: &str = "pymq publish, stream";
    let cases = vec![
        case(url, RAW, raw::publish_one),
        case(url, PYMQ, |url, n| async move {
            let (publishers, subscribers) = (bus(&url).await, bus(&url).await);
            let name = unique("publish-one");
            let mut events = subscribers
                .topic(&name)
                .stream::<String>()
                .await
                .expect("a stream");
            let topic = publishers.topic(&name);
            let event = text();
            let mut times = Vec::with_capacity(n);
            let meter = Meter::with_server(&url);
            for _ in 0..n {
                let start = Instant::now();
                topic.publish(&event).await.expect("publish");
                events.recv().await.expect("an event");
                times.push(start.elapsed());
            }
            meter.stop_with(times)
        }),
    ];
    Group::new("publish to a subscriber, 1 in flight", 2_048, cases)
        .on(runtime)
        .goal(Goal::quicker(Measure::P50, PYMQ, RAW, 1.05, 0.95))
        .goal(Goal::quicker(Measure::P99, PYMQ, RAW, 1.05, 0.95))
}

/// Subscribes with a buffer that never overflows, and returns a task that ends after so many
/// events.
pub(super) async fn receiver(topic: &Topic, events: usize) -> JoinHandle<()> {
    let limits = BufferLimits::default().items(events + 1).bytes(1 << 40);
    let mut stream = topic
        .buffer(limits)
        .stream::<Raw>()
        .await
        .expect("a stream");
    tokio::spawn(async move {
        for _ in 0..events {
            let received = stream.recv().await.expect("an event");
            assert!(matches!(received, Received::Event(..)), "nothing is missed");
        }
    })
}
