//! F22: a server without free memory, one with a full disk, and one at its limit of clients.
//!
//! A refused operation says why and has not happened. Operations that free memory still work.
//! Everything works again, without a restart, once there is space.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::time::Duration;

use pymq_core::{Bus, Connect, Error, ErrorKind, Received};
use pymq_provider_redis::RedisConfig;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::{Report, Setting};
use crate::errors::full_text;
use crate::redis::{Controlled, Source, source_of_own};
use crate::{Failure, Outcome};

/// The size of a message: the memory is soon full.
#[derive(Debug, Deserialize, Serialize)]
struct Crate {
    number: u32,
    filling: String,
}

const SIZE: usize = 16 << 10;

/// Far more than fit.
const MANY: u32 = 10_000;

const TIMEOUT: Duration = Duration::from_secs(1);
const RECOVERY: Duration = Duration::from_secs(6);
const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// Runs it.
pub async fn run(setting: Setting) -> Outcome<Report> {
    let mut report = Report::default();
    no_memory(&setting, &mut report).await?;
    no_disk(&setting, &mut report).await?;
    no_place(&setting, &mut report).await?;
    let lost = report.lost;
    report.demand(lost == 0, || format!("{lost} accepted messages are lost"));
    Ok(report)
}

async fn connect(setting: &Setting, server: &Controlled) -> Result<Bus, Failure> {
    let config: RedisConfig = server.url().parse()?;
    setting.bus(config.op_timeout(TIMEOUT)).await
}

/// Puts messages until one is refused. Returns how many were accepted, and why the next one was
/// refused.
async fn fill(bus: &Bus, from: u32) -> Result<(u32, Error), Failure> {
    let queue = bus.queue::<Crate>("crates");
    for number in from..from + MANY {
        let filling = "x".repeat(SIZE);
        if let Err(error) = queue.put(&Crate { number, filling }).await {
            return Ok((number - from, error));
        }
    }
    Err(format!("{MANY} messages of {SIZE} bytes fit").into())
}

/// Takes everything, and adds to the report what happened to the accepted messages.
async fn drain(bus: &Bus, accepted: u32, mut done: BTreeSet<u32>, report: &mut Report) -> Outcome {
    let queue = bus.queue::<Crate>("crates");
    while let Some(lease) = timeout(WAIT_LIMIT, queue.try_lease()).await?? {
        let number = lease.number;
        lease.ack().await?;
        report.duplicates += u64::from(!done.insert(number));
    }
    let lost = (0..accepted)
        .filter(|number| !done.contains(number))
        .count();
    report.accepted += u64::from(accepted);
    report.worked += u64::try_from(done.len())?;
    report.lost += u64::try_from(lost)?;
    let ghosts = done.iter().filter(|number| **number >= accepted).count();
    report.demand(ghosts == 0, || {
        format!("{ghosts} were refused and are there")
    });
    let duplicates = report.duplicates;
    report.demand(duplicates == 0, || format!("{duplicates} came twice"));
    Ok(())
}

async fn no_memory(setting: &Setting, report: &mut Report) -> Outcome {
    let options = ["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"];
    let server = setting.server(&options).await?;
    let bus = connect(setting, &server).await?;
    bus.expose("echo", |number: u32| async move { number })
        .await?
        .keep();
    let (mut accepted, mut refused, mut done) = (0, 0, BTreeSet::new());
    let queue = bus.queue::<Crate>("crates").lease_time(WAIT_LIMIT);
    for _round in 0..5 {
        let (more, error) = fill(&bus, accepted).await?;
        accepted += more;
        refused += 1;
        report.demand(
            is_refusal(&error, ErrorKind::OutOfMemory, "maxmemory"),
            || format!("a put to a full memory: {}", full_text(&error)),
        );
        // While it is full.
        let answer = bus
            .stub::<(u32,), u32>("echo")
            .timeout(TIMEOUT)
            .call((7,))
            .await;
        report.demand(answer.is_ok(), || {
            format!("a call at a full memory: {answer:?}")
        });
        for step in 0..20 {
            let lease = queue.try_lease().await?.ok_or("nothing to lease")?;
            if step == 0 {
                lease.extend(WAIT_LIMIT).await?;
                lease.nack().await?;
                continue;
            }
            let number = lease.number;
            lease.ack().await?;
            done.insert(number);
        }
    }
    report.sent += u64::from(accepted + refused);
    report.figure(format!(
        "memory full {refused} times, {} acks in it",
        done.len()
    ));
    drain(&bus, accepted, done, report).await
}

