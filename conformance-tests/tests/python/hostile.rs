//! Bad input and hostile input: inert, carried exactly, or refused with the payload; and nothing we send can harm a Python
//! peer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use conformance_tests::python::Peers;
use conformance_tests::wait::soon;
use conformance_tests::{Failure, Outcome};
use pymq::codec::Decode;
use pymq::provider::PutOptions;
use pymq::{ErrorKind, Events, Json, Message, Raw, RemoteError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::shop::{PLACED, Placed, basket};

cases! {
    type_names_are_inert_text,
    a_request_by_another_tag_is_an_event,
    a_forged_response_queue_gets_no_answer_and_no_expiry,
    forged_answers_in_an_inbox_disturb_no_call,
    what_is_no_number_or_text_of_ours_is_refused_with_its_payload,
    what_is_refused_as_a_value_is_carried_exactly_as_raw_bytes,
    what_no_lease_can_read_is_kept_as_a_dead_letter,
    arguments_that_cannot_be_read_are_told_to_the_python_caller,
    duplicate_keys_are_pythons_in_a_map_and_an_error_in_a_struct,
    nesting_past_the_limit_is_refused_with_its_payload,
    rust_refuses_to_write_what_json_does_not_have,
    nothing_rust_sends_ends_the_event_loop_of_python,
    nothing_rust_answers_raises_in_the_decoder_of_python,
    the_text_of_an_exception_is_never_changed,
    python_imports_no_name_that_no_type_declares,
}

/// Publishes bytes past our own side.
async fn publish(peers: &Peers, topic: &str, payload: &[u8]) -> Outcome {
    let mut raw = peers.harness.raw().await?;
    Ok(redis::cmd("PUBLISH")
        .arg(peers.key(topic))
        .arg(payload)
        .exec_async(&mut raw)
        .await?)
}

/// Puts bytes into a queue past our own side.
async fn put(peers: &Peers, queue: &str, payload: &[u8]) -> Outcome {
    let mut raw = peers.harness.raw().await?;
    Ok(redis::cmd("LPUSH")
        .arg(peers.key(queue))
        .arg(payload)
        .exec_async(&mut raw)
        .await?)
}

async fn next<T: Decode>(events: &mut Events<T>) -> pymq::Result<Option<T>> {
    let received = soon("an event", events.recv())
        .await
        .map_err(|_| pymq::Error::new(ErrorKind::Timeout, "an event"))?;
    Ok(received?.into_event())
}

#[track_caller]
fn refused<T: Debug>(result: pymq::Result<T>, payload: &[u8]) {
    let error = result.expect_err("it was read");
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    assert_eq!(error.payload().map(AsRef::as_ref), Some(payload), "{error}");
}

async fn type_names_are_inert_text(peers: Peers) -> Outcome {
    let long = format!("\"{}\"", "x.".repeat(100_000));
    let mut events = peers.bus.topic("news").stream::<Placed>().await?;
    let names = [
        "\"os.system\"",
        "\"subprocess.Popen\"",
        "\"\"",
        "\"::\"",
        "\"../../etc/passwd\"",
        "\"\\u0000\"",
        "null",
        "5",
        "[]",
        "{\"__type\": \"os.system\"}",
        &long,
    ];
    for name in names {
        for payload in [
            format!(r#"{{"order": 17, "total": 9.0, "__type": {name}}}"#),
            format!(r#"{{"__type": {name}, "__obj": {{"order": 17, "total": 9.0}}}}"#),
            format!(r#"{{"__list": [17, 9.0], "__type": {name}}}"#),
            format!(
                r#"{{"__obj": {{"order": 17, "total": 9.0}}, "__type": {name}, "__pymq": {{"attempt":1}}}}"#
            ),
        ] {
            publish(&peers, "news", payload.as_bytes()).await?;
            assert_eq!(next(&mut events).await?, Some(PLACED));
            put(&peers, "jobs", payload.as_bytes()).await?;
            assert_eq!(peers.bus.queue::<Placed>("jobs").get().await?, PLACED);
        }
    }
    Ok(())
}

/// Exposes a function that counts its runs.
async fn counting(peers: &Peers, name: &str) -> Result<Arc<AtomicUsize>, Failure> {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let count = move |_: Option<Value>| {
        let runs = Arc::clone(&counted);
        async move { runs.fetch_add(1, Ordering::Relaxed) + 1 }
    };
    peers.bus.expose(name, count).await?.keep();
    Ok(runs)
}

/// Calls once more, so that whatever came before has been dealt with; answers how often the function has run by then.
async fn runs_now(peers: &Peers, name: &str) -> Outcome<usize> {
    peers
        .python
        .eval(&format!("pymq.stub({name:?}, timeout=30)()"))
        .await
}

async fn a_request_by_another_tag_is_an_event(peers: Peers) -> Outcome {
    let runs = counting(&peers, "count").await?;
    let elements = r#"["count", "__rpc_left", [], {}]"#;
    for payload in [
        format!(r#"{{"__obj": {elements}, "__type": "pymq.core.RpcRequests"}}"#),
        format!(r#"{{"__obj": {elements}, "__type": "os.system"}}"#),
        format!(r#"{{"__obj": {elements}}}"#),
        format!(r#"{{"__list": {elements}, "__type": "list", "x": "pymq.core.RpcRequest"}}"#),
        elements.to_owned(),
    ] {
        publish(&peers, "count", payload.as_bytes()).await?;
    }

    assert_eq!(runs_now(&peers, "count").await?, 1);
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    assert!(peers.payloads("__rpc_left").await?.is_empty());
    Ok(())
}

async fn a_forged_response_queue_gets_no_answer_and_no_expiry(peers: Peers) -> Outcome {
    let runs = counting(&peers, "count").await?;
    peers.python.run("pymq.queue('jobs').put('work')").await?;
    let long = format!("__rpc_{}", "x".repeat(1_000));
    for inbox in [
        "jobs",
        "",
        "__rpc",
        "_rpc_x",
        "x__rpc_y",
        " __rpc_x",
        "../__rpc_x",
        &long,
    ] {
        // In both forms, and with arguments that alone would be answered by an error.
        for request in [
            json!({"__obj": ["count", inbox, [], {}], "__type": "pymq.core.RpcRequest"}),
            json!({"__obj": ["count", inbox, 5, {"a": 1}], "__type": "pymq.core.RpcRequest"}),
            json!({"fn": "count", "response_channel": inbox, "args": [], "__type": "pymq.RpcRequest"}),
        ] {
            publish(&peers, "count", request.to_string().as_bytes()).await?;
        }
    }
    for inbox in ["null", "5", "[\"__rpc_x\"]", "\"\\u005f_rp"] {
        let request = format!(
            r#"{{"__obj": ["count", {inbox}, [], {{}}], "__type": "pymq.core.RpcRequest"}}"#
        );
        publish(&peers, "count", request.as_bytes()).await?;
    }

    assert_eq!(
        runs_now(&peers, "count").await?,
        1,
        "a forged request was run"
    );
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    let mut raw = peers.harness.raw().await?;
    let mut ours: Vec<String> = redis::cmd("KEYS")
        .arg(peers.key("*"))
        .query_async(&mut raw)
        .await?;
    ours.retain(|key| !key.contains("__rpc_ping"));
    assert_eq!(ours, [peers.key("jobs")]);
    assert_eq!(peers.payloads("jobs").await?, ["\"work\""]);
    assert_eq!(
        redis::cmd("TTL")
            .arg(peers.key("jobs"))
            .query_async::<i64>(&mut raw)
            .await?,
        -1
    );
    Ok(())
}

async fn forged_answers_in_an_inbox_disturb_no_call(peers: Peers) -> Outcome {
    peers
        .python
        .run(
            "
            inboxes = queue.Queue()
            of_pymq = pymq.provider.base.DefaultSkeletonMethod._queue_response
            def noting(skeleton, request, response):
                inboxes.put(request.response_channel)
                of_pymq(skeleton, request, response)
            pymq.provider.base.DefaultSkeletonMethod._queue_response = noting
            pymq.expose(lambda n: 2 * n, 'double')
            ",
        )
        .await?;
    peers.until_listening("double", 1).await?;
    let double = peers.bus.stub::<_, u32>("double");
    assert_eq!(double.call((1,)).await?, 2);
    let inbox: String = peers.python.eval("inboxes.get()").await?;

    for forged in [
        &b""[..],
        b"\xff\xfe",
        b"[",
        b"5",
        br#"{"__obj": ["double#1", 7, "int", false], "__type": "pymq.core.RpcResponse"}"#,
        br#"{"__obj": ["double#18446744073709551616", 7, "int", false]}"#,
        br##"{"__obj": ["#", 7, "int", false]}"##,
        br#"{"__obj": ["double#99", 7]}"#,
        br#"{"__obj": [["double#2"], 7, "int", false]}"#,
        br#"{"fn": "double#-1", "result": null, "error": "no"}"#,
    ] {
        put(&peers, &inbox, forged).await?;
        assert_eq!(double.call((4,)).await?, 8);
    }
    Ok(())
}

/// What Python sends, or accepts, and a Rust value cannot be.
const UNSAYABLE: [&[u8]; 14] = [
    b"NaN",
    b"[1, Infinity]",
    b"{\"a\": {\"b\": [-Infinity]}}",
    b"{\"__obj\": [NaN], \"__type\": \"tuple\"}",
    b"1e400",
    b"340282366920938463463374607431768211456",
    b"[\"\\ud800\"]",
    b"{\"\\udfff\": 1}",
    b"\xff",
    b"\"\xc3\x28\"",
    b"",
    b" ",
    b"\xef\xbb\xbf1",
    b"[1] 2",
];

async fn what_is_no_number_or_text_of_ours_is_refused_with_its_payload(peers: Peers) -> Outcome {
    let mut events = peers.bus.topic("news").stream::<Value>().await?;
    let jobs = peers.bus.queue::<Value>("jobs");
    for payload in UNSAYABLE {
        publish(&peers, "news", payload).await?;
        refused(next(&mut events).await, payload);
        publish(&peers, "news", b"1").await?;
        assert_eq!(
            next(&mut events).await?,
            Some(json!(1)),
            "the subscription goes on"
        );

        put(&peers, "jobs", payload).await?;
        refused(jobs.get().await, payload);
    }
    // A big integer is never a float in silence.
    put(&peers, "jobs", b"18446744073709551616").await?;
    refused(jobs.get().await, b"18446744073709551616");
    Ok(())
}

async fn what_is_refused_as_a_value_is_carried_exactly_as_raw_bytes(peers: Peers) -> Outcome {
    let mut events = peers.bus.topic("news").stream::<Raw>().await?;
    let jobs = peers.bus.queue::<Raw>("jobs");
    for payload in UNSAYABLE {
        publish(&peers, "news", payload).await?;
        assert_eq!(next(&mut events).await?, Some(Raw::from(payload)));

        put(&peers, "jobs", payload).await?;
        jobs.lease().await?.nack().await?;
        assert_eq!(jobs.get().await?, Raw::from(payload));
    }
    Ok(())
}

async fn what_no_lease_can_read_is_kept_as_a_dead_letter(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<Value>("jobs");
    for payload in UNSAYABLE {
        put(&peers, "jobs", payload).await?;
        drop(jobs.try_lease().await);
    }

    let letters = jobs.dead_letters().peek(100).await?;

    let kept: Vec<&[u8]> = letters
        .iter()
        .map(|letter| letter.message().body.as_ref())
        .collect();
    assert_eq!(kept, UNSAYABLE);
    assert!(jobs.is_empty().await?);
    Ok(())
}

async fn arguments_that_cannot_be_read_are_told_to_the_python_caller(peers: Peers) -> Outcome {
    let runs = counting(&peers, "count").await?;
    for argument in [
        "float('nan')",
        "[float('inf')]",
        "10**40",
        "2**64",
        "'\\ud800'",
        "eval('['*200 + ']'*200)",
    ] {
        let raised = peers
            .python
            .raises(&format!("pymq.stub('count', timeout=30)({argument})"))
            .await?;

        assert_eq!(raised.type_name, "RemoteInvocationError", "{argument}");
        assert!(
            raised.args[0] == "ValueError" || raised.args[0] == "TypeError",
            "{argument}: {:?}",
            raised.args
        );
    }
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    assert_eq!(runs_now(&peers, "count").await?, 1);
    Ok(())
}

async fn duplicate_keys_are_pythons_in_a_map_and_an_error_in_a_struct(peers: Peers) -> Outcome {
    #[derive(Debug, Deserialize)]
    struct Stock {
        #[expect(dead_code, reason = "it is never read")]
        left: u8,
    }
    let payload = br#"{"left": 1, "left": 2}"#;
    put(&peers, "jobs", payload).await?;
    put(&peers, "jobs", payload).await?;
    put(&peers, "jobs", payload).await?;

    assert_eq!(
        peers.python.repr("pymq.queue('jobs').get()").await?,
        "{'left': 2}"
    );
    assert_eq!(
        peers.bus.queue::<Value>("jobs").get().await?,
        json!({"left": 2})
    );
    refused(peers.bus.queue::<Stock>("jobs").get().await, payload);
    Ok(())
}

async fn nesting_past_the_limit_is_refused_with_its_payload(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<Value>("jobs");
    for (depth, is_read) in [(127, true), (129, false), (500, false), (100_000, false)] {
        let payload = "[".repeat(depth) + &"]".repeat(depth);
        put(&peers, "jobs", payload.as_bytes()).await?;
        let read = jobs.get().await;

        if is_read {
            read?;
        } else {
            refused(read, payload.as_bytes());
        }
    }
    // Python writes and reads deeper ones, so they pass by way of us.
    peers
        .python
        .run("deep = eval('['*150 + ']'*150)\npymq.queue('jobs').put({'deep': deep})")
        .await?;
    peers.bus.queue::<Raw>("jobs").lease().await?.nack().await?;
    assert_eq!(
        peers
            .python
            .repr("pymq.queue('jobs').get() == {'deep': deep}")
            .await?,
        "True"
    );
    Ok(())
}

async fn rust_refuses_to_write_what_json_does_not_have(peers: Peers) -> Outcome {
    let kind = |error: pymq::Error| error.kind();
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let value = vec![BTreeMap::from([("a", number)])];
        assert_eq!(
            peers.bus.topic("news").publish(&value).await.map_err(kind),
            Err(ErrorKind::Codec)
        );
        assert_eq!(
            peers.bus.queue("jobs").put(&value).await.map_err(kind),
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

/// Bodies that say of themselves that they are JSON, and would raise in Python's decoder or end its event loop.
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
    let provider = peers.bus.provider();
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
            ("RemoteInvocationError", &json!("RuntimeError")),
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
    // Our calls bear a number; a text that has one in it is no sign of that.
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
    bus.queue("jobs")
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
