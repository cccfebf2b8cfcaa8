//! [`Meta`]: the `__pymq` member of a frame, with everything about a message that Python does not
//! know.

use std::fmt;
use std::time::Duration;

use pymq_core::Headers;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use super::Extra;

/// The member as JSON. Default values are left out, and unknown fields are ignored.
#[derive(Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default)]
pub(super) struct Meta {
    #[serde(skip_serializing_if = "is_default")]
    attempt: u32,
    #[serde(skip_serializing_if = "is_default")]
    headers: Map,
    /// In milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    timeout: Option<u64>,
    /// In milliseconds of the server's clock.
    #[serde(skip_serializing_if = "is_default")]
    begin_by: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    claim: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    opaque: bool,
    #[serde(skip_serializing_if = "is_default")]
    only: bool,
    #[serde(skip_serializing_if = "is_default")]
    server: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) enc: Option<Enc>,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) form: Option<Form>,
    /// The text that was cut out of a body in object form, and its offset.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) cut: Option<(usize, String)>,
}

/// The encoding of the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub(super) enum Enc {
    /// Opaque bytes.
    #[serde(rename = "base64")]
    Base64,
    /// A body in JSON encoding that Python cannot read.
    #[serde(rename = "base64/json")]
    Base64Json,
}

/// What the members of a frame do not tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    /// The body is `{"__obj": V}` itself, not V.
    Obj,
}

impl Meta {
    pub(super) fn with(headers: &Headers, extra: &Extra) -> Self {
        Self {
            attempt: extra.attempt,
            headers: Map(headers.clone()),
            timeout: extra
                .timeout
                .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            begin_by: extra.begin_by,
            claim: extra.claim.clone(),
            opaque: extra.is_opaque,
            only: extra.is_only,
            server: extra.server.clone(),
            ..Self::default()
        }
    }

    pub(super) fn into_parts(self) -> (Headers, Extra) {
        let timeout = self.timeout.map(Duration::from_millis);
        (
            self.headers.0,
            Extra {
                attempt: self.attempt,
                timeout,
                begin_by: self.begin_by,
                claim: self.claim,
                is_opaque: self.opaque,
                is_only: self.only,
                server: self.server,
            },
        )
    }
}

/// Headers as a JSON object in their own order.
#[derive(Debug, Default, PartialEq)]
struct Map(Headers);

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Map;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of strings to strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Map, A::Error> {
                let mut headers = Vec::new();
                while let Some(header) = map.next_entry::<String, String>()? {
                    headers.push(header);
                }
                Ok(Map(headers.into_iter().collect()))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
