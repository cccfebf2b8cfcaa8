//! What `Queue` adds to the queues of a provider: waiting puts, closing, joining, streams, types.

mod bounds;
mod closing;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use pymq_core::codec::Raw;
use pymq_core::provider::PutOptions;
use pymq_core::{Bus, Error, ErrorKind, Message, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use self::bounds::*;
pub use self::closing::*;
use crate::wait::soon;
use crate::{Clock, Harness, Outcome};

/// Longer than any test: a result must come earlier.
const LONG: Duration = Duration::from_secs(60);
/// A time that a test waits for.
const SHORT: Duration = Duration::from_millis(40);

/// Opens a bus on a handle of its own, as another process does.
pub(crate) async fn open(h: &dyn Harness) -> Result<Bus> {
    h.connect().await.map(Bus::new)
}

/// Returns the kind of the error, if it is one.
pub(crate) fn kind<T>(result: &Result<T>) -> Option<ErrorKind> {
    result.as_ref().err().map(Error::kind)
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Two handles of one name are one queue, on one bus and on two.
pub async fn handles_of_one_name_are_one_queue(h: &dyn Harness) -> Outcome {
    let (near, far) = (open(h).await?, open(h).await?);

    near.queue::<u32>("jobs").put_all(&[1, 2]).await?;

    assert_eq!(near.queue::<u32>("jobs").try_get().await?, Some(1));
    assert_eq!(far.queue::<u32>("jobs").try_get().await?, Some(2));
    Ok(())
}

/// A tag is for readers elsewhere: the payload names the class of an item. Here the item reads like
/// any other.
pub async fn a_tagged_item_bears_its_class_and_reads_as_any_other(h: &dyn Harness) -> Outcome {
    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Placed {
        order: u64,
    }
    pymq_core::event!(Placed, class = "shop.events.Placed");
    let bus = open(h).await?;
    let jobs = bus.queue::<Placed>("jobs");

    jobs.clone().tagged().put(&Placed { order: 1 }).await?;
    jobs.put(&Placed { order: 2 }).await?;
    jobs.clone().tagged().put(&Placed { order: 3 }).await?;

    let payloads = bus.queue::<Raw>("jobs");
    assert_eq!(
        payloads.get().await?.0,
        r#"{"order": 1, "__type": "shop.events.Placed"}"#
    );
    assert_eq!(payloads.get().await?.0, r#"{"order": 2}"#);
    assert_eq!(jobs.get().await?, Placed { order: 3 });

    let lists = bus.queue::<Vec<Placed>>("lists");
    for tagged in [lists.clone().tagged(), lists.clone()] {
        tagged.put(&vec![Placed { order: 4 }]).await?;
        tagged.put(&vec![]).await?;
    }

    let payloads = bus.queue::<Raw>("lists");
    assert_eq!(
        payloads.get().await?.0,
        r#"{"__list": [{"order": 4}], "__type": "shop.events.Placed"}"#
    );
    assert_eq!(payloads.get().await?.0, "[]");
    assert_eq!(lists.get().await?, [Placed { order: 4 }]);
    lists
        .tagged()
        .header("trace", "af01")
        .put(&vec![Placed { order: 5 }])
        .await?;
    assert_eq!(bus.queue::<Vec<Placed>>("lists").get().await?, []);
    assert_eq!(
        bus.queue::<Vec<Placed>>("lists").get().await?,
        [Placed { order: 5 }]
    );
    Ok(())
}

/// A zero timeout and the `try_` forms do not wait.
pub async fn zero_timeouts_do_not_wait(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    let start = Instant::now();

    assert_eq!(jobs.get_timeout(Duration::ZERO).await?, None);
    assert_eq!(jobs.try_get().await?, None);
    jobs.try_put(&1).await?;
    assert_eq!(
        kind(&jobs.put_timeout(&2, Duration::ZERO).await),
        Some(ErrorKind::Full)
    );
    assert_eq!(kind(&jobs.try_put(&2).await), Some(ErrorKind::Full));

    if h.clock() == Clock::Paused {
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    Ok(())
}

/// A get with a timeout returns `None`, and not before its time.
pub async fn get_timeout_answers_none(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;

    let start = Instant::now();
    let nothing = soon("get", bus.queue::<u32>("jobs").get_timeout(SHORT)).await??;

    assert_eq!(nothing, None);
    assert!(start.elapsed() >= SHORT);
    Ok(())
}

/// A batch is what is ready, at most the requested number, in order. It waits only for the first
/// item.
pub async fn get_many_takes_what_is_there(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let mut waiting = pin!(jobs.get_many(2));
    assert!(poll_once(waiting.as_mut()).await.is_pending());

    jobs.put(&1).await?;
    let first: Vec<u32> = soon("get_many", waiting)
        .await??
        .into_iter()
        .collect::<Result<_>>()?;
    jobs.put_all(&[2, 3, 4]).await?;
    let second: Vec<u32> = jobs.get_many(2).await?.into_iter().collect::<Result<_>>()?;

    assert_eq!(first, [1]);
    assert_eq!(second, [2, 3]);
    assert!(jobs.get_many(0).await?.is_empty());
    assert_eq!(jobs.len().await?, 1);
    Ok(())
}

/// An item that is not a `T` is removed by `get`. The error names the queue and carries the bytes.
pub async fn an_undecodable_item_is_removed_and_its_bytes_are_in_the_error(
    h: &dyn Harness,
) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    bus.queue::<String>("jobs").put("seven").await?;
    jobs.put(&8).await?;

    let Err(error) = jobs.get().await else {
        return Err("text is no number".into());
    };

    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(
        error.payload().map(|payload| &payload[..]),
        Some(&b"\"seven\""[..])
    );
    assert!(
        error.to_string().contains("`jobs`") && error.to_string().contains("`u32`"),
        "{error}"
    );
    assert_eq!(jobs.try_get().await?, Some(8));
    Ok(())
}

/// In a batch, an item that is not a `T` does not affect the others.
pub async fn an_undecodable_item_spoils_no_batch(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    bus.queue::<Option<u32>>("jobs")
        .put_all(&[Some(1), None, Some(3)])
        .await?;

    let items = bus.queue::<u32>("jobs").get_many(8).await?;

    let kinds: Vec<_> = items.iter().map(kind).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Codec), None]);
    assert!(items.into_iter().flatten().eq([1, 3]));
    Ok(())
}

