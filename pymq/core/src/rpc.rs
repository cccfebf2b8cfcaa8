//! Remote calls: stubs on the side of the caller, remotes on the side of the server.

mod args;
mod function;
mod remote;
mod reply;
mod responses;
mod skeleton;
mod slots;
mod stub;

pub use self::args::{Args, Params};
pub use self::function::{CallMeta, RemoteFunction};
pub use self::remote::Remote;
pub use self::reply::{IntoReply, Json};
pub use self::responses::Responses;
pub use self::stub::Stub;
pub use crate::remote_error::RemoteError;
