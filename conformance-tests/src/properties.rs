//! Laws that hold for every use, tested on generated cases.
//!
//! The cases come from fixed seeds. `PYMQ_TEST_SEED` shifts them, and `PYMQ_TEST_CASES` sets the
//! number of cases for each law. A failure names its seed. On a paused clock it also names the
//! smallest case that still fails.

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
