//! `env`: the example, and the `.env` of the working directory.

use std::path::Path;

use serde_json::json;

use super::super::args::Env;
use super::super::output::Output;
use super::super::terminal;
use crate::app::env_file::{self, Made};
use crate::config::example::env_example;
use crate::domain::Failure;

pub(super) fn run(out: &Output, command: Option<Env>) -> Result<u8, Failure> {
    // Relative, as the user thinks of it; messages say `.env` and not a long path.
    let here = Path::new("");
    match command {
        None => {
            let text = env_example();
            if out.is_json() {
                out.object(&json!({ "env": text }));
            } else {
                // It is meant for a file that outlives the place of this program.
                out.line(text.trim_end_matches('\n'));
            }
        }
        Some(Env::Init) => {
            let made = env_file::init(here)?;
            out.answer(&json!({ "made": made }), || {
                if made {
                    ".env is made, with a new gateway token. Add a provider key, \
                     ANTHROPIC_API_KEY for example."
                } else {
                    ".env is there already and is kept."
                }
                .into()
            });
        }
        Some(Env::Reset { yes }) => {
            confirm(out, yes, "making .env anew")?;
            let made = env_file::reset(here)?;
            out.answer(&made, || said(&made));
        }
        Some(Env::Clone { yes }) => {
            let config = super::required_user_config()?;
            confirm(out, yes, "making .env from openclaw.json")?;
            let made = env_file::from_config(here, config.expose())?;
            out.answer(&made, || said(&made));
        }
        Some(Env::Remove) => {
            let old = env_file::remove(here)?;
            out.answer(&json!({ "old": old }), || match &old {
                Some(old) => format!(".env is {} now.", old.display()),
                None => "There is no .env; nothing to remove.".into(),
            });
        }
    }
    Ok(0)
}

/// Asks before a file that is there is replaced; there is nothing to ask about otherwise.
fn confirm(out: &Output, yes: bool, what: &str) -> Result<(), Failure> {
    if yes || !env_file::path(Path::new("")).exists() {
        return Ok(());
    }
    if !terminal::is_interactive() {
        return Err(Failure::bad_input(format!(
            "{what} replaces the one that is there; there is no terminal to ask at"
        ))
        .remedy("say --yes (with make: YES=1); the old one is kept as .env.old"));
    }
    out.say("There is an .env. It is kept as .env.old, and its keys are not in the new one.");
    match terminal::ask("Replace it? [y/N]: ")?.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::bad_input("not replaced; .env is as it was")),
    }
}

fn said(made: &Made) -> String {
    let mut lines = Vec::new();
    for taken in &made.taken {
        lines.push(format!("  taken      {} from {}", taken.variable, taken.from));
    }
    for left in &made.left {
        lines.push(format!("  not taken  {}: {}", left.from, left.why));
    }
    let token = if made.new_token { ", with a new gateway token" } else { "" };
    lines.insert(0, format!(".env is made{token}."));
    if let Some(old) = &made.old {
        lines.push(format!("The old one is {} now.", old.display()));
    }
    lines.join("\n")
}
