//! How many allocations an operation on the memory provider makes, at most. The allocator of this
//! program counts.

use std::alloc::System;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use pymq_benches::{Order, payload};
use pymq_core::codec::{Decode, Encode};
use pymq_core::{Bus, Raw};
use pymq_provider_memory::MemoryConfig;
use stats_alloc::{Region, StatsAlloc};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// How often each operation runs, so that what happens once is no allocation of each.
const TIMES: usize = 1_000;

/// The table: the most allocations of one operation.
const PUBLISH_AND_RECEIVE: usize = 2;
const PUT_AND_GET: usize = 4;
const PUT_LEASE_AND_ACK: usize = 14;
const WRITE: usize = 1;
const READ: usize = 4;
const CALL: usize = 4;

/// Runs one test at a time: the allocator counts for all threads.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs an operation often, and checks how often it allocates.
fn check<F>(runtime: &Runtime, at_most: usize, mut operation: impl FnMut() -> F)
where
    F: Future<Output = ()>,
{
    let allocations = runtime.block_on(async {
        operation().await;
        let region = Region::new(ALLOCATOR);
        for _ in 0..TIMES {
            operation().await;
        }
        let change = region.change();
        change.allocations + change.reallocations
    });
    // Rounded down: what happens less than once an operation is not counted.
    let each = allocations / TIMES;
    assert!(each <= at_most, "{each} allocations, at most {at_most}");
}

/// A bus in a runtime on one thread.
fn bus() -> Result<(Runtime, Bus), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let bus = runtime.block_on(Bus::connect(MemoryConfig::default()))?;
    Ok((runtime, bus))
}

#[test]
fn write_and_read() -> Result<(), Box<dyn Error>> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (runtime, _bus) = bus()?;
    let order = Order::example();
    let message = order.encode()?;
    assert_eq!(Order::decode(&message)?, order);
    check(&runtime, WRITE, async || drop(order.encode()));
    check(&runtime, READ, async || drop(Order::decode(&message)));
    Ok(())
}

#[test]
fn publish_and_receive() -> Result<(), Box<dyn Error>> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (runtime, bus) = bus()?;
    let topic = bus.topic("t");
    let events = tokio::sync::Mutex::new(runtime.block_on(topic.stream::<Raw>())?);
    let event = Raw::from(payload());
    check(&runtime, PUBLISH_AND_RECEIVE, async || {
        topic.publish(&event).await.expect("publish");
        events.lock().await.recv().await.expect("an event");
    });
    Ok(())
}

#[test]
fn put_and_get() -> Result<(), Box<dyn Error>> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (runtime, bus) = bus()?;
    let queue = bus.queue::<Raw>("q");
    let item = Raw::from(payload());
    check(&runtime, PUT_AND_GET, async || {
        queue.put(&item).await.expect("put");
        queue.get().await.expect("get");
    });
    Ok(())
}

#[test]
fn put_lease_and_ack() -> Result<(), Box<dyn Error>> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (runtime, bus) = bus()?;
    let queue = bus.queue::<Raw>("q");
    let item = Raw::from(payload());
    check(&runtime, PUT_LEASE_AND_ACK, async || {
        queue.put(&item).await.expect("put");
        let lease = queue.lease().await.expect("lease");
        lease.ack().await.expect("ack");
    });
    Ok(())
}

#[test]
fn call() -> Result<(), Box<dyn Error>> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (runtime, bus) = bus()?;
    let _serving = runtime.block_on(bus.expose("f", async |number: u64| number))?;
    let stub = bus.stub::<(u64,), u64>("f");
    check(&runtime, CALL, async || {
        stub.call((7,)).await.expect("a call");
    });
    Ok(())
}
