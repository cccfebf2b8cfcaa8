//! A Rust bus and a Python process that share a namespace, and the queries to Redis that tell when
//! each is ready.

use std::collections::HashMap;

use pymq_core::Bus;
use redis::aio::MultiplexedConnection;

use super::Python;
use crate::redis::{self as server, RedisHarness};
use crate::wait::until;
use crate::{Failure, Harness, Outcome};

/// One namespace with a member of each kind. Python connects as a user with all rights, Rust as the
/// documented user.
#[derive(Debug)]
pub struct Peers {
    /// The Python side.
    pub python: Python,
    /// The Rust side.
    pub bus: Bus,
    /// The namespace of both.
    pub harness: RedisHarness,
}

impl Peers {
    /// Creates a Rust and a Python peer in a namespace of their own.
    ///
    /// # Errors
    ///
    /// If there is no Redis or no Python.
    pub async fn meet() -> Result<Self, Failure> {
        let harness = RedisHarness::open("python").await?;
        Ok(Self {
            python: python_in(&harness).await?,
            bus: Bus::new(harness.connect().await?),
            harness,
        })
    }

    /// Starts another Python process in the namespace.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn another_python(&self) -> Result<Python, Failure> {
        python_in(&self.harness).await
    }

    /// Opens another Rust bus in the namespace, as another process does.
    ///
    /// # Errors
    ///
    /// If Redis does not answer.
    pub async fn another_bus(&self) -> Result<Bus, Failure> {
        Ok(Bus::new(self.harness.connect().await?))
    }

    /// Subscribes Python to a new topic, without an annotation. Its messages are in the Python
    /// queue `seen`.
    ///
    /// # Errors
    ///
    /// If it is not live in time.
    pub async fn python_hears(&self, topic: &str) -> Outcome {
        let others = listening(&mut self.harness.raw().await?, &self.key(topic)).await?;
        self.python
            .run(&format!("pymq.subscribe(seen.put, {topic:?})"))
            .await?;
        self.until_listening(topic, others + 1).await
    }

    /// Returns the name on the server of a topic, a remote or a queue.
    pub fn key(&self, name: &str) -> String {
        format!("__eventbus:{}:{name}", self.harness.namespace())
    }

    /// Waits until this many connections listen on a topic or serve a remote: Python returns before
    /// Redis knows.
    ///
    /// # Errors
    ///
    /// If they do not.
    pub async fn until_listening(&self, name: &str, count: usize) -> Outcome {
        let (raw, channel) = (self.harness.raw().await?, self.key(name));
        until(&format!("{count} listen on {name}"), || {
            let (mut raw, channel) = (raw.clone(), channel.clone());
            async move {
                listening(&mut raw, &channel)
                    .await
                    .is_ok_and(|now| now == count)
            }
        })
        .await
    }

    /// Waits until the Python processes here listen to this many patterns.
    ///
    /// # Errors
    ///
    /// If they do not.
    pub async fn until_python_has_patterns(&self, count: usize) -> Outcome {
        self.until_clients(&format!("Python has {count} patterns"), |clients| {
            let patterns = clients.iter().filter_map(|client| client.get("psub"));
            patterns
                .filter_map(|n| n.parse::<usize>().ok())
                .sum::<usize>()
                == count
        })
        .await
    }

    /// Waits until this many Python processes here wait at queues, including the queues for answers
    /// to calls.
    ///
    /// # Errors
    ///
    /// If they do not.
    pub async fn until_python_waits(&self, count: usize) -> Outcome {
        self.until_clients(&format!("{count} wait in Python"), |clients| {
            let waits = |client: &&Client| client.get("flags").is_some_and(|flags| flags == "b");
            clients.iter().filter(waits).count() == count
        })
        .await
    }

    /// Waits until the condition holds for the Python connections here. Their name is the
    /// namespace.
    async fn until_clients(&self, what: &str, holds: impl Fn(Vec<Client>) -> bool) -> Outcome {
        let (raw, holds) = (self.harness.raw().await?, &holds);
        until(what, || {
            let listing = clients(raw.clone(), self.harness.namespace());
            async move { listing.await.is_ok_and(holds) }
        })
        .await
    }

    /// Returns the raw content of the list of a queue. The next item to leave is the first.
    ///
    /// # Errors
    ///
    /// If Redis does not answer.
    pub async fn payloads(&self, queue: &str) -> Result<Vec<String>, Failure> {
        let mut payloads: Vec<String> = redis::cmd("LRANGE")
            .arg(self.key(queue))
            .arg(0)
            .arg(-1)
            .query_async(&mut self.harness.raw().await?)
            .await?;
        payloads.reverse();
        Ok(payloads)
    }
}

async fn python_in(harness: &RedisHarness) -> Result<Python, Failure> {
    Python::start(server::shared().await?.url(), harness.namespace()).await
}

async fn listening(raw: &mut MultiplexedConnection, channel: &str) -> redis::RedisResult<usize> {
    let (_, listening): (String, usize) = redis::cmd("PUBSUB")
        .arg("NUMSUB")
        .arg(channel)
        .query_async(raw)
        .await?;
    Ok(listening)
}

/// What Redis reports about one connection.
type Client = HashMap<String, String>;

/// Lists the connections of this name.
async fn clients(mut raw: MultiplexedConnection, name: &str) -> redis::RedisResult<Vec<Client>> {
    let list: String = redis::cmd("CLIENT")
        .arg("LIST")
        .query_async(&mut raw)
        .await?;
    let fields = |line: &str| -> Client {
        let fields = line.split(' ').filter_map(|field| field.split_once('='));
        fields
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let is_ours = |client: &Client| {
        client
            .get("name")
            .is_some_and(|of_client| of_client == name)
    };
    Ok(list.lines().map(fields).filter(is_ours).collect())
}
