//! Tests of the public interface, one module for each part.

mod codec;
mod floors;
mod logs;
mod publishing;
mod settling;
mod wire_vectors;
