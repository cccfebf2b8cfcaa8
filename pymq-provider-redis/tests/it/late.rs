//! Requests that arrive late, because a network or a server held them back. None runs after its
//! time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use pymq_core::provider::{Provider, Reply, RequestOptions, Target};
use pymq_core::{Connect, ErrorKind, Message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::server::{Server, soon};

/// The timeout of a call that is held back longer.
const SHORT: Duration = Duration::from_millis(300);

/// A proxy that can hold all bytes back and pass them on later, as the kernel does for a stopped
/// process.
struct HoldingProxy {
    url: String,
    is_open: watch::Sender<bool>,
}

impl HoldingProxy {
    async fn start(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (is_open, port) = (watch::Sender::new(true), server.port());
        let opened = is_open.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (read_client, write_client) = client.into_split();
                let (read_server, write_server) = server.into_split();
                tokio::spawn(pass(read_client, write_server, opened.subscribe()));
                tokio::spawn(pass(read_server, write_client, opened.subscribe()));
            }
        });
        Self { url, is_open }
    }

    async fn connect(&self) -> Arc<dyn Provider> {
        let config: pymq_provider_redis::RedisConfig = self.url.parse().unwrap();
        config.connect().await.unwrap()
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut is_open: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if is_open.wait_for(|is_open| *is_open).await.is_err()
            || to.write_all(&bytes[..count]).await.is_err()
        {
            return;
        }
    }
}

/// The requests that each server ran, in order.
type Runs = Arc<Mutex<Vec<String>>>;

/// Serves `f` with its arguments as the result, and records them.
async fn serve(provider: &Arc<dyn Provider>) -> Runs {
    let runs = Runs::default();
    let mut requests = provider.rpc_listen("f").await.unwrap();
    let noted = Arc::clone(&runs);
    tokio::spawn(async move {
        while let Ok(request) = requests.recv().await {
            let body = request.message().body.clone();
            let text = String::from_utf8(body.to_vec()).unwrap();
            noted.lock().unwrap().push(text);
            request.respond(Reply::Ok {
                body,
                type_name: "list".into(),
            });
        }
    });
    runs
}

/// Calls `f` and waits for one answer until the timeout of the request.
async fn call(
    caller: &Arc<dyn Provider>,
    args: &str,
    to: Target,
    time: Duration,
) -> Result<usize, ErrorKind> {
    let opts = RequestOptions::default().to(to).timeout(time);
    let answered = async {
        let message = Message::json(args.to_owned());
        let mut replies = caller.rpc_request("f", message, opts).await?;
        let expected = replies.expected();
        for _ in 0..expected {
            replies.recv().await.unwrap()?;
        }
        Ok::<_, pymq_core::Error>(expected)
    };
    match timeout(time, answered).await {
        Ok(answered) => answered.map_err(|error: pymq_core::Error| error.kind()),
        Err(_elapsed) => Err(ErrorKind::Timeout),
    }
}

/// Calls all servers until every request that they have read before is decided.
async fn settle(caller: &Arc<dyn Provider>, servers: usize) {
    for _ in 0..50 {
        let called = call(caller, "[\"now\"]", Target::All, Duration::from_secs(9)).await;
        assert_eq!(called, Ok(servers));
    }
}

fn late(runs: &Runs) -> Vec<String> {
    let runs = runs.lock().unwrap();
    let is_late = |run: &&String| run.as_str() != "[\"now\"]";
    runs.iter().filter(is_late).cloned().collect()
}

#[tokio::test]
async fn a_request_that_arrives_after_its_time_is_not_run() {
    let server = Server::start(&[]).await;
    let proxy = HoldingProxy::start(&server).await;
    let (caller, callee) = (server.connect().await, proxy.connect().await);
    let runs = serve(&callee).await;
    for to in [Target::One, Target::All] {
        settle(&caller, 1).await;

        proxy.is_open.send_replace(false);
        let called = call(&caller, "[1]", to, SHORT).await;
        proxy.is_open.send_replace(true);
        settle(&caller, 1).await;

        assert_eq!(called, Err(ErrorKind::Timeout));
        assert_eq!(late(&runs), [""; 0]);
    }
}

