//! Q: a queue hands each item to one taker, first in, first out.
//!
//! What `join`, a waiting `put`, `close` and `is_full` add is policy above the seam: the typed layer shows it.

mod bounds;
mod given_up;
mod order;
mod parts;
mod payloads;
mod sharing;
mod waiting;

pub use self::bounds::*;
pub(crate) use self::given_up::in_order_with;
pub use self::given_up::takes_given_up_keep_the_order;
pub use self::order::*;
pub use self::parts::*;
pub use self::payloads::*;
pub use self::sharing::*;
pub use self::waiting::*;
