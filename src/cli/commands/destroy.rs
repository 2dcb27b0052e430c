//! `destroy`.

use serde_json::json;

use super::super::progress::Shown;
use super::super::terminal;
use super::Session;
use crate::app::{DestroyParams, Order};
use crate::domain::{Failure, FailureKind, TargetKind};

/// How to destroy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    /// Do not ask.
    pub yes: bool,
    /// Make a last backup first.
    pub backup: bool,
    /// Leave its volumes.
    pub keep_volumes: bool,
    /// Forget it although its cluster cannot be looked at.
    pub unseen: bool,
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
    let target = deployment.spec.target;
    let is_asked = target == TargetKind::Eks && !how.yes && !how.unseen;
    let keep_volumes = how.keep_volumes || (is_asked && asks_for()?);
    let what = if how.unseen {
        "from what is known here; what its cluster does not let remove stays there"
    } else if keep_volumes {
        "with its address and keys. Its volumes stay, with conversations and workspace"
    } else {
        "with its conversations, workspace and keys"
    };
    let line = format!("This removes {name} ({target}) {what}. Its backups stay.");
    let mut lines = vec![line.as_str()];
    if !how.backup {
        lines.push("A last backup first: openclaw-pipeline destroy --backup");
    }
    let removes = format!("destroying {name} removes its gateway and all its data");
    terminal::confirm(session.out, name.as_str(), how.yes, (&removes, &lines))?;
    session.interruptible()?;
    let shown = Shown::new(*session.out);
    let How { backup, unseen, .. } = how;
    let order = Order::Destroy(DestroyParams { backup, keep_volumes, unseen });
    let operation = app.order(&name, order, &shown, session.cancel).await?;
    drop(shown);
    let message = app.outcome(&operation)?;
    let answer = json!({ "name": name, "operation": operation, "message": message });
    session.out.answer(&answer, || message);
    Ok(0)
}

/// Whether the person at the terminal wants its volumes to stay.
fn asks_for() -> Result<bool, Failure> {
    if !terminal::is_interactive() {
        return Ok(false);
    }
    let answer = terminal::ask("Keep its volumes, for a later launch of this name? [y/N]: ")?;
    Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
}
