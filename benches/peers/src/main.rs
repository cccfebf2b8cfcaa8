//! pymq beside other libraries, in one run: its worker beside those of others on Redis, and its
//! calls beside those of NATS.
//!
//! ```console
//! $ cargo run --release --manifest-path benches/peers/Cargo.toml -- --check
//! ```
//!
//! Each case of a worker first fills a queue. Then it measures a consumer of that library, which acknowledges
//! each item, until the queue is empty. Each library is used as its documentation advises, with
//! the largest batch that it offers. The options are those of the other benches.
#![forbid(unsafe_code)]

mod apalis;
mod nats;
mod omniqueue;
mod rsmq;
mod sea_streamer;

use std::process::ExitCode;

use pymq_benches::{Case, Goal, Group, Options, Redis, Sample, groups, run};

/// How many items a case of pymq handles in a round. Slower cases handle a part of them.
const ITEMS: usize = 25_600;

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let redis = match Redis::start() {
        Ok(redis) => redis,
        Err(error) => {
            eprintln!("no Redis to measure with: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut groups = vec![workers(&redis.url())];
    let nats = nats::Nats::start();
    match &nats {
        Ok(nats) => groups.push(calls(&redis.url(), &nats.url())),
        Err(error) => eprintln!("the calls do not run: {error}"),
    }
    run(groups, &options)
}

/// Without a goal: NATS has no queue between a caller and a server, and keeps nothing.
fn calls(redis: &str, nats: &str) -> Group {
    const IN_FLIGHT: usize = 64;
    let call = |url, operations| nats::call(url, operations, IN_FLIGHT);
    let cases = vec![
        case(nats, nats::NAME, call),
        groups::many_calls(redis, IN_FLIGHT),
    ];
    Group::new("call, 64 in flight, on Redis and on NATS", 19_200, cases)
}

fn workers(url: &str) -> Group {
    let pymq = groups::draining_worker(url);
    let name = pymq.name();
    let goals = [
        (sea_streamer::NAME, 3.0, 5.0),
        (rsmq::NAME, 8.0, 12.0),
        (apalis::NAME, 14.0, 20.0),
        (omniqueue::NAME, 20.0, 30.0),
    ];
    let cases = vec![
        pymq,
        case(url, sea_streamer::NAME, sea_streamer::drain),
        case(url, rsmq::NAME, rsmq::drain).one_in(4),
        case(url, apalis::NAME, apalis::drain).one_in(8),
        case(url, omniqueue::NAME, omniqueue::drain).one_in(16),
    ];
    let group = Group::new(
        "worker draining a full queue, other libraries",
        ITEMS,
        cases,
    );
    goals
        .into_iter()
        .fold(group, |group, (peer, target, moonshot)| {
            group.goal(Goal::faster(name, peer, target, moonshot))
        })
}

/// A case that gets the URL and the number of items.
fn case<F, Fut>(url: &str, name: &'static str, drain: F) -> Case
where
    F: Fn(String, usize) -> Fut + 'static,
    Fut: Future<Output = Sample> + Send + 'static,
{
    let url = url.to_owned();
    Case::new(name, move |items| drain(url.clone(), items))
}
