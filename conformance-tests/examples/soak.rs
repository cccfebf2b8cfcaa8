//! Runs storms of faults for the requested time, and reports at the end what was lost: nothing.
//!
//!     cargo run --release -p pymq-conformance --example soak -- --minutes 60 --seed 17

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    pymq_conformance::faults::soak::run().await
}
