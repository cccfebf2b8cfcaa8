//! Messages that Redis moves to a waiting process.

use std::sync::Arc;
use std::time::Duration;

use pymq_core::ErrorKind;
use pymq_core::provider::{Part, QueueStats, Receipt, Settle, Wait};
use tokio::time::{sleep, timeout};

use super::{LIST, LONG, bodies, get, put, settle_all, up_to};
use crate::server::{Server, soon};

const LEASES: &str = "{__eventbus:global:q}:v1:leases";
const HANDOFF: &str = "0000000000000007-0123456789abcdef-00000000";

fn waiting() -> pymq_core::provider::GetOptions {
    up_to(1).wait(Wait::Forever)
}

#[tokio::test]
async fn what_was_handed_to_a_dead_process_comes_back_first() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    put(&provider, 0..3).await;
    let list = format!("{{{LIST}}}:v1:lease:{HANDOFF}");
    raw.run::<()>(&["LMOVE", LIST, &list, "RIGHT", "LEFT"])
        .await;
    raw.run::<()>(&["ZADD", LEASES, "99999999999999", HANDOFF])
        .await;
    let stats = provider.queue_stats("q").await.unwrap();
    assert_eq!(stats, QueueStats::new(2, 0, 1, 0));

    // Its lease ends.
    raw.run::<()>(&["ZADD", LEASES, "1", HANDOFF]).await;

    let stats = provider.queue_stats("q").await.unwrap();
    assert_eq!(stats, QueueStats::new(3, 0, 0, 0));
    // A peek sweeps.
    provider.queue_peek("q", Part::Ready, 1).await.unwrap();
    let first = get(&provider, waiting()).await;
    let rest = get(&provider, up_to(9)).await;
    assert_eq!((bodies(&first), bodies(&rest)), (vec![0], vec![1, 2]));
    assert_eq!(first[0].attempt, 2, "one more than the attempt that died");
    assert!(!raw.run::<bool>(&["EXISTS", LEASES]).await);
}

