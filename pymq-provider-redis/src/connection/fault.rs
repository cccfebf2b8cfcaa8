//! [`Fault`]: why Redis did not run a command, with the error kind, the cause and what may help.

mod codes;

use std::fmt;

use pymq_core::{Error, ErrorKind};
use redis::RedisError;

/// A failure, before it is known which operation of the user it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) remedy: Remedy,
    cause: &'static str,
    /// The command may have run.
    outcome_unknown: bool,
    source: Option<RedisError>,
}

/// What may help.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Remedy {
    /// Nothing that the provider can do.
    None,
    /// Send the command again a little later: it was not run.
    Wait,
    /// Send the command again on a new connection: it was not run.
    Reconnect,
    /// Open a new connection. Whether the command was run is unknown.
    Lost,
    /// Send the full script: the server refused its hash or does not know it.
    FullScript,
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

    /// The server did not answer in time.
    pub(crate) fn timeout() -> Self {
        let fault = Self::new(ErrorKind::Timeout, "no answer in time");
        Self {
            outcome_unknown: true,
            remedy: Remedy::Lost,
            ..fault
        }
    }

    /// The connection ended while no command was in flight.
    pub(crate) fn lost() -> Self {
        let fault = Self::new(ErrorKind::Disconnected, "the connection broke");
        Self {
            remedy: Remedy::Lost,
            ..fault
        }
    }

    /// The connection was abandoned while a command was in flight.
    pub(crate) fn abandoned() -> Self {
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

    /// There is no connection, and the cause is not known.
    pub(crate) fn no_connection() -> Self {
        Self::new(ErrorKind::Disconnected, "no connection to the server")
    }

    /// The provider was closed.
    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the provider was closed")
    }

    /// Returns the same fault, caused by the close of the provider.
    pub(crate) fn into_closed(self) -> Self {
        Self {
            outcome_unknown: self.outcome_unknown,
            ..Self::closed()
        }
    }

    /// Reads the error of a command.
    pub(crate) fn of_command(error: RedisError) -> Self {
        let mut fault = Self::read(&error);
        fault.outcome_unknown = fault.remedy == Remedy::Lost;
        fault.source = Some(error);
        fault
    }

    /// Reads the text of an error that a script caught.
    pub(crate) fn of_text(text: &str) -> Self {
        let (code, details) = text.split_once(' ').unwrap_or((text, ""));
        Self::of_code(code, details)
    }

    /// Reads the error of an attempt to connect. No command was sent, so no outcome is unknown.
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
                "the server does not speak TLS here: use `redis://`",
            );
        } else if is_unresolved(&text) {
            (fault.kind, fault.cause) = (
                ErrorKind::Disconnected,
                "the host name cannot be resolved: check the address",
            );
        } else if text.contains("unreachable") {
            fault.cause = "the host or its network cannot be reached";
        } else if error.is_connection_refusal() {
            fault.cause = "no server listens there: check the address, and that the server runs";
        } else if error.is_timeout() && is_tls {
            (fault.kind, fault.cause) = (
                ErrorKind::Timeout,
                "no answer in time; if the server does not speak TLS here, use `redis://`",
            );
        } else if error.is_timeout() {
            (fault.kind, fault.cause) = (ErrorKind::Timeout, "no answer in time");
        } else if !is_tls && fault.remedy == Remedy::Lost {
            fault.cause = "the server closed the connection; is it a TLS port (use `rediss://`), \
                or at its limit of clients?";
        }
        fault.source = Some(error);
        fault
    }

    /// Returns the same fault for a case without an unknown outcome: no command was in flight.
    pub(crate) fn with_known_outcome(mut self) -> Self {
        self.outcome_unknown = false;
        self
    }

    /// Converts it to the user's error: the operation, the cause, and the address of the server.
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
                Self::new(ErrorKind::InvalidConfig, "the configuration cannot be used")
            }
            redis::ErrorKind::Server(_) => Self::new(
                ErrorKind::InvalidConfig,
                "the server refuses the database: check its number",
            ),
            redis::ErrorKind::Io | redis::ErrorKind::Parse => Self::lost(),
            _ => Self::new(ErrorKind::Provider, "the server sent an unexpected answer"),
        }
    }
}

/// Tells whether the system found no address for the host. Only the text of the error says so.
fn is_unresolved(text: &str) -> bool {
    const WORDS: [&str; 4] = [
        "failed to lookup address",
        "Name or service not known",
        "No address found",
        "name resolution",
    ];
    WORDS.iter().any(|word| text.contains(word))
}

/// The cause for a server before 6.2.
pub(crate) const TOO_OLD: &str = "the server is older than Redis 6.2: upgrade it";

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause)
    }
}

#[cfg(test)]
mod tests;
