//! The command line of `examples/faults.rs`, and the roles of its processes.

use std::process::ExitCode;

use futures_util::FutureExt;

use super::rules::Rule;
use super::table::{self, FAULTS, Fault};
use super::{Report, Setting, consumer, remote_server, runner, tls};
use crate::Failure;

/// The first argument of a process that runs one fault.
pub(super) const ROLE: &str = "fault";

const USAGE: &str = "\
usage: faults [FAULT ...] [--seed N] [--long] [--break RULE]

Runs the named faults, or all, and fails if one of them fails. The printed seed repeats a run.
With `--long`, those that CI runs for a shorter time run for their full one.
With `--break`, breaks a rule of the library, runs the fault that must fail, and fails if it passes.";

/// What the command line requests.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) faults: Vec<&'static Fault>,
    pub(super) seed: u64,
    pub(super) is_long: bool,
    pub(super) breaks: Option<Rule>,
}

/// Runs what the command line requests.
pub async fn run() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match &*words {
        [consumer::ROLE, orders] => consumer::run(orders).await.map(|()| true),
        [remote_server::ROLE, orders] => remote_server::run(orders).await.map(|()| true),
        [tls::ROLE, url] => tls::run(url).await.map(|()| true),
        [ROLE, rest @ ..] => until_orphaned(run_one(rest)).await.map(|()| true),
        words => match Request::parse(words) {
            Ok(request) => runner::run(request).await,
            Err(wrong) => Err(wrong),
        },
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one fault in this process, and prints its report for the parent process.
async fn run_one(words: &[&str]) -> Result<(), Failure> {
    let request = Request::parse(words)?;
    let [fault] = &*request.faults else {
        return Err(USAGE.into());
    };
    let setting = Setting::new(request.seed, request.is_long, request.breaks)?;
    let report = (fault.run)(setting)
        .await
        .unwrap_or_else(|error| Report::failed(error.to_string()));
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// Runs a role until the parent process is gone.
async fn until_orphaned(role: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        outcome = role => outcome,
        () = orphaned() => Ok(()),
    }
}

/// Waits until the parent process ends in any way, or closes our standard input, of which it holds
/// the other end. For one role of a process, once.
pub(super) fn orphaned() -> impl Future<Output = ()> {
    let (alive, orphaned) = tokio::sync::oneshot::channel::<()>();
    // A thread, because a blocking read cannot be cancelled and would keep the runtime from ending.
    std::thread::spawn(move || {
        let _alive = alive;
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())
    });
    orphaned.map(|_| ())
}

impl Request {
    fn parse(words: &[&str]) -> Result<Self, Failure> {
        let (mut faults, mut seed, mut breaks) = (Vec::new(), None, None);
        let mut is_long = false;
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "--seed" => seed = Some(words.next().ok_or(USAGE)?.parse()?),
                "--long" => is_long = true,
                "--break" => breaks = Some(words.next().ok_or(USAGE)?.parse::<Rule>()?),
                name => faults.push(table::find(name).ok_or_else(|| unknown(name))?),
            }
        }
        if faults.is_empty() {
            faults = match breaks {
                Some(rule) => vec![table::find(rule.caught_by()).ok_or(USAGE)?],
                None => FAULTS.iter().collect(),
            };
        }
        Ok(Self {
            faults,
            seed: seed_or_random(seed),
            is_long,
            breaks,
        })
    }
}

/// Returns the given seed, or a random one that is short enough to type.
pub(super) fn seed_or_random(seed: Option<u64>) -> u64 {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    seed.unwrap_or(random % 1_000_000)
}

fn unknown(name: &str) -> String {
    let known: Vec<_> = FAULTS
        .iter()
        .map(|fault| format!("  {:4} {}", fault.id, fault.name))
        .collect();
    format!(
        "{USAGE}\n\nno fault `{name}`; there are\n{}",
        known.join("\n")
    )
}
