//! Whether the installation's own cluster stands, for what is to be put on it.
//!
//! Owns that a launch there and the cluster's removal do not pass each other by: each looks for the
//! other under the write lock, when it begins. Whoever comes by a context of their own is found on the
//! cluster itself. Refuses to know who is put there.

use rusqlite::{OptionalExtension, Transaction};

use super::Result;
use super::begin::Along;
use crate::domain::{
    DeploymentName, DeploymentStatus, Failure, Operation, OperationKind, OperationStatus,
};

/// Comes along with a launch on the installation's own cluster: nothing begins where that is being
/// removed, was left half removed or half made, or is another one by now.
#[derive(Debug, Clone)]
pub struct OwnClusterStands {
    /// The API of the cluster that the launch was planned for.
    pub server: String,
}

/// Its status, that before what is done to it now, and its API.
const CLUSTER: &str = "SELECT status, json_extract(facts, '$.own_cluster.at.server'), \
     (SELECT prior FROM operations WHERE deployment = ?1 AND status = ?2) \
     FROM deployments WHERE name = ?1";

impl Along for OwnClusterStands {
    fn look(&self, tx: &Transaction<'_>) -> Result<()> {
        let name = DeploymentName::cluster();
        let found: Option<(String, Option<String>, Option<String>)> = tx
            .prepare_cached(CLUSTER)?
            .query_row([name.as_str(), OperationStatus::Running.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let (status, server, prior) = found.unwrap_or_default();
        let (failed, changes) =
            (DeploymentStatus::Failed.as_str(), DeploymentStatus::Updating.as_str());
        let how = if status == DeploymentStatus::Destroying.as_str() {
            "is being removed"
        } else if status == failed || (status == changes && prior.as_deref() == Some(failed)) {
            "was left half made or half removed"
        } else if status == DeploymentStatus::Destroyed.as_str()
            || server.as_ref() != Some(&self.server)
        {
            "is another one than it was just now, or gone"
        } else {
            return Ok(());
        };
        let refused = Failure::conflict(format!("the cluster of this installation {how}"));
        Err(refused
            .remedy(format!(
                "openclaw-pipeline cluster show and events {name} say more; cluster apply makes one \
                 that is whole, {} removes this one",
                name.destroying()
            ))
            .into())
    }

    fn write(&self, _: &Transaction<'_>, _: &Operation) -> Result<()> {
        Ok(())
    }
}

/// Comes along with the removal of the installation's own cluster: it does not begin while a launch is
/// on its way there, which may have recorded nothing but that it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct NobodyComes;

const COMING: &str = "SELECT deployment FROM operations WHERE status = ?1 AND kind = ?2 \
     AND json_extract(params, '$.spec.cluster.own') IS NOT NULL ORDER BY id";

impl Along for NobodyComes {
    fn look(&self, tx: &Transaction<'_>) -> Result<()> {
        let (running, launch) = (OperationStatus::Running, OperationKind::Launch);
        let coming: Option<String> = tx
            .prepare_cached(COMING)?
            .query_row([running.as_str(), launch.as_str()], |row| row.get(0))
            .optional()?;
        let Some(name) = coming else { return Ok(()) };
        let refused = Failure::conflict(format!(
            "{name} is being launched on the cluster, or was interrupted at that; nothing was removed"
        ));
        Err(refused
            .remedy(format!(
                "openclaw-pipeline launch {name} goes on with it, openclaw-pipeline destroy {name} \
                 removes it"
            ))
            .into())
    }

    fn write(&self, _: &Transaction<'_>, _: &Operation) -> Result<()> {
        Ok(())
    }
}
