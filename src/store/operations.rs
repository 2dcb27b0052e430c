//! Operations and their journal.
//!
//! A step's intent is stored before it acts and its outcome after; the deployment's status and
//! the event that tells of it are written in the same transaction. A write under a lease that was
//! taken over is refused, so an executor that was stopped for an hour cannot undo its successor's
//! work when it wakes.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Transaction};
use serde_json::Value;

use super::begin::Along;
use super::events::{NewEvent, append};
use super::retention::Rule;
use super::{Result, Store, StoreError, deployments, now, rows};
use crate::domain::{
    Change, DeploymentName, DeploymentStatus, Failure, Operation, OperationStatus, StepStatus,
};

/// The right to execute an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Which operation.
    pub operation: String,
    /// Whose.
    pub deployment: DeploymentName,
    /// Under which epoch.
    pub epoch: i64,
}

/// A step's outcome.
#[derive(Debug)]
pub struct StepUpdate<'a> {
    /// Which step, from 0.
    pub position: usize,
    /// What became of it.
    pub status: StepStatus,
    /// In a sentence.
    pub message: Option<&'a str>,
    /// What later steps need of it.
    pub output: &'a Value,
}

/// How an operation ends.
#[derive(Debug)]
pub struct Finish<'a> {
    /// Its last status.
    pub status: OperationStatus,
    /// What becomes of the deployment; `None` leaves its status as it is.
    pub change: Option<Change>,
    /// Why it failed.
    pub error: Option<&'a Failure>,
    /// The event that tells of it.
    pub event: Option<NewEvent>,
}

/// Which operations a page is of.
#[derive(Debug, Clone, Default)]
pub struct OperationFilter {
    /// Of this deployment alone.
    pub deployment: Option<DeploymentName>,
    /// Of this status alone.
    pub status: Option<OperationStatus>,
    /// Of deployments whose names begin so.
    pub name_prefix: Option<String>,
}

/// A page's statement: which ones by the index of what the filter names, and only then the rows.
fn page(filter: &OperationFilter) -> String {
    // Of names that begin so there may be few among many operations, or many. Their part of the
    // index is gone through, which is bounded by their own history.
    let (index, of) = match (&filter.deployment, &filter.name_prefix, filter.status) {
        (Some(_), _, _) => ("operations_by_deployment", "deployment = ?1"),
        (None, Some(_), _) => ("operations_by_deployment", "deployment >= ?1 AND deployment < ?2"),
        (None, None, Some(_)) => ("operations_by_status", "status = ?3"),
        (None, None, None) => {
            return format!(
                "{} WHERE sequence < ?4 ORDER BY sequence DESC LIMIT ?5",
                rows::OPERATION
            );
        }
    };
    format!(
        "{} WHERE sequence IN (SELECT sequence FROM operations INDEXED BY {index} WHERE {of} \
         AND (?3 IS NULL OR status = ?3) AND sequence < ?4 ORDER BY sequence DESC LIMIT ?5) \
         ORDER BY sequence DESC",
        rows::OPERATION
    )
}

/// What ended long ago, but the last operation of a deployment that lives.
pub(super) const RETENTION: Rule = Rule {
    due: "SELECT 1 FROM operations AS old WHERE ended_at < ?1 AND (EXISTS (SELECT 1 \
          FROM operations AS newer WHERE newer.deployment = old.deployment \
          AND newer.sequence > old.sequence) OR NOT EXISTS (SELECT 1 FROM deployments \
          WHERE name = old.deployment AND status <> 'destroyed')) LIMIT 1",
    prune: |tx, oldest, batch| {
        Ok(tx.execute(
            "DELETE FROM operations WHERE id IN (SELECT id FROM operations AS old \
             WHERE ended_at < ?1 AND (EXISTS (SELECT 1 FROM operations AS newer \
             WHERE newer.deployment = old.deployment AND newer.sequence > old.sequence) \
             OR NOT EXISTS (SELECT 1 FROM deployments WHERE name = old.deployment \
             AND status <> 'destroyed')) ORDER BY ended_at LIMIT ?2)",
            (oldest, batch),
        )?)
    },
};

impl Store {
    /// What is answered to whoever asks for another operation of a deployment meanwhile.
    pub fn at_work(active: &Operation) -> StoreError {
        StoreError::Refused(
            Failure::conflict(format!(
                "{}: operation {} ({}) is at work on it",
                active.deployment, active.id, active.kind
            ))
            .remedy(format!(
                "wait for it, or go on with it: openclaw-pipeline operations resume {}",
                active.id
            )),
        )
    }

