//! Errors of connecting: what can be wrong about a server, and what the error says.

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use pymq_core::provider::{Filter, PutOptions, RequestOptions, Target};
use pymq_core::{Bus, Connect, Error, ErrorKind, Message};
use pymq_provider_redis::RedisConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener as AsyncListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::server::{Server, soon};

async fn refused(url: &str) -> Error {
    let config: RedisConfig = url.parse().unwrap();
    config
        .connect_timeout(Duration::from_secs(1))
        .connect()
        .await
        .unwrap_err()
}

#[tokio::test]
async fn wrong_and_missing_passwords_differ_from_a_missing_server() {
    let server = Server::start(&["--requirepass", "sesame"]).await;

    let missing = refused(&server.url("")).await;
    let wrong = refused(&server.url(":s3cret@")).await;
    let no_server = refused("redis://:s3cret@127.0.0.1:1").await;

    assert_eq!(missing.kind(), ErrorKind::Auth, "{missing:?}");
    assert_eq!(wrong.kind(), ErrorKind::Auth, "{wrong:?}");
    assert_eq!(no_server.kind(), ErrorKind::Disconnected, "{no_server:?}");
    assert!(
        server
            .url(":sesame@")
            .parse::<RedisConfig>()
            .unwrap()
            .connect()
            .await
            .is_ok()
    );
    assert!(!format!("{missing:?} {wrong:?} {no_server:?} {wrong} {no_server}").contains("s3cret"));
    assert!(no_server.to_string().contains("127.0.0.1:1"), "{no_server}");
}

#[tokio::test]
async fn a_mute_server_is_a_timeout_within_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = Instant::now();

    let error = refused(&format!("redis://{}", listener.local_addr().unwrap())).await;

    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(before.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_server_that_closes_the_connection_may_be_a_tls_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || drop(listener.accept()));

    let error = refused(&url).await;

    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error:?}");
    assert!(error.to_string().contains("rediss://"), "{error}");
}

#[tokio::test]
async fn a_missing_database_is_a_configuration_error() {
    let server = Server::start(&[]).await;

    let error = refused(&format!("{}/99", server.url(""))).await;

    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
}

#[tokio::test]
async fn each_missing_right_is_an_error_of_its_operation_alone() {
    let acl = "--user app on >pw ~__eventbus:* ~{__eventbus:* resetchannels &__eventbus:global:ok* \
               +ping +publish +subscribe +lpush";
    let server = Server::start(&acl.split(' ').collect::<Vec<_>>()).await;
    let config: RedisConfig = server.url("app:pw@").parse().unwrap();
    let provider = config.connect().await.unwrap();

    let channel = provider
        .publish("no", Message::json("1"))
        .await
        .unwrap_err();
    let subscribe = provider
        .subscribe(Filter::Topic("no".to_owned()))
        .await
        .unwrap_err();
    let pattern = provider
        .subscribe(Filter::Pattern("ok*".to_owned()))
        .await
        .unwrap_err();
    let script = provider
        .rpc_request("ok", Message::json("[]"), to_all())
        .await
        .unwrap_err();

    for error in [channel, subscribe, pattern, script] {
        assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
        assert!(!error.is_retryable() && !error.outcome_unknown());
    }
    assert_eq!(provider.publish("ok", Message::json("1")).await.unwrap(), 0);
    let mut events = provider
        .subscribe(Filter::Topic("ok".to_owned()))
        .await
        .unwrap();
    assert_eq!(provider.publish("ok", Message::json("1")).await.unwrap(), 1);
    events.recv().await.unwrap();
}

#[tokio::test]
async fn a_script_runs_in_full_where_its_hash_may_not_be_used() {
    let acl = "--user app on >pw ~__eventbus:* resetchannels &__eventbus:* +@all -evalsha -script";
    let server = Server::start(&acl.split(' ').collect::<Vec<_>>()).await;
    let config: RedisConfig = server.url("app:pw@").parse().unwrap();
    let provider = config.connect().await.unwrap();

    let error = provider
        .rpc_request("f", Message::json("[]"), to_all())
        .await
        .unwrap_err();

    assert_eq!(error.kind(), ErrorKind::NoSuchRemote, "{error:?}");
}

