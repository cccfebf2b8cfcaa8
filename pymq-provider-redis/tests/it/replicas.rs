//! Puts that wait for replicas.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pymq_conformance::redis::{Controlled, SentinelGroup};
use pymq_core::provider::{GetOptions, Provider, Put, PutOptions};
use pymq_core::{Connect, Error, ErrorKind, Message, MessageId, Result};
use pymq_provider_redis::RedisConfig;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::server::{Server, soon};

/// Longer than a replica that runs ever takes.
const LONG: Duration = Duration::from_secs(30);

/// For a replica that does not answer.
const SHORT: Duration = Duration::from_millis(300);

/// A master, its replica, and a provider whose puts wait for replicas.
struct Replicated {
    group: SentinelGroup,
    provider: Arc<dyn Provider>,
}

impl Replicated {
    async fn start(replicas: usize, timeout: Duration) -> Self {
        let group = SentinelGroup::start(1, &[]).await.unwrap();
        let config: RedisConfig = group.url().parse().unwrap();
        let provider = config.replicas(replicas, timeout).connect().await.unwrap();
        Self { group, provider }
    }

    fn master(&self) -> &Controlled {
        &self.group.servers[0]
    }

    fn replica(&self) -> &Controlled {
        &self.group.servers[1]
    }

    async fn put(&self, queue: &str, options: PutOptions) -> Result<Put> {
        put(&self.provider, queue, options).await
    }

    fn spawn_put(&self, queue: &'static str, options: PutOptions) -> JoinHandle<Result<Put>> {
        let provider = Arc::clone(&self.provider);
        tokio::spawn(async move { put(&provider, queue, options).await })
    }
}

async fn put(provider: &Arc<dyn Provider>, queue: &str, options: PutOptions) -> Result<Put> {
    let message = vec![Message::json("1")];
    provider.queue_put(queue, message, options).await
}

