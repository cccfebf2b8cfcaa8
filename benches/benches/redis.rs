//! pymq over Redis beside the raw client doing the same, in one run. The first row of each group is
//! the raw client.

use std::num::NonZeroUsize;
use std::sync::Arc;

use pymq_benches::raw::{self, FourCommands};
use pymq_benches::{Case, group, spread};
use pymq_conformance::python::{self, Python};
use pymq_conformance::{Failure, redis::Server};
use pymq_core::{Bus, Raw};
use pymq_provider_redis::RedisConfig;
use redis::AsyncCommands;

/// Valid JSON, so that it crosses as it is: a string of 256 bytes.
fn payload() -> Vec<u8> {
    [b"\"".as_slice(), &[b'x'; 254], b"\""].concat()
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let server = Server::start(&[]).await?;
    let url = server.url().to_owned();
    let bus = Bus::connect(url.parse::<RedisConfig>()?).await?;
    publish(&url, &bus).await;
    take(&url, &bus).await;
    put_get(&url, &bus).await;
    call(&url, &bus).await?;
    Ok(())
}

async fn publish(url: &str, bus: &Bus) {
    let connection = raw::connection(url).await;
    let topic = bus.topic("bench");
    let raw_publish = Case::new("redis-rs PUBLISH, 64 tasks", move |operations| {
        let connection = connection.clone();
        spread(operations, 64, move || {
            let mut connection = connection.clone();
            async move {
                let _: i64 = connection.publish("raw", payload()).await.expect("PUBLISH");
            }
        })
    });
    let typed = Case::new("Topic::publish, awaited by 64 tasks", move |operations| {
        let topic = topic.clone();
        let value = "x".repeat(254);
        spread(operations, 64, move || {
            let (topic, value) = (topic.clone(), value.clone());
            async move {
                topic.publish(&value).await.expect("publish");
            }
        })
    });
    group("redis: publish", 100_000, vec![raw_publish, typed]).await;
}

async fn take(url: &str, bus: &Bus) {
    const BATCH: usize = 64;
    const KEY: &str = "__eventbus:global:take";
    let connection = raw::connection(url).await;
    let filling = connection.clone();
    let raw_take = Case::new("redis-rs LPUSH 64 + RPOP 64", move |operations| {
        let mut connection = connection.clone();
        async move {
            let batch = vec![payload(); BATCH];
            for _ in 0..operations / BATCH {
                let _: i64 = connection.lpush("raw", &batch).await.expect("LPUSH");
                let count = NonZeroUsize::new(BATCH);
                let taken: Vec<Vec<u8>> = connection.rpop("raw", count).await.expect("RPOP");
                assert_eq!(taken.len(), BATCH);
            }
        }
    });
    let queue = bus.queue::<Raw>("take");
    let typed_queue = bus.queue::<String>("take");
    let taken = Case::new(
        "redis-rs LPUSH 64 + Queue<Raw>::get_many(64)",
        move |operations| {
            let (mut connection, queue) = (filling.clone(), queue.clone());
            async move {
                let batch = vec![payload(); BATCH];
                for _ in 0..operations / BATCH {
                    let _: i64 = connection.lpush(KEY, &batch).await.expect("LPUSH");
                    assert_eq!(queue.get_many(BATCH).await.expect("get").len(), BATCH);
                }
            }
        },
    );
    let typed = Case::new(
        "Queue<String>::put_all(64) + get_many(64)",
        move |operations| {
            let queue = typed_queue.clone();
            async move {
                let batch = vec!["x".repeat(254); BATCH];
                for _ in 0..operations / BATCH {
                    queue.put_all(&batch).await.expect("put");
                    assert_eq!(queue.get_many(BATCH).await.expect("get").len(), BATCH);
                }
            }
        },
    );
    group(
        "redis: batches of 64",
        128_000,
        vec![raw_take, taken, typed],
    )
    .await;
}

