//! Cuts a JSON text into its parts without reading them: what a frame carries passes untouched, whatever Python writes
//! there (`NaN`, numbers of any length, any depth).

/// Returns the texts of the elements of a JSON array, or nothing when `text` is none.
pub(crate) fn elements(text: &str) -> Option<Vec<&str>> {
    parts(text, "[", "]")
}

/// Returns the keys, with their quotes, and values of a JSON object, or nothing when `text` is none.
pub(crate) fn members(text: &str) -> Option<Vec<(&str, &str)>> {
    parts(text, "{", "}")?.into_iter().map(member).collect()
}

fn member(part: &str) -> Option<(&str, &str)> {
    // A key is a string, so the colon behind it is the first outside of one.
    let key = cut(part, b':').next()?;
    let value = part[key.len()..].strip_prefix(':')?;
    Some((trim(key), trim(value)))
}

fn parts<'a>(text: &'a str, open: &str, close: &str) -> Option<Vec<&'a str>> {
    let inner = trim(text).strip_prefix(open)?.strip_suffix(close)?;
    if trim(inner).is_empty() {
        return Some(Vec::new());
    }
    let parts: Vec<&str> = cut(inner, b',').map(trim).collect();
    let is_whole = balanced(inner) && parts.iter().all(|part| !part.is_empty());
    is_whole.then_some(parts)
}

/// Cuts at each `separator` that stands outside of strings and inner brackets.
fn cut(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut scan = Scan::default();
    // A separator is one ASCII byte, so it is a character and a place to cut.
    text.split(move |c: char| {
        scan.step(c);
        scan.is_outside() && u32::from(separator) == u32::from(c)
    })
}

/// Tells whether every string and bracket is closed.
fn balanced(text: &str) -> bool {
    let mut scan = Scan::default();
    text.chars().all(|c| {
        scan.step(c);
        scan.depth >= 0
    }) && scan.is_outside()
}

/// Where in a JSON text we are.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    depth: i64,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn step(&mut self, c: char) {
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' if self.in_string => self.escaped = true,
            '"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            '[' | '{' => self.depth += 1,
            ']' | '}' => self.depth -= 1,
            _ => {}
        }
    }

    fn is_outside(self) -> bool {
        self.depth == 0 && !self.in_string
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strings_and_brackets_hide_separators() {
        let text = r#" [ "a,\"]", [1, 2], {"b": "}"} , NaN,-Infinity] "#;

        assert_eq!(
            elements(text).unwrap(),
            [r#""a,\"]""#, "[1, 2]", r#"{"b": "}"}"#, "NaN", "-Infinity"]
        );
        assert_eq!(
            members(r#"{"a:b" : [1], "c": null}"#).unwrap(),
            [(r#""a:b""#, "[1]"), (r#""c""#, "null")]
        );
        assert_eq!(elements("[ ]").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for text in [
            "", "[", "]", "[1", "[1,]", "[[1]", "[1]]", r#"["a]"#, "{}", "1",
        ] {
            assert_eq!(elements(text), None, "{text}");
        }
        for text in [r#"{"a"}"#, r#"{"a": 1"#, "[]", r#"{"a": 1,}"#] {
            assert_eq!(members(text), None, "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);

        assert_eq!(elements(&deep).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_cut_or_refused(text in ".{0,40}", json in r#"[\[\]{}:,"\\a1 ]{0,24}"#) {
            for text in [&text, &json] {
                if let Some(elements) = elements(text) {
                    prop_assert!(elements.iter().all(|element| text.contains(element)));
                }
                members(text);
            }
        }
    }
}
