//! The groups, with their goals.

mod calls;
mod memory;
mod python;
mod queues;
mod replicas;
mod shards;
mod topics;

use std::future::Future;

use pymq_core::Bus;
use pymq_provider_redis::RedisConfig;

pub use self::calls::many_calls;
pub use self::memory::groups as memory;
pub use self::queues::draining_worker;
use crate::{Case, Group, Sample};

/// Returns the groups that need the Redis at this URL.
pub fn redis(url: &str) -> Vec<Group> {
    let groups = [
        topics::groups(url),
        calls::groups(url),
        queues::groups(url),
        replicas::groups(url),
        shards::groups(url),
    ];
    groups.into_iter().flatten().collect()
}

/// A case that gets the URL and the number of operations.
fn case<F, Fut>(url: &str, name: &'static str, run: F) -> Case
where
    F: Fn(String, usize) -> Fut + 'static,
    Fut: Future<Output = Sample> + Send + 'static,
{
    let url = url.to_owned();
    Case::new(name, move |operations| run(url.clone(), operations))
}

/// Connects a bus, as a program does.
async fn bus(url: &str) -> Bus {
    let config: RedisConfig = url.parse().expect("a Redis URL");
    Bus::connect(config).await.expect("a Redis that answers")
}
