//! The rules for names of topics, queues and remotes.
//!
//! Names are checked once, where they enter the library.

use crate::error::{Error, ErrorKind, Result};

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 512;

/// The prefix of names that the library uses itself, such as those of reply inboxes.
pub const RESERVED_PREFIX: &str = "__rpc_";

/// The longest namespace, in characters.
pub const MAX_NAMESPACE: usize = 64;

/// The ends of the keys that a provider stores beside a queue.
const RESERVED_ENDS: [&str; 3] = [":v1:delayed", ":v1:leases", ":v1:dead"];

/// The parts of such keys that an id follows.
const RESERVED_PARTS: [&str; 3] = [":v1:lease:", ":v1:once:", ":v1:claim:"];

/// Checks a namespace, which a provider puts before every name.
///
/// Few characters are allowed, so that a namespace and a name together are unambiguous. If `:` were
/// allowed, the queue `jobs` in `a:b` and the queue `b:jobs` in `a` would have the same key.
///
/// # Errors
///
/// [`ErrorKind::InvalidConfig`] unless it has 1 to 64 characters of `A-Za-z0-9._-`.
///
/// # Examples
///
/// ```
/// assert!(pymq::name::check_namespace("shop-2.test").is_ok());
/// assert!(pymq::name::check_namespace("shop:test").is_err());
/// ```
pub fn check_namespace(namespace: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=MAX_NAMESPACE).contains(&namespace.len()) && namespace.bytes().all(is_plain) {
        return Ok(());
    }
    // In a URL with a password that was not escaped, it may be a part of the password.
    let is_hidden = namespace.contains(['@', '=']);
    let shown = if is_hidden {
        "***".to_owned()
    } else {
        shown(namespace)
    };
    Err(Error::new(
        ErrorKind::InvalidConfig,
        format!("namespace `{shown}`: use 1 to 64 characters of `A-Za-z0-9._-`"),
    ))
}

/// Checks the name of a topic, pattern, queue or remote.
///
/// # Errors
///
/// [`ErrorKind::InvalidName`] for a name that
///
/// - is empty or longer than 512 bytes,
/// - contains a control character,
/// - starts with the reserved prefix `__rpc_`, or
/// - could be a key that a provider stores beside a queue: it ends with `:v1:delayed`, `:v1:leases`
///   or `:v1:dead`, or contains `:v1:lease:`, `:v1:once:` or `:v1:claim:`.
///
/// # Examples
///
/// ```
/// assert!(pymq::name::check("orders/new").is_ok());
/// assert!(pymq::name::check("").is_err());
/// ```
pub fn check(name: &str) -> Result<()> {
    if is_plain(name) {
        return Ok(());
    }
    let fault = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "it is longer than 512 bytes"
    } else if name.chars().any(char::is_control) {
        "it contains a control character"
    } else if name.starts_with(RESERVED_PREFIX) {
        "the prefix `__rpc_` is reserved"
    } else if !name.contains(":v1:") {
        // Nearly all names. So each of them is searched once.
        return Ok(());
    } else if RESERVED_ENDS.iter().any(|end| name.ends_with(end))
        || RESERVED_PARTS.iter().any(|part| name.contains(part))
    {
        "`:v1:` and the name of a part of a queue are reserved"
    } else {
        return Ok(());
    };
    let shown = shown(name);
    Err(Error::new(
        ErrorKind::InvalidName,
        format!("name `{shown}`: {fault}"),
    ))
}

/// Tells whether a name is of the common kind, to which no rule applies.
fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('_')
        && name.bytes().all(is_plain)
}

fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_bytes_not_characters() {
        assert!(check(&"é".repeat(256)).is_ok());
        assert!(check(&"é".repeat(257)).is_err());
    }

    #[test]
    fn control_characters_and_the_reserved_prefix_are_refused() {
        for name in ["a\nb", "\u{0}", "\u{7f}", "\u{85}", "__rpc_x"] {
            assert_eq!(
                check(name).map_err(|e| e.kind()),
                Err(ErrorKind::InvalidName),
                "{name:?}"
            );
        }
        assert!(check("a__rpc_").is_ok());
    }

    #[test]
    fn a_name_that_could_be_a_key_beside_a_queue_is_refused() {
        for part in ["delayed", "leases", "dead", "lease:1", "once:1", "claim:1"] {
            let name = format!("k{{1}}:v1:{part}");
            let kind = check(&name).map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::InvalidName), "{name}");
        }
        for name in [
            "dead",
            "v1:dead",
            "a:v2:dead",
            "a:v1:deadline",
            "a:v1",
            "a:v1:",
        ] {
            assert!(check(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_namespace_is_a_plain_word() {
        for namespace in ["a", "global", "Shop-2.test_x", &"a".repeat(64)] {
            assert!(check_namespace(namespace).is_ok(), "{namespace}");
        }
        for namespace in [
            "",
            "a:b",
            "a*",
            "a b",
            "a\n",
            "\u{e9}",
            "{a}",
            &"a".repeat(65),
        ] {
            let kind = check_namespace(namespace).map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::InvalidConfig), "{namespace:?}");
        }
    }
}
