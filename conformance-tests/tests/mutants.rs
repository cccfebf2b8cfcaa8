//! Every mutant is caught by the behaviour that names it.

use conformance_tests::memory::MemoryHarness;

conformance_tests::mutants!(MemoryHarness::open);
