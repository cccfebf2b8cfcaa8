//! V: laws that hold for whatever a user may do, tried on generated cases.
//!
//! The cases come from fixed seeds, which `PYMQ_TEST_SEED` moves; `PYMQ_TEST_CASES` sets how many there are of each law. A
//! failure names its seed and, where time is paused, the smallest case that still fails.

mod actor;
mod cases;
mod model;
mod payloads;
mod python;
mod scripts;
mod values;

pub use self::payloads::*;
pub use self::python::*;
pub use self::scripts::*;
