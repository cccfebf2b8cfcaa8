//! Calls to a remote that has only one server. They go to the channel of that server, without a
//! script.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pymq_core::provider::{Filter, Provider, Replies, Reply, RequestOptions, Target};
use pymq_core::{Connect, ErrorKind, Message};
use pymq_provider_redis::RedisConfig;
use tokio::task::JoinHandle;

use crate::server::{Raw, Server, soon};

/// Serves `f` with the arguments as the result.
async fn serve(provider: &Arc<dyn Provider>, runs: &Arc<AtomicUsize>) -> JoinHandle<()> {
    let mut requests = provider.rpc_listen("f").await.unwrap();
    let runs = Arc::clone(runs);
    tokio::spawn(async move {
        while let Ok(request) = requests.recv().await {
            runs.fetch_add(1, Ordering::Relaxed);
            let body = request.message().body.clone();
            request.respond(Reply::Ok {
                body,
                type_name: "list".into(),
            });
        }
    })
}

async fn request(caller: &Arc<dyn Provider>, args: &str, to: Target) -> Replies {
    let options = RequestOptions::default()
        .to(to)
        .timeout(Duration::from_secs(5));
    let message = Message::json(args.to_owned());
    caller.rpc_request("f", message, options).await.unwrap()
}

async fn call(caller: &Arc<dyn Provider>, args: &str) -> Result<String, ErrorKind> {
    let mut replies = request(caller, args, Target::One).await;
    match soon(replies.recv()).await.unwrap() {
        Ok(Reply::Ok { body, .. }) => Ok(String::from_utf8(body.to_vec()).unwrap()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.kind()),
    }
}

async fn call_five_times(caller: &Arc<dyn Provider>) {
    for n in 0..5 {
        let args = format!("[{n}]");
        assert_eq!(call(caller, &args).await, Ok(args));
    }
}

/// Returns how often Redis ran these commands.
async fn count(raw: &mut Raw, commands: &[&str]) -> u64 {
    let stats: String = raw.run(&["INFO", "commandstats"]).await;
    let count = |command: &&str| {
        let start = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&*start))?;
        line.split_once(',')?.0.parse::<u64>().ok()
    };
    commands.iter().filter_map(count).sum()
}

/// Connects as a user without the channels of single servers.
async fn connect_without_right(server: &Server) -> Arc<dyn Provider> {
    let rights = "app on >p ~* +@all resetchannels &__eventbus:*";
    let words: Vec<&str> = ["ACL", "SETUSER"]
        .into_iter()
        .chain(rights.split(' '))
        .collect();
    let _: () = server.raw().await.run(&words).await;
    let config: RedisConfig = server.url("app:p@").parse().unwrap();
    config.connect().await.unwrap()
}

#[tokio::test]
async fn it_is_called_without_a_script() {
    const SCRIPTS: [&str; 2] = ["eval", "evalsha"];
    let server = Server::start(&[]).await;
    let (caller, callee) = (server.connect().await, server.connect().await);
    let mut raw = server.raw().await;
    let _serving = serve(&callee, &Arc::default()).await;
    call(&caller, "[0]").await.unwrap();
    let scripts = count(&mut raw, &SCRIPTS).await;
    let published = count(&mut raw, &["publish"]).await;

    for _ in 0..4 {
        call_five_times(&caller).await;
    }

    // The servers are counted again after a second, and the machine may be slow.
    let scripts = count(&mut raw, &SCRIPTS).await - scripts;
    assert!(scripts <= 4, "{scripts}");
    assert_eq!(count(&mut raw, &["publish"]).await - published, 20);
}

#[tokio::test]
async fn calls_to_all_do_not_hide_a_server() {
    let server = Server::start(&[]).await;
    let caller = server.connect().await;
    let (first, second) = (server.connect().await, server.connect().await);
    let runs: [Arc<AtomicUsize>; 2] = Default::default();
    let _first = serve(&first, &runs[0]).await;
    let _second = serve(&second, &runs[1]).await;

    for _ in 0..40 {
        let mut replies = request(&caller, "[]", Target::All).await;
        assert_eq!(replies.expected(), 2);
        for _ in 0..2 {
            soon(replies.recv()).await.unwrap().unwrap();
        }
        call(&caller, "[]").await.unwrap();
    }

    let runs = runs.map(|runs| runs.load(Ordering::Relaxed));
    assert_eq!(runs[0] + runs[1], 120);
    assert!(runs.iter().all(|runs| *runs > 40), "{runs:?}");
}

#[tokio::test]
async fn another_server_gets_its_share_soon() {
    let server = Server::start(&[]).await;
    let caller = server.connect().await;
    let (first, second) = (server.connect().await, server.connect().await);
    let _first = serve(&first, &Arc::default()).await;
    call(&caller, "[]").await.unwrap();
    let runs = Arc::default();
    let _second = serve(&second, &runs).await;

    soon(async {
        while runs.load(Ordering::Relaxed) == 0 {
            call(&caller, "[]").await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn after_its_end_calls_find_no_server_or_another_one() {
    let server = Server::start(&[]).await;
    let caller = server.connect().await;
    let (first, second) = (server.connect().await, server.connect().await);
    // A subscriber to everything in the namespace is no server.
    let everything = Filter::Pattern("*".to_owned());
    let _subscription = caller.subscribe(everything).await.unwrap();
    let mut requests = first.rpc_listen("f").await.unwrap();
    let serving = tokio::spawn(async move {
        requests.recv().await.unwrap().respond(Reply::Ok {
            body: "1".into(),
            type_name: "int".into(),
        });
        requests.detach().await;
    });
    assert_eq!(call(&caller, "[]").await.as_deref(), Ok("1"));
    soon(serving).await.unwrap();

    assert_eq!(call(&caller, "[]").await, Err(ErrorKind::NoSuchRemote));
    let _second = serve(&second, &Arc::default()).await;
    call_five_times(&caller).await;
}

#[tokio::test]
async fn it_leaves_no_channel_when_it_ends() {
    let server = Server::start(&[]).await;
    let (callee, mut raw) = (server.connect().await, server.raw().await);
    let mut requests = callee.rpc_listen("f").await.unwrap();
    let channels: Vec<String> = raw.run(&["PUBSUB", "CHANNELS"]).await;
    assert_eq!(channels.len(), 2, "{channels:?}");

    requests.detach().await;

    let channels: Vec<String> = raw.run(&["PUBSUB", "CHANNELS"]).await;
    assert_eq!(channels, [""; 0]);
}

#[tokio::test]
async fn it_needs_no_channel_of_its_own() {
    let server = Server::start(&[]).await;
    let (caller, callee) = (server.connect().await, connect_without_right(&server).await);
    let _serving = serve(&callee, &Arc::default()).await;

    call_five_times(&caller).await;
}

#[tokio::test]
async fn its_callers_need_no_right_to_its_channel() {
    let server = Server::start(&[]).await;
    let (caller, callee) = (connect_without_right(&server).await, server.connect().await);
    let _serving = serve(&callee, &Arc::default()).await;

    call_five_times(&caller).await;
}
