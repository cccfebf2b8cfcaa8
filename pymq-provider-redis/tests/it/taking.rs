//! Takes over slow networks, and takes from queues that cannot be watched. Messages stay in order,
//! and a failure is not reported as an empty queue.

use std::time::Duration;

use pymq_conformance::faults::network::{Condition, Network};
use pymq_core::{Bus, ErrorKind};
use tokio::time::{Instant, sleep, timeout};

use crate::server::{Server, soon};

/// Connects through a slow network.
async fn through(server: &Server, params: &str) -> (Network, Bus) {
    let target = format!("127.0.0.1:{}", server.port());
    let network = Network::start(target).await.unwrap();
    let config: pymq_provider_redis::RedisConfig =
        format!("{}{params}", network.url()).parse().unwrap();
    let bus = Bus::connect(config).await.unwrap();
    (network, bus)
}

/// The round trip is half the time of each take, so most takes end while their command is in
/// flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_with_a_timeout_keep_the_order_at_150_ms_round_trip() {
    let server = Server::start(&[]).await;
    let near = Bus::connect(server.config()).await.unwrap();
    let (network, far) = through(&server, "").await;
    network.set(Condition::Delayed(Duration::from_millis(75)));
    for lease in [false, true] {
        let queue = far.queue::<u32>(if lease { "leased" } else { "got" });
        let putting = {
            let queue = near.queue::<u32>(queue.name());
            tokio::spawn(async move {
                sleep(Duration::from_millis(400)).await;
                queue.put_all(&[1, 2, 3, 4, 5, 6]).await
            })
        };

        let mut got = Vec::new();
        while got.len() < 6 {
            let time = Duration::from_millis(300);
            if lease {
                if let Some(job) = queue.lease_timeout(time).await.unwrap() {
                    got.push(*job);
                    job.ack().await.unwrap();
                }
            } else {
                got.extend(queue.get_timeout(time).await.unwrap());
            }
        }

        putting.await.unwrap().unwrap();
        assert_eq!(got, [1, 2, 3, 4, 5, 6], "leased: {lease}");
    }
}

/// A message that takes longer to arrive than its caller waits is received once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_over_a_slow_link_comes_first_and_once() {
    let server = Server::start(&[]).await;
    let near = Bus::connect(server.config()).await.unwrap();
    let (network, far) = through(&server, "?op_timeout=20s").await;
    let large = "x".repeat(2 << 20);
    let items = [large.as_str(), "small", "smaller"].map(str::to_owned);
    near.queue::<String>("q").put_all(&items).await.unwrap();
    network.set(Condition::Throttled(1 << 20));

    let queue = far.queue::<String>("q");
    let mut got = Vec::new();
    while got.len() < 3 {
        // Several takes end while the large message is on its way.
        if let Ok(item) = timeout(Duration::from_millis(300), queue.get()).await {
            got.push(item.unwrap());
        }
    }

    assert!(got == items, "out of order");
    let sent: u64 = server.raw().await.info("total_net_output_bytes").await;
    assert!(
        sent < 2 * large.len() as u64,
        "{sent} bytes: it crossed the network more than once"
    );
}

/// At the limit of clients the queue cannot be watched. It is polled, and the status says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_cannot_be_watched_is_polled() {
    let server = Server::start(&[]).await;
    let mut raw = server.raw().await;
    let near = Bus::connect(server.config()).await.unwrap();
    let far = Bus::connect(server.config()).await.unwrap();
    raw.run::<()>(&["CONFIG", "SET", "maxclients", "3"]).await;
    let queue = far.queue::<u32>("q");
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.get_timeout(Duration::from_secs(20)).await }
    });
    let degraded = async {
        while far.status() != pymq_core::Status::Degraded {
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon(degraded).await;

    let put = Instant::now();
    near.queue::<i32>("q").put(&7).await.unwrap();
    near.queue::<i32>("q").put(&8).await.unwrap();

    assert_eq!(soon(waiting).await.unwrap().unwrap(), Some(7));
    assert!(put.elapsed() < Duration::from_secs(10));
    let lease = queue.lease_timeout(Duration::from_secs(20));
    soon(lease).await.unwrap().unwrap().ack().await.unwrap();
}

/// Without a connection, the end of a wait is an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_ends_in_an_outage_is_an_error() {
    let server = Server::start(&[]).await;
    let (network, far) = through(&server, "?op_timeout=500ms").await;
    let queue = far.queue::<u32>("q");
    assert_eq!(
        queue.get_timeout(Duration::from_millis(50)).await.unwrap(),
        None
    );
    network.set(Condition::Refused);
    let down = async {
        while far.status() != pymq_core::Status::Connecting {
            sleep(Duration::from_millis(10)).await;
        }
    };
    soon(down).await;

    let error = soon(queue.get_timeout(Duration::from_millis(300)))
        .await
        .unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert!(error.is_retryable() && !error.outcome_unknown(), "{error}");
    network.set(Condition::Normal);
    let near = Bus::connect(server.config()).await.unwrap();
    near.queue::<i32>("q").put(&1).await.unwrap();
    // However long the pause before the next connection is.
    assert_eq!(soon(queue.get()).await.unwrap(), 1);
}