async fn no_disk(setting: &Setting, report: &mut Report) -> Outcome {
    if source_of_own()? != Source::Local {
        report.figure("the disk was not filled: the server is in a container");
        return Ok(());
    }
    // The next file of the server is on a device that is always full.
    let home = setting.scratch().dir("full-disk")?;
    let folder = home.join("appendonlydir");
    std::fs::create_dir(&folder)?;
    symlink("/dev/full", folder.join("appendonly.aof.1.incr.aof"))?;
    let options = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let server = Controlled::start(&home, &options).await?;
    let bus = connect(setting, &server).await?;

    // Puts before the server notices are in its memory, and it promised no more than that.
    let (accepted, error) = fill(&bus, 0).await?;
    report.demand(
        is_refusal(&error, ErrorKind::Provider, "cannot save its data"),
        || format!("a put to a full disk: {}", full_text(&error)),
    );
    let queue = bus.queue::<Crate>("crates");
    let lease = queue.try_lease().await;
    let says = lease.as_ref().err().map(full_text).unwrap_or_default();
    report.demand(says.contains("cannot save its data"), || {
        format!("a lease on a full disk: {lease:?}")
    });
    let length = queue.len().await;
    report.demand(length.is_ok(), || {
        format!("the queue cannot be read: {length:?}")
    });

    let mut raw = server.raw().await?;
    let start = Instant::now();
    // The next file has space.
    redis::cmd("BGREWRITEAOF").exec_async(&mut raw).await?;
    let others = bus.queue::<i32>("others");
    let again = async { while others.put(&1).await.is_err() {} };
    let back = timeout(RECOVERY, again).await;
    report.recovered(start.elapsed());
    report.demand(back.is_ok(), || {
        "the disk has room, and puts still fail".to_owned()
    });
    report.sent += u64::from(accepted) + 1;
    report.figure(format!("disk full after {accepted} puts"));
    drain(&bus, accepted, BTreeSet::new(), report).await
}

async fn no_place(setting: &Setting, report: &mut Report) -> Outcome {
    let server = setting.server(&[]).await?;
    let bus = connect(setting, &server).await?;
    let mut events = bus.topic("news").stream::<u32>().await?;
    let mut admin = server.raw().await?;
    let limit = |limit: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg(&["SET", "maxclients", limit]);
        set
    };

    limit("1").exec_async(&mut admin).await?;
    let config: RedisConfig = server.url().parse()?;
    let error = config.connect_timeout(TIMEOUT).connect().await.err();
    let is_told = |error: &Error| {
        error.kind() == ErrorKind::Disconnected && full_text(error).contains("limit of clients")
    };
    report.demand(error.as_ref().is_some_and(is_told), || {
        format!("one client too many: {error:?}")
    });
    // A connected client stays connected.
    bus.queue::<i32>("crates").put(&1).await?;
    for kind in ["pubsub", "normal"] {
        redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", kind, "SKIPME", "yes"])
            .exec_async(&mut admin)
            .await?;
    }
    let refused = async {
        loop {
            let error = bus.queue::<i32>("crates").put(&2).await.err();
            // A put that met the end of its connection was not refused: its outcome is unknown.
            if !error.as_ref().is_some_and(Error::outcome_unknown) {
                return error;
            }
        }
    };
    let error = timeout(RECOVERY, refused).await?;
    report.demand(error.as_ref().is_some_and(is_told), || {
        format!("a client is refused: {error:?}")
    });

    let start = Instant::now();
    limit("1000").exec_async(&mut admin).await?;
    let back = async {
        while bus.queue::<i32>("others").put(&1).await.is_err() {}
        // The first event after the gap.
        loop {
            bus.topic("news").publish(&1).await?;
            let heard = timeout(Duration::from_millis(50), events.recv()).await;
            if matches!(heard, Ok(Ok(Received::Event(..)))) {
                return Ok::<_, Failure>(());
            }
        }
    };
    let back = timeout(RECOVERY, back).await;
    report.recovered(start.elapsed());
    report.demand(matches!(back, Ok(Ok(()))), || {
        format!("there is room, and not all works: {back:?}")
    });
    Ok(())
}

/// Tells whether an error says that an operation was refused, why, and that it has not happened.
fn is_refusal(error: &Error, kind: ErrorKind, says: &str) -> bool {
    error.kind() == kind && !error.outcome_unknown() && full_text(error).contains(says)
}
