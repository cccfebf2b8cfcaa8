//! Q, G, E: what `Queue` adds to a provider's queues: waiting puts, closing, joining, streams, types.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use pymq_core::codec::Raw;
use pymq_core::provider::{Provider, Put, PutOptions};
use pymq_core::{Bus, Error, ErrorKind, Message, Result};
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::twist::{Twist, twisted};
use crate::wait::soon;
use crate::{Clock, Harness, Outcome};

/// A time nobody waits out: what is asked for with it must come earlier.
const LONG: Duration = Duration::from_secs(60);
/// A time that is waited out.
const SHORT: Duration = Duration::from_millis(40);

/// Opens a bus on a handle of its own, as another process would.
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

/// Tagging is for readers elsewhere: the payload says which class an item is of, and here it reads as any other.
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

/// A put into a full queue waits, and goes on when its own bus takes an item: at once, without asking again first.
pub async fn blocking_put_waits_for_space(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;
    let start = Instant::now();
    let mut waiting = pin!(jobs.put(&2));
    assert!(poll_once(waiting.as_mut()).await.is_pending());

    assert_eq!(jobs.get().await?, 1);
    soon("put", waiting).await??;

    if h.clock() == Clock::Paused {
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    assert_eq!(jobs.try_get().await?, Some(2));
    assert_eq!(jobs.try_get().await?, None);
    Ok(())
}

/// Space made while the provider is still saying "full" is not overheard.
pub async fn blocking_put_notices_space_made_while_it_asks(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let bus = Bus::new(twisted(provider, SlowRefusals));
    let jobs = bus.queue::<u32>("jobs").maxsize(2);
    jobs.put_all(&[1, 2]).await?;
    let start = Instant::now();

    let puts = async { tokio::try_join!(jobs.put(&3), jobs.put(&4)) };
    let gets = async { Ok((jobs.get().await?, jobs.get().await?)) };
    let (_, taken) = soon("put", async { tokio::try_join!(puts, gets) }).await??;

    assert_eq!(taken, (1, 2));
    if h.clock() == Clock::Paused {
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    Ok(())
}

/// Puts like the provider inside, and is slow to say no.
#[derive(Debug)]
struct SlowRefusals;

#[async_trait]
impl Twist for SlowRefusals {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        let answer = inner.queue_put(queue, messages, opts).await;
        if answer.is_err() {
            yield_now().await;
        }
        answer
    }
}

/// A put into a full queue goes on as well when somebody else makes space.
pub async fn blocking_put_notices_space_made_by_another_bus(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;
    let waiting = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.put(&2).await }
    });

    assert_eq!(other.queue::<u32>("jobs").get().await?, 1);

    soon("put", waiting).await???;
    assert_eq!(jobs.len().await?, 1);
    Ok(())
}

/// Many waiting puts and one taker: every item arrives once, and the bound holds all the time.
pub async fn many_blocking_puts_keep_the_bound(h: &dyn Harness) -> Outcome {
    let (near, far) = (open(h).await?, open(h).await?);
    let mut puts = Vec::new();
    for item in 0..40u32 {
        let bus = if item % 2 == 0 { &near } else { &far };
        let jobs = bus.queue::<u32>("jobs").maxsize(3);
        puts.push(tokio::spawn(async move { jobs.put(&item).await }));
    }

    let jobs = near.queue::<u32>("jobs");
    let mut items = Vec::new();
    while items.len() < 40 {
        assert!(jobs.len().await? <= 3);
        items.push(soon("get", jobs.get()).await??);
    }

    for put in puts {
        put.await??;
    }
    items.sort_unstable();
    assert!(items.iter().copied().eq(0..40));
    Ok(())
}

/// A put with a timeout gives up with `Full`, not before its time, and has put nothing.
pub async fn put_timeout_gives_full(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;

    let start = Instant::now();
    let late = jobs.put_timeout(&2, SHORT).await;

    assert_eq!(kind(&late), Some(ErrorKind::Full));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(jobs.len().await?, 1);
    Ok(())
}

