//! pymq beside the raw client on Redis, and beside channels in memory.
#![expect(clippy::print_stderr, reason = "it says why something does not run")]

use std::process::ExitCode;

use pymq_benches::{Options, Redis, groups, run};

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let server = match Redis::start() {
        Ok(server) => Some(server),
        Err(error) if options.check => {
            eprintln!("no Redis to check: {error}");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("the groups of Redis do not run: {error}");
            None
        }
    };
    let mut all = Vec::new();
    if let Some(server) = &server {
        all.extend(groups::redis(&server.url()));
    }
    all.extend(groups::memory());
    run(all, &options)
}
