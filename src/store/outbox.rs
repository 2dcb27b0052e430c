//! The outbox at work: what is sent next, and what came of it.
//!
//! Owns the order: of one endpoint and one deployment, the oldest pending delivery is the only one
//! that can be sent. Which deployments are due stands in a table of its own, so that a look costs
//! the same whether ten deliveries wait or a million.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::deliveries::now_ms;
use super::replays;
use super::{Result, Store, StoreError, rows};
use crate::domain::Event;

/// A delivery that is to be sent now.
#[derive(Debug, Clone)]
pub struct Due {
    /// Its id.
    pub id: i64,
    /// The endpoint's number.
    pub endpoint: i64,
    /// The deployment.
    pub name: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was queued, in milliseconds since 1970.
    pub created_ms: i64,
    /// Since when its queue has been failing.
    pub failing_ms: Option<i64>,
    /// The event; `None` when it is not there any more, or cannot be read.
    pub event: Option<Event>,
}

/// What waits for an endpoint.
#[derive(Debug, Default)]
pub struct Waiting {
    /// What is to be sent now.
    pub due: Vec<Due>,
    /// When the next deployment is due that is not due now, in milliseconds since 1970.
    pub next_ms: Option<i64>,
}

/// What became of a delivery that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Delivered,
    /// It is tried again.
    Again {
        /// Then, in milliseconds since 1970.
        next_ms: i64,
        /// Whether the receiver seems to be away altogether.
        away: bool,
        /// Whether nothing at all is sent to the receiver until then.
        held: bool,
    },
    /// It was given up.
    Dead,
    /// The receiver wants nothing any more: its endpoint is disabled, and this stays pending.
    Gone,
}

/// What came of a try.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The delivery.
    pub id: i64,
    /// The endpoint's number.
    pub endpoint: i64,
    /// The deployment.
    pub name: String,
    /// What becomes of it.
    pub fate: Fate,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// Why it did not arrive, without a secret.
    pub error: Option<String>,
}

impl Store {
    /// What waits for an endpoint at a moment: of each deployment that is due the oldest pending
    /// delivery, at most so much, and when the next one is due. Deployments in `busy` are left out:
    /// something of theirs is under way.
    pub fn waiting(
        &self,
        endpoint: i64,
        now_ms: i64,
        busy: &BTreeSet<String>,
        limit: usize,
    ) -> Result<Waiting> {
        self.read(|db| {
            // Most of the time one look answers both: the one after those that are due says when
            // it is. Where more are due than that, the next one is asked for by itself.
            let looked_at = limit.saturating_add(busy.len()).saturating_add(1);
            let looked_at = i64::try_from(looked_at).unwrap_or(i64::MAX);
            let mut queues = db.prepare_cached(
                "SELECT name, failing_ms, next_ms FROM queues WHERE endpoint = ?1 \
                 ORDER BY next_ms LIMIT ?2",
            )?;
            let mut found = queues.query((endpoint, looked_at))?;
            let (mut due, mut seen) = (Vec::new(), 0);
            while let Some(queue) = found.next()? {
                seen += 1;
                let next_ms: i64 = queue.get(2)?;
                if next_ms > now_ms {
                    return Ok(Waiting { due, next_ms: Some(next_ms) });
                }
                let name: String = queue.get(0)?;
                if due.len() < limit && !busy.contains(&name) {
                    due.extend(head(db, endpoint, name, queue.get(1)?)?);
                }
            }
            let next_ms = if seen < looked_at { None } else { next_due(db, endpoint, now_ms)? };
            Ok(Waiting { due, next_ms })
        })
    }

    /// Records what came of tries. The endpoints in `back` answer again: what could not be sent to
    /// them because they were away is due at once. It does not wait for the disk: only a power cut
    /// loses it, and then what arrived is sent once more.
    pub fn record_outcomes(&self, outcomes: &[Outcome], back: &BTreeSet<i64>) -> Result<()> {
        self.write_unsynced(|tx| {
            for outcome in outcomes {
                record(tx, outcome)?;
            }
            for endpoint in back {
                wake(tx, *endpoint, "away = 1")?;
            }
            Ok(())
        })
    }

