//! The baselines on Redis: what a program does with the raw client.

use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncCommands, RedisResult};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::{Meter, Sample, payload, spread, unique};

/// Opens a connection that may block.
pub async fn connection(url: &str) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(url).expect("a Redis URL");
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .expect("a Redis that answers")
}

/// Subscribes on a connection of its own.
pub async fn subscription(url: &str, channel: &str) -> redis::aio::PubSubStream {
    let client = redis::Client::open(url).expect("a Redis URL");
    let mut subscriber = client
        .get_async_pubsub()
        .await
        .expect("a Redis that answers");
    subscriber
        .subscribe(channel)
        .await
        .expect("a channel to subscribe to");
    subscriber.into_on_message()
}

/// Subscribes and returns a task that ends after so many messages.
async fn receiver(url: &str, channel: &str, messages: usize) -> JoinHandle<()> {
    let mut arriving = subscription(url, channel).await;
    tokio::spawn(async move {
        for _ in 0..messages {
            arriving.next().await.expect("a message");
        }
    })
}

/// PUBLISH by `tasks` tasks that each await the reply, until every subscriber has every message.
/// Each subscriber has a connection of its own.
pub async fn publish(url: String, operations: usize, tasks: usize, subscribers: usize) -> Sample {
    let channel = unique("publish");
    let mut receiving = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        receiving.push(receiver(&url, &channel, operations).await);
    }
    let connection = connection(&url).await;
    let meter = Meter::with_server(&url);
    let message = payload();
    spread(operations, tasks, move || {
        let (mut connection, channel) = (connection.clone(), channel.clone());
        let message = message.clone();
        async move {
            let _: i64 = connection.publish(channel, message).await.expect("PUBLISH");
        }
    })
    .await;
    for task in receiving {
        task.await.expect("a subscriber does not panic");
    }
    meter.stop(operations * subscribers)
}

/// PUBLISH, then the message arrives; then the next one.
pub async fn publish_one(url: String, operations: usize) -> Sample {
    let channel = unique("publish-one");
    let mut arriving = subscription(&url, &channel).await;
    let mut connection = connection(&url).await;
    let message = payload();
    let mut times = Vec::with_capacity(operations);
    let meter = Meter::with_server(&url);
    for _ in 0..operations {
        let start = Instant::now();
        let _: i64 = connection
            .publish(&channel, &message[..])
            .await
            .expect("PUBLISH");
        arriving.next().await.expect("a message");
        times.push(start.elapsed());
    }
    meter.stop_with(times)
}

/// LPUSH by `tasks` tasks, and one task that takes up to `count` by BLMPOP.
pub async fn push_and_pop(url: String, operations: usize, tasks: usize, count: usize) -> Sample {
    let key = unique("queue");
    let (mut popping, pushing) = (connection(&url).await, connection(&url).await);
    let list = key.clone();
    let meter = Meter::with_server(&url);
    let taking = tokio::spawn(async move {
        let mut taken = 0;
        while taken < operations {
            let mut pop = redis::cmd("BLMPOP");
            pop.arg(1)
                .arg(1)
                .arg(&list)
                .arg("RIGHT")
                .arg("COUNT")
                .arg(count);
            let reply: RedisResult<Option<(String, Vec<Vec<u8>>)>> =
                pop.query_async(&mut popping).await;
            taken += reply.expect("BLMPOP").map_or(0, |(_, items)| items.len());
        }
    });
    let message = payload();
    spread(operations, tasks, move || {
        let (mut pushing, key) = (pushing.clone(), key.clone());
        let message = message.clone();
        async move {
            let _: i64 = pushing.lpush(key, message).await.expect("LPUSH");
        }
    })
    .await;
    taking.await.expect("the consumer does not panic");
    meter.stop(operations)
}

