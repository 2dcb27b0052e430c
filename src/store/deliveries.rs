//! Deliveries: one event for one endpoint, from the outbox to its end, and how long it is kept.

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde::Serialize;
use time::OffsetDateTime;

use super::endpoints::{Endpoint, behind};
use super::{Result, Store, StoreError, format_time};
use crate::domain::EventType;

/// How many events one commit fans out to one endpoint: a bound on how long others wait for it.
const FANNED: i64 = 250;
/// How long a delivery that arrived is listed, in days.
pub const DELIVERED_DAYS: i64 = 7;
/// How long a dead letter is kept, in days.
pub const DEAD_DAYS: i64 = 30;
/// How many rows one call removes.
const PRUNED: i64 = 500;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Now, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// A moment in milliseconds since 1970, as RFC 3339 UTC.
pub fn time_of(ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    format_time(at.unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// It is yet to arrive.
    Pending,
    /// It arrived.
    Delivered,
    /// It was given up.
    Dead,
}

impl DeliveryStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Dead];

    /// The status as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// The status that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A delivery as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Its id.
    pub id: String,
    /// The endpoint's id.
    pub endpoint: String,
    /// The event's id.
    pub event_id: String,
    /// The event's place in the order.
    pub sequence: i64,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The deployment.
    pub name: String,
    /// How far it is.
    pub status: DeliveryStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, if it is the next one of its deployment.
    pub next_attempt_at: Option<String>,
    /// What the receiver answered last.
    pub last_status: Option<u16>,
    /// Why it did not arrive.
    pub last_error: Option<String>,
    /// When it was queued, RFC 3339 UTC.
    pub created_at: String,
    /// When it arrived or was given up.
    pub ended_at: Option<String>,
    /// The replay that it belongs to.
    pub replay: Option<String>,
}

/// What is to be said of an endpoint's deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// How many are pending.
    pub pending: i64,
    /// Since when the oldest of them waits, in milliseconds since 1970.
    #[serde(skip)]
    pub oldest_pending_ms: Option<i64>,
    /// How many dead letters there are.
    pub dead: i64,
    /// How many arrived, ever.
    pub delivered_total: i64,
    /// How many tries failed, ever.
    pub failed_total: i64,
    /// How many were given up, ever.
    pub dead_total: i64,
}

const DELIVERY: &str = "SELECT d.id, p.id, e.id, e.sequence, e.type, d.name, d.status, d.attempts, \
     CASE WHEN d.status = 'pending' AND d.id = (SELECT h.id FROM deliveries AS h \
     INDEXED BY deliveries_queue WHERE h.endpoint = d.endpoint AND h.name = d.name \
     AND h.status = 'pending' ORDER BY h.id LIMIT 1) THEN q.next_ms END, \
     d.last_status, d.last_error, d.created_ms, d.ended_ms, d.replay \
     FROM deliveries AS d JOIN endpoints AS p ON p.sequence = d.endpoint \
     JOIN events AS e ON e.sequence = d.event \
     LEFT JOIN queues AS q ON q.endpoint = d.endpoint AND q.name = d.name";

fn delivery(row: &Row<'_>) -> Result<Delivery> {
    let status: String = row.get(6)?;
    let replay: String = row.get(13)?;
    Ok(Delivery {
        id: row.get::<_, i64>(0)?.to_string(),
        endpoint: row.get(1)?,
        event_id: row.get(2)?,
        sequence: row.get(3)?,
        kind: row.get(4)?,
        name: row.get(5)?,
        status: DeliveryStatus::parse(&status)
            .ok_or_else(|| StoreError::Corrupt(format!("the delivery status {status:?}")))?,
        attempts: row.get(7)?,
        next_attempt_at: row.get::<_, Option<i64>>(8)?.map(time_of),
        last_status: row.get(9)?,
        last_error: row.get(10)?,
        created_at: time_of(row.get(11)?),
        ended_at: row.get::<_, Option<i64>>(12)?.map(time_of),
        replay: Some(replay).filter(|it| !it.is_empty()),
    })
}

impl Store {
    /// Gives a batch of events that have happened since to the endpoints that take them; to one
    /// when named. Answers whether there were any. It does not wait for the disk: what a power cut
    /// takes is derived again from the events.
    pub fn fan_out(&self, only: Option<i64>) -> Result<bool> {
        if self.read(|db| behind(db, only))?.is_empty() {
            return Ok(false);
        }
        self.write_unsynced(|tx| {
            for endpoint in behind(tx, only)? {
                fan_out_to(tx, &endpoint)?;
            }
            Ok(true)
        })
    }

