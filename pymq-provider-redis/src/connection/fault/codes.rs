//! Error codes of Redis, read as faults.

use pymq_core::ErrorKind;

use super::{Fault, Remedy};

impl Fault {
    pub(super) fn of_code(code: &str, details: &str) -> Self {
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

/// How Redis speaks of whoever runs a script without a right that a command in it needs: commands, keys, channels.
const SCRIPT_USER: &str = "user executing the script";

const NO_RIGHT: &str = "the user lacks a right (ACL)";

fn is_inner(word: &str) -> bool {
    matches!(
        word,
        "OOM" | "WRONGTYPE" | "NOPERM" | "READONLY" | "MISCONF"
    )
}
