//! Remote calls: what callers and servers say to each other.

mod remote_error;

pub use self::remote_error::RemoteError;
