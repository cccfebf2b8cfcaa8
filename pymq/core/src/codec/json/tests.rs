use proptest::prelude::*;

use super::scanner::{MAX_DEPTH, MAX_DIGITS, plain_len};
use super::*;

#[test]
fn reads_what_python_reads() {
    for text in [
        "1",
        "-0.0",
        "1e-05",
        "1E+5",
        "NaN",
        "Infinity",
        "-Infinity",
        "\"\\ud800\"",
        " [1, \"a\", null] \n",
        "{}",
        "[]",
        "[[], {}]",
        r#"{"a": {"b": [true, false]}, "a": 2}"#,
        "\"\u{7f}\u{e9}\"",
    ] {
        assert!(is_readable(text), "{text}");
    }
    assert!(is_readable(&format!(
        "{}{}",
        "[".repeat(MAX_DEPTH - 1),
        "]".repeat(MAX_DEPTH - 1)
    )));
    assert!(is_readable(&"9".repeat(MAX_DIGITS)));
}

#[test]
fn refuses_what_python_refuses() {
    for text in [
        "",
        " ",
        "01",
        "+1",
        ".5",
        "1.",
        "1e",
        "-",
        "nul",
        "nan",
        "'a'",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12\"",
        "[1,]",
        "[,]",
        "{1: 2}",
        "{\"a\"}",
        "{\"a\": 1,}",
        "[1}",
        "1 2",
        "\u{feff}1",
        "[",
        "{\"a\": ",
    ] {
        assert!(!is_readable(text), "{text}");
    }
    assert!(!is_readable(&"[".repeat(1_000_000)));
    assert!(!is_readable(&"9".repeat(MAX_DIGITS + 1)));
}

#[test]
fn members_are_found_where_they_are() {
    let text = r#" {"a": {"b": 1} , "\u0061": [2]} "#;
    let object = Object::scan(text).unwrap();

    let values: Vec<_> = object
        .members
        .iter()
        .map(|member| &text[member.value.clone()])
        .collect();
    assert_eq!(values, [r#"{"b": 1}"#, "[2]"]);
    assert_eq!(object.position("a"), Some(1), "the last one wins");
    assert_eq!(object.position("b"), None);
    assert_eq!(&text[object.end..], "} ");
    assert_eq!(object.get("a"), Some("[2]"));
}

#[test]
fn elements_are_found_where_they_are() {
    let text = r#" [ "a,]\"", [1, 2],{"b": "}"} , NaN] "#;

    let found = [r#""a,]\"""#, "[1, 2]", r#"{"b": "}"}"#, "NaN"].map(Some);
    assert_eq!(elements(text), Some(found));
    assert_eq!(elements(text), Some([found[0], found[1]]));
    assert_eq!(elements("[ ]"), Some([None]));
    assert_eq!(elements("[1]"), Some([Some("1"), None]));
    for text in ["", "[", "]", "[1", "[1,]", "[[1]", "[1]]", "{}", "1"] {
        assert_eq!(elements::<1>(text), None, "{text}");
    }
}

#[test]
fn what_is_open_closes_in_turn_at_any_depth() {
    let nested = |depth| {
        let (mut text, mut end) = (String::new(), String::new());
        for level in 0..depth {
            let (start, close) = if level % 3 == 0 {
                ("[", "]")
            } else {
                (r#"{"a": "#, "}")
            };
            text += start;
            end.insert_str(0, close);
        }
        (text, end)
    };
    for depth in [1, 63, 64, 65, 128, MAX_DEPTH - 1] {
        let (text, end) = nested(depth);

        assert!(is_readable(&format!("{text}1{end}")), "{depth}");
        for wrong in [end.replace(']', "}"), end.replace('}', "]")] {
            assert!(
                wrong == end || !is_readable(&format!("{text}1{wrong}")),
                "{depth}"
            );
        }
    }
}

#[test]
fn the_end_of_a_plain_text_is_found_at_any_offset() {
    for len in 0..100 {
        for end in ['"', '\\', '\0', '\u{1f}'] {
            let text = format!(
                "{}{end}{}",
                "é".repeat(len % 3) + &"a".repeat(len),
                "\"\\\n".repeat(9)
            );
            assert_eq!(plain_len(text.as_bytes()), text.find(end).unwrap());
        }
        assert_eq!(plain_len(" b\u{7f}".repeat(len).as_bytes()), 3 * len);
    }
}

#[test]
fn a_text_that_needs_an_escape_is_found_at_any_offset() {
    for len in 0..100 {
        let plain = " ~az!#[]"[len % 8..].repeat(100)[..len].to_owned();
        assert!(needs_no_escape(&plain), "{plain}");
        for escaped in ['"', '\\', '\0', '\u{1f}', '\u{7f}', '\u{80}', 'é'] {
            for at in 0..=len {
                let mut text = plain.clone();
                text.insert(at, escaped);
                assert!(!needs_no_escape(&text), "{text}");
            }
        }
    }
}

#[test]
fn the_elements_noted_by_a_scan_are_those_of_the_last_value() {
    // The innermost list is empty, and no level.
    let deepest = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
    assert!(is_readable(&deepest) && !is_readable(&format!("[{deepest}]")));
    for (object, expected) in [
        (
            r#"[1, "a" , [2, 3],{}, 5]"#,
            Some([Some("1"), Some("\"a\""), Some("[2, 3]")]),
        ),
        ("[ ]", Some([None; 3])),
        (r#"[0], "__obj": [1]"#, Some([Some("1"), None, None])),
        (r#"[0], "\u005f_obj": [1]"#, Some([Some("1"), None, None])),
        (r#"[0], "__obj": {}"#, None),
        ("1", None),
        (
            &deepest,
            Some([Some(&deepest[1..deepest.len() - 1]), None, None]),
        ),
    ] {
        let text = format!(r#"{{"a": 1, "__obj": {object}, "__type": "t"}}"#);

        assert_eq!(Object::scan(&text).unwrap().elements(), expected, "{text}");
    }
    assert!(Object::scan(&format!(r#"{{"__obj": [{deepest}]}}"#)).is_none());
}

proptest! {
    #[test]
    fn agrees_with_serde_json_where_the_dialects_do(text in "[\\[\\]{}:,\"a\\\\ 0-9.eE+-]{0,16}") {
        let strict = serde_json::from_str::<serde_json::Value>(&text);
        // serde_json also refuses numbers beyond the range of a float.
        let is_out_of_range = |error: &serde_json::Error| error.to_string().contains("out of range");
        let in_range = !strict.as_ref().is_err_and(is_out_of_range);
        prop_assume!(in_range);
        prop_assert_eq!(is_readable(&text), strict.is_ok());
        prop_assert!(Object::scan(&text).is_none_or(|object| object.is_strict()));
        prop_assert_eq!(Object::scan(&text).is_some(), strict.is_ok_and(|value| value.is_object()));
    }

    #[test]
    fn never_panics(text in any::<String>()) {
        is_readable(&text);
        Object::scan(&text);
        elements::<2>(&text);
    }
}