/// The process was late: the lease of its handoff had ended, and another one swept the queue.
#[tokio::test]
async fn a_wait_whose_handoff_was_closed_by_a_sweep_takes_the_message_anyway() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    // A queue that had a message is waited at by a blocking command.
    put(&provider, 0..1).await;
    get(&provider, waiting()).await;
    for (number, options) in [(1, waiting()), (2, waiting().lease(LONG))] {
        let waits = Arc::clone(&provider);
        let wait = tokio::spawn(async move { get(&waits, options).await });
        let handoff = soon(async {
            loop {
                let open: Vec<String> = raw.run(&["ZRANGE", LEASES, "-1", "-1"]).await;
                if let [handoff] = &open[..] {
                    break handoff.clone();
                }
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let list = format!("{{{LIST}}}:v1:lease:{handoff}");
        raw.run::<()>(&["ZREM", LEASES, &handoff]).await;
        raw.run::<()>(&["SET", &list, "", "NX", "PX", "10000"])
            .await;

        put(&provider, [number]).await;

        let taken = soon(wait).await.unwrap();
        assert_eq!(bodies(&taken), [number]);
    }
}

#[tokio::test]
async fn the_lease_of_a_wait_is_settled_like_any_other() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    // A short one is set by a command of its own.
    for lease in [LONG, Duration::from_secs(5)] {
        let back = Settle::Nack {
            delay: Duration::ZERO,
        };
        let bury = Settle::Bury {
            reason: "no".to_owned(),
        };
        let extend = Settle::Extend { lease: LONG };
        for (number, end) in [Settle::Ack, Settle::Release, back, bury]
            .into_iter()
            .enumerate()
        {
            let (taken, ()) = tokio::join!(get(&provider, waiting().lease(lease)), async {
                sleep(Duration::from_millis(20)).await;
                put(&provider, [number]).await;
            });
            assert_eq!(bodies(&taken), [number]);
            let ends: f64 = raw
                .run::<Vec<(String, f64)>>(&["ZRANGE", LEASES, "0", "0", "WITHSCORES"])
                .await[0]
                .1;
            let time: (f64, f64) = raw.run(&["TIME"]).await;
            let left = ends / 1e3 - time.0 - time.1 / 1e6;
            let most = lease.as_secs_f64() * 1.125;
            assert!(
                (lease.as_secs_f64() - 1.0..=most).contains(&left),
                "{left} s of {lease:?}"
            );

            settle_all(&provider, &taken, &extend).await;
            settle_all(&provider, &taken, &end).await;

            let again = get(&provider, up_to(9)).await;
            let attempts: Vec<_> = again.iter().map(|delivery| delivery.attempt).collect();
            let expected: &[u32] = match end {
                Settle::Release => &[1],
                Settle::Nack { .. } => &[2],
                _ => &[],
            };
            assert_eq!(attempts, expected, "{end:?}");
            assert!(!raw.run::<bool>(&["EXISTS", LEASES]).await, "{end:?}");
        }
    }
    assert_eq!(provider.queue_stats("q").await.unwrap().dead, 2);
}

#[tokio::test]
async fn a_command_that_blocks_for_a_lost_connection_takes_nothing() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let list = format!("{{{LIST}}}:v1:lease:{HANDOFF}");
    // The handoff is given up by its process, or by a sweep after its end.
    for ends in ["99999999999999", "1"] {
        raw.run::<()>(&["ZADD", LEASES, ends, HANDOFF]).await;
        let (mut blocking, to) = (server.raw().await, list.clone());
        let blocked = tokio::spawn(async move {
            let blmove = ["BLMOVE", LIST, &to, "RIGHT", "LEFT", "0"];
            blocking.try_run::<String>(&blmove).await
        });
        soon(async {
            while raw.info("blocked_clients").await == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;

        if ends == "1" {
            provider.queue_peek("q", Part::Ready, 1).await.unwrap();
        } else {
            let release = (Receipt::new(format!("{HANDOFF}/1")), Settle::Release);
            let lost = provider.queue_settle("q", vec![release]).await.unwrap();
            assert_eq!(lost[0].as_ref().unwrap_err().kind(), ErrorKind::LeaseLost);
        }
        put(&provider, [1]).await;

        assert!(soon(blocked).await.unwrap().is_err());
        assert_eq!(bodies(&get(&provider, up_to(1)).await), [1]);
        assert!(!raw.run::<bool>(&["EXISTS", LEASES]).await);
        raw.run::<()>(&["DEL", &list]).await;
    }
}

#[tokio::test]
async fn a_wait_that_is_over_takes_nothing() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    for round in 0..100 {
        if round == 50 {
            // A queue that had a message is waited at by a blocking command.
            put(&provider, [0]).await;
            assert_eq!(bodies(&get(&provider, up_to(1)).await), [0]);
        }
        let wait = Wait::For(Duration::from_millis(round % 7 + 1));

        let taken = get(&provider, up_to(1).wait(wait)).await;

        assert!(taken.is_empty());
        raw.run::<()>(&["LPUSH", LIST, "x"]).await;
        let found: Option<String> = raw.run(&["RPOP", LIST]).await;
        assert_eq!(found.as_deref(), Some("x"), "round {round}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_loses_and_hides_nothing() {
    let server = Server::start(&[]).await;
    let (provider, other) = (server.connect().await, server.connect().await);
    for round in 0..50 {
        let wait = provider.queue_get("q", waiting());
        let wait = timeout(Duration::from_millis(round as u64 % 5), wait);
        let (left, ()) = tokio::join!(wait, async {
            sleep(Duration::from_millis(round as u64 % 3)).await;
            put(&other, [round]).await;
        });

        let found = match left {
            Ok(taken) => taken.unwrap(),
            Err(_elapsed) => get(&other, waiting()).await,
        };

        assert_eq!(bodies(&found), [round]);
        assert_eq!(found[0].attempt, 1);
    }
    soon(async {
        while other.queue_stats("q").await.unwrap() != QueueStats::default() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// The connection for commands stays up, so each message comes once.
#[tokio::test]
async fn a_wait_that_loses_its_connection_loses_no_message() {
    const COUNT: usize = 300;
    let server = Server::start(&[]).await;
    let (provider, mut putting, mut killing) = (
        server.connect().await,
        server.raw().await,
        server.raw().await,
    );
    let killer = tokio::spawn(async move {
        loop {
            let clients: String = killing.run(&["CLIENT", "LIST"]).await;
            for client in clients.lines().filter(|line| line.contains("cmd=blmove")) {
                let id = client.split(' ').next().unwrap().trim_start_matches("id=");
                drop(
                    killing
                        .try_run::<usize>(&["CLIENT", "KILL", "ID", id])
                        .await,
                );
            }
            sleep(Duration::from_millis(7)).await;
        }
    });
    let putter = tokio::spawn(async move {
        for number in 0..COUNT {
            let text = number.to_string();
            putting.run::<()>(&["LPUSH", LIST, &text]).await;
            sleep(Duration::from_millis(1)).await;
        }
    });

    let mut all = Vec::new();
    while all.len() < COUNT {
        let lease = if all.len() % 3 == 0 { Some(LONG) } else { None };
        let opts = lease.map_or_else(waiting, |lease| waiting().lease(lease));
        let taken = get(&provider, opts).await;
        if lease.is_some() {
            settle_all(&provider, &taken, &Settle::Ack).await;
        }
        all.extend(bodies(&taken));
    }

    killer.abort();
    putter.await.unwrap();
    all.sort_unstable();
    assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
    // The removal of the last one may still be on its way.
    soon(async {
        while provider.queue_stats("q").await.unwrap() != QueueStats::default() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
