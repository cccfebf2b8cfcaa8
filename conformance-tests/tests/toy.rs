//! The suite on a provider such as a third party would write: as exact as it can be, and without
//! each promise.

use pymq_conformance::toy::ToyHarness;

pymq_conformance::suite!(ToyHarness::open, paused, [leases]);

/// Only what every provider must show.
mod plain {
    use pymq_conformance::Failure;
    use pymq_conformance::toy::ToyHarness;
    use pymq_core::provider::Capabilities;

    #[expect(
        clippy::unused_async,
        reason = "a harness is opened by an async function"
    )]
    async fn open(_test: &str) -> Result<ToyHarness, Failure> {
        Ok(ToyHarness::lacking(|declared| {
            *declared = Capabilities::none();
        }))
    }

    pymq_conformance::suite!(open, paused);
}
