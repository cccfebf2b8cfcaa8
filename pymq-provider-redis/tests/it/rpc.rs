//! Remote calls on the wire: with this provider, with payloads of Python, and with forged payloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pymq_core::provider::{Provider, PutOptions, Replies, Reply, RequestOptions, Target};
use pymq_core::{Bus, ErrorKind, Message, RemoteError};
use tokio::task::{JoinHandle, JoinSet};

use crate::server::{Raw, Server, soon};

const PREFIX: &str = "__eventbus:global:";

/// Serves `channel` with the arguments as the result.
async fn echo(
    provider: &Arc<dyn Provider>,
    channel: &str,
    runs: Arc<AtomicUsize>,
) -> JoinHandle<()> {
    let mut requests = provider.rpc_listen(channel).await.unwrap();
    tokio::spawn(async move {
        while let Ok(request) = requests.recv().await {
            runs.fetch_add(1, Ordering::Relaxed);
            let body = request.message().body.clone();
            request.respond(Reply::Ok {
                body,
                type_name: "list".into(),
            });
        }
    })
}

fn to(target: Target) -> RequestOptions {
    RequestOptions::default()
        .to(target)
        .timeout(Duration::from_secs(5))
}

async fn result(replies: &mut Replies) -> String {
    match soon(replies.recv()).await.unwrap().unwrap() {
        Reply::Ok { body, .. } => String::from_utf8(body.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Publishes a request as Python does and waits for the answer as Python does.
async fn ask(raw: &mut Raw, channel: &str, request: &str) -> String {
    let _: usize = raw
        .run(&["PUBLISH", &format!("{PREFIX}{channel}"), request])
        .await;
    let (_, answer): (String, String) = raw.run(&["BRPOP", &format!("{PREFIX}__rpc_1"), "5"]).await;
    answer
}

#[tokio::test]
async fn a_call_comes_back_and_leaves_nothing() {
    let server = Server::start(&[]).await;
    let (caller, callee, mut raw) = (
        server.connect().await,
        server.connect().await,
        server.raw().await,
    );
    let _serving = echo(&callee, "f", Arc::default()).await;

    for n in 0..50 {
        let mut replies = caller
            .rpc_request("f", Message::json(format!("[{n}]")), to(Target::One))
            .await
            .unwrap();
        assert_eq!(
            (replies.expected(), result(&mut replies).await),
            (1, format!("[{n}]"))
        );
    }
    caller.close().await.unwrap();
    callee.close().await.unwrap();

    let keys: Vec<String> = raw.run(&["KEYS", "*"]).await;
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test]
async fn a_call_without_a_server_is_no_such_remote_and_nothing_is_sent() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);

    let mut replies = provider
        .rpc_request("f", Message::json("[]"), to(Target::One))
        .await
        .unwrap();
    let one = soon(replies.recv()).await.unwrap().unwrap_err();
    let all = provider
        .rpc_request("f", Message::json("[]"), to(Target::All))
        .await
        .unwrap_err();

    assert_eq!(one.kind(), ErrorKind::NoSuchRemote);
    assert_eq!(all.kind(), ErrorKind::NoSuchRemote);
    let stats: String = raw.run(&["INFO", "commandstats"]).await;
    assert!(!stats.contains("cmdstat_publish"));
}

#[tokio::test]
async fn a_call_to_one_runs_once_and_a_call_to_all_runs_everywhere() {
    let server = Server::start(&[]).await;
    let caller = server.connect().await;
    let runs: [Arc<AtomicUsize>; 3] = Default::default();
    let mut servers = Vec::new();
    for runs in &runs {
        let callee = server.connect().await;
        echo(&callee, "f", Arc::clone(runs)).await;
        servers.push(callee);
    }

    for n in 0..200 {
        let mut replies = caller
            .rpc_request("f", Message::json(format!("[{n}]")), to(Target::One))
            .await
            .unwrap();
        assert_eq!(result(&mut replies).await, format!("[{n}]"));
    }
    let counts = runs.each_ref().map(|runs| runs.load(Ordering::Relaxed));
    assert_eq!(counts.iter().sum::<usize>(), 200, "{counts:?}");
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");

    let mut replies = caller
        .rpc_request("f", Message::json("[]"), to(Target::All))
        .await
        .unwrap();
    assert_eq!(replies.expected(), 3);
    for _ in 0..3 {
        result(&mut replies).await;
    }
    assert!(replies.recv().await.is_none());
}

#[tokio::test]
async fn many_calls_at_once_get_their_own_answers() {
    let server = Server::start(&[]).await;
    let (caller, callee) = (server.connect().await, server.connect().await);
    let _serving = echo(&callee, "f", Arc::default()).await;

    let calls = (0..500).map(|n| {
        let caller = Arc::clone(&caller);
        tokio::spawn(async move {
            let mut replies = caller
                .rpc_request("f", Message::json(format!("[{n}]")), to(Target::One))
                .await
                .unwrap();
            assert_eq!(result(&mut replies).await, format!("[{n}]"));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        soon(call).await.unwrap();
    }
}

#[tokio::test]
async fn python_is_answered_byte_for_byte() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let _serving = echo(&provider, "f", Arc::default()).await;

    for request in [
        r#"{"__obj": ["m.f", "__rpc_1", [1, "a"], {}], "__type": "pymq.core.RpcRequest"}"#,
        r#"{"__obj": ["m.f", "__rpc_1", [1, "a"], null], "__type": "pymq.RpcRequest"}"#,
        r#"{"fn": "m.f", "response_channel": "__rpc_1", "args": [1, "a"], "__type": "pymq.core.RpcRequest"}"#,
    ] {
        let answer = ask(&mut raw, "f", request).await;
        assert_eq!(
            answer,
            r#"{"__obj": ["m.f", [1, "a"], "list", false], "__type": "pymq.core.RpcResponse"}"#
        );
    }
    let named = r#"{"__obj": ["m.f", "__rpc_1", [], {"a": 1}], "__type": "pymq.core.RpcRequest"}"#;
    let answer = ask(&mut raw, "f", named).await;
    assert_eq!(
        answer,
        r#"{"__obj": ["m.f", ["keyword arguments are not supported"], "TypeError", true], "__type": "pymq.core.RpcResponse"}"#
    );
}

#[tokio::test]
async fn an_answer_that_is_not_taken_expires() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let _serving = echo(&provider, "f", Arc::default()).await;
    let request = r#"{"__obj": ["f", "__rpc_2", [], {}], "__type": "pymq.core.RpcRequest"}"#;
    let _: usize = raw.run(&["PUBLISH", "__eventbus:global:f", request]).await;

    soon(async {
        loop {
            let ttl: i64 = raw.run(&["TTL", "__eventbus:global:__rpc_2"]).await;
            if (290..=300).contains(&ttl) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn forged_and_plain_payloads_touch_nothing() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let runs = Arc::new(AtomicUsize::new(0));
    let _serving = echo(&provider, "f", Arc::clone(&runs)).await;
    let _: usize = raw.run(&["LPUSH", "__eventbus:global:jobs", "1"]).await;

    for payload in [
        r#"{"__obj": ["f", "jobs", [], {}], "__type": "pymq.core.RpcRequest"}"#,
        r#"{"__obj": ["f", "__rpc_1", [], {}]}"#,
        "1",
        "RpcRequest",
        "\"pymq.core.RpcRequest\"",
        r#"{"__type": "pymq.core.RpcRequest"}"#,
        r#"{"__obj": [["#,
    ] {
        let _: usize = raw.run(&["PUBLISH", "__eventbus:global:f", payload]).await;
    }
    let good = r#"{"__obj": ["f", "__rpc_1", [], {}], "__type": "pymq.core.RpcRequest"}"#;
    ask(&mut raw, "f", good).await;

    assert_eq!(runs.load(Ordering::Relaxed), 1);
    let keys: Vec<String> = raw.run(&["KEYS", "*"]).await;
    assert_eq!(keys, ["__eventbus:global:jobs"]);
    assert_eq!(raw.run::<i64>(&["TTL", "__eventbus:global:jobs"]).await, -1);
}

#[tokio::test]
async fn a_call_passes_at_maxmemory() {
    let server = Server::start(&[]).await;
    let (provider, caller, mut raw) = (
        server.connect().await,
        server.connect().await,
        server.raw().await,
    );
    let other = server.connect().await;
    let _serving = (
        echo(&provider, "f", Arc::default()).await,
        echo(&other, "f", Arc::default()).await,
    );
    let _: () = raw.run(&["CONFIG", "SET", "maxmemory", "1"]).await;

    let put = caller
        .queue_put("q", vec![Message::json("1")], PutOptions::default())
        .await
        .unwrap_err();
    let mut replies = caller
        .rpc_request("f", Message::json("[1]"), to(Target::One))
        .await
        .unwrap();

    assert_eq!(put.kind(), ErrorKind::OutOfMemory, "{put:?}");
    assert_eq!(result(&mut replies).await, "[1]");
}

#[tokio::test]
async fn replies_given_before_a_close_are_sent() {
    let server = Server::start(&[]).await;
    let caller = server.connect().await;
    for _ in 0..20 {
        let callee = server.connect().await;
        let mut requests = callee.rpc_listen("f").await.unwrap();
        let mut replies = caller
            .rpc_request("f", Message::json("[]"), to(Target::One))
            .await
            .unwrap();
        let request = soon(requests.recv()).await.unwrap();

        request.respond(Reply::Err(RemoteError::new("ValueError", "no")));
        callee.close().await.unwrap();

        let Reply::Err(error) = soon(replies.recv()).await.unwrap().unwrap() else {
            panic!("it failed")
        };
        assert_eq!(error.to_string(), "ValueError: no");
        assert_eq!(
            soon(requests.recv()).await.unwrap_err().kind(),
            ErrorKind::Closed
        );
    }
}

#[tokio::test]
async fn close_ends_pending_calls() {
    let server = Server::start(&[]).await;
    let (caller, callee) = (server.connect().await, server.connect().await);
    let _requests = callee.rpc_listen("f").await.unwrap();
    let mut replies = caller
        .rpc_request("f", Message::json("[]"), to(Target::One))
        .await
        .unwrap();

    caller.close().await.unwrap();

    assert_eq!(
        soon(replies.recv()).await.unwrap().unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test]
async fn an_expired_request_is_not_run() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let runs = Arc::new(AtomicUsize::new(0));
    let _serving = echo(&provider, "f", Arc::clone(&runs)).await;
    let expired = r#"{"__obj": ["f", "__rpc_1", [], {}], "__type": "pymq.core.RpcRequest", "__pymq": {"timeout": 0}}"#;
    let _: usize = raw.run(&["PUBLISH", "__eventbus:global:f", expired]).await;

    ask(
        &mut raw,
        "f",
        r#"{"__obj": ["f", "__rpc_1", [], {}], "__type": "pymq.core.RpcRequest"}"#,
    )
    .await;

    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_server_gone_while_a_request_is_on_its_way_still_answers() {
    let server = Server::start(&[]).await;
    let (provider, caller) = (server.connect().await, server.connect().await);
    for _ in 0..100 {
        let requests = provider.rpc_listen("f").await.unwrap();
        let (call, ()) = tokio::join!(
            caller.rpc_request("f", Message::json("[]"), to(Target::All)),
            async {
                tokio::task::yield_now().await;
                drop(requests);
            }
        );
        match call {
            Ok(mut replies) => assert!(matches!(
                soon(replies.recv()).await,
                Some(Ok(Reply::Err(_)))
            )),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSuchRemote),
        }
    }
}

#[tokio::test]
async fn no_call_finds_its_remote_missing_while_a_subscription_reconnects() {
    let server = Server::start(&[]).await;
    let mut raw = server.raw().await;
    let (caller, callee) = (
        Bus::new(server.connect().await),
        Bus::new(server.connect().await),
    );
    let double = |n: u32| async move { n * 2 };
    callee.expose("f", double).await.unwrap().keep();
    let stub = caller
        .stub::<(u32,), u32>("f")
        .timeout(Duration::from_secs(4));
    assert_eq!(stub.call((0,)).await.unwrap(), 0);

    let (mut calls, mut missing) = (JoinSet::new(), 0);
    let call = |n| {
        let stub = stub.clone();
        async move { (n, stub.call((n,)).await.map_err(|error| error.kind())) }
    };
    for n in 0..40 {
        calls.spawn(call(n));
        let _: usize = raw.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        // Without the bus, the gap is visible.
        let probe =
            caller
                .provider()
                .unwrap()
                .rpc_request("f", Message::json("[0]"), to(Target::All));
        missing += usize::from(probe.await.is_err());
        calls.spawn(call(n + 1_000));
        let (_, outcome) = soon(call(n + 2_000)).await;
        assert_eq!(outcome, Ok((n + 2_000) * 2));
    }

    let mut answered = 0;
    for (n, outcome) in calls.join_all().await {
        match outcome {
            Ok(answer) => {
                assert_eq!(answer, n * 2);
                answered += 1;
            }
            // The connection was broken with the request in it.
            Err(kind) => assert_eq!(kind, ErrorKind::Timeout),
        }
    }
    assert!(missing > 0 && answered >= 40, "{missing}, {answered}");
}

#[tokio::test]
async fn calls_survive_killed_connections() {
    let server = Server::start(&[]).await;
    let (caller, callee, mut raw) = (
        server.connect().await,
        server.connect().await,
        server.raw().await,
    );
    let _serving = echo(&callee, "f", Arc::default()).await;
    for _ in 0..5 {
        let _: usize = raw.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        let _: usize = raw
            .run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
        soon(async {
            loop {
                let call = caller
                    .rpc_request("f", Message::json("[1]"), to(Target::One))
                    .await;
                if let Ok(mut replies) = call
                    && let Ok(Some(Ok(Reply::Ok { .. }))) =
                        tokio::time::timeout(Duration::from_millis(500), replies.recv()).await
                {
                    return;
                }
            }
        })
        .await;
    }
}
