//! Connections that are lost, and servers that come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pymq_core::provider::{Filter, GetOptions, Incoming, PutOptions, Reply, RequestOptions, Wait};
use pymq_core::{Bus, Connect, ErrorKind, LifecycleEvent, Message, Status};
use pymq_provider_redis::RedisConfig;
use tokio::time::sleep;

use crate::freezing_proxy::FreezingProxy;
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
            Incoming::Message(_)
        ));
    }
}

#[tokio::test]
async fn a_stopped_server_keeps_one_subscription_and_not_two() {
    let server = Server::start(&["--enable-debug-command", "yes"]).await;
    let config = server.config().op_timeout(Duration::from_millis(200));
    let (provider, mut raw) = (config.connect().await.unwrap(), server.raw().await);
    let mut events = provider
        .subscribe(Filter::Topic("t".to_owned()))
        .await
        .unwrap();

    // The silence is longer than the provider waits, so the connection is abandoned on our side
    // alone.
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
            // The killed connection is read to its end before a command is sent on it.
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
    let server = Server::start_for_restarts().await;
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
        Incoming::Message(_)
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
    let busy = server.silence("1.5").await;

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

#[tokio::test]
async fn a_subscription_that_is_refused_after_an_outage_ends_with_the_cause() {
    let acl = "--user app on >pw ~* &* +@all";
    let server = Server::start(&acl.split(' ').collect::<Vec<_>>()).await;
    let config: RedisConfig = server.url("app:pw@").parse().unwrap();
    let (provider, mut raw) = (config.connect().await.unwrap(), server.raw().await);
    let topic = |name: &str| Filter::Topic(name.to_owned());
    let mut kept = provider.subscribe(topic("kept")).await.unwrap();
    let mut taken = provider.subscribe(topic("taken")).await.unwrap();

    // Redis disconnects subscribers that lose their right.
    let _: () = raw
        .run(&[
            "ACL",
            "SETUSER",
            "app",
            "resetchannels",
            "&__eventbus:global:kept",
        ])
        .await;

    let error = soon(taken.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
    assert!(error.to_string().contains("`taken`"), "{error}");
    assert_eq!(
        soon(kept.recv()).await.unwrap(),
        Incoming::Lagged { missed: None }
    );
    provider.publish("kept", Message::json("1")).await.unwrap();
    assert!(matches!(
        soon(kept.recv()).await.unwrap(),
        Incoming::Message(_)
    ));
}

#[tokio::test]
async fn a_close_does_not_wait_for_a_server_that_does_not_answer() {
    let server = Server::start(&["--enable-debug-command", "yes"]).await;
    let provider = server
        .config()
        .op_timeout(Duration::from_secs(60))
        .connect()
        .await
        .unwrap();
    let mut requests = provider.rpc_listen("f").await.unwrap();
    let _replies = provider
        .rpc_request("f", Message::json("[]"), RequestOptions::default())
        .await
        .unwrap();
    let request = soon(requests.recv()).await.unwrap();
    let asleep = server.silence("6").await;

    // An answer, a sweep and the deletion of the inbox are in flight.
    request.respond(Reply::Ok {
        body: "1".into(),
        type_name: "int".into(),
    });
    let wait = GetOptions::default().wait(Wait::Forever);
    let waiting = provider.queue_get("q", wait);
    let (taken, closed) = tokio::join!(waiting, async {
        sleep(Duration::from_millis(50)).await;
        soon(provider.close()).await
    });

    closed.unwrap();
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Closed);
    assert!(!asleep.is_finished(), "it waited for the server");
    asleep.await.unwrap();
}

/// Returns a server behind a proxy that can freeze: its connections stay open, and no bytes pass.
async fn behind_freezing_proxy() -> (Server, FreezingProxy) {
    let server = Server::start(&[]).await;
    let proxy = FreezingProxy::start(server.port()).await;
    (server, proxy)
}

#[tokio::test]
async fn a_ping_does_not_wait_for_a_command_to_give_up() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let (server, proxy) = behind_freezing_proxy().await;
    let config: RedisConfig = format!("redis://127.0.0.1:{}", proxy.port())
        .parse()
        .unwrap();
    // Longer than `soon` waits. A ping that takes as long as a command fails the test.
    let config = config.op_timeout(Duration::from_secs(60));
    let bus = Bus::connect(config).await.unwrap();
    soon(bus.ping(Duration::MAX)).await.unwrap();

    proxy.freeze();
    let silent = soon(bus.ping(TIMEOUT)).await.unwrap_err();
    drop((server, proxy));
    let gone = soon(bus.ping(TIMEOUT)).await.unwrap_err();

    assert_eq!(silent.kind(), ErrorKind::Timeout);
    assert!(
        matches!(gone.kind(), ErrorKind::Timeout | ErrorKind::Disconnected),
        "{gone:?}"
    );
    soon(bus.close()).await.unwrap();
}

