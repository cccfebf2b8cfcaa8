//! The error type of the bus.
//!
//! Programs act on [`Error::kind`], people read `Display`, and error reporters follow `source()`.
//! Each fact appears once, so `Display` does not repeat the source.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::remote_error::RemoteError;
use crate::text::cut;

/// The result of an operation on the bus.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on the bus failed.
///
/// # Examples
///
/// ```
/// use pymq::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Timeout, "redis: put to `jobs`");
///
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "redis: put to `jobs`: timed out");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

/// Boxed, so that a `Result` stays small on the hot paths.
#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    context: Box<str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    outcome_unknown: bool,
    payload: Option<Bytes>,
    remote: Option<RemoteError>,
}

/// The category of an [`Error`], on which a caller can act.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operation did not finish within its time.
    Timeout,
    /// The provider cannot be reached, or the connection was lost.
    Disconnected,
    /// The bus, the queue handle or the subscription was closed.
    Closed,
    /// The process-wide bus was used before `init`.
    NotInitialized,
    /// The process-wide bus exists already.
    AlreadyInitialized,
    /// The queue holds as many messages as its limit allows.
    Full,
    /// The lease has ended: the message was settled, or the lease expired.
    LeaseLost,
    /// No server exposes a function of that name.
    NoSuchRemote,
    /// This bus already exposes a function of that name.
    AlreadyExposed,
    /// The remote function ran and failed; see [`Error::remote`].
    Remote,
    /// The server has too many waiting requests; the function did not run.
    Overloaded,
    /// A value could not be encoded, or a payload could not be decoded; see [`Error::payload`].
    Codec,
    /// The payload is larger than the limit; nothing was sent.
    TooLarge,
    /// A name is empty, too long or reserved, or contains control characters.
    InvalidName,
    /// A configuration, a URL or a limit of a queue is invalid.
    InvalidConfig,
    /// The provider does not have the capability.
    Unsupported,
    /// The credentials are wrong or missing.
    Auth,
    /// The credentials are right but do not permit this operation.
    Permission,
    /// The encrypted connection could not be established.
    Tls,
    /// The server holds data of another type under this name.
    WrongType,
    /// The server has no memory left for new data.
    OutOfMemory,
    /// Any other failure of the provider.
    Provider,
}

impl Error {
    /// Creates an error of a kind. The context is the operation and the name that it concerns, such
    /// as ``"redis: put to `jobs`"``.
    pub fn new(kind: ErrorKind, context: impl Into<Box<str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            context: context.into(),
            source: None,
            outcome_unknown: false,
            payload: None,
            remote: None,
        }))
    }

    /// Adds the cause, which `source()` returns and `Display` does not show.
    ///
    /// If the text of the cause, or of one of its own causes, is longer than 1,024 bytes, the
    /// beginning of the joined texts is kept instead of the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        let causes =
            std::iter::successors(Some(&*source as &dyn StdError), |&error| error.source());
        let texts: Vec<String> = causes.map(ToString::to_string).collect();
        self.0.source = Some(
            if texts.iter().any(|text| matches!(cut(text), Cow::Owned(_))) {
                // A cause may print a whole document.
                let texts = texts.join(": ");
                Arc::from(Box::<dyn StdError + Send + Sync>::from(cut(&texts)))
            } else {
                Arc::from(source)
            },
        );
        self
    }

    /// Marks that the operation may have taken effect although it failed.
    #[must_use]
    pub fn with_outcome_unknown(mut self) -> Self {
        self.0.outcome_unknown = true;
        self
    }

    /// Adds the raw payload that the error is about.
    #[must_use]
    pub fn with_payload(mut self, payload: Bytes) -> Self {
        self.0.payload = Some(payload);
        self
    }

    /// Creates the error of a call to a remote function that failed.
    pub fn from_remote(context: impl Into<Box<str>>, remote: RemoteError) -> Self {
        let mut error = Self::new(remote.kind(), context);
        error.0.remote = Some(remote);
        error
    }

    /// Returns the category.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Tells whether the same call may succeed later.
    ///
    /// [`NoSuchRemote`](ErrorKind::NoSuchRemote) is retryable, because the function did not run and
    /// a server may start. If the name is wrong, every retry fails, so limit the retries.
    ///
    /// Before you repeat a `put` or a `publish`, check [`outcome_unknown`](Self::outcome_unknown).
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Timeout
                | ErrorKind::Disconnected
                | ErrorKind::Full
                | ErrorKind::Overloaded
                | ErrorKind::NoSuchRemote
                | ErrorKind::OutOfMemory
        )
    }

    /// Tells whether the operation may have taken effect although it failed, as after a timeout.
    pub fn outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }

    /// Returns the raw payload that could not be decoded.
    pub fn payload(&self) -> Option<&Bytes> {
        self.0.payload.as_ref()
    }

    /// Returns the failure that the remote function reported.
    pub fn remote(&self) -> Option<&RemoteError> {
        self.0.remote.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", cut(&self.0.context), self.0.kind)?;
        if let Some(remote) = &self.0.remote {
            write!(f, ": {remote}")?;
        }
        if self.0.outcome_unknown {
            f.write_str(" (outcome unknown)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_pretty = f.alternate();
        let mut debug = f.debug_struct("Error");
        debug
            .field("kind", &self.0.kind)
            .field("context", &cut(&self.0.context));
        if let Some(source) = &self.0.source {
            // A source may hold more than it displays.
            let text = if is_pretty {
                format!("{source:#?}")
            } else {
                format!("{source:?}")
            };
            debug.field("source", &format_args!("{}", cut(&text)));
        }
        if let Some(remote) = &self.0.remote {
            debug.field("remote", remote);
        }
        if let Some(payload) = &self.0.payload {
            debug.field("payload_bytes", &payload.len());
        }
        debug
            .field("outcome_unknown", &self.0.outcome_unknown)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timed out",
            Self::Disconnected => "disconnected",
            Self::Closed => "closed",
            Self::NotInitialized => "not initialized, call `pymq::init` first",
            Self::AlreadyInitialized => "already initialized, call `pymq::shutdown` first",
            Self::Full => "full",
            Self::LeaseLost => "lease lost, it expired or was settled before",
            Self::NoSuchRemote => "no such remote, no server exposes it",
            Self::AlreadyExposed => "already exposed",
            Self::Remote => "remote failed",
            Self::Overloaded => "the server is overloaded, retry later",
            Self::Codec => "invalid data",
            Self::TooLarge => "too large",
            Self::InvalidName => "invalid name",
            Self::InvalidConfig => "invalid configuration",
            Self::Unsupported => "not supported by the provider",
            Self::Auth => "authentication failed",
            Self::Permission => "permission denied",
            Self::Tls => "TLS failed",
            Self::WrongType => "the server holds data of another type",
            Self::OutOfMemory => "out of memory",
            Self::Provider => "provider failed",
        })
    }
}

