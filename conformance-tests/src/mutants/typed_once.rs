//! Defects in puts that may be repeated.

pub use super::queues::{always_says_new, ignores_once, ignores_the_window};
