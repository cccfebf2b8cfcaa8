//! pymq from outside, one module for each part.

mod codec;
mod logs;
mod registry;
mod wire_vectors;
