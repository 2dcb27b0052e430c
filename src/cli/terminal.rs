//! The terminal: whether there is one, and questions to the person at it.

use std::io::{IsTerminal, Write};

use super::output::Output;
use crate::domain::Failure;

/// Whether progress may move and colours may be used on standard error.
pub fn is_lively() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether a person can be asked.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Has whoever removes something type its name, after these lines. Without a terminal it has to be
/// `given` that they know; `removes` says what.
pub fn confirm(
    out: &Output,
    name: &str,
    given: bool,
    (removes, lines): (&str, &[&str]),
) -> Result<(), Failure> {
    if given {
        return Ok(());
    }
    if !is_interactive() {
        let what = format!("{removes}; there is no terminal to ask at");
        return Err(Failure::bad_input(what).remedy("say --yes (with make: YES=1)"));
    }
    for line in lines {
        out.say(line);
    }
    if ask(&format!("Type the name to destroy it [{name}]: "))? != name {
        return Err(Failure::bad_input("that is not the name; nothing was removed"));
    }
    Ok(())
}

/// Asks for a line.
pub fn ask(question: &str) -> Result<String, Failure> {
    let mut err = std::io::stderr();
    write!(err, "{question}")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}
