//! What in an account is an installation's.
//!
//! Owns the mark that tells it: a tag on everything that can carry one, and a name that only this
//! installation makes on what cannot. Refuses to remove what lacks it, looked at anew just before.

mod find;
mod remove;
mod shape;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;

use crate::domain::Failure;

/// What kinds of things are looked for, in the order in which they can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A machine of EC2's.
    Instance,
    /// A machine of Lightsail's.
    LightsailInstance,
    /// An elastic IP.
    Address,
    /// Lightsail's equal of one.
    LightsailStaticIp,
    /// A disk that outlived its machine.
    Volume,
    /// A firewall.
    SecurityGroup,
    /// The public half of a key at EC2.
    KeyPair,
    /// The same at Lightsail.
    LightsailKeyPair,
    /// What gives a machine its role.
    InstanceProfile,
    /// A role.
    Role,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Instance,
        Self::LightsailInstance,
        Self::Address,
        Self::LightsailStaticIp,
        Self::Volume,
        Self::SecurityGroup,
        Self::KeyPair,
        Self::LightsailKeyPair,
        Self::InstanceProfile,
        Self::Role,
    ];

    /// Whether AWS keeps tags on it.
    pub const fn has_tags(self) -> bool {
        !matches!(self, Self::LightsailStaticIp)
    }

    /// Whether it gets its tags by a call after the one that makes it: whoever is broken off between
    /// the two leaves it without any.
    const fn is_tagged_later(self) -> bool {
        matches!(self, Self::LightsailKeyPair)
    }

    /// Whether it is Lightsail's.
    pub const fn is_lightsail(self) -> bool {
        matches!(self, Self::LightsailInstance | Self::LightsailStaticIp | Self::LightsailKeyPair)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instance => "EC2 instance",
            Self::LightsailInstance => "Lightsail instance",
            Self::Address => "elastic IP",
            Self::LightsailStaticIp => "Lightsail static IP",
            Self::Volume => "EBS volume",
            Self::SecurityGroup => "security group",
            Self::KeyPair => "EC2 key pair",
            Self::LightsailKeyPair => "Lightsail key pair",
            Self::InstanceProfile => "instance profile",
            Self::Role => "IAM role",
        })
    }
}

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
    /// What it is attached to, in the form that detaching takes.
    pub attached: Option<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if *name != self.id => write!(f, "{} {} ({name})", self.kind, self.id),
            _ => write!(f, "{} {}", self.kind, self.id),
        }
    }
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
            None if found.kind.has_tags() && !found.kind.is_tagged_later() => false,
            None => (self.is_own_name)(&found.id),
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
mod tests;
