//! What pymq costs beside the raw client: cases run in turn, A B A B, so that a slow spell of the
//! machine hits all of them alike, and only the ratio within a round is quoted.
#![expect(clippy::print_stdout, reason = "the table is what a bench is for")]

pub mod raw;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// Runs so many operations once and returns when all are done.
type Run = Box<dyn Fn(usize) -> Pin<Box<dyn Future<Output = ()> + Send>>>;

/// One row of a table.
pub struct Case {
    name: &'static str,
    run: Run,
    one_in: usize,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Case {
    /// Creates a case from its name and a function that does so many operations.
    pub fn new<F, Fut>(name: &'static str, run: F) -> Self
    where
        F: Fn(usize) -> Fut + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self {
            name,
            run: Box::new(move |operations| Box::pin(run(operations))),
            one_in: 1,
        }
    }

    /// Does one in so many of the group's operations: for a case that is slower by far, and would
    /// take all the time.
    #[must_use]
    pub fn one_in(mut self, one_in: usize) -> Self {
        self.one_in = one_in;
        self
    }
}

/// Runs a group of cases and prints their rates and their ratios to the first, the baseline.
///
/// `PYMQ_BENCH_ROUNDS` sets the rounds (5), `PYMQ_BENCH_SCALE` multiplies the operations (1.0), and
/// the first argument that does not start with `-` selects the groups with this text in the title.
///
/// # Panics
///
/// When a case does.
pub async fn group(title: &str, operations: usize, cases: Vec<Case>) {
    if std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .is_some_and(|filter| !title.contains(&filter))
    {
        return;
    }
    let rounds: usize = setting("PYMQ_BENCH_ROUNDS", 5);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a count of operations, rounded"
    )]
    let operations = ((operations as f64 * setting("PYMQ_BENCH_SCALE", 1.0)) as usize).max(64);
    let mut rates = vec![Vec::with_capacity(rounds); cases.len()];
    for round in 0..=rounds {
        for (case, rates) in cases.iter().zip(&mut rates) {
            let operations = (operations / case.one_in).max(64);
            let start = Instant::now();
            // In a task, as in a program: the thread of `block_on` itself pays a futex for each
            // wake-up.
            tokio::spawn((case.run)(operations))
                .await
                .expect("a case does not panic");
            // The first round warms up.
            if round > 0 {
                rates.push(rate(operations, start.elapsed()));
            }
        }
    }
    println!("\n{title} ({operations} operations, median of {rounds} rounds)");
    println!("{:<58} {:>12} {:>8}   min..max", "", "ops/s", "ratio");
    for (case, own) in cases.iter().zip(&rates) {
        let mut ratios: Vec<f64> = own
            .iter()
            .zip(&rates[0])
            .map(|(rate, base)| rate / base)
            .collect();
        ratios.sort_by(f64::total_cmp);
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        println!(
            "{:<58} {:>12.0} {:>8.2}   {low:.2}..{high:.2}",
            case.name,
            median(own),
            median(&ratios)
        );
    }
}

/// Does so many operations from `tasks` tasks at once, each awaiting its own.
///
/// # Panics
///
/// When an operation does.
pub async fn spread<F, Fut>(operations: usize, tasks: usize, operation: F)
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let operation = operation.clone();
            tokio::spawn(async move {
                for _ in 0..operations / tasks {
                    operation().await;
                }
            })
        })
        .collect();
    for task in running {
        task.await.expect("an operation does not panic");
    }
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn rate(operations: usize, elapsed: Duration) -> f64 {
    operations as f64 / elapsed.as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
