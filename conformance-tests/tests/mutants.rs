//! Every mutant is caught by the behavior that names it.

use pymq_conformance::memory::MemoryHarness;

pymq_conformance::mutants!(MemoryHarness::open);
