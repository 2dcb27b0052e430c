//! How long history is kept.
//!
//! Owns the bounds: ended operations with their steps, events and approvals go after
//! [`KEPT_DAYS`], in small batches, so that no command waits for a large one. The last operation
//! of a deployment always stays, and so does everything about an operation that has not ended.

use time::{Duration, OffsetDateTime};

use super::deliveries::oldest_needed;
use super::{Result, Store, access, format_time};

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
                |row| row.get::<_, bool>(0),
            )? || access::is_due(db, oldest)?)
        })?;
        if !due {
            return Ok(0);
        }
        self.write(|tx| {
            let mut removed = 0;
            // What an endpoint is yet to be told of stays, whatever its age.
            let needed = oldest_needed(tx)?.unwrap_or(i64::MAX);
            removed += tx.execute(
                "DELETE FROM events WHERE sequence IN (SELECT sequence FROM events \
                 WHERE timestamp < ?1 AND sequence < ?3 ORDER BY sequence LIMIT ?2)",
                (oldest, BATCH, needed),
            )?;
            for statement in [
                "DELETE FROM approvals WHERE id IN (SELECT id FROM approvals \
                 WHERE decided_at < ?1 ORDER BY id LIMIT ?2)",
                "DELETE FROM operations WHERE id IN (SELECT id FROM operations AS old \
                 WHERE ended_at < ?1 AND EXISTS (SELECT 1 FROM operations AS newer \
                 WHERE newer.deployment = old.deployment AND newer.sequence > old.sequence) \
                 ORDER BY sequence LIMIT ?2)",
            ] {
                removed += tx.execute(statement, (oldest, BATCH))?;
            }
            removed += access::prune(tx, oldest, BATCH)?;
            Ok(removed)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{ApprovalRecord, Begin, Finish, NewDeployment, NewEvent};
    use super::*;
    use crate::domain::{Change, DeploymentName, EventType, OperationKind, OperationStatus};

    fn later() -> String {
        format_time(OffsetDateTime::now_utc() + Duration::days(1))
    }

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
        let later = later();
        assert_eq!(store.prune_before(&later).expect("prunes"), 500);
        assert_eq!(store.prune_before(&later).expect("prunes"), 100);
        assert_eq!(store.prune_before(&later).expect("prunes"), 0);
    }
    /// An operation that has ended, unless it is to stay at work, with a step in its journal.
    fn operation(store: &Store, name: &DeploymentName, kind: OperationKind, ends: bool) -> String {
        let spec = json!({
            "target": "process", "bind": "127.0.0.1", "heartbeat": "0m", "memory_mib": 1024,
            "approval": crate::domain::approval::ApprovalPolicy::default(),
        });
        let create = || NewDeployment {
            id: super::super::new_id(),
            sealed: Vec::new(),
            spec: serde_json::from_value(spec).expect("a specification"),
            owner: None,
        };
        let begin = Begin {
            create: (kind == OperationKind::Launch).then(create),
            ..Begin::new(kind, name.clone())
        };
        let operation = store.begin(&begin).expect("begins");
        let lease = store.acquire(&operation.id, "test").expect("takes it up");
        store.step_intent(&lease, 0, "prepare", "prepare", None).expect("writes");
        if ends {
            let (status, change) = (OperationStatus::Succeeded, Some(Change::Succeed(kind)));
            let finish = Finish { status, change, error: None, event: None };
            store.finish(&lease, &finish).expect("ends");
        }
        operation.id
    }

    #[test]
    fn of_each_deployment_the_last_operation_stays_and_what_is_at_work() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let [kept, working] =
            ["kept", "working"].map(|it| it.parse::<DeploymentName>().expect("a name"));
        let old = operation(&store, &kept, OperationKind::Launch, true);
        let last = operation(&store, &kept, OperationKind::Restart, true);
        let before = operation(&store, &working, OperationKind::Launch, true);
        let active = operation(&store, &working, OperationKind::Restart, false);
        assert_eq!(store.prune().expect("prunes"), 0, "nothing is old yet");
        assert_eq!(store.prune_before(&later()).expect("prunes"), 2);
        let steps = |id: &str| store.operation(id).expect("reads").map(|it| it.steps.len());
        assert_eq!([&old, &before].map(|id| steps(id)), [None, None]);
        assert_eq!([&last, &active].map(|id| steps(id)), [Some(1), Some(1)]);
        let orphans: i64 = store
            .read(|db| {
                let query = "SELECT count(*) FROM steps WHERE operation NOT IN \
                             (SELECT id FROM operations)";
                Ok(db.query_row(query, [], |row| row.get(0))?)
            })
            .expect("reads");
        assert_eq!(orphans, 0, "its steps went with each");
        assert_eq!(store.active_operation(&working).expect("reads").map(|it| it.id), Some(active));
    }

    #[test]
    fn old_decisions_go_in_batches() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let name = DeploymentName::main();
        for number in 0..510 {
            let record = ApprovalRecord {
                request_id: number.to_string(),
                device_id: "device".into(),
                address: "192.0.2.1".into(),
                role: "operator".into(),
                scopes: Vec::new(),
                decision: "approved".into(),
                reason: String::new(),
                decided_at: String::new(),
            };
            store.record_approval(&name, &record, &[]).expect("writes");
        }
        assert_eq!(store.prune().expect("prunes"), 0, "nothing is old yet");
        assert_eq!(store.prune_before(&later()).expect("prunes"), 500);
        let left = store.approvals(&name, 100).expect("reads");
        let left: Vec<&str> = left.iter().map(|it| it.request_id.as_str()).collect();
        assert_eq!(left.len(), 10, "the newest ones");
        assert_eq!((left[0], left[9]), ("509", "500"));
        assert_eq!(store.prune_before(&later()).expect("prunes"), 10);
    }
}
