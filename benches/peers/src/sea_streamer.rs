//! sea-streamer-redis: a consumer group, acknowledged in the background.

use pymq_benches::{Meter, Sample, text, unique};
use sea_streamer_redis::{AutoCommit, AutoStreamReset, RedisConsumerOptions, RedisStreamer};
use sea_streamer_types::{
    Consumer, ConsumerMode, ConsumerOptions, Producer, StreamKey, Streamer, StreamerUri,
};

pub(crate) const NAME: &str = "sea-streamer-redis, group";

/// How many items are sent before the others get a turn. Sending does not wait.
const BATCH: usize = 512;

pub(crate) async fn drain(url: String, items: usize) -> Sample {
    let uri: StreamerUri = url.parse().expect("a Redis URL");
    let streamer = RedisStreamer::connect(uri, Default::default()).await;
    let streamer = streamer.expect("a Redis");
    let key = StreamKey::new(unique("sea")).expect("a name");
    let mut producer = streamer
        .create_producer(key.clone(), Default::default())
        .await
        .expect("a producer");
    let text = text();
    for item in 0..items {
        producer.send(text.as_str()).expect("send");
        if item % BATCH == BATCH - 1 {
            producer.flush().await.expect("flush");
        }
    }
    producer.flush().await.expect("flush");
    let mut options = RedisConsumerOptions::new(ConsumerMode::LoadBalanced);
    options.set_auto_stream_reset(AutoStreamReset::Earliest);
    options.set_auto_commit(AutoCommit::Delayed);
    let meter = Meter::with_server(&url);
    let consumer = streamer.create_consumer(&[key], options).await;
    let consumer = consumer.expect("a consumer");
    for _ in 0..items {
        consumer.next().await.expect("an item");
    }
    meter.stop(items)
}
