//! Topics on the wire.

use std::time::Duration;

use pymq_core::provider::{Filter, Incoming, Subscription};
use pymq_core::{Bus, ErrorKind, Message, Received};

use crate::server::{Server, soon};

fn topic(name: &str) -> Filter {
    Filter::Topic(name.to_owned())
}

async fn next(subscription: &mut Subscription) -> (String, Message) {
    match soon(subscription.recv()).await.unwrap() {
        Incoming::Message(published) => (published.topic().to_owned(), published.message().clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_event_is_pythons_on_the_wire() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let mut events = provider.subscribe(topic("news")).await.unwrap();

    let reached: usize = raw
        .run(&["PUBLISH", "__eventbus:global:news", "[1, NaN]"])
        .await;

    assert_eq!(reached, 1);
    assert_eq!(
        next(&mut events).await,
        ("news".to_owned(), Message::json("[1, NaN]"))
    );
}

#[tokio::test]
async fn one_wire_subscription_serves_all_and_the_last_one_ends_it() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let mut first = provider.subscribe(topic("t")).await.unwrap();
    let mut second = provider.subscribe(topic("t")).await.unwrap();

    assert_eq!(provider.publish("t", Message::json("1")).await.unwrap(), 1);
    assert_eq!(next(&mut first).await.1, Message::json("1"));
    assert_eq!(next(&mut second).await.1, Message::json("1"));

    soon(first.unsubscribe()).await;
    assert_eq!(provider.publish("t", Message::json("2")).await.unwrap(), 1);
    soon(second.unsubscribe()).await;
    let channels: Vec<String> = raw.run(&["PUBSUB", "CHANNELS"]).await;
    assert!(channels.is_empty(), "{channels:?}");
}

#[tokio::test]
async fn dropping_and_subscribing_again_needs_no_pause() {
    let server = Server::start(&[]).await;
    let (provider, publisher) = (server.connect().await, server.connect().await);
    for round in 0..300 {
        let mut events = provider.subscribe(topic("t")).await.unwrap();
        let message = Message::json(round.to_string());

        assert_eq!(
            publisher.publish("t", message.clone()).await.unwrap(),
            1,
            "round {round}"
        );
        assert_eq!(next(&mut events).await.1, message);
    }
}

#[tokio::test]
async fn a_pattern_sees_its_own_namespace_only_and_no_requests() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let mut events = provider
        .subscribe(Filter::Pattern("*".to_owned()))
        .await
        .unwrap();

    let request = r#"{"__obj": ["f", "__rpc_1", [], {}], "__type": "pymq.core.RpcRequest"}"#;
    let _: usize = raw.run(&["PUBLISH", "__eventbus:global:f", request]).await;
    let _: usize = raw.run(&["PUBLISH", "__eventbus:globalx:a", "1"]).await;
    let _: usize = raw.run(&["PUBLISH", "__eventbus:global:a.b", "2"]).await;

    assert_eq!(
        next(&mut events).await,
        ("a.b".to_owned(), Message::json("2"))
    );
}

#[tokio::test]
async fn a_thousand_subscriptions_come_and_go() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let all = futures_util::future::join_all(
        (0..1_000).map(|n| provider.subscribe(topic(&n.to_string()))),
    );
    let mut all: Vec<Subscription> = soon(all).await.into_iter().map(Result::unwrap).collect();

    for n in 0..1_000 {
        let _: usize = raw
            .run(&["PUBLISH", &format!("__eventbus:global:{n}"), "1"])
            .await;
    }
    for events in &mut all {
        next(events).await;
    }
    soon(futures_util::future::join_all(
        all.into_iter().map(Subscription::unsubscribe),
    ))
    .await;

    let channels: Vec<String> = raw.run(&["PUBSUB", "CHANNELS"]).await;
    assert!(channels.is_empty(), "{}", channels.len());
}

