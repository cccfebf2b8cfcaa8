//! The scanner of JSON texts: it accepts what `serde_json` accepts, and finds the same parts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pymq_core::codec::json::{Object, elements, is_readable};
use serde::de::IgnoredAny;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let is_python = is_readable(text);
    // Only Python reads these words. Only `serde_json` reads what is very deep or very long.
    let has_words = text.contains("NaN") || text.contains("Infinity");
    let is_extreme = text.len() > 500;
    assert!(is_json == is_python || has_words || is_extreme, "{text}");

    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return;
    };
    if let Some(object) = Object::scan(text) {
        for (name, member) in value.as_object().expect("the scanner says so") {
            let found = object.get(name).expect("each member is found");
            assert_eq!(serde_json::from_str::<Value>(found).expect("it is a value"), *member);
        }
        assert_eq!(&text[object.end()..object.end() + 1], "}");
    }
    if let Some([first]) = elements(text) {
        let first = first.map(|found| serde_json::from_str::<Value>(found).expect("it is a value"));
        assert_eq!(first.as_ref(), value.as_array().expect("the scanner says so").first());
    }
});