async fn put_get(url: &str, bus: &Bus) {
    let connection = raw::connection(url).await;
    let raw_put = Case::new("redis-rs LPUSH + RPOP, 64 tasks", move |operations| {
        let connection = connection.clone();
        spread(operations, 64, move || {
            let mut connection = connection.clone();
            async move {
                let _: i64 = connection.lpush("raw", payload()).await.expect("LPUSH");
                let taken: Option<Vec<u8>> = connection.rpop("raw", None).await.expect("RPOP");
                drop(taken);
            }
        })
    });
    let queue = bus.queue::<Raw>("put");
    let leased = queue.clone();
    let typed = Case::new("Queue::put + try_get, 64 tasks", move |operations| {
        let queue = queue.clone();
        spread(operations, 64, move || {
            let queue = queue.clone();
            async move {
                queue.put(&Raw::from(payload())).await.expect("put");
                queue.try_get().await.expect("get");
            }
        })
    });
    let acked = Case::new(
        "Queue::put + try_lease + ack, 64 tasks",
        move |operations| {
            let queue = leased.clone();
            spread(operations, 64, move || {
                let queue = queue.clone();
                async move {
                    queue.put(&Raw::from(payload())).await.expect("put");
                    if let Some(lease) = queue.try_lease().await.expect("lease") {
                        lease.ack().await.expect("ack");
                    }
                }
            })
        },
    );
    group("redis: put + get", 50_000, vec![raw_put, typed, acked]).await;
}

async fn call(url: &str, bus: &Bus) -> Result<(), Failure> {
    let python = python_caller(url).await;
    let server = Bus::connect(url.parse::<RedisConfig>()?).await?;
    server
        .expose("echo", async |text: String| text)
        .await?
        .keep();
    for in_flight in [1, 64] {
        let four = FourCommands::start(url, &format!("raw-{in_flight}"), in_flight).await;
        let raw_call = Case::new("PyMQ's four commands with redis-rs", move |operations| {
            let four = four.clone();
            spread(operations, in_flight, move || {
                let four = four.clone();
                async move {
                    four.call("x".repeat(254)).await;
                }
            })
        });
        let stub = bus.stub::<(String,), String>("echo");
        let typed = Case::new("Stub::call", move |operations| {
            let stub = stub.clone();
            spread(operations, in_flight, move || {
                let stub = stub.clone();
                async move {
                    stub.call(("x".repeat(254),)).await.expect("call");
                }
            })
        });
        let operations = if in_flight == 1 { 4_000 } else { 40_000 };
        let mut cases = vec![raw_call, typed];
        cases.extend(python.as_ref().map(|python| python.case(in_flight)));
        let title = format!("redis: call, {in_flight} in flight");
        group(&title, operations, cases).await;
    }
    Ok(())
}

/// PyMQ in Python, a process that serves and one that calls.
struct PythonCaller {
    client: Arc<Python>,
    _server: Python,
}

impl PythonCaller {
    async fn start(url: &str) -> Result<Self, Failure> {
        const NAMESPACE: &str = "python";
        let server = Python::start(url, NAMESPACE).await?;
        server
            .run("def echo(text: str) -> str: return text\npymq.expose(echo, 'echo')")
            .await?;
        let client = Python::start(url, NAMESPACE).await?;
        let call = "
            from concurrent.futures import ThreadPoolExecutor

            text = 'x' * 254
            callers = ThreadPoolExecutor(64)
            # Until the function is live: Python exposes without waiting for that.
            while pymq.stub('echo')(text) != text: pass

            def call(times):
                echo = pymq.stub('echo', timeout=10)
                for _ in range(times):
                    assert echo(text) == text

            def spread(operations, threads):
                list(callers.map(call, [operations // threads] * threads))
        ";
        client.run(call).await?;
        Ok(Self {
            client: Arc::new(client),
            _server: server,
        })
    }

    /// A thread for each call in flight, as Python has it.
    fn case(&self, in_flight: usize) -> Case {
        let client = Arc::clone(&self.client);
        let calls = Case::new("PyMQ in Python, client and server", move |operations| {
            let client = Arc::clone(&client);
            async move {
                let calls = format!("spread({operations}, {in_flight})");
                client.run(&calls).await.expect("Python calls");
            }
        });
        calls.one_in(16)
    }
}

/// Starts the Python side; without one there is no row of it.
async fn python_caller(url: &str) -> Option<PythonCaller> {
    let started = if python::is_off() {
        Err("PYMQ_TEST_PYTHON=off".into())
    } else {
        PythonCaller::start(url).await
    };
    started
        .inspect_err(|error| eprintln!("no row for PyMQ in Python: {error}"))
        .ok()
}
