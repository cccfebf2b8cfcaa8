//! The baselines: what a program does today with the raw client.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

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

/// Python PyMQ's remote call written in Rust with the same client: PUBLISH, LPUSH, EXPIRE, BRPOP, one connection for
/// each call in flight.
#[derive(Clone, Debug)]
pub struct FourCommands {
    function: String,
    commands: MultiplexedConnection,
    waiting: Arc<Mutex<Vec<MultiplexedConnection>>>,
    server: Arc<JoinHandle<()>>,
}

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
            .subscribe(function)
            .await
            .expect("a channel to subscribe to");
        let answers = connection(url).await;
        let server = tokio::spawn(async move {
            let mut requests = subscriber.into_on_message();
            while let Some(request) = requests.next().await {
                let mut answers = answers.clone();
                let payload: Vec<u8> = request.get_payload().expect("bytes");
                tokio::spawn(async move {
                    // The reply list stands in front of the argument, as it stands in PyMQ's envelope.
                    let (reply_to, argument) = payload.split_at(40);
                    let _: i64 = answers.lpush(reply_to, argument).await.expect("LPUSH");
                    let _: bool = answers.expire(reply_to, 300).await.expect("EXPIRE");
                });
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
    pub async fn call(&self, argument: &[u8]) -> Vec<u8> {
        let mut waiting = self
            .waiting
            .lock()
            .await
            .pop()
            .expect("a connection for each call in flight");
        let reply_to = format!("rpc:{}", uuid::Uuid::new_v4());
        let request = [reply_to.as_bytes(), argument].concat();
        let _: i64 = self
            .commands
            .clone()
            .publish(&self.function, request)
            .await
            .expect("PUBLISH");
        let (_, answer): (String, Vec<u8>) = waiting.brpop(&reply_to, 0.0).await.expect("BRPOP");
        self.waiting.lock().await.push(waiting);
        answer
    }
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
