//! The cluster of the tests does what the tests of the provider ask of it.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use ::redis::ServerErrorKind::{self, Ask, Moved, TryAgain};
use ::redis::{ErrorKind, RedisError, cmd, pipe};
use pymq_conformance::redis::{Cluster, Controlled};
use pymq_conformance::{Failure, Outcome};

/// More than move at once.
const KEYS: usize = 250;

/// The keys of one slot.
fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|n| format!("{{jobs}}:{n}"))
}

fn ports(nodes: impl IntoIterator<Item = impl Borrow<Controlled>>) -> BTreeSet<u16> {
    nodes.into_iter().map(|node| node.borrow().port()).collect()
}

async fn set(node: &Controlled, key: &str, value: usize) -> Result<(), Failure> {
    let mut raw = node.raw().await?;
    Ok(cmd("SET").arg(key).arg(value).exec_async(&mut raw).await?)
}

/// Reads a key at a node. It fails if the node redirects.
async fn get(node: &Controlled, key: &str) -> Result<Option<usize>, Failure> {
    let mut raw = node.raw().await?;
    Ok(cmd("GET").arg(key).query_async(&mut raw).await?)
}

/// Reads two keys at a node that got ASKING before.
async fn get_both_asking(node: &Controlled, keys: [&str; 2]) -> Result<Vec<usize>, RedisError> {
    let mut raw = node.raw().await.expect("the node answers");
    let mut both = pipe();
    both.cmd("ASKING").ignore().cmd("MGET").arg(&keys);
    let (values,) = both.query_async(&mut raw).await?;
    Ok(values)
}

/// Returns the kind of a redirection, where it leads, and the slot.
fn redirect(error: &Failure) -> Option<(ServerErrorKind, &str, u16)> {
    let error = error.downcast_ref::<RedisError>()?;
    let ErrorKind::Server(kind) = error.kind() else {
        return None;
    };
    let (address, slot) = error.redirect_node()?;
    Some((kind, address, slot))
}

fn address(node: &Controlled) -> String {
    format!("127.0.0.1:{}", node.port())
}

/// Returns a master other than this one.
async fn other_than(cluster: &Cluster, port: u16) -> Result<&Controlled, Failure> {
    let masters = cluster.masters().await?;
    let other = masters.into_iter().find(|master| master.port() != port);
    Ok(other.ok_or("there is one master")?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_is_at_one_of_the_masters() -> Outcome {
    let cluster = Cluster::start(3, 1, &[]).await?;
    let hosts = cluster.nodes.iter().map(address);
    let hosts: Vec<String> = hosts.collect();

    assert_eq!(
        cluster.url(),
        format!("redis-cluster://{}", hosts.join(","))
    );
    let masters = cluster.masters().await?;
    assert_eq!(ports(masters.iter().copied()), ports(&cluster.nodes[..3]));
    let mut owners = BTreeSet::new();
    for key in (0..64).map(|n| format!("key {n}")) {
        let owner = cluster.owner(&key).await?;
        owners.insert(owner.port());
        set(owner, &key, 1).await?;
        for other in masters.iter().filter(|other| other.port() != owner.port()) {
            let refused = get(other, &key).await.expect_err("it has no such slot");
            let slot = cluster.slot(&key).await?;
            assert_eq!(redirect(&refused), Some((Moved, &*address(owner), slot)));
        }
    }
    assert_eq!(owners, ports(&cluster.nodes[..3]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_with_its_keys() -> Outcome {
    let cluster = Cluster::start(2, 0, &[]).await?;
    let source = cluster.owner("{jobs}").await?;
    let target = other_than(&cluster, source.port()).await?;
    for (n, key) in keys().enumerate() {
        set(source, &key, n).await?;
    }

    let slot = cluster.slot("{jobs}").await?;
    cluster.move_slot(slot, target.port()).await?;

    assert_eq!(cluster.owner("{jobs}").await?.port(), target.port());
    for (n, key) in keys().enumerate() {
        assert_eq!(get(target, &key).await?, Some(n));
    }
    let moved = get(source, "{jobs}:0").await.expect_err("the slot is gone");
    assert_eq!(redirect(&moved), Some((Moved, &*address(target), slot)));
    cluster.wait_until_whole().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_half_moved_answers_ask_and_tryagain() -> Outcome {
    let cluster = Cluster::start(2, 0, &[]).await?;
    let source = cluster.owner("{jobs}").await?;
    let target = other_than(&cluster, source.port()).await?;
    let slot = cluster.slot("{jobs}").await?;
    let both = ["{jobs}:0", "{jobs}:1"];
    set(source, both[0], 7).await?;
    set(source, both[1], 7).await?;

    cluster.begin_move(slot, target.port()).await?;

    assert_eq!(get(source, both[0]).await?, Some(7));
    let ask = get(source, "{jobs}:2").await.expect_err("it is not here");
    assert_eq!(redirect(&ask), Some((Ask, &*address(target), slot)));
    let moved = get(target, both[0]).await.expect_err("it is not here yet");
    assert_eq!(redirect(&moved), Some((Moved, &*address(source), slot)));

    assert_eq!(cluster.move_keys(slot, target.port(), 1).await?, 1);

    let try_again = get_both_asking(target, both)
        .await
        .expect_err("one is here");
    assert_eq!(try_again.kind(), ErrorKind::Server(TryAgain), "{try_again}");

    cluster.finish_move(slot, target.port()).await?;

    assert_eq!(get_both_asking(target, both).await?, [7, 7]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_gone_is_replaced_by_its_replica() -> Outcome {
    let cluster = Cluster::start(3, 1, &[]).await?;
    let key = "jobs";
    let (killed, slot) = (cluster.owner(key).await?, cluster.slot(key).await?);
    let replica = cluster.replicas(killed.port()).await?[0];
    set(killed, key, 1).await?;

    killed.kill().await?;
    assert_eq!(cluster.slot(key).await?, slot);
    cluster.wait_for_promotion(killed.port()).await?;

    assert_eq!(cluster.owner(key).await?.port(), replica.port());
    assert_eq!(get(replica, key).await?, Some(1));
    set(replica, key, 2).await?;

    killed.start_again().await?;
    cluster.wait_until_whole().await?;

    let back = cluster.replicas(replica.port()).await?;
    assert_eq!(ports(back), ports([killed]));

    // The other way round, it is silent, and does not know that it was replaced.
    replica.stop().await?;
    cluster.wait_for_promotion(replica.port()).await?;
    assert_eq!(get(killed, key).await?, Some(2));
    replica.resume().await?;
    cluster.wait_until_whole().await?;
    assert_eq!(cluster.owner(key).await?.port(), killed.port());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_is_replaced_on_request() -> Outcome {
    let cluster = Cluster::start(3, 1, &[]).await?;
    let former = cluster.owner("jobs").await?;
    let next = cluster.replicas(former.port()).await?[0];
    set(former, "jobs", 1).await?;

    cluster.fail_over(former.port()).await?;

    assert_eq!(cluster.owner("jobs").await?.port(), next.port());
    assert_eq!(get(next, "jobs").await?, Some(1));
    cluster.wait_until_whole().await?;
    assert_eq!(ports(cluster.replicas(next.port()).await?), ports([former]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_cluster_is_gone() -> Outcome {
    let cluster = Cluster::start(1, 0, &[]).await?;
    let address = address(&cluster.nodes[0]);
    tokio::net::TcpStream::connect(&address).await?;

    drop(cluster);

    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
    Ok(())
}
