//! F3: the server is killed and needs a long time to load its data. It accepts connections
//! meanwhile and refuses every command. The bus waits, and no caller sees an error before its
//! deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::ledger::now;
use super::setting::DURABLE;
use super::workshop::{Plan, Workshop};
use super::{Report, Setting};
use crate::redis::Controlled;
use crate::{Failure, Outcome};

const RESTARTS: u32 = 2;

/// How much the server has to load, and how long it pauses after each key, in microseconds. It
/// answers after every 1,024 keys.
const KEYS: u32 = 40_000;
const KEY_DELAY: &str = "10";

const RECOVERY: Duration = Duration::from_secs(6);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let options = [&DURABLE[..], &["--key-load-delay", KEY_DELAY]].concat();
    let server = setting.server(&options).await?;
    fill(&server).await?;
    let plan = Plan {
        producers: 8,
        per_second: 200,
        consumers: 2,
        // Longer than the loading, so that no deadline excuses an error.
        op_timeout: Duration::from_secs(60),
        ..Plan::default()
    };
    let mut shop = Workshop::open(&setting, &server.url(), &plan).await?;

    let (mut dice, mut worst) = (setting.dice("restarts"), Duration::ZERO);
    let (mut loading, mut shortest) = (0, Duration::MAX);
    for _ in 0..RESTARTS {
        sleep(dice.millis(200..=800)).await;
        server.kill().await?;
        server.start_again().await?;
        let start = Instant::now();
        loading += refusals(&server).await?;
        shortest = shortest.min(start.elapsed());
        worst = worst.max(shop.recovery(now()).await?);
    }

    let (mut report, tally) = shop.close().await?;
    report.figure(format!(
        "{RESTARTS} restarts, loading for {shortest:?} or more"
    ));
    report.recovered(worst);
    report.demand(loading > 0, || {
        "the server was never seen loading".to_owned()
    });
    report.demand(tally.refused() == 0, || {
        format!("{} puts failed before their deadline", tally.refused())
    });
    report.demand(worst <= RECOVERY, || format!("took {worst:?} to recover"));
    Ok(report)
}

/// Gives the server something to load.
async fn fill(server: &Controlled) -> Result<(), Failure> {
    let fill = "for i = 1, ARGV[1] do redis.call('SET', 'filler:' .. i, i) end";
    let mut raw = server.raw().await?;
    redis::cmd("EVAL")
        .arg(fill)
        .arg(0)
        .arg(KEYS)
        .exec_async(&mut raw)
        .await?;
    Ok(())
}

/// Waits until the server has loaded, and counts how often it answered that it has not.
async fn refusals(server: &Controlled) -> Result<u32, Failure> {
    let loaded = async {
        let mut refused = 0;
        loop {
            match server.ping().await {
                Ok(()) => return refused,
                Err(error) => refused += u32::from(is_loading(&error)),
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    Ok(timeout(Duration::from_secs(60), loaded).await?)
}

fn is_loading(error: &Failure) -> bool {
    let error = error.downcast_ref::<redis::RedisError>();
    let loading = redis::ErrorKind::Server(redis::ServerErrorKind::BusyLoading);
    error.is_some_and(|error| error.kind() == loading)
}
