//! The integration tests: one binary, one module per subject.

// The house's bans keep the product's side effects behind one door; a test drives the product
// from outside, and its probes pause between two looks at the real thing.
#![allow(clippy::disallowed_methods)]

mod approvals;
mod bad_input;
mod cli_access;
mod cli_again;
mod cli_data;
mod cli_docker;
mod cli_env;
mod cli_life;
mod cli_looking;
mod cli_printed;
mod cli_secrets;
mod config_validate;
mod console;
mod credentials;
mod docker_again;
mod fault_data;
mod fault_docker;
mod fault_gateway;
mod fault_install;
mod fault_interrupt;
mod fault_kill;
mod fault_place;
mod image_build;
mod lab_selftest;
mod layers;
mod locks;
mod makefile;
mod openapi;
mod operations_harness;
mod packaging;
mod pruning;
mod real_life;
mod schemathesis;
mod server_access;
mod server_again;
mod server_api;
mod server_bad_input;
mod server_events;
mod server_kill;
mod server_life;
mod server_metrics;
mod server_observed;
mod server_pages;
mod server_real;
mod server_resources;
mod server_tls;
mod standin_contract;
mod standin_faults;
mod store;
mod store_begin;
mod store_group;
mod store_home;
mod store_pages;
mod support;
mod tidy;
mod tokens;
mod webhook_notify;
mod webhooks;
mod webhooks_cli;
mod webhooks_faults;
mod webhooks_kill;
