//! The protocol of Redis, RESP2 and RESP3: [`Command`] writes it, [`Decoder`] reads it.

mod decoder;
#[cfg(feature = "fuzzing")]
mod fuzzing;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

pub(super) use self::decoder::Decoder;
#[cfg(feature = "fuzzing")]
pub(crate) use self::fuzzing::read_replies;

/// Arguments from this size on are sent from where they are, without a copy.
const MIN_UNCOPIED: usize = 8 << 10;

/// One value that the server sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Null,
    Int(i64),
    /// A string of any form. Double and large numbers are their text.
    Text(Bytes),
    Error(Bytes),
    /// An array or a set. A map is its keys and values in turn.
    List(Vec<Self>),
    /// A message that is not the answer to a command.
    Push(Vec<Self>),
}

/// The server sent something that is not RESP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

/// A command in the form in which it is sent. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    /// The command up to its first large argument.
    pub(super) head: Bytes,
    /// Large arguments, and what follows each.
    pub(super) rest: Vec<Bytes>,
    /// How many replies come before the last one.
    pub(super) replies_before: usize,
}

impl Command {
    /// Creates a command from its words. Payloads in the words are copied.
    pub(crate) fn new<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W, IntoIter: Clone>) -> Self {
        let words = words.into_iter();
        let (count, size) = words.clone().fold((0, 0), |(count, size), word| {
            (count + 1, size + word_len(word.as_ref().len()))
        });
        let mut text = BytesMut::with_capacity(header_len(count) + size);
        push_header(&mut text, b'*', count);
        for word in words {
            push_word(&mut text, word.as_ref());
        }
        Self::of_text(text.freeze())
    }

    /// Creates a command from its words and payloads. Large payloads are not copied.
    pub(crate) fn with_payloads<'a, P>(words: &[&[u8]], payloads: P) -> Self
    where
        P: IntoIterator<Item = &'a Bytes, IntoIter: Clone>,
    {
        let mut command = CommandWriter::default();
        command.add(words, payloads);
        command.finish()
    }

    /// Creates a command from its text.
    pub(crate) fn of_text(text: Bytes) -> Self {
        Self {
            head: text,
            rest: Vec::new(),
            replies_before: 0,
        }
    }

    /// Joins another command as [`CommandWriter`] does.
    pub(crate) fn then(self, next: Self) -> Self {
        let mut rest = self.rest;
        rest.push(next.head);
        rest.extend(next.rest);
        Self {
            head: self.head,
            rest,
            replies_before: self.replies_before + 1 + next.replies_before,
        }
    }

    /// Joins another command to one without an answer.
    pub(crate) fn answered_by(self, next: Self) -> Self {
        let replies_before = next.replies_before;
        Self {
            replies_before,
            ..self.then(next)
        }
    }

    /// Returns the command to a node of a cluster that takes over a slot.
    pub(super) fn asking(self) -> Self {
        Self::new(["ASKING"]).then(self)
    }

    /// Tells whether it is not several commands.
    pub(super) fn is_one(&self) -> bool {
        self.replies_before == 0
    }

    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.rest.iter().map(Bytes::len).sum::<usize>()
    }
}

/// Writes several commands as one. The server runs them one after the other. If the connection
/// breaks, it may run the first ones only.
///
/// The answer to several is the list of their answers, errors included; but if all are errors, it
/// is the first one.
#[derive(Debug, Default)]
pub(crate) struct CommandWriter {
    /// The commands up to the first large argument, once there is one.
    head: Bytes,
    /// Large arguments, and what follows each.
    rest: Vec<Bytes>,
    text: BytesMut,
    count: usize,
}

impl CommandWriter {
    /// Creates a writer with room for these payloads and so many other bytes, so that several
    /// commands need one allocation.
    pub(crate) fn with_room<'a, P>(bytes: usize, payloads: P) -> Self
    where
        P: IntoIterator<Item = &'a Bytes>,
    {
        let sizes = payloads
            .into_iter()
            .map(|payload| written_len(payload.len()));
        Self {
            text: BytesMut::with_capacity(bytes + sizes.sum::<usize>()),
            ..Self::default()
        }
    }