    /// Makes everything due at once that an endpoint's pauses keep waiting.
    pub fn wake(&self, endpoint: i64) -> Result<()> {
        self.write_unsynced(|tx| wake(tx, endpoint, "true"))
    }

    /// Shortens every pause to a moment, in milliseconds since 1970: a clock that was set back must
    /// not hold anything up.
    pub fn tame_pauses(&self, latest_ms: i64) -> Result<()> {
        let late: bool = self.read(|db| {
            let late = "SELECT EXISTS (SELECT 1 FROM endpoints WHERE held_until_ms > ?1 OR EXISTS \
                        (SELECT 1 FROM queues WHERE endpoint = endpoints.sequence \
                        AND next_ms > ?1))";
            Ok(db.prepare_cached(late)?.query_row([latest_ms], |row| row.get(0))?)
        })?;
        if !late {
            return Ok(());
        }
        self.write_unsynced(|tx| {
            for shorten in [
                "UPDATE queues SET next_ms = ?1 WHERE next_ms > ?1",
                "UPDATE endpoints SET held_until_ms = ?1 WHERE held_until_ms > ?1",
            ] {
                tx.execute(shorten, [latest_ms])?;
            }
            Ok(())
        })
    }

    /// Makes due at once, for every endpoint, what waits because its receiver was away.
    pub fn wake_away(&self) -> Result<()> {
        self.write_unsynced(|tx| {
            let due = "UPDATE queues SET next_ms = ?1 WHERE away = 1 AND next_ms > ?1";
            tx.execute(due, [now_ms()])?;
            Ok(())
        })
    }
}

/// When the next deployment of an endpoint is due that is not due at a moment.
fn next_due(db: &Connection, endpoint: i64, now_ms: i64) -> Result<Option<i64>> {
    let mut next =
        db.prepare_cached("SELECT min(next_ms) FROM queues WHERE endpoint = ?1 AND next_ms > ?2")?;
    Ok(next.query_row((endpoint, now_ms), |row| row.get(0))?)
}

