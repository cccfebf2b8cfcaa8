//! Reads the error codes of Redis.

use pymq_core::ErrorKind;

use super::{Fault, HAS_MOVED, Remedy};

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
                "the server has reached its `maxmemory`",
                Remedy::None,
            ),
            "NOAUTH" => (
                ErrorKind::Auth,
                "the server requires a password",
                Remedy::None,
            ),
            "WRONGPASS" => (ErrorKind::Auth, "wrong user or password", Remedy::None),
            // Only our own call by hash. A missing right inside the script must not run the script
            // twice.
            "NOPERM" if details.contains("'evalsha'") => {
                (ErrorKind::Permission, NO_RIGHT, Remedy::FullScript)
            }
            "NOPERM" => (ErrorKind::Permission, NO_RIGHT, Remedy::None),
            "NOSCRIPT" => (
                ErrorKind::Provider,
                "the server does not know the script",
                Remedy::FullScript,
            ),
            "WRONGTYPE" => (
                ErrorKind::WrongType,
                "the key holds a value of another type",
                Remedy::None,
            ),
            "MISCONF" => (
                ErrorKind::Provider,
                "the server cannot save its data and refuses writes",
                Remedy::None,
            ),
            "MOVED" | "ASK" => (ErrorKind::Disconnected, HAS_MOVED, Remedy::Redirect),
            "CROSSSLOT" => (
                ErrorKind::Provider,
                "the keys belong to different slots of the cluster",
                Remedy::None,
            ),
            "BUSY" => (
                ErrorKind::Disconnected,
                "the server is busy with a slow script",
                Remedy::Wait,
            ),
            // The answer to a command that blocked when the server became a replica. It was not
            // run.
            "UNBLOCKED" => (
                ErrorKind::Disconnected,
                "the server has become a replica",
                Remedy::Reconnect,
            ),
            // Nothing was written: the server has too few replicas now.
            "NOREPLICAS" => (
                ErrorKind::Disconnected,
                "the server has too few replicas to accept writes",
                Remedy::Wait,
            ),
            // Redis 7.0 has no error code for a right that is missing inside a script.
            _ if details.contains(SCRIPT_USER) || details.contains(SCRIPT_FAILURE) => {
                (ErrorKind::Permission, NO_RIGHT, Remedy::None)
            }
            // Before version 7, the code of an error inside a script is in the middle of the text.
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
                    "the server is at its limit of clients: raise `maxclients`",
                    Remedy::None,
                )
            }
            _ => (
                ErrorKind::Provider,
                "the server refused the command",
                Remedy::None,
            ),
        };
        Self {
            remedy,
            ..Self::new(kind, cause)
        }
    }
}

/// The words of Redis for a right that a command inside a script needs and the user lacks.
const SCRIPT_USER: &str = "user executing the script";

/// The words of Valkey 9 for the same.
const SCRIPT_FAILURE: &str = "ACL failure in script";

const NO_RIGHT: &str = "the user lacks a right: check its ACL";

fn is_inner(word: &str) -> bool {
    matches!(
        word,
        "OOM" | "WRONGTYPE" | "NOPERM" | "READONLY" | "MISCONF"
    )
}
