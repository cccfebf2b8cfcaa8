use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn framed(body: &str) -> String {
    let payload = encode_with(
        &Message::json(body.to_owned()),
        &Extra {
            attempt: 2,
            ..Extra::default()
        },
    );
    String::from_utf8(payload.into()).unwrap()
}

#[test]
fn a_plain_json_message_is_its_body() {
    let body = Bytes::from_static(b" {\"a\": NaN, \"b\": {\"__pymq\": 1}}");
    let payload = encode(&Message::json(body.clone()));

    assert_eq!(payload, body);
    assert_eq!(
        decode(payload).body.as_ptr(),
        body.as_ptr(),
        "nothing is copied"
    );
}

#[test]
fn each_form_is_framed_as_python_reads_it() {
    for (body, frame) in [
        ("5", r#"{"__obj": 5, "__pymq": {"attempt":2}}"#),
        (
            r#"{"a": 1}"#,
            r#"{"__obj": {"a": 1}, "__pymq": {"attempt":2}}"#,
        ),
        (
            r#"{"__obj": null, "__type": "NoneType"}"#,
            r#"{"__obj": null, "__type": "NoneType", "__pymq": {"attempt":2}}"#,
        ),
        (
            r#"{"__list": [{"a": 1}], "__type": "dict"}"#,
            r#"{"__list": [{"a": 1}], "__type": "dict", "__pymq": {"attempt":2}}"#,
        ),
        (
            r#"{"__obj": 5}"#,
            r#"{"__obj": 5, "__pymq": {"attempt":2,"form":"obj"}}"#,
        ),
        (
            r#"{"x": 1, "y": 2, "__type": "m.Point"}"#,
            r#"{"__obj": {"x": 1, "y": 2}, "__type": "m.Point", "__pymq": {"attempt":2,"cut":[15,", \"__type\": \"m.Point\""]}}"#,
        ),
        (
            r#"{"__type": "m.Empty"}"#,
            r#"{"__obj": {}, "__type": "m.Empty", "__pymq": {"attempt":2,"cut":[1,"\"__type\": \"m.Empty\""]}}"#,
        ),
        (
            r#"{"a": 1, "__pymq": {}}"#,
            r#"{"__obj": {"a": 1, "__pymq": {}}, "__pymq": {"attempt":2}}"#,
        ),
    ] {
        assert_eq!(framed(body), frame);
    }
}

#[test]
fn the_frame_of_opaque_bytes_is_the_general_one() {
    for length in 0..10 {
        let message = Message::bytes(vec![0xfb; length]);

        let payload = encode(&message);

        assert_eq!(payload, frame_bytes(&message, Meta::default()));
        let general = unframe(&payload).map(|(message, _)| message);
        assert_eq!(decode_opaque(&payload), Some(message));
        assert_eq!(decode_opaque(&payload), general);
    }
}

#[test]
fn a_frame_with_anything_else_is_not_read_as_opaque_bytes() {
    let frame = |body| format!(r#"{{"__obj": "{body}", "__pymq": {{"enc":"base64"}}}}"#);
    for body in [
        "QQ",
        "QQ=",
        "Q===",
        "====",
        "=",
        "QQ==QQ==",
        "QR==",
        "Q\"",
        r#"QQ==", "a": ""#,
    ] {
        let payload = Bytes::from(frame(body));

        assert_eq!(decode_opaque(&payload), None, "{body}");
        let expected =
            unframe(&payload).map_or_else(|| Message::json(payload.clone()), |(read, _)| read);
        assert_eq!(decode(payload), expected, "{body}");
    }
}

#[test]
fn bytes_and_broken_json_are_base64() {
    for message in [
        Message::bytes("\u{0}\u{1}"),
        Message::json(&b"\xff"[..]),
        Message::json(""),
        Message::json("{"),
    ] {
        let payload = encode(&message);

        assert!(is_readable(std::str::from_utf8(&payload).unwrap()));
        assert_eq!(decode(payload), message);
    }
}

#[test]
fn what_only_looks_like_a_frame_is_a_plain_message() {
    for payload in [
        r#"{"__pymq": {}}"#,
        r#"{"a": 1, "__pymq": {}, "b": 2}"#,
        r#"{"a": 1, "__pymq": 5}"#,
        r#"{"a": 1,"__pymq": {}}"#,
        r#"{"a": 1, "__pymq": {} }"#,
        r#"{"__obj": "no base64!", "__pymq": {"enc": "base64"}}"#,
        r#"{"__obj": {}, "__type": "T", "__pymq": {"cut": [99, ""]}}"#,
        r#"{"__obj": {"é": 1}, "__type": "T", "__pymq": {"cut": [3, ""]}}"#,
    ] {
        let (message, extra) = decode_with(Bytes::from_static(payload.as_bytes()));

        assert_eq!(
            (message.body.as_ref(), extra),
            (payload.as_bytes(), Extra::default()),
            "{payload}"
        );
    }
}

#[test]
fn fields_of_a_later_release_are_ignored() {
    let (message, extra) =
        decode_with(r#"{"__obj": 5, "__pymq": {"attempt": 3, "new": [1]}}"#.into());

    assert_eq!((message, extra.attempt), (Message::json("5"), 3));
}

fn json() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("__obj".to_owned()),
        Just("__list".to_owned()),
        Just("__type".to_owned()),
        Just("__pymq".to_owned()),
        Just(r"__\u006fbj".to_owned()),
        Just(r"__pym\u0071".to_owned()),
        "[a-zé]{0,3}",
    ];
    let leaf = prop_oneof![
        Just("NaN".to_owned()),
        Just("null".to_owned()),
        Just(r#""m.T""#.to_owned()),
        Just(r#"{"attempt":1}"#.to_owned()),
        Just(r#"{"enc": "base64"}"#.to_owned()),
        Just(r#"{"cut": [3, "x"]}"#.to_owned()),
        "-?[1-9][0-9]{0,3}",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let space = "[ \n]{0,2}";
        let member = (key.clone(), space, inner.clone(), space)
            .prop_map(|(key, before, value, after)| format!("\"{key}\":{before}{value}{after}"));
        prop_oneof![
            (vec(member.clone(), 0..4), space)
                .prop_map(|(members, space)| format!("{{{space}{}}}", members.join(","))),
            vec(member, 1..4).prop_map(|members| format!("{{{}}}", members.join(", "))),
            (vec(inner, 0..3), space)
                .prop_map(|(items, space)| format!("{space}[{}]{space}", items.join(", "))),
        ]
    })
}

fn message() -> impl Strategy<Value = Message> {
    let body = prop_oneof![
        4 => json().prop_map(|body| Message::json(body.into_bytes())),
        // Frames as bodies, and frames in frames.
        2 => (json(), extra()).prop_map(|(body, extra)| {
            Message::json(encode_with(&Message::json(encode_with(&Message::json(body), &extra)), &extra))
        }),
        1 => vec(any::<u8>(), 0..64).prop_map(Message::json),
        1 => vec(any::<u8>(), 0..64).prop_map(Message::bytes),
    ];
    (body, vec(("\\PC{0,4}|__pymq", any::<String>()), 0..3)).prop_map(|(mut message, headers)| {
        message.headers = headers.into_iter().collect();
        message
    })
}

fn extra() -> impl Strategy<Value = Extra> {
    (
        prop_oneof![Just(0), any::<u32>()],
        any::<Option<u32>>(),
        any::<Option<u64>>(),
        any::<Option<String>>(),
        any::<bool>(),
        any::<bool>(),
        any::<Option<String>>(),
    )
        .prop_map(
            |(attempt, timeout, begin_by, claim, is_opaque, is_only, server)| Extra {
                attempt,
                timeout: timeout.map(|timeout| Duration::from_millis(timeout.into())),
                begin_by,
                claim,
                is_opaque,
                is_only,
                server,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_decoded_is_what_was_encoded(message in message(), extra in extra()) {
        let payload = encode_with(&message, &extra);

        prop_assert!(is_readable(std::str::from_utf8(&payload).unwrap()));
        prop_assert_eq!(decode_with(payload), (message.clone(), extra));
        prop_assert_eq!(decode(encode(&message)), message);
    }

    #[test]
    fn a_frame_of_any_payload_gives_the_payload_back(payload in json(), attempt in 1_u32..9) {
        // As when an item of another program is taken and given back.
        let (message, extra) = decode_with(payload.into());
        let again = decode_with(encode_with(&message, &Extra { attempt, ..extra }));

        prop_assert_eq!(again.0, message);
        prop_assert_eq!(again.1.attempt, attempt);
    }

    #[test]
    fn decoding_anything_never_panics(
        start in vec(any::<u8>(), 0..32),
        text in "[{}\\[\\]\",: ]{0,8}(\"__obj\": |\"__type\": |, |\"__pymq\": |\\{|\\}|[0-9]){0,12}",
    ) {
        decode(start.into());
        decode(text.into());
    }
}
