//! Replays: sending again what an endpoint was sent, or should have been.
//!
//! A replay is queued bit by bit, each bit in one commit with how far it is: whoever comes after a
//! killed process goes on there, and nothing is queued twice or left out. It never has more than
//! [`WINDOW`] deliveries under way, so that it can be given up at any moment.

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde::Serialize;

use super::audit::AuditRecord;
use super::deliveries::enqueue;
use super::endpoints::{Endpoint, note};
use super::idempotency::{self, Answer, IdempotencyKey};
use super::outbox::settle_queue;
use super::{Result, Store, StoreError, new_id, now, rows};
use crate::domain::{DeploymentName, EventType, Failure};

/// How many deliveries of one replay are pending at most.
const WINDOW: i64 = 500;
/// How many events one commit looks at.
const LOOKED_AT: i64 = 500;
/// How many replays of one endpoint run at once.
const RUNNING_MAX: i64 = 8;

/// What is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// What the endpoint's filter takes.
    All,
    /// What stands in its dead letters.
    Dead,
    /// The one event that was named, whatever the filter.
    Exact,
}

impl Scope {
    const ALL: [Self; 3] = [Self::All, Self::Dead, Self::Exact];

    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Dead => "dead",
            Self::Exact => "exact",
        }
    }
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayStatus {
    /// It is under way.
    Running,
    /// Everything arrived.
    Succeeded,
    /// Something was given up.
    Failed,
    /// It was given up itself.
    Cancelled,
}

impl ReplayStatus {
    const ALL: [Self; 4] = [Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The status as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A request that may be sent again, and what it is answered.
pub type AskedOnce<'a> = (&'a IdempotencyKey, &'a dyn Fn(&Replay) -> Answer);

/// A replay to be.
#[derive(Clone, Copy)]
pub struct NewReplay<'a> {
    /// To this endpoint.
    pub endpoint: &'a Endpoint,
    /// From this event.
    pub from_sequence: i64,
    /// To this one, included.
    pub to_sequence: i64,
    /// Which of them.
    pub scope: Scope,
    /// What the audit log says.
    pub record: Option<&'a AuditRecord>,
    /// The request that it is for, and its answer.
    pub once: Option<AskedOnce<'a>>,
}

/// A replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// Its id.
    pub id: String,
    /// The endpoint's id.
    pub endpoint: String,
    /// The first event that it looks at.
    pub from_sequence: i64,
    /// The last one.
    pub to_sequence: i64,
    /// Which of them it sends.
    pub scope: Scope,
    /// How far it is.
    pub status: ReplayStatus,
    /// The last event that was looked at.
    pub position: i64,
    /// How many deliveries it has made.
    pub queued: i64,
    /// How many of them arrived.
    pub delivered: i64,
    /// How many were given up.
    pub dead: i64,
    /// When it was asked for, RFC 3339 UTC.
    pub created_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
}

const REPLAY: &str = "SELECT id, endpoint_id, from_sequence, to_sequence, scope, status, position, \
                      queued, delivered, dead, created_at, ended_at FROM replays";

fn replay(row: &Row<'_>) -> Result<Replay> {
    let (scope, status): (String, String) = (row.get(4)?, row.get(5)?);
    let corrupt = || StoreError::Corrupt(format!("the replay {scope:?}, {status:?}"));
    Ok(Replay {
        id: row.get(0)?,
        endpoint: row.get(1)?,
        from_sequence: row.get(2)?,
        to_sequence: row.get(3)?,
        scope: Scope::ALL.into_iter().find(|it| it.as_str() == scope).ok_or_else(corrupt)?,
        status: ReplayStatus::ALL
            .into_iter()
            .find(|it| it.as_str() == status)
            .ok_or_else(corrupt)?,
        position: row.get(6)?,
        queued: row.get(7)?,
        delivered: row.get(8)?,
        dead: row.get(9)?,
        created_at: row.get(10)?,
        ended_at: row.get(11)?,
    })
}

fn find(db: &Connection, condition: &str, values: impl rusqlite::Params) -> Result<Vec<Replay>> {
    let mut statement = db.prepare_cached(&format!("{REPLAY} WHERE {condition}"))?;
    let mut found = statement.query(values)?;
    let mut replays = Vec::new();
    while let Some(row) = found.next()? {
        replays.push(replay(row)?);
    }
    Ok(replays)
}

impl Store {
    /// Begins a replay.
    pub fn begin_replay(&self, new: &NewReplay<'_>) -> Result<Replay> {
        let id = new_id();
        self.write(|tx| {
            if let Some((key, _)) = new.once {
                idempotency::claim(tx, key)?;
            }
            may_begin(tx, new)?;
            tx.execute(
                "INSERT INTO replays (id, endpoint, endpoint_id, from_sequence, to_sequence, \
                 scope, status, position, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'running', ?4 - 1, ?7)",
                (
                    &id,
                    new.endpoint.number,
                    &new.endpoint.id,
                    new.from_sequence,
                    new.to_sequence,
                    new.scope.as_str(),
                    now(),
                ),
            )?;
            let corrupt = || StoreError::Corrupt("a replay".into());
            let begun = find(tx, "id = ?1", [&id])?.pop().ok_or_else(corrupt)?;
            if let Some((key, answer)) = new.once {
                idempotency::keep(tx, key, &answer(&begun))?;
            }
            note(tx, new.record, &new.endpoint.id)?;
            Ok(begun)
        })
    }