#[tokio::test]
async fn a_ping_of_a_server_that_is_gone_ends_in_time() {
    let server = Server::start(&[]).await;
    let config = server.config().op_timeout(Duration::from_secs(60));
    let bus = Bus::connect(config).await.unwrap();
    drop(server);

    for _ in 0..3 {
        let gone = soon(bus.ping(Duration::from_millis(300))).await;

        let kind = gone.unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::Timeout | ErrorKind::Disconnected),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn half_open_connections_are_found_on_every_kind() {
    let (_server, proxy) = behind_freezing_proxy().await;
    let config: RedisConfig = format!("redis://127.0.0.1:{}", proxy.port())
        .parse()
        .unwrap();
    let provider = config
        .op_timeout(Duration::from_millis(300))
        .connect()
        .await
        .unwrap();
    let mut events = provider
        .subscribe(Filter::Topic("t".to_owned()))
        .await
        .unwrap();
    let mut requests = provider.rpc_listen("f").await.unwrap();
    let request = || provider.rpc_request("f", Message::json("[]"), RequestOptions::default());
    let _replies = request().await.unwrap();
    let _request = soon(requests.recv()).await.unwrap();
    let [quiet, busy] = ["quiet", "busy"].map(|queue| {
        let provider = Arc::clone(&provider);
        let wait = GetOptions::default().wait(Wait::Forever);
        move || tokio::spawn(async move { provider.queue_get(queue, wait).await })
    });
    let put = async |queue| {
        let one = vec![Message::json("1")];
        provider.queue_put(queue, one, PutOptions::default()).await
    };
    // A queue that had a message is waited at on a connection of its own.
    put("busy").await.unwrap();
    soon(busy.clone()()).await.unwrap().unwrap();
    let waiting = [("quiet", quiet()), ("busy", busy())];
    soon(async {
        while proxy.open() < 4 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut lifecycle = provider.health().lifecycle();

    proxy.freeze();

    // Commands by two timeouts, the other connections by their own checks.
    for _ in 0..2 {
        let error = provider.publish("u", Message::json("1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    }
    let mut back = Vec::new();
    while back.len() < 3 {
        let event = soon(lifecycle.recv()).await.unwrap();
        if let LifecycleEvent::Reconnected { connection } = event
            // Not if the queue has become quiet meanwhile.
            && connection != "waiting"
        {
            back.push(connection);
        }
    }
    back.sort_unstable();
    assert_eq!(back, ["commands", "replies", "subscriptions"]);
    assert_eq!(provider.health().status(), Status::Ready);
    assert_eq!(
        soon(events.recv()).await.unwrap(),
        Incoming::Lagged { missed: None }
    );
    for (queue, waiting) in waiting {
        put(queue).await.unwrap();
        assert_eq!(soon(waiting).await.unwrap().unwrap().len(), 1, "{queue}");
    }
    let mut replies = request().await.unwrap();
    let answer = Reply::Ok {
        body: "1".into(),
        type_name: "int".into(),
    };
    soon(requests.recv()).await.unwrap().respond(answer.clone());
    assert_eq!(soon(replies.recv()).await.unwrap().unwrap(), answer);
}

#[tokio::test]
async fn a_password_that_changes_is_reported_and_waited_for() {
    let acl = "--user app on >old ~* &* +@all";
    let server = Server::start(&acl.split(' ').collect::<Vec<_>>()).await;
    let config: RedisConfig = server.url("app:old@").parse().unwrap();
    let (provider, mut raw) = (
        config
            .op_timeout(Duration::from_millis(500))
            .connect()
            .await
            .unwrap(),
        server.raw().await,
    );
    let mut lifecycle = provider.health().lifecycle();

    let _: () = raw
        .run(&["ACL", "SETUSER", "app", "resetpass", ">new"])
        .await;
    let _: () = raw.run(&["CLIENT", "KILL", "USER", "app"]).await;

    let error = soon(async {
        loop {
            match lifecycle.recv().await.unwrap() {
                LifecycleEvent::Disconnected { error, .. } if error.kind() == ErrorKind::Auth => {
                    return error;
                }
                _ => {}
            }
        }
    })
    .await;
    assert!(!format!("{error} {error:?}").contains("old"), "{error:?}");
    assert_eq!(provider.health().status(), Status::Connecting);
    let refused = provider.publish("t", Message::json("1")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Auth, "{refused:?}");

    let _: () = raw.run(&["ACL", "SETUSER", "app", ">old"]).await;
    soon(async { while provider.publish("t", Message::json("1")).await.is_err() {} }).await;
    assert_eq!(provider.health().status(), Status::Ready);
}

#[tokio::test]
async fn an_unsubscribe_does_not_wait_for_an_outage_to_end() {
    let server = Server::start(&[]).await;
    let provider = server.connect().await;
    let topic = |name: &str| Filter::Topic(name.to_owned());
    let mut kept = provider.subscribe(topic("kept")).await.unwrap();
    let left = provider.subscribe(topic("left")).await.unwrap();
    let mut lifecycle = provider.health().lifecycle();
    drop(server);
    soon(async {
        while provider.health().status() != Status::Connecting {
            lifecycle.recv().await.unwrap();
        }
    })
    .await;

    soon(left.unsubscribe()).await;

    soon(provider.close()).await.unwrap();
    assert_eq!(
        soon(kept.recv()).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}
