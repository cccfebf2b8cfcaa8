//! [`Decoder`]: reads replies from the bytes of a connection.

use std::ops::Range;
use std::slice::Iter;

use bytes::{Buf, Bytes, BytesMut};

use super::{Malformed, Reply};

/// The deepest nesting of an answer. Ours have three levels.
pub(super) const MAX_DEPTH: usize = 16;

/// The longest line: a number, a status or an error.
pub(super) const MAX_LINE: usize = 64 << 10;

/// The most elements that are reserved before they are read.
const MAX_RESERVED: usize = 1_024;

/// The most bytes that are reserved for a text because of its length alone.
const MAX_TRUSTED: usize = 1 << 20;

/// Reads replies from the bytes of a connection.
///
/// It finds the parts of a reply first, and continues where it stopped when more bytes have come.
/// So each byte is looked at once, however slowly a large reply comes.
#[derive(Debug, Default)]
pub(in crate::connection) struct Decoder {
    /// The bytes that were received and not returned yet.
    pub(in crate::connection) buffer: BytesMut,
    /// How far the first reply was looked at.
    at: usize,
    /// How many values of the first reply are missing. None of it was looked at if this is 0.
    missing: usize,
    /// The values of the first reply that were found, each in front of those in it.
    parts: Vec<Part>,
}

/// One value of a reply. The bytes of a text are found by their places in the reply.
#[derive(Clone, Debug)]
enum Part {
    Null,
    Int(i64),
    Text(Range<usize>),
    Error(Range<usize>),
    /// So many of the next values are in it.
    List(usize),
    Push(usize),
}

impl Decoder {
    /// Returns the next reply, or `None` if its end has not come.
    pub(in crate::connection) fn next(&mut self) -> Result<Option<Reply>, Malformed> {
        if !self.find_end()? {
            return Ok(None);
        }
        let reply = if let [Part::Int(number)] = *self.parts {
            // Nothing refers to the bytes.
            self.buffer.advance(self.at);
            Reply::Int(number)
        } else {
            let frame = self.buffer.split_to(self.at).freeze();
            build(&mut self.parts.iter(), &frame, MAX_DEPTH)?
        };
        self.at = 0;
        self.parts.clear();
        self.parts.shrink_to(MAX_RESERVED);
        Ok(Some(reply))
    }

    /// Finds the parts of the first reply. Tells whether its end has come.
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
            let text = self.at + 1..self.at + line.len();
            let past_line = text.end + 2;
            let (part, inner) = match line[0] {
                kind @ (b'$' | b'=' | b'!') => match length(line)? {
                    None => (Part::Null, 0),
                    Some(length) => (bulk(kind, past_line, length), 0),
                },
                kind @ (b'*' | b'~' | b'>' | b'%') => match length(line)? {
                    None => (Part::Null, 0),
                    Some(pairs) if kind == b'%' => (Part::List(pairs * 2), pairs * 2),
                    Some(count) if kind == b'>' => (Part::Push(count), count),
                    Some(count) => (Part::List(count), count),
                },
                b'+' | b',' | b'(' => (Part::Text(text), 0),
                b'-' => (Part::Error(text), 0),
                b':' => (Part::Int(number(&line[1..])?), 0),
                b'#' => (Part::Int(i64::from(line[1..] == *b"t")), 0),
                b'_' => (Part::Null, 0),
                _ => return Err(Malformed),
            };
            let end = match &part {
                Part::Text(bytes) | Part::Error(bytes) => bytes.end + 2,
                _ => past_line,
            };
            if let Some(missing) = end.checked_sub(self.buffer.len()).filter(|more| *more > 0) {
                self.buffer
                    .reserve(missing.min(self.buffer.len().max(MAX_TRUSTED)));
                return Ok(false);
            }
            self.parts.push(part);
            self.at = end;
            self.missing = self.missing - 1 + inner;
        }
        Ok(true)
    }
}

/// Returns the part of a text with its own length, which starts at `start`.
fn bulk(kind: u8, start: usize, length: usize) -> Part {
    let end = start + length;
    match kind {
        b'!' => Part::Error(start..end),
        // The format of a verbatim string has three bytes, and a colon follows.
        b'=' => Part::Text(start + 4.min(length)..end),
        _ => Part::Text(start..end),
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

fn number(text: &[u8]) -> Result<i64, Malformed> {
    // Nearly all are lengths and counts of a few digits, and cannot overflow.
    if (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        let digits = text.iter().map(|digit| i64::from(digit - b'0'));
        return Ok(digits.fold(0, |number, digit| number * 10 + digit));
    }
    let text = std::str::from_utf8(text).map_err(|_| Malformed)?;
    text.parse().map_err(|_| Malformed)
}

/// Builds the next value from its parts.
fn build(parts: &mut Iter<'_, Part>, frame: &Bytes, depth: usize) -> Result<Reply, Malformed> {
    Ok(match parts.next().ok_or(Malformed)? {
        Part::Null => Reply::Null,
        Part::Int(number) => Reply::Int(*number),
        Part::Text(bytes) => Reply::Text(frame.slice(bytes.clone())),
        Part::Error(bytes) => Reply::Error(frame.slice(bytes.clone())),
        Part::List(count) => Reply::List(build_all(*count, parts, frame, depth)?),
        Part::Push(count) => Reply::Push(build_all(*count, parts, frame, depth)?),
    })
}

fn build_all(
    count: usize,
    parts: &mut Iter<'_, Part>,
    frame: &Bytes,
    depth: usize,
) -> Result<Vec<Reply>, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut values = Vec::with_capacity(count.min(MAX_RESERVED));
    for _ in 0..count {
        values.push(build(parts, frame, depth)?);
    }
    Ok(values)
}
