//! Faults in what makes a failed item wait.

pub use super::delays::ignores_the_delay_of_a_nack;
