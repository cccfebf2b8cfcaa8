//! R: a lease hides a message from others until it is settled or ends; nothing leased is ever lost.

mod dead_letters;
mod ending;
mod given_back;
mod given_up;
mod held;
mod receipts;

pub use self::dead_letters::*;
pub use self::ending::*;
pub use self::given_back::*;
pub use self::given_up::*;
pub use self::held::*;
pub use self::receipts::*;
