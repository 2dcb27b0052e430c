//! What an apply would change, before it does.
//!
//! Owns what is read of that from a plan's messages, which name everything that would be made or
//! changed in place; and from the plan as a whole, which is asked for where they say more than that,
//! as it takes half as long again. Refuses what neither tells apart.

use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::messages::{Message, Said};
use crate::domain::Failure;

/// What would become of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its address in the module.
    pub address: String,
    /// Its type.
    pub kind: String,
    /// What would be done.
    pub verb: Verb,
    /// Which of its values cannot be changed otherwise, where it would be made anew.
    pub because: Vec<String>,
}

impl Change {
    fn in_words(&self) -> String {
        let Self { address, verb, because, .. } = self;
        let because = if because.is_empty() {
            String::new()
        } else {
            format!(" (for another {})", because.join(", "))
        };
        format!("{} {address}{because}", verb.as_str())
    }
}

/// What would be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It would be made.
    Create,
    /// It would be changed in place.
    Update,
    /// It would be removed.
    Delete,
    /// It would be removed and made anew.
    Replace,
}

impl Verb {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Replace => "replace",
        }
    }
}

/// What would change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Each resource that something would be done to.
    pub changes: Vec<Change>,
    /// Whether an apply would do nothing at all, and leave the state as it is.
    pub is_idle: bool,
}

/// What the messages of a plan say, as they come.
#[derive(Debug, Default)]
pub(super) struct Foretold(Mutex<Telling>);

#[derive(Debug, Default)]
struct Telling {
    changes: Vec<Change>,
    /// Whether something would be done that the messages do not tell in full.
    is_more: bool,
    /// Whether what the module gives would change.
    outputs: bool,
    /// Whether it was said how much would change.
    is_whole: bool,
}

impl Foretold {
    /// Takes a message in.
    pub(super) fn told(&self, message: &Message) {
        let mut telling = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &message.said {
            Said::WouldChange { address, kind, action } => {
                let verb = match action.as_str() {
                    "create" => Verb::Create,
                    "update" => Verb::Update,
                    _ => {
                        telling.is_more = true;
                        return;
                    }
                };
                let (address, kind) = (address.clone(), kind.clone());
                telling.changes.push(Change { address, kind, verb, because: Vec::new() });
            }
            Said::Outputs { would_change, .. } => telling.outputs |= would_change,
            Said::Planned { .. } => telling.is_whole = true,
            _ => {}
        }
    }

    /// The plan; `None` where the messages do not say all of it.
    pub(super) fn plan(self) -> Option<Plan> {
        let telling = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let is_idle = telling.changes.is_empty() && !telling.outputs;
        (telling.is_whole && !telling.is_more).then_some(Plan { changes: telling.changes, is_idle })
    }
}

#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    resource_changes: Vec<ShownChange>,
}

#[derive(Deserialize)]
struct ShownChange {
    address: String,
    #[serde(rename = "type")]
    kind: String,
    change: Actions,
}

#[derive(Deserialize)]
struct Actions {
    actions: Vec<String>,
    #[serde(default)]
    replace_paths: Vec<Vec<serde_json::Value>>,
}

impl Plan {
    /// From what `show -json` says of a plan. What is not understood is refused: it could be a
    /// removal.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let shown: Shown = serde_json::from_str(text).map_err(|error| {
            Failure::failed(format!("terraform's plan cannot be read: {error}"))
        })?;
        let mut changes = Vec::new();
        for ShownChange { address, kind, change } in shown.resource_changes {
            let actions: Vec<&str> = change.actions.iter().map(String::as_str).collect();
            let verb = match actions[..] {
                ["no-op" | "read"] => continue,
                ["create"] => Verb::Create,
                ["update"] => Verb::Update,
                ["delete", "create"] | ["create", "delete"] => Verb::Replace,
                // What is forgotten is taken out of the state, and left where it is.
                ["delete" | "forget"] => Verb::Delete,
                ref other => {
                    let what = other.join(", ");
                    return Err(Failure::failed(format!(
                        "terraform's plan does what is not known to be harmless to {address}: {what}"
                    )));
                }
            };
            let path = |steps: &Vec<serde_json::Value>| {
                let steps =
                    steps.iter().map(|it| it.as_str().map_or(it.to_string(), str::to_owned));
                steps.collect::<Vec<_>>().join(".")
            };
            let because = change.replace_paths.iter().map(path).collect();
            changes.push(Change { address, kind, verb, because });
        }
        Ok(Self { changes, is_idle: false })
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether anything of this type would be made, and not in the place of another one.
    pub fn creates(&self, kind: &str) -> bool {
        self.changes.iter().any(|change| change.verb == Verb::Create && change.kind == kind)
    }

    /// Refuses to take away any resource of these types.
    pub fn keep(&self, kinds: &[&str]) -> Result<(), Failure> {
        let lost = self.changes.iter().filter(|change| {
            matches!(change.verb, Verb::Delete | Verb::Replace)
                && kinds.contains(&change.kind.as_str())
        });
        let lost: Vec<String> = lost.map(Change::in_words).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(Failure::conflict(format!(
            "this would take away what holds the deployment's data or its address: {}; nothing was \
             changed",
            lost.join(", ")
        ))
        .remedy(
            "take back what was changed in the deployment's terraform.tfvars (infra config shows \
             it); to begin anew, make a backup, destroy the deployment and launch it again",
        ))
    }
}
