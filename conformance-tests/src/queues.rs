//! A queue hands each item to one taker, first in, first out.
//!
//! `join`, a waiting `put`, `close` and `is_full` are policy above the seam. The behaviors of the
//! typed layer show them.

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
