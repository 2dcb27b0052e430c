//! How long history is kept.
//!
//! Owns the bounds, and removing what is past them: in small batches, so that no command waits for
//! a large one. What that is of each table, its own file says. Refuses to remove anything about an
//! operation that has not ended, the last operation of a deployment that lives, an event that is
//! still to be delivered, and what a backup belongs to.

use rusqlite::Transaction;
use time::{Duration, OffsetDateTime};

use super::{Result, Store, access, approvals, deployments, events, format_time, operations};

/// How long history is kept, in days.
pub const KEPT_DAYS: i64 = 90;
/// How many rows of a table one call removes.
const BATCH: i64 = 500;

/// What is removed of one table.
pub(super) struct Rule {
    /// A statement that answers a row when something is past it; `?1` is the oldest time that is
    /// kept. It runs often, and mostly in vain.
    pub(super) due: &'static str,
    /// Removes what is past the oldest time that is kept, at most so many rows; answers how many.
    pub(super) prune: fn(&Transaction<'_>, &str, i64) -> Result<usize>,
}

/// The rules, in the order in which they are followed: a deployment goes after its operations.
const RULES: [&Rule; 4] =
    [&events::RETENTION, &approvals::RETENTION, &operations::RETENTION, &deployments::RETENTION];

impl Store {
    /// Removes a batch of what is older than history is kept; answers how many rows. Whoever is
    /// answered more than none may call again.
    pub fn prune(&self) -> Result<usize> {
        self.prune_before(&format_time(OffsetDateTime::now_utc() - Duration::days(KEPT_DAYS)))
    }

    fn prune_before(&self, oldest: &str) -> Result<usize> {
        // Without the write lock: most of the time there is nothing to do.
        let due = self.read(|db| {
            for rule in RULES {
                if db.prepare_cached(rule.due)?.exists([oldest])? {
                    return Ok(true);
                }
            }
            access::is_due(db, oldest)
        })?;
        if !due {
            return Ok(0);
        }
        self.write(|tx| {
            let mut removed = access::prune(tx, oldest, BATCH)?;
            for rule in RULES {
                removed += (rule.prune)(tx, oldest, BATCH)?;
            }
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
        let history = store.history().expect("reads");
        assert_eq!((history.oldest, history.pruned_to, history.last), (Some(501), 500, 600));
        assert!(!history.is_complete_after(499) && history.is_complete_after(500));
        assert_eq!(store.prune_before(&later).expect("prunes"), 100);
        assert_eq!(store.prune_before(&later).expect("prunes"), 0);
        // When none is left it still shows that some were there.
        let history = store.history().expect("reads");
        assert_eq!((history.oldest, history.pruned_to, history.last), (None, 600, 600));
        assert!(!history.is_complete_after(599) && history.is_complete_after(600));
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

    #[test]
    fn a_destroyed_deployment_goes_with_its_last_operation_unless_it_has_backups() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let [gone, backed_up] =
            ["gone", "backed-up"].map(|it| it.parse::<DeploymentName>().expect("a name"));
        for name in [&gone, &backed_up] {
            operation(&store, name, OperationKind::Launch, true);
        }
        let deployment = store.deployment(&backed_up).expect("reads").expect("is there");
        let backup = super::super::Backup {
            id: "backup".into(),
            deployment_id: deployment.id,
            deployment: backed_up.to_string(),
            path: String::new(),
            bytes: 0,
            sha256: String::new(),
            version: String::new(),
            artefact: String::new(),
            reason: String::new(),
            created_at: super::super::now(),
        };
        store.put_backup(&backup).expect("records");
        let destroyed =
            [&gone, &backed_up].map(|name| operation(&store, name, OperationKind::Destroy, true));
        assert_eq!(store.prune().expect("prunes"), 0, "nothing is old yet");
        let removed = store.prune_before(&later()).expect("prunes");
        assert_eq!(removed, 5, "four operations and a deployment");
        let there = |name| store.deployment(name).expect("reads").is_some();
        assert!(!there(&gone) && there(&backed_up));
        assert!(destroyed.iter().all(|id| store.operation(id).expect("reads").is_none()));
        assert_eq!(store.prune_before(&later()).expect("prunes"), 0);
        store.delete_backup("backup").expect("forgets");
        assert_eq!(store.prune_before(&later()).expect("prunes"), 1);
        assert!(!there(&backed_up));
        // The name is as free as it was.
        operation(&store, &gone, OperationKind::Launch, true);
    }

    #[test]
    fn whether_anything_is_due_is_found_by_indexes() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        for (rule, step) in [
            (&operations::RETENTION, "SEARCH old USING INDEX operations_by_age (ended_at<?)"),
            (
                &deployments::RETENTION,
                "SCAN deployments USING COVERING INDEX deployments_destroyed",
            ),
        ] {
            let plan = store.read(|db| Ok(super::super::rows::plan(db, rule.due))).expect("a plan");
            let (first, rest) = plan.split_first().expect("a step");
            assert_eq!(first, step);
            assert!(!rest.iter().any(|step| step.starts_with("SCAN")), "{rest:?}");
        }
    }
}
