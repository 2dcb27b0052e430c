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
    let line = format!(
        "This removes {name} ({}) with its conversations, workspace and keys. Its backups stay.",
        deployment.spec.target
    );
    let mut lines = vec![line.as_str()];
    if !how.backup {
        lines.push("A last backup first: openclaw-pipeline destroy --backup");
    }
    let removes = format!("destroying {name} removes its gateway and all its data");
    terminal::confirm(session.out, name.as_str(), how.yes, (&removes, &lines))?;
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
