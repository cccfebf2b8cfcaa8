//! Bad and hostile input: inert, carried exactly, or refused with the payload.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pymq_conformance::python::Peers;
use pymq_conformance::wait::soon;
use pymq_conformance::{Failure, Outcome};
use pymq_core::codec::Decode;
use pymq_core::{ErrorKind, Events, Raw};
use serde::Deserialize;
use serde_json::{Value, json};

use super::shop::{PLACED, Placed};

cases! {
    type_names_are_inert_text,
    what_is_no_number_or_text_of_ours_is_refused_with_its_payload,
    what_is_refused_as_a_value_is_carried_exactly_as_raw_bytes,
    what_no_lease_can_read_is_kept_as_a_dead_letter,
    arguments_that_cannot_be_read_are_told_to_the_python_caller,
    duplicate_keys_are_pythons_in_a_map_and_an_error_in_a_struct,
    nesting_past_the_limit_is_refused_with_its_payload,
}

/// Publishes bytes without our provider.
pub(super) async fn publish(peers: &Peers, topic: &str, payload: &[u8]) -> Outcome {
    let mut raw = peers.harness.raw().await?;
    Ok(redis::cmd("PUBLISH")
        .arg(peers.key(topic))
        .arg(payload)
        .exec_async(&mut raw)
        .await?)
}

/// Puts bytes into a queue without our provider.
pub(super) async fn put(peers: &Peers, queue: &str, payload: &[u8]) -> Outcome {
    let mut raw = peers.harness.raw().await?;
    Ok(redis::cmd("LPUSH")
        .arg(peers.key(queue))
        .arg(payload)
        .exec_async(&mut raw)
        .await?)
}

async fn next<T: Decode>(events: &mut Events<T>) -> pymq_core::Result<Option<T>> {
    let received = soon("an event", events.recv())
        .await
        .map_err(|_| pymq_core::Error::new(ErrorKind::Timeout, "an event"))?;
    Ok(received?.into_event())
}

#[track_caller]
fn refused<T: Debug>(result: pymq_core::Result<T>, payload: &[u8]) {
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
pub(super) async fn counting(peers: &Peers, name: &str) -> Result<Arc<AtomicUsize>, Failure> {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let count = move |_: Option<Value>| {
        let runs = Arc::clone(&counted);
        async move { runs.fetch_add(1, Ordering::Relaxed) + 1 }
    };
    peers.bus.expose(name, count).await?.keep();
    Ok(runs)
}

/// Calls once more, so that all earlier requests are processed. Returns how often the function had
/// run by then.
pub(super) async fn runs_now(peers: &Peers, name: &str) -> Outcome<usize> {
    peers
        .python
        .eval(&format!("pymq.stub({name:?}, timeout=30)()"))
        .await
}

/// Values that Python sends or accepts, and that a Rust type cannot hold.
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
    // A big integer is never silently a float.
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
    // Python writes and reads deeper ones, so they pass through our queue.
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
