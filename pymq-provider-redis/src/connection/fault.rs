//! Why Redis did not do what it was asked: its error codes in our kinds and in words, with what to do about each.

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

    fn of_code(code: &str, details: &str) -> Self {
        let (kind, cause, remedy) = match code {
            "LOADING" => (
                ErrorKind::Disconnected,
                "the server is loading its data",
                Remedy::Wait,
            ),
            "MASTERDOWN" => (
                ErrorKind::Disconnected,
                "the replica has lost its master",
                Remedy::Wait,
            ),
            "CLUSTERDOWN" | "TRYAGAIN" => (
                ErrorKind::Disconnected,
                "the cluster is not ready",
                Remedy::Wait,
            ),
            "READONLY" => (
                ErrorKind::Disconnected,
                "the server is a read-only replica",
                Remedy::Reconnect,
            ),
            "OOM" => (
                ErrorKind::OutOfMemory,
                "the server is at its maxmemory",
                Remedy::None,
            ),
            "NOAUTH" => (ErrorKind::Auth, "the server wants a password", Remedy::None),
            "WRONGPASS" => (ErrorKind::Auth, "wrong user or password", Remedy::None),
            // Only our own hash-only call: an inner command without its right must not run the script twice.
            "NOPERM" if details.contains("'evalsha'") => {
                (ErrorKind::Permission, NO_RIGHT, Remedy::InFull)
            }
            "NOPERM" => (ErrorKind::Permission, NO_RIGHT, Remedy::None),
            "NOSCRIPT" => (
                ErrorKind::Provider,
                "the server does not know the script",
                Remedy::InFull,
            ),
            "WRONGTYPE" => (
                ErrorKind::WrongType,
                "the key holds something of another type",
                Remedy::None,
            ),
            "MISCONF" => (
                ErrorKind::Provider,
                "the server cannot save its data and refuses writes",
                Remedy::None,
            ),
            "MOVED" | "ASK" | "CROSSSLOT" => (
                ErrorKind::Unsupported,
                "the server is part of a cluster",
                Remedy::None,
            ),
            "BUSY" => (
                ErrorKind::Disconnected,
                "the server is busy with a script",
                Remedy::Wait,
            ),
            // To a command that was waiting when the server became a replica. It was not run.
            "UNBLOCKED" => (
                ErrorKind::Disconnected,
                "the server is no longer the one that writes",
                Remedy::Reconnect,
            ),
            // Nothing was written: the server has not enough replicas now.
            "NOREPLICAS" => (
                ErrorKind::Disconnected,
                "the server has not enough replicas to write",
                Remedy::Wait,
            ),
            // Redis 7.0 gives no code of its own to a right that is missing inside a script.
            _ if details.contains(SCRIPT_USER) => (ErrorKind::Permission, NO_RIGHT, Remedy::None),
            // Before version 7 the code of an error inside a script stands in the middle of the text.
            "ERR" if details.contains("user_script") => {
                match details.split([' ', '-']).find(|word| is_inner(word)) {
                    Some(inner) => return Self::of_code(inner, ""),
                    None => (ErrorKind::Provider, "a script failed", Remedy::None),
                }
            }
            _ if details.contains("maximum number of clients")
                || details.contains("max number of clients") =>
            {
                (
                    ErrorKind::Disconnected,
                    "the server is at its limit of clients",
                    Remedy::None,
                )
            }
            _ => (ErrorKind::Provider, "the server refused", Remedy::None),
        };
        Self {
            remedy,
            ..Self::new(kind, cause)
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

/// How Redis speaks of whoever runs a script without a right that a command in it needs: commands, keys, channels.
const SCRIPT_USER: &str = "user executing the script";

const NO_RIGHT: &str = "the user lacks a right (ACL)";

fn is_inner(word: &str) -> bool {
    matches!(
        word,
        "OOM" | "WRONGTYPE" | "NOPERM" | "READONLY" | "MISCONF"
    )
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: &str, details: &str) -> Fault {
        Fault::of_command(redis::make_extension_error(
            code.to_owned(),
            Some(details.to_owned()),
        ))
    }

    #[test]
    fn each_code_has_its_kind() {
        for (code, kind, remedy) in [
            ("LOADING", ErrorKind::Disconnected, Remedy::Wait),
            ("READONLY", ErrorKind::Disconnected, Remedy::Reconnect),
            ("OOM", ErrorKind::OutOfMemory, Remedy::None),
            ("NOAUTH", ErrorKind::Auth, Remedy::None),
            ("WRONGPASS", ErrorKind::Auth, Remedy::None),
            ("NOPERM", ErrorKind::Permission, Remedy::None),
            ("WRONGTYPE", ErrorKind::WrongType, Remedy::None),
            ("NOSCRIPT", ErrorKind::Provider, Remedy::InFull),
            ("MASTERDOWN", ErrorKind::Disconnected, Remedy::Wait),
            ("CLUSTERDOWN", ErrorKind::Disconnected, Remedy::Wait),
            ("TRYAGAIN", ErrorKind::Disconnected, Remedy::Wait),
            ("BUSY", ErrorKind::Disconnected, Remedy::Wait),
            ("NOREPLICAS", ErrorKind::Disconnected, Remedy::Wait),
            ("UNBLOCKED", ErrorKind::Disconnected, Remedy::Reconnect),
            ("MOVED", ErrorKind::Unsupported, Remedy::None),
            ("CROSSSLOT", ErrorKind::Unsupported, Remedy::None),
            ("MISCONF", ErrorKind::Provider, Remedy::None),
        ] {
            let fault = fault(code, "");

            assert_eq!((fault.kind, fault.remedy), (kind, remedy), "{code}");
        }
    }

    #[test]
    fn an_error_inside_a_script_of_an_old_server_keeps_its_kind() {
        let fault = fault(
            "ERR",
            "Error running script (call to f_1): @user_script:3: -OOM command not allowed",
        );

        assert_eq!(fault.kind, ErrorKind::OutOfMemory);
    }

    #[test]
    fn a_right_missing_inside_a_script_is_permission_on_every_version() {
        // 7.0, with and without the code that a script gives on; 6.2 and 7.2 say NOPERM.
        for text in [
            "ERR The user executing the script can't run this command or subcommand script: 12, on @user_script:1.",
            "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments",
            "The user executing the script can't publish to the channel mentioned in the command",
            "NOPERM The user executing the script can't run this command or subcommand",
        ] {
            assert_eq!(Fault::of_text(text).kind, ErrorKind::Permission, "{text}");
        }
    }

    #[test]
    fn only_the_hash_only_call_is_repeated_in_full() {
        let outer = fault(
            "NOPERM",
            "User u has no permissions to run the 'evalsha' command",
        );
        let inner = fault(
            "NOPERM",
            "User u has no permissions to run the 'rpush' command script: 12, on @user_script:1.",
        );

        assert_eq!((outer.remedy, inner.remedy), (Remedy::InFull, Remedy::None));
    }

    #[test]
    fn what_hinders_a_connection_is_told_apart() {
        use std::io::{Error, ErrorKind as Io};

        for (error, kind, word) in [
            (
                Error::other("failed to lookup address information: Name or service not known"),
                ErrorKind::Disconnected,
                "resolved",
            ),
            (
                Error::new(Io::NetworkUnreachable, "Network is unreachable"),
                ErrorKind::Disconnected,
                "reached",
            ),
            (
                Error::new(Io::ConnectionRefused, "Connection refused"),
                ErrorKind::Disconnected,
                "listens",
            ),
            (
                Error::new(Io::ConnectionReset, "Connection reset by peer"),
                ErrorKind::Disconnected,
                "hung up",
            ),
            (
                Error::new(Io::TimedOut, "timed out"),
                ErrorKind::Timeout,
                "in time",
            ),
            (
                Error::other("invalid peer certificate"),
                ErrorKind::Tls,
                "certificate",
            ),
        ] {
            let fault = Fault::of_connect(error.into(), false);
            assert_eq!(fault.kind, kind, "{fault}");
            assert!(fault.to_string().contains(word), "{fault}");
        }
    }

    #[test]
    fn a_broken_connection_leaves_the_outcome_open_and_a_refusal_does_not() {
        let broken: RedisError = std::io::Error::from(std::io::ErrorKind::BrokenPipe).into();

        let unknown = Fault::of_command(broken).into_error("redis: publish to `t`", "h:1");
        let refused = fault("OOM", "command not allowed").into_error("redis: put to `q`", "h:1");

        assert!(unknown.outcome_unknown() && unknown.kind() == ErrorKind::Disconnected);
        assert!(!refused.outcome_unknown());
        assert_eq!(
            refused.to_string(),
            "redis: put to `q`: the server is at its maxmemory (h:1): out of memory"
        );
    }
}
