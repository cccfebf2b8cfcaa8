//! Defects that only a law catches, or that show that it does.

use std::sync::Arc;

use async_trait::async_trait;
use pymq_core::Result;
use pymq_core::provider::{Filter, Provider, Subscription};

use super::each;
pub use super::leases::{extend_does_nothing, settles_one_by_one};
pub use super::messages::drops_empty_headers;
use crate::harness::Wrap;
use crate::twist::Twist;

/// A negated class is a plain class.
pub fn globs_know_no_negation() -> Wrap {
    each(|| NoNegation)
}

#[derive(Debug)]
struct NoNegation;

#[async_trait]
impl Twist for NoNegation {
    async fn subscribe(&self, inner: &Arc<dyn Provider>, filter: Filter) -> Result<Subscription> {
        let filter = match filter {
            Filter::Pattern(glob) => Filter::Pattern(glob.replace("[^", "[")),
            filter => filter,
        };
        inner.subscribe(filter).await
    }
}
