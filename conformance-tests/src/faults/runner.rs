//! Runs faults, each in a process of its own. A fault that hangs or aborts is only its own failure.
//! Its memory is its own, and everything that it started ends with it.

use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Report;
use super::command::{ROLE, Request};
use super::table::{Fault, Load};
use crate::Failure;

/// How much [`Load`] runs at the same time.
const MACHINE: u32 = 4;

/// A fault that has ended.
struct Finished {
    fault: &'static Fault,
    report: Report,
    took: Duration,
}

/// Runs the requested faults, and tells whether all results are as expected.
pub(super) async fn run(request: Request) -> Result<bool, Failure> {
    let start = Instant::now();
    println!("seed {}", request.seed);
    let machine = Semaphore::new(MACHINE as usize);
    let runs = request.faults.iter().map(|&fault| async {
        let _share = machine.acquire_many(share(fault.load)).await?;
        let begin = Instant::now();
        let report = in_a_process(fault, &request).await;
        let finished = Finished {
            fault,
            report,
            took: begin.elapsed(),
        };
        finished.print(&request);
        Ok::<_, Failure>(finished)
    });
    let finished = join_all(runs)
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;

    println!("\n{:<5} {:<24} {:>7}  result", "", "fault", "s");
    for run in &finished {
        let result = if run.report.has_passed() {
            "passed"
        } else {
            "FAILED"
        };
        let (fault, took) = (run.fault, run.took.as_secs_f64());
        println!("{:<5} {:<24} {took:>7.1}  {result}", fault.id, fault.name);
    }
    println!(
        "all of it took {:.1} s, seed {}",
        start.elapsed().as_secs_f64(),
        request.seed
    );

    let all_passed = finished.iter().all(|run| run.report.has_passed());
    Ok(match request.breaks {
        None => all_passed,
        Some(rule) if all_passed => {
            println!("the rule {rule} is broken, and nothing has noticed");
            false
        }
        Some(rule) => {
            println!("the rule {rule} is broken, and it was noticed");
            true
        }
    })
}

const fn share(load: Load) -> u32 {
    match load {
        Load::Light => 1,
        Load::Heavy => 2,
        Load::Alone => MACHINE,
    }
}

async fn in_a_process(fault: &Fault, request: &Request) -> Report {
    match output(fault, request).await {
        Ok(output) => read(&output),
        Err(error) => Report::failed(error.to_string()),
    }
}

async fn output(fault: &Fault, request: &Request) -> Result<Output, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([ROLE, fault.id, "--seed", &request.seed.to_string()]);
    if request.is_long {
        command.arg("--long");
    }
    if let Some(rule) = request.breaks {
        command.args(["--break", &rule.to_string()]);
    }
    let mut process: Child = command
        // It reads this until the parent is gone.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let pipe = process.stdin.take();
    let output = timeout(fault.limit, process.wait_with_output()).await;
    drop(pipe);
    Ok(output.map_err(|_| format!("not over after {:?}", fault.limit))??)
}

/// Reads the report, which is the last thing printed. Without one, it creates a report of what was
/// printed.
fn read(output: &Output) -> Report {
    let printed = String::from_utf8_lossy(&output.stdout);
    let report = printed.lines().last().map(serde_json::from_str::<Report>);
    let mut report = match report {
        Some(Ok(report)) => report,
        _ => Report::failed(format!("ended without a report: {}", output.status)),
    };
    if !report.has_passed() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = errors.lines().count().saturating_sub(20);
        report.failures.extend(
            errors
                .lines()
                .skip(first)
                .map(|line| format!("stderr: {line}")),
        );
    }
    report
}

impl Finished {
    fn print(&self, request: &Request) {
        let Fault {
            id,
            name,
            what,
            criterion,
            ..
        } = self.fault;
        let result = if self.report.has_passed() {
            "passed"
        } else {
            "FAILED"
        };
        println!(
            "\n{id} {name}: {result} in {:.1} s",
            self.took.as_secs_f64()
        );
        println!("    done       {what}");
        println!("    criterion  {criterion}");
        println!("    numbers    {}", self.report);
        for failure in &self.report.failures {
            println!("    FAILED     {failure}");
        }
        if !self.report.has_passed() {
            println!("    repeat     faults {id} --seed {}", request.seed);
        }
    }
}