#[tokio::test]
async fn a_key_of_another_type_is_a_wrong_type_error() {
    let server = Server::start(&[]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let _: () = raw.run(&["SET", "__eventbus:global:q", "1"]).await;

    let error = provider
        .queue_put("q", vec![Message::json("1")], PutOptions::default())
        .await
        .unwrap_err();

    assert_eq!(error.kind(), ErrorKind::WrongType, "{error:?}");
}

#[tokio::test]
async fn loading_is_waited_out() {
    let server = Server::start(&["--key-load-delay", "200", "--enable-debug-command", "yes"]).await;
    let (provider, mut raw) = (server.connect().await, server.raw().await);
    let _: () = raw.run(&["DEBUG", "POPULATE", "5000"]).await;
    let reload = tokio::spawn(async move {
        let _: () = raw.run(&["DEBUG", "RELOAD"]).await;
    });
    sleep(Duration::from_millis(300)).await;
    assert!(!reload.is_finished());

    provider.queue_stats("q").await.unwrap();

    assert!(server.config().connect().await.is_ok());
    reload.await.unwrap();
}

#[tokio::test]
async fn a_right_missing_inside_a_script_is_permission() {
    let acl = "--user app on >pw ~* &* +@all -zadd -pubsub";
    let server = Server::start(&acl.split(' ').collect::<Vec<_>>()).await;
    let config: RedisConfig = server.url("app:pw@").parse().unwrap();
    let provider = config.connect().await.unwrap();
    let later = PutOptions::default().delay(Duration::from_secs(1));

    let raised = provider
        .queue_put("q", vec![Message::json("1")], later)
        .await
        .unwrap_err();
    let reported = provider
        .rpc_request("f", Message::json("[]"), to_all())
        .await
        .unwrap_err();

    for error in [raised, reported] {
        assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
        assert!(!error.is_retryable() && !error.outcome_unknown());
    }
}

/// A script that is unknown by its hash is sent in full, within the time that is left of the call.
#[tokio::test]
async fn both_ways_of_sending_a_script_share_one_op_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let server = Server::start(&[]).await;
    let (late, mut whole) = proxy_without_hashes(server.port(), TIMEOUT * 3 / 4).await;
    let config: RedisConfig = format!("redis://127.0.0.1:{late}").parse().unwrap();
    let provider = config.op_timeout(TIMEOUT).connect().await.unwrap();
    let before = Instant::now();

    let error = provider.queue_stats("q").await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    // With a timeout for each way it would be 7 s.
    assert!(before.elapsed() < TIMEOUT * 3 / 2, "{:?}", before.elapsed());
    assert_eq!(whole.recv().await, Some(()), "it was sent in full");
}

/// Starts a proxy. It answers a script by hash late, with the error that the hash is unknown. It
/// never answers a script in full, and reports it on the channel. Returns its port.
async fn proxy_without_hashes(target: u16, delay: Duration) -> (u16, mpsc::UnboundedReceiver<()>) {
    let listener = AsyncListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (whole, reported) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let whole = whole.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                let (mut asking, mut answering) = client.into_split();
                let (mut answers, mut asked) = server.into_split();
                let (refusals, mut refused) = mpsc::unbounded_channel();
                tokio::spawn(async move {
                    let mut bytes = vec![0; 1 << 16];
                    loop {
                        let count = tokio::select! {
                            Some(()) = refused.recv() => {
                                sleep(delay).await;
                                answering.write_all(b"-NOSCRIPT No matching script.\r\n").await?;
                                continue;
                            }
                            count = answers.read(&mut bytes) => count?,
                        };
                        answering.write_all(&bytes[..count]).await?;
                        if count == 0 {
                            return std::io::Result::Ok(());
                        }
                    }
                });
                let mut bytes = vec![0; 1 << 16];
                while let Ok(count @ 1..) = asking.read(&mut bytes).await {
                    let words = String::from_utf8_lossy(&bytes[..count]);
                    if words.contains("EVALSHA\r\n") {
                        refusals.send(()).unwrap();
                    } else if words.contains("EVAL\r\n") {
                        whole.send(()).unwrap();
                    } else {
                        asked.write_all(&bytes[..count]).await.unwrap();
                    }
                }
            });
        }
    });
    (port, reported)
}

#[tokio::test]
async fn puts_at_their_limit_work_and_larger_ones_are_refused_whole() {
    let server = Server::start(&[]).await;
    let provider = server
        .config()
        .op_timeout(Duration::from_secs(60))
        .connect()
        .await
        .unwrap();
    let items = |count| vec![Message::json("1"); count];
    let bounded = PutOptions::default().maxsize(NonZeroUsize::new(10_000_000));
    let delayed = PutOptions::default().delay(Duration::from_secs(3_600));
    let once = PutOptions::default().once("id".into());

    for (queue, limit, opts) in [
        ("plain", 1_000_000, PutOptions::default()),
        ("bounded", 10_000, bounded),
        ("delayed", 10_000, delayed),
        ("once", 10_000, once),
    ] {
        let error = provider
            .queue_put(queue, items(limit + 1), opts.clone())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
        assert!(
            error.to_string().contains(&format!("limit {limit}")),
            "{error}"
        );
        provider.queue_put(queue, items(limit), opts).await.unwrap();

        let stats = provider.queue_stats(queue).await.unwrap();
        assert_eq!(stats.ready + stats.delayed, limit);
    }
}

