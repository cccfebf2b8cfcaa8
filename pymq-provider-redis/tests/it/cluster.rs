//! Redis Cluster: what can be wrong about it, slots that move, and nodes that are replaced.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pymq_conformance::redis::Cluster;
use pymq_core::provider::{
    Filter, GetOptions, Incoming, Provider, PutOptions, Reply, RequestOptions, Wait,
};
use pymq_core::{Connect, Error, ErrorKind, Message, Result};
use pymq_provider_redis::RedisConfig;
use redis::RedisResult;
use tokio::time::timeout;

use crate::server::{Server, soon};

/// How long a failover may take, with what follows at the clients.
const FAILOVER: Duration = Duration::from_secs(20);

/// The key of the default namespace: its node has the topics and the remote calls.
const HOME: &str = "__eventbus:global:";

async fn cluster() -> Cluster {
    Cluster::start(3, 1, &[]).await.unwrap()
}

async fn connect(cluster: &Cluster) -> Arc<dyn Provider> {
    let config: RedisConfig = cluster.url().parse().unwrap();
    config.connect().await.unwrap()
}

async fn refused(url: &str) -> Error {
    let config: RedisConfig = url.parse().unwrap();
    config
        .connect_timeout(Duration::from_secs(2))
        .connect()
        .await
        .unwrap_err()
}

async fn put(provider: &Arc<dyn Provider>, queue: &str, body: &str) -> Result<()> {
    let messages = vec![Message::json(body.to_owned())];
    let put = provider.queue_put(queue, messages, PutOptions::default());
    soon(put).await.map(drop)
}

async fn get(provider: &Arc<dyn Provider>, queue: &str) -> Vec<String> {
    let taken = soon(provider.queue_get(queue, GetOptions::default())).await;
    let bodies = taken.unwrap().into_iter().map(|taken| taken.message.body);
    bodies
        .map(|body| String::from_utf8_lossy(&body).into_owned())
        .collect()
}

