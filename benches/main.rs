//! The product's figures, each against a baseline of the same run: `make bench`.
//!
//! Owns measuring and printing. Judges nothing: docs/benchmarks.md holds the figures with their
//! conditions. Name parts of it to run only those: `command-line`, `store`, `webhooks`, `server`
//! (or `server-memory`, `server-reads`, `server-writes`, `server-stream`), `launch-process`, `launch-docker`,
//! `launch-ec2`, `many-ec2`, `launch-eks`, `many-eks`, `approval-process`, `approval-docker`, `build`,
//! and `load`, which is what the load generator itself can do.

#![allow(clippy::disallowed_methods, clippy::print_stdout)]

#[path = "../tests/it/support/mod.rs"]
mod support;

mod approval;
mod build;
mod cloud;
mod cluster;
mod cluster_many;
mod command_line;
mod launch;
mod load;
mod nodes;
mod server;
mod stats;
mod store;
mod webhooks;

use support::lab::{Lab, Part};

fn main() {
    load::baseline::become_one_if_asked();
    server::become_one_if_asked();
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|given| given == part);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{} on {cores} cores\n", std::env::consts::ARCH);
    if wanted("command-line") {
        command_line::run();
    }
    if wanted("store") {
        store::run();
    }
    server::run(&wanted);
    if wanted("webhooks") {
        webhooks::run();
    }
    let npm = Lab::require(Part::Npm(support::real::CURRENT));
    if let Some(lab) = npm.as_ref().filter(|_| wanted("launch-process")) {
        launch::process(lab);
    }
    if let Some(lab) = npm.as_ref().filter(|_| wanted("approval-process")) {
        approval::process(lab);
    }
    if wanted("launch-docker") && Lab::require(Part::Image("latest")).is_some() {
        launch::docker();
    }
    if wanted("approval-docker") && Lab::require(Part::Image("latest")).is_some() {
        approval::docker();
    }
    cloud::run(&wanted);
    if wanted("launch-eks") {
        cluster::run();
    }
    if wanted("many-eks") {
        cluster_many::run();
    }
    if wanted("build") {
        build::run();
    }
    if parts.iter().any(|part| part == "load") {
        load::run_alone();
    }
}
