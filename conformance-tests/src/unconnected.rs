//! A bus that is connected after its handles were made.

mod attached;
mod held;

pub use self::attached::*;
pub use self::held::*;
