//! Why Redis did not do what it was asked: its error codes in our kinds and in words, with what to do about each.

mod codes;

use std::fmt;

use pymq_core::{Error, ErrorKind};
use redis::RedisError;

/// A failure, before it is known which operation of the user it spoils.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) remedy: Remedy,
    cause: &'static str,
    /// What was asked may have happened all the same.
    outcome_unknown: bool,
    source: Option<RedisError>,
}

/// What may help.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Remedy {
    /// Nothing we can do.
    None,
    /// The same again, a little later: it was not run.
    Wait,
    /// The same again on a new connection: it was not run.
    Reconnect,
    /// A new connection; whether it was run nobody knows.
    Lost,
    /// The whole script: only its hash was refused, or unknown.
    InFull,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, cause: &'static str) -> Self {
        Self {
            kind,
            remedy: Remedy::None,
            cause,
            outcome_unknown: false,
            source: None,
        }
    }

    /// No answer in time.
    pub(crate) fn timeout() -> Self {
        let fault = Self::new(ErrorKind::Timeout, "no answer in time");
        Self {
            outcome_unknown: true,
            remedy: Remedy::Lost,
            ..fault
        }
    }

    /// The connection ended while nothing was asked of it.
    pub(crate) fn lost() -> Self {
        let fault = Self::new(ErrorKind::Disconnected, "the connection broke");
        Self {
            remedy: Remedy::Lost,
            ..fault
        }
    }

    /// The connection was given up while a command was under way on it.
    pub(crate) fn given_up() -> Self {
        Self {
            outcome_unknown: true,
            ..Self::lost()
        }
    }

    /// The connection ended before the command was sent.
    pub(crate) fn not_sent() -> Self {
        Self {
            remedy: Remedy::Wait,
            ..Self::lost()
        }
    }

    /// There is no connection, and it is not known why.
    pub(crate) fn no_connection() -> Self {
        Self::new(ErrorKind::Disconnected, "no connection")
    }

    /// The provider was closed.
    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the provider was closed")
    }

    /// The same, now that it is known that the provider was closed.
    pub(crate) fn by_closing(self) -> Self {
        Self {
            outcome_unknown: self.outcome_unknown,
            ..Self::closed()
        }
    }

    /// Reads the failure of a command.
    pub(crate) fn of_command(error: RedisError) -> Self {
        let mut fault = Self::read(&error);
        fault.outcome_unknown = fault.remedy == Remedy::Lost;
        fault.source = Some(error);
        fault
    }

    /// Reads the text of an error that a script met and went on from.
    pub(crate) fn of_text(text: &str) -> Self {
        let (code, details) = text.split_once(' ').unwrap_or((text, ""));
        Self::of_code(code, details)
    }

    /// Reads the failure to connect, where there is nothing yet that may have happened.
    pub(crate) fn of_connect(error: RedisError, is_tls: bool) -> Self {
        let mut fault = Self::read(&error);
        let text = error.to_string();
        if text.contains("certificate") {
            (fault.kind, fault.cause) = (
                ErrorKind::Tls,
                "the certificate of the server is not trusted",
            );
        } else if is_tls && text.contains("InvalidContentType") {
            (fault.kind, fault.cause) = (
                ErrorKind::Tls,
                "the server does not speak TLS here, did you mean `redis://`?",
            );
        } else if is_unresolved(&text) {
            (fault.kind, fault.cause) = (
                ErrorKind::Disconnected,
                "the name of the host cannot be resolved",
            );
        } else if text.contains("unreachable") {
            fault.cause = "the host or its network cannot be reached";
        } else if error.is_connection_refusal() {
            fault.cause = "nobody listens there";
        } else if error.is_timeout() && is_tls {
            (fault.kind, fault.cause) = (
                ErrorKind::Timeout,
                "no answer in time; if the server does not speak TLS here, use `redis://`",
            );
        } else if error.is_timeout() {
            (fault.kind, fault.cause) = (ErrorKind::Timeout, "no answer in time");
        } else if !is_tls && fault.remedy == Remedy::Lost {
            fault.cause =
                "the server hung up; is it a TLS port (`rediss://`), or at its limit of clients?";
        }
        fault.source = Some(error);
        fault
    }

    /// The same, where nothing was asked of which the outcome could be unknown.
    pub(crate) fn known(mut self) -> Self {
        self.outcome_unknown = false;
        self
    }

    /// Turns it into the user's error: what was tried, what went wrong, where.
    pub(crate) fn into_error(self, context: &str, address: &str) -> Error {
        let mut error = Error::new(self.kind, format!("{context}: {} ({address})", self.cause));
        if let Some(source) = self.source {
            error = error.with_source(source);
        }
        if self.outcome_unknown {
            error.with_outcome_unknown()
        } else {
            error
        }
    }

    fn read(error: &RedisError) -> Self {
        let server_errors = error.clone().into_server_errors();
        if let Some((_, first)) = server_errors.as_deref().and_then(<[_]>::first) {
            return Self::of_code(first.code(), first.details().unwrap_or_default());
        }
        match error.kind() {
            redis::ErrorKind::AuthenticationFailed => {
                Self::new(ErrorKind::Auth, "wrong user or password")
            }
            redis::ErrorKind::RESP3NotSupported => Self::new(ErrorKind::Unsupported, TOO_OLD),
            redis::ErrorKind::InvalidClientConfig => {
                Self::new(ErrorKind::InvalidConfig, "unusable configuration")
            }
            redis::ErrorKind::Server(_) => {
                Self::new(ErrorKind::InvalidConfig, "the server refuses the database")
            }
            redis::ErrorKind::Io | redis::ErrorKind::Parse => Self::lost(),
            _ => Self::new(ErrorKind::Provider, "an answer nobody expected"),
        }
    }
}

/// Tells whether the system found no address for the host: it says so in words only.
fn is_unresolved(text: &str) -> bool {
    const WORDS: [&str; 4] = [
        "failed to lookup address",
        "Name or service not known",
        "No address found",
        "name resolution",
    ];
    WORDS.iter().any(|word| text.contains(word))
}

/// What a server before 6.2 is told.
pub(crate) const TOO_OLD: &str = "the server is older than Redis 6.2";

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause)
    }
}

#[cfg(test)]
mod tests;
