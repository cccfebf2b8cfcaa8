//! What crosses the seam: headers, an encoding and a body.
//!
//! A message has no id and no timestamp. It holds exactly what its sender wrote.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// What a provider carries from a sender to a receiver.
///
/// Cheap to clone: the body is reference counted, and most messages have no headers.
///
/// # Examples
///
/// ```
/// use pymq::message::{Encoding, Message};
///
/// let message = Message::json(r#"{"id": 1}"#).with_header("trace", "af01");
///
/// assert_eq!(message.encoding, Encoding::Json);
/// assert_eq!(message.headers.get("trace"), Some("af01"));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// What the sender adds to the body, as names and values.
    pub headers: Headers,
    /// How to read the body.
    pub encoding: Encoding,
    /// The payload.
    pub body: Bytes,
}

/// How to read the body of a [`Message`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Encoding {
    /// A PyMQ payload: one JSON text, with its envelope and tag.
    #[default]
    Json,
    /// Opaque bytes.
    Bytes,
}

impl Message {
    /// Creates a message with a JSON text as its body. The text is not checked.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self {
            headers: Headers::new(),
            encoding: Encoding::Json,
            body: body.into(),
        }
    }

    /// Creates a message with opaque bytes as its body.
    pub fn bytes(body: impl Into<Bytes>) -> Self {
        Self {
            headers: Headers::new(),
            encoding: Encoding::Bytes,
            body: body.into(),
        }
    }

    /// Sets a header, replacing one of the same name.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Returns the size in bytes of the body, the header names and the header values.
    pub fn size(&self) -> usize {
        self.body.len()
            + self
                .headers
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
    }
}

/// A [`Message`] and the topic on which it was published.
///
/// Cheap to clone: all subscribers that it reaches share one.
///
/// # Examples
///
/// ```
/// use pymq::message::{Message, Published};
///
/// let published = Published::new("news", Message::json("1"));
///
/// assert_eq!(published.topic(), "news");
/// assert_eq!(published.message().body, "1");
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published(Arc<Content>);

#[derive(Debug, Eq, PartialEq)]
struct Content {
    topic: Arc<str>,
    message: Message,
    /// Computed once, because each subscriber needs it twice.
    size: usize,
}

impl Published {
    /// Creates a message that was published on this topic.
    #[inline]
    pub fn new(topic: impl Into<Arc<str>>, message: Message) -> Self {
        let topic = topic.into();
        let size = topic.len() + message.size();
        Self(Arc::new(Content {
            topic,
            message,
            size,
        }))
    }

    /// Returns the topic, also when the subscription is to a pattern.
    #[inline]
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// Returns the message.
    #[inline]
    pub fn message(&self) -> &Message {
        &self.0.message
    }

    /// Returns the message so that it can be changed. Returns `None` if a clone of this shares it.
    #[inline]
    pub(crate) fn message_mut(&mut self) -> Option<&mut Message> {
        // Costs less than `get_mut`, which must also lock the weak references.
        if Arc::strong_count(&self.0) > 1 {
            return None;
        }
        Arc::get_mut(&mut self.0).map(|content| &mut content.message)
    }

    /// Returns the size in bytes of the topic and the message.
    #[inline]
    pub fn size(&self) -> usize {
        self.0.size
    }
}

/// A small map from text to text that keeps the order of insertion.
///
/// It takes one word while it is empty. Lookups are linear, because a message has few headers.
///
/// # Examples
///
/// ```
/// use pymq::Headers;
///
/// let mut headers = Headers::new();
/// headers.insert("tenant", "a");
/// headers.insert("tenant", "b");
///
/// assert_eq!(headers.get("tenant"), Some("b"));
/// assert_eq!(headers.len(), 1);
/// ```
#[derive(Clone, Default, Eq, PartialEq)]
#[expect(
    clippy::box_collection,
    reason = "most messages have no headers, and then a message is two words smaller"
)]
pub struct Headers(Option<Box<Vec<(String, String)>>>);

impl Headers {
    /// Creates an empty map.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Returns the value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Sets a header and returns its previous value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        let (name, value) = (name.into(), value.into());
        let entries = self.0.get_or_insert_default();
        if let Some((_, old)) = entries.iter_mut().find(|(key, _)| *key == name) {
            return Some(std::mem::replace(old, value));
        }
        entries.push((name, value));
        None
    }

    /// Removes a header and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let entries = self.0.as_mut()?;
        let at = entries.iter().position(|(key, _)| key == name)?;
        let (_, value) = entries.remove(at);
        if entries.is_empty() {
            self.0 = None;
        }
        Some(value)
    }

    /// Iterates over names and values in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|entries| {
            entries
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
        })
    }

    /// Returns the number of headers.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |entries| entries.len())
    }

    /// Tells whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// From this number of headers on, a hash map finds a name faster than a search through the list.
const MIN_HASHED: usize = 32;

impl<K: Into<String>, V: Into<String>> Extend<(K, V)> for Headers {
    /// Sets headers, replacing those of the same names.
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, iter: I) {
        for (name, value) in iter {
            self.insert(name, value);
        }
    }
}

impl IntoIterator for Headers {
    type Item = (String, String);
    type IntoIter = std::vec::IntoIter<(String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0
            .map(|headers| *headers)
            .unwrap_or_default()
            .into_iter()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Headers {
    /// Collects headers. A repeated name keeps its first position and gets its last value.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        let mut headers: Vec<(String, String)> = Vec::new();
        // The headers may come from the network, and so many that linear searches would take
        // minutes.
        let mut positions: Option<HashMap<String, usize>> = None;
        for (name, value) in iter {
            let name = name.into();
            let position = match &positions {
                None => headers.iter().position(|(key, _)| *key == name),
                Some(positions) => positions.get(&name).copied(),
            };
            if let Some(position) = position {
                headers[position].1 = value.into();
                continue;
            }
            if let Some(positions) = &mut positions {
                positions.insert(name.clone(), headers.len());
            }
            headers.push((name, value.into()));
            if headers.len() == MIN_HASHED {
                let keys = headers.iter().map(|(key, _)| key.clone());
                positions = Some(keys.zip(0..).collect());
            }
        }
        Self((!headers.is_empty()).then(|| Box::new(headers)))
    }
}

/// The id of a put that may be repeated, or of a dead letter.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageId(Box<str>);

impl MessageId {
    /// Creates an id from any text.
    pub fn new(id: impl Into<Box<str>>) -> Self {
        Self(id.into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for MessageId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for MessageId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_header_keeps_its_first_position_and_gets_its_last_value() {
        // With linear searches the last of these would take minutes.
        for count in [3, MIN_HASHED, MIN_HASHED + 1, 200_000] {
            let once = (0..count).map(|n| (n.to_string(), "old"));
            let again = (0..count).rev().map(|n| (n.to_string(), "new"));

            let headers: Headers = once.chain(again).collect();

            let expected = (0..count).map(|n| (n.to_string(), "new".to_owned()));
            let gathered = headers
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert!(gathered.eq(expected), "{count}");
        }
        assert!(Headers::from_iter([("", ""); 0]).is_empty());
    }
}
