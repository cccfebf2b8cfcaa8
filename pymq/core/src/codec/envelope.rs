//! Removes the envelope of a payload, as Python does: only at the top level, and without looking
//! at the tag.

use std::borrow::Cow;

use serde::de::{Error as _, IgnoredAny};
use serde_json::Error;

use super::json::{LIST, OBJ, Object, TYPE};

/// Returns the value inside an envelope, or a text without an envelope unchanged. The text must be
/// an object.
pub(super) fn open(text: &str) -> Result<Cow<'_, str>, Error> {
    let object = Object::scan(text)
        .filter(Object::is_strict)
        .ok_or_else(|| syntax_error(text))?;
    if let Some(content) = object.get(OBJ).or_else(|| object.get(LIST)) {
        return Ok(Cow::Borrowed(content));
    }
    if object.position(TYPE).is_none() {
        return Ok(Cow::Borrowed(text));
    }

    let mut rest = String::with_capacity(text.len());
    for member in object.members() {
        if !object.is_named(member, TYPE) {
            rest.push_str(if rest.is_empty() { "{" } else { "," });
            rest.push_str(&text[member.key.clone()]);
            rest.push(':');
            rest.push_str(&text[member.value.clone()]);
        }
    }
    rest.push_str(if rest.is_empty() { "{}" } else { "}" });
    Ok(Cow::Owned(rest))
}

/// Returns what `serde_json` says about a text that is not an object.
fn syntax_error(text: &str) -> Error {
    let parsed = serde_json::from_str::<IgnoredAny>(text);
    parsed
        .err()
        .unwrap_or_else(|| Error::custom("not an object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_obj_counts_before_any_list_and_the_tag_is_ignored() {
        for (text, value) in [
            (r#"{"__obj": 5}"#, "5"),
            (r#"{"__list": [1], "__type": 7}"#, "[1]"),
            (
                r#"{"__obj": 1, "__list": [2], "__obj": {"__type": 3}}"#,
                r#"{"__type": 3}"#,
            ),
            (r#"{"\u005f_obj": 1}"#, "1"),
            (r#"{"a": 1, "_b": 2}"#, r#"{"a": 1, "_b": 2}"#),
            (
                r#"{"__type": "no.Such", "a" : [1, 2],"b":"__type"}"#,
                r#"{"a":[1, 2],"b":"__type"}"#,
            ),
            (r#"{"a": 1, "__type": null, "__type": 2}"#, r#"{"a":1}"#),
            (r#"{"__type": "m.Empty"}"#, "{}"),
        ] {
            assert_eq!(open(text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn the_removed_envelope_must_be_json_too() {
        for text in [
            r#"{"__obj": 5, "x": NaN}"#,
            r#"{"__obj": 5"#,
            r#"{"__obj": 5} 6"#,
            r#"{"__type": x, "a": 1}"#,
        ] {
            assert!(open(text).is_err(), "{text}");
        }
    }
}
