//! `put_once`, which may be repeated.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pymq_core::provider::{Provider, PutOptions};
use pymq_core::{Bus, Error, ErrorKind, Message, Put, Result};
use tokio::time::sleep;

use crate::moment::dropped_at;
use crate::twist::{Twist, twisted};
use crate::typed_queues::{kind, open, poll_once};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// The first put of an id counts, on any bus. Another id and another queue are independent.
pub async fn put_once_puts_once(h: &dyn Harness) -> Outcome {
    let (bus, other) = (open(h).await?, open(h).await?);
    let jobs = bus.queue::<u32>("jobs");

    assert_eq!(jobs.put_once("a", &1).await?, Put::New);
    assert_eq!(jobs.put_once("a", &2).await?, Put::Known);
    let elsewhere = other.queue::<u32>("jobs").put_once("a", &3).await?;
    assert_eq!(elsewhere, Put::Known);
    assert_eq!(jobs.put_once("b", &4).await?, Put::New);
    let mail = bus.queue::<u32>("mail").put_once("a", &5).await?;
    assert_eq!(mail, Put::New);

    assert_eq!(jobs.get().await?, 1);
    assert_eq!(jobs.get().await?, 4);
    assert_eq!(jobs.try_get().await?, None);
    assert_eq!(other.queue::<u32>("mail").get().await?, 5);
    Ok(())
}

/// A put that is repeated after a lost answer is put once, whether or not the first one succeeded.
pub async fn put_once_may_be_repeated_when_its_outcome_is_unknown(h: &dyn Harness) -> Outcome {
    for got_through in [true, false] {
        let twist = Mumbling {
            got_through,
            has_spoken: AtomicBool::new(false),
        };
        let bus = Bus::new(twisted(h.connect().await?, twist));
        let jobs = bus.queue::<u32>("jobs");

        let unknown = jobs.put_once(format!("{got_through}"), &1).await;
        assert!(unknown.is_err_and(|error| error.outcome_unknown()));
        let again = jobs.put_once(format!("{got_through}"), &1).await?;

        let expected = if got_through { Put::Known } else { Put::New };
        assert_eq!(again, expected);
        assert_eq!(jobs.len().await?, 1, "got through: {got_through}");
        jobs.clear().await?;
    }
    Ok(())
}

/// Answers the first put with an error, whether it succeeded or not.
#[derive(Debug)]
struct Mumbling {
    got_through: bool,
    has_spoken: AtomicBool,
}

#[async_trait]
impl Twist for Mumbling {
    async fn queue_put(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        messages: Vec<Message>,
        opts: PutOptions,
    ) -> Result<Put> {
        if self.has_spoken.swap(true, Ordering::SeqCst) {
            return inner.queue_put(queue, messages, opts).await;
        }
        if self.got_through {
            inner.queue_put(queue, messages, opts).await?;
        }
        Err(Error::new(ErrorKind::Timeout, "put to `jobs`").with_outcome_unknown())
    }
}

/// The later fate of the item does not matter: after it was taken and finished, it is not put
/// again.
pub async fn put_once_is_remembered_when_its_item_is_done(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");

    jobs.put_once("a", &1).await?;
    assert_eq!(jobs.get().await?, 1);
    jobs.put_once("a", &1).await?;
    assert_eq!(jobs.try_get().await?, None);
    jobs.clear().await?;
    jobs.put_once("a", &1).await?;

    assert_eq!(jobs.try_get().await?, None);
    Ok(())
}

/// It waits for space as a put does, and an id without a put stays unused. A repeated put needs no
/// space.
pub async fn put_once_waits_for_space(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").maxsize(1);
    jobs.put_once("a", &1).await?;
    soon("a repeated put", jobs.put_once("a", &1)).await??;
    let mut waiting = pin!(jobs.put_once("b", &2));
    assert!(poll_once(waiting.as_mut()).await.is_pending());

    assert_eq!(jobs.get().await?, 1);
    soon("put", waiting).await??;

    assert_eq!(jobs.get().await?, 2);
    jobs.close();
    assert_eq!(kind(&jobs.put_once("c", &3).await), Some(ErrorKind::Closed));
    Ok(())
}

/// A handle and its clones have a window for their ids. Other handles keep their own window.
pub async fn the_window_of_put_once_is_set_by_its_handle(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");
    let brief = jobs.clone().once_window(Duration::ZERO);
    jobs.put_once("a", &1).await?;
    brief.put_once("b", &2).await?;

    sleep(Duration::from_millis(1_100)).await;

    assert_eq!(brief.put_once("a", &3).await?, Put::Known);
    assert_eq!(brief.clone().put_once("b", &4).await?, Put::New);
    assert_eq!(jobs.len().await?, 3);
    Ok(())
}

/// A put that is dropped at any moment and repeated is put once.
pub async fn a_dropped_put_once_may_be_repeated(h: &dyn Harness) -> Outcome {
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs");

    for item in 0..30 {
        let put = jobs.put_once(format!("{item}"), &item);
        drop(dropped_at(h.clock(), item, put).await);
        jobs.put_once(format!("{item}"), &item).await?;
    }

    for item in 0..30 {
        assert_eq!(jobs.get().await?, item);
    }
    assert_eq!(jobs.try_get().await?, None);
    Ok(())
}
