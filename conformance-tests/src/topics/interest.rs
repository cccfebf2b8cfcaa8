//! When a subscription begins, and when it ends.

use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use pymq_core::provider::Provider;

use crate::traffic::{assert_reached, numbered, numbers, receive, topic};
use crate::wait::{soon, until};
use crate::{Failure, Harness, Outcome};

/// A message that any handle publishes after `subscribe` has returned is received, every time.
pub async fn subscribe_is_a_barrier(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    for round in 0..200 {
        let name = format!("t{}", round % 7);
        let mut subscription = subscriber.subscribe(topic(&name)).await?;

        let reached = publisher.publish(&name, numbered(round)).await?;
        assert_reached(&publisher, reached, 1);

        assert_eq!(numbers(&mut subscription, 1).await?, [round]);
    }
    Ok(())
}

/// A dropped subscription ends at the backend too.
pub async fn drop_unsubscribes(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let subscription = subscriber.subscribe(topic("t")).await?;
    let reached = publisher.publish("t", numbered(1)).await?;
    assert_reached(&publisher, reached, 1);

    drop(subscription);

    gone(&publisher, "t").await
}

/// After `unsubscribe` has returned, no publish reaches it, every time.
pub async fn unsubscribe_is_a_barrier(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    for round in 0..100 {
        let subscription = subscriber.subscribe(topic("t")).await?;

        soon("unsubscribe", subscription.unsubscribe()).await?;

        let reached = publisher.publish("t", numbered(round)).await?;
        assert_reached(&publisher, reached, 0);
    }
    Ok(())
}

/// Two subscriptions of one handle are independent: the end of one is not the end of the other.
pub async fn dropping_one_of_two_keeps_the_other(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let mut kept = subscriber.subscribe(topic("t")).await?;
    for round in 0..50 {
        let dropped = subscriber.subscribe(topic("t")).await?;
        if round % 2 == 0 {
            drop(dropped);
        } else {
            soon("unsubscribe", dropped.unsubscribe()).await?;
        }

        let reached = publisher.publish("t", numbered(round)).await?;
        assert_reached(&publisher, reached, 1);
        assert_eq!(numbers(&mut kept, 1).await?, [round]);
    }
    Ok(())
}

/// The end of one subscription does not overtake the beginning of the next.
pub async fn resubscribe_after_drop(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    for round in 0..100 {
        drop(subscriber.subscribe(topic("t")).await?);
        let mut again = subscriber.subscribe(topic("t")).await?;

        let reached = publisher.publish("t", numbered(round)).await?;
        assert_reached(&publisher, reached, 1);
        assert_eq!(numbers(&mut again, 1).await?, [round]);
    }
    Ok(())
}

/// Each reads at its own pace, and receives everything.
pub async fn two_subscriptions_same_topic_same_connection(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut one = provider.subscribe(topic("t")).await?;
    provider.publish("t", numbered(0)).await?;
    let mut other = provider.subscribe(topic("t")).await?;
    provider.publish("t", numbered(1)).await?;
    provider.publish("t", numbered(2)).await?;

    assert_eq!(numbers(&mut other, 2).await?, [1, 2]);
    assert_eq!(numbers(&mut one, 3).await?, [0, 1, 2]);
    Ok(())
}

/// Subscribing and unsubscribing during publishes disturbs no other subscription.
pub async fn unsubscribe_while_publishing(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let mut steady = subscriber.subscribe(topic("t")).await?;
    let publishing = async {
        for n in 0..300 {
            publisher.publish("t", numbered(n)).await?;
            tokio::task::yield_now().await;
        }
        Ok::<_, pymq_core::Error>(())
    };
    let coming_and_going = async {
        for round in 0..100 {
            let mut subscription = subscriber.subscribe(topic("t")).await?;
            // The publisher may have finished. If something is received, it is a message.
            if let Poll::Ready(incoming) = poll!(Box::pin(subscription.recv())) {
                incoming?;
            }
            if round % 2 == 0 {
                subscription.unsubscribe().await;
            }
        }
        Ok::<_, pymq_core::Error>(())
    };

    let (sent, came_and_went) = soon("publishing", async {
        tokio::join!(publishing, coming_and_going)
    })
    .await?;

    sent?;
    came_and_went?;
    assert_eq!(
        numbers(&mut steady, 300).await?,
        (0..300).collect::<Vec<_>>()
    );
    Ok(())
}

/// A dropped `subscribe` leaves no subscription behind.
pub async fn cancelled_subscribe_leaves_nothing(h: &dyn Harness) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    for polls in 0..10 {
        let mut subscribing = Box::pin(subscriber.subscribe(topic("t")));
        for _ in 0..polls {
            if poll!(&mut subscribing).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(subscribing);
    }

    gone(&publisher, "t").await?;
    let mut subscription = subscriber.subscribe(topic("t")).await?;
    publisher.publish("t", numbered(1)).await?;
    assert_eq!(receive(&mut subscription).await?.1, numbered(1));
    Ok(())
}

/// Waits until the topic has no subscriber.
async fn gone(publisher: &Arc<dyn Provider>, topic: &str) -> Result<(), Failure> {
    until("no subscriber is reached", async || {
        publisher
            .publish(topic, numbered(0))
            .await
            .is_ok_and(|reached| reached == 0)
    })
    .await
}
