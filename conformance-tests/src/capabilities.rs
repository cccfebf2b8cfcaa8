//! A declared capability works. A missing one is refused, and nothing is done.

use std::time::Duration;

use pymq_core::provider::{
    GetOptions, Part, Provider, PutOptions, QueueStats, Receipt, Redrive, Settle, Wait,
};
use pymq_core::{Error, ErrorKind};

use crate::traffic::{assert_reached, numbered, pattern, receive};
use crate::without::{Capability, without};
use crate::{Harness, Outcome};

/// Each declared capability works.
pub async fn every_declared_capability_works(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let declared = provider.capabilities();
    let get = GetOptions::default();
    if declared.patterns {
        let mut subscription = provider.subscribe(pattern("a*")).await?;
        provider.publish("ab", numbered(1)).await?;
        assert_eq!(
            receive(&mut subscription).await?,
            ("ab".into(), numbered(1))
        );
    }
    if declared.leases {
        provider
            .queue_put("leased", vec![numbered(2)], PutOptions::default())
            .await?;
        let taken = provider
            .queue_get("leased", get.clone().lease(Duration::from_secs(30)))
            .await?;
        let receipt = taken[0]
            .receipt
            .clone()
            .ok_or("a lease without a receipt")?;
        assert_eq!(
            provider.queue_stats("leased").await?,
            QueueStats::new(0, 0, 1, 0)
        );
        provider
            .queue_settle("leased", vec![(receipt, Settle::Ack)])
            .await?
            .remove(0)?;
        assert_eq!(provider.queue_stats("leased").await?, QueueStats::default());
    }
    if declared.delays {
        let delay = PutOptions::default().delay(Duration::from_millis(200));
        provider
            .queue_put("delayed", vec![numbered(3)], delay)
            .await?;
        assert_eq!(
            provider.queue_stats("delayed").await?,
            QueueStats::new(0, 1, 0, 0)
        );
        let taken = provider
            .queue_get(
                "delayed",
                get.clone().wait(Wait::For(Duration::from_secs(10))),
            )
            .await?;
        assert_eq!(taken[0].message, numbered(3));
    }
    if declared.durable {
        provider
            .queue_put("kept", vec![numbered(4)], PutOptions::default())
            .await?;
        provider.close().await?;
        drop(provider);
        let taken = h.connect().await?.queue_get("kept", get).await?;
        assert_eq!(taken[0].message, numbered(4));
    }
    Ok(())
}

/// A capability that is taken away is no longer declared, and all others still are.
pub async fn every_missing_capability_refuses(h: &dyn Harness) -> Outcome {
    let full = h.connect().await?;
    let declared = full.capabilities();
    for missing in [Capability::Patterns, Capability::Leases, Capability::Delays] {
        let provider = without(missing, h.connect().await?);

        for capability in [Capability::Patterns, Capability::Leases, Capability::Delays] {
            let expected = capability != missing && capability.is_in(declared);
            assert_eq!(
                capability.is_in(provider.capabilities()),
                expected,
                "{capability:?} without {missing:?}"
            );
        }
        provider
            .queue_put("q", vec![numbered(1)], PutOptions::default())
            .await?;
        assert_eq!(
            provider.queue_get("q", GetOptions::default()).await?.len(),
            1,
            "without {missing:?}"
        );
    }
    Ok(())
}

/// A subscription to a pattern is refused, and a publish does not reach it.
pub async fn missing_patterns_are_refused(h: &dyn Harness) -> Outcome {
    let provider = without(Capability::Patterns, h.connect().await?);

    refused(&*provider, "a*", provider.subscribe(pattern("a*")).await);

    let reached = provider.publish("ab", numbered(1)).await?;
    assert_reached(&provider, reached, 0);
    Ok(())
}

/// Everything that needs leases is refused: takes with a lease, settlements, and all operations on
/// dead letters.
pub async fn missing_leases_are_refused(h: &dyn Harness) -> Outcome {
    let provider = without(Capability::Leases, h.connect().await?);
    provider
        .queue_put("q", vec![numbered(1)], PutOptions::default())
        .await?;
    let lease = GetOptions::default().lease(Duration::from_secs(1));

    refused(
        &*provider,
        "q",
        provider.queue_get("q", lease.clone()).await,
    );
    refused(
        &*provider,
        "q",
        provider.queue_get("q", lease.wait(Wait::Forever)).await,
    );
    refused(
        &*provider,
        "q",
        provider
            .queue_settle("q", vec![(Receipt::new("any"), Settle::Ack)])
            .await,
    );
    refused(
        &*provider,
        "q",
        provider.queue_peek("q", Part::Dead, 1).await,
    );
    refused(&*provider, "q", provider.queue_clear("q", Part::Dead).await);
    refused(
        &*provider,
        "q",
        provider.queue_redrive("q", Redrive::All).await,
    );

    assert_eq!(
        provider.queue_stats("q").await?,
        QueueStats::new(1, 0, 0, 0)
    );
    Ok(())
}

/// A delayed put is refused as a whole. A put without a delay is not.
pub async fn missing_delays_are_refused(h: &dyn Harness) -> Outcome {
    let provider = without(Capability::Delays, h.connect().await?);
    let delay = PutOptions::default().delay(Duration::from_millis(1));

    refused(
        &*provider,
        "q",
        provider
            .queue_put("q", vec![numbered(1), numbered(2)], delay)
            .await,
    );
    refused(
        &*provider,
        "q",
        provider.queue_peek("q", Part::Delayed, 1).await,
    );
    refused(
        &*provider,
        "q",
        provider.queue_clear("q", Part::Delayed).await,
    );

    assert_eq!(provider.queue_stats("q").await?, QueueStats::default());
    provider
        .queue_put(
            "q",
            vec![numbered(1)],
            PutOptions::default().delay(Duration::ZERO),
        )
        .await?;
    assert_eq!(
        provider.queue_stats("q").await?,
        QueueStats::new(1, 0, 0, 0)
    );
    Ok(())
}

/// Asserts that the error is `Unsupported`, with the provider and the name in its text.
fn refused<T: std::fmt::Debug>(provider: &dyn Provider, name: &str, result: pymq_core::Result<T>) {
    let error: Error = result.expect_err("what is not declared was done");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("{}: ", provider.name())),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
}
