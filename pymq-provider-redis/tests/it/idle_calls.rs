//! The connection for replies, which ends when no call waits.

use std::time::Duration;

use pymq_core::Message;
use pymq_core::provider::{Reply, Request, RequestOptions};
use tokio::time::sleep;

use crate::server::{Raw, Server, soon};

/// Waits until so many connections are open, without that of the test.
async fn until_connections(raw: &mut Raw, count: u64) {
    soon(async {
        while raw.info("connected_clients").await != count + 1 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn answer(request: Request) {
    request.respond(Reply::Ok {
        body: "1".into(),
        type_name: "int".into(),
    });
}

#[tokio::test]
async fn replies_need_a_connection_only_while_calls_wait() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let mut requests = provider.rpc_listen("f").await.unwrap();
    let request = || provider.rpc_request("f", Message::json("[]"), RequestOptions::default());
    for _ in 0..2 {
        let mut replies = request().await.unwrap();
        until_connections(&mut raw, 3).await;
        // Longer than one command waits for answers.
        sleep(Duration::from_millis(2_500)).await;
        assert_eq!(raw.info("connected_clients").await, 4);
        answer(soon(requests.recv()).await.unwrap());
        soon(replies.recv()).await.unwrap().unwrap();
        drop(replies);

        until_connections(&mut raw, 2).await;
    }

    // Its caller leaves, and the answer comes when no call waits.
    let replies = request().await.unwrap();
    let late = soon(requests.recv()).await.unwrap();
    drop(replies);
    until_connections(&mut raw, 2).await;
    sleep(Duration::from_millis(100)).await;
    answer(late);

    soon(async {
        while provider.health().late_replies() == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn calls_around_the_end_of_the_connection_are_answered() {
    let server = Server::start(&[]).await;
    let provider = server.connect().await;
    let mut requests = provider.rpc_listen("f").await.unwrap();
    let serving = tokio::spawn(async move {
        while let Ok(request) = requests.recv().await {
            answer(request);
        }
    });
    // The connection ends two seconds after a call, give or take.
    for pause in (1_900..2_150).step_by(25) {
        let request = provider.rpc_request("f", Message::json("[]"), RequestOptions::default());
        let mut replies = request.await.unwrap();
        assert!(soon(replies.recv()).await.unwrap().is_ok());
        drop(replies);
        sleep(Duration::from_millis(pause)).await;
    }
    serving.abort();
}
