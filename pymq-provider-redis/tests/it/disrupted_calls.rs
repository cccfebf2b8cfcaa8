//! Remote calls on a server that stops answering for a while.

use std::time::Duration;

use futures_util::future::join_all;
use pymq_core::provider::{Provider, Reply, RequestOptions};
use pymq_core::{Connect, ErrorKind, Message};
use tokio::time::sleep;

use crate::server::{Raw, Server, soon};

/// Calls `f`, disturbs the server, and answers only then. The answer must arrive.
async fn an_open_call_outlives<F: Future<Output = ()>>(
    provider: &dyn Provider,
    mishap: impl FnOnce() -> F,
) {
    let mut requests = provider.rpc_listen("f").await.unwrap();
    let mut replies = provider
        .rpc_request("f", Message::json("[]"), RequestOptions::default())
        .await
        .unwrap();
    let request = soon(requests.recv()).await.unwrap();

    mishap().await;

    let answer = Reply::Ok {
        body: "1".into(),
        type_name: "int".into(),
    };
    request.respond(answer.clone());
    assert_eq!(soon(replies.recv()).await.unwrap().unwrap(), answer);
}

#[tokio::test]
async fn a_first_call_outlives_a_server_that_is_busy() {
    // The name of this limit in Redis 6.2, which later versions accept too.
    let server = Server::start(&["--lua-time-limit", "1"]).await;
    let (caller, callee) = (server.connect().await, server.connect().await);
    let mut raw = server.raw().await;
    let mut requests = callee.rpc_listen("f").await.unwrap();
    let script = "local t repeat t = redis.call('TIME') until tonumber(t[1]) >= tonumber(ARGV[1])";
    let now: Vec<String> = raw.run(&["TIME"]).await;
    let end = (now[0].parse::<u64>().unwrap() + 3).to_string();
    let busy = tokio::spawn(async move {
        let _: () = raw.run(&["EVAL", script, "0", &end]).await;
    });
    sleep(Duration::from_millis(100)).await;

    let mut replies = caller
        .rpc_request("f", Message::json("[]"), RequestOptions::default())
        .await
        .unwrap();

    let answer = Reply::Ok {
        body: "1".into(),
        type_name: "int".into(),
    };
    soon(requests.recv()).await.unwrap().respond(answer.clone());
    assert_eq!(soon(replies.recv()).await.unwrap().unwrap(), answer);
    busy.await.unwrap();
}

#[tokio::test]
async fn an_open_call_outlives_a_server_that_is_a_replica_for_a_while() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let accepted = async |raw: &mut Raw| -> usize {
        let info: String = raw.run(&["INFO", "stats"]).await;
        let (_, rest) = info.split_once("total_connections_received:").unwrap();
        rest.lines().next().unwrap().trim().parse().unwrap()
    };

    an_open_call_outlives(&*provider, || async move {
        let before = accepted(&mut raw).await;
        let _: () = raw.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
        // The provider leaves a read-only server for a new connection, which may reach another
        // server.
        soon(async {
            while accepted(&mut raw).await < before + 3 {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        sleep(Duration::from_secs(1)).await;
        let opened = accepted(&mut raw).await - before;
        assert!(opened < 40, "{opened} connections in about a second");
        let _: () = raw.run(&["REPLICAOF", "NO", "ONE"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_call_that_waits_behind_others_gets_no_more_time() {
    let server = Server::start(&["--enable-debug-command", "yes"]).await;
    let provider = server
        .config()
        .op_timeout(Duration::from_millis(300))
        .connect()
        .await
        .unwrap();
    let _requests = provider.rpc_listen("f").await.unwrap();
    let asleep = server.silence("5").await;

    // Far more calls than are sent at once.
    let calls = (0..2_000).map(|_| async {
        let options = RequestOptions::default();
        let mut replies = provider
            .rpc_request("f", Message::json("[]"), options)
            .await?;
        replies.recv().await.unwrap()
    });
    let outcomes = join_all(calls).await;

    assert!(!asleep.is_finished(), "they waited for the server");
    for outcome in outcomes {
        let kind = outcome.unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::Timeout | ErrorKind::Disconnected),
            "{kind:?}"
        );
    }
    asleep.await.unwrap();
}