    /// Takes an operation up. The caller holds the deployment's lock.
    pub fn acquire(&self, operation: &str, executor: &str) -> Result<Lease> {
        self.write(|tx| {
            let taken = tx
                .query_row(
                    "UPDATE operations SET epoch = epoch + 1, executor = ?2 \
                     WHERE id = ?1 AND status = 'running' RETURNING epoch, deployment",
                    (operation, executor),
                    |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
                )
                .optional()?;
            let Some((epoch, deployment)) = taken else {
                return Err(StoreError::LeaseLost);
            };
            let deployment = DeploymentName::try_from(deployment)
                .map_err(|_| StoreError::Corrupt("a deployment's name".into()))?;
            Ok(Lease { operation: operation.to_owned(), deployment, epoch })
        })
    }

    /// Records that an operation is to be given up by whoever executes it, or comes after them;
    /// `false` when it is over, and nothing is written.
    pub fn ask_to_give_up(&self, operation: &Operation, along: &[Arc<dyn Along>]) -> Result<bool> {
        self.write(|tx| {
            along.iter().try_for_each(|along| along.look(tx))?;
            let asked = tx.execute(
                "UPDATE operations SET given_up = 1 WHERE id = ?1 AND status = 'running'",
                [&operation.id],
            )?;
            if asked == 1 {
                along.iter().try_for_each(|along| along.write(tx, operation))?;
            }
            Ok(asked == 1)
        })
    }

    /// Writes what comes along with a request that only hastens an operation.
    pub fn write_along(&self, operation: &Operation, along: &[Arc<dyn Along>]) -> Result<()> {
        self.write(|tx| {
            along.iter().try_for_each(|along| along.look(tx))?;
            along.iter().try_for_each(|along| along.write(tx, operation))
        })
    }

    /// Stores that a step is about to act. Its place in the journal is made when it has none.
    pub fn step_intent(
        &self,
        lease: &Lease,
        position: usize,
        name: &str,
        message: &str,
        event: Option<&NewEvent>,
    ) -> Result<()> {
        self.write(|tx| {
            check_lease(tx, lease)?;
            tx.execute(
                "INSERT INTO steps (operation, position, name, status, started_at, message) \
                 VALUES (?1, ?2, ?3, 'running', ?4, ?5) \
                 ON CONFLICT (operation, position) DO UPDATE SET status = 'running', \
                 started_at = coalesce(started_at, excluded.started_at), ended_at = NULL, \
                 message = excluded.message",
                (&lease.operation, as_i64(position), name, now(), message),
            )?;
            if let Some(event) = event {
                append(tx, &lease.deployment, Some(&lease.operation), event)?;
            }
            Ok(())
        })
    }

    /// Stores a step's outcome.
    pub fn step_outcome(&self, lease: &Lease, update: &StepUpdate<'_>) -> Result<()> {
        self.write(|tx| {
            check_lease(tx, lease)?;
            tx.execute(
                "UPDATE steps SET status = ?3, ended_at = ?4, \
                 message = coalesce(?5, message), output = ?6 \
                 WHERE operation = ?1 AND position = ?2",
                (
                    &lease.operation,
                    as_i64(update.position),
                    update.status.as_str(),
                    now(),
                    update.message,
                    rows::to_json(update.output)?,
                ),
            )?;
            Ok(())
        })
    }

    /// Ends an operation: its status, the deployment's, and the event, in one commit.
    pub fn finish(&self, lease: &Lease, finish: &Finish<'_>) -> Result<DeploymentStatus> {
        self.write(|tx| {
            check_lease(tx, lease)?;
            let error = finish.error.map(rows::to_json).transpose()?;
            tx.execute(
                "UPDATE operations SET status = ?2, error = ?3, ended_at = ?4 WHERE id = ?1",
                (&lease.operation, finish.status.as_str(), error, now()),
            )?;
            if let Some(event) = &finish.event {
                append(tx, &lease.deployment, Some(&lease.operation), event)?;
            }
            match finish.change {
                Some(change) => deployments::apply(tx, &lease.deployment, change),
                None => deployments::status(tx, &lease.deployment)?
                    .ok_or_else(|| StoreError::Corrupt("an operation without deployment".into())),
            }
        })
    }