/// LPUSH, then a waiting BRPOP has the item; then the next one.
pub async fn push_and_pop_one(url: String, operations: usize) -> Sample {
    let key = unique("queue-one");
    let (mut popping, mut pushing) = (connection(&url).await, connection(&url).await);
    let (taken, mut arrivals) = mpsc::channel(1);
    let list = key.clone();
    let taking = tokio::spawn(async move {
        for _ in 0..operations {
            let reply: RedisResult<(String, Vec<u8>)> = popping.brpop(&list, 0.0).await;
            reply.expect("BRPOP");
            taken.send(()).await.expect("the producer waits");
        }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let message = payload();
    let mut times = Vec::with_capacity(operations);
    let meter = Meter::with_server(&url);
    for _ in 0..operations {
        let start = Instant::now();
        let _: i64 = pushing.lpush(&key, &message[..]).await.expect("LPUSH");
        arrivals.recv().await.expect("the consumer runs");
        times.push(start.elapsed());
    }
    let sample = meter.stop_with(times);
    taking.await.expect("the consumer does not panic");
    sample
}

/// Moves up to so many items to the list of what is being processed.
const MOVE: &str = "local items = redis.call('RPOP', KEYS[1], ARGV[1]) \
                    if not items then return {} end \
                    redis.call('LPUSH', KEYS[2], unpack(items)) return items";

/// Takes all items of a full list by a script that moves 64 to a second list, and acks them by one
/// RPOP.
pub async fn drain(url: String, operations: usize) -> Sample {
    const BATCH: usize = 64;
    let (ready, processing) = (unique("ready"), unique("processing"));
    let mut connection = connection(&url).await;
    let batch = vec![payload(); BATCH];
    for _ in 0..operations / BATCH {
        let _: i64 = connection.lpush(&ready, &batch).await.expect("LPUSH");
    }
    let script = redis::Script::new(MOVE);
    let meter = Meter::with_server(&url);
    let mut taken = 0;
    while taken < operations {
        let mut moving = script.key(&ready);
        moving.key(&processing).arg(BATCH);
        let items: Vec<Vec<u8>> = moving.invoke_async(&mut connection).await.expect("EVALSHA");
        let mut ack = redis::cmd("RPOP");
        ack.arg(&processing).arg(items.len());
        ack.exec_async(&mut connection).await.expect("RPOP");
        taken += items.len();
    }
    meter.stop(operations)
}

/// Python PyMQ's remote call: PUBLISH, LPUSH, EXPIRE, BRPOP, with a connection for each call in
/// flight. It encodes nothing, so it is faster than Python's protocol can be.
pub async fn four_commands(url: String, operations: usize, in_flight: usize) -> Sample {
    let function = unique("four-commands");
    let mut requests = subscription(&url, &function).await;
    let answers = connection(&url).await;
    let server = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            tokio::spawn(answer(answers.clone(), request));
        }
    });
    let commands = connection(&url).await;
    let mut waiting = Vec::with_capacity(in_flight);
    for _ in 0..in_flight {
        waiting.push(connection(&url).await);
    }
    let meter = Meter::with_server(&url);
    let mut callers = JoinSet::new();
    for (caller, waiting) in waiting.into_iter().enumerate() {
        let reply_to = format!("{function}:{caller}");
        callers.spawn(call(
            commands.clone(),
            waiting,
            function.clone(),
            reply_to,
            operations / in_flight,
        ));
    }
    let sample = meter.stop_with(callers.join_all().await.concat());
    server.abort();
    sample
}

async fn call(
    mut commands: MultiplexedConnection,
    mut waiting: MultiplexedConnection,
    function: String,
    reply_to: String,
    calls: usize,
) -> Vec<Duration> {
    let argument = String::from_utf8(payload()).expect("text");
    let mut times = Vec::with_capacity(calls);
    for number in 0..calls {
        let start = Instant::now();
        let inbox = format!("{reply_to}:{number}");
        let request = format!("{inbox}|{argument}");
        let _: i64 = commands.publish(&function, request).await.expect("PUBLISH");
        let reply: RedisResult<(String, Vec<u8>)> = waiting.brpop(&inbox, 10.0).await;
        reply.expect("BRPOP");
        times.push(start.elapsed());
    }
    times
}

/// Serves one request: sends the argument back.
async fn answer(mut answers: MultiplexedConnection, request: redis::Msg) {
    let request: String = request.get_payload().expect("text");
    let (inbox, argument) = request.split_once('|').expect("an inbox");
    let _: i64 = answers.lpush(inbox, argument).await.expect("LPUSH");
    let _: bool = answers.expire(inbox, 300).await.expect("EXPIRE");
}
