//! Many topics and subscribers at once.

use tokio::task::JoinSet;

use crate::traffic::{assert_reached, numbered, numbers, topic};
use crate::wait::soon;
use crate::{Failure, Harness, Outcome};

/// Fifty topics with twenty subscribers each, on four handles: each subscriber gets the messages of
/// its topic.
pub async fn many_topics_many_subscribers(h: &dyn Harness) -> Outcome {
    let publisher = h.connect().await?;
    let mut readers = JoinSet::new();
    let subscribers = [
        h.connect().await?,
        h.connect().await?,
        h.connect().await?,
        h.connect().await?,
    ];
    for provider in &subscribers {
        for n in 0..50 {
            for _ in 0..5 {
                let mut subscription = provider.subscribe(topic(&format!("t{n}"))).await?;
                readers.spawn(async move {
                    assert_eq!(numbers(&mut subscription, 2).await?, [n, n + 100]);
                    Ok::<_, Failure>(())
                });
            }
        }
    }

    for n in 0..50 {
        let reached = publisher.publish(&format!("t{n}"), numbered(n)).await?;
        assert_reached(&publisher, reached, 4);
    }
    for n in 0..50 {
        publisher
            .publish(&format!("t{n}"), numbered(n + 100))
            .await?;
    }

    let read = soon("reading", readers.join_all()).await?;
    assert_eq!(read.len(), 1_000);
    read.into_iter().collect()
}
