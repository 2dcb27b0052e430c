//! Events, in commit order.

use rusqlite::Transaction;
use serde_json::Value;

use super::{Result, Store, new_id, now, rows};
use crate::domain::{DeploymentName, Event, EventType};

/// An event before it has a place in the order.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventType,
    /// As a sentence, without a secret.
    pub message: String,
    /// Details; `Null` for none.
    pub data: Value,
}

impl NewEvent {
    /// An event without details.
    pub fn new(kind: EventType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), data: Value::Null }
    }

    /// Adds details.
    pub fn with(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}

impl Store {
    /// Appends an event that no operation tells of.
    pub fn append_event(&self, name: &DeploymentName, event: &NewEvent) -> Result<()> {
        self.write(|tx| append(tx, name, None, event))
    }

    /// The last event of an operation.
    pub fn last_event(&self, operation: &str) -> Result<Option<Event>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{} WHERE operation = ?1 ORDER BY sequence DESC LIMIT 1",
                rows::EVENT
            ))?;
            let mut found = statement.query([operation])?;
            found.next()?.map(rows::event).transpose()
        })
    }

    /// The last events, oldest first; of one deployment when named.
    pub fn last_events(&self, name: Option<&DeploymentName>, limit: usize) -> Result<Vec<Event>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{} WHERE ?1 IS NULL OR name = ?1 ORDER BY sequence DESC LIMIT ?2",
                rows::EVENT
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut found = statement.query((name.map(DeploymentName::as_str), limit))?;
            let mut events = Vec::new();
            while let Some(row) = found.next()? {
                events.push(rows::event(row)?);
            }
            events.reverse();
            Ok(events)
        })
    }

    /// The events after a sequence number, oldest first; of one deployment when named.
    pub fn events(
        &self,
        name: Option<&DeploymentName>,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Event>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{} WHERE sequence > ?1 AND (?2 IS NULL OR name = ?2) \
                 ORDER BY sequence LIMIT ?3",
                rows::EVENT
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut found = statement.query((after, name.map(DeploymentName::as_str), limit))?;
            let mut events = Vec::new();
            while let Some(row) = found.next()? {
                events.push(rows::event(row)?);
            }
            Ok(events)
        })
    }
}

pub(super) fn append(
    tx: &Transaction<'_>,
    name: &DeploymentName,
    operation: Option<&str>,
    event: &NewEvent,
) -> Result<()> {
    tx.execute(
        "INSERT INTO events (id, type, name, operation, message, timestamp, data) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            new_id(),
            event.kind.as_str(),
            name.as_str(),
            operation,
            &event.message,
            now(),
            rows::to_json(&event.data)?,
        ),
    )?;
    Ok(())
}
