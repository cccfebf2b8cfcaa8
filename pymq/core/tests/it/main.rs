//! pymq from outside, one module for each part.

mod codec;
mod logs;
mod wire_vectors;