    /// The place in the order of an event, and its deployment.
    pub fn place_of(&self, event: &str) -> Result<Option<(i64, DeploymentName)>> {
        self.read(|db| {
            let mut found = db.prepare_cached(&format!("{} WHERE id = ?1", rows::EVENT))?;
            let mut found = found.query([event])?;
            let event = found.next()?.map(rows::event).transpose()?;
            Ok(event.map(|it| (it.sequence, it.name)))
        })
    }

    /// The first and the last event that there are.
    pub fn extent(&self) -> Result<Option<(i64, i64)>> {
        self.read(|db| {
            let mut extent = db.prepare_cached(
                "SELECT (SELECT min(sequence) FROM events), (SELECT max(sequence) FROM events)",
            )?;
            let (first, last): (Option<i64>, Option<i64>) =
                extent.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(first.zip(last))
        })
    }

    /// A replay.
    pub fn replay(&self, id: &str) -> Result<Option<Replay>> {
        self.read(|db| Ok(find(db, "id = ?1", [id])?.pop()))
    }

    /// The replays of an endpoint, the newest first.
    pub fn replays(&self, endpoint: &Endpoint, limit: usize) -> Result<Vec<Replay>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let condition = "endpoint = ?1 ORDER BY sequence DESC LIMIT ?2";
        self.read(|db| find(db, condition, (endpoint.number, limit)))
    }

    /// Gives a replay up that is under way: what it has not sent yet is not sent. `None` when there
    /// is no such replay; one that has ended stays as it ended.
    pub fn cancel_replay(
        &self,
        id: &str,
        record: Option<&AuditRecord>,
        once: Option<AskedOnce<'_>>,
    ) -> Result<Option<Replay>> {
        self.write(|tx| {
            if let Some((key, _)) = once {
                idempotency::claim(tx, key)?;
            }
            let running = "SELECT endpoint, from_sequence, to_sequence FROM replays \
                           WHERE id = ?1 AND status = 'running'";
            let found: Option<(i64, i64, i64)> = tx
                .query_row(running, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            if let Some((endpoint, from, to)) = found {
                unqueue(tx, endpoint, (from, to), id)?;
                end(tx, id, ReplayStatus::Cancelled)?;
            }
            let replay = find(tx, "id = ?1", [id])?.pop();
            if let Some(replay) = &replay {
                note(tx, record, id)?;
                if let Some((key, answer)) = once {
                    idempotency::keep(tx, key, &answer(replay))?;
                }
            }
            Ok(replay)
        })
    }

    /// Queues a bit of every replay that is under way and has room; whether there is more to do
    /// now.
    pub fn advance_replays(&self) -> Result<bool> {
        let hungry = "status = 'running' AND position < to_sequence \
                      AND queued - delivered - dead <= ?1 ORDER BY sequence";
        if self.read(|db| find(db, hungry, [WINDOW / 2]))?.is_empty() {
            return Ok(false);
        }
        self.write_unsynced(|tx| {
            let mut more = false;
            for replay in find(tx, hungry, [WINDOW / 2])? {
                more |= advance(tx, &replay)?;
            }
            Ok(more)
        })
    }

    /// Removes a batch of replays that ended long ago; answers how many.
    pub(super) fn prune_replays(&self, before: &str) -> Result<usize> {
        const OLD: &str = "SELECT sequence FROM (SELECT sequence, ended_at FROM replays \
                           ORDER BY sequence LIMIT 500) WHERE ended_at < ?1";
        let due: bool = self.read(|db| {
            let mut old = db.prepare_cached(&format!("SELECT EXISTS ({OLD})"))?;
            Ok(old.query_row([before], |row| row.get(0))?)
        })?;
        if !due {
            return Ok(0);
        }
        self.write_unsynced(|tx| {
            Ok(tx.execute(&format!("DELETE FROM replays WHERE sequence IN ({OLD})"), [before])?)
        })
    }
}