/// Returns the names of queues that are spread over the nodes.
fn queues() -> Vec<String> {
    (0..30).map(|n| format!("jobs-{n}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_address_is_an_error_that_names_the_server() {
    let cluster = Cluster::start(1, 0, &[]).await.unwrap();
    let host = format!("127.0.0.1:{}", cluster.nodes[0].port());
    let plain = Server::start(&[]).await;

    let of_cluster = refused(&format!("redis://{host}")).await;
    assert_eq!(of_cluster.kind(), ErrorKind::InvalidConfig);
    assert!(
        of_cluster.to_string().contains("redis-cluster://"),
        "{of_cluster}"
    );

    let of_plain = refused(&format!("redis-cluster://127.0.0.1:{}", plain.port())).await;
    assert_eq!(of_plain.kind(), ErrorKind::InvalidConfig);
    assert!(of_plain.to_string().contains("`redis://"), "{of_plain}");

    let all_down = refused("redis-cluster://127.0.0.1:1,127.0.0.1:2").await;
    assert_eq!(all_down.kind(), ErrorKind::Disconnected);
    assert!(all_down.to_string().contains("127.0.0.1:"), "{all_down}");

    let mut raw = cluster.nodes[0].raw().await.unwrap();
    redis::cmd("CLUSTER")
        .arg("FLUSHSLOTS")
        .exec_async(&mut raw)
        .await
        .unwrap();
    let not_whole = refused(&format!("redis-cluster://{host}")).await;
    assert_eq!(not_whole.kind(), ErrorKind::Disconnected);
    assert!(not_whole.to_string().contains(&host), "{not_whole}");
}

/// As in a cluster whose nodes announce the addresses of another network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_address_that_is_out_of_reach_is_named() {
    let announce = ["--cluster-announce-ip", "192.0.2.1"];
    let cluster = Cluster::start(1, 0, &announce).await.unwrap();
    let port = cluster.nodes[0].port();

    let error = refused(&format!("redis-cluster://127.0.0.1:{port}")).await;

    let kinds = [ErrorKind::Disconnected, ErrorKind::Timeout];
    assert!(kinds.contains(&error.kind()), "{error}");
    assert!(
        error.to_string().contains(&format!("192.0.2.1:{port}")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queues_are_on_all_nodes() {
    let cluster = cluster().await;
    let provider = connect(&cluster).await;
    for queue in queues() {
        put(&provider, &queue, "1").await.unwrap();
    }

    let peer = connect(&cluster).await;
    for queue in queues() {
        assert_eq!(get(&peer, &queue).await, ["1"], "{queue}");
    }
    let two_slots = put(&provider, "a}b", "1").await.unwrap_err();
    assert_eq!(two_slots.kind(), ErrorKind::InvalidName);
    put(&provider, "a{x}b", "1").await.unwrap();
    for provider in [provider, peer] {
        provider.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_of_the_url_is_enough() {
    let cluster = cluster().await;
    let port = cluster.nodes[4].port();
    let url = format!("redis-cluster://127.0.0.1:1,127.0.0.1:{port}");
    let provider = url.parse::<RedisConfig>().unwrap().connect().await.unwrap();

    for queue in queues() {
        put(&provider, &queue, "1").await.unwrap();
    }
    provider.close().await.unwrap();
}

/// A message that waits is found at the next node, and so is a caller that waits for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_moves_with_its_slot() {
    let cluster = cluster().await;
    let provider = connect(&cluster).await;
    put(&provider, "jobs", "0").await.unwrap();
    put(&provider, "jobs", "1").await.unwrap();
    assert_eq!(get(&provider, "jobs").await, ["0"]);
    let slot = cluster.slot("__eventbus:global:jobs").await.unwrap();
    let from = cluster.owner_of(slot).await.unwrap().port();
    let masters = cluster.masters().await.unwrap();
    let to = masters
        .iter()
        .find(|master| master.port() != from)
        .unwrap()
        .port();

    // The node that gives the slot up has the message and sends new keys to the other node.
    cluster.begin_move(slot, to).await.unwrap();
    put(&provider, "jobs", "2").await.unwrap();
    assert_eq!(get(&provider, "jobs").await, ["1"]);
    assert_eq!(get(&provider, "jobs").await, ["2"]);
    put(&provider, "jobs", "3").await.unwrap();
    cluster.move_keys(slot, to, 1_000).await.unwrap();
    cluster.finish_move(slot, to).await.unwrap();
    assert_eq!(get(&provider, "jobs").await, ["3"]);

    let waiting = {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move {
            let forever = GetOptions::default().wait(Wait::Forever);
            provider.queue_get("jobs", forever).await
        })
    };
    cluster.move_slot(slot, from).await.unwrap();
    put(&provider, "jobs", "4").await.unwrap();
    let taken = soon(waiting).await.unwrap().unwrap();
    assert_eq!(taken[0].message.body, "4");
    provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_remotes_move_with_their_slots() {
    let cluster = cluster().await;
    let (caller, server) = (connect(&cluster).await, connect(&cluster).await);
    let mut news = server
        .subscribe(Filter::Topic("news".into()))
        .await
        .unwrap();
    let mut requests = server.rpc_listen("echo").await.unwrap();
    let serving = tokio::spawn(async move {
        while let Ok(request) = requests.recv().await {
            let body = request.message().body.clone();
            request.respond(Reply::Ok {
                body,
                type_name: "int".into(),
            });
        }
    });
    assert_eq!(call(&caller).await.unwrap(), "[1]");
    assert_eq!(publish(&caller).await, 1);
    assert!(matches!(soon(news.recv()).await, Ok(Incoming::Message(_))));
    let of_remote = channel_of_remote(&cluster).await;

    for _ in 0..3 {
        move_away(&cluster, &of_remote).await;
        for _ in 0..20 {
            assert_eq!(call(&caller).await.unwrap(), "[1]");
        }
    }
    move_away(&cluster, HOME).await;

    let told = timeout(FAILOVER, news.recv()).await.unwrap().unwrap();
    assert_eq!(told, Incoming::Lagged { missed: None });
    assert_eq!(publish(&caller).await, 1);
    assert!(matches!(soon(news.recv()).await, Ok(Incoming::Message(_))));
    serving.abort();
    for provider in [caller, server] {
        provider.close().await.unwrap();
    }
}

/// Returns the one channel of all remotes.
async fn channel_of_remote(cluster: &Cluster) -> String {
    let mut channels: Vec<String> = Vec::new();
    for master in cluster.masters().await.unwrap() {
        let mut raw = master.raw().await.unwrap();
        // The former on Redis 7, the latter before.
        for word in ["SHARDCHANNELS", "CHANNELS"] {
            let mut command = redis::cmd("PUBSUB");
            let command = command.arg(&[word, "__eventbus:{*"]);
            let known: RedisResult<Vec<String>> = command.query_async(&mut raw).await;
            channels.extend(known.unwrap_or_default());
        }
    }
    assert_eq!(channels.len(), 1, "{channels:?}");
    channels.remove(0)
}

/// Moves the slot of a key to another node.
async fn move_away(cluster: &Cluster, key: &str) {
    let slot = cluster.slot(key).await.unwrap();
    let from = cluster.owner_of(slot).await.unwrap().port();
    let masters = cluster.masters().await.unwrap();
    let to = masters.iter().find(|master| master.port() != from);
    cluster.move_slot(slot, to.unwrap().port()).await.unwrap();
}

async fn call(provider: &Arc<dyn Provider>) -> Result<String> {
    let options = RequestOptions::default();
    let mut replies = soon(provider.rpc_request("echo", Message::json("[1]"), options)).await?;
    match soon(replies.recv()).await.unwrap()? {
        Reply::Ok { body, .. } => Ok(String::from_utf8_lossy(&body).into_owned()),
        other => panic!("{other:?}"),
    }
}

async fn publish(provider: &Arc<dyn Provider>) -> usize {
    soon(provider.publish("news", Message::json("1")))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_on_request_loses_nothing() {
    let cluster = cluster().await;
    let provider = connect(&cluster).await;
    for queue in queues() {
        put(&provider, &queue, "1").await.unwrap();
    }
    let masters: Vec<_> = cluster
        .masters()
        .await
        .unwrap()
        .iter()
        .map(|node| node.port())
        .collect();

    for port in masters {
        cluster.fail_over(port).await.unwrap();
    }

    let gets = queues().into_iter().map(|queue| {
        let provider = Arc::clone(&provider);
        async move { get(&provider, &queue).await }
    });
    for taken in join_all(gets).await {
        assert_eq!(taken, ["1"]);
    }
    provider.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_owner_is_replaced() {
    let cluster = cluster().await;
    let provider = connect(&cluster).await;
    assert_works(&provider).await;
    let owner = cluster.owner(HOME).await.unwrap();

    owner.kill().await.unwrap();
    cluster.wait_for_promotion(owner.port()).await.unwrap();

    assert_works(&provider).await;
    provider.close().await.unwrap();
}

/// Its connections stay open, and nothing but the other nodes says that it is no longer the owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_owner_is_replaced_and_comes_back_as_a_replica() {
    let cluster = cluster().await;
    let config: RedisConfig = cluster.url().parse().unwrap();
    // Longer than a failover: only the other nodes can end the wait for a frozen owner.
    let config = config.op_timeout(Duration::from_secs(60));
    let provider = config.connect().await.unwrap();
    assert_works(&provider).await;
    let owner = cluster.owner("__eventbus:global:jobs").await.unwrap();

    owner.stop().await.unwrap();
    cluster.wait_for_promotion(owner.port()).await.unwrap();
    assert_works(&provider).await;
    owner.resume().await.unwrap();
    cluster.wait_until_whole().await.unwrap();

    assert_works(&provider).await;
    provider.close().await.unwrap();
}

/// Nothing but the end of the connection can end the wait for an answer of the frozen owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_leaves_a_frozen_owner() {
    let cluster = cluster().await;
    let config: RedisConfig = cluster.url().parse().unwrap();
    let config = config.op_timeout(Duration::from_secs(60));
    let provider = config.connect().await.unwrap();
    let mut news = provider
        .subscribe(Filter::Topic("news".into()))
        .await
        .unwrap();
    let owner = cluster.owner(HOME).await.unwrap();

    owner.stop().await.unwrap();
    cluster.wait_for_promotion(owner.port()).await.unwrap();

    let told = timeout(FAILOVER, news.recv()).await.unwrap().unwrap();
    assert_eq!(told, Incoming::Lagged { missed: None });
    assert_eq!(publish(&provider).await, 1);
    assert!(matches!(soon(news.recv()).await, Ok(Incoming::Message(_))));
    owner.resume().await.unwrap();
    provider.close().await.unwrap();
}

async fn assert_works(provider: &Arc<dyn Provider>) {
    // The first command may be in flight on the connection to the former owner.
    let first = soon(provider.queue_stats("jobs")).await;
    assert!(first.is_ok() || first.is_err_and(|error| error.outcome_unknown()));
    for queue in queues().iter().map(String::as_str).chain(["jobs"; 3]) {
        let mut done = put(provider, queue, "1").await;
        if done.as_ref().is_err_and(Error::outcome_unknown) {
            done = put(provider, queue, "1").await;
        }
        done.unwrap();
        assert!(!get(provider, queue).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spread_topics_reach_every_subscriber_and_are_not_counted() {
    const PROVIDERS: usize = 8;
    let cluster = Cluster::start(3, 0, &[]).await.unwrap();
    let config: RedisConfig = cluster.url().parse().unwrap();
    let config = config.spread_topics(true);
    let connecting = (0..PROVIDERS).map(|_| config.clone().connect());
    let providers = join_all(connecting).await.into_iter();
    let providers: Vec<_> = providers.map(Result::unwrap).collect();
    let mut streams = Vec::new();
    for provider in &providers {
        assert!(!provider.capabilities().counted);
        for filter in [Filter::Topic("news".into()), Filter::Pattern("n*".into())] {
            streams.push(provider.subscribe(filter).await.unwrap());
        }
    }

    for number in 0..10 {
        let body = Message::json(number.to_string());
        soon(providers[0].publish("news", body)).await.unwrap();
    }

    for stream in &mut streams {
        for number in 0..10 {
            let Incoming::Message(event) = soon(stream.recv()).await.unwrap() else {
                panic!("a gap");
            };
            assert_eq!(event.message().body, number.to_string());
        }
    }
    let mut connected = 0;
    for node in &cluster.nodes {
        let mut raw = node.raw().await.unwrap();
        let mut command = redis::cmd("PUBSUB");
        let command = command.arg(&["NUMSUB", "__eventbus:global:news"]);
        let (_, count): (String, usize) = command.query_async(&mut raw).await.unwrap();
        connected += count;
    }
    assert_eq!(connected, PROVIDERS);
    for provider in providers {
        provider.close().await.unwrap();
    }
}

/// Each put waits for the replica of its own node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_wait_for_the_replicas_of_their_nodes() {
    let cluster = cluster().await;
    let config: RedisConfig = cluster.url().parse().unwrap();
    let config = config.replicas(1, Duration::from_millis(300));
    let provider = config.connect().await.unwrap();
    let puts = |provider: Arc<dyn Provider>| {
        let puts = queues().into_iter().map(move |queue| {
            let provider = Arc::clone(&provider);
            async move { (put(&provider, &queue, "1").await, queue) }
        });
        join_all(puts)
    };
    for (put, queue) in puts(Arc::clone(&provider)).await {
        put.unwrap_or_else(|error| panic!("{queue}: {error}"));
    }
    // Before a node is stopped, which each look at the owners would wait for.
    let mut owners = HashMap::new();
    for queue in queues() {
        let list = format!("__eventbus:global:{queue}");
        owners.insert(queue, cluster.owner(&list).await.unwrap().port());
    }
    let master = cluster.node(owners["jobs-0"]).unwrap();
    let replicas = cluster.replicas(master.port()).await.unwrap();

    for replica in &replicas {
        replica.stop().await.unwrap();
    }

    let mut unsafe_puts = 0;
    for (put, queue) in puts(Arc::clone(&provider)).await {
        if owners[&queue] == master.port() {
            let error = put.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(error.outcome_unknown(), "{error}");
            assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
            unsafe_puts += 1;
        } else {
            put.unwrap_or_else(|error| panic!("{queue}: {error}"));
        }
    }
    assert!(unsafe_puts > 0);
    for replica in &replicas {
        replica.resume().await.unwrap();
    }
    for queue in queues() {
        assert_eq!(get(&provider, &queue).await, ["1"], "{queue}");
        assert_eq!(get(&provider, &queue).await, ["1"], "{queue}");
    }
    provider.close().await.unwrap();
}
