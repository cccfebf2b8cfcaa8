//! The codec's laws: what is written comes back, and nothing that is read makes it panic.
