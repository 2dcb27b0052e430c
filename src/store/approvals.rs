//! The approval window and the record of every decision.

use rusqlite::OptionalExtension;
use serde::Serialize;

use super::events::{NewEvent, append};
use super::{Result, Store, now};
use crate::domain::DeploymentName;

/// A deployment's approval window. Times are CLOCK_BOOTTIME seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The boot in which it was opened.
    pub boot_id: String,
    /// When it opened.
    pub opened_s: i64,
    /// When it ends.
    pub deadline_s: i64,
    /// How many devices may still be let in.
    pub remaining: u32,
}

/// One decision about a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalRecord {
    /// The gateway's id of the request.
    pub request_id: String,
    /// The device.
    pub device_id: String,
    /// The address that it came from.
    pub address: String,
    /// The role or roles that it asked for.
    pub role: String,
    /// The scopes that it asked for.
    pub scopes: Vec<String>,
    /// `approved`, `left`, `rejected`, `removed` or `failed`.
    pub decision: String,
    /// Why.
    pub reason: String,
    /// When, RFC 3339 UTC; set by the store.
    pub decided_at: String,
}

impl Store {
    /// Opens the window of a deployment. It opens once: where there is one already, ended or not,
    /// nothing changes, and the answer is `false`.
    pub fn open_window(&self, deployment_id: &str, window: &Window) -> Result<bool> {
        self.write(|tx| {
            let opened = tx.execute(
                "INSERT INTO approval_windows \
                 (deployment_id, boot_id, opened_s, deadline_s, remaining) \
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                (
                    deployment_id,
                    &window.boot_id,
                    window.opened_s,
                    window.deadline_s,
                    window.remaining,
                ),
            )?;
            Ok(opened == 1)
        })
    }

    /// The window of a deployment, ended or not.
    pub fn window(&self, deployment_id: &str) -> Result<Option<Window>> {
        self.read(|db| {
            Ok(db
                .query_row(
                    "SELECT boot_id, opened_s, deadline_s, remaining FROM approval_windows \
                     WHERE deployment_id = ?1",
                    [deployment_id],
                    |row| {
                        Ok(Window {
                            boot_id: row.get(0)?,
                            opened_s: row.get(1)?,
                            deadline_s: row.get(2)?,
                            remaining: row.get(3)?,
                        })
                    },
                )
                .optional()?)
        })
    }

    /// Takes one place of the window; `false` when none is left. It is taken before the gateway
    /// is asked, so that a crash in between loses a place and never grants one too many.
    pub fn take_place(&self, deployment_id: &str) -> Result<bool> {
        self.write(|tx| {
            let taken = tx.execute(
                "UPDATE approval_windows SET remaining = remaining - 1 \
                 WHERE deployment_id = ?1 AND remaining > 0",
                [deployment_id],
            )?;
            Ok(taken == 1)
        })
    }

    /// Gives back a place whose approval failed.
    pub fn give_back_place(&self, deployment_id: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE approval_windows SET remaining = remaining + 1 WHERE deployment_id = ?1",
                [deployment_id],
            )?;
            Ok(())
        })
    }

    /// Records a decision, and the events that tell of it, in one commit.
    pub fn record_approval(
        &self,
        name: &DeploymentName,
        record: &ApprovalRecord,
        events: &[NewEvent],
    ) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO approvals (deployment, request_id, device_id, address, role, \
                 scopes, decision, reason, decided_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                (
                    name.as_str(),
                    &record.request_id,
                    &record.device_id,
                    &record.address,
                    &record.role,
                    record.scopes.join(" "),
                    &record.decision,
                    &record.reason,
                    now(),
                ),
            )?;
            for event in events {
                append(tx, name, None, event)?;
            }
            Ok(())
        })
    }

    /// The last decisions of a deployment, newest first.
    pub fn approvals(&self, name: &DeploymentName, limit: usize) -> Result<Vec<ApprovalRecord>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT request_id, device_id, address, role, scopes, decision, reason, \
                 decided_at FROM approvals WHERE deployment = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let found = statement.query_map((name.as_str(), limit), |row| {
                let scopes: String = row.get(4)?;
                Ok(ApprovalRecord {
                    request_id: row.get(0)?,
                    device_id: row.get(1)?,
                    address: row.get(2)?,
                    role: row.get(3)?,
                    scopes: scopes.split_whitespace().map(str::to_owned).collect(),
                    decision: row.get(5)?,
                    reason: row.get(6)?,
                    decided_at: row.get(7)?,
                })
            })?;
            Ok(found.collect::<std::result::Result<_, _>>()?)
        })
    }
}
