//! Runs a command with `PYMQ_URL` naming a throw-away Redis, found as the tests find theirs.
//!
//!     cargo run -p pymq-conformance --example with_redis -- cargo run -p pymq --features redis --example quickstart

use std::process::ExitCode;

use pymq_conformance::{Failure, redis};

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let mut words = std::env::args().skip(1);
    let program = words
        .next()
        .ok_or("usage: with_redis PROGRAM [ARGUMENT ...]")?;
    let server = redis::Server::start(&[]).await?;

    let status = tokio::process::Command::new(program)
        .args(words)
        .env("PYMQ_URL", server.url())
        .status()
        .await?;

    Ok(ExitCode::from(
        u8::try_from(status.code().unwrap_or(1)).unwrap_or(1),
    ))
}
