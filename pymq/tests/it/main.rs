//! pymq from outside, one module for each part.

mod codec;
mod wire_vectors;
