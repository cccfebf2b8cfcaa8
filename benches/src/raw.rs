//! The baselines: what a program does today with the raw client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Before every name PyMQ uses.
const PREFIX: &str = "__eventbus:global:";

/// Opens a connection that may block.
///
/// # Panics
///
/// When the server does not answer: a bench without its baseline has nothing to say.
pub async fn connection(url: &str) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(url).expect("a Redis URL");
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .expect("a Redis that answers")
}

/// Python PyMQ's remote call written in Rust with the same client, its payloads included: PUBLISH,
/// LPUSH, EXPIRE, BRPOP, one connection for each call in flight.
#[derive(Clone, Debug)]
pub struct FourCommands {
    function: String,
    commands: MultiplexedConnection,
    waiting: Arc<Mutex<Vec<MultiplexedConnection>>>,
    server: Arc<JoinHandle<()>>,
}

/// What PyMQ sends: a tuple, and the name of its class.
#[derive(Debug, Deserialize, Serialize)]
struct Envelope<T> {
    __obj: T,
    __type: String,
}

/// The name of the function, the list for the answer, the arguments, the named arguments.
type Request = (String, String, (String,), HashMap<String, String>);

/// The name of the function, the result, its type, whether it is an error.
type Response = (String, String, String, bool);

impl FourCommands {
    /// Starts an echo server and a caller for `in_flight` calls at once.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub async fn start(url: &str, function: &str, in_flight: usize) -> Self {
        let client = redis::Client::open(url).expect("a Redis URL");
        let mut subscriber = client
            .get_async_pubsub()
            .await
            .expect("a Redis that answers");
        subscriber
            .subscribe(format!("{PREFIX}{function}"))
            .await
            .expect("a channel to subscribe to");
        let answers = connection(url).await;
        let server = tokio::spawn(async move {
            let mut requests = subscriber.into_on_message();
            while let Some(request) = requests.next().await {
                tokio::spawn(answer(answers.clone(), request));
            }
        });
        let mut waiting = Vec::with_capacity(in_flight);
        for _ in 0..in_flight {
            waiting.push(connection(url).await);
        }
        Self {
            function: function.to_owned(),
            commands: connection(url).await,
            waiting: Arc::new(Mutex::new(waiting)),
            server: Arc::new(server),
        }
    }

    /// Calls the echo server.
    ///
    /// # Panics
    ///
    /// When a command fails.
    pub async fn call(&self, argument: String) -> String {
        let mut waiting = self
            .waiting
            .lock()
            .await
            .pop()
            .expect("a connection for each call in flight");
        let reply_to = format!("__rpc_{}", uuid::Uuid::new_v4());
        let inbox = format!("{PREFIX}{reply_to}");
        let request: Request = (self.function.clone(), reply_to, (argument,), HashMap::new());
        let channel = format!("{PREFIX}{}", self.function);
        let _: i64 = self
            .commands
            .clone()
            .publish(channel, written(request, "pymq.core.RpcRequest"))
            .await
            .expect("PUBLISH");
        let (_, response): (String, Vec<u8>) = waiting.brpop(&inbox, 0.0).await.expect("BRPOP");
        self.waiting.lock().await.push(waiting);
        let (_, result, _, _): Response = read(&response);
        result
    }
}

/// Serves one request.
async fn answer(mut answers: MultiplexedConnection, request: redis::Msg) {
    let payload: Vec<u8> = request.get_payload().expect("bytes");
    let (function, reply_to, (argument,), _): Request = read(&payload);
    let response: Response = (function, argument, "str".to_owned(), false);
    let inbox = format!("{PREFIX}{reply_to}");
    let _: i64 = answers
        .lpush(&inbox, written(response, "pymq.core.RpcResponse"))
        .await
        .expect("LPUSH");
    let _: bool = answers.expire(&inbox, 300).await.expect("EXPIRE");
}

fn written<T: Serialize>(value: T, class: &str) -> Vec<u8> {
    let envelope = Envelope {
        __obj: value,
        __type: class.to_owned(),
    };
    serde_json::to_vec(&envelope).expect("JSON")
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> T {
    let envelope: Envelope<T> = serde_json::from_slice(payload).expect("what was written");
    envelope.__obj
}

impl Drop for FourCommands {
    fn drop(&mut self) {
        if Arc::strong_count(&self.server) == 1 {
            self.server.abort();
        }
    }
}

/// Subscribes and returns a task that ends after so many messages.
///
/// # Panics
///
/// When the server does not answer.
pub async fn subscriber(url: &str, channel: &str, messages: usize) -> JoinHandle<()> {
    let client = redis::Client::open(url).expect("a Redis URL");
    let mut subscriber = client
        .get_async_pubsub()
        .await
        .expect("a Redis that answers");
    subscriber
        .subscribe(channel)
        .await
        .expect("a channel to subscribe to");
    tokio::spawn(async move {
        let mut arriving = subscriber.into_on_message();
        for _ in 0..messages {
            if tokio::time::timeout(Duration::from_secs(30), arriving.next())
                .await
                .is_err()
            {
                break;
            }
        }
    })
}
