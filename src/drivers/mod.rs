//! Tools that the program drives.
//!
//! Owns one module for each: how its calls are built, how its answers are read, and running it.
//! Refuses to know what any of it is for: a driver names no target, no deployment and no store.

pub mod ssh;
pub mod terraform;
