//! What it costs that a sentinel names the server, or that the server is a node of a cluster. The
//! names of an operation are spread over the nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pymq_core::Raw;
use tokio::sync::OnceCell;

use super::queues::{POLL, until_settled};
use super::topics::receiver;
use super::{bus, case};
use crate::{Case, Goal, Group, Meter, Redis, Sample, latencies, payload, spread, text, unique};

const PLAIN: &str = "pymq, one server";
const SENTINEL: &str = "pymq, the same server by a sentinel";
const ONE_MASTER: &str = "pymq, cluster of one master";
const THREE_MASTERS: &str = "pymq, cluster of three masters";

/// How many topics, queues or remotes an operation has.
const NAMES: usize = 8;

/// How many operations are in flight.
const TASKS: usize = 64;

/// Servers and their URL, started when they are first needed. `None` if this machine lacks them.
type Servers = Arc<OnceCell<Option<(Vec<Redis>, String)>>>;

pub(super) fn groups(url: &str) -> Vec<Group> {
    let servers = [Servers::default(), Servers::default(), Servers::default()];
    let mut groups = vec![
        group(
            "publish, 64 tasks, 8 topics",
            25_600,
            url,
            &servers,
            publish,
        ),
        group(
            "put and get, 64 tasks, 8 queues",
            25_600,
            url,
            &servers,
            put_and_get,
        ),
        group(
            "8 workers draining 8 queues, acked",
            25_600,
            url,
            &servers,
            drain,
        ),
        group("call, 64 in flight, 8 remotes", 12_800, url, &servers, call),
    ];
    // A node passes each event on to all others, so three nodes need more than two cores.
    groups[0].goals.retain(|goal| goal.case != THREE_MASTERS);
    groups
}

fn group<F, Fut>(
    operation: &str,
    operations: usize,
    url: &str,
    servers: &[Servers; 3],
    run: F,
) -> Group
where
    F: Fn(String, usize) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Sample> + Send + 'static,
{
    let title = format!("sentinel and cluster: {operation}");
    let [sentinel, one, three] = servers;
    let master = url.to_owned();
    let by_sentinel = move || {
        let sentinel = Redis::start_sentinel(&master).ok()?;
        let url = format!("redis-sentinel://{}/bench", sentinel.host());
        Some((vec![sentinel], url))
    };
    let cases = vec![
        case(url, PLAIN, run),
        on(sentinel, SENTINEL, by_sentinel, run),
        on(one, ONE_MASTER, || cluster(1), run),
        on(three, THREE_MASTERS, || cluster(3), run),
    ];
    let goal = |name| Goal::faster(name, PLAIN, 0.85, 1.0);
    Group::new(title, operations, cases)
        .goal(goal(SENTINEL))
        .goal(goal(ONE_MASTER))
        .goal(goal(THREE_MASTERS))
}

/// A case on servers of its own.
fn on<S, F, Fut>(servers: &Servers, name: &'static str, start: S, run: F) -> Case
where
    S: Fn() -> Option<(Vec<Redis>, String)> + Clone + Send + Sync + 'static,
    F: Fn(String, usize) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Sample> + Send + 'static,
{
    let servers = Arc::clone(servers);
    Case::optional(name, move |operations| {
        let (servers, start) = (Arc::clone(&servers), start.clone());
        async move {
            let started = servers.get_or_init(|| async {
                let started = tokio::task::spawn_blocking(start).await;
                started.ok().flatten()
            });
            let (_, url) = started.await.as_ref()?;
            Some(run(url.clone(), operations).await)
        }
    })
}

fn cluster(masters: usize) -> Option<(Vec<Redis>, String)> {
    let nodes = Redis::start_cluster(masters).ok()?;
    let hosts: Vec<_> = nodes.iter().map(Redis::host).collect();
    let url = format!("redis-cluster://{}", hosts.join(","));
    Some((nodes, url))
}

/// Starts to measure, with the counters of the server if there is only one.
fn meter(url: &str) -> Meter {
    match url.split_once("://") {
        Some(("redis", _)) => Meter::with_server(url),
        Some(("redis-cluster", node)) if !node.contains(',') => {
            Meter::with_server(&format!("redis://{node}"))
        }
        _ => Meter::start(),
    }
}

fn names(what: &str) -> Vec<String> {
    (0..NAMES).map(|_| unique(what)).collect()
}

/// Returns what each operation uses: one after the other of these.
fn in_turn<T: Clone + Send + Sync + 'static>(
    all: Vec<T>,
) -> impl Fn() -> T + Clone + Send + 'static {
    let (all, next) = (Arc::new(all), Arc::<AtomicUsize>::default());
    move || all[next.fetch_add(1, Ordering::Relaxed) % all.len()].clone()
}

