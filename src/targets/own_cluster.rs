//! What is done to the installation's own cluster, in the steps of its life.
//!
//! Owns the [`OwnCluster`] trait, and what a removal is asked for and leads to. Refuses to know of
//! operations and of who makes the cluster.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Site, Work};
use crate::domain::{Failure, OwnClusterFacts};

/// What is asked for beside the cluster's own removal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearing {
    /// Whether the volumes go that gateways left.
    #[serde(default)]
    pub volumes: bool,
    /// Whether it goes although its API does not answer, and nobody sees what is on it.
    #[serde(default)]
    pub unseen: bool,
}

/// What was removed, and what outlives the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    /// Load balancers and volumes that are gone.
    pub removed: Vec<String>,
    /// Volumes that stay in the account.
    pub kept: Vec<String>,
    /// Why nothing of that was looked at, where nobody answers for the cluster any more.
    #[serde(default)]
    pub unseen: Option<String>,
}

impl Cleared {
    /// Where nobody sees what is there, for this reason.
    pub fn unseen(why: String) -> Self {
        Self { unseen: Some(why), ..Self::default() }
    }
}

/// Whose removal is asked for, and how.
#[derive(Debug, Clone, Copy)]
pub struct Removal<'a> {
    /// The cluster, as it was recorded.
    pub facts: &'a OwnClusterFacts,
    /// The ids of the gateways of this installation that are not removed, wherever they are.
    pub gateways: &'a BTreeSet<String>,
    /// What is asked for beside it.
    pub asked: Clearing,
}

/// What makes the cluster, changes it and takes it away. Each can be told twice.
#[async_trait]
pub trait OwnCluster: Send + Sync {
    /// Checks what making it needs. Changes nothing.
    async fn preflight(&self, site: &Site, work: Work<'_>) -> Result<(), Failure>;

    /// Writes the values that it is made with. What the user changed there is kept.
    async fn write_values(&self, site: &Site, operation: &str) -> Result<(), Failure>;

    /// Makes it, or brings the one that is there to what its values say.
    async fn make(
        &self,
        site: &Site,
        operation: &str,
        work: Work<'_>,
    ) -> Result<OwnClusterFacts, Failure>;

    /// What there is of it by now, in words.
    async fn made(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure>;

    /// Waits until its API takes these credentials, and a node takes pods.
    async fn ready(&self, facts: &OwnClusterFacts, work: Work<'_>) -> Result<(), Failure>;

    /// Refuses a removal that would take something away that is used, or that could not end. Answers why
    /// nothing was looked at, where nobody sees what is there and it goes all the same.
    async fn refuse_in_use(
        &self,
        site: &Site,
        removal: Removal<'_>,
        work: Work<'_>,
    ) -> Result<Option<String>, Failure>;

    /// Removes what would keep the cluster's network from being removed, and, where that is asked for,
    /// the volumes that gateways left. Nothing is removed where it is in use.
    async fn clear(
        &self,
        site: &Site,
        removal: Removal<'_>,
        work: Work<'_>,
    ) -> Result<Cleared, Failure>;

    /// Removes all of it, and its files; says what it was.
    async fn remove(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure>;
}
