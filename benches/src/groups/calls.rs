//! Remote calls on Redis.

use super::python::Python;
use super::{bus, case};
use crate::{Goal, Group, Measure, Meter, Runtime, Sample, latencies, raw, text, unique};

const FOUR: &str = "PyMQ's four commands with redis-rs";
const PYMQ: &str = "pymq call";
const PYTHON: &str = "PyMQ in Python, client and server";

pub(super) fn groups(url: &str) -> Vec<Group> {
    let python = Python::new(url);
    let mut many = cases(url, 64);
    many.push(python.case(PYTHON, 64));
    let mut groups = vec![
        Group::new("call, 64 in flight", 19_200, many)
            .goal(Goal::faster(PYMQ, FOUR, 4.0, 5.3))
            .goal(Goal::faster(PYMQ, PYTHON, 100.0, 180.0)),
    ];
    groups.extend(
        [Runtime::TwoWorkers, Runtime::CurrentThread].map(|runtime| {
            Group::new("call, 1 in flight", 2_048, cases(url, 1))
                .on(runtime)
                .goal(Goal::quicker(Measure::P50, PYMQ, FOUR, 1.0, 0.75))
        }),
    );
    groups
}

/// Returns the case of pymq with many calls in flight.
pub fn many_calls(url: &str, in_flight: usize) -> crate::Case {
    case(url, PYMQ, move |url, n| call(url, n, in_flight))
}

fn cases(url: &str, in_flight: usize) -> Vec<crate::Case> {
    vec![
        case(url, FOUR, move |url, n| {
            raw::four_commands(url, n, in_flight)
        }),
        many_calls(url, in_flight),
    ]
}

/// A caller and a server, each with a bus of its own.
async fn call(url: String, operations: usize, in_flight: usize) -> Sample {
    let (client, server) = (bus(&url).await, bus(&url).await);
    let name = unique("call");
    let _serving = server
        .expose(&name, async |text: String| text)
        .await
        .expect("a remote");
    let stub = client.stub::<(String,), String>(&name);
    stub.call((text(),)).await.expect("a call");
    let meter = Meter::with_server(&url);
    let times = latencies(operations, in_flight, move || {
        let stub = stub.clone();
        async move {
            stub.call((text(),)).await.expect("a call");
        }
    });
    meter.stop_with(times.await)
}
