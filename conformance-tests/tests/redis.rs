//! The suite on the Redis provider.

use std::time::Duration;

use ::redis::cmd;
use futures_util::StreamExt;
use pymq_conformance::faults::network::Network;
use pymq_conformance::hostile::Payloads;
use pymq_conformance::memory::MemoryHarness;
use pymq_conformance::mutants::{self, Mutant};
use pymq_conformance::properties::transcripts_are_equal;
use pymq_conformance::redis::{RedisHarness, Server};
use pymq_conformance::table::Behavior;
use pymq_conformance::wait::soon;
use pymq_conformance::{Harness, Outcome};
use pymq_core::provider::{GetOptions, PutOptions, Wait};
use pymq_core::{Bus, Connect, ErrorKind, Message, Put, Received};
use pymq_provider_redis::RedisConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pymq_conformance::suite!(RedisHarness::open, [patterns, leases, delays]);

/// A message that needs no frame is on the list as Python would put it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_without_headers_is_the_bare_body() -> Outcome {
    let harness = RedisHarness::open("message_without_headers_is_the_bare_body").await?;
    let provider = harness.connect().await?;
    let bodies = [
        "[1,  2]",
        r#"{"id": 1, "__type": "shop.Placed"}"#,
        "\"text\"",
    ];

    provider
        .queue_put(
            "q",
            bodies.map(Message::json).to_vec(),
            PutOptions::default(),
        )
        .await?;

    let list = format!("__eventbus:{}:q", harness.namespace());
    let range = cmd("LRANGE")
        .arg(list)
        .arg(0)
        .arg(-1)
        .query_async::<Vec<String>>(&mut harness.raw().await?)
        .await?;
    assert_eq!(range, bodies.into_iter().rev().collect::<Vec<_>>());
    Ok(())
}

/// If the reply of a put was cut, the provider sends the put again. It is still the put that added
/// the item.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_once_that_is_sent_twice_is_new() -> Outcome {
    let harness = RedisHarness::open("a_put_once_that_is_sent_twice_is_new").await?;
    let server = Server::start(&[]).await?;
    let network = Network::start(server.url().replace("redis://", "")).await?;
    let config: RedisConfig = network.url().parse()?;
    let bus = Bus::connect(config.namespace(harness.namespace())).await?;
    let jobs = bus.queue::<u32>("jobs");
    jobs.put_once("the script is known", &0).await?;

    for item in 1..=20 {
        network.cut_reply_at(1);
        let put = soon("a put", jobs.put_once(item.to_string(), &item)).await?;
        assert_eq!(put.ok(), Some(Put::New), "item {item}");
        let again = soon("a put", jobs.put_once(item.to_string(), &item)).await?;
        assert_eq!(again.ok(), Some(Put::Known), "item {item}");
    }

    assert!(!network.is_to_cut());
    assert_eq!(jobs.len().await?, 21);
    Ok(())
}

/// A key of another program under the name of a queue is an error of its own, and stays as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_is_wrong_type() -> Outcome {
    let harness = RedisHarness::open("a_key_of_another_type_is_wrong_type").await?;
    let (provider, mut raw) = (harness.connect().await?, harness.raw().await?);
    let key = format!("__eventbus:{}:q", harness.namespace());
    cmd("SET")
        .arg(&key)
        .arg("theirs")
        .exec_async(&mut raw)
        .await?;
    let lease = GetOptions::default().lease(Duration::from_secs(1));

    for result in [
        provider
            .queue_put("q", vec![Message::json("1")], PutOptions::default())
            .await
            .map(drop),
        provider
            .queue_get("q", GetOptions::default())
            .await
            .map(drop),
        provider
            .queue_get("q", GetOptions::default().wait(Wait::Forever))
            .await
            .map(drop),
        provider.queue_get("q", lease).await.map(drop),
        provider.queue_stats("q").await.map(drop),
    ] {
        let error = result.expect_err("a string was taken for a queue");
        assert_eq!(error.kind(), ErrorKind::WrongType, "{error}");
        assert!(!error.is_retryable());
    }
    assert_eq!(
        cmd("GET").arg(&key).query_async::<String>(&mut raw).await?,
        "theirs"
    );
    Ok(())
}

