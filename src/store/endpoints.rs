//! Endpoints: where events are sent, and which ones. Their secrets are sealed before they come
//! here.

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde::Serialize;

use super::audit::{self, AuditRecord};
use super::deliveries::now_ms;
use super::idempotency::{self, Answer, IdempotencyKey};
use super::{Result, Store, StoreError, now, rows};
use crate::domain::{EventType, Failure, NamePrefix};

/// How many endpoints there may be: each has its own connections and its own share of memory.
pub const ENDPOINTS_MAX: i64 = 32;
/// How many rows of a removed endpoint go in one commit.
const SWEPT: i64 = 2000;

/// Which events an endpoint is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// These types; `None` for all.
    pub events: Option<Vec<EventType>>,
    /// Those of deployments whose name begins so; `None` for all.
    pub names: Option<Vec<NamePrefix>>,
}

impl Filter {
    /// Whether an event passes. A type that is unknown passes where every type does.
    pub fn takes(&self, kind: Option<EventType>, name: &str) -> bool {
        let of_type =
            self.events.as_ref().is_none_or(|list| kind.is_some_and(|kind| list.contains(&kind)));
        let named = |list: &Vec<NamePrefix>| list.iter().any(|it| name.starts_with(it.as_str()));
        of_type && self.names.as_ref().is_none_or(named)
    }
}

/// Whether an endpoint is sent anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointStatus {
    /// It is.
    Enabled,
    /// What comes for it is kept until it is enabled again.
    Disabled,
}

/// The sealed secrets of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecrets {
    /// The one in force.
    pub current: Vec<u8>,
    /// The one before, and until when it signs as well, in milliseconds since 1970.
    pub before: Option<(Vec<u8>, i64)>,
}

/// Where events are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its number in this store.
    #[serde(skip)]
    pub number: i64,
    /// Its id.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// What it is sent.
    #[serde(flatten)]
    pub filter: Filter,
    /// Whether it is sent anything.
    pub status: EndpointStatus,
    /// Why not.
    pub reason: Option<String>,
    /// Whether it is the operator's own, which `FRONTEND_URL` names.
    pub is_frontend: bool,
    /// Who made it; `None` is the operator.
    pub owner: Option<String>,
    /// When, RFC 3339 UTC.
    pub created_at: String,
    /// Its secrets.
    #[serde(skip)]
    pub secrets: SealedSecrets,
    /// Since when it is enabled, in milliseconds since 1970.
    #[serde(skip)]
    pub enabled_ms: i64,
    /// Until when it asked to be left alone.
    #[serde(skip)]
    pub held_until_ms: Option<i64>,
    /// The last event that has its deliveries.
    #[serde(skip)]
    pub position: i64,
}

/// An endpoint to be.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    /// Its id, which its secret is sealed for.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// What it is sent.
    pub filter: Filter,
    /// Whether it is the one that `FRONTEND_URL` names. That one is told of everything that ever
    /// happened; any other begins with what happens next.
    pub is_frontend: bool,
    /// Who makes it.
    pub owner: Option<String>,
    /// Its sealed secret.
    pub secret: Vec<u8>,
}

/// What is changed of an endpoint; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct EndpointChange {
    /// Where it is.
    pub url: Option<String>,
    /// The types that it is sent.
    pub events: Option<Option<Vec<EventType>>>,
    /// What the names begin with that it is told of.
    pub names: Option<Option<Vec<NamePrefix>>>,
}

const ENDPOINT: &str = "SELECT sequence, id, url, events, names, status, reason, is_frontend, \
                        owner, created_at, secret, old_secret, old_until_ms, enabled_ms, \
                        held_until_ms, position FROM endpoints WHERE status <> 'removed'";

fn endpoint(row: &Row<'_>) -> Result<Endpoint> {
    let list: Option<String> = row.get(3)?;
    let names: Option<String> = row.get(4)?;
    let filter = Filter {
        events: list.as_deref().map(rows::json).transpose()?,
        names: names.as_deref().map(rows::json).transpose()?,
    };
    let before: Option<Vec<u8>> = row.get(11)?;
    let until: Option<i64> = row.get(12)?;
    let status: String = row.get(5)?;
    Ok(Endpoint {
        number: row.get(0)?,
        id: row.get(1)?,
        url: row.get(2)?,
        filter,
        status: match status.as_str() {
            "enabled" => EndpointStatus::Enabled,
            "disabled" => EndpointStatus::Disabled,
            other => return Err(StoreError::Corrupt(format!("the endpoint status {other:?}"))),
        },
        reason: row.get(6)?,
        is_frontend: row.get(7)?,
        owner: row.get(8)?,
        created_at: row.get(9)?,
        secrets: SealedSecrets { current: row.get(10)?, before: before.zip(until) },
        enabled_ms: row.get(13)?,
        held_until_ms: row.get(14)?,
        position: row.get(15)?,
    })
}

