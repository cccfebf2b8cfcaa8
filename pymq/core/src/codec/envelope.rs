//! Removes the envelope of a payload, as Python does: only at the top level, and without looking
//! at the tag.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Error;
use serde_json::value::RawValue;

use super::{LIST, OBJ, TYPE};

/// Returns the value inside an envelope, or a text without an envelope unchanged. The text must be
/// an object.
pub(super) fn open(text: &str) -> Result<Cow<'_, str>, Error> {
    let Members(members) = serde_json::from_str(text)?;
    // If a key repeats, the last one counts.
    let last = |name| {
        members
            .iter()
            .rfind(|(key, _)| spells(key, name))
            .map(|(_, value)| value.get())
    };
    if let Some(content) = last(OBJ).or_else(|| last(LIST)) {
        return Ok(Cow::Borrowed(content));
    }
    if last(TYPE).is_none() {
        return Ok(Cow::Borrowed(text));
    }

    let mut object = String::with_capacity(text.len());
    for (key, value) in members.iter().filter(|(key, _)| !spells(key, TYPE)) {
        object.push_str(if object.is_empty() { "{" } else { "," });
        object.push_str(key.get());
        object.push(':');
        object.push_str(value.get());
    }
    object.push_str(if object.is_empty() { "{}" } else { "}" });
    Ok(Cow::Owned(object))
}

/// Tells whether a JSON key is this name. The key may be written with escapes.
fn spells(key: &RawValue, name: &str) -> bool {
    let quoted = key.get();
    let plain = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    plain == Some(name)
        || quoted.contains('\\')
            && serde_json::from_str::<String>(quoted).is_ok_and(|key| key == name)
}

/// The members of an object, as written in the text.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
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
