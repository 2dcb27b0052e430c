//! Whether the installation's own cluster stands, for what is to be put on it.
//!
//! Owns that a launch there and the cluster's removal do not pass each other by: each looks for the
//! other under the write lock, when it begins. Whoever comes by a context of their own is found on the
//! cluster itself, for as long as that is looked at. Refuses to know who is put there.

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
        let status = DeploymentStatus::parse(&status);
        let (makes, removes) = (name.launching(None), name.destroying());
        let (how, remedy) = match status {
            Some(DeploymentStatus::Destroying) => (
                "is being removed",
                format!("{removes} goes on with that, and {makes} makes another"),
            ),
            Some(DeploymentStatus::Launching) => {
                ("is being made, or that was interrupted", format!("{makes} goes on with that"))
            }
            Some(DeploymentStatus::Failed) => half(&makes, &removes),
            Some(DeploymentStatus::Updating)
                if prior.as_deref() == Some(DeploymentStatus::Failed.as_str()) =>
            {
                half(&makes, &removes)
            }
            Some(DeploymentStatus::Destroyed) | None => another(),
            Some(_) if server.as_ref() != Some(&self.server) => another(),
            Some(_) => return Ok(()),
        };
        let refused = Failure::conflict(format!("the cluster of this installation {how}"));
        Err(refused.remedy(remedy).into())
    }

    fn write(&self, _: &Transaction<'_>, _: &Operation) -> Result<()> {
        Ok(())
    }
}

fn half(makes: &str, removes: &str) -> (&'static str, String) {
    let remedy = format!("{makes} makes it whole, where it can; {removes} removes it");
    ("was left half made or half removed", remedy)
}

fn another() -> (&'static str, String) {
    let remedy = "launch it again; a gateway that was on the one before is forgotten by \
                  openclaw-pipeline destroy NAME --unseen";
    ("is another one than it was, or gone", remedy.to_owned())
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