fn find(db: &Connection, condition: &str, values: impl rusqlite::Params) -> Result<Vec<Endpoint>> {
    let mut statement =
        db.prepare_cached(&format!("{ENDPOINT} AND {condition} ORDER BY sequence"))?;
    let mut found = statement.query(values)?;
    let mut endpoints = Vec::new();
    while let Some(row) = found.next()? {
        endpoints.push(endpoint(row)?);
    }
    Ok(endpoints)
}

pub(super) fn by_id(db: &Connection, id: &str) -> Result<Option<Endpoint>> {
    Ok(find(db, "id = ?1", [id])?.pop())
}

/// The endpoints that do not have everything yet that has happened; of one when named.
pub(super) fn behind(db: &Connection, only: Option<i64>) -> Result<Vec<Endpoint>> {
    let condition = "position < (SELECT coalesce(max(sequence), 0) FROM events) \
                     AND (?1 IS NULL OR sequence = ?1)";
    find(db, condition, [only])
}

impl Store {
    /// Records an endpoint; with a record, the audit log says it. A request that was sent before
    /// is answered with what it made.
    pub fn put_endpoint(
        &self,
        new: &NewEndpoint,
        record: Option<&AuditRecord>,
        key: Option<&IdempotencyKey>,
    ) -> Result<Endpoint> {
        self.write(|tx| {
            if let Some(key) = key {
                idempotency::claim(tx, key)?;
                idempotency::keep(tx, key, &Answer::shown_once(201, &new.id))?;
            }
            let there: i64 = tx.query_row(
                "SELECT count(*) FROM endpoints WHERE status <> 'removed'",
                [],
                |row| row.get(0),
            )?;
            if there >= ENDPOINTS_MAX {
                return Err(StoreError::Refused(
                    Failure::conflict(format!("there are {ENDPOINTS_MAX} endpoints already"))
                        .remedy("remove one first: openclaw-pipeline webhooks list shows them"),
                ));
            }
            tx.execute(
                "INSERT INTO endpoints (id, url, events, names, status, is_frontend, owner, \
                 secret, position, enabled_ms, created_at) \
                 VALUES (?1, ?2, ?3, ?4, 'enabled', ?5, ?6, ?7, CASE WHEN ?5 THEN 0 ELSE \
                 coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) END, ?8, ?9)",
                (
                    &new.id,
                    &new.url,
                    new.filter.events.as_ref().map(rows::to_json).transpose()?,
                    new.filter.names.as_ref().map(rows::to_json).transpose()?,
                    new.is_frontend,
                    &new.owner,
                    &new.secret,
                    now_ms(),
                    now(),
                ),
            )?;
            note(tx, record, &new.id)?;
            by_id(tx, &new.id)?.ok_or_else(|| StoreError::Corrupt("a new endpoint".into()))
        })
    }

