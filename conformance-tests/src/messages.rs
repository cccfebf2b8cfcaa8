//! A message arrives as it was sent, on every path and with any content.

use pymq_core::provider::{GetOptions, Provider, PutOptions, Reply, RequestOptions};
use pymq_core::{Encoding, Message};

use crate::traffic::{receive, topic};
use crate::wait::soon;
use crate::{Failure, Harness, Outcome};

/// Headers arrive on a topic, from a queue and in a request, in their order.
pub async fn headers_round_trip(h: &dyn Harness) -> Outcome {
    let message = Message::json("[1]")
        .with_header("trace", "af01")
        .with_header("Tenant", "x y")
        .with_header("a", "b");

    round_trip(h, &message).await?;
    round_trip(h, &Message::bytes("opaque").with_header("trace", "af01")).await
}

/// A hundred headers, one of them 64 KiB long.
pub async fn many_and_large_headers(h: &dyn Harness) -> Outcome {
    let mut message = Message::json("[]").with_header("large", "x".repeat(64 << 10));
    for n in 0..100 {
        message = message.with_header(format!("header-{n}"), n.to_string());
    }

    round_trip(h, &message).await
}

/// Names and values outside of ASCII, and with characters that JSON escapes.
pub async fn unicode_headers(h: &dyn Harness) -> Outcome {
    let message = Message::json(r#"["ü"]"#)
        .with_header("größe", "火 🔥 e\u{301}")
        .with_header("escapes", "\"quoted\" \\ / \n\r\t\u{0}\u{1f}\u{7f}\u{2028}")
        .with_header("__type", "builtins.dict")
        .with_header("__pymq", "{}");

    round_trip(h, &message).await
}

/// An empty value is a value, and an empty name is a name.
pub async fn empty_header_value(h: &dyn Harness) -> Outcome {
    round_trip(
        h,
        &Message::json("[]")
            .with_header("empty", "")
            .with_header("", "unnamed"),
    )
    .await
}

/// The bytes of a JSON body are kept: spaces, order of keys, forms of numbers, escapes.
pub async fn body_is_kept_byte_for_byte(h: &dyn Harness) -> Outcome {
    for body in [
        r"[ 1,  2.0, 1e5, -0, 123456789012345678901234567890 ]",
        r#"[{"b": 1, "a": [], "b": 2}]"#,
        r#"["\u00e9é\/\ud83d\ude00"]"#,
        "[\n\ttrue, null\n]",
        r#"[{"__type": "shop.Placed", "id": 1}]"#,
    ] {
        round_trip(h, &Message::json(body)).await?;
        round_trip(h, &Message::json(body).with_header("a", "b")).await?;
    }
    Ok(())
}

/// Every form that the top level of a Python payload has, with and without headers.
pub async fn every_top_level_form_round_trips(h: &dyn Harness) -> Outcome {
    for body in [
        "1",
        "\"text\"",
        "true",
        "{}",
        r#"{"id": 1}"#,
        r#"{"id": 1, "__type": "shop.Placed"}"#,
        r#"{"__obj": null, "__type": "builtins.NoneType"}"#,
        r#"{"__obj": [1, 2], "__type": "builtins.tuple"}"#,
        r#"{"__obj": {"a": 1}}"#,
        "[]",
    ] {
        for message in [
            Message::json(body),
            Message::json(body).with_header("a", "b"),
        ] {
            through_topic(h, &message).await?;
            through_queue(h, &message).await?;
        }
    }
    Ok(())
}

/// No body is mistaken for the frame that a provider writes around bodies.
pub async fn body_that_looks_like_a_frame_round_trips(h: &dyn Harness) -> Outcome {
    let frames = [
        r#"{"__pymq": {}}"#,
        r#"{"__pymq": null}"#,
        r#"{"__pymq": {"h": {"a": "b"}, "attempt": 7, "id": "x"}}"#,
        r#"{"__obj": 1, "__pymq": {"headers": {"a": "b"}}}"#,
        r#"{"__obj": "aGk=", "__pymq": {"enc": "base64"}}"#,
        r#"{"__obj": [1], "__type": "builtins.tuple", "__pymq": {"n": 3}}"#,
        r#"{"__obj": {"__obj": 1, "__pymq": {}}, "__pymq": {"h": {}}}"#,
        r#"{"__pym\u0071": {"enc": "base64"}, "__obj": "aGk="}"#,
        r#"{"a": 1, "__pymq": 2, "__pymq": 3}"#,
    ];
    for frame in frames {
        for message in [Message::json(frame), Message::bytes(frame)] {
            let with_headers = message.clone().with_header("own", "header");
            for message in [message, with_headers] {
                through_topic(h, &message).await?;
                through_queue(h, &message).await?;
            }
        }
        let arguments = Message::json(format!("[{frame}]"));
        through_call(h, &arguments).await?;
        through_call(h, &arguments.with_header("own", "header")).await?;
    }
    Ok(())
}

/// Bytes stay bytes: all 256 values, sequences that are not UTF-8, and no bytes at all.
pub async fn non_utf8_body(h: &dyn Harness) -> Outcome {
    for body in [
        (0..=255).collect::<Vec<u8>>(),
        vec![0xff, 0xfe],
        vec![0],
        Vec::new(),
    ] {
        round_trip(h, &Message::bytes(body)).await?;
    }
    Ok(())
}

/// Bytes that happen to be JSON stay bytes, and JSON stays JSON.
pub async fn encoding_is_kept(h: &dyn Harness) -> Outcome {
    for message in [Message::bytes("[1, 2]"), Message::json("[1, 2]")] {
        round_trip(h, &message).await?;
    }
    Ok(())
}

/// When one receiver changes its copy, no other receiver sees it.
pub async fn fan_out_copies_are_independent(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let mut one = provider.subscribe(topic("t")).await?;
    let mut other = provider.subscribe(topic("t")).await?;
    let sent = Message::json("[1]").with_header("a", "b");
    provider.publish("t", sent.clone()).await?;

    let (_, mut changed) = receive(&mut one).await?;
    changed.headers.insert("a", "changed");
    changed.body.clear();

    assert_eq!(receive(&mut other).await?.1, sent);
    Ok(())
}

/// Several messages of one put come back unchanged and separate.
pub async fn a_batch_keeps_its_messages_apart(h: &dyn Harness) -> Outcome {
    let provider = h.connect().await?;
    let batch = vec![
        Message::json("[1]").with_header("n", "1"),
        Message::bytes(vec![0xff, 0x00]),
        Message::json("{}"),
        Message::bytes("").with_header("n", "4"),
    ];

    provider
        .queue_put("q", batch.clone(), PutOptions::default())
        .await?;
    let max = std::num::NonZeroUsize::MIN.saturating_add(9);
    let taken = provider
        .queue_get("q", GetOptions::default().max(max))
        .await?;

    assert_eq!(
        taken
            .into_iter()
            .map(|delivery| delivery.message)
            .collect::<Vec<_>>(),
        batch
    );
    Ok(())
}

/// Sends a message on every path. A request takes only JSON.
async fn round_trip(h: &dyn Harness, message: &Message) -> Outcome {
    through_topic(h, message).await?;
    through_queue(h, message).await?;
    if message.encoding == Encoding::Json {
        through_call(h, message).await?;
    }
    Ok(())
}

async fn through_topic(h: &dyn Harness, message: &Message) -> Outcome {
    let (publisher, subscriber) = (h.connect().await?, h.connect().await?);
    let mut subscription = subscriber.subscribe(topic("t")).await?;

    publisher.publish("t", message.clone()).await?;

    assert_eq!(
        receive(&mut subscription).await?,
        ("t".into(), message.clone()),
        "through a topic"
    );
    close([publisher, subscriber]).await
}

async fn through_queue(h: &dyn Harness, message: &Message) -> Outcome {
    let (putter, getter) = (h.connect().await?, h.connect().await?);

    putter
        .queue_put("q", vec![message.clone()], PutOptions::default())
        .await?;
    let taken = getter.queue_get("q", GetOptions::default()).await?;

    assert_eq!(taken.len(), 1, "{message:?} did not come out of the queue");
    assert_eq!(
        (&taken[0].message, taken[0].attempt),
        (message, 1),
        "through a queue"
    );
    close([putter, getter]).await
}

/// Sends the message as a request, and its body back as the reply.
async fn through_call(h: &dyn Harness, message: &Message) -> Outcome {
    let (caller, server) = (h.connect().await?, h.connect().await?);
    let mut requests = server.rpc_listen("channel").await?;

    let mut replies = caller
        .rpc_request("channel", message.clone(), RequestOptions::default())
        .await?;
    let request = soon("the request", requests.recv()).await??;
    assert_eq!(request.message(), message, "in a request");
    let reply = Reply::Ok {
        body: message.body.clone(),
        type_name: "list".into(),
    };
    request.respond(reply.clone());

    assert_eq!(
        soon("the reply", replies.recv())
            .await?
            .ok_or("no reply")??,
        reply,
        "in a reply"
    );
    close([caller, server]).await
}

async fn close(providers: [std::sync::Arc<dyn Provider>; 2]) -> Result<(), Failure> {
    for provider in providers {
        provider.close().await?;
    }
    Ok(())
}
