//! What may name a topic, a queue or a remote: checked once at the edge, so that nothing inside has
//! to ask again.

use crate::error::{Error, ErrorKind, Result};

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 512;

/// What names of our own start with: reply inboxes, claims and the like.
pub const RESERVED_PREFIX: &str = "__rpc_";

/// Checks a name of a topic, pattern, queue or remote.
///
/// # Errors
///
/// [`ErrorKind::InvalidName`] when it is empty, over 512 bytes, has control characters, or starts with
/// the reserved `__rpc_`.
///
/// # Examples
///
/// ```
/// assert!(pymq::name::check("orders/new").is_ok());
/// assert!(pymq::name::check("").is_err());
/// ```
pub fn check(name: &str) -> Result<()> {
    let fault = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "it is longer than 512 bytes"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else if name.starts_with(RESERVED_PREFIX) {
        "the prefix `__rpc_` is reserved"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    Err(Error::new(
        ErrorKind::InvalidName,
        format!("name `{shown}`: {fault}"),
    ))
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
}
