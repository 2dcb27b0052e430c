//! `destroy`.

use serde_json::json;

use super::super::progress::Shown;
use super::super::terminal;
use super::Session;
use crate::app::Order;
use crate::domain::{Failure, FailureKind};

/// How to destroy.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// Do not ask.
    pub yes: bool,
    /// Make a last backup first.
    pub backup: bool,
    /// Nothing there is no failure.
    pub if_exists: bool,
}

pub(super) async fn run(
    session: &Session<'_>,
    name: Option<&str>,
    how: How,
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    let deployment = match app.deployment(&name) {
        Err(failure) if how.if_exists && failure.kind == FailureKind::NotFound => {
            session.out.answer(&json!({ "name": name, "operation": null }), || {
                format!("{name} is not there; nothing to remove")
            });
            return Ok(0);
        }
        found => found?,
    };
    app.refuse_other_state(&deployment, &session.settings)?;
    if !how.yes {
        if !terminal::is_interactive() {
            return Err(Failure::bad_input(format!(
                "destroying {name} removes its gateway and all its data; there is no terminal to \
                 ask at"
            ))
            .remedy("say --yes (with make: YES=1)"));
        }
        session.out.say(&format!(
            "This removes {name} ({}) with its conversations, workspace and keys. Its backups \
             stay.",
            deployment.spec.target
        ));
        if !how.backup {
            session.out.say("A last backup first: openclaw-pipeline destroy --backup");
        }
        if terminal::ask(&format!("Type the name to destroy it [{name}]: "))? != name.as_str() {
            return Err(Failure::bad_input("that is not the name; nothing was removed"));
        }
    }
    session.interruptible()?;
    let shown = Shown::new(*session.out);
    let order = Order::Destroy { backup: how.backup };
    let operation = app.order(&name, order, &shown, session.cancel).await?;
    drop(shown);
    let event = app.store().last_event(&operation.id)?;
    session.out.answer(&json!({ "name": name, "operation": operation }), || {
        event.map(|event| app.layout().with_paths(&event.message)).unwrap_or_default()
    });
    Ok(0)
}
