//! The failure of a remote function as data, which travels to the caller.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ErrorKind, Result};
use crate::text::cut;

/// Why a remote function failed, as its server reports it.
///
/// A Python caller gets `RemoteInvocationError(type_name, *args)`. An exception of a Python server
/// arrives here with its type name and its arguments.
///
/// # Examples
///
/// ```
/// use pymq::rpc::RemoteError;
///
/// let error = RemoteError::new("KeyError", "no such user");
///
/// assert_eq!(error.to_string(), "KeyError: no such user");
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct RemoteError {
    type_name: String,
    message: String,
    /// A JSON array, as on the wire.
    args: Bytes,
}

/// The type name that says: the function did not run, because too many requests are waiting.
const OVERLOADED: &str = "Overloaded";

/// The type name that says: the function did not run, because the server does not expose it.
const NO_SUCH_REMOTE: &str = "NoSuchRemote";

impl RemoteError {
    /// Creates an error with a message as its only argument.
    ///
    /// Use the names of Python's exceptions where they fit: `ValueError`, `TypeError`, `KeyError`,
    /// `RuntimeError`.
    #[expect(clippy::missing_panics_doc, reason = "it never panics")]
    pub fn new(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        let args = crate::codec::to_json(&[&message]).expect("a string is always valid JSON");
        Self {
            type_name: type_name.into(),
            message,
            args,
        }
    }

    /// Creates an error with several arguments, given as a tuple, array or vector.
    ///
    /// # Errors
    ///
    /// [`Codec`](crate::ErrorKind::Codec) when they cannot be written as a JSON array.
    pub fn with_args(type_name: impl Into<String>, args: &impl Serialize) -> Result<Self> {
        let args = crate::codec::to_json(args)?;
        Self::from_wire(type_name, args)
    }

    /// Creates an error from the JSON array of its arguments, as a provider reads it.
    ///
    /// # Errors
    ///
    /// [`Codec`](crate::ErrorKind::Codec) when `args` is not a JSON array.
    pub fn from_wire(type_name: impl Into<String>, args: Bytes) -> Result<Self> {
        let items: Vec<Box<serde_json::value::RawValue>> = crate::codec::from_json(&args)?;
        let shown: Vec<String> = items
            .iter()
            .map(|item| serde_json::from_str(item.get()).unwrap_or_else(|_| item.get().to_owned()))
            .collect();
        Ok(Self {
            type_name: type_name.into(),
            message: shown.join(", "),
            args,
        })
    }

    /// Creates the error of a server that has too many waiting requests.
    pub fn overloaded() -> Self {
        Self::new(OVERLOADED, "too many requests are waiting")
    }

    /// Creates the error of a server that no longer exposes the function.
    pub fn no_such_remote() -> Self {
        Self::new(NO_SUCH_REMOTE, "the function is no longer exposed")
    }

    /// Returns the type of the error: the name of a Python exception, or of the Rust function's
    /// choice.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Returns the arguments as readable text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Decodes the arguments.
    ///
    /// # Errors
    ///
    /// [`Codec`](crate::ErrorKind::Codec) when they do not fit `T`.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T> {
        crate::codec::from_json(&self.args)
    }

    /// Returns the JSON array of arguments.
    pub fn args_json(&self) -> &Bytes {
        &self.args
    }

    /// Returns the kind of the [`Error`](crate::Error) that the caller gets.
    pub(crate) fn kind(&self) -> ErrorKind {
        match &*self.type_name {
            OVERLOADED => ErrorKind::Overloaded,
            NO_SUCH_REMOTE => ErrorKind::NoSuchRemote,
            _ => ErrorKind::Remote,
        }
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return f.write_str(&cut(&self.type_name));
        }
        write!(f, "{}: {}", cut(&self.type_name), cut(&self.message))
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteError")
            .field("type_name", &cut(&self.type_name))
            .field("message", &cut(&self.message))
            .finish_non_exhaustive()
    }
}

impl std::error::Error for RemoteError {}
