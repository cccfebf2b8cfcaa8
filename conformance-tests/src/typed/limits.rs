//! Names and sizes are checked before anything is sent.

use std::time::Duration;

use pymq_core::codec::MAX_DEPTH;
use pymq_core::{BufferLimits, Bus, ErrorKind, Json, Queue, Raw, RemoteError, Result};
use serde_json::{Value, json};

use super::{kind, next, open, recorder};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// Names that are empty, too long, reserved or with control characters are refused by every
/// operation.
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

/// Tries every operation with a name. Returns each with its error.
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

/// Payloads of every size up to the limit pass unchanged. A larger one, by a byte or a thousand
/// times, is refused before anything is sent, and does no harm.
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

/// The smallest and the largest limits and timeouts are accepted. Zero is the nearest possible
/// buffer or concurrency. A queue refuses it: no item would fit, or none could be leased.
pub async fn extreme_limits_do_no_harm(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    soon("a ping", bus.ping(Duration::MAX)).await??;

    for (n, limit) in [0, usize::MAX].into_iter().enumerate() {
        let queue = bus.queue::<u32>(&format!("items {n}"));
        let queue = queue.maxsize(limit.max(1)).max_attempts(u32::MAX);
        soon("a put", queue.put_timeout(&1, Duration::MAX)).await??;
        assert!(queue.get_many(0).await?.is_empty());
        let taken = soon("a take", queue.get_many(usize::MAX)).await??;
        assert_eq!(taken.into_iter().flatten().collect::<Vec<_>>(), [1]);
        queue.put(&2).await?;
        let taken = soon("a take", queue.get_timeout(Duration::MAX)).await??;
        assert_eq!(taken, Some(2));

        let limits = BufferLimits::default().items(limit).bytes(limit);
        let topic = bus.topic(format!("events {n}")).buffer(limits);
        let (seen, mut events) = recorder::<u32>();
        let handler = topic.clone().concurrency(limit).subscribe(seen).await?;
        let mut stream = topic.stream::<u32>().await?;
        bus.topic(format!("events {n}")).publish(&7).await?;
        assert_eq!(next(&mut events).await?, 7);
        assert_eq!(
            soon("an event", stream.recv()).await??.into_event(),
            Some(7)
        );
        soon("unsubscribe", handler.stop()).await?;
    }
    let queue = bus.queue::<u32>("items");
    assert_zero_is_refused(&queue.clone().maxsize(0), "unbounded()").await?;
    assert_zero_is_refused(&queue.clone().max_attempts(0), "unlimited_attempts()").await?;
    queue.maxsize(0).maxsize(1).put(&1).await?;
    soon("the shutdown", bus.shutdown(Duration::MAX)).await??;
    Ok(())
}

/// Each operation of a queue with a limit of zero fails before anything is sent, and names the
/// method that removes the limit.
async fn assert_zero_is_refused(queue: &Queue<u32>, instead: &str) -> Outcome {
    let refused = [
        soon("put", queue.put(&1)).await?,
        queue.try_put(&1).await,
        queue.put_all(&[1]).await,
        queue.put_after(&1, Duration::ZERO).await,
        soon("get", queue.get()).await?.map(drop),
        queue.try_get().await.map(drop),
        queue.get_many(2).await.map(drop),
        soon("lease", queue.lease()).await?.map(drop),
        queue.try_lease().await.map(drop),
        queue.len().await.map(drop),
        queue.worker(async |_: u32| {}).start().map(drop),
    ];

    for (n, refused) in refused.into_iter().enumerate() {
        let Err(error) = refused else {
            return Err(format!("operation {n} was not refused").into());
        };
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.to_string().contains(instead), "{error}");
    }
    Ok(())
}

/// A value that JSON does not have is refused and not sent.
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

/// Nested lists and objects in turn, to this depth.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, level| match level % 2 {
        0 => json!([inner]),
        _ => json!({ "a": inner }),
    })
}

