//! T: topics fan out, at most once, in order for each publisher.

use pymq::Message;
use pymq::provider::{Filter, Incoming};

use crate::traffic::{numbered, numbers, topic};
use crate::wait::soon;
use crate::{Harness, Outcome};

/// Body and topic arrive unchanged.
pub async fn delivers_to_subscriber(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut subscription = provider.subscribe(Filter::Topic("news".into())).await?;

    let reached = provider.publish("news", Message::json("[1, 2]")).await?;

    assert_eq!(reached, 1);
    let expected = Incoming::Message {
        topic: "news".into(),
        message: Message::json("[1, 2]"),
    };
    assert_eq!(soon("recv", subscription.recv()).await??, expected);
    Ok(())
}

/// Two subscriptions of one connection and one of another all get everything.
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
