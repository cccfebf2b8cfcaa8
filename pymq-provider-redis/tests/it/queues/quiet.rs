//! Waits at a queue that has had no message for a while: the server tells when one comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::{Delivery, Provider, PutOptions, QueueStats, Settle, Wait};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{LIST, LONG, bodies, get, messages, put, settle_all, up_to};
use crate::server::{Raw, Server, soon};

fn wait(provider: &Arc<dyn Provider>) -> JoinHandle<Vec<Delivery>> {
    let provider = Arc::clone(provider);
    tokio::spawn(async move { get(&provider, up_to(1).wait(Wait::Forever)).await })
}

/// Waits until the server watches the keys of this many queues for this process.
async fn until_watched(raw: &mut Raw, queues: u64) {
    soon(async {
        while raw.info("tracking_total_keys").await < 3 * queues {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

async fn clients(raw: &mut Raw) -> Vec<String> {
    let list: String = raw.run(&["CLIENT", "LIST"]).await;
    list.lines().map(str::to_owned).collect()
}

/// Returns how often each command has run, without those of this test.
async fn commands(raw: &mut Raw) -> HashMap<String, u64> {
    let text: String = raw.run(&["INFO", "commandstats"]).await;
    text.lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
        .filter(|(name, _)| *name != "info")
        .map(|(name, calls)| {
            let calls = calls.split(',').next().unwrap().parse().unwrap();
            (name.to_owned(), calls)
        })
        .collect()
}

#[tokio::test]
async fn many_quiet_queues_cost_no_connection_and_no_command() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let waiting: Vec<_> = (0..50)
        .map(|number| {
            let provider = Arc::clone(&provider);
            let name = format!("q{number}");
            let opts = up_to(1).wait(Wait::Forever);
            tokio::spawn(async move { soon(provider.queue_get(&name, opts)).await.unwrap() })
        })
        .collect();
    until_watched(&mut raw, 50).await;
    // Each queue is swept once more after it is watched.
    sleep(Duration::from_millis(1_500)).await;

    let before = commands(&mut raw).await;
    sleep(Duration::from_millis(2_500)).await;
    let after = commands(&mut raw).await;

    let used: HashMap<_, _> = after
        .into_iter()
        .map(|(name, calls)| (name.clone(), calls - before.get(&name).unwrap_or(&0)))
        .filter(|(_, calls)| *calls > 0)
        .collect();
    assert!(used.keys().all(|name| name == "ping"), "{used:?}");
    // Commands, subscriptions and watches, and that of this test.
    assert_eq!(clients(&mut raw).await.len(), 3);
    for (number, one) in waiting.into_iter().enumerate() {
        let name = format!("q{number}");
        provider
            .queue_put(&name, messages([number]), PutOptions::default())
            .await
            .unwrap();
        assert_eq!(bodies(&one.await.unwrap()), [number]);
    }
}

#[tokio::test]
async fn a_wait_whose_queue_becomes_busy_and_quiet_again_gets_each_message() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    for number in 0..3 {
        // Quiet, then busy.
        for message in [2 * number, 2 * number + 1] {
            let waiting = wait(&provider);
            if message % 2 == 0 {
                until_watched(&mut raw, 1).await;
            } else {
                soon(async {
                    while raw.info("blocked_clients").await == 0 {
                        sleep(Duration::from_millis(2)).await;
                    }
                })
                .await;
            }
            let text = message.to_string();
            raw.run::<()>(&["LPUSH", LIST, &text]).await;
            assert_eq!(bodies(&soon(waiting).await.unwrap()), [message]);
        }
        let waiting = wait(&provider);
        soon(async {
            while clients(&mut raw).await.len() > 3 {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        waiting.abort();
    }
    assert!(!raw.run::<bool>(&["EXISTS", LIST]).await);
}

#[tokio::test]
async fn what_becomes_ready_by_itself_reaches_a_quiet_wait() {
    let server = Server::start(&[]).await;
    let (provider, other, mut raw) = (
        server.connect().await,
        server.connect().await,
        server.raw().await,
    );
    let waiting = wait(&provider);
    until_watched(&mut raw, 1).await;
    sleep(Duration::from_millis(1_500)).await;

    // From a process that ends before it is due.
    let delayed = PutOptions::default().delay(Duration::from_millis(400));
    other.queue_put("q", messages([1]), delayed).await.unwrap();
    drop(other);

    assert_eq!(bodies(&soon(waiting).await.unwrap()), [1]);

    // Leased by another process that dies.
    let other = server.connect().await;
    put(&other, [2]).await;
    let leased = get(&other, up_to(1).lease(Duration::from_millis(600))).await;
    assert_eq!(bodies(&leased), [2]);
    let waiting = wait(&provider);
    drop(other);

    let again = soon(waiting).await.unwrap();
    assert_eq!((bodies(&again), again[0].attempt), (vec![2], 2));
}

#[tokio::test]
async fn a_lease_that_is_given_up_far_away_wakes_a_quiet_wait() {
    let server = Server::start(&[]).await;
    let (provider, other, mut raw) = (
        server.connect().await,
        server.connect().await,
        server.raw().await,
    );
    put(&other, [1]).await;
    let leased = get(&other, up_to(1).lease(LONG)).await;
    let waiting = wait(&provider);
    until_watched(&mut raw, 1).await;

    settle_all(&other, &leased, &Settle::Release).await;

    assert_eq!(bodies(&soon(waiting).await.unwrap()), [1]);
}

#[tokio::test]
async fn a_quiet_wait_survives_what_makes_the_server_forget_it() {
    // The server remembers one key only, and says so when it forgets others.
    for options in [&[][..], &["--tracking-table-max-keys", "1"]] {
        let server = Server::start(options).await;
        let (provider, mut raw) = (server.connect().await, server.raw().await);
        for kind in ["flush", "kill", "kill and put"] {
            let waiting = wait(&provider);
            sleep(Duration::from_millis(100)).await;
            if kind == "flush" {
                raw.run::<()>(&["FLUSHALL"]).await;
                sleep(Duration::from_millis(100)).await;
            } else {
                let list = clients(&mut raw).await;
                let tracking = list.iter().find(|client| client.contains("flags=t"));
                let tracking = tracking.expect("a connection that watches");
                let id = tracking.split(' ').next().unwrap();
                let id = id.trim_start_matches("id=");
                raw.run::<()>(&["CLIENT", "KILL", "ID", id]).await;
            }
            if kind == "kill" {
                sleep(Duration::from_millis(100)).await;
            }

            raw.run::<()>(&["LPUSH", LIST, "5"]).await;

            assert_eq!(bodies(&soon(waiting).await.unwrap()), [5], "{kind}");
            sleep(Duration::from_millis(3_200)).await;
        }
    }
}

#[tokio::test]
async fn a_user_who_may_not_watch_waits_with_a_connection() {
    let acl = "--user app on nopass ~* &* +@all -client";
    let server = Server::start(&acl.split(' ').collect::<Vec<_>>()).await;
    let config: pymq_provider_redis::RedisConfig = server.url("app:x@").parse().unwrap();
    let provider = pymq_core::Connect::connect(config).await.unwrap();
    let mut raw = server.raw().await;
    for number in 0..2 {
        let waiting = wait(&provider);
        soon(async {
            while raw.info("blocked_clients").await == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        sleep(Duration::from_secs(4)).await;
        assert_eq!(raw.info("blocked_clients").await, 1, "it still waits so");

        put(&provider, [number]).await;

        assert_eq!(bodies(&soon(waiting).await.unwrap()), [number]);
    }
}

#[tokio::test]
async fn a_quiet_wait_that_ends_takes_nothing() {
    let server = Server::start(&[]).await;
    let (provider, other, mut raw) = (
        server.connect().await,
        server.connect().await,
        server.raw().await,
    );
    for round in 0..200 {
        // Not busy: a message that this process gets makes the queue busy for it.
        let leaving = provider.queue_get("q", up_to(1).wait(Wait::Forever));
        let leaving = timeout(Duration::from_micros(300 * (round % 9)), leaving);
        let (left, ()) = tokio::join!(leaving, async {
            sleep(Duration::from_micros(400 * (round % 5))).await;
            put(&other, [7]).await;
        });

        let found = match left {
            Ok(taken) => taken.unwrap(),
            Err(_elapsed) => get(&other, up_to(1).wait(Wait::For(LONG))).await,
        };

        assert_eq!(bodies(&found), [7], "round {round}");
        assert_eq!(found[0].attempt, 1);
    }
    soon(async {
        while other.queue_stats("q").await.unwrap() != QueueStats::default() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let keys: Vec<String> = raw.run(&["KEYS", "*lease*"]).await;
    assert!(keys.len() <= 1, "{keys:?}");
}

#[tokio::test]
async fn a_quiet_wait_that_ends_without_an_answer_is_empty() {
    let server = Server::start(&[]).await;
    let config = server.config().op_timeout(Duration::from_millis(500));
    let provider = pymq_core::Connect::connect(config).await.unwrap();
    let mut raw = server.raw().await;
    let wait = up_to(1).wait(Wait::For(Duration::from_secs(4)));

    let (taken, ()) = tokio::join!(provider.queue_get("q", wait), async {
        sleep(Duration::from_millis(3_700)).await;
        raw.run::<()>(&["CLIENT", "PAUSE", "600"]).await;
    });

    assert!(taken.unwrap().is_empty());
}