/// A put of each kind, with the queue that it goes to.
fn kinds() -> [(&'static str, PutOptions); 4] {
    let options = PutOptions::default;
    [
        ("plain", options()),
        ("bounded", options().maxsize(NonZeroUsize::new(9))),
        ("delayed", options().delay(Duration::from_secs(3_600))),
        ("once", options().once(MessageId::from("1"))),
    ]
}

/// Returns how many items a server has in a queue, ready and delayed.
async fn count(server: &Controlled, queue: &str) -> usize {
    let mut raw = server.raw().await.unwrap();
    let key = format!("__eventbus:global:{queue}");
    let (ready, delayed): (usize, usize) = redis::pipe()
        .llen(&key)
        .zcard(format!("{{{key}}}:v1:delayed"))
        .query_async(&mut raw)
        .await
        .unwrap();
    ready + delayed
}

async fn until_it_has(server: &Controlled, queue: &str, items: usize) {
    soon(async {
        while count(server, queue).await != items {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn info(server: &Controlled, section: &str, field: &str) -> String {
    let mut raw = server.raw().await.unwrap();
    let mut command = redis::cmd("INFO");
    let info: String = command.arg(section).query_async(&mut raw).await.unwrap();
    let mut lines = info.lines();
    let found = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    found.unwrap().to_owned()
}

fn assert_not_safe(error: &Error, replicas: &str) {
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.outcome_unknown(), "{error}");
    let text = error.to_string();
    assert!(text.contains("in the queue"), "{text}");
    assert!(text.contains(replicas), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_resolves_when_the_replica_has_it() {
    let bus = Replicated::start(1, LONG).await;
    for (queue, options) in kinds() {
        for items in 1..=3 {
            let mut options = options.clone();
            options.once = options.once.map(|_| MessageId::from(items.to_string()));
            assert_eq!(soon(bus.put(queue, options)).await.unwrap(), Put::New);
            assert_eq!(count(bus.replica(), queue).await, items, "{queue}");
        }
    }

    for (queue, mut options) in kinds() {
        options.once = options.once.map(|_| MessageId::from("4"));
        bus.replica().stop().await.unwrap();
        let put = bus.spawn_put(queue, options);
        until_it_has(bus.master(), queue, 4).await;
        assert!(!put.is_finished(), "{queue}");
        bus.replica().resume().await.unwrap();
        assert_eq!(soon(put).await.unwrap().unwrap(), Put::New, "{queue}");
        assert_eq!(count(bus.replica(), queue).await, 4, "{queue}");
    }
    bus.provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_replica_a_put_is_in_the_queue_once_and_not_safe() {
    let bus = Replicated::start(1, SHORT).await;
    bus.replica().stop().await.unwrap();

    for (queue, options) in kinds() {
        let error = soon(bus.put(queue, options)).await.unwrap_err();
        assert_not_safe(&error, "0 of 1 replicas");
        assert_eq!(count(bus.master(), queue).await, 1, "{queue}");
    }
    // The put that the mark is of may not have reached a replica.
    let once = || PutOptions::default().once(MessageId::from("1"));
    let known = soon(bus.put("once", once())).await.unwrap_err();
    assert_not_safe(&known, "0 of 1 replicas");
    // Nothing was put, so nothing is waited for.
    let bounded = PutOptions::default().maxsize(NonZeroUsize::new(1));
    let full = soon(bus.put("bounded", bounded)).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full);
    assert!(!full.outcome_unknown());
    // Other operations do not wait.
    let taken = soon(bus.provider.queue_get("plain", GetOptions::default())).await;
    assert_eq!(taken.unwrap().len(), 1);

    bus.replica().resume().await.unwrap();
    let offset = info(bus.master(), "replication", "master_repl_offset").await;
    let known = soon(async {
        loop {
            // The replica may need longer than the timeout to catch up.
            match bus.put("once", once()).await {
                Ok(put) => break put,
                Err(error) => assert_not_safe(&error, "0 of 1 replicas"),
            }
        }
    });
    assert_eq!(known.await, Put::Known);
    // On newer servers, `WAIT` waits only for what its connection has written.
    assert_ne!(
        info(bus.master(), "replication", "master_repl_offset").await,
        offset
    );
    assert_eq!(count(bus.replica(), "once").await, 1);
    bus.put("plain", PutOptions::default()).await.unwrap();
    assert_eq!(count(bus.replica(), "plain").await, 1);
    bus.provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_puts_gets_its_own_outcome() {
    const PUTS: usize = 300;
    let bus = Replicated::start(1, LONG).await;
    let mut raw = bus.master().raw().await.unwrap();
    redis::cmd("SET")
        .arg(&["__eventbus:global:other", "1"])
        .exec_async(&mut raw)
        .await
        .unwrap();

    let puts = (0..PUTS).map(|n| {
        let id = MessageId::from((n / 6).to_string());
        let one = || PutOptions::default().maxsize(NonZeroUsize::new(1));
        let (queue, options) = match n % 6 {
            0 => ("other", PutOptions::default()),
            1 => ("bounded", one()),
            2 | 3 => ("once", PutOptions::default().once(id)),
            _ => ("plain", PutOptions::default()),
        };
        bus.spawn_put(queue, options)
    });
    let outcomes = soon(join_all(puts.collect::<Vec<_>>())).await;
    let outcomes = outcomes.into_iter().map(std::result::Result::unwrap);
    let mut counts = [0; 5];
    for (n, outcome) in outcomes.enumerate() {
        let of = match (n % 6, outcome.map_err(|error| error.kind())) {
            (0, Err(ErrorKind::WrongType)) => 0,
            (1, Err(ErrorKind::Full)) => 1,
            (2 | 3, Ok(Put::Known)) => 2,
            (1..=3, Ok(Put::New)) => 3,
            (4 | 5, Ok(Put::New)) => 4,
            other => panic!("{other:?}"),
        };
        counts[of] += 1;
    }
    let each = PUTS / 6;
    assert_eq!(counts, [each, each - 1, each, each + 1, 2 * each]);
    for (queue, items) in [("bounded", 1), ("once", each), ("plain", 2 * each)] {
        assert_eq!(count(bus.replica(), queue).await, items, "{queue}");
    }
    // `calls=2,usec=..`
    let waits = info(bus.master(), "commandstats", "cmdstat_wait").await;
    let waits = waits.split(['=', ',']).nth(1).unwrap();
    assert!(waits.parse::<usize>().unwrap() < PUTS / 2, "{waits}");

    bus.replica().stop().await.unwrap();
    let dropped = bus.spawn_put("plain", PutOptions::default());
    until_it_has(bus.master(), "plain", 2 * each + 1).await;
    let late: Vec<_> = (0..PUTS)
        .map(|_| bus.spawn_put("late", PutOptions::default()))
        .collect();
    // A caller that leaves takes nobody else's outcome with it.
    dropped.abort();
    bus.replica().resume().await.unwrap();
    for put in soon(join_all(late)).await {
        assert_eq!(put.unwrap().unwrap(), Put::New);
    }
    assert_eq!(count(bus.replica(), "late").await, PUTS);
    assert_eq!(count(bus.replica(), "plain").await, 2 * each + 1);
    bus.provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_replicas_than_there_are_make_no_put_safe() {
    let bus = Replicated::start(2, SHORT).await;

    let puts = (0..50).map(|_| bus.spawn_put("plain", PutOptions::default()));
    for put in soon(join_all(puts.collect::<Vec<_>>())).await {
        assert_not_safe(&put.unwrap().unwrap_err(), "1 of 2 replicas");
    }

    assert_eq!(count(bus.master(), "plain").await, 50);
    bus.provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_put_survives_its_master() {
    const PUTS: usize = 100;
    let bus = Replicated::start(1, LONG).await;
    let puts = (0..PUTS).map(|_| bus.spawn_put("plain", PutOptions::default()));
    for put in soon(join_all(puts.collect::<Vec<_>>())).await {
        put.unwrap().unwrap();
    }

    bus.master().kill().await.unwrap();
    let former = bus.master().port();
    bus.group.wait_for_another_than(former).await.unwrap();

    let all = GetOptions::default().max(NonZeroUsize::new(PUTS + 1).unwrap());
    let taken = soon(async {
        loop {
            // The first take may be in flight on a connection that is about to end.
            match bus.provider.queue_get("plain", all.clone()).await {
                Ok(taken) => break taken,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}"),
            }
        }
    });
    assert_eq!(taken.await.len(), PUTS);
    bus.provider.close().await.unwrap();
}

/// The former master accepts writes for up to a second that no replica gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_during_a_failover_survives_it() {
    let bus = Replicated::start(1, SHORT).await;
    let stop = CancellationToken::new();
    let putters = (0..4).map(|putter| {
        let (provider, stop) = (Arc::clone(&bus.provider), stop.clone());
        tokio::spawn(async move {
            let mut safe = Vec::new();
            for n in 0.. {
                if stop.is_cancelled() {
                    break;
                }
                let item = format!("{putter}-{n}");
                let message = vec![Message::json(format!("\"{item}\""))];
                let options = PutOptions::default();
                if provider.queue_put("plain", message, options).await.is_ok() {
                    safe.push(item);
                }
            }
            safe
        })
    });
    let putters: Vec<_> = putters.collect();

    bus.group.fail_over().await.unwrap();
    stop.cancel();

    let mut safe = HashSet::new();
    for putter in soon(join_all(putters)).await {
        safe.extend(putter.unwrap());
    }
    assert!(!safe.is_empty());
    let next = bus.group.master().await.unwrap();
    assert_ne!(next.port(), bus.master().port());
    let mut raw = next.raw().await.unwrap();
    let items: Vec<String> = redis::cmd("LRANGE")
        .arg(&["__eventbus:global:plain", "0", "-1"])
        .query_async(&mut raw)
        .await
        .unwrap();
    for item in items {
        safe.remove(item.trim_matches('"'));
    }
    assert_eq!(safe, HashSet::new());
    bus.provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_during_the_wait_sends_only_a_put_once_again() {
    let bus = Replicated::start(1, LONG).await;
    let once = |id: &str| PutOptions::default().once(MessageId::from(id));
    // The server learns the script here, so that it is sent once below.
    soon(bus.put("once", once("0"))).await.unwrap();
    bus.replica().stop().await.unwrap();

    let plain = bus.spawn_put("plain", PutOptions::default());
    until_it_has(bus.master(), "plain", 1).await;
    bus.master().cut_connections().await.unwrap();
    let error = soon(plain).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert!(error.outcome_unknown(), "{error}");

    let put = bus.spawn_put("once", once("1"));
    until_it_has(bus.master(), "once", 2).await;
    bus.master().cut_connections().await.unwrap();
    bus.replica().resume().await.unwrap();
    assert_eq!(soon(put).await.unwrap().unwrap(), Put::New);
    let known = soon(bus.put("once", once("1"))).await;
    assert_eq!(known.unwrap(), Put::Known);
    assert_eq!(count(bus.replica(), "plain").await, 1);
    assert_eq!(count(bus.replica(), "once").await, 2);
    bus.provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_ends_the_wait() {
    let bus = Replicated::start(1, LONG).await;
    bus.replica().stop().await.unwrap();
    let sent = bus.spawn_put("sent", PutOptions::default());
    until_it_has(bus.master(), "sent", 1).await;
    let waiting: Vec<_> = (0..5)
        .map(|_| bus.spawn_put("waiting", PutOptions::default()))
        .collect();

    soon(bus.provider.close()).await.unwrap();

    let error = soon(sent).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.outcome_unknown(), "{error}");
    for put in waiting {
        let error = soon(put).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(!error.outcome_unknown(), "{error}");
    }
    assert_eq!(count(bus.master(), "waiting").await, 0);
}

/// The master is frozen: it answers nothing at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_waits_for_another_one_ends_in_its_own_time() {
    let server = Server::start(&["--enable-debug-command", "yes"]).await;
    let config = server.config().op_timeout(SHORT).replicas(1, SHORT);
    let provider = config.connect().await.unwrap();
    let asleep = server.silence("3").await;

    let puts = (0..50).map(|_| {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { put(&provider, "plain", PutOptions::default()).await })
    });
    let outcomes = soon(join_all(puts.collect::<Vec<_>>())).await;

    assert!(!asleep.is_finished());
    let mut unknown = 0;
    for outcome in outcomes {
        let error = outcome.unwrap().unwrap_err();
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::Timeout | ErrorKind::Disconnected),
            "{error}"
        );
        unknown += usize::from(error.outcome_unknown());
    }
    asleep.await.unwrap();
    let mut raw = server.raw().await;
    let items: usize = raw.run(&["LLEN", "__eventbus:global:plain"]).await;
    assert!(
        items <= unknown && unknown < 50,
        "{items} items, {unknown} unknown"
    );
    provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_to_wait_is_checked_when_it_connects() {
    let acl = "--user app on >pw ~* &* +@all -wait";
    let server = Server::start(&acl.split(' ').collect::<Vec<_>>()).await;
    let config: RedisConfig = server.url("app:pw@").parse().unwrap();

    let error = soon(config.clone().replicas(1, SHORT).connect()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Permission);

    let none = soon(config.replicas(0, Duration::ZERO).connect()).await;
    let provider = none.unwrap();
    soon(put(&provider, "plain", PutOptions::default()))
        .await
        .unwrap();
    provider.close().await.unwrap();
}