/// Publishers that each await the number of receivers, and a subscriber for each topic on another
/// bus.
async fn publish(url: String, operations: usize) -> Sample {
    let (publishers, subscribers) = (bus(&url).await, bus(&url).await);
    let names = names("publish");
    let mut receiving = Vec::with_capacity(NAMES);
    for name in &names {
        receiving.push(receiver(&subscribers.topic(name), operations / NAMES).await);
    }
    let next = in_turn(names.iter().map(|name| publishers.topic(name)).collect());
    let event = Raw::from(payload());
    let meter = meter(&url);
    spread(operations, TASKS, move || {
        let (topic, event) = (next(), event.clone());
        async move {
            topic.publish(&event).await.expect("publish");
        }
    })
    .await;
    for task in receiving {
        task.await.expect("a subscriber does not panic");
    }
    meter.stop(operations)
}

/// Each operation puts an item and takes one.
async fn put_and_get(url: String, operations: usize) -> Sample {
    let bus = bus(&url).await;
    let names = names("pass");
    let next = in_turn(names.iter().map(|name| bus.queue::<Raw>(name)).collect());
    let item = Raw::from(payload());
    let meter = meter(&url);
    let times = latencies(operations, TASKS, move || {
        let (queue, item) = (next(), item.clone());
        async move {
            queue.put(&item).await.expect("put");
            queue.get().await.expect("get");
        }
    });
    meter.stop_with(times.await)
}

/// Workers with 64 handlers together.
async fn drain(url: String, operations: usize) -> Sample {
    let names = names("drain");
    let putting = bus(&url).await;
    let batch = vec![Raw::from(payload()); operations / NAMES];
    for name in &names {
        let queue = putting.queue::<Raw>(name);
        queue.put_all(&batch).await.expect("put_all");
    }
    // Another bus: the workers of another process.
    let working = bus(&url).await;
    let queues = names.iter().map(|name| working.queue::<String>(name));
    let queues: Vec<_> = queues.collect();
    let handled = Arc::<AtomicUsize>::default();
    let meter = meter(&url);
    let workers = queues.iter().map(|queue| {
        let counter = Arc::clone(&handled);
        let count = move |_: String| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(())
        };
        let worker = queue.worker(count).concurrency(TASKS / NAMES);
        worker.start().expect("a worker")
    });
    let workers: Vec<_> = workers.collect();
    while handled.load(Ordering::Relaxed) < operations {
        tokio::time::sleep(POLL).await;
    }
    for queue in &queues {
        until_settled(queue).await;
    }
    let sample = meter.stop(operations);
    for worker in workers {
        worker.stop().await;
    }
    sample
}

/// A caller and a server, each with a bus of its own.
async fn call(url: String, operations: usize) -> Sample {
    let (client, server) = (bus(&url).await, bus(&url).await);
    let names = names("call");
    let mut serving = Vec::with_capacity(NAMES);
    let mut stubs = Vec::with_capacity(NAMES);
    for name in &names {
        let exposed = server.expose(name, async |text: String| text).await;
        serving.push(exposed.expect("a remote"));
        let stub = client.stub::<(String,), String>(name);
        stub.call((text(),)).await.expect("a call");
        stubs.push(stub);
    }
    let next = in_turn(stubs);
    let meter = meter(&url);
    let times = latencies(operations, TASKS, move || {
        let stub = next();
        async move {
            stub.call((text(),)).await.expect("a call");
        }
    });
    meter.stop_with(times.await)
}
