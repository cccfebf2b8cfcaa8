//! [`Fault`]: why Redis did not run a command, with the error kind, the cause and what may help.

mod codes;

use std::borrow::Cow;
use std::sync::Arc;
use std::{fmt, io};

use pymq_core::{Error, ErrorKind};

use super::dialer::Place;
use crate::slot::Slot;

/// A failure, before it is known which operation of the user it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) remedy: Remedy,
    cause: Cow<'static, str>,
    /// The command may have run.
    outcome_unknown: bool,
    source: Option<Arc<Source>>,
    /// The server, if it is not the one of the URL.
    node: Option<Arc<str>>,
}

/// What the server or the system said.
#[derive(Debug)]
enum Source {
    Reply(String),
    Io(io::Error),
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
    /// Send the command to another node of the cluster, see [`Redirection`]: it was not run.
    Redirect,
    /// Open a new connection. The command was not run, or its outcome is unknown.
    Lost,
    /// Send the full script: the server refused its hash or does not know it.
    FullScript,
}

/// What a node of a cluster says about a slot that is not its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Redirection {
    pub(super) slot: Slot,
    /// The host may be empty: then it is that of the node itself.
    pub(super) to: Place,
    /// The slot is still on its way there: ask for it each time.
    pub(super) must_ask: bool,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, cause: &'static str) -> Self {
        Self {
            kind,
            remedy: Remedy::None,
            cause: Cow::Borrowed(cause),
            outcome_unknown: false,
            source: None,
            node: None,
        }
    }

    /// Returns the same fault with the address of the server that it is about, unless it has one.
    pub(crate) fn at(self, node: &str) -> Self {
        Self {
            node: Some(self.node.unwrap_or_else(|| node.into())),
            ..self
        }
    }

    /// Tells whether the command may have run.
    pub(crate) fn may_have_run(&self) -> bool {
        self.outcome_unknown
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

    /// The connection ended before a command was sent.
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

    /// The command has written, and too few replicas have that in time.
    pub(crate) fn not_replicated(replicas: usize, needed: usize) -> Self {
        let cause = format!("in the queue, but only {replicas} of {needed} replicas have it");
        Self {
            cause: Cow::Owned(cause),
            outcome_unknown: true,
            ..Self::new(ErrorKind::Timeout, "")
        }
    }

    /// Returns the same fault of the `WAIT` behind a command that has written.
    pub(crate) fn after_write(self) -> Self {
        Self {
            outcome_unknown: true,
            // So only a command that does no harm when it runs twice is sent again.
            remedy: Remedy::Lost,
            ..self
        }
    }

    /// The connection broke while a command was in flight.
    pub(crate) fn broken(error: io::Error) -> Self {
        Self {
            source: Some(Arc::new(Source::Io(error))),
            ..Self::abandoned()
        }
    }

    /// The server sent something that is not its protocol.
    pub(crate) fn malformed() -> Self {
        let error = io::Error::new(io::ErrorKind::InvalidData, "not the protocol of Redis");
        Self::broken(error)
    }

    /// The answer has another form than the command has.
    pub(crate) fn unexpected() -> Self {
        Self::new(ErrorKind::Provider, "the server sent an unexpected answer")
    }

    /// Reads an error that the server sent as an answer.
    pub(crate) fn of_reply(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let fault = Self::of_text(&text);
        Self {
            source: Some(Arc::new(Source::Reply(text.into_owned()))),
            ..fault
        }
    }

    /// Reads the text of an error that a script caught.
    pub(crate) fn of_text(text: &str) -> Self {
        let (code, details) = text.split_once(' ').unwrap_or((text, ""));
        Self::of_code(code, details)
    }

    /// Reads the error of an attempt to connect.
    pub(crate) fn of_connect(error: io::Error, is_tls: bool) -> Self {
        let text = error.to_string();
        let (kind, cause) = if text.contains("certificate") {
            (
                ErrorKind::Tls,
                "the certificate of the server is not trusted",
            )
        } else if is_tls && text.contains("InvalidContentType") {
            (
                ErrorKind::Tls,
                "the server does not speak TLS here: use `redis://`",
            )
        } else if is_unresolved(&text) {
            (
                ErrorKind::Disconnected,
                "the host name cannot be resolved: check the address",
            )
        } else if text.contains("unreachable") {
            (
                ErrorKind::Disconnected,
                "the host or its network cannot be reached",
            )
        } else if matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        ) {
            (
                ErrorKind::Disconnected,
                "no server listens there: check the address, and that the server runs",
            )
        } else if error.kind() == io::ErrorKind::TimedOut {
            return Self::connect_timeout(is_tls);
        } else if is_tls {
            (ErrorKind::Disconnected, "the connection broke")
        } else {
            (ErrorKind::Disconnected, CLOSED_AT_ONCE)
        };
        Self {
            remedy: Remedy::Lost,
            source: Some(Arc::new(Source::Io(error))),
            ..Self::new(kind, cause)
        }
    }

    /// The server did not answer an attempt to connect in time.
    pub(crate) fn connect_timeout(is_tls: bool) -> Self {
        let cause = if is_tls {
            "no answer in time; if the server does not speak TLS here, use `redis://`"
        } else {
            "no answer in time"
        };
        Self {
            remedy: Remedy::Lost,
            ..Self::new(ErrorKind::Timeout, cause)
        }
    }

    /// Returns the same fault for a connection that was not introduced yet.
    pub(crate) fn while_connecting(self, is_tls: bool) -> Self {
        let is_broken = self.remedy == Remedy::Lost && self.kind == ErrorKind::Disconnected;
        let fault = self.with_known_outcome();
        if is_broken && !is_tls {
            Self {
                cause: Cow::Borrowed(CLOSED_AT_ONCE),
                ..fault
            }
        } else {
            fault
        }
    }

    /// Returns the same fault for the choice of the database.
    pub(crate) fn while_selecting(self) -> Self {
        if self.kind != ErrorKind::Provider {
            return self;
        }
        Self {
            kind: ErrorKind::InvalidConfig,
            cause: Cow::Borrowed("the server refuses the database: check its number"),
            ..self
        }
    }

    /// Tells whether the server does not know the command.
    pub(crate) fn is_unknown_command(&self) -> bool {
        let Some(Source::Reply(text)) = self.source.as_deref() else {
            return false;
        };
        text.starts_with("NOPROTO") || text.starts_with("ERR unknown command")
    }

    /// Returns the same fault for a case without an unknown outcome: no command was in flight.
    pub(crate) fn with_known_outcome(mut self) -> Self {
        self.outcome_unknown = false;
        self
    }

    /// Returns where the command must go instead, if the node said so.
    pub(super) fn redirection(&self) -> Option<Redirection> {
        let Some(Source::Reply(text)) = self.source.as_deref() else {
            return None;
        };
        let mut words = text.split(' ');
        let must_ask = match words.next()? {
            "ASK" => true,
            "MOVED" => false,
            _ => return None,
        };
        let slot = Slot::from_number(words.next()?.parse().ok()?)?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        Some(Redirection {
            slot,
            to: (host.to_owned(), port.parse().ok()?),
            must_ask,
        })
    }

    /// Tells whether the connection was lost before the command was sent.
    pub(crate) fn is_unsent(&self) -> bool {
        self.remedy == Remedy::Lost && !self.outcome_unknown
    }

    /// Converts it to the user's error: the operation, the cause, and the address of the server.
    pub(crate) fn into_error(self, context: &str, address: &str) -> Error {
        let at = match &self.node {
            Some(node) => format!("{node}, {address}"),
            None => address.to_owned(),
        };
        let mut error = Error::new(self.kind, format!("{context}: {} ({at})", self.cause));
        if let Some(source) = self.source {
            error = error.with_source(source);
        }
        if self.outcome_unknown {
            error.with_outcome_unknown()
        } else {
            error
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

const CLOSED_AT_ONCE: &str = "the server closed the connection; is it a TLS port (use `rediss://`), \
    or at its limit of clients?";

/// The cause for a slot that another node owns.
const HAS_MOVED: &str = "the slot belongs to another node of the cluster";

/// The cause for a server before 6.2.
pub(crate) const TOO_OLD: &str = "the server is older than Redis 6.2: upgrade it";

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(text) => f.write_str(text),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Source {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

#[cfg(test)]
mod tests;
