//! Defects in the delay of a failed item.

pub use super::delays::ignores_the_delay_of_a_nack;
