//! Events, in commit order.

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde_json::Value;

use super::deliveries::oldest_needed;
use super::operations::as_i64;
use super::retention::Rule;
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

/// Which events a page is of.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of this deployment alone.
    pub name: Option<DeploymentName>,
    /// Of deployments whose names begin so.
    pub name_prefix: Option<String>,
    /// Of these types; none is all.
    pub types: Vec<EventType>,
    /// Of this operation alone.
    pub operation: Option<String>,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq)]
pub struct EventsPage {
    /// Those that the filter lets through, oldest first.
    pub events: Vec<Event>,
    /// The last sequence number that was looked at: the next page comes after it. It may be beyond
    /// the last event of this one.
    pub seen: i64,
    /// Whether there may be more by now.
    pub more: bool,
}

/// How far the history of events reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// The oldest event that is there.
    pub oldest: Option<i64>,
    /// The last event that was removed because of its age; 0 when none was.
    pub pruned_to: i64,
    /// The last event that there was, still there or not; 0 when there was none.
    pub last: i64,
}

impl History {
    /// Whether every event after this one is still there.
    pub fn is_complete_after(&self, sequence: i64) -> bool {
        sequence >= self.pruned_to
    }
}

/// How many events one page looks at: a bound on what a filter costs that lets next to none
/// through.
const LOOKED_AT: usize = 5000;

/// What a page goes through: what the filter names that has an index. The rest of the filter is
/// looked at event by event.
fn page(filter: &EventFilter) -> String {
    let of = match filter {
        EventFilter { operation: Some(_), .. } => "operation = ?2 AND",
        EventFilter { name: Some(_), .. } => "name = ?2 AND",
        _ => "?2 IS NULL AND",
    };
    format!("{} WHERE {of} sequence > ?1 ORDER BY sequence LIMIT ?3", rows::EVENT)
}

impl EventFilter {
    /// Whether it lets a row through.
    fn lets_through(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let (kind, name) = (row.get_ref(2)?.as_str()?, row.get_ref(3)?.as_str()?);
        let of_type = self.types.is_empty() || self.types.iter().any(|it| it.as_str() == kind);
        let of_name = self.name.as_ref().is_none_or(|it| it.as_str() == name);
        let of_prefix = self.name_prefix.as_ref().is_none_or(|it| name.starts_with(it));
        Ok(of_type && of_name && of_prefix)
    }
}

/// The oldest events, up to the first that is not old or is still needed: what is left has no gap.
pub(super) const RETENTION: Rule = Rule {
    due: "SELECT 1 WHERE ?1 > (SELECT timestamp FROM events ORDER BY sequence LIMIT 1)",
    prune: |tx, oldest, batch| prune(tx, oldest, oldest_needed(tx)?, batch),
};

fn prune(tx: &Transaction<'_>, oldest: &str, needed: Option<i64>, batch: i64) -> Result<usize> {
    let mut statement = tx.prepare_cached(
        "SELECT sequence, timestamp FROM events WHERE sequence < ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let mut found = statement.query((needed.unwrap_or(i64::MAX), batch))?;
    let mut last = None;
    while let Some(row) = found.next()? {
        if row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)? >= oldest {
            break;
        }
        last = Some(row.get(0)?);
    }
    let Some(last): Option<i64> = last else { return Ok(0) };
    tx.execute("UPDATE installation SET events_pruned_to = max(events_pruned_to, ?1)", [last])?;
    Ok(tx.execute("DELETE FROM events WHERE sequence <= ?1", [last])?)
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

    /// A page of the events after a sequence number that a filter lets through, oldest first.
    pub fn events_page(
        &self,
        filter: &EventFilter,
        after: i64,
        limit: usize,
    ) -> Result<EventsPage> {
        let of = filter.operation.as_deref();
        let of = of.or(filter.name.as_ref().map(DeploymentName::as_str));
        self.read(|db| {
            let mut statement = db.prepare_cached(&page(filter))?;
            let mut found = statement.query((after, of, as_i64(LOOKED_AT)))?;
            let mut page = EventsPage { events: Vec::new(), seen: after, more: false };
            let mut looked_at = 0;
            while let Some(row) = found.next()? {
                looked_at += 1;
                if filter.lets_through(row)? {
                    if page.events.len() == limit {
                        page.more = true;
                        return Ok(page);
                    }
                    page.events.push(rows::event(row)?);
                }
                page.seen = row.get(0)?;
            }
            page.more = looked_at == LOOKED_AT;
            Ok(page)
        })
    }

    /// The last sequence number that was given; 0 when none was.
    pub fn last_sequence(&self) -> Result<i64> {
        self.read(last_sequence)
    }

    /// How far the history of events reaches.
    pub fn history(&self) -> Result<History> {
        self.read(|db| {
            let oldest = db
                .prepare_cached("SELECT min(sequence) FROM events")?
                .query_row([], |row| row.get(0))?;
            let pruned_to = db
                .prepare_cached("SELECT events_pruned_to FROM installation")?
                .query_row([], |row| row.get(0))?;
            Ok(History { oldest, pruned_to, last: last_sequence(db)? })
        })
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
            let mut found = statement.query((name.map(DeploymentName::as_str), as_i64(limit)))?;
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
            let name = name.map(DeploymentName::as_str);
            let mut found = statement.query((after, name, as_i64(limit)))?;
            let mut events = Vec::new();
            while let Some(row) = found.next()? {
                events.push(rows::event(row)?);
            }
            Ok(events)
        })
    }
}

fn last_sequence(db: &Connection) -> Result<i64> {
    let mut statement =
        db.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
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

    #[test]
    fn no_page_walks_through_what_it_is_not_of() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let name = Some(DeploymentName::main());
        let operation = Some("an id".to_owned());
        let all = EventFilter::default();
        for (filter, index) in [
            (all.clone(), "INTEGER PRIMARY KEY (rowid>?)"),
            (EventFilter { name, ..all.clone() }, "INDEX events_by_name (name=? AND sequence>?)"),
            (
                EventFilter { operation, ..all },
                "INDEX events_by_operation (operation=? AND sequence>?)",
            ),
        ] {
            let plan = store.read(|db| Ok(rows::plan(db, &page(&filter)))).expect("a plan");
            assert_eq!(plan, [format!("SEARCH events USING {index}")]);
        }
    }

    #[test]
    fn what_is_still_needed_stays_and_so_does_all_after_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        for _ in 0..10 {
            let event = NewEvent::new(EventType::HealthCheck, "x");
            store.append_event(&DeploymentName::main(), &event).expect("appends");
        }
        let prune = |needed, batch| {
            store.write(|tx| prune(tx, "9999", needed, batch)).expect("prunes");
            let history = store.history().expect("reads");
            (history.oldest, history.pruned_to)
        };
        assert_eq!(prune(Some(1), 100), (Some(1), 0));
        assert_eq!(prune(Some(4), 100), (Some(4), 3));
        assert_eq!(prune(Some(4), 100), (Some(4), 3));
        assert_eq!(prune(Some(9), 2), (Some(6), 5), "in batches");
        // The clock was ahead when it was written: it stays until it is old, and nothing passes it.
        let ahead = "UPDATE events SET timestamp = '9999-12-31T00:00:00.000Z' WHERE sequence = 8";
        store.write(|tx| Ok(tx.execute(ahead, [])?)).expect("writes");
        assert_eq!(prune(None, 100), (Some(8), 7));
    }
}
