//! The approval window and the record of every decision.

use rusqlite::{OptionalExtension, Row, Transaction};
use serde::Serialize;

use super::events::{NewEvent, append};
use super::retention::Rule;
use super::{Result, Store, now, rows};
use crate::domain::{Deployment, DeploymentName};

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

/// The decision of a device that is being let in: whether it is in shows with the gateway.
pub const APPROVING: &str = "approving";

/// An approval that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApprovalId(i64);

/// How an approval ended.
#[derive(Debug, Clone, Copy)]
pub struct ApprovalEnd<'a> {
    /// `approved` or `failed`.
    pub decision: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The deployment whose window gets the place back, if it does.
    pub give_back_to: Option<&'a str>,
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
    /// `approved`, `left`, `rejected`, `removed` or `failed`; [`APPROVING`] until the outcome is
    /// known.
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

    /// The living deployments that may have to be watched: their window has a place left, or an
    /// approval of theirs has no outcome. Whether the window is open still, the clock says.
    pub fn watchable(&self) -> Result<Vec<Deployment>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{} WHERE status NOT IN ('destroyed', 'stopped') AND (id IN \
                 (SELECT deployment_id FROM approval_windows WHERE remaining > 0) \
                 OR name IN (SELECT deployment FROM approvals WHERE decision = ?1))",
                rows::DEPLOYMENT
            ))?;
            let mut found = statement.query([APPROVING])?;
            let mut deployments = Vec::new();
            while let Some(row) = found.next()? {
                deployments.push(rows::deployment(row)?);
            }
            Ok(deployments)
        })
    }

    /// Takes one place of the window and records that its device is being let in, in one commit;
    /// `None` when no place is left. It is stored before the gateway is asked: a crash in between
    /// grants none too many, and who may have been let in is known.
    ///
    /// A browser waits for this one, so it does not wait for the disk: every process sees it and no
    /// killed one loses it, and a power cut ends the window anyway.
    pub fn begin_approval(
        &self,
        deployment_id: &str,
        name: &DeploymentName,
        record: &ApprovalRecord,
    ) -> Result<Option<ApprovalId>> {
        self.write_unsynced(|tx| {
            let taken = tx.execute(
                "UPDATE approval_windows SET remaining = remaining - 1 \
                 WHERE deployment_id = ?1 AND remaining > 0",
                [deployment_id],
            )?;
            if taken == 0 {
                return Ok(None);
            }
            let id =
                insert(tx, name, &ApprovalRecord { decision: APPROVING.into(), ..record.clone() })?;
            Ok(Some(ApprovalId(id)))
        })
    }

    /// Records how it went, with the events that tell of it, in one commit. A place is given back
    /// where the device is known not to be in.
    pub fn end_approval(
        &self,
        id: ApprovalId,
        name: &DeploymentName,
        ended: ApprovalEnd<'_>,
        events: &[NewEvent],
    ) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE approvals SET decision = ?2, reason = ?3, decided_at = ?4 WHERE id = ?1",
                (id.0, ended.decision, ended.reason, now()),
            )?;
            if let Some(deployment_id) = ended.give_back_to {
                tx.execute(
                    "UPDATE approval_windows SET remaining = remaining + 1 \
                     WHERE deployment_id = ?1",
                    [deployment_id],
                )?;
            }
            for event in events {
                append(tx, name, None, event)?;
            }
            Ok(())
        })
    }

    /// The approvals of a deployment whose outcome is not known, oldest first.
    pub fn approving(&self, name: &DeploymentName) -> Result<Vec<(ApprovalId, ApprovalRecord)>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {COLUMNS}, id FROM approvals WHERE deployment = ?1 AND decision = ?2 \
                 ORDER BY id"
            ))?;
            let found = statement.query_map((name.as_str(), APPROVING), |row| {
                Ok((ApprovalId(row.get(8)?), read(row)?))
            })?;
            Ok(found.collect::<std::result::Result<_, _>>()?)
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
            insert(tx, name, record)?;
            for event in events {
                append(tx, name, None, event)?;
            }
            Ok(())
        })
    }

    /// Whether somebody has turned a device away, or put it out, since it was last let in.
    pub fn is_turned_away(&self, name: &DeploymentName, device_id: &str) -> Result<bool> {
        self.read(|db| {
            let last: Option<String> = db
                .prepare_cached(
                    "SELECT decision FROM approvals WHERE deployment = ?1 AND device_id = ?2 \
                     AND decision IN ('approved', 'rejected', 'removed') ORDER BY id DESC LIMIT 1",
                )?
                .query_row((name.as_str(), device_id), |row| row.get(0))
                .optional()?;
            Ok(last.is_some_and(|decision| decision != "approved"))
        })
    }

    /// The last decisions of a deployment, newest first.
    pub fn approvals(&self, name: &DeploymentName, limit: usize) -> Result<Vec<ApprovalRecord>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM approvals WHERE deployment = ?1 ORDER BY id DESC LIMIT ?2"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let found = statement.query_map((name.as_str(), limit), read)?;
            Ok(found.collect::<std::result::Result<_, _>>()?)
        })
    }
}

/// Opens the window of a deployment anew: somebody who may says so. It takes the place of the one
/// that there was, so that nothing lengthens that one: its places end with it. One that is open, has
/// a place left and ends no earlier stays as it is.
pub(super) fn reopen(tx: &Transaction<'_>, deployment_id: &str, window: &Window) -> Result<()> {
    tx.execute(
        "INSERT INTO approval_windows AS old \
         (deployment_id, boot_id, opened_s, deadline_s, remaining) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET \
         boot_id = excluded.boot_id, opened_s = excluded.opened_s, \
         deadline_s = excluded.deadline_s, remaining = excluded.remaining \
         WHERE old.boot_id <> excluded.boot_id OR old.opened_s > excluded.opened_s \
         OR old.remaining = 0 OR old.deadline_s < excluded.deadline_s",
        (deployment_id, &window.boot_id, window.opened_s, window.deadline_s, window.remaining),
    )?;
    Ok(())
}

/// Decisions are made in the order of their ids.
pub(super) const RETENTION: Rule = Rule {
    due: "SELECT 1 WHERE ?1 > (SELECT decided_at FROM approvals ORDER BY id LIMIT 1)",
    prune: |tx, oldest, batch| {
        Ok(tx.execute(
            "DELETE FROM approvals WHERE id IN (SELECT id FROM approvals \
             WHERE decided_at < ?1 ORDER BY id LIMIT ?2)",
            (oldest, batch),
        )?)
    },
};

const COLUMNS: &str = "request_id, device_id, address, role, scopes, decision, reason, decided_at";

fn read(row: &Row<'_>) -> rusqlite::Result<ApprovalRecord> {
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
}

fn insert(tx: &Transaction<'_>, name: &DeploymentName, record: &ApprovalRecord) -> Result<i64> {
    tx.execute(
        &format!(
            "INSERT INTO approvals (deployment, {COLUMNS}) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        ),
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
    Ok(tx.last_insert_rowid())
}
