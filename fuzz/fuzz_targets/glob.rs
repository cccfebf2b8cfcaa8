//! Globs: nothing panics or runs without end, and an escaped text matches only itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pymq_core::glob;

fuzz_target!(|parts: (&[u8], &[u8], &str, &str)| {
    let (pattern, text, one, other) = parts;
    glob::matches(pattern, text);
    let escaped = glob::escape(one);
    assert!(glob::matches(&escaped, one));
    assert_eq!(glob::matches(&escaped, other), one == other);
});
