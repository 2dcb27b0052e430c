//! Connections that only read.
//!
//! Owns a few of them, so that whoever looks waits for no write's turn at the disk. They are opened
//! when somebody would have to wait for the first time: a command that is alone with its store
//! reads over the connection that it has. Refuses to write.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use rusqlite::{Connection, OpenFlags};

use super::{Result, Shared, open};

/// How many there are at most: reading takes microseconds, and each keeps pages in memory.
const READERS: usize = 4;

/// The connections, and who waits for one.
#[derive(Default)]
pub(super) struct Readers {
    needed: AtomicBool,
    pool: Mutex<Pool>,
    given_back: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    /// How many there are, those at work included.
    open: usize,
}

/// A connection on loan.
struct Reader<'a> {
    readers: &'a Readers,
    /// `None` once it is given back.
    connection: Option<Connection>,
}

/// Opens a connection that cannot write.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    open::prepare(&connection)?;
    Ok(connection)
}

impl Shared {
    /// Reads. What was committed before is seen, and all of `work` sees the same.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if !self.readers.needed.load(Ordering::Relaxed) {
            if let Ok(connection) = self.connection.try_lock() {
                return work(&connection);
            }
            self.readers.needed.store(true, Ordering::Relaxed);
        }
        match self.readers.borrow(&self.path) {
            Ok(reader) => reader.read(work),
            // Reading late is better than not at all, on a full disk for example.
            Err(_) => work(&self.lock()),
        }
    }
}

impl Readers {
    fn borrow(&self, path: &Path) -> Result<Reader<'_>> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = pool.idle.pop() {
                return Ok(Reader { readers: self, connection: Some(connection) });
            }
            if pool.open < READERS {
                let connection = connect(path)?;
                pool.open += 1;
                return Ok(Reader { readers: self, connection: Some(connection) });
            }
            pool = self.given_back.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Reader<'_> {
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let Some(db) = &self.connection else { unreachable!("it is given back when dropped") };
        db.prepare_cached("BEGIN")?.execute([])?;
        let value = work(db);
        db.prepare_cached("COMMIT")?.execute([])?;
        value
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let mut pool = self.readers.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if thread::panicking() || !connection.is_autocommit() {
            // It may be in the middle of something.
            pool.open -= 1;
        } else {
            pool.idle.push(connection);
        }
        self.readers.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::super::{NewEvent, Store};
    use super::*;
    use crate::domain::{DeploymentName, EventType};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        (dir, store)
    }

    fn append(store: &Store) {
        let event = NewEvent::new(EventType::HealthCheck, "x");
        store.append_event(&DeploymentName::main(), &event).expect("commits");
    }

    fn count(db: &Connection) -> Result<i64> {
        Ok(db.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?)
    }

    fn open(store: &Store) -> usize {
        store.shared.readers.pool.lock().expect("no panic").open
    }

    #[test]
    fn whoever_is_alone_needs_no_more_than_one_connection() {
        let (_dir, store) = store();
        append(&store);
        assert_eq!(store.read(count).expect("reads"), 1);
        assert_eq!(open(&store), 0);
    }

    #[test]
    fn nobody_who_looks_waits_for_a_write() {
        let (_dir, store) = store();
        append(&store);
        let mut busy = store.shared.lock();
        let writing = busy.transaction().expect("begins");
        writing.execute("DELETE FROM events", []).expect("writes");
        let seen = thread::scope(|scope| scope.spawn(|| store.read(count)).join());
        assert_eq!(seen.expect("no panic").expect("reads"), 1, "what is committed");
        writing.commit().expect("commits");
        drop(busy);
        assert_eq!(store.read(count).expect("reads"), 0, "and then what is committed by then");
        assert_eq!(open(&store), 1);
    }

    #[test]
    fn all_of_a_look_sees_the_same() {
        let (_dir, store) = store();
        store.shared.readers.needed.store(true, Ordering::Relaxed);
        let seen = store.read(|db| {
            let before = count(db)?;
            append(&store);
            Ok((before, count(db)?))
        });
        assert_eq!(seen.expect("reads"), (0, 0));
        assert_eq!(store.read(count).expect("reads"), 1);
    }

    #[test]
    fn many_share_a_few_and_a_panic_takes_none_away() {
        let (_dir, store) = store();
        append(&store);
        store.shared.readers.needed.store(true, Ordering::Relaxed);
        let all = Barrier::new(READERS);
        thread::scope(|scope| {
            // As many as there are at most, all at work at once, and each of them panics.
            let panics: Vec<_> = (0..READERS)
                .map(|_| {
                    scope.spawn(|| {
                        store.read(|db| {
                            count(db)?;
                            all.wait();
                            assert!(open(&store) > READERS, "on purpose");
                            Ok(())
                        })
                    })
                })
                .collect();
            assert!(panics.into_iter().all(|it| it.join().is_err()));
            for _ in 0..READERS * 8 {
                scope.spawn(|| assert_eq!(store.read(count).expect("reads"), 1));
            }
        });
        assert!((1..=READERS).contains(&open(&store)), "{}", open(&store));
    }

    #[test]
    fn no_reader_writes_and_none_outlives_the_store() {
        let (dir, store) = store();
        store.shared.readers.needed.store(true, Ordering::Relaxed);
        let written = store.read(|db| Ok(db.execute("DELETE FROM events", [])?));
        assert!(written.is_err(), "{written:?}");
        assert_eq!(store.read(count).expect("reads on"), 0);
        drop(store);
        assert!(!dir.path().join("pipeline.db-wal").exists(), "its files are not at rest");
    }
}
