//! What in an account is an installation's.
//!
//! Owns the mark that tells it: a tag on everything that can carry one, and a name that only this
//! installation makes on what cannot. Refuses to remove what lacks it, looked at anew just before.

mod clusters;
mod find;
mod kind;
mod named;
mod remove;
mod shape;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;

use crate::domain::Failure;

pub use kind::Kind;

/// Something in the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// What AWS calls it: an id, or a name where there are no ids.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made, where AWS says.
    #[serde(with = "time::serde::rfc3339::option")]
    pub created: Option<OffsetDateTime>,
    /// What it is attached to, or a part of, in the form that detaching takes.
    pub attached: Option<String>,
    /// What becomes of it by itself.
    pub phase: Phase,
}

/// What becomes of something without anybody's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing: it stays.
    Steady,
    /// It is being made, or changed, and cannot be removed before that is done.
    Busy,
    /// Somebody has asked already for it to be gone.
    Going,
}

impl Phase {
    /// By the word that AWS has for it.
    fn of(state: Option<&str>) -> Self {
        match state.map(str::to_ascii_lowercase).as_deref() {
            Some("creating" | "pending" | "updating") => Self::Busy,
            Some("deleting") => Self::Going,
            _ => Self::Steady,
        }
    }
}

impl Found {
    /// The part of its name that says whose it is: a group of logs is called by its cluster.
    pub fn own_name(&self) -> &str {
        let of_cluster = named::cluster_of(&self.id).filter(|_| self.kind == Kind::LogGroup);
        of_cluster.unwrap_or(&self.id)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if *name != self.id => write!(f, "{} {} ({name})", self.kind, self.id),
            _ => write!(f, "{} {}", self.kind, self.id),
        }
    }
}

/// A time as JSON has it: seconds since 1970.
#[expect(clippy::cast_possible_truncation, reason = "bounded before")]
fn seconds(at: f64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(at.clamp(0.0, 1e11) as i64).ok()
}

/// How an installation's own things are told.
#[derive(Clone)]
pub struct Mark {
    /// The tag that everything carries.
    pub key: String,
    /// Its value: the installation's id.
    pub value: String,
    /// Whether a name is one that this installation, and no other one, makes. Asked of what has no
    /// tags, or none yet, and of what would otherwise have to be looked at one by one.
    pub is_own_name: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({}={})", self.key, self.value)
    }
}

impl Mark {
    /// Whether something is the installation's. An empty mark owns nothing.
    pub fn owns(&self, found: &Found) -> bool {
        if self.key.is_empty() || self.value.is_empty() {
            return false;
        }
        match found.tags.get(&self.key) {
            Some(value) => *value == self.value,
            None if found.kind.has_tags() && !found.kind.may_lack_tags() => false,
            None => (self.is_own_name)(found.own_name()),
        }
    }
}

/// What a sweep saw.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    /// What is the installation's.
    pub found: Vec<Found>,
    /// What could not be looked for, and why: what is absent above may be there all the same.
    pub unseen: Vec<(Kind, Failure)>,
}

/// What became of one removal.
#[derive(Debug, Clone)]
pub struct Removal {
    /// Of what.
    pub found: Found,
    /// Whether it is gone now.
    pub outcome: Result<(), Failure>,
}

#[cfg(test)]
mod clusters_tests;
#[cfg(test)]
mod tests;
