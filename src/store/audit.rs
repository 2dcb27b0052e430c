//! Who did what, and who was not let.
//!
//! Owns the audit log's rows. What a client wrote is cleaned and bounded before it is here.
//! Refuses to grow with what anybody on the network can cause: denials that are alike are one row
//! a minute, and of denials only the newest are kept.

use rusqlite::{Connection, Row, Transaction};
use serde::{Deserialize, Serialize};

use super::{Along, Result, Store, StoreError, now};
use crate::domain::{Failure, Operation, Principal, text};

/// How many denials are kept, however old. A flood makes at most one row a minute for each of a
/// bounded number of addresses; this is about a day of that.
pub const DENIALS_MAX: i64 = 100_000;
/// How many records are kept at all.
pub const RECORDS_MAX: i64 = 1_000_000;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// It was let, and done or begun.
    Allowed,
    /// It was not let.
    Denied,
    /// It was let, and could not be done.
    Failed,
}

impl AuditOutcome {
    /// The outcome as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for AuditOutcome {
    type Err = Failure;

    fn from_str(given: &str) -> std::result::Result<Self, Failure> {
        let all = [Self::Allowed, Self::Denied, Self::Failed];
        all.into_iter().find(|outcome| outcome.as_str() == given).ok_or_else(|| {
            Failure::bad_input(format!(
                "an outcome is allowed, denied or failed; {:?} is none of them",
                text::clean(given, 40)
            ))
        })
    }
}

/// One record of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// Its place in the log; set by the store.
    pub sequence: i64,
    /// When, RFC 3339 UTC; set by the store.
    pub at: String,
    /// Who: the id of a principal, empty where nobody showed who they are.
    pub actor: String,
    /// What people call them.
    pub actor_label: String,
    /// Where they came from.
    pub address: String,
    /// What they asked for, such as `deployments.launch`.
    pub action: String,
    /// Of which deployment, or what else it was about.
    pub name: Option<String>,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The status of the answer; 0 for a command.
    pub status: u16,
    /// The id of the request.
    pub request_id: String,
    /// Why, or what more there is to know.
    pub detail: String,
    /// How often: denials that are alike are one record a minute.
    pub times: u32,
}

impl AuditRecord {
    /// What somebody was let do.
    pub fn of(principal: &Principal, action: &str) -> Self {
        Self { actor_label: principal.label.clone(), ..Self::new(&principal.id, action) }
    }

    /// What nobody in particular asked for.
    pub fn of_nobody(action: &str) -> Self {
        Self::new("", action)
    }

    fn new(actor: &str, action: &str) -> Self {
        Self {
            sequence: 0,
            at: String::new(),
            actor: actor.to_owned(),
            actor_label: String::new(),
            address: String::new(),
            action: action.to_owned(),
            name: None,
            outcome: AuditOutcome::Allowed,
            status: 0,
            request_id: String::new(),
            detail: String::new(),
            times: 1,
        }
    }

    /// Says where it came from.
    pub fn from_address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Says what it was about.
    pub fn about(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Says how it ended.
    pub fn ended(mut self, outcome: AuditOutcome, status: u16) -> Self {
        self.outcome = outcome;
        self.status = status;
        self
    }

    /// Says in which request.
    pub fn in_request(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = request_id.into();
        self
    }

    /// Says why, or more.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The same with what others wrote cleaned and bounded.
    fn cleaned(&self) -> Self {
        Self {
            actor: text::clean(&self.actor, 60),
            actor_label: text::clean(&self.actor_label, 80),
            address: text::clean(&self.address, 60),
            action: text::clean(&self.action, 60),
            name: self.name.as_deref().map(|name| text::clean(name, 60)),
            request_id: text::clean(&self.request_id, 60),
            detail: text::clean(&self.detail, 300),
            ..self.clone()
        }
    }
}

/// What of the log is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter<'a> {
    /// Of this principal.
    pub actor: Option<&'a str>,
    /// About this deployment.
    pub name: Option<&'a str>,
    /// That ended so.
    pub outcome: Option<AuditOutcome>,
    /// Before this place.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

impl Store {
    /// Records what was done or not let, in a commit of its own.
    pub fn append_audit(&self, record: &AuditRecord) -> Result<()> {
        self.write(|tx| append(tx, record))
    }

    /// Does the same in a commit that it shares with whoever else waits for one.
    pub async fn append_audit_async(&self, record: AuditRecord) -> Result<()> {
        self.write_grouped(move |tx| append(tx, &record)).await
    }

    /// Records many that nobody waits for; those with the same key are one record, which counts
    /// them. A power cut may lose the last ones.
    pub fn append_denials(&self, denials: &[(String, AuditRecord)]) -> Result<()> {
        if denials.is_empty() {
            return Ok(());
        }
        self.write_unsynced(|tx| {
            for (alike, record) in denials {
                insert(tx, record, Some(alike))?;
            }
            Ok(())
        })
    }

