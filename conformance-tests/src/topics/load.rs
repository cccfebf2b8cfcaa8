//! Topics: many at once.

use tokio::task::JoinSet;

use crate::traffic::{numbered, numbers, topic};
use crate::wait::soon;
use crate::{Failure, Harness, Outcome};

/// Fifty topics with twenty subscribers each, spread over four handles: everybody gets what is theirs.
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
        assert_eq!(publisher.publish(&format!("t{n}"), numbered(n)).await?, 4);
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
