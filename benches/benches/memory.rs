//! The memory provider, in operations a second. The first row of each group is the bare trait, the
//! price of the typed layer is the ratio.

use std::sync::Arc;

use bytes::Bytes;
use pymq_benches::{Case, group, spread};
use pymq_core::provider::{GetOptions, PutOptions};
use pymq_core::{Bus, Error, Message, Raw};
use pymq_provider_memory::MemoryConfig;

const PAYLOAD: Bytes = Bytes::from_static(&[b'x'; 256]);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Error> {
    let bus = Bus::connect(MemoryConfig::default()).await?;
    put_get(&bus).await;
    publish(&bus).await?;
    call(&bus).await
}

async fn put_get(bus: &Bus) {
    let provider = Arc::clone(bus.provider().expect("it is connected"));
    let queue = bus.queue::<Raw>("typed");
    let bare = Case::new(
        "Provider::queue_put + queue_get, one task",
        move |operations| {
            let provider = Arc::clone(&provider);
            async move {
                for _ in 0..operations {
                    let message = vec![Message::bytes(PAYLOAD)];
                    provider
                        .queue_put("bare", message, PutOptions::default())
                        .await
                        .expect("put");
                    provider
                        .queue_get("bare", GetOptions::default())
                        .await
                        .expect("get");
                }
            }
        },
    );
    let typed_queue = queue.clone();
    let typed = Case::new("Queue<Raw>::put + try_get, one task", move |operations| {
        let queue = typed_queue.clone();
        async move {
            for _ in 0..operations {
                queue.put(&Raw(PAYLOAD)).await.expect("put");
                queue.try_get().await.expect("get");
            }
        }
    });
    let batched = Case::new(
        "Queue<Raw>::put_all(64) + get_many(64), one task",
        move |operations| {
            let queue = queue.clone();
            async move {
                let batch = vec![Raw(PAYLOAD); 64];
                for _ in 0..operations / 64 {
                    queue.put_all(&batch).await.expect("put");
                    queue.get_many(64).await.expect("get");
                }
            }
        },
    );
    group("memory: put + get", 400_000, vec![bare, typed, batched]).await;
}

async fn publish(bus: &Bus) -> Result<(), Error> {
    let mut cases = Vec::new();
    for (name, subscribers) in [
        ("publish to nobody", 0),
        ("publish to 1 stream", 1),
        ("publish to 8 streams", 8),
    ] {
        let topic = bus.topic(name);
        let mut streams = Vec::new();
        for _ in 0..subscribers {
            // Not read: what is measured is the publisher, who never waits.
            streams.push(topic.stream::<Raw>().await?);
        }
        let streams = Arc::new(streams);
        cases.push(Case::new(name, move |operations| {
            let (topic, streams) = (topic.clone(), Arc::clone(&streams));
            async move {
                for _ in 0..operations {
                    topic.publish(&Raw(PAYLOAD)).await.expect("publish");
                }
                drop(streams);
            }
        }));
    }
    group("memory: publish", 400_000, cases).await;
    Ok(())
}

async fn call(bus: &Bus) -> Result<(), Error> {
    bus.expose("echo", async |text: String| text).await?.keep();
    let mut cases = Vec::new();
    for (name, in_flight) in [("call, 1 in flight", 1), ("call, 64 in flight", 64)] {
        let stub = bus.stub::<(String,), String>("echo");
        cases.push(Case::new(name, move |operations| {
            let stub = stub.clone();
            spread(operations, in_flight, move || {
                let stub = stub.clone();
                async move {
                    stub.call(("x".repeat(256),)).await.expect("call");
                }
            })
        }));
    }
    group("memory: call", 100_000, cases).await;
    Ok(())
}
