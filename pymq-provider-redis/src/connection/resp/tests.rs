use proptest::prelude::*;

use super::decoder::{MAX_DEPTH, MAX_LINE};
use super::*;

fn decode(text: &[u8]) -> Result<Option<Reply>, Malformed> {
    let mut decoder = Decoder::default();
    decoder.buffer.extend_from_slice(text);
    decoder.next()
}

fn text(text: &'static str) -> Reply {
    Reply::Text(Bytes::from_static(text.as_bytes()))
}

#[test]
fn every_type_is_read() {
    for (bytes, value) in [
        ("+OK\r\n", text("OK")),
        ("-ERR no\r\n", Reply::Error(Bytes::from_static(b"ERR no"))),
        (":-12\r\n", Reply::Int(-12)),
        ("$-1\r\n", Reply::Null),
        ("*-1\r\n", Reply::Null),
        ("_\r\n", Reply::Null),
        ("$4\r\n\r\n+1\r\n", text("\r\n+1")),
        ("$0\r\n\r\n", text("")),
        (",1.5\r\n", text("1.5")),
        ("#t\r\n", Reply::Int(1)),
        ("#f\r\n", Reply::Int(0)),
        ("(12345678901234567890\r\n", text("12345678901234567890")),
        ("=7\r\ntxt:a b\r\n", text("a b")),
        ("!3\r\nBAD\r\n", Reply::Error(Bytes::from_static(b"BAD"))),
        ("*0\r\n", Reply::List(vec![])),
        (
            "*2\r\n:1\r\n*1\r\n$-1\r\n",
            Reply::List(vec![Reply::Int(1), Reply::List(vec![Reply::Null])]),
        ),
        (
            "%1\r\n+a\r\n:2\r\n",
            Reply::List(vec![text("a"), Reply::Int(2)]),
        ),
        ("~1\r\n:1\r\n", Reply::List(vec![Reply::Int(1)])),
        (">1\r\n+message\r\n", Reply::Push(vec![text("message")])),
    ] {
        assert_eq!(decode(bytes.as_bytes()), Ok(Some(value)), "{bytes:?}");
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes.as_bytes()[..end]), Ok(None), "{bytes:?}");
        }
    }
}

#[test]
fn what_is_not_resp_is_refused() {
    let deep = "*1\r\n".repeat(MAX_DEPTH + 1) + ":1\r\n";
    let long = format!("+{}", "x".repeat(MAX_LINE));
    for bytes in [
        "x\r\n",
        "+a\n",
        "$x\r\n",
        "$-2\r\n",
        "*99999999999\r\n",
        ":1a\r\n",
        "\r\n",
        &deep,
        &long,
    ] {
        assert_eq!(decode(bytes.as_bytes()), Err(Malformed), "{bytes:.20}");
    }
}

#[test]
fn a_large_payload_is_not_copied() {
    let large = Bytes::from(vec![b'x'; MIN_UNCOPIED]);
    let small = Bytes::from_static(b"y");

    let command = Command::with_payloads(&[b"LPUSH", b"k"], [&small, &large, &small]);

    assert_eq!(command.rest[0].as_ptr(), large.as_ptr());
    let sent: Vec<u8> = [&command.head]
        .into_iter()
        .chain(&command.rest)
        .flat_map(|part| part.to_vec())
        .collect();
    assert_eq!(
        sent,
        Command::new([b"LPUSH", &b"k"[..], &small, &large, &small]).head
    );
    assert_eq!(sent.len(), command.len());
}

#[test]
fn a_command_is_an_array_of_strings() {
    let command = Command::new(["SET", "", "a\r\nb"]);

    assert_eq!(
        command.head,
        "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n"
    );
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_values(
        words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        cuts in prop::collection::vec(1_usize..9, 1..9),
    ) {
        // A command is an array of strings, so it can be read as an answer.
        let one = Command::new(&words).head;
        let two = [one.clone(), one].concat();
        let mut decoder = Decoder::default();
        let (mut values, mut at, mut cut) = (Vec::new(), 0, cuts.iter().cycle());
        while at < two.len() {
            let end = two.len().min(at + cut.next().unwrap());
            decoder.buffer.extend_from_slice(&two[at..end]);
            at = end;
            while let Some(value) = decoder.next().unwrap() {
                values.push(value);
            }
        }
        let words = words.into_iter().map(|word| Reply::Text(word.into())).collect();
        let list = Reply::List(words);
        prop_assert_eq!(values, [list.clone(), list]);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        decoder.buffer.extend_from_slice(&bytes);
        while let Ok(Some(_)) = decoder.next() {}
    }
}
