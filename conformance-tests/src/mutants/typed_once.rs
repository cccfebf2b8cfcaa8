//! Faults in puts that may be repeated.

pub use super::queues::ignores_once;
