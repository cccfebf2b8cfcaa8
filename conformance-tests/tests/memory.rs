//! The suite on the memory provider.

use pymq_conformance::memory::MemoryHarness;

pymq_conformance::suite!(MemoryHarness::open, paused, [patterns, leases, delays]);
