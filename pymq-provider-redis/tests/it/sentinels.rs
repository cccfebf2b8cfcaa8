//! Redis Sentinel: what can be wrong about it, and a master that is replaced.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use pymq_conformance::redis::{Sentinel, SentinelGroup};
use pymq_core::provider::{
    Filter, GetOptions, Incoming, LifecycleEvent, Provider, PutOptions, Status, Wait,
};
use pymq_core::{Connect, Error, ErrorKind, Message};
use pymq_provider_redis::RedisConfig;
use tokio::time::timeout;

use crate::server::{Server, soon};

/// How long a failover that is asked for may take, with what follows at the clients.
const FAILOVER: Duration = Duration::from_secs(20);

async fn group() -> SentinelGroup {
    SentinelGroup::start(1, &[]).await.unwrap()
}

async fn refused(url: &str) -> Error {
    let config: RedisConfig = url.parse().unwrap();
    config
        .connect_timeout(Duration::from_secs(2))
        .connect()
        .await
        .unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_address_is_an_error_that_names_the_server() {
    let group = group().await;
    let sentinel = group.sentinels[0].url();
    let plain = Server::start(&[]).await;
    let replica = group.servers[1].port();
    let liar = Sentinel::start().await.unwrap();
    liar.name_master("replica", replica).await.unwrap();
    liar.name_master("gone", 1).await.unwrap();

    let at_sentinel = refused(&sentinel).await;
    assert_eq!(at_sentinel.kind(), ErrorKind::InvalidConfig);
    assert!(
        at_sentinel.to_string().contains("redis-sentinel://"),
        "{at_sentinel}"
    );

    let unknown = refused(&group.url().replace("/orders", "/nobody")).await;
    assert_eq!(unknown.kind(), ErrorKind::InvalidConfig);
    assert!(unknown.to_string().contains("`nobody`"), "{unknown}");

    let host = format!("127.0.0.1:{}", plain.port());
    let no_sentinel = refused(&format!("redis-sentinel://{host}/orders")).await;
    assert_eq!(no_sentinel.kind(), ErrorKind::InvalidConfig);
    assert!(no_sentinel.to_string().contains(&host), "{no_sentinel}");
    assert!(
        no_sentinel.to_string().contains("redis://"),
        "{no_sentinel}"
    );

    let lying = refused(&format!("redis-sentinel://{}/replica", liar.host())).await;
    assert_eq!(lying.kind(), ErrorKind::Disconnected);
    assert!(
        lying.to_string().contains(&format!("127.0.0.1:{replica}")),
        "{lying}"
    );

    let gone = refused(&format!("redis-sentinel://{}/gone", liar.host())).await;
    assert_eq!(gone.kind(), ErrorKind::Disconnected);
    assert!(gone.to_string().contains("127.0.0.1:1"), "{gone}");

    let all_down = refused("redis-sentinel://127.0.0.1:1,127.0.0.1:2/orders").await;
    assert_eq!(all_down.kind(), ErrorKind::Disconnected);
    assert!(all_down.to_string().contains("127.0.0.1:"), "{all_down}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sentinel_of_three_is_enough() {
    let group = group().await;
    let url = group
        .url()
        .replacen("127.0.0.1", "192.0.2.1:1,127.0.0.1", 1);
    for sentinel in &group.sentinels[..2] {
        sentinel.kill().await.unwrap();
    }

    let config: RedisConfig = url.parse().unwrap();
    let provider = soon(config.connect()).await.unwrap();

    soon(provider.queue_stats("jobs")).await.unwrap();
    let mut events = provider.health().lifecycle();
    let degraded = async {
        loop {
            match events.next().await.unwrap() {
                LifecycleEvent::Status(Status::Degraded) => break,
                LifecycleEvent::Disconnected { connection, .. } => {
                    assert_eq!(connection, "sentinel");
                }
                _ => {}
            }
        }
    };
    soon(degraded).await;
    provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_and_the_sentinels_have_credentials_of_their_own() {
    let master = Server::start(&["--requirepass", "of-master"]).await;
    let sentinel = Sentinel::start().await.unwrap();
    sentinel.name_master("orders", master.port()).await.unwrap();
    sentinel.require("of-sentinel").await.unwrap();
    let host = sentinel.host();

    let both: RedisConfig =
        format!("redis-sentinel://:of-master@{host}/orders?sentinel_pass=of-sentinel")
            .parse()
            .unwrap();
    let provider = soon(both.connect()).await.unwrap();
    provider.close().await.unwrap();

    for url in [
        format!("redis-sentinel://{host}/orders?sentinel_pass=of-sentinel"),
        format!("redis-sentinel://:of-master@{host}/orders"),
    ] {
        let error = refused(&url).await;
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert!(!format!("{error} {error:?}").contains("of-"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_and_subscriptions_move_to_the_next_master() {
    let group = group().await;
    let config: RedisConfig = group.url().parse().unwrap();
    let provider = config.connect().await.unwrap();
    let mut news = provider
        .subscribe(Filter::Topic("news".into()))
        .await
        .unwrap();
    provider
        .queue_put("jobs", vec![Message::json("0")], PutOptions::default())
        .await
        .unwrap();
    let waiting = {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move {
            let forever = || GetOptions::default().wait(Wait::Forever);
            let first = provider.queue_get("jobs", forever()).await;
            let second = provider.queue_get("jobs", forever()).await;
            (first, second)
        })
    };
    let former = group.master().await.unwrap().port();

    group.fail_over().await.unwrap();

    let told = timeout(FAILOVER, news.recv()).await.unwrap().unwrap();
    assert_eq!(told, Incoming::Lagged { missed: None });
    assert_ne!(group.master().await.unwrap().port(), former);
    let published = provider.publish("news", Message::json("1")).await;
    assert_eq!(published.unwrap(), 1);
    assert!(matches!(
        soon(news.recv()).await.unwrap(),
        Incoming::Message(_)
    ));
    provider
        .queue_put("jobs", vec![Message::json("1")], PutOptions::default())
        .await
        .unwrap();
    let (first, second) = timeout(FAILOVER, waiting).await.unwrap().unwrap();
    assert_eq!(first.unwrap()[0].message.body, "0");
    assert_eq!(second.unwrap()[0].message.body, "1");
    provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_replaced() {
    let group = group().await;
    let provider = connect(&group).await;
    let master = group.master().await.unwrap();

    master.kill().await.unwrap();
    group.wait_for_another_than(master.port()).await.unwrap();

    assert_works(provider).await;
}

/// Its connections stay open, and nothing but the sentinels says that it is no longer the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_master_is_replaced_and_comes_back_as_a_replica() {
    let group = group().await;
    let provider = connect(&group).await;
    let master = group.master().await.unwrap();

    master.stop().await.unwrap();
    group.wait_for_another_than(master.port()).await.unwrap();
    assert_works(Arc::clone(&provider)).await;
    master.resume().await.unwrap();
    group.wait_for_agreement(1).await.unwrap();

    assert_works(provider).await;
}

async fn connect(group: &SentinelGroup) -> Arc<dyn Provider> {
    let config: RedisConfig = group.url().parse().unwrap();
    // Longer than a failover: only the sentinels can end the wait for a frozen master.
    let config = config.op_timeout(Duration::from_secs(60));
    let provider = config.connect().await.unwrap();
    provider.queue_stats("jobs").await.unwrap();
    provider
}

async fn assert_works(provider: Arc<dyn Provider>) {
    // The first command may be in flight on the connection to the former master.
    let first = soon(provider.queue_stats("jobs")).await;
    assert!(first.is_ok() || first.is_err_and(|error| error.outcome_unknown()));
    for _ in 0..3 {
        let message = vec![Message::json("1")];
        let put = soon(provider.queue_put("jobs", message, PutOptions::default())).await;
        put.unwrap();
        let taken = soon(provider.queue_get("jobs", GetOptions::default())).await;
        assert_eq!(taken.unwrap().len(), 1);
    }
}