#[tokio::test]
async fn a_new_server_asks_for_the_time() {
    let server = Server::start(&[]).await;
    let proxy = HoldingProxy::start(&server).await;
    let (caller, callee) = (server.connect().await, proxy.connect().await);
    let runs = serve(&callee).await;

    proxy.is_open.send_replace(false);
    let called = call(&caller, "[1]", Target::One, SHORT).await;
    proxy.is_open.send_replace(true);
    settle(&caller, 1).await;

    assert_eq!(called, Err(ErrorKind::Timeout));
    assert_eq!(late(&runs), [""; 0]);
}

#[tokio::test]
async fn a_call_that_another_server_answered_is_not_run_again_though_its_claim_is_gone() {
    let server = Server::start(&[]).await;
    let proxy = HoldingProxy::start(&server).await;
    let (caller, quick, stopped) = (
        server.connect().await,
        server.connect().await,
        proxy.connect().await,
    );
    let (by_quick, by_stopped) = (serve(&quick).await, serve(&stopped).await);
    settle(&caller, 2).await;

    proxy.is_open.send_replace(false);
    for _ in 0..5 {
        assert_eq!(call(&caller, "[1]", Target::One, SHORT).await, Ok(1));
    }
    sleep(SHORT).await;
    let mut raw = server.raw().await;
    let claims: Vec<String> = raw.run(&["KEYS", "*:claim:*"]).await;
    for claim in &claims {
        let _: usize = raw.run(&["DEL", claim]).await;
    }
    proxy.is_open.send_replace(true);
    settle(&caller, 2).await;

    assert_eq!((late(&by_quick).len(), claims.len()), (5, 5));
    assert_eq!(late(&by_stopped), [""; 0]);
}

#[tokio::test]
async fn a_request_that_redis_reads_after_its_time_is_not_published() {
    let server = Server::start(&["--enable-debug-command", "yes"]).await;
    let (caller, callee) = (server.connect().await, server.connect().await);
    let runs = serve(&callee).await;
    settle(&caller, 1).await;

    for to in [Target::One, Target::All] {
        let mut raw = server.raw().await;
        let asleep = tokio::spawn(async move { raw.run::<()>(&["DEBUG", "SLEEP", "1"]).await });
        sleep(Duration::from_millis(100)).await;
        // The first command is sent alone, and the next one waits for it.
        drop(caller.publish("t", Message::json("1")).now_or_never());
        let called = call(&caller, "[1]", to, SHORT).await;
        soon(asleep).await.unwrap();
        settle(&caller, 1).await;

        assert_eq!(called, Err(ErrorKind::Timeout));
        assert_eq!(late(&runs), [""; 0]);
    }
}

#[tokio::test]
async fn a_call_that_timed_out_during_an_outage_is_not_sent_after_it() {
    let server = Server::start_for_restarts().await;
    let (port, caller, callee) = (
        server.port(),
        server.connect().await,
        server.connect().await,
    );
    let runs = serve(&callee).await;
    settle(&caller, 1).await;

    drop(server);
    let mut calls = Vec::new();
    for _ in 0..8 {
        drop(caller.publish("t", Message::json("1")).now_or_never());
        calls.push(call(&caller, "[1]", Target::One, SHORT).await);
    }
    let _server = Server::start_on(port).await;
    let is_back = AtomicUsize::new(0);
    soon(async {
        while call(&caller, "[\"now\"]", Target::All, SHORT)
            .await
            .is_err()
        {
            is_back.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    settle(&caller, 1).await;

    assert!(calls.iter().all(Result::is_err), "{calls:?}");
    assert_eq!(late(&runs), [""; 0]);
}
