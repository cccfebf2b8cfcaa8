//! Defects below a worker.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::Result;
use pymq_core::provider::{Delivery, GetOptions, Provider};

use super::each;
pub use super::leases::{
    bury_is_an_ack, cancelled_lease_is_held, extend_does_nothing,
    lease_is_a_get as acks_before_work, never_sweeps, no_owner_token, release_counts_an_attempt,
    settles_one_by_one,
};
use crate::harness::Wrap;
use crate::twist::Twist;

/// A take returns more than was requested.
pub fn hoards() -> Wrap {
    each(|| Hoarding)
}

#[derive(Debug)]
struct Hoarding;

#[async_trait]
impl Twist for Hoarding {
    async fn queue_get(
        &self,
        inner: &Arc<dyn Provider>,
        queue: &str,
        opts: GetOptions,
    ) -> Result<Vec<Delivery>> {
        let max = opts.max.saturating_add(100);
        inner.queue_get(queue, opts.max(max)).await
    }
}
