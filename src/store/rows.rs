//! From rows to the domain's nouns.

use rusqlite::Row;
use serde::de::DeserializeOwned;

use super::{Result, StoreError};
use crate::domain::{
    Deployment, DeploymentName, DeploymentStatus, Event, EventSource, EventType, Operation,
    OperationKind, OperationStatus, StepRecord, StepStatus,
};

pub(super) const DEPLOYMENT: &str =
    "SELECT id, name, status, spec, facts, created_at, updated_at, owner FROM deployments";
pub(super) const OPERATION: &str = "SELECT id, kind, deployment, status, params, epoch, error, created_at, ended_at, prior, \
     given_up, sequence FROM operations";
pub(super) const EVENT: &str =
    "SELECT sequence, id, type, name, operation, message, timestamp, data, source FROM events";

pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn known<T>(what: &str, text: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| StoreError::Corrupt(format!("{what} {text:?}")))
}

fn name(text: &str) -> Result<DeploymentName> {
    DeploymentName::try_from(text.to_owned())
        .map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub(super) fn deployment(row: &Row<'_>) -> Result<Deployment> {
    let status: String = row.get(2)?;
    Ok(Deployment {
        id: row.get(0)?,
        name: name(&row.get::<_, String>(1)?)?,
        status: known("the status", &status, DeploymentStatus::parse(&status))?,
        spec: json(&row.get::<_, String>(3)?)?,
        facts: json(&row.get::<_, String>(4)?)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
        owner: row.get(7)?,
    })
}

/// The operation without its steps.
pub(super) fn operation(row: &Row<'_>) -> Result<Operation> {
    let kind: String = row.get(1)?;
    let status: String = row.get(3)?;
    let error: Option<String> = row.get(6)?;
    Ok(Operation {
        id: row.get(0)?,
        kind: known("the kind", &kind, OperationKind::parse(&kind))?,
        deployment: name(&row.get::<_, String>(2)?)?,
        status: known("the status", &status, OperationStatus::parse(&status))?,
        steps: Vec::new(),
        params: json(&row.get::<_, String>(4)?)?,
        epoch: row.get(5)?,
        error: error.as_deref().map(json).transpose()?,
        created_at: row.get(7)?,
        ended_at: row.get(8)?,
        prior: row
            .get::<_, Option<String>>(9)?
            .map(|prior| known("the status", &prior, DeploymentStatus::parse(&prior)))
            .transpose()?,
        given_up: row.get(10)?,
        sequence: row.get(11)?,
    })
}

pub(super) fn step(row: &Row<'_>) -> Result<StepRecord> {
    let status: String = row.get(1)?;
    Ok(StepRecord {
        name: row.get(0)?,
        status: known("the status", &status, StepStatus::parse(&status))?,
        started_at: row.get(2)?,
        ended_at: row.get(3)?,
        message: row.get(4)?,
        output: json(&row.get::<_, String>(5)?)?,
    })
}

pub(super) fn event(row: &Row<'_>) -> Result<Event> {
    let kind: String = row.get(2)?;
    let source: String = row.get(8)?;
    Ok(Event {
        sequence: row.get(0)?,
        id: row.get(1)?,
        kind: known("the event", &kind, EventType::parse(&kind))?,
        name: name(&row.get::<_, String>(3)?)?,
        operation_id: row.get(4)?,
        message: row.get(5)?,
        timestamp: row.get(6)?,
        data: json(&row.get::<_, String>(7)?)?,
        source: known("the source", &source, EventSource::parse(&source))?,
    })
}

/// Where the names lie that begin so and come after one: from the first text, which is one of
/// them, to the second, which is not. A space comes before whatever a name is made of, and a brace
/// after it.
pub(super) fn name_range(prefix: Option<&str>, after: Option<&str>) -> (String, String) {
    let prefix = prefix.unwrap_or_default();
    let after = after.map(|name| format!("{name} ")).unwrap_or_default();
    (after.max(prefix.to_owned()), format!("{prefix}{{"))
}

/// The steps of the database's plan for a statement.
#[cfg(test)]
pub(super) fn plan(db: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
    let mut found = statement.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = found.next().expect("a plan") {
        plan.push(row.get(3).expect("a step"));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_names_holds_what_begins_so_and_comes_after() {
        let names = ["a", "a-1", "a0", "aa", "ab", "abc", "ac", "b", "z9"];
        let within = |prefix, after| {
            let (from, to) = name_range(prefix, after);
            let within = |name: &&&str| **name >= from.as_str() && **name < to.as_str();
            names.iter().filter(within).copied().collect::<Vec<_>>()
        };
        assert_eq!(within(None, None), names);
        assert_eq!(within(None, Some("a")), names[1..]);
        assert_eq!(within(None, Some("z9")), [""; 0]);
        assert_eq!(within(Some("ab"), None), ["ab", "abc"]);
        assert_eq!(within(Some("ab"), Some("ab")), ["abc"]);
        assert_eq!(within(Some("ab"), Some("a")), ["ab", "abc"]);
        assert_eq!(within(Some("ab"), Some("b")), [""; 0]);
    }
}
