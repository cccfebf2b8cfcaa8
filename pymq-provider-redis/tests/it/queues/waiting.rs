//! Takes that wait, that are dropped, or that lose their connection.

use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::Wait;
use pymq_core::{Connect, ErrorKind};
use tokio::time::{sleep, timeout};

use super::{LIST, LONG, bodies, get, put, until_len, up_to};
use crate::server::{Server, soon};

#[tokio::test]
async fn a_take_dropped_on_the_way_goes_back_in_order() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    for opts in [up_to(3), up_to(3).lease(LONG), up_to(3).wait(Wait::Forever)] {
        put(&provider, 0..5).await;
        raw.run::<()>(&["CLIENT", "PAUSE", "200", "WRITE"]).await;

        // The command is sent, and its answer comes after the caller has left.
        assert!(
            timeout(
                Duration::from_millis(50),
                provider.queue_get("q", opts.clone())
            )
            .await
            .is_err()
        );

        raw.run::<()>(&["CLIENT", "UNPAUSE"]).await;
        // The server keeps this order: when this put is done, the abandoned take is done too.
        put(&provider, 5..6).await;
        until_len(&mut raw, 6).await;
        let all = get(&provider, up_to(9)).await;
        assert_eq!(bodies(&all), [0, 1, 2, 3, 4, 5], "{opts:?}");
        assert!(all.iter().all(|delivery| delivery.attempt == 1), "{opts:?}");
    }
}

#[tokio::test]
async fn a_take_whose_answer_is_late_loses_nothing() {
    let server = Server::start(&[]).await;
    let config = server.config().op_timeout(Duration::from_secs(1));
    let (provider, mut raw) = (config.connect().await.unwrap(), server.raw().await);
    put(&provider, 0..3).await;
    raw.run::<()>(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;

    let error = provider.queue_get("q", up_to(2)).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Timeout);
    raw.run::<()>(&["CLIENT", "UNPAUSE"]).await;
    // Sent on the same connection: when it is answered, the abandoned take has happened.
    provider.queue_stats("q").await.unwrap();
    until_len(&mut raw, 3).await;
    assert_eq!(bodies(&get(&provider, up_to(9)).await), [0, 1, 2]);
}

#[tokio::test]
async fn closing_gives_undelivered_messages_back() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    put(&provider, 0..3).await;
    raw.run::<()>(&["CLIENT", "PAUSE", "300", "WRITE"]).await;
    let taking = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { provider.queue_get("q", up_to(2).wait(Wait::Forever)).await }
    });
    sleep(Duration::from_millis(50)).await;

    provider.close().await.unwrap();

    assert_eq!(taking.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    let listed: Vec<String> = raw.run(&["LRANGE", LIST, "0", "-1"]).await;
    assert_eq!(listed, ["2", "1", "0"]);
}

#[tokio::test]
async fn a_dropped_provider_still_gives_back() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    put(&provider, 0..3).await;
    raw.run::<()>(&["CLIENT", "PAUSE", "100", "WRITE"]).await;

    assert!(
        timeout(Duration::from_millis(50), provider.queue_get("q", up_to(2)))
            .await
            .is_err()
    );
    drop(provider);

    sleep(Duration::from_millis(100)).await;
    until_len(&mut raw, 3).await;
}

#[tokio::test]
async fn a_waiting_take_outlives_its_connections() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let waiting = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { get(&provider, up_to(1).wait(Wait::Forever)).await }
    });
    for _ in 0..5 {
        sleep(Duration::from_millis(50)).await;
        raw.run::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
    }

    raw.run::<()>(&["LPUSH", LIST, "7"]).await;

    assert_eq!(bodies(&soon(waiting).await.unwrap()), [7]);
}

#[tokio::test]
async fn waiting_callers_share_one_connection_that_ends_after_them() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    // A queue that had a message is waited at by a blocking command.
    put(&provider, [0]).await;
    assert_eq!(bodies(&get(&provider, up_to(1)).await), [0]);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { get(&provider, up_to(1).wait(Wait::Forever)).await })
        })
        .collect();
    // Without the one that watches quiet queues.
    let clients = |list: String| list.lines().filter(|one| !one.contains("flags=t")).count();
    let blocked = async {
        while !raw
            .run::<String>(&["INFO", "clients"])
            .await
            .contains("blocked_clients:1")
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon(blocked).await;
    // Commands, waiting, and the connection of this test.
    assert_eq!(clients(raw.run(&["CLIENT", "LIST"]).await), 3);

    put(&provider, 0..20).await;
    let mut taken_by_all = Vec::new();
    for one in waiting {
        taken_by_all.extend(bodies(&soon(one).await.unwrap()));
    }
    taken_by_all.sort_unstable();
    assert_eq!(taken_by_all, (0..20).collect::<Vec<_>>());

    let gone = async {
        while clients(raw.run(&["CLIENT", "LIST"]).await) > 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    soon(gone).await;
}
