//! `.env.example`, made from the table.
//!
//! Owns its text. Refuses to differ from the committed file: a test compares the two, and
//! `UPDATE_GENERATED=1 cargo test --lib example` writes it anew.

use std::fmt::Write as _;

use super::variables::{DefaultValue, VARIABLES, Variable};
use crate::domain::Failure;
use crate::secrets::{Secret, envfile::render_quoted};

const COPY: &str = "\
# Settings of OpenClaw Pipeline. Copy this file to .env, and keep that private: chmod 600 .env
";
const KEEP: &str = "\
# Settings of OpenClaw Pipeline. Secrets stand here: keep this file to yourself.
";
const HEAD: &str = "\
#
# A flag wins over the environment, that over .env, that over config.env in
# ~/.config/openclaw-pipeline, and that over the default. An empty value counts as none.
# `openclaw-pipeline config explain` shows what holds and where it comes from.
#
# A line is KEY=VALUE. Quotes are needed around a value with a # behind a blank only; a $ stays
# what it is. Made from src/config/variables.rs.
";

/// The text of `.env.example`.
pub fn env_example() -> String {
    COPY.to_owned() + &body(&[])
}

/// The same as an `.env` in which these variables have values.
pub fn env_filled(values: &[(Variable, Secret)]) -> Result<String, Failure> {
    let lines = values.iter().map(|(variable, value)| {
        Ok((*variable, render_quoted([(variable.name(), value.expose())])?))
    });
    Ok(KEEP.to_owned() + &body(&lines.collect::<Result<Vec<_>, Failure>>()?))
}

/// The rows of the table; those in `lines` are written so.
fn body(lines: &[(Variable, String)]) -> String {
    let mut out = HEAD.to_owned();
    let mut group = "";
    for row in &VARIABLES {
        if row.group != group {
            group = row.group;
            let _ = write!(out, "\n# --- {group}\n");
        }
        let _ = write!(out, "\n# {}\n", row.doc);
        if let Some((_, line)) = lines.iter().find(|(variable, _)| *variable == row.variable) {
            out.push_str(line);
            continue;
        }
        let _ = match row.default {
            DefaultValue::Text(value) => writeln!(out, "# {}={value}", row.name),
            DefaultValue::Computed(place) => {
                writeln!(out, "# Default: {place}\n# {}=", row.name)
            }
            DefaultValue::Unset("") => writeln!(out, "{}=", row.name),
            DefaultValue::Unset(meaning) => writeln!(out, "# Unset: {meaning}\n{}=", row.name),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, Sources, Variable};
    use super::*;

    #[test]
    fn the_committed_file_is_fresh() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(&path, env_example()).expect("written");
        }
        let committed = std::fs::read_to_string(&path).expect(".env.example is committed");
        assert!(
            committed == env_example(),
            ".env.example is stale; run: UPDATE_GENERATED=1 cargo test --lib example"
        );
    }

    #[test]
    fn a_copy_of_it_sets_nothing_and_says_nothing() {
        let sources = Sources::new("/w").env("HOME", "/h").dotenv(env_example());
        let settings = Settings::resolve(&sources).expect("resolved");
        assert!(settings.notices().is_empty());
        assert!(settings.problems().is_empty());
        assert!(settings.credentials().expect("none").is_empty());
    }

    #[test]
    fn with_every_comment_sign_removed_its_defaults_are_valid() {
        let text: String = env_example()
            .lines()
            .filter_map(|line| {
                let line = line.strip_prefix("# ").unwrap_or(line);
                let (key, _) = line.split_once('=')?;
                Variable::by_name(key).map(|_| format!("{line}\n"))
            })
            .collect();
        assert_eq!(text.lines().count(), VARIABLES.len());
        let sources = Sources::new("/w").env("HOME", "/h").dotenv(text);
        let settings = Settings::resolve(&sources).expect("resolved");
        assert!(settings.problems().is_empty(), "{:?}", settings.problems());
    }
}
