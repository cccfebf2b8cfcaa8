//! The Redis provider of pymq.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod keys;
mod wire;
