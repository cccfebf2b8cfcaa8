//! The soak: storm after storm for the requested time, one line each, and a report at the end.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::command::seed_or_random;
use super::report::mebibytes;
use super::storm::Storm;
use super::{Report, Setting, consumer, memory};
use crate::Failure;

const USAGE: &str = "usage: soak [--minutes M] [--seed N]";

/// How long one storm lasts, before everything is counted.
const ROUND: Duration = Duration::from_secs(20);

/// The numbers for the final report.
#[derive(Debug, Default, Serialize)]
struct Summary {
    seed: u64,
    seconds: u64,
    rounds: u32,
    faults: BTreeMap<String, u32>,
    sent: u64,
    accepted: u64,
    worked: u64,
    duplicates: u64,
    lost: u64,
    max_recovery_ms: u128,
    /// From the put to the work, outages included.
    p50_ms: u128,
    p99_ms: u128,
    /// The memory of the process with the producers, subscribers and callers, after the first round
    /// and after the last, and the most that a consumer had.
    memory_first_mib: f64,
    memory_last_mib: f64,
    memory_consumer_mib: f64,
    failures: Vec<String>,
}

/// Runs what the command line requests.
pub async fn run() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match &*words {
        [consumer::ROLE, orders] => consumer::run(orders).await.map(|()| true),
        words => soak(words).await,
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

async fn soak(words: &[&str]) -> Result<bool, Failure> {
    let (mut minutes, mut seed) = (60, None);
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match word {
            "--minutes" => minutes = value.parse()?,
            "--seed" => seed = Some(value.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    let mut summary = Summary {
        seed: seed_or_random(seed),
        ..Summary::default()
    };
    println!("seed {}, {minutes} minutes", summary.seed);

    let start = Instant::now();
    let mut storm = Storm::brew(Setting::new(summary.seed, false, None)?).await?;
    let mut latencies = Latencies::default();
    while start.elapsed() < Duration::from_secs(60 * minutes) {
        match storm.round(ROUND).await {
            Ok((report, tally)) => {
                tally.latencies().for_each(|time| latencies.add(time));
                summary.add(&report)?;
            }
            // Unknown work may still be in flight, and would be counted in the next round.
            Err(error) => {
                summary.failures.push(error.to_string());
                break;
            }
        }
        summary.print_progress(start.elapsed());
    }
    summary.seconds = start.elapsed().as_secs();
    summary.faults = storm.blows();
    (summary.p50_ms, summary.p99_ms) = (latencies.at(500), latencies.at(990));
    println!("{}", serde_json::to_string_pretty(&summary)?);
    Ok(summary.failures.is_empty() && summary.lost == 0)
}

impl Summary {
    fn add(&mut self, report: &Report) -> Result<(), Failure> {
        self.rounds += 1;
        self.sent += report.sent;
        self.accepted += report.accepted;
        self.worked += report.worked;
        self.duplicates += report.duplicates;
        self.lost += report.lost;
        let recovery = report.worst_recovery.unwrap_or_default();
        self.max_recovery_ms = self.max_recovery_ms.max(recovery.as_millis());
        let consumers = mebibytes(report.memory.unwrap_or(0));
        self.memory_consumer_mib = self.memory_consumer_mib.max(consumers);
        self.memory_last_mib = mebibytes(memory::resident(None)?);
        if self.rounds == 1 {
            self.memory_first_mib = self.memory_last_mib;
        }
        let round = self.rounds;
        let failures = report.failures.iter();
        self.failures
            .extend(failures.map(|failure| format!("round {round}: {failure}")));
        Ok(())
    }

    fn print_progress(&self, elapsed: Duration) {
        println!(
            "{:>4} s  round {}  sent {}  accepted {}  worked {}  duplicates {}  lost {}  max recovery {} ms  \
             memory {:.1} MiB  failures {}",
            elapsed.as_secs(),
            self.rounds,
            self.sent,
            self.accepted,
            self.worked,
            self.duplicates,
            self.lost,
            self.max_recovery_ms,
            self.memory_last_mib,
            self.failures.len(),
        );
    }
}

/// How often something took how many milliseconds. There is one entry for each different time.
#[derive(Debug, Default)]
struct Latencies(BTreeMap<u128, u64>);

impl Latencies {
    fn add(&mut self, time: Duration) {
        *self.0.entry(time.as_millis()).or_default() += 1;
    }

    /// Returns the time that is not exceeded in this many of a thousand cases.
    fn at(&self, per_mille: u64) -> u128 {
        let total: u64 = self.0.values().sum();
        let mut seen = 0;
        let within = self.0.iter().find(|&(_, count)| {
            seen += count;
            seen * 1_000 >= total * per_mille
        });
        within.map_or(0, |(&time, _)| time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_time_that_so_many_stay_within() {
        let mut latencies = Latencies::default();
        (1..=1_000).for_each(|millis| latencies.add(Duration::from_millis(millis)));

        assert_eq!(
            (latencies.at(500), latencies.at(990), latencies.at(1_000)),
            (500, 990, 1_000)
        );
        assert_eq!(Latencies::default().at(990), 0);
    }
}
