//! Dropped leases keep the place of their messages.

use pymq_core::provider::{GetOptions, Wait};

use crate::jobs::{LONG, at_most};
use crate::queues::in_order_with;
use crate::{Harness, Outcome};

/// A consumer that drops leases and takes at any moment gets the items in order, each once.
pub async fn leases_given_up_keep_the_order(h: &dyn Harness) -> Outcome {
    let lease = GetOptions::default().lease(LONG);
    let kinds = [
        lease.clone(),
        lease.clone().wait(Wait::Forever),
        lease.clone().max(at_most(3)),
        GetOptions::default(),
        lease.max(at_most(2)).wait(Wait::For(LONG)),
        GetOptions::default().max(at_most(2)).wait(Wait::Forever),
    ];

    in_order_with(h, &kinds).await
}
