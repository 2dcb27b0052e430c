//! OpenClaw Pipeline: launches OpenClaw gateways, proves that they work, and keeps them.
//!
//! The library holds everything; the binary is a thin shell around it. The modules form layers,
//! and `tests/it/layers.rs` refuses an import that points the wrong way. ARCHITECTURE.md is the
//! map.

pub mod app;
pub mod assets;
pub mod cli;
pub mod config;
pub mod domain;
pub mod drivers;
pub mod exec;
pub mod gateway;
pub mod keeper;
pub mod operations;
pub mod secrets;
pub mod server;
pub mod store;
pub mod targets;
pub mod telemetry;
pub mod webhooks;