    /// Every endpoint, the oldest first.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>> {
        self.read(|db| find(db, "true", []))
    }

    /// The endpoint with this id.
    pub fn endpoint(&self, id: &str) -> Result<Option<Endpoint>> {
        self.read(|db| by_id(db, id))
    }

    /// The endpoint that `FRONTEND_URL` names.
    pub fn frontend(&self) -> Result<Option<Endpoint>> {
        self.read(|db| Ok(find(db, "is_frontend = 1", [])?.pop()))
    }

    /// Changes an endpoint; `None` when there is none. What is pending stays pending, and where
    /// it goes somewhere else now, it is tried at once.
    pub fn change_endpoint(
        &self,
        id: &str,
        change: &EndpointChange,
        record: Option<&AuditRecord>,
    ) -> Result<Option<Endpoint>> {
        self.write(|tx| {
            let Some(known) = by_id(tx, id)? else { return Ok(None) };
            let url = change.url.as_ref().unwrap_or(&known.url);
            let events = change.events.as_ref().unwrap_or(&known.filter.events);
            let names = change.names.as_ref().unwrap_or(&known.filter.names);
            tx.execute(
                "UPDATE endpoints SET url = ?2, events = ?3, names = ?4 WHERE sequence = ?1",
                (
                    known.number,
                    url,
                    events.as_ref().map(rows::to_json).transpose()?,
                    names.as_ref().map(rows::to_json).transpose()?,
                ),
            )?;
            if *url != known.url {
                begin_anew(tx, known.number)?;
            }
            note(tx, record, id)?;
            by_id(tx, id)
        })
    }

    /// Sends an endpoint what waits for it from now on; `false` when there is no such endpoint.
    pub fn enable_endpoint(&self, id: &str, record: Option<&AuditRecord>) -> Result<bool> {
        self.write(|tx| {
            let Some(known) = by_id(tx, id)? else { return Ok(false) };
            tx.execute(
                "UPDATE endpoints SET status = 'enabled', reason = NULL, enabled_ms = ?2 \
                 WHERE sequence = ?1",
                (known.number, now_ms()),
            )?;
            begin_anew(tx, known.number)?;
            note(tx, record, id)?;
            Ok(true)
        })
    }

    /// Keeps what comes for an endpoint until it is enabled; `false` when there is none.
    pub fn disable_endpoint(
        &self,
        id: &str,
        reason: &str,
        record: Option<&AuditRecord>,
    ) -> Result<bool> {
        self.write(|tx| {
            let changed = tx.execute(
                "UPDATE endpoints SET status = 'disabled', reason = ?2 \
                 WHERE id = ?1 AND status <> 'removed'",
                (id, reason),
            )?;
            if changed == 1 {
                note(tx, record, id)?;
            }
            Ok(changed == 1)
        })
    }

    /// Puts a sealed secret in force; the one in force signs as well until a moment. `false` when
    /// there is no such endpoint.
    pub fn rotate_endpoint(
        &self,
        id: &str,
        secret: &[u8],
        until_ms: i64,
        record: Option<&AuditRecord>,
        key: Option<&IdempotencyKey>,
    ) -> Result<bool> {
        self.write(|tx| {
            if let Some(key) = key {
                idempotency::claim(tx, key)?;
                idempotency::keep(tx, key, &Answer::shown_once(200, id))?;
            }
            let changed = tx.execute(
                "UPDATE endpoints SET old_secret = secret, old_until_ms = ?3, secret = ?2 \
                 WHERE id = ?1 AND status <> 'removed'",
                (id, secret, until_ms),
            )?;
            if changed == 1 {
                note(tx, record, id)?;
            }
            Ok(changed == 1)
        })
    }

    /// Removes an endpoint with everything that is pending for it; `false` when there is none. It
    /// is gone at once; its rows go in batches, by [`Store::sweep_endpoints`].
    pub fn remove_endpoint(&self, id: &str, record: Option<&AuditRecord>) -> Result<bool> {
        self.write(|tx| {
            let Some(known) = by_id(tx, id)? else { return Ok(false) };
            tx.execute(
                "UPDATE endpoints SET status = 'removed', is_frontend = 0, secret = x'', \
                 old_secret = NULL WHERE sequence = ?1",
                [known.number],
            )?;
            tx.execute(
                "UPDATE replays SET status = 'cancelled', ended_at = ?2 \
                 WHERE endpoint = ?1 AND status = 'running'",
                (known.number, now()),
            )?;
            note(tx, record, id)?;
            Ok(true)
        })
    }

    /// Removes a batch of what a removed endpoint has left; whether there may be more.
    pub fn sweep_endpoints(&self) -> Result<bool> {
        let number: Option<i64> = self.read(|db| {
            let mut removed =
                db.prepare_cached("SELECT sequence FROM endpoints WHERE status = 'removed'")?;
            Ok(removed.query_row([], |row| row.get(0)).optional()?)
        })?;
        let Some(number) = number else { return Ok(false) };
        self.write_unsynced(|tx| {
            let swept = tx.execute(
                "DELETE FROM deliveries WHERE id IN \
                 (SELECT id FROM deliveries WHERE endpoint = ?1 LIMIT ?2)",
                (number, SWEPT),
            )?;
            let rest = tx.execute(
                "DELETE FROM queues WHERE endpoint = ?1 AND name IN \
                 (SELECT name FROM queues WHERE endpoint = ?1 LIMIT ?2)",
                (number, SWEPT),
            )?;
            if swept + rest == 0 {
                tx.execute("DELETE FROM endpoints WHERE sequence = ?1", [number])?;
            }
            Ok(true)
        })
    }
}

/// Has the audit log say what was done with an endpoint.
pub(super) fn note(tx: &Transaction<'_>, record: Option<&AuditRecord>, id: &str) -> Result<()> {
    record.map_or(Ok(()), |record| audit::append(tx, &record.clone().about(id)))
}

/// Forgets every pause: what kept the receiver away need not hold any more.
fn begin_anew(tx: &Transaction<'_>, number: i64) -> Result<()> {
    tx.execute("UPDATE endpoints SET held_until_ms = NULL WHERE sequence = ?1", [number])?;
    tx.execute(
        "UPDATE queues SET next_ms = ?2, failing_ms = NULL WHERE endpoint = ?1",
        (number, now_ms()),
    )?;
    Ok(())
}
