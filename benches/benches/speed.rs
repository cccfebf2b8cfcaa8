//! pymq beside the raw client on Redis, and beside channels in memory.
#![expect(clippy::print_stderr, reason = "it says why something does not run")]

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use pymq_benches::{Options, Redis, Results, groups, growth, publish, run};

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if options.growth || options.report.is_some() {
        return match write(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
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

/// Writes into the documents of the project.
fn write(options: &Options) -> Result<(), Box<dyn Error>> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if let Some(file) = &options.report {
        publish(&Results::read(file)?, root)?;
    }
    if !options.growth {
        Ok(())
    } else if options.quick {
        growth(&std::env::temp_dir(), true)
    } else {
        growth(&root.join("docs"), false)
    }
}
