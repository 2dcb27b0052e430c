//! Whether anything was committed since somebody looked last.
//!
//! Owns one connection that never writes: SQLite tells it, in microseconds, whether any other
//! connection of any process has committed. A commit over this store is told at once; those of
//! other processes are found by looking, which one of all that wait does. Refuses to say what
//! has changed: whoever wants to know reads it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use super::{Result, Shared, Store, reader};

/// How often the commits of other processes are looked for while somebody waits.
const LOOK: Duration = Duration::from_millis(50);
/// What nobody has looked at yet.
const UNSEEN: i64 = i64::MIN;

/// The last version that was seen, and how the next one is.
pub(super) struct Changes {
    /// Opened by the first who asks: a command that waits for nothing has none.
    connection: Mutex<Option<Connection>>,
    version: watch::Sender<i64>,
    /// Whoever looks for all that wait.
    looker: tokio::sync::Mutex<()>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            connection: Mutex::default(),
            version: watch::Sender::new(UNSEEN),
            looker: tokio::sync::Mutex::default(),
        }
    }
}

impl Changes {
    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, db: &Connection) -> Result<i64> {
        let mut statement = db.prepare_cached("PRAGMA data_version")?;
        let now = statement.query_row([], |row| row.get(0))?;
        self.version.send_if_modified(|version| std::mem::replace(version, now) != now);
        Ok(now)
    }

    /// Tells whoever waits that this store has committed.
    pub(super) fn committed(&self) {
        if let Some(db) = &*self.lock() {
            // Where it cannot be read now, it is when it is looked at next.
            let _ = self.look(db);
        }
    }
}

impl Shared {
    fn version(&self) -> Result<i64> {
        let mut connection = self.changes.lock();
        let db = match connection.take() {
            Some(db) => db,
            None => reader::connect(&self.path)?,
        };
        self.changes.look(connection.insert(db))
    }

    /// Looks for commits of other processes until there is one.
    async fn look_for_others(&self) {
        let _only_one = self.changes.looker.lock().await;
        let mut version = self.changes.version.subscribe();
        loop {
            let before = *version.borrow_and_update();
            if self.version().is_ok_and(|now| now != before) {
                return;
            }
            if tokio::time::timeout(LOOK, version.changed()).await.is_ok() {
                return;
            }
        }
    }
}

impl Store {
    /// A number that differs from an earlier one if and only if anything may have been committed
    /// since, by whichever process. It says nothing beyond this process.
    pub fn version(&self) -> Result<i64> {
        self.shared.version()
    }

    /// Waits until the version differs from one that was seen, and answers it: at once for what
    /// was committed over this store, and a little later for the commits of other processes.
    /// Whoever reads after [`Store::version`] and waits with what it said misses nothing.
    pub async fn changed(&self, seen: i64) -> i64 {
        let changes = &self.shared.changes;
        let mut version = changes.version.subscribe();
        if *version.borrow() == UNSEEN {
            let _ = self.version();
        }
        loop {
            let now = *version.borrow_and_update();
            if now != seen && now != UNSEEN {
                return now;
            }
            tokio::select! {
                _ = version.changed() => {}
                () = self.shared.look_for_others() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Instant;

    use super::super::NewEvent;
    use super::*;
    use crate::domain::{DeploymentName, EventType};

    fn two() -> (tempfile::TempDir, Store, Store) {
        let dir = tempfile::tempdir().expect("a directory");
        let [one, other] = [(); 2].map(|()| Store::open(dir.path()).expect("opens"));
        (dir, one, other)
    }

    fn append(store: &Store) {
        let event = NewEvent::new(EventType::HealthCheck, "x");
        store.append_event(&DeploymentName::main(), &event).expect("commits");
    }

    #[test]
    fn every_commit_changes_the_version_and_nothing_else_does() {
        let (_dir, one, other) = two();
        let mut seen = one.version().expect("reads");
        for store in [&one, &other, &one] {
            one.events(None, 0, 10).expect("reads");
            assert_eq!(one.version().expect("reads"), seen, "nothing was committed");
            append(store);
            let now = one.version().expect("reads");
            assert_ne!(now, seen);
            seen = now;
        }
        let refused = one.write(|tx| {
            tx.execute("DELETE FROM events", [])?;
            Err::<(), _>(super::super::StoreError::LeaseLost)
        });
        refused.expect_err("refused");
        assert_eq!(one.version().expect("reads"), seen, "it was rolled back");
    }

    #[tokio::test]
    async fn an_own_commit_is_told_at_once() {
        let (_dir, store, _other) = two();
        let seen = store.version().expect("reads");
        let mut waiting = pin!(store.changed(seen));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        append(&store);
        // No time has passed for it, and it looks at nothing but what it was told.
        assert!(waiting.as_mut().poll(&mut context).is_ready());

        let seen = store.version().expect("reads");
        let mut waiting = pin!(store.changed(seen));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        let event = NewEvent::new(EventType::HealthCheck, "x");
        store.append_event_async(DeploymentName::main(), event).await.expect("commits");
        assert!(waiting.as_mut().poll(&mut context).is_ready(), "before it was answered");

        let before = store.version().expect("reads");
        append(&store);
        assert_ne!(store.changed(before).await, before, "what was missed is no wait");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_ones_commit_is_found_by_all_that_wait() {
        let (_dir, store, other) = two();
        let seen = store.version().expect("reads");
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { (store.changed(seen).await, Instant::now()) })
            })
            .collect();
        tokio::task::yield_now().await;
        append(&other);
        let told = Instant::now();
        for one in waiting {
            let (version, at) = one.await.expect("no panic");
            assert_ne!(version, seen);
            // Far more than it takes, and far less than never.
            assert!(at.duration_since(told) < Duration::from_secs(10));
        }
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_leaves_the_looking_to_the_next() {
        let (_dir, store, other) = two();
        let seen = store.version().expect("reads");
        {
            let mut first = pin!(store.changed(seen));
            assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(store.shared.changes.looker.try_lock().is_err(), "it looks");
        }
        append(&other);
        assert_ne!(store.changed(seen).await, seen);
    }
}
