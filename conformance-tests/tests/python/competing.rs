//! Consumers of both kinds compete for one list.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pymq_conformance::python::Peers;
use pymq_conformance::{Failure, Outcome};
use pymq_core::Bus;

cases! {
    ten_thousand_items_are_neither_lost_nor_doubled,
    a_waiting_python_consumer_is_served_as_well_as_a_rust_one,
}

/// Gets until a mark says that no more items come.
const CONSUME: &str = "
    taken = []
    while (n := pymq.queue('jobs').get()) is not None:
        taken.append(n)
    taken
";

/// How often each item was taken.
#[derive(Default)]
struct Ledger(Mutex<BTreeMap<u32, u32>>);

impl Ledger {
    fn note(&self, items: impl IntoIterator<Item = u32>) {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            *ledger.entry(item).or_default() += 1;
        }
    }
}

async fn get_all(bus: &Bus, ledger: &Ledger) -> Outcome<u32> {
    let jobs = bus.queue::<Option<u32>>("jobs");
    let mut taken = 0;
    while let Some(n) = jobs.get().await? {
        ledger.note([n]);
        taken += 1;
    }
    Ok(taken)
}

/// Works under leases, and gives every tenth item back once. The next taker processes it.
async fn lease_all(bus: &Bus, ledger: &Ledger) -> Outcome<u32> {
    let jobs = bus.queue::<Option<u32>>("jobs");
    let mut taken = 0;
    loop {
        let job = jobs.lease().await?;
        let Some(n) = *job else {
            job.ack().await?;
            return Ok(taken);
        };
        if n % 10 == 0 && job.attempt() == 1 {
            job.nack().await?;
            continue;
        }
        ledger.note([n]);
        job.ack().await?;
        taken += 1;
    }
}

async fn ten_thousand_items_are_neither_lost_nor_doubled(peers: Peers) -> Outcome {
    const ITEMS: u32 = 10_000;
    let (other_python, other_bus) = (peers.another_python().await?, peers.another_bus().await?);
    let producer = peers.another_python().await?;
    let ledger = Ledger::default();
    let in_python = async |python: &pymq_conformance::python::Python| -> Outcome<u32> {
        let taken: Vec<u32> = python.eval(CONSUME).await?;
        let count = u32::try_from(taken.len())?;
        ledger.note(taken);
        Ok(count)
    };
    let producing = async {
        // Half of the items from each side, all of them at once.
        let of_python = producer.run("for n in range(0, 10000, 2): pymq.queue('jobs').put(n)");
        let of_rust = async {
            let jobs = peers.bus.queue::<u32>("jobs");
            for n in (1..ITEMS).step_by(2) {
                jobs.put(&n).await?;
            }
            Ok::<_, Failure>(())
        };
        let (of_python, of_rust) = tokio::join!(of_python, of_rust);
        of_python.and(of_rust)?;
        // What a worker gives back goes to the front, so the end mark stays behind all items.
        let jobs = peers.bus.queue::<Option<u32>>("jobs");
        for _ in 0..4 {
            jobs.put(&None).await?;
        }
        Ok::<_, Failure>(())
    };

    let (all_put, a, b, c, d) = tokio::join!(
        producing,
        in_python(&peers.python),
        in_python(&other_python),
        get_all(&peers.bus, &ledger),
        lease_all(&other_bus, &ledger),
    );

    all_put?;
    let shares = [a?, b?, c?, d?];
    eprintln!(
        "Python took {} and {}, Rust got {} and leased {}",
        shares[0], shares[1], shares[2], shares[3]
    );
    let ledger = ledger
        .0
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let doubled: Vec<_> = ledger.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    assert!(ledger.into_keys().eq(0..ITEMS), "an item was lost");
    assert_eq!(
        peers.bus.queue::<u32>("jobs").stats().await?.unfinished(),
        0
    );
    Ok(())
}

async fn a_waiting_python_consumer_is_served_as_well_as_a_rust_one(peers: Peers) -> Outcome {
    let jobs = peers.bus.queue::<u32>("jobs");
    let getting = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.get().await }
    });
    let putting = async {
        peers.until_python_waits(1).await?;
        peers.bus.queue::<u32>("jobs").put_all(&[1, 2]).await?;
        Ok::<_, Failure>(())
    };

    let (in_python, put) = tokio::join!(
        peers.python.eval::<u32>("pymq.queue('jobs').get()"),
        putting
    );

    put?;
    let mut both = [in_python?, getting.await??];
    both.sort_unstable();
    assert_eq!(both, [1, 2]);
    assert!(jobs.is_empty().await?);
    Ok(())
}
