//! What Terraform says while it works: one JSON object a line.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What it is about.
    pub said: Said,
}

/// What it is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// So much is to be added, changed and removed: the plan is made.
    Planned {
        /// To be made.
        add: u64,
        /// To be changed in place.
        change: u64,
        /// To be removed.
        remove: u64,
    },
    /// Something would be done to a resource.
    WouldChange {
        /// Its address in the module.
        address: String,
        /// Its type.
        kind: String,
        /// What would be done: `create`, `update`, `delete`, `replace`, `move` and others.
        action: String,
    },
    /// Work on a resource begins.
    Begins {
        /// Its address in the module.
        address: String,
        /// What is done: `create`, `update`, `delete`, `replace`.
        action: String,
        /// Its id, where it has one already.
        id: Option<String>,
    },
    /// Work on a resource goes on.
    GoesOn {
        /// Its address in the module.
        address: String,
        /// For how long, in seconds.
        elapsed_s: u64,
    },
    /// Work on a resource is over.
    Ends {
        /// Its address in the module.
        address: String,
        /// Its id, where it has one.
        id: Option<String>,
        /// Whether it failed.
        failed: bool,
    },
    /// What the module gives, as far as it is known.
    Outputs {
        /// Each by its name.
        values: BTreeMap<String, Value>,
        /// Whether any of them would change.
        would_change: bool,
    },
    /// A warning or an error.
    Diagnostic(Diagnostic),
    /// Anything else.
    Other,
}

/// A warning or an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Diagnostic {
    /// `error` or `warning`.
    pub severity: String,
    /// In a few words.
    pub summary: String,
    /// In full.
    #[serde(default)]
    pub detail: String,
    /// The resource that it is about.
    #[serde(default)]
    pub address: Option<String>,
    /// Where in a file.
    #[serde(default)]
    pub range: Option<Range>,
}

/// A place in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Range {
    /// The file.
    pub filename: String,
}

impl Diagnostic {
    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    change: Option<Change>,
    #[serde(default)]
    changes: Option<Changes>,
    #[serde(default)]
    hook: Option<Hook>,
    #[serde(default)]
    outputs: Option<BTreeMap<String, Output>>,
    #[serde(default)]
    diagnostic: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Change {
    resource: Resource,
    action: String,
}

#[derive(Deserialize)]
struct Changes {
    add: u64,
    change: u64,
    remove: u64,
    operation: String,
}

#[derive(Deserialize)]
struct Hook {
    #[serde(default)]
    resource: Option<Resource>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    id_value: Option<String>,
    #[serde(default)]
    elapsed_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Resource {
    addr: String,
    #[serde(default)]
    resource_type: String,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    value: Option<Value>,
    #[serde(default)]
    action: Option<String>,
}

impl Message {
    /// A line's; `None` where it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(line).ok()?;
        Some(Self { said: line.said() })
    }
}

impl Line {
    fn said(self) -> Said {
        let about = |hook: Option<Hook>| {
            let hook = hook?;
            let address = hook.resource.as_ref()?.addr.clone();
            // What is only looked up is nobody's.
            (!address.starts_with("data.")).then_some((address, hook))
        };
        if let ("planned_change", Some(Change { resource, action })) =
            (self.kind.as_str(), self.change)
        {
            let Resource { addr: address, resource_type: kind } = resource;
            return Said::WouldChange { address, kind, action };
        }
        match (self.kind.as_str(), self.changes, self.outputs, self.diagnostic) {
            ("change_summary", Some(it), ..) if it.operation == "plan" => {
                Said::Planned { add: it.add, change: it.change, remove: it.remove }
            }
            ("outputs", _, Some(outputs), _) => {
                let changes = |it: &Output| it.action.as_deref().is_some_and(|it| it != "noop");
                let would_change = outputs.values().any(changes);
                let values = outputs.into_iter();
                let values = values.filter_map(|(name, it)| Some((name, it.value?))).collect();
                Said::Outputs { values, would_change }
            }
            ("diagnostic", .., Some(diagnostic)) => Said::Diagnostic(diagnostic),
            (kind, ..) => match (kind, about(self.hook)) {
                ("apply_start", Some((address, hook))) => {
                    let action = hook.action.unwrap_or_default();
                    Said::Begins { address, action, id: hook.id_value }
                }
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "s")]
                ("apply_progress", Some((address, hook))) => Said::GoesOn {
                    address,
                    elapsed_s: hook.elapsed_seconds.unwrap_or_default().max(0.0) as u64,
                },
                ("apply_complete", Some((address, hook))) => {
                    Said::Ends { address, id: hook.id_value, failed: false }
                }
                ("apply_errored", Some((address, _))) => {
                    Said::Ends { address, id: None, failed: true }
                }
                _ => Said::Other,
            },
        }
    }
}
