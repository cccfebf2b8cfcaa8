//! Finds the members of a JSON text in the dialect that Python reads. It decodes and copies
//! nothing, so that what is cut out can be put back byte for byte.

use std::ops::Range;

/// Deeper texts may exceed Python's recursion limit of 1,000 frames, some of which the program
/// uses. A frame around a text adds at most two levels.
const MAX_DEPTH: usize = 500;

/// Python refuses to read longer integers.
const MAX_DIGITS: usize = 4_300;

/// A top-level object. All ranges are offsets into the text.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    text: &'a str,
    pub(super) members: Vec<Member>,
    /// The offset of the closing brace.
    pub(super) end: usize,
}

/// A member of an object, without the white space around it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// With its quotes.
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

impl<'a> Object<'a> {
    /// Scans a text. Returns `None` if it is not an object.
    pub(crate) fn scan(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        scanner.space();
        scanner.eat(b'{')?;
        let mut members = Vec::new();
        loop {
            scanner.space();
            if members.is_empty() && scanner.peek()? == b'}' {
                break;
            }
            let key = scanner.span(Scanner::string)?;
            scanner.space();
            scanner.eat(b':')?;
            scanner.space();
            let value = scanner.span(Scanner::value)?;
            members.push(Member { key, value });
            scanner.space();
            match scanner.peek()? {
                b',' => scanner.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        let end = scanner.at;
        scanner.at += 1;
        scanner.finish()?;
        Some(Self { text, members, end })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns the text of a member's value.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let member = &self.members[self.position(name)?];
        Some(&self.text[member.value.clone()])
    }

    /// Finds a member as Python does, with escapes in its key or not: the last one of that name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().rposition(|member| {
            let quoted = &self.text[member.key.clone()];
            quoted[1..quoted.len() - 1] == *name
                || quoted.contains('\\')
                    && serde_json::from_str::<String>(quoted).is_ok_and(|key| key == name)
        })
    }
}

/// Scans a text and returns its first `N` elements. Returns `None` if it is not an array.
pub(crate) fn elements<const N: usize>(text: &str) -> Option<[Option<&str>; N]> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    scanner.eat(b'[')?;
    scanner.space();
    let mut elements = [None; N];
    if scanner.peek()? != b']' {
        for index in 0.. {
            scanner.space();
            let element = &text[scanner.span(Scanner::value)?];
            if let Some(place) = elements.get_mut(index) {
                *place = Some(element);
            }
            scanner.space();
            match scanner.peek()? {
                b',' => scanner.at += 1,
                b']' => break,
                _ => return None,
            }
        }
    }
    scanner.at += 1;
    scanner.finish()?;
    Some(elements)
}

/// Tells whether Python reads this text as one JSON value.
pub(crate) fn is_readable(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.space();
    scanner.value().and_then(|()| scanner.finish()).is_some()
}

/// Tells the same for a payload, which may be two levels deeper than a body.
#[cfg(any(test, fuzzing))]
pub(crate) fn is_readable_payload(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.max_depth = MAX_DEPTH + 2;
    scanner.space();
    scanner.value().and_then(|()| scanner.finish()).is_some()
}

/// The open objects and arrays around a value: a bit for each level, set for an object.
#[derive(Default)]
struct Open {
    depth: usize,
    objects: [u64; (MAX_DEPTH + 2).div_ceil(64)],
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
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    max_depth: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            max_depth: MAX_DEPTH,
        }
    }

    /// Skips one value. Not recursive, because the depth of a hostile text is unbounded.
    fn value(&mut self) -> Option<()> {
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
                self.space();
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        self.key_in(close)?;
                        break;
                    }
                    byte if byte == close => {
                        self.at += 1;
                        open.depth -= 1;
                    }
                    _ => return None,
                }
            }
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

    fn string(&mut self) -> Option<()> {
        self.eat(b'"')?;
        loop {
            self.plain();
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// Skips the plain part of a string, which is nearly all of a text. It runs in steps that
    /// compile to vector instructions, and byte by byte at the end.
    fn plain(&mut self) {
        let (steps, _) = self.text[self.at..].as_chunks::<16>();
        #[expect(
            clippy::needless_bitwise_bool,
            reason = "branches would prevent vector instructions"
        )]
        let is_special = |byte: &u8| (*byte == b'"') | (*byte == b'\\') | (*byte < 0x20);
        let plain = steps.iter().take_while(|step| {
            !step
                .iter()
                .fold(false, |found, byte| found | is_special(byte))
        });
        self.at += 16 * plain.count();
        let rest = &self.text[self.at..];
        self.at += rest.iter().position(is_special).unwrap_or(rest.len());
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
        ["true", "false", "null", "NaN", "Infinity"]
            .iter()
            .find_map(|word| self.literal(word))
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        self.text[self.at..]
            .starts_with(word.as_bytes())
            .then(|| self.at += word.len())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn finish(&mut self) -> Option<()> {
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    fn span(&mut self, pass: impl FnOnce(&mut Self) -> Option<()>) -> Option<Range<usize>> {
        let start = self.at;
        pass(self)?;
        Some(start..self.at)
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests;
