//! `config` and `completions`.

use clap::{Command as Description, CommandFactory};
use serde_json::json;

use super::super::args::{Cli, Config};
use super::super::output::table;
use super::Session;
use crate::config::explain;
use crate::domain::Failure;

pub(super) async fn run(session: &Session<'_>, args: &Config) -> Result<u8, Failure> {
    match args {
        Config::Explain => explained(session),
        Config::Sync(named) => super::verbs::sync(session, named.name.as_deref()).await,
    }
}

fn explained(session: &Session<'_>) -> Result<u8, Failure> {
    let explained = explain(&session.settings);
    let wrong =
        session.settings.broken().is_some() || explained.iter().any(|row| row.problem.is_some());
    session.out.answer(&json!({ "settings": explained }), || {
        let rows: Vec<Vec<String>> = explained
            .iter()
            .map(|row| {
                vec![
                    row.variable.to_string(),
                    row.value.clone(),
                    row.origin.to_string(),
                    row.problem.clone().unwrap_or_else(|| row.doc.to_owned()),
                ]
            })
            .collect();
        table(&["VARIABLE", "VALUE", "FROM", "MEANING"], &rows)
    });
    for notice in session.settings.notices() {
        session.out.say(&format!("note: {notice}"));
    }
    Ok(u8::from(wrong) * super::super::exit::BAD_USAGE)
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    // The generators offer what is hidden, too: it is left out before they see it.
    let whole = Cli::command();
    let mut command = Description::new("openclaw-pipeline")
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(whole.get_subcommands().filter(|it| !it.is_hide_set()).cloned());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "openclaw-pipeline", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(0)
}
