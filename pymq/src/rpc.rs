//! Remote calls: what callers and servers say to each other.

mod args;
mod remote_error;
mod reply;

pub use self::args::{Args, Params};
pub use self::remote_error::RemoteError;
pub use self::reply::{IntoReply, Json};
