//! What pymq costs while nothing happens: connections, CPU time, and the heap of an idle object.
//! It is a program of its own, as its allocator counts.
#![expect(clippy::print_stderr, reason = "it says why something does not run")]

use std::alloc::System;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pymq_benches::{Case, Goal, Group, Limit, Measure, Options, Redis, Sample, ServerInfo};
use pymq_benches::{cpu_time, run, text};
use pymq_core::{Bus, Raw};
use pymq_provider_memory::MemoryConfig;
use pymq_provider_redis::RedisConfig;
use stats_alloc::{Region, StatsAlloc};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// How many idle subscriptions and waiting consumers a process has, half of each.
const IDLE: usize = 1_000;

/// How long the CPU time of an idle process is measured.
const QUIET: Duration = Duration::from_secs(3);

/// How long a process has done nothing when it counts as idle.
const SETTLING: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if options.growth || options.report.is_some() {
        return ExitCode::SUCCESS; // that is what `speed` does
    }
    let mut groups = vec![heap()];
    let redis = Redis::start();
    match &redis {
        Ok(redis) => groups.extend([connections(&redis.url()), cpu(&redis.url())]),
        Err(error) if options.check => {
            eprintln!("cannot check: {error}");
            return ExitCode::FAILURE;
        }
        Err(error) => eprintln!("the groups of Redis do not run: {error}"),
    }
    run(groups, &options)
}

async fn bus(url: &str) -> Bus {
    let config: RedisConfig = url.parse().expect("a Redis URL");
    Bus::connect(config).await.expect("a Redis that answers")
}

/// A process that has published, subscribed, put, taken, called and served, and is idle now.
fn connections(url: &str) -> Group {
    const BUS: &str = "connections of an idle bus that did everything";
    let url = url.to_owned();
    let case = Case::new(BUS, move |_| {
        let url = url.clone();
        async move {
            let before = settled(&url).await;
            let bus = bus(&url).await;
            let mut events = bus.topic("t").stream::<String>().await.expect("a stream");
            bus.topic("t").publish(&text()).await.expect("publish");
            events.recv().await.expect("an event");
            let queue = bus.queue::<String>("q");
            let running = queue
                .worker(async |_: String| {})
                .start()
                .expect("a worker");
            queue.put(&text()).await.expect("put");
            queue.join().await.expect("join");
            let _serving = bus.expose("f", async |text: String| text).await;
            let stub = bus.stub::<(String,), String>("f");
            stub.call((text(),)).await.expect("a call");
            tokio::time::sleep(SETTLING).await;
            let clients = ServerInfo::read(&url).clients - before;
            running.stop().await;
            Sample::value(u32::try_from(clients).map_or(f64::MAX, f64::from))
        }
    });
    Group::new("idle: connections of a process", 1, vec![case]).goal(Goal::absolute(
        Measure::Value,
        BUS,
        Limit::AtMost,
        2.0,
        1.0,
    ))
}

/// Waits until the connections of the round before are closed, and returns how many are left.
async fn settled(url: &str) -> usize {
    let mut clients = ServerInfo::read(url).clients;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        clients = clients.min(ServerInfo::read(url).clients);
    }
    clients
}

/// A process with many idle subscriptions and many callers of `get` that wait.
fn cpu(url: &str) -> Group {
    const WAITING: &str = "% of a core, 500 subscriptions and 500 waits";
    const SERVER: &str = "% of a core of Redis meanwhile";
    let both = [(WAITING, false), (SERVER, true)].map(|(name, of_server)| {
        let url = url.to_owned();
        Case::new(name, move |_| {
            let url = url.clone();
            async move {
                let bus = bus(&url).await;
                let mut streams = Vec::with_capacity(IDLE / 2);
                let mut waits = JoinSet::new();
                for index in 0..IDLE / 2 {
                    let topic = bus.topic(format!("t{index}"));
                    streams.push(topic.stream::<Raw>().await.expect("a stream"));
                    let queue = bus.queue::<Raw>(format!("q{index}"));
                    waits.spawn(async move { queue.get().await });
                }
                tokio::time::sleep(SETTLING).await;
                let (start, cpu) = (Instant::now(), cpu_time());
                let server = ServerInfo::read(&url);
                tokio::time::sleep(QUIET).await;
                let used = if of_server {
                    ServerInfo::read(&url).since(&server).cpu
                } else {
                    cpu_time().saturating_sub(cpu)
                };
                Sample::value(used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0)
            }
        })
    });
    Group::new("idle: CPU time", 1, both.into()).goal(Goal::absolute(
        Measure::Value,
        WAITING,
        Limit::AtMost,
        0.1,
        0.0,
    ))
}

/// Heap bytes of an object that is used once and then idle, on the memory provider.
fn heap() -> Group {
    const TOPIC: &str = "heap bytes of an idle topic";
    const QUEUE: &str = "heap bytes of an idle queue";
    const SUBSCRIPTION: &str = "heap bytes of an idle subscription";
    let cases = vec![
        Case::new(TOPIC, |_| {
            each(async |bus, name| {
                let topic = bus.topic(name);
                topic.publish(&Raw::from("x")).await.expect("publish");
                topic
            })
        }),
        Case::new(QUEUE, |_| {
            each(async |bus, name| {
                let queue = bus.queue::<Raw>(name);
                queue.put(&Raw::from("x")).await.expect("put");
                queue.get().await.expect("get");
                queue
            })
        }),
        Case::new(SUBSCRIPTION, |_| {
            each(async |bus, _| {
                let topic = bus.topic("one");
                topic.stream::<Raw>().await.expect("a stream")
            })
        }),
    ];
    let at_most = |name| Goal::absolute(Measure::Value, name, Limit::AtMost, 512.0, 256.0);
    Group::new("idle: heap of an object", 1, cases)
        .goal(at_most(TOPIC))
        .goal(at_most(QUEUE))
        .goal(at_most(SUBSCRIPTION))
}

/// Makes many objects and returns how many bytes one of them keeps.
async fn each<T, Fut>(make: impl Fn(Bus, String) -> Fut) -> Sample
where
    Fut: Future<Output = T>,
{
    let bus = Bus::connect(MemoryConfig::default()).await.expect("a bus");
    let mut kept = Vec::with_capacity(IDLE + 1);
    kept.push(make(bus.clone(), "first".to_owned()).await);
    let region = Region::new(ALLOCATOR);
    for index in 0..IDLE {
        kept.push(make(bus.clone(), format!("object-{index:06}")).await);
    }
    let stats = region.change();
    let bytes = stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
        / IDLE;
    drop(kept);
    Sample::value(u32::try_from(bytes).map_or(f64::MAX, f64::from))
}
