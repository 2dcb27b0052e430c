//! How much of what there is: what a server's figures tell.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Result, Store};

/// The decisions about devices that are counted.
const DECISIONS: [&str; 5] = ["approved", "left", "rejected", "removed", "failed"];

/// How often each decision was recorded over this store since it was opened. The rows cannot say:
/// old ones are removed.
#[derive(Default)]
pub(super) struct Decided([AtomicU64; DECISIONS.len()]);

impl Decided {
    pub(super) fn count(&self, decision: &str) {
        if let Some(place) = DECISIONS.iter().position(|it| *it == decision) {
            self.0[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Store {
    /// How often each decision about a device was recorded since this store was opened.
    pub fn decided(&self) -> Vec<(&'static str, u64)> {
        let counts = self.shared.decided.0.iter().map(|it| it.load(Ordering::Relaxed));
        DECISIONS.into_iter().zip(counts).collect()
    }

    /// How many deployments there are, by target and status; destroyed ones are left out.
    pub fn deployments_by_status(&self) -> Result<Vec<(String, String, u64)>> {
        self.read(|db| {
            let mut counts = db.prepare_cached(
                "SELECT target, status, count(*) FROM deployments WHERE status <> 'destroyed' \
                 GROUP BY target, status",
            )?;
            let found = counts.query_map([], |row| {
                let number: i64 = row.get(2)?;
                Ok((row.get(0)?, row.get(1)?, u64::try_from(number).unwrap_or(0)))
            })?;
            Ok(found.collect::<std::result::Result<_, _>>()?)
        })
    }

    /// How large the store's files are.
    pub fn bytes(&self) -> u64 {
        let mut log = self.path().as_os_str().to_owned();
        log.push("-wal");
        let sizes = [self.path().as_os_str(), &log].map(fs::metadata);
        sizes.into_iter().flatten().map(|it| it.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{ApprovalEnd, ApprovalRecord, Window};
    use super::*;
    use crate::domain::DeploymentName;

    fn record(decision: &str) -> ApprovalRecord {
        let text = || "x".to_owned();
        ApprovalRecord {
            request_id: text(),
            device_id: text(),
            address: text(),
            role: text(),
            scopes: vec![],
            decision: decision.into(),
            reason: text(),
            decided_at: text(),
        }
    }

    #[test]
    fn a_decision_is_counted_once_it_is_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        let name = DeploymentName::main();
        let window = Window { boot_id: "b".into(), opened_s: 0, deadline_s: 9, remaining: 2 };
        store.open_window("id", &window).expect("opens");
        let begun = store.begin_approval("id", &name, &record("")).expect("begins").expect("place");
        assert!(store.decided().iter().all(|(_, number)| *number == 0));
        let end = ApprovalEnd { decision: "approved", reason: "", give_back_to: None };
        store.end_approval(begun, &name, end, &[]).expect("ends");
        for decision in ["left", "left", "rejected"] {
            store.record_approval(&name, &record(decision), &[]).expect("records");
        }
        let decided = store.clone().decided();
        let expected =
            [("approved", 1), ("left", 2), ("rejected", 1), ("removed", 0), ("failed", 0)];
        assert_eq!(decided, expected);
    }

    #[test]
    fn deployments_are_counted_by_target_and_status() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        assert!(store.deployments_by_status().expect("reads").is_empty());
        for (name, status) in
            [("a", "running"), ("b", "running"), ("c", "failed"), ("d", "destroyed")]
        {
            let row = (name, status, json!({ "target": "process" }).to_string());
            let insert = "INSERT INTO deployments (id, name, target, status, spec, facts, \
                          created_at, updated_at) VALUES (?1, ?1, 'process', ?2, ?3, '{}', '', '')";
            store.write(|tx| Ok(tx.execute(insert, (row.0, row.1, &row.2))?)).expect("writes");
        }
        let counts = store.deployments_by_status().expect("reads");
        let text = |it: &str| it.to_owned();
        let expected =
            [(text("process"), text("failed"), 1), (text("process"), text("running"), 2)];
        assert_eq!(counts, expected);
        assert!(store.bytes() > 0);
    }
}
