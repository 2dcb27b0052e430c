//! Events, in commit order.

use rusqlite::Transaction;
use serde_json::Value;

use super::{Result, Store, new_id, now, rows};
use crate::domain::{DeploymentName, Event, EventSource, EventType};

/// An event before it has a place in the order.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventType,
    /// As a sentence, without a secret.
    pub message: String,
    /// Details; `Null` for none.
    pub data: Value,
    /// Who says so.
    pub source: EventSource,
}

impl NewEvent {
    /// An event of the program's own, without details.
    pub fn new(kind: EventType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), data: Value::Null, source: EventSource::Pipeline }
    }

    /// An event that somebody outside tells of.
    pub fn external(kind: EventType, message: impl Into<String>) -> Self {
        Self { source: EventSource::External, ..Self::new(kind, message) }
    }

    /// Adds details.
    pub fn with(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}

impl Store {
    /// Appends an event that no operation tells of.
    pub fn append_event(&self, name: &DeploymentName, event: &NewEvent) -> Result<Event> {
        self.write(|tx| append(tx, name, None, event))
    }

    /// [`Store::append_event`], in a commit that is shared with whoever else waits for one.
    pub async fn append_event_async(&self, name: DeploymentName, event: NewEvent) -> Result<Event> {
        self.write_grouped(move |tx| append(tx, &name, None, &event)).await
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

/// Gives an event its place in the order.
pub(super) fn append(
    tx: &Transaction<'_>,
    name: &DeploymentName,
    operation: Option<&str>,
    event: &NewEvent,
) -> Result<Event> {
    let (id, timestamp) = (new_id(), now());
    let mut insert = tx.prepare_cached(
        "INSERT INTO events (id, type, name, operation, message, timestamp, data, source) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let sequence = insert.insert((
        &id,
        event.kind.as_str(),
        name.as_str(),
        operation,
        &event.message,
        &timestamp,
        rows::to_json(&event.data)?,
        event.source.as_str(),
    ))?;
    Ok(Event {
        sequence,
        id,
        kind: event.kind,
        name: name.clone(),
        operation_id: operation.map(str::to_owned),
        message: event.message.clone(),
        timestamp,
        source: event.source,
        data: event.data.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_appended_is_what_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let name = DeploymentName::main();
        let own = NewEvent::new(EventType::HealthCheck, "it is well").with(json!({ "n": 1 }));
        let told = NewEvent::external(EventType::PairingRequired, "a hint");
        let appended = [&own, &told].map(|it| store.append_event(&name, it).expect("appends"));
        assert_eq!(store.events(None, 0, 10).expect("reads"), appended);
        assert_eq!(appended[0].source, EventSource::Pipeline);
        assert_eq!(appended[1].source, EventSource::External);
    }

    #[test]
    fn what_was_stored_before_is_the_programs_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let old = "INSERT INTO events (id, type, name, message, timestamp) \
                   VALUES ('1', 'completed', 'main', 'it works', '2026-01-01T00:00:00.000Z')";
        store.write(|tx| Ok(tx.execute(old, [])?)).expect("writes");
        let found = store.events(None, 0, 10).expect("reads").remove(0);
        assert_eq!(found.source, EventSource::Pipeline);
    }
}