    /// The operation with this id, with its steps.
    pub fn operation(&self, id: &str) -> Result<Option<Operation>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!("{} WHERE id = ?1", rows::OPERATION))?;
            let mut found = statement.query([id])?;
            found.next()?.map(|row| with_steps(db, rows::operation(row)?)).transpose()
        })
    }

    /// A page of the operations that a filter lets through, with their steps, newest first: those
    /// that began before the one with this sequence number.
    pub fn operations_page(
        &self,
        filter: &OperationFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Operation>> {
        let prefix = filter.name_prefix.as_deref();
        let (from, to) = match &filter.deployment {
            Some(name) if !name.as_str().starts_with(prefix.unwrap_or_default()) => {
                return Ok(Vec::new());
            }
            Some(name) => (name.to_string(), String::new()),
            None => rows::name_range(prefix, None),
        };
        let status = filter.status.map(OperationStatus::as_str);
        let (before, limit) = (before.unwrap_or(i64::MAX), as_i64(limit));
        self.read(|db| {
            let mut statement = db.prepare_cached(&page(filter))?;
            let mut found = statement.query((from, to, status, before, limit))?;
            let mut operations = Vec::new();
            while let Some(row) = found.next()? {
                operations.push(with_steps(db, rows::operation(row)?)?);
            }
            Ok(operations)
        })
    }

    /// The ids of every operation that has begun and not ended, oldest first.
    pub fn operations_running(&self) -> Result<Vec<String>> {
        self.read(|db| {
            let sql = "SELECT id FROM operations WHERE status = 'running' ORDER BY sequence";
            let mut statement = db.prepare_cached(sql)?;
            let ids = statement.query_map([], |row| row.get(0))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The operation that is at work on a deployment, or was when it was interrupted.
    pub fn active_operation(&self, name: &DeploymentName) -> Result<Option<Operation>> {
        self.read(|db| active(db, name)?.map(|it| with_steps(db, it)).transpose())
    }

    /// The last operations, newest first; of one deployment when named.
    pub fn operations(
        &self,
        name: Option<&DeploymentName>,
        limit: usize,
    ) -> Result<Vec<Operation>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{} WHERE ?1 IS NULL OR deployment = ?1 ORDER BY sequence DESC LIMIT ?2",
                rows::OPERATION
            ))?;
            let mut found = statement.query((name.map(DeploymentName::as_str), as_i64(limit)))?;
            let mut operations = Vec::new();
            while let Some(row) = found.next()? {
                operations.push(rows::operation(row)?);
            }
            Ok(operations)
        })
    }
}

pub(super) fn as_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn with_steps(db: &rusqlite::Connection, mut operation: Operation) -> Result<Operation> {
    let mut statement = db.prepare_cached(
        "SELECT name, status, started_at, ended_at, message, output FROM steps \
         WHERE operation = ?1 ORDER BY position",
    )?;
    let mut steps = statement.query([&operation.id])?;
    while let Some(row) = steps.next()? {
        operation.steps.push(rows::step(row)?);
    }
    Ok(operation)
}

/// The failure for a name that nothing has.
pub(super) fn unknown(name: &DeploymentName) -> Failure {
    Failure::not_found(format!("there is no deployment {name}"))
        .remedy("see what there is with: openclaw-pipeline list")
}

pub(super) fn active(
    db: &rusqlite::Connection,
    name: &DeploymentName,
) -> Result<Option<Operation>> {
    let mut statement = db.prepare_cached(&format!(
        "{} WHERE deployment = ?1 AND status = 'running'",
        rows::OPERATION
    ))?;
    let mut found = statement.query([name.as_str()])?;
    found.next()?.map(rows::operation).transpose()
}

pub(super) fn check_lease(tx: &Transaction<'_>, lease: &Lease) -> Result<()> {
    let current: Option<i64> = tx
        .query_row(
            "SELECT epoch FROM operations WHERE id = ?1 AND status = 'running'",
            [&lease.operation],
            |row| row.get(0),
        )
        .optional()?;
    if current == Some(lease.epoch) { Ok(()) } else { Err(StoreError::LeaseLost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_walks_through_the_rows() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let (name, prefix) = (Some(DeploymentName::main()), Some("m".to_owned()));
        for (deployment, name_prefix) in [(None, None), (name, None), (None, prefix)] {
            for status in [None, Some(OperationStatus::Failed)] {
                let filter = OperationFilter {
                    deployment: deployment.clone(),
                    status,
                    name_prefix: name_prefix.clone(),
                };
                let plan = store.read(|db| Ok(rows::plan(db, &page(&filter)))).expect("a plan");
                let looks: Vec<_> =
                    plan.iter().filter(|step| step.contains(" operations ")).collect();
                assert!(looks.iter().all(|step| step.starts_with("SEARCH")), "{plan:?}");
                // Beside the page itself, nothing but an index is read.
                let which = "SEARCH operations USING COVERING INDEX";
                let rows = "SEARCH operations USING INTEGER PRIMARY KEY";
                let other = |step: &&&String| !step.starts_with(which) && !step.starts_with(rows);
                assert_eq!(looks.iter().filter(other).count(), 0, "{plan:?}");
            }
        }
    }
}
