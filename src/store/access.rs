//! What the tables of access have in common: when a server's memory of them is out of date, how
//! they are listed, and what of them grows old.

use rusqlite::{Connection, Transaction};
use time::{Duration, OffsetDateTime};

use super::{Result, Store, audit, format_time, idempotency};

impl Store {
    /// A number that is another one once a right was taken away, by whichever process: a token
    /// was revoked or changed, or a session ended.
    pub fn access_generation(&self) -> Result<i64> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT generation FROM access_generation LIMIT 1")?;
            Ok(statement.query_row([], |row| row.get(0))?)
        })
    }
}

/// A page of what was asked for with one more than its limit, and the place to go on from where
/// there is more.
pub(super) fn page<T>(mut items: Vec<T>, places: &[i64], limit: i64) -> (Vec<T>, Option<i64>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.len().checked_sub(1).filter(|_| more);
    (items, last.and_then(|last| places.get(last).copied()))
}

/// What has grown old: idempotency keys after their day, sessions at their end, and what is
/// history before `oldest`. Each statement takes its bound and the size of a batch.
fn aged(oldest: &str) -> [(&'static str, String); 4] {
    let now = OffsetDateTime::now_utc();
    [
        (
            "DELETE FROM idempotency WHERE (token, key) IN (SELECT token, key FROM idempotency \
             WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)",
            format_time(now - Duration::hours(idempotency::KEPT_HOURS)),
        ),
        (
            "DELETE FROM sessions WHERE sequence IN (SELECT sequence FROM sessions \
             WHERE expires_at < ?1 ORDER BY sequence LIMIT ?2)",
            format_time(now),
        ),
        (
            "DELETE FROM tokens WHERE sequence IN (SELECT sequence FROM tokens \
             WHERE revoked_at < ?1 OR expires_at < ?1 ORDER BY sequence LIMIT ?2)",
            oldest.to_owned(),
        ),
        (
            "DELETE FROM audit WHERE sequence IN (SELECT sequence FROM audit \
             WHERE at < ?1 ORDER BY sequence LIMIT ?2)",
            oldest.to_owned(),
        ),
    ]
}

/// Whether there is anything to prune, looked at without the write lock.
pub(super) fn is_due(db: &Connection, oldest: &str) -> Result<bool> {
    let now = OffsetDateTime::now_utc();
    let due: bool = db.query_row(
        "SELECT EXISTS (SELECT 1 FROM idempotency WHERE created_at < ?1) \
         OR EXISTS (SELECT 1 FROM sessions WHERE expires_at < ?2) \
         OR EXISTS (SELECT 1 FROM tokens WHERE revoked_at < ?3 OR expires_at < ?3) \
         OR coalesce((SELECT at FROM audit ORDER BY sequence LIMIT 1) < ?3, 0)",
        (format_time(now - Duration::hours(idempotency::KEPT_HOURS)), format_time(now), oldest),
        |row| row.get(0),
    )?;
    Ok(due || audit::has_too_many(db)?)
}

/// Removes a batch of each; answers how many rows.
pub(super) fn prune(tx: &Transaction<'_>, oldest: &str, batch: i64) -> Result<usize> {
    let mut removed = 0;
    for (statement, bound) in aged(oldest) {
        removed += tx.prepare_cached(statement)?.execute((bound, batch))?;
    }
    Ok(removed + audit::prune_surplus(tx, batch)?)
}

#[cfg(test)]
mod tests;
