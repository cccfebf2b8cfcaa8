//! What a test leaves on the servers.

use std::time::Duration;

use futures_util::future::try_join_all;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep};

/// How long a key may stay after its last use.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(3);

/// Lists what the servers hold for a namespace, once it is nothing or does not become less.
pub(super) async fn leftovers(
    servers: &mut [MultiplexedConnection],
    namespace: &str,
) -> RedisResult<Vec<String>> {
    // A closed wait leaves a key until its blocking command ends.
    let until = Instant::now() + LEFTOVER_LIMIT;
    loop {
        let held = servers.iter_mut().map(|raw| held(raw, namespace));
        let mut left = try_join_all(held).await?.concat();
        if left.is_empty() || Instant::now() >= until {
            // A replica has what its master has.
            left.sort();
            left.dedup();
            return Ok(left);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Lists what a server holds for a namespace now.
async fn held(server: &mut MultiplexedConnection, namespace: &str) -> RedisResult<Vec<String>> {
    let ours = format!("*{namespace}*");
    // KEYS blocks the server while it runs. With the keys of one test that takes almost no time.
    let (mut keys, mut channels): (Vec<String>, Vec<String>) = redis::pipe()
        .cmd("KEYS")
        .arg(&ours)
        .cmd("PUBSUB")
        .arg("CHANNELS")
        .arg(&ours)
        .query_async(server)
        .await?;
    let mut of_slots = redis::cmd("PUBSUB");
    let of_slots = of_slots.arg("SHARDCHANNELS").arg(&ours);
    match of_slots.query_async::<Vec<String>>(server).await {
        Ok(of_slots) => channels.extend(of_slots),
        // On a cluster of Redis 6.2, each call leaves a claim, which expires.
        Err(_) => keys.retain(|key| !key.starts_with("__eventbus:{") || !key.contains(":claim:")),
    }
    let channels = channels
        .into_iter()
        .map(|channel| format!("channel {channel}"));
    Ok(keys.into_iter().chain(channels).collect())
}
