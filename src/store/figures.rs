//! How much of what there is: what a server's figures tell.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _};

use super::{APPROVING, Result, Store};

/// The decisions about devices that are counted.
const DECISIONS: [&str; 5] = ["approved", "left", "rejected", "removed", "failed"];

/// What was decided since somebody first asked. Whoever decides is another process, perhaps, and
/// old rows are removed: so the rows that are new are counted, each once it has its outcome.
#[derive(Default)]
pub(super) struct Decided(Mutex<Option<Seen>>);

struct Seen {
    /// The last row that was looked at.
    last: i64,
    /// Those before it whose outcome was not known yet.
    open: BTreeSet<i64>,
    counts: [u64; DECISIONS.len()],
}

impl Seen {
    fn begin(db: &Connection) -> Result<Self> {
        let last = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'approvals'), 0)";
        let last = db.query_row(last, [], |row| row.get(0))?;
        let mut open = db.prepare_cached("SELECT id FROM approvals WHERE decision = ?1")?;
        let open =
            open.query_map([APPROVING], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Self { last, open, counts: [0; DECISIONS.len()] })
    }

    fn go_on(&mut self, db: &Connection) -> Result<()> {
        for id in std::mem::take(&mut self.open) {
            let mut one = db.prepare_cached("SELECT decision FROM approvals WHERE id = ?1")?;
            let decision: Option<String> = one.query_row([id], |row| row.get(0)).optional()?;
            if let Some(decision) = decision {
                self.count(id, &decision);
            }
        }
        let mut new =
            db.prepare_cached("SELECT id, decision FROM approvals WHERE id > ?1 ORDER BY id")?;
        let mut new = new.query([self.last])?;
        while let Some(row) = new.next()? {
            self.last = row.get(0)?;
            self.count(self.last, &row.get::<_, String>(1)?);
        }
        Ok(())
    }

    fn count(&mut self, id: i64, decision: &str) {
        if decision == APPROVING {
            self.open.insert(id);
        } else if let Some(place) = DECISIONS.iter().position(|it| *it == decision) {
            self.counts[place] += 1;
        }
    }
}

impl Store {
    /// How often each decision about a device was recorded since this was first asked.
    pub fn decided(&self) -> Result<Vec<(&'static str, u64)>> {
        let mut seen = self.shared.decided.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = self.read(|db| {
            let seen = match &mut *seen {
                Some(seen) => seen,
                none => none.insert(Seen::begin(db)?),
            };
            seen.go_on(db)?;
            Ok(seen.counts)
        })?;
        Ok(DECISIONS.into_iter().zip(counts).collect())
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
    fn a_decision_is_counted_once_and_when_it_is_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, another) = (Store::open(dir.path()), Store::open(dir.path()));
        let (store, another) = (store.expect("opens"), another.expect("opens"));
        let name = DeploymentName::main();
        let window = Window { boot_id: "b".into(), opened_s: 0, deadline_s: 9, remaining: 9 };
        store.open_window("id", &window).expect("opens");
        let begin = || {
            let begun = another.begin_approval("id", &name, &record("")).expect("begins");
            begun.expect("a place")
        };
        let end = |begun, decision| {
            let end = ApprovalEnd { decision, reason: "", give_back_to: None };
            another.end_approval(begun, &name, end, &[]).expect("ends");
        };
        let decided = || store.decided().expect("reads").into_iter().map(|(_, it)| it);
        another.record_approval(&name, &record("left"), &[]).expect("records");
        let before = begin();
        assert_eq!(decided().sum::<u64>(), 0, "that was before");
        let since = begin();
        for decision in ["left", "left", "rejected"] {
            another.record_approval(&name, &record(decision), &[]).expect("records");
        }
        assert_eq!(decided().collect::<Vec<_>>(), [0, 2, 1, 0, 0]);
        end(since, "approved");
        end(before, "failed");
        assert_eq!(decided().collect::<Vec<_>>(), [1, 2, 1, 0, 1]);
        assert_eq!(decided().collect::<Vec<_>>(), [1, 2, 1, 0, 1]);
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