    /// Adds a command from its words and payloads. Large payloads are not copied.
    pub(crate) fn add<'a, P>(&mut self, words: &[&[u8]], payloads: P)
    where
        P: IntoIterator<Item = &'a Bytes, IntoIter: Clone>,
    {
        let payloads = payloads.into_iter();
        let mut reserved = words.iter().fold(0, |sum, word| sum + word_len(word.len()));
        let mut count = words.len();
        for payload in payloads.clone() {
            reserved += written_len(payload.len());
            count += 1;
        }
        // Of the exact size, so that no other allocation is needed to share it.
        reserved += header_len(count);
        let text = &mut self.text;
        text.reserve(reserved);
        push_header(text, b'*', count);
        for word in words {
            push_word(text, word);
        }
        for payload in payloads {
            if payload.len() < MIN_UNCOPIED {
                push_word(text, payload);
            } else {
                push_header(text, b'$', payload.len());
                let before = text.split().freeze();
                if self.head.is_empty() {
                    self.head = before;
                } else {
                    self.rest.push(before);
                }
                self.rest.push(payload.clone());
                text.extend_from_slice(b"\r\n");
            }
        }
        self.count += 1;
    }

    /// Returns the one command.
    pub(crate) fn finish(mut self) -> Command {
        let text = self.text.freeze();
        if self.head.is_empty() {
            self.head = text;
        } else {
            self.rest.push(text);
        }
        Command {
            head: self.head,
            rest: self.rest,
            replies_before: self.count.saturating_sub(1),
        }
    }
}

/// Returns how much room [`write_front`] needs for these words.
pub(crate) fn front_room(words: &[&[u8]]) -> usize {
    let words: usize = words.iter().map(|word| word_len(word.len())).sum();
    2 * MAX_HEADER + words
}

/// Comes after the last word of a command.
pub(crate) const LAST_WORD_END: &[u8] = b"\r\n";

/// Writes a command of these words in front of one more that is in the text already, so that it
/// needs no copy. [`LAST_WORD_END`] must be behind that. Returns where the command begins.
pub(crate) fn write_front(text: &mut [u8], words: &[&[u8]], last: Range<usize>) -> usize {
    let (count, length) = (words.len() + 1, last.len());
    let size: usize = words.iter().map(|word| word_len(word.len())).sum();
    let start = last.start - (header_len(count) + size + header_len(length));
    let mut front = &mut text[start..last.start];
    push_header(&mut front, b'*', count);
    for word in words {
        push_word(&mut front, word);
    }
    push_header(&mut front, b'$', length);
    start
}

/// Returns how many bytes [`push_word`] writes for a word of this length.
fn word_len(length: usize) -> usize {
    header_len(length) + length + 2
}

/// Returns how many bytes of a payload are written. A large one is sent from where it is.
fn written_len(length: usize) -> usize {
    if length < MIN_UNCOPIED {
        word_len(length)
    } else {
        header_len(length) + 2
    }
}

/// Returns how many bytes [`push_header`] writes.
fn header_len(number: usize) -> usize {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    digits + 3
}

fn push_word(text: &mut impl BufMut, word: &[u8]) {
    push_header(text, b'$', word.len());
    text.put_slice(word);
    text.put_slice(b"\r\n");
}

/// The longest header. A `usize` has at most 20 digits.
const MAX_HEADER: usize = 24;

fn push_header(text: &mut impl BufMut, kind: u8, number: usize) {
    let mut line = [0; MAX_HEADER];
    let mut at = line.len();
    let mut push = |byte| {
        at -= 1;
        line[at] = byte;
    };
    push(b'\n');
    push(b'\r');
    let mut left = number;
    loop {
        push(b'0' + u8::try_from(left % 10).unwrap_or(0));
        left /= 10;
        if left == 0 {
            break;
        }
    }
    push(kind);
    text.put_slice(&line[at..]);
}
