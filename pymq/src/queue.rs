//! Queues: named lists of work where each item goes to one taker.

mod local;

pub(crate) use self::local::LocalQueues;
