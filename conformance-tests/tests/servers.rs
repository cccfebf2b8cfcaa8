//! The servers of the tests: they have the expected source, and none is left behind.

use std::env;
use std::process::Command;

use pymq_conformance::redis::{self, Server, Source};
use pymq_conformance::wait::until;
use pymq_conformance::{Failure, Outcome};
use tokio::net::TcpStream;

#[tokio::test]
async fn the_shared_server_comes_from_where_it_should() -> Outcome {
    let expected = match env::var("PYMQ_TEST_REDIS").unwrap_or_default().as_str() {
        "url" => Source::Url,
        "docker" => Source::Docker,
        "local" => Source::Local,
        _ if env::var("PYMQ_TEST_REDIS_URL").is_ok_and(|url| !url.is_empty()) => Source::Url,
        // Checked in another way than in the code under test: an engine that answers has to be
        // used.
        _ if Command::new("docker")
            .arg("ps")
            .output()
            .is_ok_and(|ps| ps.status.success()) =>
        {
            Source::Docker
        }
        _ => Source::Local,
    };

    assert_eq!(redis::shared().await?.source(), expected);
    Ok(())
}

/// The tests run as the user of the guide, so a right that the guide forgets fails one of them.
#[test]
fn the_rights_of_the_tests_are_those_of_the_guide() {
    let guide = include_str!("../../docs/REDIS.md");
    let (_, rights) = guide.split_once("ACL SETUSER").expect("the guide has one");
    let (rights, _) = rights.split_once("```").expect("its block ends");

    assert_eq!(rights.trim(), redis::RIGHTS.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_ones_own_takes_options() -> Outcome {
    let server = Server::start(&["--requirepass", "sesame"]).await?;

    let refused = ping(server.url()).await.unwrap_err();

    assert!(refused.to_string().contains("NOAUTH"), "{refused}");
    ping(&server.url().replace("redis://", "redis://:sesame@")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_server_is_gone() -> Outcome {
    let server = Server::start(&[]).await?;
    let url = server.url().to_owned();
    ping(&url).await?;

    drop(server);

    assert!(ping(&url).await.is_err());
    Ok(())
}

/// Prints the server that a child process starts before it aborts.
const CHILD: &str = "PYMQ_TEST_ABORTING_CHILD";

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_process_leaves_no_server_behind() -> Outcome {
    if env::var_os(CHILD).is_some() {
        let server = Server::start(&[]).await?;
        ping(server.url()).await?;
        println!("\nserver={}", server.url());
        std::process::abort();
    }
    let test = "an_aborted_process_leaves_no_server_behind";

    let child = tokio::process::Command::new(env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .await?;

    assert!(!child.status.success());
    let printed = String::from_utf8_lossy(&child.stdout);
    let url = printed
        .lines()
        .find_map(|line| line.strip_prefix("server="))
        .ok_or("the child started no server")?;
    let address = url
        .strip_prefix("redis://")
        .ok_or("the child printed no address")?;
    until("the server of the aborted process is gone", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await
}

async fn ping(url: &str) -> Result<(), Failure> {
    let mut connection = ::redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    Ok(::redis::cmd("PING").exec_async(&mut connection).await?)
}
