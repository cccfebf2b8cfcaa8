//! Finds the parts of a JSON text without decoding it.
//!
//! A provider that shares its transport with Python PyMQ adds members to payloads, or takes them
//! out. This module finds where they are. It copies and changes nothing, so a part that is cut out
//! can be put back byte for byte. It is the only place that knows the syntax of PyMQ's JSON and the
//! keys of its envelopes.
//!
//! The functions here accept what Python's `json` module reads: besides JSON also the words `NaN`,
//! `Infinity` and `-Infinity`, lone surrogates, and integers of up to 4,300 digits. They refuse
//! texts that are nested 500 levels deep, because Python limits its recursion.

mod arguments;
mod check;
mod scanner;

use std::ops::Range;

pub(super) use self::arguments::{Argument, Arguments};
pub(super) use self::check::{Fault, Findings, check};
use self::scanner::Scanner;
pub(super) use self::scanner::{needs_no_escape, plain_len};

/// The key of the type tag in an envelope.
pub const TYPE: &str = "__type";

/// The key of the value in an envelope around a value.
pub const OBJ: &str = "__obj";

/// The key of the elements in an envelope around a list of instances.
pub const LIST: &str = "__list";

/// The text of an envelope before its value.
pub const OPEN_OBJ: &str = r#"{"__obj": "#;

/// The text of an envelope between its value and its type tag.
pub const THEN_TYPE: &str = r#", "__type": "#;

/// The members of an object, as ranges of its text.
///
/// # Examples
///
/// ```
/// use pymq::codec::json::{OBJ, Object};
///
/// let text = r#"{"__obj": [1, 2], "__type": "tuple"}"#;
/// let object = Object::scan(text).expect("it is an object");
///
/// assert_eq!(object.get(OBJ), Some("[1, 2]"));
/// assert_eq!(&text[object.end()..], "}");
/// ```
#[derive(Debug)]
pub struct Object<'a> {
    text: &'a str,
    members: Vec<Member>,
    end: usize,
    is_strict: bool,
    /// A key has escapes, so it may have another name than its text.
    has_escaped_key: bool,
    /// The first elements of the list under the last [`OBJ`], see [`elements`](Self::elements).
    list: Option<[Range<usize>; NOTED]>,
}

/// How many elements are noted while an object is scanned. PyMQ's requests and responses have as
/// many.
const NOTED: usize = 4;

/// A member of an [`Object`], without the white space around it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// The range of the key, with its quotes.
    pub key: Range<usize>,
    /// The range of the value.
    pub value: Range<usize>,
}

impl<'a> Object<'a> {
    /// Scans a text. Returns `None` if it is not an object that Python can read.
    pub fn scan(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        scanner.space();
        scanner.eat(b'{')?;
        let mut members = Vec::new();
        let (mut has_escaped_key, mut list) = (false, None);
        loop {
            scanner.space();
            if members.is_empty() && scanner.peek()? == b'}' {
                break;
            }
            let start = scanner.at();
            let name = scanner.plain_string();
            if name.is_none() {
                scanner.string()?;
                has_escaped_key = true;
            }
            let key = start..scanner.at();
            scanner.space();
            scanner.eat(b':')?;
            scanner.space();
            let start = scanner.at();
            let is_content = name.is_some_and(|name| text[name] == *OBJ);
            if is_content && scanner.peek()? == b'[' {
                list = Some(scanner.inner_list()?);
            } else {
                list = list.filter(|_| !is_content);
                scanner.value()?;
            }
            let value = start..scanner.at();
            members.push(Member { key, value });
            if !scanner.goes_on(b'}')? {
                break;
            }
        }
        let end = scanner.at();
        scanner.eat(b'}')?;
        scanner.finish()?;
        Some(Self {
            text,
            members,
            end,
            is_strict: scanner.is_strict(),
            has_escaped_key,
            list,
        })
    }

    /// Returns the first `N` elements of the list under [`OBJ`], or `None` if that is no list.
    ///
    /// The scan has noted the first four, so they need no other one.
    ///
    /// # Examples
    ///
    /// ```
    /// use pymq::codec::json::Object;
    ///
    /// let object = Object::scan(r#"{"__obj": ["f", 1], "__type": "C"}"#).expect("an object");
    ///
    /// assert_eq!(object.elements(), Some([Some(r#""f""#), Some("1"), None]));
    /// ```
    pub fn elements<const N: usize>(&self) -> Option<[Option<&'a str>; N]> {
        match &self.list {
            Some(list) if N <= NOTED && !self.has_escaped_key => {
                let element = |index: usize| &self.text[list[index].clone()];
                // No element is empty.
                let noted = |index| Some(element(index)).filter(|text| !text.is_empty());
                Some(std::array::from_fn(noted))
            }
            _ => elements(self.get(OBJ)?),
        }
    }

    /// Returns the members in the order of the text.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the offset of the closing brace.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Returns the text of a member's value. If a name repeats, the last member counts, as in
    /// Python.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let member = &self.members[self.position(name)?];
        Some(&self.text[member.value.clone()])
    }

    /// Returns the index of the last member of this name. A key may be written with escapes.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.members
            .iter()
            .rposition(|member| self.is_named(member, name))
    }

    pub(super) fn is_named(&self, member: &Member, name: &str) -> bool {
        let quoted = &self.text[member.key.clone()];
        quoted[1..quoted.len() - 1] == *name
            || self.has_escaped_key
                && quoted.contains('\\')
                && serde_json::from_str::<String>(quoted).is_ok_and(|key| key == name)
    }

    /// Tells whether the text is JSON, without the words that only Python reads.
    pub(super) fn is_strict(&self) -> bool {
        self.is_strict
    }
}

/// Scans a text and returns its first `N` elements. Returns `None` if it is not an array that
/// Python can read.
///
/// # Examples
///
/// ```
/// use pymq::codec::json::elements;
///
/// assert_eq!(elements(r#"["add", [2, 4]]"#), Some([Some(r#""add""#), Some("[2, 4]"), None]));
/// assert_eq!(elements::<1>("{}"), None);
/// ```
pub fn elements<const N: usize>(text: &str) -> Option<[Option<&str>; N]> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    let list = scanner.list()?;
    scanner.finish()?;
    Some(list.map(|element| Some(&text[element]).filter(|text| !text.is_empty())))
}

/// Tells whether Python reads this text as one JSON value.
///
/// # Examples
///
/// ```
/// use pymq::codec::json::is_readable;
///
/// assert!(is_readable(r#"{"a": [1, NaN]}"#));
/// assert!(!is_readable(r#"{"a": [1, }"#));
/// ```
pub fn is_readable(text: &str) -> bool {
    Scanner::new(text).is_value()
}

/// Tells whether Python reads this text as a payload. A payload may be two levels deeper than the
/// value inside. For tests and for the fuzzer.
#[doc(hidden)]
pub fn is_readable_payload(text: &str) -> bool {
    Scanner::payload(text).is_value()
}

#[cfg(test)]
mod tests;
