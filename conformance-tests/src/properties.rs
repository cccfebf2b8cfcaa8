//! V: laws that hold for whatever a user may do, tried on generated cases.
//!
//! The cases come from fixed seeds; `PYMQ_TEST_SEED` moves them. A failure names its seed and, where time is paused, the
//! smallest case that still fails.

mod actor;
mod cases;
mod model;
mod payloads;
mod scripts;
mod values;

pub use self::payloads::*;
pub use self::scripts::*;
