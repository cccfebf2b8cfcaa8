//! The suite on the memory provider.

use pymq_conformance::memory::MemoryHarness;

pymq_conformance::conformance!(paused, MemoryHarness::open, [patterns, leases, delays]);
