//! Queues in Redis: the data in the lists, what Python reads there, and what happens after
//! failures.

mod handoff;
mod quiet;
mod waiting;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use pymq_core::provider::{
    Delivery, GetOptions, Part, Provider, PutOptions, Redrive, Settle, Wait,
};
use pymq_core::{Encoding, ErrorKind, Message};
use tokio::time::{sleep, timeout};

use crate::server::{Raw, Server, soon};

const LIST: &str = "__eventbus:global:q";
const LONG: Duration = Duration::from_secs(60);

fn messages(bodies: impl IntoIterator<Item = usize>) -> Vec<Message> {
    bodies
        .into_iter()
        .map(|body| Message::json(body.to_string()))
        .collect()
}

async fn put(provider: &Arc<dyn Provider>, bodies: impl IntoIterator<Item = usize>) {
    provider
        .queue_put("q", messages(bodies), PutOptions::default())
        .await
        .unwrap();
}

async fn get(provider: &Arc<dyn Provider>, opts: GetOptions) -> Vec<Delivery> {
    soon(provider.queue_get("q", opts)).await.unwrap()
}

fn up_to(max: usize) -> GetOptions {
    GetOptions::default().max(NonZeroUsize::new(max).unwrap())
}

fn bodies(deliveries: &[Delivery]) -> Vec<usize> {
    let body = |delivery: &Delivery| {
        std::str::from_utf8(&delivery.message.body)
            .unwrap()
            .parse()
            .unwrap()
    };
    deliveries.iter().map(body).collect()
}

async fn settle_all(provider: &Arc<dyn Provider>, deliveries: &[Delivery], settle: &Settle) {
    let settlements = deliveries
        .iter()
        .map(|one| (one.receipt.clone().unwrap(), settle.clone()))
        .collect();
    for result in provider.queue_settle("q", settlements).await.unwrap() {
        result.unwrap();
    }
}

async fn until_len(raw: &mut Raw, len: usize) {
    let reached = async {
        while raw.run::<usize>(&["LLEN", LIST]).await != len {
            sleep(Duration::from_millis(2)).await;
        }
    };
    soon(reached).await;
}