    /// The log, newest first, and the place to go on from where there is more.
    pub fn audit(&self, filter: &AuditFilter<'_>) -> Result<(Vec<AuditRecord>, Option<i64>)> {
        // Only what is asked for stands in the statement, so that its index is used.
        let conditions = [
            (filter.actor.is_some(), " AND actor = ?2"),
            (filter.name.is_some(), " AND name = ?3"),
            (filter.outcome.is_some(), " AND outcome = ?4"),
        ];
        let wanted = conditions.iter().filter(|(asked, _)| *asked).map(|(_, text)| *text);
        let statement = format!(
            "SELECT {COLUMNS}, times, sequence FROM audit WHERE sequence < ?1 \
             AND (?2 IS NULL OR TRUE) AND (?3 IS NULL OR TRUE) AND (?4 IS NULL OR TRUE){} \
             ORDER BY sequence DESC LIMIT ?5",
            wanted.collect::<String>()
        );
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        self.read(|db| {
            let mut statement = db.prepare_cached(&statement)?;
            let mut found = statement.query((
                filter.before.unwrap_or(i64::MAX),
                filter.actor,
                filter.name,
                filter.outcome.map(AuditOutcome::as_str),
                limit.saturating_add(1),
            ))?;
            let mut records = Vec::new();
            while let Some(row) = found.next()? {
                records.push(read(row)?);
            }
            let places: Vec<i64> = records.iter().map(|record| record.sequence).collect();
            Ok(super::access::page(records, &places, limit))
        })
    }
}

const COLUMNS: &str = "at, actor, actor_label, address, action, name, outcome, status, \
                       request_id, detail";

fn read(row: &Row<'_>) -> Result<AuditRecord> {
    let outcome: String = row.get(6)?;
    Ok(AuditRecord {
        at: row.get(0)?,
        actor: row.get(1)?,
        actor_label: row.get(2)?,
        address: row.get(3)?,
        action: row.get(4)?,
        name: row.get(5)?,
        outcome: outcome.parse().map_err(|_| StoreError::Corrupt("an outcome".into()))?,
        status: row.get(7)?,
        request_id: row.get(8)?,
        detail: row.get(9)?,
        times: row.get(10)?,
        sequence: row.get(11)?,
    })
}

/// A record that comes along with the operation that it tells of.
impl Along for AuditRecord {
    fn write(&self, tx: &Transaction<'_>, begun: &Operation) -> Result<()> {
        let mut record = self.clone().about(begun.deployment.as_str());
        record.detail = format!("operation {}", begun.id);
        append(tx, &record)
    }
}

/// Records what was done or not let, in the transaction that does it.
pub(super) fn append(tx: &Transaction<'_>, record: &AuditRecord) -> Result<()> {
    insert(tx, record, None)
}

fn insert(tx: &Transaction<'_>, record: &AuditRecord, alike: Option<&str>) -> Result<()> {
    let record = record.cleaned();
    tx.prepare_cached(&format!(
        "INSERT INTO audit ({COLUMNS}, times, alike) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
         ON CONFLICT (alike) DO UPDATE SET times = min(times + excluded.times, 4294967295)"
    ))?
    .execute((
        now(),
        &record.actor,
        &record.actor_label,
        &record.address,
        &record.action,
        &record.name,
        record.outcome.as_str(),
        record.status,
        &record.request_id,
        &record.detail,
        record.times,
        alike,
    ))?;
    Ok(())
}

/// How many denials there are, as far as it matters, by their index alone.
const DENIALS: &str =
    "SELECT count(*) FROM (SELECT 1 FROM audit WHERE outcome = 'denied' LIMIT ?1)";
/// How many records there may be: sequence numbers are given once.
const RECORDS: &str = "SELECT coalesce(max(sequence) - min(sequence) + 1, 0) FROM audit";

/// How many denials and how many records there are beyond those that are kept.
fn surplus(db: &Connection, batch: i64) -> Result<(i64, i64)> {
    let denials: i64 = db
        .prepare_cached(DENIALS)?
        .query_row([DENIALS_MAX.saturating_add(batch)], |row| row.get(0))?;
    let records: i64 = db.prepare_cached(RECORDS)?.query_row([], |row| row.get(0))?;
    Ok(((denials - DENIALS_MAX).max(0), (records - RECORDS_MAX).clamp(0, batch)))
}

/// Whether there are more than are kept.
pub(super) fn has_too_many(db: &Connection) -> Result<bool> {
    Ok(surplus(db, 1)? != (0, 0))
}

/// Removes a batch of those beyond what is kept, oldest first; answers how many.
pub(super) fn prune_surplus(tx: &Transaction<'_>, batch: i64) -> Result<usize> {
    let (denials, records) = surplus(tx, batch)?;
    let mut removed = tx
        .prepare_cached(
            "DELETE FROM audit WHERE sequence IN (SELECT sequence FROM audit \
             WHERE outcome = 'denied' ORDER BY sequence LIMIT ?1)",
        )?
        .execute([denials])?;
    removed += tx
        .prepare_cached(
            "DELETE FROM audit WHERE sequence < (SELECT min(sequence) FROM audit) + ?1",
        )?
        .execute([records])?;
    Ok(removed)
}
