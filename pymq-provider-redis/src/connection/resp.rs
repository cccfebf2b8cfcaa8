//! The protocol of Redis, RESP2 and RESP3: [`Command`] writes it, [`Decoder`] reads it.

#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};

/// The deepest nesting of an answer. Ours have three levels.
const MAX_DEPTH: usize = 16;

/// The longest line: a number, a status or an error.
const MAX_LINE: usize = 64 << 10;

/// The most elements that are reserved before they are read.
const MAX_RESERVED: usize = 1_024;

/// The most bytes that are reserved for a text because of its length alone.
const MAX_TRUSTED: usize = 1 << 20;

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
#[derive(Clone, Debug)]
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
        Self {
            head: text.freeze(),
            rest: Vec::new(),
            replies_before: 0,
        }
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

fn push_word(text: &mut BytesMut, word: &[u8]) {
    push_header(text, b'$', word.len());
    text.extend_from_slice(word);
    text.extend_from_slice(b"\r\n");
}

fn push_header(text: &mut BytesMut, kind: u8, number: usize) {
    // A `usize` has at most 20 digits.
    let mut line = [0; 24];
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
    text.extend_from_slice(&line[at..]);
}

/// Reads replies from the bytes of a connection.
///
/// It looks for the end of a reply first, and continues where it stopped when more bytes have
/// come. So each byte is looked at once, however slowly a large reply comes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The bytes that were received and not returned yet.
    pub(super) buffer: BytesMut,
    /// How far the first reply was looked at.
    at: usize,
    /// How many values of the first reply are missing. None of it was looked at if this is 0.
    missing: usize,
}

impl Decoder {
    /// Returns the next reply, or `None` if its end has not come.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, Malformed> {
        if !self.find_end()? {
            return Ok(None);
        }
        let frame = self.buffer.split_to(self.at).freeze();
        self.at = 0;
        read_value(&frame, &mut 0, MAX_DEPTH).map(Some)
    }

    fn find_end(&mut self) -> Result<bool, Malformed> {
        if self.missing == 0 {
            if self.buffer.is_empty() {
                return Ok(false);
            }
            self.missing = 1;
        }
        while self.missing > 0 {
            let Some(line) = line(&self.buffer[self.at..])? else {
                return Ok(false);
            };
            let past_line = self.at + line.len() + 2;
            let (past, inner) = match line[0] {
                b'$' | b'=' | b'!' => match length(line)? {
                    None => (past_line, 0),
                    Some(length) => (past_line + length + 2, 0),
                },
                b'*' | b'~' | b'>' => (past_line, length(line)?.unwrap_or(0)),
                b'%' => (past_line, length(line)?.unwrap_or(0) * 2),
                b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => (past_line, 0),
                _ => return Err(Malformed),
            };
            if let Some(missing) = past.checked_sub(self.buffer.len()).filter(|more| *more > 0) {
                self.buffer
                    .reserve(missing.min(self.buffer.len().max(MAX_TRUSTED)));
                return Ok(false);
            }
            self.at = past;
            self.missing = self.missing - 1 + inner;
        }
        Ok(true)
    }
}

/// Returns the first line without its end, or `None` if the end is missing.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    match bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
        Some(end) if end >= 2 && bytes[end - 1] == b'\r' => Ok(Some(&bytes[..end - 1])),
        Some(_) => Err(Malformed),
        None if bytes.len() >= MAX_LINE => Err(Malformed),
        None => Ok(None),
    }
}

/// Returns the number in a line, as a length. `None` stands for -1, which is null.
fn length(line: &[u8]) -> Result<Option<usize>, Malformed> {
    match number(&line[1..])? {
        -1 => Ok(None),
        // The limit of Redis for one string is less.
        length @ 0..=0x7fff_ffff => usize::try_from(length).map(Some).map_err(|_| Malformed),
        _ => Err(Malformed),
    }
}

fn number(digits: &[u8]) -> Result<i64, Malformed> {
    let text = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    text.parse().map_err(|_| Malformed)
}

/// Reads the value at a position of a complete reply, and moves the position behind it.
fn read_value(frame: &Bytes, at: &mut usize, depth: usize) -> Result<Reply, Malformed> {
    let line = line(frame.get(*at..).ok_or(Malformed)?)?.ok_or(Malformed)?;
    let start = *at;
    *at += line.len() + 2;
    // Only texts are sliced, because a slice counts in a number that threads share.
    let rest_of_line = || frame.slice(start + 1..start + line.len());
    Ok(match line[0] {
        b'+' | b',' | b'(' => Reply::Text(rest_of_line()),
        b'-' => Reply::Error(rest_of_line()),
        b':' => Reply::Int(number(&line[1..])?),
        b'_' => Reply::Null,
        b'#' => Reply::Int(i64::from(line[1..] == *b"t")),
        kind @ (b'$' | b'=' | b'!') => {
            let Some(length) = length(line)? else {
                return Ok(Reply::Null);
            };
            let (start, end) = (*at, *at + length);
            if frame.len() < end + 2 {
                return Err(Malformed);
            }
            *at = end + 2;
            match kind {
                b'!' => Reply::Error(frame.slice(start..end)),
                // The format of a verbatim string has three bytes, and a colon follows.
                b'=' => Reply::Text(frame.slice(start + 4.min(length)..end)),
                _ => Reply::Text(frame.slice(start..end)),
            }
        }
        kind => {
            let Some(length) = length(line)? else {
                return Ok(Reply::Null);
            };
            let count = if kind == b'%' { length * 2 } else { length };
            let depth = depth.checked_sub(1).ok_or(Malformed)?;
            let mut values = Vec::with_capacity(count.min(MAX_RESERVED));
            for _ in 0..count {
                values.push(read_value(frame, at, depth)?);
            }
            if kind == b'>' {
                Reply::Push(values)
            } else {
                Reply::List(values)
            }
        }
    })
}

/// Reads pieces of bytes, for the fuzzer. The result ends with what is not RESP, if there is any.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_replies(pieces: &[&[u8]]) -> Vec<Result<Reply, Malformed>> {
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    for piece in pieces {
        decoder.buffer.extend_from_slice(piece);
        loop {
            match decoder.next() {
                Ok(Some(reply)) => replies.push(Ok(reply)),
                Ok(None) => break,
                Err(malformed) => {
                    replies.push(Err(malformed));
                    return replies;
                }
            }
        }
    }
    replies
}
