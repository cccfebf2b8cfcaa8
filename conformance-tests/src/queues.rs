//! Q: a queue hands each item to one taker, first in, first out.
//!
//! What `join`, a waiting `put`, `close` and `is_full` add is policy above the seam: the typed layer shows it.

mod bounds;
mod order;
mod parts;
mod payloads;
mod sharing;
mod waiting;

pub use self::bounds::*;
pub use self::order::*;
pub use self::parts::*;
pub use self::payloads::*;
pub use self::sharing::*;
pub use self::waiting::*;
