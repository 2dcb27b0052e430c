//! `in-pod`: the client by which the program's own children get into a pod.

use std::io::Write as _;

use crate::app::in_pod;

/// Runs it; answers what ran there, or 255 where that was not reached.
pub(super) async fn run(
    container: &str,
    log: Option<&str>,
    line: Option<&str>,
    terminal: bool,
) -> u8 {
    match Box::pin(in_pod::run(container, log, line, terminal)).await {
        Ok(code) => code,
        Err(failure) => {
            // Whoever started it reads this, as it would read what ssh says.
            let _ = writeln!(std::io::stderr(), "{failure}");
            in_pod::UNREACHED
        }
    }
}
