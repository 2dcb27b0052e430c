//! The command line: one file per command, output, exit codes.
//!
//! Owns arguments, the terminal and the mapping from failures to exit codes. Refuses to decide
//! anything: the verbs stand in [`crate::app`].

pub mod args;
mod commands;
mod exit;
mod output;
mod progress;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use crate::domain::Failure;

pub use args::Cli;

/// Parses the arguments, runs the command, and says how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; anything else is bad usage.
            let code = if error.use_stderr() { exit::BAD_USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let out = output::Output::new(cli.json);
    let ended = run(cli, &out);
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(exit::code(failure.kind))
        }
    }
}

fn run(cli: Cli, out: &output::Output) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime could not begin: {error}")))?;
    let ended = runtime.block_on(async {
        let cancel = CancellationToken::new();
        commands::run(cli, out, &cancel).await
    });
    // A blocking read of standard input must not hold the program up once it is done.
    runtime.shutdown_background();
    ended
}
