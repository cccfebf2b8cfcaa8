//! Nothing that we send harms a Python peer: it does not end its event loop, raise in its decoder,
//! or make it import a name.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

use pymq_conformance::Outcome;
use pymq_conformance::python::Peers;
use pymq_core::provider::PutOptions;
use pymq_core::{ErrorKind, Json, Message, Raw, RemoteError};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::shop::{PLACED, basket};

cases! {
    rust_refuses_to_write_what_json_does_not_have,
    nothing_rust_sends_ends_the_event_loop_of_python,
    nothing_rust_answers_raises_in_the_decoder_of_python,
    the_text_of_an_exception_is_never_changed,
    python_imports_no_name_that_no_type_declares,
}

async fn rust_refuses_to_write_what_json_does_not_have(peers: Peers) -> Outcome {
    let kind = |error: pymq_core::Error| error.kind();
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let value = vec![BTreeMap::from([("a", number)])];
        assert_eq!(
            peers.bus.topic("news").publish(&value).await.map_err(kind),
            Err(ErrorKind::Codec)
        );
        assert_eq!(
            peers
                .bus
                .queue::<Vec<BTreeMap<&str, f64>>>("jobs")
                .put(&value)
                .await
                .map_err(kind),
            Err(ErrorKind::Codec)
        );
        assert_eq!(
            peers
                .bus
                .stub::<_, ()>("f")
                .call((number,))
                .await
                .map_err(kind),
            Err(ErrorKind::Codec)
        );
    }
    assert!(peers.payloads("jobs").await?.is_empty());
    Ok(())
}

/// Bodies that are marked as JSON, and would raise in Python's decoder or end its event loop.
fn harmful() -> Vec<Message> {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let mut harmful: Vec<Message> = [
        &b"\xff"[..],
        b"\"\xed\xa0\x80\"",
        b"",
        b"{",
        b"\"\n\"",
        b"nul",
        b"[1] 2",
        b"\xef\xbb\xbf1",
    ]
    .map(Message::json)
    .to_vec();
    harmful.push(Message::json(nested(3_000)));
    harmful.push(Message::json(nested(100_000)));
    harmful.push(Message::json("9".repeat(5_000)));
    harmful.push(Message::bytes(&b"\xff\x00"[..]));
    harmful.push(Message::json("1").with_header("\u{0}\u{ffff}", "\"\\ud800"));
    harmful
}

async fn nothing_rust_sends_ends_the_event_loop_of_python(peers: Peers) -> Outcome {
    peers.python_hears("news").await?;
    let provider = peers.bus.provider()?;
    for message in harmful() {
        provider.publish("news", message.clone()).await?;
        peers.python.run("seen.get()").await?;
        provider
            .queue_put("jobs", vec![message], PutOptions::default())
            .await?;
        peers.python.run("pymq.queue('jobs').get_nowait()").await?;
    }

    peers.bus.topic("news").publish("alive").await?;
    assert_eq!(peers.python.repr("seen.get()").await?, "'alive'");
    assert!(
        peers.python.errors().await?.is_empty(),
        "{:?}",
        peers.python.errors().await?
    );
    Ok(())
}

async fn nothing_rust_answers_raises_in_the_decoder_of_python(peers: Peers) -> Outcome {
    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Null, |inside, _| Value::Array(vec![inside]))
    }
    peers
        .bus
        .expose("pairs", async || BTreeSet::from([(1, 2), (3, 4)]))
        .await?
        .keep();
    peers
        .bus
        .expose("lists", async || BTreeSet::from([vec!["a]\""]]))
        .await?
        .keep();
    peers
        .bus
        .expose("texts", async || BTreeSet::from(["[", "{\\\""]))
        .await?
        .keep();
    peers
        .bus
        .expose("deep", async || Json(nested(900)))
        .await?
        .keep();
    let long = RawValue::from_string("9".repeat(5_000))?;
    let long = move || ready(Json(long.clone()));
    peers.bus.expose("long", long).await?.keep();
    let odd = RemoteError::with_args("__main__.\u{0}", &[nested(50)])?;
    let odd = move || ready(Err::<u8, _>(odd.clone()));
    peers.bus.expose("odd", odd).await?.keep();

    assert_eq!(
        peers
            .python
            .repr("pymq.stub('pairs', timeout=30)()")
            .await?,
        "[[1, 2], [3, 4]]"
    );
    assert_eq!(
        peers
            .python
            .repr("pymq.stub('lists', timeout=30)()")
            .await?,
        r#"[['a]"']]"#
    );
    assert_eq!(
        peers
            .python
            .repr(r#"pymq.stub('texts', timeout=30)() == {'[', '{\\"'}"#)
            .await?,
        "True"
    );
    for name in ["deep", "long"] {
        let raised = peers
            .python
            .raises(&format!("pymq.stub({name:?}, timeout=30)()"))
            .await?;
        assert_eq!(
            (raised.type_name.as_str(), &raised.args[0]),
            ("RemoteInvocationError", &json!("ValueError")),
            "{name}"
        );
    }
    assert_eq!(
        peers
            .python
            .raises("pymq.stub('odd', timeout=30)()")
            .await?
            .type_name,
        "RemoteInvocationError"
    );
    Ok(())
}

