//! Operations and their journal.
//!
//! A step's intent is stored before it acts and its outcome after; the deployment's status and
//! the event that tells of it are written in the same transaction. A write under a lease that was
//! taken over is refused, so an executor that was stopped for an hour cannot undo its successor's
//! work when it wakes.

use rusqlite::{OptionalExtension, Transaction};
use serde_json::Value;

use super::events::{NewEvent, append};
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
            let deployment = deployment
                .parse()
                .map_err(|_| StoreError::Corrupt("a deployment's name".into()))?;
            Ok(Lease { operation: operation.to_owned(), deployment, epoch })
        })
    }

    /// Records that an operation is to be given up by whoever executes it, or comes after them;
    /// `false` when it is over.
    pub fn ask_to_give_up(&self, operation: &str) -> Result<bool> {
        self.write(|tx| {
            let asked = tx.execute(
                "UPDATE operations SET given_up = 1 WHERE id = ?1 AND status = 'running'",
                [operation],
            )?;
            Ok(asked == 1)
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
            let Some(mut operation) = found.next()?.map(rows::operation).transpose()? else {
                return Ok(None);
            };
            let mut statement = db.prepare_cached(
                "SELECT name, status, started_at, ended_at, message, output FROM steps \
                 WHERE operation = ?1 ORDER BY position",
            )?;
            let mut steps = statement.query([id])?;
            while let Some(row) = steps.next()? {
                operation.steps.push(rows::step(row)?);
            }
            Ok(Some(operation))
        })
    }

    /// The operation that is at work on a deployment, or was when it was interrupted.
    pub fn active_operation(&self, name: &DeploymentName) -> Result<Option<Operation>> {
        let found = self.read(|db| active(db, name))?;
        match found {
            Some(operation) => self.operation(&operation.id),
            None => Ok(None),
        }
    }

    /// Every operation that is not over, oldest first.
    pub fn operations_running(&self) -> Result<Vec<Operation>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{} WHERE status = 'running' ORDER BY sequence",
                rows::OPERATION
            ))?;
            let mut found = statement.query([])?;
            let mut operations = Vec::new();
            while let Some(row) = found.next()? {
                operations.push(rows::operation(row)?);
            }
            Ok(operations)
        })
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

fn as_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
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
