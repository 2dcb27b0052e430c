//! A stand-in for `node openclaw.mjs`: the gateway that crash-point and fault tests launch.
//!
//! A real gateway takes 20 s and 0.8 GB to start; this one starts in milliseconds and answers the
//! surfaces that the product uses in the real one's words. `tests/it/standin_contract.rs` holds
//! the two against each other, call by call.
//!
//! It owns the `node` side of the command line: its own options, the script's path, and which
//! `OpenClaw` command the rest is. It refuses every command that the product does not call, so
//! that a test cannot come to rely on an answer that nobody compared with the real one. It names
//! nothing of the product's library: it is an independent opinion on the protocol.

#![allow(clippy::print_stdout, clippy::print_stderr)] // A command line's own voice.
#![allow(clippy::disallowed_methods)]

mod backup;
mod commands;
mod connect;
mod faults;
mod files;
mod gateway;
mod http;
mod install;
mod pairing;
mod policy;
mod rpc;
mod tunnel;

use std::process::ExitCode;

/// The version of Node that the stand-in claims to be.
const NODE_VERSION: &str = "v24.21.0";

fn main() -> ExitCode {
    let mut words = std::env::args();
    if words.next().is_some_and(|name| name.ends_with("/cloudflared")) {
        return tunnel::run(&words.collect::<Vec<_>>());
    }
    let mut arguments = std::env::args().skip(1).peekable();
    while let Some(option) = arguments.next_if(|argument| argument.starts_with('-')) {
        if option == "--version" || option == "-v" {
            println!("{NODE_VERSION}");
            return ExitCode::SUCCESS;
        }
    }
    let Some(script) = arguments.next() else {
        eprintln!("standin-gateway: a script is required: this is no interactive Node");
        return ExitCode::from(9);
    };
    let install = match install::Install::open(&script) {
        Ok(install) => install,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let arguments: Vec<String> = arguments.collect();
    commands::run(&install, &arguments)
}
