//! A lease hides a message from other takers until it is settled or ends. No leased message is
//! lost.

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