/// `Raw` reads what a typed queue wrote, byte for byte, and bytes that it puts come out unchanged.
pub async fn raw_and_json_share_a_queue(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (numbers, raw) = (bus.queue::<Vec<u32>>("jobs"), bus.queue::<Raw>("jobs"));

    numbers.put(&vec![1, 2]).await?;
    let payload = raw.get().await?;
    raw.put(&Raw::from(&b"\x00\xff"[..])).await?;
    let bytes = raw.get().await?;

    bus.provider()?
        .queue_put(
            "jobs",
            vec![Message::json(payload.0)],
            PutOptions::default(),
        )
        .await?;
    assert_eq!(numbers.get().await?, [1, 2]);
    assert_eq!(bytes, Raw::from(&b"\x00\xff"[..]));
    Ok(())
}

/// Every operation checks names and sizes before anything is sent.
pub async fn bad_names_and_sizes_are_refused(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;

    for name in ["", "a\nb", "__rpc_x", &"x".repeat(513)] {
        let queue = bus.queue::<u32>(name);
        for refused in [
            kind(&queue.put(&1).await),
            kind(&queue.put_all(&[1]).await),
            kind(&queue.put_after(&1, SHORT).await),
            kind(&queue.get().await),
            kind(&queue.try_get().await),
            kind(&queue.get_many(2).await),
            kind(&queue.lease().await),
            kind(&queue.len().await),
            kind(&queue.clear().await),
            kind(&queue.join().await),
            kind(&queue.dead_letters().len().await),
            kind(&queue.dead_letters().peek(1).await),
            kind(&queue.dead_letters().redrive().await),
            kind(&queue.dead_letters().clear().await),
        ] {
            assert_eq!(refused, Some(ErrorKind::InvalidName), "{name:?}");
        }
    }
    let big = Raw::from(vec![0; pymq_core::MAX_PAYLOAD + 1]);
    let blobs = bus.queue::<Raw>("blobs");
    assert_eq!(kind(&blobs.put(&big).await), Some(ErrorKind::TooLarge));
    assert_eq!(
        kind(&blobs.put_all(&[Raw::from("small"), big]).await),
        Some(ErrorKind::TooLarge)
    );
    assert!(blobs.is_empty().await?);
    Ok(())
}

/// Gets that are dropped while they wait take nothing with them.
pub async fn cancelled_typed_gets_lose_nothing(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let mut items = Vec::new();

    for item in 0..50 {
        let mut waiting = Box::pin(jobs.get());
        let mut taken = poll_once(waiting.as_mut()).await;
        jobs.put(&item).await?;
        if taken.is_pending() {
            // It may be woken or not, and may have taken or not. It is polled once more, and
            // dropped if it is still pending.
            taken = poll_once(waiting.as_mut()).await;
        }
        if let Poll::Ready(taken) = taken {
            items.push(taken?);
        }
    }
    while let Some(item) = jobs.get_timeout(Duration::from_millis(200)).await? {
        items.push(item);
    }

    items.sort_unstable();
    assert!(items.iter().copied().eq(0..50), "{items:?}");
    Ok(())
}