    /// The deliveries of an endpoint, the newest first: those before an id, of one status when
    /// named.
    pub fn deliveries(
        &self,
        endpoint: &Endpoint,
        status: Option<DeliveryStatus>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Delivery>> {
        let statuses = status.map_or(DeliveryStatus::ALL.to_vec(), |it| vec![it]);
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{DELIVERY} WHERE d.endpoint = ?1 AND d.status = ?2 AND d.id < ?3 \
                 ORDER BY d.id DESC LIMIT ?4"
            ))?;
            let limited = i64::try_from(limit).unwrap_or(i64::MAX);
            let before = before.unwrap_or(i64::MAX);
            let mut all = Vec::new();
            // One status after the other: each of them stands in an index in this order.
            for status in statuses {
                let mut rows =
                    statement.query((endpoint.number, status.as_str(), before, limited))?;
                while let Some(row) = rows.next()? {
                    all.push((row.get::<_, i64>(0)?, delivery(row)?));
                }
            }
            all.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
            Ok(all.into_iter().map(|(_, it)| it).take(limit).collect())
        })
    }

    /// A delivery of an endpoint.
    pub fn delivery(&self, endpoint: &Endpoint, id: &str) -> Result<Option<Delivery>> {
        let Ok(id) = id.parse::<i64>() else { return Ok(None) };
        self.read(|db| {
            let mut statement =
                db.prepare_cached(&format!("{DELIVERY} WHERE d.endpoint = ?1 AND d.id = ?2"))?;
            let mut rows = statement.query((endpoint.number, id))?;
            rows.next()?.map(delivery).transpose()
        })
    }

    /// What is to be said of an endpoint's deliveries.
    pub fn counts(&self, endpoint: &Endpoint) -> Result<Counts> {
        self.read(|db| {
            let mut of = db.prepare_cached(
                "SELECT pending, delivered, failed, dead, \
                 (SELECT created_ms FROM deliveries WHERE endpoint = ?1 AND status = 'pending' \
                 ORDER BY id LIMIT 1), \
                 (SELECT count(*) FROM deliveries WHERE endpoint = ?1 AND status = 'dead') \
                 FROM endpoints WHERE sequence = ?1",
            )?;
            let counts = of.query_row([endpoint.number], |row| {
                Ok(Counts {
                    pending: row.get(0)?,
                    delivered_total: row.get(1)?,
                    failed_total: row.get(2)?,
                    dead_total: row.get(3)?,
                    oldest_pending_ms: row.get(4)?,
                    dead: row.get(5)?,
                })
            });
            Ok(counts.optional()?.unwrap_or_default())
        })
    }

    /// Removes a batch of deliveries that are listed no longer; answers how many. What is pending
    /// stays, however old it is.
    pub fn prune_deliveries(&self) -> Result<usize> {
        self.prune_deliveries_at(now_ms())
    }

    fn prune_deliveries_at(&self, now_ms: i64) -> Result<usize> {
        // Those of one status end in about the order of their ids. One that ended late keeps the
        // ones behind it a while longer, and no index has to be kept for that.
        const OLD: &str = "SELECT id FROM (SELECT id, ended_ms FROM deliveries \
                           WHERE endpoint = ?1 AND status = ?2 ORDER BY id LIMIT ?4) \
                           WHERE ended_ms < ?3";
        let kept = [(DeliveryStatus::Delivered, DELIVERED_DAYS), (DeliveryStatus::Dead, DEAD_DAYS)];
        let mut removed = self.prune_replays(&time_of(now_ms - DEAD_DAYS * DAY_MS))?;
        for endpoint in self.endpoints()? {
            for (status, days) in kept {
                let before = now_ms - days * DAY_MS;
                let values = (endpoint.number, status.as_str(), before, PRUNED);
                let due: bool = self.read(|db| {
                    let mut old = db.prepare_cached(&format!("SELECT EXISTS ({OLD})"))?;
                    Ok(old.query_row(values, |row| row.get(0))?)
                })?;
                if due {
                    removed += self.write_unsynced(|tx| {
                        let delete = format!("DELETE FROM deliveries WHERE id IN ({OLD})");
                        Ok(tx.execute(&delete, values)?)
                    })?;
                }
            }
        }
        Ok(removed)
    }
}

fn fan_out_to(tx: &Transaction<'_>, endpoint: &Endpoint) -> Result<()> {
    let mut next = tx.prepare_cached(
        "SELECT sequence, type, name FROM events WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let mut events = next.query((endpoint.position, FANNED))?;
    let mut position = endpoint.position;
    while let Some(event) = events.next()? {
        let (kind, name): (String, String) = (event.get(1)?, event.get(2)?);
        position = event.get(0)?;
        if endpoint.filter.takes(EventType::parse(&kind), &name) {
            enqueue(tx, endpoint.number, position, &name, "")?;
        }
    }
    tx.prepare_cached("UPDATE endpoints SET position = ?2 WHERE sequence = ?1")?
        .execute((endpoint.number, position))?;
    Ok(())
}

/// Queues an event behind what is pending of its deployment; `false` when it was queued before.
pub(super) fn enqueue(
    tx: &Transaction<'_>,
    endpoint: i64,
    event: i64,
    name: &str,
    replay: &str,
) -> Result<bool> {
    let now_ms = now_ms();
    let queued = tx
        .prepare_cached(
            "INSERT INTO deliveries (endpoint, event, replay, name, status, created_ms) \
             VALUES (?1, ?2, ?3, ?4, 'pending', ?5) ON CONFLICT DO NOTHING",
        )?
        .execute((endpoint, event, replay, name, now_ms))?;
    if queued == 1 {
        tx.prepare_cached(
            "INSERT INTO queues (endpoint, name, next_ms) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO NOTHING",
        )?
        .execute((endpoint, name, now_ms))?;
        tx.prepare_cached("UPDATE endpoints SET pending = pending + 1 WHERE sequence = ?1")?
            .execute([endpoint])?;
    }
    Ok(queued == 1)
}

/// The oldest event that an endpoint, a delivery or a replay may still need: events from there on
/// are kept, whatever their age. `None` when there are no endpoints.
pub(super) fn oldest_needed(db: &Connection) -> Result<Option<i64>> {
    let mut oldest = db.prepare_cached(
        "SELECT min(needed) FROM (\
         SELECT position + 1 AS needed FROM endpoints WHERE status <> 'removed' UNION ALL \
         SELECT (SELECT min(event) FROM deliveries WHERE endpoint = endpoints.sequence) \
         FROM endpoints WHERE status <> 'removed' UNION ALL \
         SELECT position + 1 FROM replays WHERE status = 'running')",
    )?;
    Ok(oldest.query_row([], |row| row.get(0))?)
}

#[cfg(test)]
#[path = "deliveries_tests.rs"]
mod tests;
