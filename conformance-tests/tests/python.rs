//! Python is a peer: the real library and ours on one Redis, in every direction.

/// Makes a test of each named function. The test has a Rust bus and a Python process in a namespace
/// of their own. A function that is not named is dead code.
macro_rules! cases {
    ($($name:ident,)+) => {
        mod cases {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> pymq_conformance::Outcome {
                crate::with_peers(super::$name).await
            })+
        }
    };
}

mod python {
    mod classes;
    mod competing;
    mod examples;
    mod failures_of_python;
    mod failures_of_rust;
    mod forged;
    mod from_python;
    mod harmless;
    mod harness;
    mod hostile;
    mod leases;
    mod mixed_servers;
    mod python_calls_rust;
    mod queues;
    mod rust_calls_python;
    mod shop;
    mod topics;
    mod unnoticed;
    mod values_from_python;
    mod values_from_rust;
    mod vectors;
}

use std::io::{Write, stderr};
use std::sync::Once;

use pymq_conformance::Outcome;
use pymq_conformance::python::{self as peer, Peers};

/// Runs a case. If the tests run without Python, it says so, outside of the capture of the test
/// runner.
async fn with_peers(case: impl AsyncFnOnce(Peers) -> Outcome) -> Outcome {
    static SAID: Once = Once::new();
    if peer::is_off() {
        SAID.call_once(|| {
            drop(writeln!(
                stderr(),
                "PYMQ_TEST_PYTHON=off: nothing was tried with Python"
            ));
        });
        return Ok(());
    }
    case(Peers::meet().await?).await
}
