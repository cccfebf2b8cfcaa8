//! Topics fan out, at most once, in order for each publisher.

mod interest;
mod load;
mod order;

use std::sync::Arc;

use pymq_core::provider::Incoming;
use pymq_core::{Message, Published};

pub use self::interest::*;
pub use self::load::*;
pub use self::order::*;

use crate::traffic::{assert_reached, numbered, numbers, receive, topic};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// Body and topic arrive unchanged.
pub async fn delivers_to_subscriber(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut subscription = provider.subscribe(topic("news")).await?;

    let reached = provider.publish("news", Message::json("[1, 2]")).await?;

    assert_reached(&provider, reached, 1);
    let expected = Incoming::Message(Published::new("news", Message::json("[1, 2]")));
    assert_eq!(soon("recv", subscription.recv()).await??, expected);
    Ok(())
}

/// Two subscriptions of one connection and one of another all receive everything.
pub async fn delivers_to_every_subscriber(h: &dyn Harness) -> Outcome {
    let (one, other) = (h.connect().await?, h.connect().await?);
    let mut subscriptions = [
        one.subscribe(topic("t")).await?,
        one.subscribe(topic("t")).await?,
        other.subscribe(topic("t")).await?,
    ];

    for n in 0..10 {
        one.publish("t", numbered(n)).await?;
    }

    for subscription in &mut subscriptions {
        assert_eq!(
            numbers(subscription, 10).await?,
            (0..10).collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// No message crosses from one name to another, however similar they are.
pub async fn routes_by_topic(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let names = ["orders", "orders.new", "order", "Orders", "orders "];
    let mut subscriptions = Vec::new();
    for name in names {
        subscriptions.push(provider.subscribe(topic(name)).await?);
    }

    for (n, name) in names.into_iter().enumerate() {
        provider.publish(name, numbered(n)).await?;
        provider.publish(name, numbered(n + 100)).await?;
    }

    for (n, subscription) in subscriptions.iter_mut().enumerate() {
        assert_eq!(numbers(subscription, 2).await?, [n, n + 100]);
    }
    Ok(())
}

/// A publish without subscribers succeeds and returns 0.
pub async fn publish_without_subscribers_reports_zero(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let _elsewhere = provider.subscribe(topic("other")).await?;

    let reached = provider.publish("t", numbered(1)).await?;
    assert_reached(&provider, reached, 0);
    Ok(())
}

/// Each handle counts once for a topic, however many subscriptions it has.
pub async fn publish_reports_nonzero_when_reached(h: &dyn Harness) -> Outcome {
    let (one, other) = (h.connect().await?, h.connect().await?);
    let publisher = h.connect().await?;
    let _first = one.subscribe(topic("t")).await?;
    let reached = publisher.publish("t", numbered(1)).await?;
    assert_reached(&publisher, reached, 1);

    let _second = one.subscribe(topic("t")).await?;
    let reached = publisher.publish("t", numbered(2)).await?;
    assert_reached(&publisher, reached, 1);

    let _third = other.subscribe(topic("t")).await?;
    let reached = publisher.publish("t", numbered(3)).await?;
    assert_reached(&publisher, reached, 2);
    Ok(())
}

/// Messages of one batch arrive in their order, and each is counted for its own topic.
pub async fn publish_all_keeps_order_and_counts_each(h: &dyn Harness) -> Outcome {
    const MESSAGES: usize = 2_000;
    let (subscriber, publisher) = (h.connect().await?, h.connect().await?);
    let mut subscription = subscriber.subscribe(topic("t")).await?;
    let (heard, unheard): (Arc<str>, Arc<str>) = ("t".into(), "u".into());
    assert!(publisher.publish_all(Vec::new()).await.is_empty());

    for first in (0..MESSAGES).step_by(500) {
        let messages = (first..first + 500).flat_map(|n| {
            let message = numbered(n);
            [
                (Arc::clone(&heard), message.clone()),
                (Arc::clone(&unheard), message),
            ]
        });
        let reached = publisher.publish_all(messages.collect()).await;
        let reached = reached.into_iter().collect::<Result<Vec<_>, _>>()?;

        assert_eq!(reached.len(), 1_000);
        for pair in reached.chunks(2) {
            assert_reached(&publisher, pair[0], 1);
            assert_reached(&publisher, pair[1], 0);
        }
        let expected: Vec<usize> = (first..first + 500).collect();
        assert_eq!(numbers(&mut subscription, 500).await?, expected);
    }
    Ok(())
}

/// A message that was published before a subscription is not delivered to it.
pub async fn no_delivery_before_subscribe(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    provider.publish("t", numbered(1)).await?;

    let mut subscription = provider.subscribe(topic("t")).await?;
    provider.publish("t", numbered(2)).await?;

    assert_eq!(numbers(&mut subscription, 1).await?, [2]);
    Ok(())
}

/// A handle receives what it publishes itself, and so does another handle.
pub async fn self_delivery(h: &dyn Harness) -> Outcome {
    let (one, other) = (h.connect().await?, h.connect().await?);
    let mut own = one.subscribe(topic("t")).await?;
    let mut others = other.subscribe(topic("t")).await?;

    one.publish("t", numbered(1)).await?;

    assert_eq!(numbers(&mut own, 1).await?, [1]);
    assert_eq!(numbers(&mut others, 1).await?, [1]);
    Ok(())
}

/// A body of 1 MiB arrives whole.
pub async fn large_message(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut subscription = provider.subscribe(topic("t")).await?;
    let message = Message::json(format!("\"{}\"", "x".repeat(1 << 20)));

    provider.publish("t", message.clone()).await?;

    // Compared by hand, because a failed assertion would print the body twice.
    assert!(
        receive(&mut subscription).await?.1 == message,
        "the body is another"
    );
    Ok(())
}

/// An empty body is a message.
pub async fn empty_body(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut subscription = provider.subscribe(topic("t")).await?;

    provider.publish("t", Message::bytes("")).await?;

    assert_eq!(
        receive(&mut subscription).await?,
        ("t".into(), Message::bytes(""))
    );
    Ok(())
}

/// No character has a special meaning in the name of a topic.
pub async fn exact_name_with_glob_characters_is_literal(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    for (name, look_alike) in [
        ("a*c", "abc"),
        ("a?c", "abc"),
        ("a[bx]c", "abc"),
        (r"a\bc", "abc"),
        ("*", "abc"),
    ] {
        let mut subscription = provider.subscribe(topic(name)).await?;

        let reached = provider.publish(look_alike, numbered(1)).await?;
        assert_reached(&provider, reached, 0);
        let reached = provider.publish(name, numbered(2)).await?;
        assert_reached(&provider, reached, 1);

        assert_eq!(
            receive(&mut subscription).await?,
            (name.into(), numbered(2))
        );
    }
    Ok(())
}

/// The longest name, and names that are not ASCII.
pub async fn long_and_unicode_names(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    for name in [
        "n".repeat(512),
        "größe/Ω/火".into(),
        "with space: and {braces} \"quoted\"".into(),
    ] {
        let mut subscription = provider.subscribe(topic(&name)).await?;

        provider.publish(&name, numbered(1)).await?;

        assert_eq!(receive(&mut subscription).await?, (name, numbered(1)));
    }
    Ok(())
}

/// Two namespaces of one backend are isolated.
pub async fn namespaces_are_isolated(h: &dyn Harness) -> Outcome {
    let (here, elsewhere) = (h.connect().await?, h.connect_elsewhere().await?);
    let mut subscription_here = here.subscribe(topic("t")).await?;
    let mut subscription_elsewhere = elsewhere.subscribe(topic("t")).await?;

    let reached = here.publish("t", numbered(1)).await?;
    assert_reached(&here, reached, 1);
    let reached = elsewhere.publish("t", numbered(2)).await?;
    assert_reached(&elsewhere, reached, 1);

    assert_eq!(numbers(&mut subscription_here, 1).await?, [1]);
    assert_eq!(numbers(&mut subscription_elsewhere, 1).await?, [2]);
    Ok(())
}
