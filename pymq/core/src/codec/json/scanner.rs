//! Walks over a JSON text in the dialect that Python reads.

use std::ops::Range;

/// Deeper texts may exceed Python's recursion limit of 1,000 frames, some of which the program
/// uses.
pub(super) const MAX_DEPTH: usize = 500;

/// The levels that a payload adds to the value inside.
const PAYLOAD_LEVELS: usize = 2;

/// Python refuses to read longer integers.
pub(super) const MAX_DIGITS: usize = 4_300;

/// The open objects and arrays around a value: a bit for each level, set for an object.
#[derive(Default)]
struct Open {
    depth: usize,
    objects: [u64; (MAX_DEPTH + PAYLOAD_LEVELS).div_ceil(64)],
}

impl Open {
    fn push(&mut self, close: u8) {
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if close == b'}' {
            self.objects[word] |= bit;
        } else {
            self.objects[word] &= !bit;
        }
        self.depth += 1;
    }

    /// Returns the closing character of the innermost level.
    fn last(&self) -> Option<u8> {
        let level = self.depth.checked_sub(1)?;
        let is_object = self.objects[level / 64] >> (level % 64) & 1 == 1;
        Some(if is_object { b'}' } else { b']' })
    }
}

/// Walks over a text. Each step returns `None` where Python would raise.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    max_depth: usize,
    is_strict: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            max_depth: MAX_DEPTH,
            is_strict: true,
        }
    }

    /// Walks over a payload, which may be deeper than a value.
    pub(super) fn payload(text: &'a str) -> Self {
        Self {
            max_depth: MAX_DEPTH + PAYLOAD_LEVELS,
            ..Self::new(text)
        }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Tells whether there was no word so far that only Python reads.
    pub(super) fn is_strict(&self) -> bool {
        self.is_strict
    }

    /// Tells whether the whole text is one value.
    pub(super) fn is_value(&mut self) -> bool {
        self.space();
        self.value().and_then(|()| self.finish()).is_some()
    }

    /// Skips a list, and returns where its first elements are. The missing ones are empty.
    pub(super) fn list<const N: usize>(&mut self) -> Option<[Range<usize>; N]> {
        self.eat(b'[')?;
        self.space();
        let mut first = [const { 0..0 }; N];
        if self.peek()? != b']' {
            for index in 0.. {
                self.space();
                let element = self.span(Self::value)?;
                if let Some(place) = first.get_mut(index) {
                    *place = element;
                }
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        self.eat(b']')?;
        Some(first)
    }

    /// Skips a list in an object: the list is one of the levels.
    pub(super) fn inner_list<const N: usize>(&mut self) -> Option<[Range<usize>; N]> {
        self.max_depth -= 1;
        let list = self.list()?;
        self.max_depth += 1;
        Some(list)
    }

    /// Skips one value.
    pub(super) fn value(&mut self) -> Option<()> {
        self.space();
        if self.peek()? == b'"' {
            self.string()
        } else {
            self.any_value()
        }
    }

    /// Skips one value. Not recursive, because the depth of a hostile text is unbounded.
    fn any_value(&mut self) -> Option<()> {
        let mut open = Open::default();
        loop {
            self.space();
            match self.peek()? {
                start @ (b'{' | b'[') => {
                    let close = if start == b'{' { b'}' } else { b']' };
                    self.at += 1;
                    self.space();
                    if self.peek()? == close {
                        self.at += 1;
                    } else if open.depth + 1 >= self.max_depth {
                        return None;
                    } else {
                        open.push(close);
                        self.key_in(close)?;
                        continue;
                    }
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => self.word()?,
            }
            // The value has ended, and perhaps the objects and arrays around it.
            loop {
                let Some(close) = open.last() else {
                    return Some(());
                };
                if self.goes_on(close)? {
                    self.key_in(close)?;
                    break;
                }
                self.at += 1;
                open.depth -= 1;
            }
        }
    }

    /// Skips the comma after a member or an element. Returns false before the closing character.
    pub(super) fn goes_on(&mut self, close: u8) -> Option<bool> {
        self.space();
        match self.peek()? {
            b',' => {
                self.at += 1;
                Some(true)
            }
            byte => (byte == close).then_some(false),
        }
    }

    /// Skips a key and its colon in an object.
    fn key_in(&mut self, close: u8) -> Option<()> {
        if close == b'}' {
            self.space();
            self.string()?;
            self.space();
            self.eat(b':')?;
        }
        Some(())
    }

    pub(super) fn string(&mut self) -> Option<()> {
        self.eat(b'"')?;
        loop {
            self.at += plain_len(&self.text[self.at..]);
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// Skips a string without escapes, and returns what is between its quotes. Skips nothing that is
    /// not such a string.
    pub(super) fn plain_string(&mut self) -> Option<Range<usize>> {
        let start = self.at + 1;
        let (b'"', rest) = self.text.get(self.at..)?.split_first()? else {
            return None;
        };
        let end = start + plain_len(rest);
        if *self.text.get(end)? != b'"' {
            return None;
        }
        self.at = end + 1;
        Some(start..end)
    }

    fn escape(&mut self) -> Option<()> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.text.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
            if self.peek()? == b'I' {
                self.is_strict = false;
                return self.literal("Infinity");
            }
        }
        let leading_zero = self.peek()? == b'0';
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            return None;
        }
        let mut is_int = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
            is_int = false;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
            is_int = false;
        }
        (!is_int || digits <= MAX_DIGITS).then_some(())
    }

    /// Skips one or more digits and returns how many.
    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }

    fn word(&mut self) -> Option<()> {
        ["true", "false", "null"]
            .iter()
            .find_map(|word| self.literal(word))
            .or_else(|| {
                self.is_strict = false;
                self.literal("NaN").or_else(|| self.literal("Infinity"))
            })
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        self.text[self.at..]
            .starts_with(word.as_bytes())
            .then(|| self.at += word.len())
    }

    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn finish(&mut self) -> Option<()> {
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    pub(super) fn span(
        &mut self,
        pass: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<Range<usize>> {
        let start = self.at;
        pass(self)?;
        Some(start..self.at)
    }

    pub(super) fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

/// Counts the bytes before the first quote, backslash or control character.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "with branches, the compiler would look at one byte after the other"
)]
pub(in crate::codec) fn plain_len(text: &[u8]) -> usize {
    let is_special = |byte: u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
    let (blocks, _) = text.as_chunks();
    let plain_blocks = blocks
        .iter()
        .take_while(|block| !contains(block, is_special));
    let start = BLOCK * plain_blocks.count();
    let (chunks, _) = text[start..].as_chunks();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        let found = bytes_below(word ^ repeat(b'"'), 1)
            | bytes_below(word ^ repeat(b'\\'), 1)
            | bytes_below(word, 0x20);
        if found != 0 {
            return start + index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let seen = start + chunks.len() * 8;
    let tail = text[seen..].iter().position(|byte| is_special(*byte));
    tail.map_or(text.len(), |at| seen + at)
}

/// Tells whether JSON contains this text as it is: ASCII without anything to escape.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "with branches, the compiler would look at one byte after the other"
)]
pub(in crate::codec) fn needs_no_escape(text: &str) -> bool {
    let is_escaped = |byte: u8| !(0x20..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\');
    let text = text.as_bytes();
    let (blocks, rest) = text.as_chunks();
    if blocks.iter().any(|block| contains(block, is_escaped)) {
        return false;
    }
    match text.last_chunk() {
        // It may overlap the block before.
        Some(last) => !contains(last, is_escaped),
        None => !rest.iter().any(|byte| is_escaped(*byte)),
    }
}

/// How many bytes are looked at together.
const BLOCK: usize = 32;

/// Tells whether a block contains certain bytes. It always looks at all of them, which the compiler
/// turns into a few wide instructions.
#[inline]
fn contains(block: &[u8; BLOCK], is_found: impl Fn(u8) -> bool) -> bool {
    let found = block
        .iter()
        .fold(0, |found, byte| found | u8::from(is_found(*byte)));
    found != 0
}

/// Sets the high bit of each byte that is less than `limit`, which is at most 128. The result is
/// exact up to the lowest such byte.
const fn bytes_below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(repeat(limit)) & !word & repeat(0x80)
}

const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}
