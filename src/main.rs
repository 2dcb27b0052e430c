//! The `openclaw-pipeline` program: a thin shell around the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    openclaw_pipeline::cli::main()
}
