//! Events that are published soon, on a provider that breaks its contract.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pymq_core::provider::Provider;
use pymq_core::{Bus, ErrorKind};

use crate::settling::slow::Slow;

#[tokio::test]
async fn an_event_without_an_outcome_has_failed() {
    let provider = Slow::connect().await;
    provider.forgets.store(true, Ordering::Relaxed);
    let bus = Bus::new(Arc::clone(&provider) as Arc<dyn Provider>);
    for n in 0..3 {
        bus.topic("t").publish_nowait(&n).await.expect("room");
    }

    let flushed = bus.flush().await;

    assert_eq!(flushed.unwrap_err().kind(), ErrorKind::Provider);
    assert_eq!(bus.stats().unpublished, 1);
    provider.forgets.store(false, Ordering::Relaxed);
    bus.topic("t").publish_nowait(&3).await.expect("room");
    bus.flush().await.expect("each event has an outcome");
}
