//! How long history is kept.
//!
//! Owns the bounds: ended operations with their steps, events and approvals go after
//! [`KEPT_DAYS`], in small batches, so that no command waits for a large one. The last operation
//! of a deployment always stays, and so does everything about an operation that has not ended.

use time::{Duration, OffsetDateTime};

use super::{Result, Store, format_time};

/// How long history is kept, in days.
pub const KEPT_DAYS: i64 = 90;
/// How many rows of a table one call removes.
const BATCH: i64 = 500;

impl Store {
    /// Removes a batch of what is older than history is kept; answers how many rows.
    pub fn prune(&self) -> Result<usize> {
        self.prune_before(&format_time(OffsetDateTime::now_utc() - Duration::days(KEPT_DAYS)))
    }

    fn prune_before(&self, oldest: &str) -> Result<usize> {
        // The oldest rows are looked at first, without the write lock: most of the time there is
        // nothing to do.
        let due: bool = self.read(|db| {
            Ok(db.query_row(
                "SELECT coalesce((SELECT timestamp FROM events ORDER BY sequence LIMIT 1) < ?1, 0) \
                 OR coalesce((SELECT decided_at FROM approvals ORDER BY id LIMIT 1) < ?1, 0) \
                 OR coalesce((SELECT ended_at FROM operations ORDER BY sequence LIMIT 1) < ?1, 0)",
                [oldest],
                |row| row.get(0),
            )?)
        })?;
        if !due {
            return Ok(0);
        }
        self.write(|tx| {
            let mut removed = 0;
            for statement in [
                "DELETE FROM events WHERE sequence IN (SELECT sequence FROM events \
                 WHERE timestamp < ?1 ORDER BY sequence LIMIT ?2)",
                "DELETE FROM approvals WHERE id IN (SELECT id FROM approvals \
                 WHERE decided_at < ?1 ORDER BY id LIMIT ?2)",
                "DELETE FROM operations WHERE id IN (SELECT id FROM operations AS old \
                 WHERE ended_at < ?1 AND EXISTS (SELECT 1 FROM operations AS newer \
                 WHERE newer.deployment = old.deployment AND newer.sequence > old.sequence) \
                 ORDER BY sequence LIMIT ?2)",
            ] {
                removed += tx.execute(statement, (oldest, BATCH))?;
            }
            Ok(removed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewEvent;
    use super::*;
    use crate::domain::{DeploymentName, EventType};

    #[test]
    fn old_history_goes_in_batches_and_new_history_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let name = DeploymentName::main();
        for _ in 0..600 {
            let event = NewEvent::new(EventType::Launching, "x");
            store.append_event(&name, &event).expect("appends");
        }
        assert_eq!(store.prune().expect("prunes"), 0, "nothing is old yet");
        let later = format_time(OffsetDateTime::now_utc() + Duration::days(1));
        assert_eq!(store.prune_before(&later).expect("prunes"), 500);
        assert_eq!(store.prune_before(&later).expect("prunes"), 100);
        assert_eq!(store.prune_before(&later).expect("prunes"), 0);
    }
}
