//! Every mutant is caught by the behaviour that names it.

use pymq_conformance::memory::MemoryHarness;

pymq_conformance::mutants!(MemoryHarness::open);