/// The oldest pending delivery of a deployment.
fn head(
    db: &Connection,
    endpoint: i64,
    name: String,
    failing_ms: Option<i64>,
) -> Result<Option<Due>> {
    let mut oldest = db.prepare_cached(
        "SELECT id, event, attempts, created_ms FROM deliveries INDEXED BY deliveries_queue \
         WHERE endpoint = ?1 AND name = ?2 AND status = 'pending' ORDER BY id LIMIT 1",
    )?;
    let found = oldest.query_row((endpoint, &name), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    let Some((id, event, attempts, created_ms)) = found.optional()? else { return Ok(None) };
    let event = one_event(db, event)?;
    Ok(Some(Due { id, endpoint, name, attempts, created_ms, failing_ms, event }))
}

/// An event. One that cannot be read must not stop what comes behind it.
fn one_event(db: &Connection, sequence: i64) -> Result<Option<Event>> {
    let mut statement = db.prepare_cached(&format!("{} WHERE sequence = ?1", rows::EVENT))?;
    let mut found = statement.query([sequence])?;
    match found.next()?.map(rows::event).transpose() {
        Err(StoreError::Corrupt(_)) => Ok(None),
        read => read,
    }
}

fn record(tx: &Transaction<'_>, outcome: &Outcome) -> Result<()> {
    let (status, ended) = match outcome.fate {
        Fate::Delivered => ("delivered", true),
        Fate::Dead => ("dead", true),
        Fate::Again { .. } | Fate::Gone => ("pending", false),
    };
    let row: Option<(i64, String)> = tx
        .prepare_cached(
            "UPDATE deliveries SET status = ?2, attempts = attempts + 1, last_status = ?3, \
             last_error = ?4, ended_ms = ?5 WHERE id = ?1 AND status = 'pending' \
             RETURNING event, replay",
        )?
        .query_row(
            (outcome.id, status, outcome.status, &outcome.error, ended.then(now_ms)),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    // Its endpoint may be gone by now, or its replay cancelled.
    let Some((event, replay)) = row else { return Ok(()) };
    let delivered = outcome.fate == Fate::Delivered;
    let dead = outcome.fate == Fate::Dead;
    tx.prepare_cached(
        "UPDATE endpoints SET pending = pending - ?2, delivered = delivered + ?3, \
         failed = failed + ?4, dead = dead + ?5 WHERE sequence = ?1",
    )?
    .execute((outcome.endpoint, ended, delivered, !delivered, dead))?;
    move_queue(tx, outcome)?;
    if !replay.is_empty() && ended {
        // Whether it arrived after all or was given up again: it has one dead letter at most.
        tx.execute(
            "DELETE FROM deliveries WHERE endpoint = ?1 AND event = ?2 AND status = 'dead' \
             AND id <> ?3",
            (outcome.endpoint, event, outcome.id),
        )?;
        replays::ended(tx, &replay, delivered)?;
    }
    Ok(())
}

/// What is sent next of a deployment, and when.
fn move_queue(tx: &Transaction<'_>, outcome: &Outcome) -> Result<()> {
    let place = (outcome.endpoint, outcome.name.as_str());
    match outcome.fate {
        Fate::Delivered | Fate::Dead => settle_queue(tx, outcome.endpoint, &outcome.name)?,
        Fate::Again { next_ms, away, held } => {
            tx.prepare_cached(
                "UPDATE queues SET next_ms = ?3, failing_ms = coalesce(failing_ms, ?4), away = ?5 \
                 WHERE endpoint = ?1 AND name = ?2",
            )?
            .execute((place.0, place.1, next_ms, now_ms(), away))?;
            if held {
                tx.execute(
                    "UPDATE endpoints SET held_until_ms = ?2 WHERE sequence = ?1",
                    (outcome.endpoint, next_ms),
                )?;
            }
        }
        Fate::Gone => {
            tx.execute(
                "UPDATE endpoints SET status = 'disabled', reason = ?2 \
                 WHERE sequence = ?1 AND status = 'enabled'",
                (outcome.endpoint, &outcome.error),
            )?;
        }
    }
    if outcome.fate == Fate::Delivered {
        tx.prepare_cached(
            "UPDATE queues SET failing_ms = NULL, away = 0 WHERE endpoint = ?1 AND name = ?2",
        )?
        .execute(place)?;
    }
    Ok(())
}

/// Makes a deployment due again if something of it is pending, and forgets it otherwise.
pub(super) fn settle_queue(tx: &Transaction<'_>, endpoint: i64, name: &str) -> Result<()> {
    let more: bool = tx
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_queue \
             WHERE endpoint = ?1 AND name = ?2 AND status = 'pending')",
        )?
        .query_row((endpoint, name), |row| row.get(0))?;
    if more {
        tx.prepare_cached("UPDATE queues SET next_ms = ?3 WHERE endpoint = ?1 AND name = ?2")?
            .execute((endpoint, name, now_ms()))?;
    } else {
        tx.prepare_cached("DELETE FROM queues WHERE endpoint = ?1 AND name = ?2")?
            .execute((endpoint, name))?;
    }
    Ok(())
}

fn wake(tx: &Transaction<'_>, endpoint: i64, condition: &str) -> Result<()> {
    tx.prepare_cached(&format!(
        "UPDATE queues SET next_ms = ?2 WHERE endpoint = ?1 AND next_ms > ?2 AND {condition}"
    ))?
    .execute((endpoint, now_ms()))?;
    Ok(())
}
