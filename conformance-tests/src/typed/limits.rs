//! Names and sizes are checked before anything is sent.

use pymq::{Bus, ErrorKind, Raw, Result};

use super::{kind, next, open, recorder};
use crate::{Harness, Outcome};

/// Names that are empty, too long, reserved or have control characters are refused by every operation.
pub async fn names_are_validated(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let too_long = "x".repeat(513);

    for name in ["", &too_long, "a\nb", "a\0", "__rpc_inbox"] {
        for (operation, refused) in operations(&bus, name).await {
            assert_eq!(
                refused,
                Some(ErrorKind::InvalidName),
                "{operation} {name:?}"
            );
        }
    }
    let longest = "x".repeat(512);
    for (operation, refused) in operations(&bus, &longest).await {
        assert_ne!(refused, Some(ErrorKind::InvalidName), "{operation}");
    }
    Ok(())
}

/// Tries everything that takes a name; says what was tried and how it failed.
async fn operations(bus: &Bus, name: &str) -> Vec<(&'static str, Option<ErrorKind>)> {
    let (topic, pattern) = (bus.topic(name), bus.pattern(name));
    let stub = bus.stub::<(), ()>(name);
    vec![
        ("publish", kind(&topic.publish(&1).await)),
        (
            "publish with headers",
            kind(&topic.header("a", "b").publish(&1).await),
        ),
        ("subscribe", kind(&topic.subscribe(async |_: u64| {}).await)),
        (
            "subscribe several",
            kind(&topic.concurrency(2).subscribe(async |_: u64| {}).await),
        ),
        ("stream", kind(&topic.stream::<u64>().await)),
        (
            "subscribe to pattern",
            kind(&pattern.subscribe(async |_: u64| {}).await),
        ),
        ("stream of pattern", kind(&pattern.stream::<u64>().await)),
        ("expose", kind(&bus.expose(name, async || {}).await)),
        ("call", kind(&stub.call(()).await)),
        ("call_all", kind(&stub.call_all(()).await)),
    ]
}

/// A payload over the limit is refused and not sent; one at the limit passes. Headers count.
pub async fn oversized_payloads_are_refused(h: &dyn Harness) -> Outcome {
    let (bus, receiver) = (open(h).await?.max_payload(16), open(h).await?);
    let (record, mut arrived) = recorder::<String>();
    let _guard = receiver.topic("texts").subscribe(record).await?;
    let texts = bus.topic("texts");

    let refused: [Result<usize>; 3] = [
        texts.publish(&"x".repeat(15)).await,
        texts.header("trace", "0123456789").publish("x").await,
        bus.clone().topic("texts").publish(&"x".repeat(1_000)).await,
    ];
    texts.publish(&"x".repeat(14)).await?;

    for refused in refused {
        assert_eq!(kind(&refused), Some(ErrorKind::TooLarge));
    }
    assert_eq!(next(&mut arrived).await?, "x".repeat(14));
    Ok(())
}

/// Payloads of every size up to the limit pass unchanged; what is larger, by a byte or a thousand times, is refused
/// before anything is sent, and hurts nothing.
pub async fn payloads_pass_up_to_the_limit_and_no_further(h: &dyn Harness) -> Outcome {
    const LIMIT: usize = 1 << 20;
    let (bus, other) = (open(h).await?.max_payload(LIMIT), open(h).await?);
    let (record, mut arrived) = recorder::<Raw>();
    let _guard = other.topic("t").subscribe(record).await?;
    let (topic, queue) = (bus.topic("t"), bus.queue::<Raw>("q"));
    let raw = |size: usize| Raw(vec![0; size].into());

    for size in [0, 1, LIMIT - 1, LIMIT] {
        topic.publish(&raw(size)).await?;
        queue.put(&raw(size)).await?;

        assert_eq!(next(&mut arrived).await?.0.len(), size);
        assert_eq!(queue.try_get().await?.map(|item| item.0.len()), Some(size));
    }
    for size in [LIMIT + 1, 1 << 30] {
        let refused = [
            topic.publish(&raw(size)).await.map(drop),
            queue.put(&raw(size)).await,
            queue.put_all(&[raw(1), raw(size)]).await,
        ];
        for refused in refused {
            assert_eq!(kind(&refused), Some(ErrorKind::TooLarge), "{size} bytes");
        }
        assert!(queue.is_empty().await?);
        assert_eq!(bus.stats().reconnects, 0);
    }
    Ok(())
}

/// What JSON cannot say is refused and not sent.
pub async fn what_cannot_be_encoded_is_refused(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (record, mut arrived) = recorder::<f64>();
    let _guard = bus.topic("numbers").subscribe(record).await?;

    let refused = bus.topic("numbers").publish(&f64::NAN).await;
    bus.topic("numbers").publish(&1.5).await?;

    assert_eq!(kind(&refused), Some(ErrorKind::Codec));
    assert!((next(&mut arrived).await? - 1.5).abs() < f64::EPSILON);
    Ok(())
}
