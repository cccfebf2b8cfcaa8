//! Connections that go, and servers that come back.

use std::time::{Duration, Instant};

use pymq::provider::{Filter, Incoming};
use pymq::{Connect, ErrorKind, Message};
use tokio::time::sleep;

use crate::server::{Server, soon};

#[tokio::test]
async fn killed_connections_come_back_with_one_gap() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let mut events = provider
        .subscribe(Filter::Topic("t".to_owned()))
        .await
        .unwrap();

    for round in 0..20 {
        let _: usize = raw.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert_eq!(
            soon(events.recv()).await.unwrap(),
            Incoming::Lagged { missed: None },
            "round {round}"
        );
        let reached: usize = raw.run(&["PUBLISH", "__eventbus:global:t", "1"]).await;
        assert_eq!(reached, 1);
        assert!(matches!(
            soon(events.recv()).await.unwrap(),
            Incoming::Message { .. }
        ));
    }
}

#[tokio::test]
async fn a_server_that_was_stopped_keeps_one_subscription_and_not_two() {
    let server = Server::start(&["--enable-debug-command", "yes"]).await;
    let config = server.config().op_timeout(Duration::from_millis(200));
    let (provider, mut raw) = (config.connect().await.unwrap(), server.raw().await);
    let mut events = provider
        .subscribe(Filter::Topic("t".to_owned()))
        .await
        .unwrap();

    // It is silent for longer than the connection is trusted, which is then given up on our side alone.
    let _: () = raw.run(&["DEBUG", "SLEEP", "3"]).await;
    assert_eq!(
        soon(events.recv()).await.unwrap(),
        Incoming::Lagged { missed: None }
    );

    soon(async {
        let channel = "__eventbus:global:t";
        while raw
            .run::<(String, usize)>(&["PUBSUB", "NUMSUB", channel])
            .await
            .1
            != 1
        {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_idle_handle_does_not_notice_that_its_connection_was_killed() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);

    for _ in 0..20 {
        let killed: usize = raw
            .run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
        assert!(killed >= 1);
        soon(async {
            // The killed connection is read to its end before anything is sent on it.
            while raw.run::<String>(&["CLIENT", "LIST"]).await.lines().count() < 2 {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        provider.publish("t", Message::json("1")).await.unwrap();
    }
}

#[tokio::test]
async fn an_outage_ends_each_call_in_time_and_itself_when_the_server_is_back() {
    let server = Server::start(&[]).await;
    let port = server.port();
    let provider = server
        .config()
        .op_timeout(Duration::from_millis(300))
        .connect()
        .await
        .unwrap();
    let mut events = provider
        .subscribe(Filter::Topic("t".to_owned()))
        .await
        .unwrap();
    drop(server);

    let before = Instant::now();
    let error = provider.publish("t", Message::json("1")).await.unwrap_err();
    let subscribe = provider
        .subscribe(Filter::Topic("u".to_owned()))
        .await
        .unwrap_err();

    assert!(
        before.elapsed() < Duration::from_secs(4), // two calls, of 5 s each by default
        "{:?}",
        before.elapsed()
    );
    assert_eq!(
        (error.kind(), subscribe.kind()),
        (ErrorKind::Disconnected, ErrorKind::Disconnected)
    );
    assert!(error.is_retryable());
    sleep(Duration::from_secs(1)).await;
    let _server = Server::start_on(port).await;
    assert_eq!(
        soon(events.recv()).await.unwrap(),
        Incoming::Lagged { missed: None }
    );
    soon(async { while provider.publish("t", Message::json("2")).await.is_err() {} }).await;
    assert!(matches!(
        soon(events.recv()).await.unwrap(),
        Incoming::Message { .. }
    ));
}

#[tokio::test]
async fn a_server_that_stops_answering_is_a_timeout_with_an_unknown_outcome() {
    let server = Server::start(&["--enable-debug-command", "yes"]).await;
    let provider = server
        .config()
        .op_timeout(Duration::from_millis(200))
        .connect()
        .await
        .unwrap();
    let mut raw = server.raw().await;
    let busy = tokio::spawn(async move {
        let _: () = raw.run(&["DEBUG", "SLEEP", "1.5"]).await;
    });
    sleep(Duration::from_millis(50)).await;

    for _ in 0..2 {
        let before = Instant::now();
        let error = provider.publish("t", Message::json("1")).await.unwrap_err();
        assert!(before.elapsed() < Duration::from_secs(4));
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(error.outcome_unknown());
    }
    busy.await.unwrap();

    soon(async { while provider.publish("t", Message::json("1")).await.is_err() {} }).await;
}