/// Every value that can be sent can be read where it arrives, however deep it is. A value that
/// could not be read is refused before anything is sent, so that it is not lost there.
pub async fn what_is_sent_can_be_read_however_deep(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let (record, mut arrived) = recorder::<Value>();
    let _guard = other.topic("deep").subscribe(record).await?;
    let (topic, queue) = (bus.topic("deep"), bus.queue::<Value>("deep"));

    let deepest = nested(MAX_DEPTH);
    for queue in [queue.clone(), queue.header("trace", "af01")] {
        queue.put(&deepest).await?;
        assert_eq!(queue.get().await?, deepest);
        queue.put_all(&[Value::Null, deepest.clone()]).await?;
        assert_eq!(queue.get().await?, Value::Null);
        assert_eq!(queue.get().await?, deepest);
    }
    topic.publish(&deepest).await?;
    assert_eq!(next(&mut arrived).await?, deepest);
    topic.header("trace", "af01").publish(&deepest).await?;
    assert_eq!(next(&mut arrived).await?, deepest);

    for more in [1, 2, 500] {
        let deeper = nested(MAX_DEPTH + more);
        let batch = [Value::Null, deeper.clone()];
        let refused = [
            queue.put(&deeper).await,
            queue.try_put(&deeper).await,
            queue.put_once("deep", &deeper).await.map(drop),
            queue.put_all(&batch).await,
            queue.header("trace", "af01").put(&deeper).await,
            topic.publish(&deeper).await.map(drop),
            topic
                .header("trace", "af01")
                .publish(&deeper)
                .await
                .map(drop),
        ];
        for refused in refused {
            assert_eq!(kind(&refused), Some(ErrorKind::Codec), "{more} more");
        }
        assert!(queue.is_empty().await?);
    }
    topic.publish(&1).await?;
    assert_eq!(next(&mut arrived).await?, 1, "nothing deeper arrives");
    Ok(())
}

/// The same for calls: an argument is one level inside the list of them, and a result and the
/// arguments of an error are not.
pub async fn what_is_called_and_answered_can_be_read_however_deep(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let (record, mut called) = recorder::<Value>();
    let echo = move |value: Value| {
        let recorded = record(value.clone());
        async move {
            recorded.await;
            Json(value)
        }
    };
    let deep = async |depth: usize| Json(nested(depth));
    let fail = async |depth: usize| {
        let failure = RemoteError::with_args("ValueError", &nested(depth));
        Err::<(), _>(failure.unwrap_or_else(|error| RemoteError::new("Refused", error.to_string())))
    };
    let _guards = [
        other.expose("echo", echo).await?,
        other.expose("deep", deep).await?,
        other.expose("fail", fail).await?,
    ];
    let echo = bus.stub::<(Value,), Value>("echo");
    let deep = bus.stub::<(usize,), Value>("deep");
    let fail = bus.stub::<(usize,), ()>("fail");

    let deepest = nested(MAX_DEPTH - 1);
    assert_eq!(echo.call((deepest.clone(),)).await?, deepest);
    assert_eq!(next(&mut called).await?, deepest);
    assert_eq!(
        kind(&echo.call((nested(MAX_DEPTH),)).await),
        Some(ErrorKind::Codec)
    );
    let all = echo.call_all((nested(MAX_DEPTH),)).await;
    assert_eq!(kind(&all.map(drop)), Some(ErrorKind::Codec));
    assert_eq!(echo.call((json!(1),)).await?, 1);
    assert_eq!(next(&mut called).await?, 1, "nothing deeper was called");

    assert_eq!(deep.call((MAX_DEPTH,)).await?, nested(MAX_DEPTH));
    let error = deep
        .call((MAX_DEPTH + 1,))
        .await
        .expect_err("it is too deep");
    assert_eq!(error.kind(), ErrorKind::Remote);
    let remote = error.remote().expect("the server says why");
    assert_eq!(remote.type_name(), "ValueError");
    assert!(remote.message().contains("nested more than"), "{remote}");

    // The outermost level of an odd depth is a list, like arguments.
    const { assert!(MAX_DEPTH % 2 == 1) };
    let error = fail.call((MAX_DEPTH,)).await.expect_err("it is too deep");
    let remote = error.remote().expect("the server says why");
    assert_eq!(remote.args::<Value>()?, nested(MAX_DEPTH));
    let error = fail
        .call((MAX_DEPTH + 2,))
        .await
        .expect_err("it is too deep");
    let remote = error.remote().expect("the server says why");
    assert_eq!(remote.type_name(), "Refused");
    Ok(())
}