#[tokio::test]
async fn the_list_is_pythons() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);

    put(&provider, [1, 2]).await;
    raw.run::<()>(&["LPUSH", LIST, r#"{"__obj": null, "__type": "NoneType"}"#])
        .await;

    let listed: Vec<String> = raw.run(&["LRANGE", LIST, "0", "-1"]).await;
    assert_eq!(
        listed,
        [r#"{"__obj": null, "__type": "NoneType"}"#, "2", "1"]
    );
    let taken = get(&provider, up_to(10)).await;
    assert_eq!(
        taken[2].message,
        Message::json(r#"{"__obj": null, "__type": "NoneType"}"#)
    );
}

#[tokio::test]
async fn python_reads_nacked_messages_as_before() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let point = r#"{"x": 1, "__type": "m.Point"}"#;
    for body in ["NaN", point] {
        raw.run::<()>(&["LPUSH", LIST, body]).await;
    }

    let taken = get(&provider, up_to(2).lease(LONG)).await;
    settle_all(
        &provider,
        &taken,
        &Settle::Nack {
            delay: Duration::ZERO,
        },
    )
    .await;

    let listed: Vec<String> = raw.run(&["LRANGE", LIST, "0", "-1"]).await;
    let framed = r#"{"__obj": {"x": 1}, "__type": "m.Point", "__pymq": {"attempt":1,"cut":[7,", \"__type\": \"m.Point\""]}}"#;
    assert_eq!(
        listed,
        [framed, r#"{"__obj": NaN, "__pymq": {"attempt":1}}"#]
    );
    let again = get(&provider, up_to(2)).await;
    assert_eq!(again[1].message, Message::json(point));
    assert_eq!(again[1].attempt, 2);
}

#[tokio::test]
async fn a_released_message_is_unchanged() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    put(&provider, 0..5).await;

    let taken = get(&provider, up_to(5).lease(LONG)).await;
    settle_all(&provider, &taken, &Settle::Release).await;

    let listed: Vec<String> = raw.run(&["LRANGE", LIST, "0", "-1"]).await;
    assert_eq!(listed, ["4", "3", "2", "1", "0"]);
}

#[tokio::test]
async fn an_empty_queue_leaves_no_key() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    put(&provider, 0..5).await;

    let taken = get(&provider, up_to(5).lease(LONG)).await;
    settle_all(&provider, &taken[..1], &Settle::Extend { lease: LONG }).await;
    settle_all(
        &provider,
        &taken[1..2],
        &Settle::Bury {
            reason: "old".into(),
        },
    )
    .await;
    settle_all(
        &provider,
        &taken[2..3],
        &Settle::Nack {
            delay: Duration::from_millis(1),
        },
    )
    .await;
    settle_all(&provider, &taken[3..], &Settle::Ack).await;
    settle_all(&provider, &taken[..1], &Settle::Ack).await;
    assert_eq!(
        bodies(&get(&provider, up_to(1).wait(Wait::Forever)).await),
        [2]
    );
    assert_eq!(provider.queue_redrive("q", Redrive::All).await.unwrap(), 1);
    assert_eq!(bodies(&get(&provider, up_to(1)).await), [1]);

    let keys: Vec<String> = raw.run(&["KEYS", "*"]).await;
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test]
async fn a_key_of_another_type_is_named_and_kept() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    raw.run::<()>(&["SET", LIST, "precious"]).await;

    let errors = [
        provider
            .queue_put("q", messages([1]), PutOptions::default())
            .await
            .unwrap_err(),
        provider
            .queue_put(
                "q",
                messages([1]),
                PutOptions::default().maxsize(NonZeroUsize::new(9)),
            )
            .await
            .unwrap_err(),
        provider.queue_get("q", up_to(1)).await.unwrap_err(),
        provider
            .queue_get("q", up_to(1).lease(LONG))
            .await
            .unwrap_err(),
        soon(provider.queue_get("q", up_to(1).wait(Wait::Forever)))
            .await
            .unwrap_err(),
        provider.queue_peek("q", Part::Ready, 1).await.unwrap_err(),
        provider.queue_clear("q", Part::Ready).await.unwrap_err(),
        provider.queue_stats("q").await.unwrap_err(),
    ];

    for error in errors {
        assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
        assert!(error.to_string().contains(LIST), "{error}");
    }
    assert_eq!(raw.run::<String>(&["GET", LIST]).await, "precious");
}

#[tokio::test]
async fn a_wait_that_meets_a_key_of_another_type_ends() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let waiting = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { provider.queue_get("q", up_to(1).wait(Wait::Forever)).await }
    });
    sleep(Duration::from_millis(50)).await;

    raw.run::<()>(&["SET", LIST, "precious"]).await;

    assert_eq!(
        soon(waiting).await.unwrap().unwrap_err().kind(),
        ErrorKind::WrongType
    );
}

#[tokio::test]
async fn at_maxmemory_only_puts_are_refused() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    put(&provider, 0..8).await;
    let opts = PutOptions::default().delay(Duration::from_millis(1));
    provider.queue_put("q", messages([8]), opts).await.unwrap();
    raw.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;

    for opts in [
        PutOptions::default(),
        PutOptions::default().once("a".into()),
        PutOptions::default().delay(LONG),
        PutOptions::default().maxsize(NonZeroUsize::new(99)),
    ] {
        let error = provider
            .queue_put("q", messages([9]), opts)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(!error.outcome_unknown());
    }
    let taken = get(&provider, up_to(6).lease(LONG)).await;
    assert_eq!(bodies(&taken), [0, 1, 2, 3, 4, 5]);
    let soon_over = Duration::from_millis(1);
    settle_all(&provider, &taken[..1], &Settle::Extend { lease: soon_over }).await;
    settle_all(&provider, &taken[1..2], &Settle::Ack).await;
    settle_all(&provider, &taken[2..3], &Settle::Extend { lease: LONG }).await;
    settle_all(
        &provider,
        &taken[3..4],
        &Settle::Bury { reason: "r".into() },
    )
    .await;
    settle_all(&provider, &taken[4..5], &Settle::Nack { delay: soon_over }).await;
    settle_all(
        &provider,
        &taken[5..],
        &Settle::Nack {
            delay: Duration::ZERO,
        },
    )
    .await;
    assert_eq!(provider.queue_redrive("q", Redrive::All).await.unwrap(), 1);
    let mut rest = Vec::new();
    while rest.len() < 7 {
        rest.extend(bodies(
            &get(&provider, up_to(9).wait(Wait::For(LONG))).await,
        ));
    }
    rest.sort_unstable();
    assert_eq!(rest, [0, 3, 4, 5, 6, 7, 8]);

    let waiting = tokio::spawn({
        let provider = Arc::clone(&provider);
        async move { get(&provider, up_to(1).wait(Wait::Forever)).await }
    });
    let cut = timeout(
        Duration::from_millis(300),
        get(&provider, up_to(1).wait(Wait::Forever)),
    )
    .await;
    assert!(cut.is_err(), "a wait does not fail");
    settle_all(&provider, &taken[2..3], &Settle::Release).await;
    assert_eq!(bodies(&soon(waiting).await.unwrap()), [2]);
}