#[tokio::test]
async fn a_put_with_options_is_bounded_in_bytes_unless_it_is_one_message() {
    let server = Server::start(&[]).await;
    let provider = server
        .config()
        .op_timeout(Duration::from_secs(60))
        .connect()
        .await
        .unwrap();
    let large = |mib: usize| Message::json(format!("\"{}\"", "x".repeat(mib << 20)));
    let delayed = || PutOptions::default().delay(Duration::from_secs(3_600));

    let error = provider
        .queue_put("q", vec![large(33); 2], delayed())
        .await
        .unwrap_err();
    provider
        .queue_put("q", vec![large(66)], delayed())
        .await
        .unwrap();

    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
    assert_eq!(provider.queue_stats("q").await.unwrap().delayed, 1);
}

/// The outcome of a request to all is known when its call resolves.
fn to_all() -> RequestOptions {
    RequestOptions::default().to(Target::All)
}

/// A message that would break a connection is refused before it is sent, with the name of the
/// setting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_beyond_a_limit_of_the_server_is_refused() {
    let options = "--proto-max-bulk-len 2mb --client-query-buffer-limit 4mb \
                   --client-output-buffer-limit pubsub 1mb 1mb 60";
    let options: Vec<&str> = options.split_whitespace().collect();
    let server = Server::start(&options).await;
    let bus = Bus::connect(server.config()).await.unwrap();
    let mut events = bus.topic("news").stream::<String>().await.unwrap();
    let _echo = bus.expose("echo", async |text: String| text).await.unwrap();
    let _large = bus
        .expose("large", async || "x".repeat(3 << 20))
        .await
        .unwrap();
    let text = |mib_halves: usize| "x".repeat(mib_halves << 19);
    let queue = bus.queue::<String>("q");
    let echo = bus.stub::<(String,), String>("echo");
    let large = bus.stub::<(), String>("large");

    let refused = [
        bus.topic("news").publish(&text(3)).await.unwrap_err(),
        echo.call((text(3),)).await.unwrap_err(),
        queue.put(&text(5)).await.unwrap_err(),
        queue
            .put_all(&[text(3), text(3), text(3)])
            .await
            .unwrap_err(),
    ];
    let answer = large.call(()).await.unwrap_err();

    let names = [
        "client-output-buffer-limit",
        "client-output-buffer-limit",
        "proto-max-bulk-len",
        "client-query-buffer-limit",
    ];
    for (error, name) in refused.into_iter().zip(names) {
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(
        answer.to_string().contains("proto-max-bulk-len"),
        "{answer}"
    );
    // No connection was broken.
    bus.topic("news").publish(&text(1)).await.unwrap();
    let event = soon(events.recv()).await.unwrap().into_event();
    assert_eq!(event.map(|text| text.len()), Some(1 << 19));
    queue.put(&text(3)).await.unwrap();
    assert_eq!(soon(queue.get()).await.unwrap().len(), 3 << 19);
    assert_eq!(bus.stats().reconnects, 0);
}

#[tokio::test]
async fn the_longest_timeouts_work() {
    let server = Server::start(&[]).await;
    let config = server
        .config()
        .connect_timeout(Duration::MAX)
        .op_timeout(Duration::MAX);

    let bus = soon(Bus::connect(config)).await.unwrap();

    soon(bus.ping(Duration::MAX)).await.unwrap();
    let queue = bus.queue::<u32>("q").maxsize(usize::MAX);
    soon(queue.put_timeout(&1, Duration::MAX)).await.unwrap();
    let taken = soon(queue.get_many(usize::MAX)).await.unwrap();
    assert_eq!(taken.into_iter().flatten().collect::<Vec<_>>(), [1]);
    let limits = pymq_core::BufferLimits::default();
    for limits in [
        limits.items(usize::MAX).bytes(usize::MAX),
        limits.items(0).bytes(0),
    ] {
        let topic = bus.topic("t").buffer(limits).concurrency(usize::MAX);
        let mut events = topic.stream::<u32>().await.unwrap();
        bus.topic("t").publish(&7).await.unwrap();
        let event = soon(events.recv()).await.unwrap();
        assert_eq!(
            event.into_event(),
            Some(7),
            "one event is kept whatever its size"
        );
    }
    soon(bus.shutdown(Duration::MAX)).await.unwrap();
}
