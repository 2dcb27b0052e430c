//! Telling front ends what happens.
//!
//! Owns draining the outbox: signing, delivery, retry, dead letters, replay. Refuses to make an
//! event, and to send one anywhere but to an address that was checked when it was connected to.

pub mod address;
pub mod schedule;