/// A redrive skips members that another program put among the dead letters, and keeps them.
#[tokio::test]
async fn a_redrive_skips_members_that_are_no_dead_letters() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    put(&provider, [1, 2]).await;
    let dying = get(&provider, up_to(2).lease(LONG)).await;
    let bury = Settle::Bury {
        reason: "bad".to_owned(),
    };
    settle_all(&provider, &dying, &bury).await;
    let dead = "{__eventbus:global:q}:v1:dead";
    raw.run::<usize>(&["ZADD", dead, "0", "0-theirs"]).await;

    let moved = soon(provider.queue_redrive("q", Redrive::All)).await;

    assert_eq!(moved.unwrap(), 2);
    assert_eq!(bodies(&get(&provider, up_to(9)).await), [1, 2]);
    let left: Vec<String> = raw.run(&["ZRANGE", dead, "0", "-1"]).await;
    assert_eq!(left, ["0-theirs"]);
}

#[tokio::test]
async fn more_than_one_sweep_can_move_keeps_its_order() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    put(&provider, 0..2_500).await;
    let mut leased = Vec::new();
    while leased.len() < 2_500 {
        leased.extend(get(&provider, up_to(2_500).lease(LONG)).await);
    }
    let opts = PutOptions::default().delay(Duration::from_millis(1));
    provider
        .queue_put("q", messages(2_500..5_000), opts)
        .await
        .unwrap();

    // Each message is in a batch of its own now, and all leases end in one step. The provider also
    // sweeps by itself: a sweep that finds only some of them ended would return these first.
    settle_all(&provider, &leased, &Settle::Extend { lease: LONG }).await;
    let end_all = "local all = redis.call('ZRANGE', KEYS[1], 0, -1)
        for i, one in ipairs(all) do redis.call('ZADD', KEYS[1], i, one) end
        return #all";
    let key = "{__eventbus:global:q}:v1:leases";
    let ended: usize = raw.run(&["EVAL", end_all, "1", key]).await;
    assert_eq!(ended, 2_500);
    let counted = async {
        while provider.queue_stats("q").await.unwrap().ready < 5_000 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    soon(counted).await;
    let ready = provider.queue_peek("q", Part::Ready, 9_999).await.unwrap();

    let body = |n: usize| {
        std::str::from_utf8(&ready[n].message.body)
            .unwrap()
            .parse::<usize>()
    };
    let first_wrong = (0..ready.len()).find(|n| body(*n) != Ok(*n));
    assert_eq!((ready.len(), first_wrong), (5_000, None));
    assert!(ready[..2_500].iter().all(|stored| stored.attempt == 1));
}

#[tokio::test]
async fn broken_json_never_reaches_python() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let broken = Message::json(&b"\xff{"[..]);
    provider
        .queue_put("q", vec![broken.clone()], PutOptions::default())
        .await
        .unwrap();

    let listed: Vec<String> = raw.run(&["LRANGE", LIST, "0", "-1"]).await;

    assert_eq!(
        listed,
        [r#"{"__obj": "/3s=", "__pymq": {"enc":"base64/json"}}"#]
    );
    let taken = get(&provider, up_to(1)).await;
    assert_eq!(
        (&taken[0].message, taken[0].message.encoding),
        (&broken, Encoding::Json)
    );
}
