//! The order of messages, and slow subscribers.

use std::sync::Arc;

use bytes::Bytes;
use pymq_core::provider::{BufferLimits, Incoming, Subscription};
use tokio::task::JoinSet;

use crate::traffic::{number, numbered, numbers, receive, topic};
use crate::wait::{soon, until};
use crate::{Failure, Harness, Outcome};

/// The messages of one publisher arrive in order.
pub async fn same_topic_many_messages_in_order(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let mut subscription = subscriber.subscribe(topic("t")).await?;

    for n in 0..500 {
        publisher.publish("t", numbered(n)).await?;
    }

    assert_eq!(
        numbers(&mut subscription, 500).await?,
        (0..500).collect::<Vec<_>>()
    );
    Ok(())
}

/// With many publishers at once, the order of each is kept.
pub async fn order_per_publisher_with_many_publishers(h: &dyn Harness) -> Outcome {
    const EACH: usize = 100;
    const PUBLISHERS: usize = 8;
    let subscriber = h.connect().await?;
    let mut subscription = subscriber.subscribe(topic("t")).await?;
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let provider = h.connect().await?;
        publishers.spawn(async move {
            for n in 0..EACH {
                provider
                    .publish("t", numbered(publisher * EACH + n))
                    .await?;
            }
            Ok::<_, pymq_core::Error>(())
        });
    }

    let mut next = [0; PUBLISHERS];
    for _ in 0..PUBLISHERS * EACH {
        let number = number(&receive(&mut subscription).await?.1)?;
        let publisher = number / EACH;
        assert_eq!(number % EACH, next[publisher], "publisher {publisher}");
        next[publisher] += 1;
    }

    assert_eq!(next, [EACH; PUBLISHERS]);
    soon("publishing", publishers.join_all())
        .await?
        .into_iter()
        .collect::<pymq_core::Result<()>>()?;
    Ok(())
}

/// A subscriber that does not read keeps no message from another.
pub async fn slow_subscriber_does_not_block_others(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let mut slow = subscriber.subscribe(topic("t")).await?;
    slow.set_limits(items(4));
    let mut fast = subscriber.subscribe(topic("t")).await?;

    for n in 0..200 {
        soon("publish", publisher.publish("t", numbered(n))).await??;
        assert_eq!(numbers(&mut fast, 1).await?, [n]);
    }
    Ok(())
}

/// A subscriber that does not read neither delays the publisher nor grows without a limit.
pub async fn slow_subscriber_does_not_block_publisher(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut slow = provider.subscribe(topic("t")).await?;
    slow.set_limits(items(32));
    let mut witness = provider.subscribe(topic("t")).await?;

    let publishing = async {
        for n in 0..500 {
            provider.publish("t", numbered(n)).await?;
        }
        Ok::<_, pymq_core::Error>(())
    };
    soon("publishing", publishing).await??;
    // When the last message is here, all before it have been delivered to both.
    numbers(&mut witness, 500).await?;

    let (missed, received) = account(&mut slow, 500).await?;
    assert!(received <= 33, "{received} were kept, the limit is 32");
    assert_eq!(missed + received, 500);
    Ok(())
}

/// A full buffer reports exactly how many messages are gone, and keeps the newest.
pub async fn overflow_is_reported_as_lag(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let mut slow = subscriber.subscribe(topic("t")).await?;
    slow.set_limits(items(8));
    let mut witness = subscriber.subscribe(topic("t")).await?;

    for n in 0..21 {
        publisher.publish("t", numbered(n)).await?;
    }
    // When the last message is here, all before it have been delivered to both.
    numbers(&mut witness, 21).await?;

    let (missed, received) = account(&mut slow, 21).await?;
    assert!(missed >= 12, "only {missed} of 21 were dropped to keep 8");
    assert_eq!(missed + received, 21);
    Ok(())
}

/// The memory of messages that a slow reader loses is freed: memory is bounded, not only the number
/// of readable messages.
pub async fn what_overflows_is_freed(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let mut slow = subscriber.subscribe(topic("t")).await?;
    slow.set_limits(items(8));
    let mut witness = subscriber.subscribe(topic("t")).await?;
    let alive = Arc::new(());

    for n in 0..100 {
        let mut message = numbered(n);
        message.body = Bytes::from_owner(Counted(message.body, Arc::clone(&alive)));
        publisher.publish("t", message).await?;
        // Read one by one, so that the witness holds none.
        numbers(&mut witness, 1).await?;
    }

    until("no more than the limit is kept", async || {
        Arc::strong_count(&alive) <= 1 + 8
    })
    .await
}

/// A body that is counted as long as a copy of it exists.
struct Counted(
    Bytes,
    #[expect(dead_code, reason = "it is counted")] Arc<()>,
);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Publishing inside a receive loop stops neither of them.
pub async fn publishing_inside_a_receiver_loop(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut questions = provider.subscribe(topic("question")).await?;
    let mut answers = provider.subscribe(topic("answer")).await?;
    let answering = Arc::clone(&provider);
    let server = tokio::spawn(async move {
        for _ in 0..100 {
            let (_, question) = receive(&mut questions).await?;
            answering.publish("answer", question).await?;
        }
        Ok::<_, Failure>(())
    });

    for n in 0..100 {
        provider.publish("question", numbered(n)).await?;
        assert_eq!(numbers(&mut answers, 1).await?, [n]);
    }
    soon("answering", server).await??
}

fn items(items: usize) -> BufferLimits {
    let mut limits = BufferLimits::default();
    limits.items = items;
    limits
}

/// Reads until message `count - 1`, the last one, and asserts that each lag is as long as its gap.
/// Returns how many were missed, and how many received.
async fn account(subscription: &mut Subscription, count: usize) -> Result<(usize, usize), Failure> {
    let (mut next, mut missed, mut received) = (0, 0, 0);
    while next < count {
        match soon("recv", subscription.recv()).await?? {
            Incoming::Lagged { missed: Some(hole) } => {
                let hole = usize::try_from(hole)?;
                missed += hole;
                next += hole;
            }
            Incoming::Message(published) => {
                assert_eq!(
                    number(published.message())?,
                    next,
                    "a hole that no lag tells of"
                );
                received += 1;
                next += 1;
            }
            other => {
                return Err(format!("expected a message or an exact lag, got {other:?}").into());
            }
        }
    }
    Ok((missed, received))
}
