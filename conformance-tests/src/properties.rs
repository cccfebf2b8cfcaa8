//! V: laws that hold for every use, tried on generated cases.
//!
//! The cases come from fixed seeds, which `PYMQ_TEST_SEED` moves; `PYMQ_TEST_CASES` sets how many there are of each law. A
//! failure names its seed and, where time is paused, the smallest case that still fails.

mod actor;
mod cases;
mod model;
mod payloads;
#[cfg(feature = "python")]
mod python;
mod scripts;
mod values;

pub use self::payloads::*;
#[cfg(feature = "python")]
pub use self::python::*;
pub use self::scripts::*;
