//! The parts of an operation that need no provider: to write a value, to read it, and to match its
//! topic.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use pymq_benches::{Options, Order, payload, text};
use pymq_core::codec::{Decode, Encode};
use pymq_core::{Raw, glob, name};

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(code) => return code,
    };
    let is_of_others = options.check || options.growth || options.list;
    if is_of_others || options.json.is_some() || options.report.is_some() {
        return ExitCode::SUCCESS; // that is what `speed` and `idle` do
    }
    let mut criterion = Criterion::default();
    if options.quick {
        let time = Duration::from_millis(50);
        criterion = criterion
            .sample_size(10)
            .warm_up_time(time)
            .measurement_time(time);
    }
    let selects = |title| options.selects(title);
    if selects("codec") {
        codec(&mut criterion, "integer", &7_u64);
        codec(&mut criterion, "text", &text());
        codec(&mut criterion, "struct", &Order::example());
        codec(&mut criterion, "opaque bytes", &Raw::from(payload()));
    }
    if selects("names") {
        names(&mut criterion);
    }
    ExitCode::SUCCESS
}

/// Writes and reads a value.
fn codec<V: Encode + Decode>(criterion: &mut Criterion, kind: &str, value: &V) {
    let message = value.encode().expect("a value that JSON can express");
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(message.size() as u64));
    group.bench_function(BenchmarkId::new("write", kind), |bencher| {
        bencher.iter(|| black_box(value).encode());
    });
    group.bench_function(BenchmarkId::new("read", kind), |bencher| {
        bencher.iter(|| V::decode(black_box(&message)));
    });
    group.finish();
}

/// Checks a name, and matches it with a pattern.
fn names(criterion: &mut Criterion) {
    let topic = "orders/eu/placed";
    let mut group = criterion.benchmark_group("names");
    group.bench_function("check", |bencher| {
        bencher.iter(|| name::check(black_box(topic)));
    });
    group.bench_function("match", |bencher| {
        bencher.iter(|| glob::matches("orders/*/placed", black_box(topic)));
    });
    group.finish();
}