/// A put that may have happened is reported, not repeated: the item is in the queue once.
pub async fn a_put_is_not_repeated_when_its_outcome_is_unknown(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let bus = Bus::new(twisted(provider, LostAnswers));
    let jobs = bus.queue::<u32>("jobs").maxsize(9);

    let Err(error) = soon("put", jobs.put(&1)).await? else {
        return Err("the answer was lost".into());
    };

    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(jobs.len().await?, 1);
    Ok(())
}

/// Puts, and loses the answer.
#[derive(Debug)]
struct LostAnswers;

#[async_trait]
impl Twist for LostAnswers {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        inner.queue_put(queue, messages, opts).await?;
        Err(Error::new(ErrorKind::Timeout, "test: put").with_outcome_unknown())
    }
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

/// A get with a timeout answers that nothing came, not before its time.
pub async fn get_timeout_answers_none(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;

    let start = Instant::now();
    let nothing = soon("get", bus.queue::<u32>("jobs").get_timeout(SHORT)).await??;

    assert_eq!(nothing, None);
    assert!(start.elapsed() >= SHORT);
    Ok(())
}

/// `len`, `is_empty` and `is_full` tell the same story.
pub async fn is_full_and_is_empty_agree_with_len(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (bounded, unbounded) = (
        bus.queue::<u32>("jobs").maxsize(2),
        bus.queue::<u32>("jobs"),
    );

    for len in 0..=2 {
        assert_eq!(bounded.len().await?, len);
        assert_eq!(bounded.is_empty().await?, len == 0);
        assert_eq!(bounded.is_full().await?, len == 2);
        assert!(!unbounded.is_full().await?);
        unbounded.put(&1).await?;
    }
    assert!(
        bounded.is_full().await?,
        "more than the bound is full as well"
    );
    Ok(())
}

/// A batch goes in whole, in order, or not at all; more than the bound is refused at once.
pub async fn put_all_is_all_or_nothing(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(3);
    jobs.put(&0).await?;
    let mut waiting = pin!(jobs.put_all(&[1, 2, 3]));
    assert!(poll_once(waiting.as_mut()).await.is_pending());

    assert_eq!(
        kind(&soon("put_all", jobs.put_all(&[1, 2, 3, 4])).await?),
        Some(ErrorKind::Full)
    );
    assert_eq!(jobs.get().await?, 0);
    soon("put_all", waiting).await??;
    jobs.put_all(&[]).await?;

    assert_eq!(jobs.len().await?, 3);
    for item in 1..=3 {
        assert_eq!(jobs.try_get().await?, Some(item));
    }
    Ok(())
}

/// A put that is dropped while it waits for space has put nothing.
pub async fn a_dropped_waiting_put_puts_nothing(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put(&1).await?;

    assert!(tokio::time::timeout(SHORT, jobs.put(&2)).await.is_err());

    assert_eq!(jobs.try_get().await?, Some(1));
    assert_eq!(jobs.try_get().await?, None);
    Ok(())
}

/// Clearing makes space for waiting puts.
pub async fn clear_makes_space(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(2);
    jobs.put_all(&[1, 2]).await?;
    let mut waiting = pin!(jobs.put(&3));
    assert!(poll_once(waiting.as_mut()).await.is_pending());

    assert_eq!(jobs.clear().await?, 2);
    soon("put", waiting).await??;

    assert_eq!(jobs.try_get().await?, Some(3));
    Ok(())
}

/// A batch is what is there, at most what was asked for, in order; it waits only for the first.
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

/// An item that is not a `T` is removed by `get`, and its error names the queue and carries the bytes.
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

/// In a batch, an item that is not a `T` takes no others with it.
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

/// The stream takes items as it is polled, goes on after one it cannot read, and ends with the queue.
pub async fn a_stream_yields_until_the_queue_is_closed(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<Option<u32>>("jobs");
    jobs.put_all(&[Some(1), None, Some(3)]).await?;
    let mut stream = bus.queue::<u32>("jobs").stream();

    assert_eq!(stream.try_next().await?, Some(1));
    assert_eq!(
        stream.next().await.as_ref().and_then(kind),
        Some(ErrorKind::Codec)
    );
    assert_eq!(jobs.len().await?, 1, "nothing is fetched ahead");
    assert_eq!(stream.try_next().await?, Some(3));
    let (end, ()) = tokio::join!(soon("next", stream.next()), async { jobs.close() });

    assert!(end?.is_none());
    Ok(())
}

