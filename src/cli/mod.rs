//! The command line: one file per command, output, exit codes.
//!
//! Owns arguments, the terminal and the mapping from failures to exit codes. What a command line
//! says wrong is told like any other failure, `--json` included. Refuses to decide
//! anything: the verbs stand in [`crate::app`].

pub mod args;
mod commands;
mod exit;
mod hints;
mod output;
mod progress;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::domain::Failure;

pub use args::Cli;

/// Parses the arguments, runs the command, and says how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are answers; anything else is bad usage.
            if !error.use_stderr() {
                return ExitCode::SUCCESS;
            }
            if asks_for_json() {
                output::Output::new(true).object(&json!({ "error": misused(&error) }));
            }
            return ExitCode::from(exit::BAD_USAGE);
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

/// Whether `--json` was given with arguments that could not be read.
fn asks_for_json() -> bool {
    std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// Bad usage as a failure: the parser's first paragraph, without its label.
fn misused(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let first: Vec<&str> =
        text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    let said = first.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    Failure::bad_input(crate::domain::text::clean(said, 400))
        .remedy("openclaw-pipeline --help lists the commands, and COMMAND --help what one takes")
}

fn run(cli: Cli, out: &output::Output) -> Result<u8, Failure> {
    // One thread is the quickest to begin with; a server has work for several.
    let mut runtime = match cli.command {
        args::Command::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime could not begin: {error}")))?;
    let ended = runtime.block_on(async {
        let cancel = CancellationToken::new();
        Box::pin(commands::run(cli, out, &cancel)).await
    });
    // A blocking read of standard input must not hold the program up once it is done.
    runtime.shutdown_background();
    ended
}