/// A server that answers with TLS needs `rediss://`, and the error says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_speaks_tls_is_a_hint_at_rediss() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let config: RedisConfig =
        format!("redis://{}?connect_timeout=1s", listener.local_addr()?).parse()?;
    let serving = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut greeting = [0; 64];
            // The answer of OpenSSL to a greeting in plain text: a fatal alert, and the end.
            if client.read(&mut greeting).await.is_ok_and(|read| read > 0) {
                drop(client.write_all(&[0x15, 3, 1, 0, 2, 2, 70]).await);
            }
        }
    });

    let error = soon("connect", config.connect())
        .await?
        .expect_err("it connected");
    serving.abort();

    assert!(error.to_string().contains("rediss://"), "{error}");
    Ok(())
}

/// What was tested on memory holds on Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_equals_redis() -> Outcome {
    let redis = RedisHarness::open("memory_equals_redis").await?;
    let memory = MemoryHarness::open("memory_equals_redis").await?;

    transcripts_are_equal(&redis, &memory).await
}

/// Noise on a topic, in a queue, at a remote and in an inbox. After each thousand payloads all four
/// still work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_payloads_disturb_nobody() -> Outcome {
    let harness = RedisHarness::open("hostile_payloads_disturb_nobody").await?;
    let (bus, mut raw) = (Bus::new(harness.connect().await?), harness.raw().await?);
    let key = |name: &str| format!("__eventbus:{}:{name}", harness.namespace());
    let mut events = bus.topic("news").stream::<Value>().await?;
    let _exposed = bus.expose("double", async |n: u64| 2 * n).await?;
    let jobs = bus.queue::<Value>("jobs");
    let inbox = inbox_of(&harness, &bus).await?;
    let mut payloads = Payloads::new(Payloads::seed()?, []);

    for batch in 0..10_u64 {
        let mut noise = ::redis::pipe();
        for _ in 0..1_000 {
            let payload = payloads.make();
            noise.publish(key("news"), &payload).ignore();
            noise.publish(key("double"), &payload).ignore();
            noise.lpush(key("jobs"), &payload).ignore();
            noise.lpush(key(&inbox), &payload).ignore();
        }
        noise.exec_async(&mut raw).await?;

        let end = json!({"the end of batch": batch});
        bus.topic("news").publish(&end).await?;
        // Everything before it was read, refused, or too much and missed.
        while soon("the end", events.recv())
            .await?
            .ok()
            .and_then(Received::into_event)
            != Some(end.clone())
        {}
        let mut taken = 0;
        while taken < 1_000 {
            taken += soon("the items", jobs.get_many(1_000)).await??.len();
        }
        assert_eq!((taken, jobs.len().await?), (1_000, 0));
        assert_eq!(
            bus.stub::<_, u64>("double").call((batch,)).await?,
            2 * batch
        );
    }
    Ok(())
}

/// Learns which inbox a bus uses, from a request that no other server gets.
async fn inbox_of(harness: &RedisHarness, bus: &Bus) -> Outcome<String> {
    let channel = format!("__eventbus:{}:spy", harness.namespace());
    let mut spy = ::redis::Client::open(pymq_conformance::redis::shared().await?.url())?
        .get_async_pubsub()
        .await?;
    spy.subscribe(&channel).await?;
    let calling = bus
        .stub::<_, ()>("spy")
        .timeout(Duration::from_millis(200))
        .call(())
        .await;
    assert_eq!(
        calling.map_err(|error| error.kind()),
        Err(ErrorKind::Timeout)
    );
    let request = soon("the request", spy.on_message().next())
        .await?
        .ok_or("no request")?;
    let request: Value = serde_json::from_slice(request.get_payload_bytes())?;
    Ok(request["__obj"][1].as_str().ok_or("no inbox")?.to_owned())
}

/// A handler or remote that does not come back is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounded_retries_are_caught() -> Outcome {
    let mutant = Mutant {
        build: mutants::disruption::bounded_retries,
        caught_by: Behavior {
            group: "disruption",
            name: "subscription_survives_disconnect",
            run: |harness| {
                Box::pin(pymq_conformance::disruption::subscription_survives_disconnect(harness))
            },
        },
    };

    mutants::catch(mutant, async || {
        RedisHarness::open("disruption::bounded_retries_are_caught").await
    })
    .await
}
