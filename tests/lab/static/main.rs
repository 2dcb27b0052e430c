//! The program once more, for being linked on its own: the lab's machines get it as a static one.

use std::process::ExitCode;

fn main() -> ExitCode {
    openclaw_pipeline::cli::main()
}
