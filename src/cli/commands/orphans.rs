//! `doctor --orphans`: what is in the cloud and in no deployment.

use serde_json::json;

use super::super::terminal;
use super::Session;
use crate::app::{Kept, Orphans};
use crate::domain::Failure;

pub(super) async fn run(session: &Session<'_>, remove: bool, yes: bool) -> Result<u8, Failure> {
    let app = session.app()?;
    if remove && !yes {
        if !terminal::is_interactive() {
            return Err(Failure::bad_input(
                "this removes machines, addresses, clusters and networks in the cloud; there is no \
                 terminal to ask at",
            )
            .remedy("say --yes, or leave --remove out to see what it is"));
        }
        let first = app.orphans(&session.settings, false).await?;
        if first.orphans.is_empty() {
            return Ok(answer(session, &first));
        }
        session.out.say(&lines(&first));
        if terminal::ask("Type remove to remove it: ")? != "remove" {
            return Err(Failure::bad_input("nothing was removed"));
        }
    }
    let found = app.orphans(&session.settings, remove).await?;
    Ok(answer(session, &found))
}

/// Says what was found; 1 where something is left, or could not be looked for.
fn answer(session: &Session<'_>, found: &Orphans) -> u8 {
    let left = found.orphans.iter().any(|it| !it.removed) || !found.unseen.is_empty();
    session.out.answer(&json!({ "ok": !left, "sweep": found }), || lines(found));
    u8::from(left)
}

fn lines(found: &Orphans) -> String {
    let Orphans { regions, accounted, orphans, kept, unseen } = found;
    let mut lines = vec![format!(
        "{}: {accounted} resources belong to deployments, {} to none",
        regions.join(", "),
        orphans.len()
    )];
    for orphan in orphans {
        let became = match (&orphan.failure, orphan.removed) {
            (Some(why), _) => format!(" (could not be removed: {why})"),
            (None, true) => " (removed)".to_owned(),
            (None, false) => String::new(),
        };
        lines.push(format!("  {} in {}{became}", orphan.what, orphan.region));
    }
    lines.extend(kept.iter().map(|it| {
        let Kept { region, what, removing } = it;
        format!("  {what} in {region} is kept: it has a gateway's data, and costs. {removing}")
    }));
    lines.extend(unseen.iter().map(|why| format!("  not looked for: {why}")));
    if orphans.iter().any(|it| !it.removed && it.failure.is_none()) {
        lines.push("Remove it: openclaw-pipeline doctor --orphans --remove".into());
    }
    lines.join("\n")
}
