//! The memory provider beside channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use pymq_core::{Bus, Raw};
use pymq_provider_memory::MemoryConfig;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::topics::receiver;
use crate::{
    Case, Goal, Group, Limit, Measure, Meter, Runtime, Sample, latencies, payload, spread, text,
};

/// Returns the groups that need no server.
pub fn groups() -> Vec<Group> {
    let mut groups = vec![
        publish(1, 204_800, 0.7),
        publish(8, 51_200, 0.7),
        publish(64, 12_800, 0.8),
        queue(),
        call(64, 51_200, 0.5, 1.0),
    ];
    groups.extend(
        [Runtime::TwoWorkers, Runtime::CurrentThread]
            .map(|runtime| call(1, 25_600, 0.5, 2.0).on(runtime)),
    );
    groups
}

async fn bus() -> Bus {
    Bus::connect(MemoryConfig::default()).await.expect("a bus")
}

/// One publisher and so many subscribers.
fn publish(subscribers: usize, operations: usize, target: f64) -> Group {
    const CHANNEL: &str = "tokio broadcast, nothing lags";
    const PYMQ: &str = "pymq publish, streams";
    let cases = vec![
        Case::new(CHANNEL, move |n| broadcast(n, subscribers)),
        Case::new(PYMQ, move |n| async move {
            let topic = bus().await.topic("events");
            let mut receiving = Vec::with_capacity(subscribers);
            for _ in 0..subscribers {
                receiving.push(receiver(&topic, n).await);
            }
            let event = Raw::from(payload());
            let meter = Meter::start();
            for _ in 0..n {
                topic.publish(&event).await.expect("publish");
            }
            for task in receiving {
                task.await.expect("a subscriber does not panic");
            }
            meter.stop(n * subscribers)
        }),
    ];
    let title = format!("memory: publish to {subscribers}");
    Group::new(title, operations, cases).goal(Goal::faster(PYMQ, CHANNEL, target, 1.0))
}

async fn broadcast(operations: usize, subscribers: usize) -> Sample {
    let (sender, _) = broadcast::channel::<Bytes>(operations.next_power_of_two());
    let receiving: Vec<_> = (0..subscribers)
        .map(|_| {
            let mut receiver = sender.subscribe();
            tokio::spawn(async move {
                for _ in 0..operations {
                    receiver.recv().await.expect("an event");
                }
            })
        })
        .collect();
    let event = Bytes::from(payload());
    let meter = Meter::start();
    for _ in 0..operations {
        sender.send(event.clone()).expect("a subscriber");
    }
    for task in receiving {
        task.await.expect("a subscriber does not panic");
    }
    meter.stop(operations * subscribers)
}

/// Eight producers and eight consumers, with room for 1,024 items; and a worker.
fn queue() -> Group {
    const ROOM: usize = 1_024;
    const CHANNEL: &str = "async-channel, 8 to 8";
    const PYMQ: &str = "pymq put and get, 8 to 8";
    const WORKER: &str = "pymq worker(8), acked";
    let cases = vec![
        Case::new(CHANNEL, |n| async move {
            let (sender, receiver) = async_channel::bounded(ROOM);
            let item = Bytes::from(payload());
            let meter = Meter::start();
            let receiving = tokio::spawn(spread(n, 8, move || {
                let receiver = receiver.clone();
                async move {
                    receiver.recv().await.expect("an item");
                }
            }));
            spread(n, 8, move || {
                let (sender, item) = (sender.clone(), item.clone());
                async move {
                    sender.send(item).await.expect("room");
                }
            })
            .await;
            receiving.await.expect("a receiver does not panic");
            meter.stop(n)
        }),
        Case::new(PYMQ, |n| async move {
            let queue = bus().await.queue::<Raw>("items").maxsize(ROOM);
            let gets = queue.clone();
            let item = Raw::from(payload());
            let meter = Meter::start();
            let getting = tokio::spawn(spread(n, 8, move || {
                let gets = gets.clone();
                async move {
                    gets.get().await.expect("get");
                }
            }));
            spread(n, 8, move || {
                let (queue, item) = (queue.clone(), item.clone());
                async move {
                    queue.put(&item).await.expect("put");
                }
            })
            .await;
            getting.await.expect("a getter does not panic");
            meter.stop(n)
        }),
        Case::new(WORKER, worker).one_in(2),
    ];
    Group::new("memory: queue", 102_400, cases)
        .goal(Goal::faster(PYMQ, CHANNEL, 0.5, 1.0))
        .goal(Goal::absolute(
            Measure::Rate,
            WORKER,
            Limit::AtLeast,
            1e6,
            2e6,
        ))
}

/// One producer, and a worker that handles eight items at once.
async fn worker(operations: usize) -> Sample {
    let queue = bus().await.queue::<Raw>("jobs");
    let handled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&handled);
    let count = move |_: Raw| {
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    let running = queue
        .worker(count)
        .concurrency(8)
        .start()
        .expect("a worker");
    let item = Raw::from(payload());
    let meter = Meter::start();
    for _ in 0..operations {
        queue.put(&item).await.expect("put");
    }
    queue.join().await.expect("join");
    let sample = meter.stop(operations);
    assert_eq!(handled.load(Ordering::Relaxed), operations);
    running.stop().await;
    sample
}

/// A function that returns its argument.
fn call(in_flight: usize, operations: usize, target: f64, moonshot: f64) -> Group {
    const CHANNEL: &str = "mpsc and oneshot";
    const PYMQ: &str = "pymq call";
    let cases = vec![
        Case::new(CHANNEL, move |n| async move {
            let (requests, mut serving) = mpsc::channel::<(String, oneshot::Sender<String>)>(1024);
            let server = tokio::spawn(async move {
                while let Some((argument, reply)) = serving.recv().await {
                    reply.send(argument).expect("the caller waits");
                }
            });
            let meter = Meter::start();
            let times = latencies(n, in_flight, move || {
                let requests = requests.clone();
                async move {
                    let (reply, replied) = oneshot::channel();
                    requests.send((text(), reply)).await.expect("a server");
                    replied.await.expect("a reply");
                }
            });
            let sample = meter.stop_with(times.await);
            server.await.expect("the server does not panic");
            sample
        }),
        Case::new(PYMQ, move |n| async move {
            let bus = bus().await;
            let _serving = bus
                .expose("echo", async |text: String| text)
                .await
                .expect("a remote");
            let stub = bus.stub::<(String,), String>("echo");
            let meter = Meter::start();
            let times = latencies(n, in_flight, move || {
                let stub = stub.clone();
                async move {
                    stub.call((text(),)).await.expect("a call");
                }
            });
            meter.stop_with(times.await)
        }),
    ];
    Group::new(
        format!("memory: call, {in_flight} in flight"),
        operations,
        cases,
    )
    .goal(Goal::faster(PYMQ, CHANNEL, target, moonshot))
}
