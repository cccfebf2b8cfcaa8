//! [`Arguments`]: the elements of a list, from left to right.

use super::scanner::Scanner;

/// The elements of a list that are not read yet.
pub(crate) struct Arguments<'a> {
    text: &'a str,
    scanner: Scanner<'a>,
    is_first: bool,
}

/// One element of a list.
pub(in crate::codec) struct Argument<'a> {
    /// Its JSON.
    pub(in crate::codec) text: &'a str,
    /// What is between its quotes, if it is a string without escapes.
    pub(in crate::codec) plain: Option<&'a str>,
}

impl<'a> Arguments<'a> {
    /// Begins to read a list. Returns `None` for a text that is not a list.
    pub(in crate::codec) fn new(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        scanner.space();
        scanner.eat(b'[')?;
        Some(Self {
            text,
            scanner,
            is_first: true,
        })
    }

    /// Reads the next element. Returns `None` if there is none that Python can read.
    pub(in crate::codec) fn next(&mut self) -> Option<Argument<'a>> {
        if !std::mem::take(&mut self.is_first) && !self.scanner.goes_on(b']')? {
            return None;
        }
        self.scanner.space();
        let start = self.scanner.at();
        let plain = self.scanner.plain_string();
        if plain.is_none() {
            self.scanner.value()?;
        }
        Some(Argument {
            text: &self.text[start..self.scanner.at()],
            plain: plain.map(|plain| &self.text[plain]),
        })
    }

    /// Returns `None` if an element or something else is left.
    pub(in crate::codec) fn finish(mut self) -> Option<()> {
        if self.scanner.goes_on(b']')? {
            return None;
        }
        self.scanner.eat(b']')?;
        self.scanner.finish()
    }
}
