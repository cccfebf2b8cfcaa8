//! Calls the functions of `remote_server`: one server, all of them, one that fails, one that is too
//! slow.
//!
//!     PYMQ_URL=redis://127.0.0.1:6379 cargo run -p pymq --features redis --example remote_client

use std::time::Duration;

use futures_util::StreamExt;
use pymq::{Error, ErrorKind};

#[tokio::main]
async fn main() -> pymq::Result<()> {
    let url = std::env::var("PYMQ_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let bus = pymq::connect(url).await?;
    let product = bus.stub::<(i64, i64), i64>("product");

    match product.call((6, 7)).await {
        Ok(answer) => println!("product(6, 7) = {answer}"),
        Err(error) if error.kind() == ErrorKind::NoSuchRemote => {
            println!("{error}: start a server with `cargo run -p pymq --example remote_server`");
            return bus.shutdown(Duration::from_secs(1)).await;
        }
        Err(error) => return Err(error),
    }
    report("product(i64::MAX, 2)", product.call((i64::MAX, 2)).await);

    let patient = bus
        .stub::<(String, f64), String>("slow_echo")
        .timeout(Duration::from_secs(2));
    report(
        "slow_echo within its time",
        patient.call(("in time".to_owned(), 0.5)).await,
    );
    report(
        "slow_echo out of time",
        patient.call(("too late".to_owned(), 5.0)).await,
    );

    let mut servers = bus
        .stub::<(), u32>("who")
        .timeout(Duration::from_secs(2))
        .call_all(())
        .await?;
    println!("servers asked who they are: {}", servers.expected());
    while let Some(answer) = servers.next().await {
        report("  process", answer);
    }
    bus.shutdown(Duration::from_secs(1)).await
}

fn report(what: &str, answer: Result<impl std::fmt::Debug, Error>) {
    match answer {
        Ok(answer) => println!("{what}: {answer:?}"),
        Err(error) => println!("{what}: {error}"),
    }
}
