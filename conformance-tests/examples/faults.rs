//! Runs the faults: kills, restarts, outages and bad input, and what must hold in spite of them.
//!
//!     cargo run --release -p conformance-tests --example faults
//!     cargo run --release -p conformance-tests --example faults -- F1 F7 --seed 17
//!     cargo run --release -p conformance-tests --example faults -- --break ack-before-work

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    conformance_tests::faults::command::run().await
}