/// Dropping a stream that waits loses nothing.
pub async fn a_dropped_stream_loses_nothing(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let mut stream = jobs.stream();
    assert!(poll_once(pin!(stream.next())).await.is_pending());

    drop(stream);
    jobs.put(&1).await?;

    assert_eq!(soon("get", jobs.get()).await??, 1);
    Ok(())
}

/// Closing wakes who waits: puts and gets end with `Closed`, and the item that waited for space is not in.
pub async fn close_wakes_waiting_puts_and_gets(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let (full, empty) = (
        bus.queue::<u32>("full").maxsize(1),
        bus.queue::<u32>("empty"),
    );
    full.put(&1).await?;
    let (mut put, mut get) = (pin!(full.put(&2)), pin!(empty.get()));
    assert!(poll_once(put.as_mut()).await.is_pending());
    assert!(poll_once(get.as_mut()).await.is_pending());

    let start = Instant::now();
    full.close();
    empty.close();

    assert_eq!(kind(&soon("put", put).await?), Some(ErrorKind::Closed));
    assert_eq!(kind(&soon("get", get).await?), Some(ErrorKind::Closed));
    if h.clock() == Clock::Paused {
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
    assert_eq!(full.try_get().await?, Some(1));
    assert_eq!(kind(&full.try_get().await), Some(ErrorKind::Closed));
    Ok(())
}

/// A closed queue refuses puts, is drained by gets that do not wait, and then ends.
pub async fn close_lets_consumers_drain_then_ends(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put_all(&[1, 2, 3]).await?;

    jobs.close();

    assert!(jobs.is_closed());
    assert_eq!(kind(&jobs.put(&4).await), Some(ErrorKind::Closed));
    assert_eq!(
        kind(&jobs.put_timeout(&4, LONG).await),
        Some(ErrorKind::Closed)
    );
    assert_eq!(jobs.get().await?, 1);
    assert_eq!(jobs.get_timeout(LONG).await?, Some(2));
    assert_eq!(jobs.try_get().await?, Some(3));
    assert_eq!(
        kind(&soon("get", jobs.get()).await?),
        Some(ErrorKind::Closed)
    );
    assert_eq!(
        kind(&soon("get", jobs.get_timeout(LONG)).await?),
        Some(ErrorKind::Closed)
    );
    assert_eq!(kind(&jobs.try_get().await), Some(ErrorKind::Closed));
    Ok(())
}

/// Closing concerns one bus and one name: all its handles of that name, and nobody else.
pub async fn close_concerns_one_bus_and_one_name(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus.queue::<u32>("jobs");

    jobs.close();
    drop(jobs);

    assert_eq!(
        kind(&bus.queue::<u32>("jobs").put(&1).await),
        Some(ErrorKind::Closed)
    );
    bus.queue::<u32>("mail").put(&1).await?;
    other.queue::<u32>("jobs").put(&2).await?;
    assert_eq!(bus.queue::<u32>("jobs").get().await?, 2);
    Ok(())
}

/// With nothing to wait for, `join` returns.
pub async fn join_on_idle_queue_returns(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");

    soon("join", jobs.join()).await??;
    jobs.put(&1).await?;
    jobs.get().await?;

    soon("join", jobs.join()).await??;
    Ok(())
}

/// `Raw` reads what a typed queue wrote, byte for byte, and bytes put through it come out as they were.
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

/// Names and sizes are checked before anything is sent, by every operation.
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

/// Gets dropped while they wait take nothing with them.
pub async fn cancelled_typed_gets_lose_nothing(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let mut items = Vec::new();

    for item in 0..50 {
        let mut waiting = Box::pin(jobs.get());
        let mut taken = poll_once(waiting.as_mut()).await;
        jobs.put(&item).await?;
        if taken.is_pending() {
            // Woken or not yet, taken or not yet: polled once more, and dropped if that was not enough.
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
