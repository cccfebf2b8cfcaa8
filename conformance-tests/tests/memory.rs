//! The suite on the memory provider.

use conformance_tests::memory::MemoryHarness;

conformance_tests::conformance!(paused, MemoryHarness::open, [patterns, leases, delays]);