async fn the_text_of_an_exception_is_never_changed(peers: Peers) -> Outcome {
    // Our calls have a number. A text with one is not mistaken for it.
    peers
        .python
        .run(
            "
            @pymq.remote('fail')
            def fail():
                raise ValueError(text)
            text = ', '.join(f'fail#{n}' for n in range(100))
            ",
        )
        .await?;
    peers.until_listening("fail", 1).await?;
    let text: String = peers.python.eval("text").await?;

    for _ in 0..3 {
        let error = peers
            .bus
            .stub::<_, ()>("fail")
            .call(())
            .await
            .expect_err("it succeeded");

        assert_eq!(
            error.remote().map(RemoteError::message),
            Some(text.as_str())
        );
    }
    Ok(())
}

async fn python_imports_no_name_that_no_type_declares(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            names = set()
            of_pymq = pymq.typing.locate
            def locate(name):
                names.add(name)
                return of_pymq(name)
            pymq.typing.locate = locate
            pymq.expose(lambda a, b: None, 'anything')
            ",
        )
        .await?;
    peers.python_hears("news").await?;
    peers.python_hears("shop.events.Placed").await?;
    peers.python_hears("shop.events.Basket").await?;
    peers.until_listening("anything", 1).await?;
    let (bus, news) = (&peers.bus, peers.bus.topic("news"));

    bus.header("__type", "os.system").publish(&PLACED).await?;
    bus.publish(&basket()).await?;
    news.publish(&json!({"__type": "os.system", "__obj": 1}))
        .await?;
    news.publish(&BTreeMap::from([("__type", "os.system")]))
        .await?;
    news.publish(&vec!["__type", "os.system"]).await?;
    news.publish(&("__type", "os.system")).await?;
    news.publish(&None::<u8>).await?;
    news.publish(&PLACED).await?;
    news.publish(&Raw::from(r#"{"__type": "os.system"}"#))
        .await?;
    peers.python.run("for n in range(9): seen.get()").await?;
    bus.queue::<Value>("jobs")
        .put(&json!({"__type": "os.system"}))
        .await?;
    peers.python.run("pymq.queue('jobs').get_nowait()").await?;
    bus.stub::<_, ()>("anything")
        .call((json!({"__type": "os.system"}), "os.system"))
        .await?;
    bus.expose("os.system", async || Json(json!({"__type": "os.system"})))
        .await?
        .keep();
    bus.expose("fail", async || {
        Err::<u8, _>(RemoteError::new("os.system", "os.system"))
    })
    .await?
    .keep();
    peers
        .python
        .run("pymq.stub('os.system', timeout=30)()")
        .await?;
    peers
        .python
        .raises("pymq.stub('fail', timeout=30)()")
        .await?;

    let names: BTreeSet<String> = peers.python.eval("list(names)").await?;
    let declared = [
        "NoneType",
        "dict",
        "list",
        "pymq.core.RpcRequest",
        "pymq.core.RpcResponse",
        "shop.events.Basket",
        "shop.events.Placed",
        "tuple",
    ];
    assert_eq!(
        names.iter().map(String::as_str).collect::<Vec<_>>(),
        declared
    );
    Ok(())
}
