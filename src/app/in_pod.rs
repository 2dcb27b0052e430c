//! The client by which this program's own children get into a pod.
//!
//! Owns reading what it is told. Refuses anything of the data directory: it has none.

use serde::de::DeserializeOwned;

use crate::config::tool_variable;
use crate::domain::Failure;
use crate::drivers::aws::Environment;
use crate::drivers::kubernetes::Container;

pub use crate::drivers::kubernetes::UNREACHED;

/// Runs a line in a container, or prints its log.
pub async fn run(
    container: &str,
    log: Option<&str>,
    line: Option<&str>,
    terminal: bool,
) -> Result<u8, Failure> {
    let container: Container = told("the container", container)?;
    let credentials = Environment::read(tool_variable);
    match (log, line) {
        (Some(part), _) => container.log(told("the log", part)?, &credentials).await,
        (None, Some(line)) => container.run(line, terminal, &credentials).await,
        (None, None) => Err(Failure::bad_input("nothing is said to be run there")),
    }
}

fn told<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::bad_input(format!("{what}: {error}")))
}
