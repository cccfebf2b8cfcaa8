//! The error for an unknown name.

use crate::error::{Error, ErrorKind};

/// Creates the error for an unknown name. It suggests the nearest known name, or lists all of them.
pub(super) fn unknown(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'static str> + Clone,
) -> Error {
    let nearest = known
        .clone()
        .min_by_key(|candidate| strsim::damerau_levenshtein(candidate, name));
    let hint = match nearest {
        Some(nearest) if strsim::damerau_levenshtein(nearest, name) <= 2 + nearest.len() / 4 => {
            format!("did you mean `{nearest}`?")
        }
        _ => format!(
            "known: {}",
            known
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    Error::new(
        ErrorKind::InvalidConfig,
        format!("unknown {what} `{name}` ({hint})"),
    )
}