/// Converts the result of a receiver into the item of its `Stream`.
///
/// `Closed` is the end of the stream; other errors are items.
pub(crate) fn end_of_stream<T>(received: Result<T>) -> Option<Result<T>> {
    match received {
        Err(error) if error.kind() == ErrorKind::Closed => None,
        received => Some(received),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Much longer than the part of a text that is kept.
    const HUGE: usize = 3_000_000;

    /// An error with a short `Display`, a long `Debug` and any cause.
    #[derive(Debug)]
    struct LongDebug {
        _document: String,
        cause: Option<Error>,
    }

    impl fmt::Display for LongDebug {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("short")
        }
    }

    impl StdError for LongDebug {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.cause.as_ref().map(|cause| cause as _)
        }
    }

    /// Returns every text of an error and of all its causes.
    fn texts(error: &Error) -> Vec<String> {
        let mut texts = vec![format!("{error:?}"), format!("{error:#?}")];
        let mut cause = Some(error as &dyn StdError);
        while let Some(error) = cause {
            texts.push(error.to_string());
            cause = error.source();
        }
        texts
    }

    #[test]
    fn no_text_of_an_error_is_huge() {
        let huge = "ä".repeat(HUGE / 2);
        let long_debug = |cause| LongDebug {
            _document: huge.clone(),
            cause,
        };
        let long = || Error::new(ErrorKind::Codec, huge.clone());
        let remote = RemoteError::new(huge.clone(), huge.clone());
        for error in [
            long(),
            long().with_source(huge.clone()),
            long().with_source(long().with_source(huge.clone())),
            Error::new(ErrorKind::Codec, "a").with_source(long_debug(None)),
            Error::new(ErrorKind::Codec, "a").with_source(long_debug(Some(long()))),
            Error::from_remote(huge.clone(), remote.clone()),
            Error::new(ErrorKind::Codec, "a").with_source(remote.clone()),
            Error::new(ErrorKind::Codec, "a").with_payload(Bytes::from(huge.clone())),
        ] {
            for text in texts(&error) {
                assert!(text.len() < 8_192, "{} bytes", text.len());
            }
        }
        assert!(format!("{remote:?} {remote:#?} {remote}").len() < 8_192);
    }

    #[test]
    fn a_short_cause_is_kept_as_it_is() {
        let cause = Error::new(ErrorKind::Closed, "get").with_source("gone");

        let error = Error::new(ErrorKind::Codec, "a").with_source(cause);

        let kept = error.source().and_then(|it| it.downcast_ref::<Error>());
        assert_eq!(kept.map(Error::kind), Some(ErrorKind::Closed));
        assert!(format!("{error:?}").contains("gone"));
    }
}
