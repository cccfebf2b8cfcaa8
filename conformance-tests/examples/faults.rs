//! Runs the faults: kills, restarts, outages and bad input, and what must hold despite them.
//!
//!     cargo run --release -p pymq-conformance --example faults
//!     cargo run --release -p pymq-conformance --example faults -- F1 F7 --seed 17
//!     cargo run --release -p pymq-conformance --example faults -- --break ack-before-work

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    pymq_conformance::faults::command::run().await
}