#[tokio::test]
async fn a_dropped_subscribe_leaves_nothing() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    for polls in 0..6 {
        let subscribing = provider.subscribe(topic("t"));
        tokio::pin!(subscribing);
        for _ in 0..polls {
            if futures_util::poll!(&mut subscribing).is_ready() {
                break;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    // Commands to Redis are in order: when the marker is gone, the earlier ones are done too.
    let marker = provider.subscribe(topic("marker")).await.unwrap();
    soon(marker.unsubscribe()).await;
    let channels: Vec<String> = raw.run(&["PUBSUB", "CHANNELS"]).await;
    assert!(channels.is_empty(), "{channels:?}");
}

#[tokio::test]
async fn close_ends_subscriptions_and_connections() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let mut events = provider.subscribe(topic("t")).await.unwrap();

    soon(provider.close()).await.unwrap();
    soon(provider.close()).await.unwrap();

    assert_eq!(
        soon(events.recv()).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(
        provider.subscribe(topic("t")).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(
        provider
            .publish("t", Message::json("1"))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Closed
    );
    drop((provider, events));
    soon(async {
        loop {
            let clients: String = raw.run(&["CLIENT", "LIST"]).await;
            if clients.lines().count() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_drop_without_close_ends_everything() {
    let server = Server::start(&[]).await;
    let mut raw = server.raw().await;
    let provider = server.connect().await;
    let mut events = provider.subscribe(topic("t")).await.unwrap();
    let served = provider.rpc_listen("f").await.unwrap();

    drop(provider);

    assert_eq!(
        soon(events.recv()).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    drop(served);
    soon(async {
        loop {
            let clients: String = raw.run(&["CLIENT", "LIST"]).await;
            if clients.lines().count() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn buffered_events_that_no_server_took_are_reported() {
    let server = Server::start(&[]).await;
    let config = server.config().op_timeout(Duration::from_millis(500));
    let bus = Bus::connect(config).await.unwrap();
    let topic = bus.topic("t");
    topic.publish_nowait(&0).await.unwrap();
    soon(bus.flush()).await.unwrap();

    drop(server);
    for n in 0..5 {
        topic.publish_nowait(&n).await.unwrap();
    }
    let error = soon(bus.flush()).await.unwrap_err();

    assert!(error.to_string().contains("5 events"), "{error}");
    assert_eq!(bus.stats().unpublished, 5);
    soon(bus.flush()).await.unwrap();
}

#[tokio::test]
async fn a_buffered_event_that_is_refused_fails_alone() {
    let server = Server::start(&["--proto-max-bulk-len", "1mb"]).await;
    let bus = Bus::connect(server.config()).await.unwrap();
    let topic = bus.topic("t");
    let mut events = topic.stream::<String>().await.unwrap();

    for text in ["a".to_owned(), "b".repeat(1 << 20), "c".to_owned()] {
        topic.publish_nowait(&text).await.unwrap();
    }
    let error = soon(bus.flush()).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("1 events"), "{error}");
    assert_eq!(bus.stats().unpublished, 1);
    for text in ["a", "c"] {
        let event = soon(events.recv()).await.unwrap();
        assert!(matches!(event, Received::Event(event, _) if event == text));
    }
}

#[tokio::test]
async fn a_batch_of_events_is_one_write_in_order() {
    let server = Server::start(&[]).await;
    let (publisher, mut raw) = (server.connect().await, server.raw().await);
    let subscriber = server.connect().await;
    let mut events = subscriber.subscribe(topic("b")).await.unwrap();
    let messages = ["a", "b", "b"].map(|topic| (topic.into(), Message::json("1")));

    let reached = publisher.publish_all(messages.to_vec()).await;

    let reached: Vec<_> = reached.into_iter().map(Result::unwrap).collect();
    assert_eq!(reached, [0, 1, 1]);
    for _ in 0..2 {
        assert_eq!(next(&mut events).await.1, Message::json("1"));
    }
    let stats: String = raw.run(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_publish:calls=3"), "{stats}");
}
