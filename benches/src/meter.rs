//! Measures the part of a case that counts, without what comes before and after it.

use std::future::Future;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{ServerInfo, float};

/// One measurement of one case.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Sample {
    /// Operations a second.
    pub rate: Option<f64>,
    /// The median time of an operation, in microseconds.
    pub p50_us: Option<f64>,
    /// The time that 99 % of the operations do not exceed, in microseconds.
    pub p99_us: Option<f64>,
    /// CPU time of this process for an operation, in microseconds.
    pub client_us: Option<f64>,
    /// CPU time of the server for an operation, in microseconds.
    pub server_us: Option<f64>,
    /// Commands that the server ran for an operation, including those inside of scripts.
    pub commands: Option<f64>,
    /// What the case measures instead of time.
    pub value: Option<f64>,
}

impl Sample {
    /// Creates a sample of a case that measures something other than time.
    pub fn value(value: f64) -> Self {
        Self {
            value: Some(value),
            ..Self::default()
        }
    }
}

/// A measurement that has started.
#[derive(Debug)]
pub struct Meter {
    server: Option<(String, ServerInfo)>,
    cpu: Duration,
    start: Instant,
}

impl Meter {
    /// Starts to measure this process.
    pub fn start() -> Self {
        Self {
            server: None,
            cpu: cpu_time(),
            start: Instant::now(),
        }
    }

    /// Starts to measure this process and the Redis at this URL.
    pub fn with_server(url: &str) -> Self {
        let server = ServerInfo::read(url);
        Self {
            server: Some((url.to_owned(), server)),
            ..Self::start()
        }
    }

    /// Ends the measurement of so many operations.
    pub fn stop(self, operations: usize) -> Sample {
        let elapsed = self.start.elapsed();
        let cpu = cpu_time().saturating_sub(self.cpu);
        let operations = float(operations);
        let mut sample = Sample {
            rate: Some(operations / elapsed.as_secs_f64()),
            client_us: Some(cpu.as_secs_f64() * 1e6 / operations),
            ..Sample::default()
        };
        if let Some((url, before)) = self.server {
            let used = ServerInfo::read(&url).since(&before);
            sample.server_us = Some(used.cpu.as_secs_f64() * 1e6 / operations);
            sample.commands = Some(float(used.total()) / operations);
        }
        sample
    }

    /// Ends the measurement of operations that took so long, one each.
    pub fn stop_with(self, mut times: Vec<Duration>) -> Sample {
        let mut sample = self.stop(times.len());
        times.sort_unstable();
        let at = |hundredths: usize| {
            let time = times.get((times.len().saturating_sub(1)) * hundredths / 100)?;
            Some(time.as_secs_f64() * 1e6)
        };
        sample.p50_us = at(50);
        sample.p99_us = at(99);
        sample
    }
}

/// The CPU time of this process, of all its threads.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
}

/// Does so many operations in `tasks` tasks at once. Each task awaits its own.
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

/// Does the same and returns how long each operation took.
pub async fn latencies<F, Fut>(operations: usize, tasks: usize, operation: F) -> Vec<Duration>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let operation = operation.clone();
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(operations / tasks);
                for _ in 0..operations / tasks {
                    let start = Instant::now();
                    operation().await;
                    times.push(start.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::with_capacity(operations);
    for task in running {
        times.extend(task.await.expect("an operation does not panic"));
    }
    times
}
