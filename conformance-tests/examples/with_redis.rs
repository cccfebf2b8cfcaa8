//! Runs a command with `PYMQ_URL` naming a Redis that is there for as long as the command runs:
//! `cargo run -p conformance-tests --example with_redis -- cargo run -p pymq --example quickstart`.
//!
//! Where the Redis comes from is chosen as for the tests, see [`conformance_tests::redis`].

use std::env;
use std::process::{Command, ExitCode};

use conformance_tests::Failure;
use conformance_tests::redis;

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().ok_or("want a command to run")?;
    let server = redis::shared().await?;

    let status = Command::new(program)
        .args(arguments)
        .env("PYMQ_URL", server.url())
        .status()?;

    // A command that a signal ended has no code.
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX);
    Ok(ExitCode::from(code))
}
