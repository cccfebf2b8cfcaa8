//! omniqueue, on Redis lists.

use std::time::Duration;

use futures_util::future::join_all;
use omniqueue::backends::{RedisBackend, RedisConfig};
use pymq_benches::{Meter, Sample, payload, unique};

pub(crate) const NAME: &str = "omniqueue, lists, batches of 64";

pub(crate) async fn drain(url: String, items: usize) -> Sample {
    let key = unique("omniqueue");
    let config = RedisConfig {
        dsn: url.clone(),
        max_connections: 16,
        reinsert_on_nack: false,
        delayed_queue_key: format!("{key}:delayed"),
        delayed_lock_key: format!("{key}:lock"),
        queue_key: key,
        consumer_group: "group".to_owned(),
        consumer_name: "consumer".to_owned(),
        payload_key: "payload".to_owned(),
        ack_deadline_ms: 30_000,
        dlq_config: None,
        sentinel_config: None,
    };
    let backend = RedisBackend::builder(config).use_redis_streams(false);
    let (producer, mut consumer) = backend.build_pair().await.expect("a Redis");
    let payload = payload();
    for _ in 0..items {
        producer.send_raw(&payload).await.expect("send");
    }
    let meter = Meter::with_server(&url);
    let mut handled = 0;
    while handled < items {
        let batch = consumer.receive_all(64, Duration::from_secs(1)).await;
        let batch = batch.expect("receive");
        handled += batch.len();
        for acked in join_all(batch.into_iter().map(|item| item.ack())).await {
            assert!(acked.is_ok(), "an ack failed");
        }
    }
    meter.stop(items)
}