fn may_begin(tx: &Transaction<'_>, new: &NewReplay<'_>) -> Result<()> {
    let running: i64 = tx.query_row(
        "SELECT count(*) FROM replays WHERE endpoint = ?1 AND status = 'running'",
        [new.endpoint.number],
        |row| row.get(0),
    )?;
    if running >= RUNNING_MAX {
        return Err(StoreError::Refused(
            Failure::conflict(format!("{running} replays to this endpoint are under way already"))
                .remedy("wait for one of them to end, or cancel it"),
        ));
    }
    let is_pending: bool = tx.query_row(
        "SELECT EXISTS (SELECT 1 FROM deliveries WHERE endpoint = ?1 AND event = ?2 \
         AND status = 'pending')",
        (new.endpoint.number, new.from_sequence),
        |row| row.get(0),
    )?;
    if new.scope == Scope::Exact && is_pending {
        return Err(StoreError::Refused(
            Failure::conflict("the event is still on its way to this endpoint")
                .remedy("wait until it has arrived or is a dead letter"),
        ));
    }
    Ok(())
}

/// Queues the next bit; whether more can be queued at once.
fn advance(tx: &Transaction<'_>, replay: &Replay) -> Result<bool> {
    let Some(endpoint) = super::endpoints::by_id(tx, &replay.endpoint)? else {
        end(tx, &replay.id, ReplayStatus::Cancelled)?;
        return Ok(false);
    };
    // What is pending anyway is not sent twice.
    let dead = "AND EXISTS (SELECT 1 FROM deliveries AS d WHERE d.endpoint = ?4 \
                AND d.event = e.sequence AND d.status = 'dead')";
    let mut next = tx.prepare_cached(&format!(
        "SELECT e.sequence, e.type, e.name, EXISTS (SELECT 1 FROM deliveries AS p \
         WHERE p.endpoint = ?4 AND p.event = e.sequence AND p.status = 'pending') \
         FROM events AS e WHERE e.sequence > ?1 AND e.sequence <= ?2 {} \
         ORDER BY e.sequence LIMIT ?3",
        if replay.scope == Scope::Dead { dead } else { "" }
    ))?;
    let room = WINDOW - (replay.queued - replay.delivered - replay.dead);
    let mut events =
        next.query((replay.position, replay.to_sequence, LOOKED_AT, endpoint.number))?;
    let (mut queued, mut looked_at, mut position) = (0, 0, replay.position);
    while queued < room
        && let Some(event) = events.next()?
    {
        let (kind, name): (String, String) = (event.get(1)?, event.get(2)?);
        let is_pending: bool = event.get(3)?;
        position = event.get(0)?;
        looked_at += 1;
        let takes =
            replay.scope != Scope::All || endpoint.filter.takes(EventType::parse(&kind), &name);
        if takes && !is_pending {
            queued += i64::from(enqueue(tx, endpoint.number, position, &name, &replay.id)?);
        }
    }
    let is_last = queued < room && looked_at < LOOKED_AT;
    tx.prepare_cached("UPDATE replays SET position = ?2, queued = queued + ?3 WHERE id = ?1")?
        .execute((&replay.id, if is_last { replay.to_sequence } else { position }, queued))?;
    finish(tx, &replay.id)?;
    Ok(!is_last && queued < room)
}

/// Takes note of one of a replay's deliveries that has ended.
pub(super) fn ended(tx: &Transaction<'_>, id: &str, delivered: bool) -> Result<()> {
    tx.prepare_cached(
        "UPDATE replays SET delivered = delivered + ?2, dead = dead + NOT ?2 WHERE id = ?1",
    )?
    .execute((id, delivered))?;
    finish(tx, id)
}

/// Ends a replay of which everything has ended.
fn finish(tx: &Transaction<'_>, id: &str) -> Result<()> {
    tx.prepare_cached(
        "UPDATE replays SET status = CASE WHEN dead > 0 THEN 'failed' ELSE 'succeeded' END, \
         ended_at = ?2 WHERE id = ?1 AND status = 'running' AND position >= to_sequence \
         AND delivered + dead >= queued",
    )?
    .execute((id, now()))?;
    Ok(())
}

fn end(tx: &Transaction<'_>, id: &str, status: ReplayStatus) -> Result<()> {
    tx.execute(
        "UPDATE replays SET status = ?2, ended_at = ?3 WHERE id = ?1",
        (id, status.as_str(), now()),
    )?;
    Ok(())
}

/// Takes what a replay has queued, and was not sent yet, out of the queues.
fn unqueue(tx: &Transaction<'_>, endpoint: i64, range: (i64, i64), id: &str) -> Result<()> {
    let mut delete = tx.prepare_cached(
        "DELETE FROM deliveries WHERE endpoint = ?1 AND event BETWEEN ?2 AND ?3 \
         AND replay = ?4 AND status = 'pending' RETURNING name",
    )?;
    let names: Vec<String> = delete
        .query_map((endpoint, range.0, range.1, id), |row| row.get(0))?
        .collect::<std::result::Result<_, _>>()?;
    let count = i64::try_from(names.len()).unwrap_or(i64::MAX);
    tx.execute(
        "UPDATE endpoints SET pending = pending - ?2 WHERE sequence = ?1",
        (endpoint, count),
    )?;
    for name in std::collections::BTreeSet::from_iter(names) {
        settle_queue(tx, endpoint, &name)?;
    }
    Ok(())
}
