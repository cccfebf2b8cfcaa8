//! Redis globs over bytes: `*`, `?`, `[a-c]`, `[^a]` and `\`.
//!
//! They match as in `stringmatchlen` of Redis, so that a pattern means the same on every provider.

/// Tells whether `text` matches the Redis glob `pattern`.
///
/// Both are bytes: `?` matches one byte, as in Redis. `*` matches any bytes, separators included.
/// The time is bounded by the product of the two lengths for every pattern.
///
/// # Examples
///
/// ```
/// use pymq::glob;
///
/// assert!(glob::matches("orders.*", "orders.new.eu"));
/// assert!(glob::matches("user/?", "user/7"));
/// assert!(glob::matches("[^a]x", "bx"));
/// assert!(!glob::matches("orders.*", "order"));
/// ```
pub fn matches(pattern: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> bool {
    let (pattern, text) = (pattern.as_ref(), text.as_ref());
    let (mut p, mut t) = (0, 0);
    // Where to continue after a mismatch: behind the last `*`, which then matches one more byte.
    // Only the last star has to be retried, so the time is not exponential.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match step(&pattern[p..], text[t]) {
            Step::Star => {
                p += 1;
                retry = Some((p, t));
                continue;
            }
            Step::Match(width) => {
                p += width;
                t += 1;
                continue;
            }
            Step::Fail => {}
        }
        let Some((star, from)) = retry else {
            return false;
        };
        p = star;
        t = from + 1;
        retry = Some((star, t));
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Escapes the characters of `text` that have a meaning in a glob.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

enum Step {
    Star,
    /// The byte matches this many bytes of the pattern.
    Match(usize),
    Fail,
}

fn step(pattern: &[u8], byte: u8) -> Step {
    let (hit, width) = match pattern {
        [] => return Step::Fail,
        [b'*', ..] => return Step::Star,
        [b'?', ..] => (true, 1),
        [b'[', ..] => class(pattern, byte),
        [b'\\', escaped, ..] => (*escaped == byte, 2),
        [literal, ..] => (*literal == byte, 1),
    };
    if hit { Step::Match(width) } else { Step::Fail }
}

/// Reads a class such as `[^a-c\]]`. Returns whether it contains `byte`, and its length.
///
/// A class without an end stops with the pattern, as in Redis.
fn class(pattern: &[u8], byte: u8) -> (bool, usize) {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut hit = false;
    loop {
        match &pattern[at.min(pattern.len())..] {
            [] => break,
            [b'\\', escaped, ..] => {
                hit |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [low, b'-', high, ..] => {
                let (low, high) = if low <= high {
                    (low, high)
                } else {
                    (high, low)
                };
                hit |= (low..=high).contains(&&byte);
                at += 3;
            }
            [literal, ..] => {
                hit |= *literal == byte;
                at += 1;
            }
        }
    }
    (hit != negated, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn agrees_with_redis_on_its_documented_examples() {
        for (pattern, text, expected) in [
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("**", "", true),
            ("[a", "a", true),
            ("[", "a", false),
            (r"[\]]", "]", true),
            ("[]", "]", false),
            ("?", "é", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        assert!(!matches("a*".repeat(64) + "b", "a".repeat(2_000)));
    }

    proptest! {
        #[test]
        fn escaped_text_matches_itself_and_nothing_else(text in ".{0,16}", other in ".{0,16}") {
            let pattern = escape(&text);

            prop_assert!(matches(&pattern, &text));
            prop_assert_eq!(matches(&pattern, &other), text == other);
        }

        #[test]
        fn arbitrary_patterns_never_panic(pattern: Vec<u8>, text: Vec<u8>) {
            matches(pattern, text);
        }
    }
}
