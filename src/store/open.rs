//! Opening the database: checks, migrations, and what a full disk allows.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::{Result, Store, StoreError, home, new_id, now, reserve};
use crate::domain::{Failure, FailureKind};

/// The database's name in the data directory.
pub const FILE_NAME: &str = "pipeline.db";

/// The migrations, oldest first. A database's `user_version` is how many of them it has.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../migrations/sqlite/0002_webhooks.sql"),
    include_str!("../../migrations/sqlite/0003_access.sql"),
    include_str!("../../migrations/sqlite/0004_server.sql"),
];

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it looks meanwhile. SQLite's own handler looks every 100 ms in the end: beside a
/// server that commits without a pause, it hardly ever comes at the right instant.
const BUSY_LOOK: Duration = Duration::from_millis(1);

/// How many statements a connection keeps prepared: as many as the busiest process uses.
const STATEMENTS: usize = 64;

/// How often the switch to a write-ahead log is tried while others are in its way.
const WAL_ATTEMPTS: u32 = 20;

impl Store {
    /// Opens the store of a data directory, and makes both when they are not there.
    pub fn open(home: &Path) -> Result<Self> {
        let path = home.join(FILE_NAME);
        home::prepare(home, &path)?;
        reserve::release_when_full(home);
        let store = match Self::connect(home, &path) {
            // SQLite cannot make its own files on a full disk: that is what the reserve is for.
            Err(StoreError::Sqlite(error))
                if reserve::may_be_full(&error) && reserve::release(home) =>
            {
                Self::connect(home, &path)
            }
            connected => connected,
        }?;
        reserve::fill(home);
        Ok(store)
    }

    fn connect(home: &Path, path: &Path) -> Result<Self> {
        // SQLite would make the file with the process's umask; nobody else reads this one.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| home::unusable(home, &error))?;
        let connection = Connection::open(path)?;
        prepare(&connection)?;
        check(&connection, path)?;
        // WAL lets `status` read while a launch writes; FULL makes a commit survive a power cut.
        write_ahead(&connection)?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let store = Self::new(connection, path.to_owned());
        store.migrate()?;
        Ok(store)
    }

    /// The installation's own random id.
    pub fn installation_id(&self) -> Result<String> {
        self.read(|db| Ok(db.query_row("SELECT id FROM installation", [], |row| row.get(0))?))
    }

    /// Takes an id that was given beforehand for the installation's own. Refused once anything was
    /// recorded under another one.
    pub fn take_installation_id(&self, id: &str) -> Result<()> {
        self.write(|tx| {
            let known: String = tx.query_row("SELECT id FROM installation", [], |r| r.get(0))?;
            let used: i64 = tx.query_row("SELECT count(*) FROM deployments", [], |r| r.get(0))?;
            if known == id {
                return Ok(());
            }
            if used > 0 {
                let why = "this data directory belongs to another installation";
                return Err(StoreError::Refused(Failure::conflict(why)));
            }
            tx.execute("UPDATE installation SET id = ?1", [id])?;
            Ok(())
        })
    }

    /// The fingerprint of the key that sealed values are sealed with.
    pub fn key_fingerprint(&self) -> Result<Option<String>> {
        self.read(|db| {
            Ok(db.query_row("SELECT key_fingerprint FROM installation", [], |row| row.get(0))?)
        })
    }

    /// Records the sealing key's fingerprint; the first one stays.
    pub fn set_key_fingerprint(&self, fingerprint: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE installation SET key_fingerprint = coalesce(key_fingerprint, ?1)",
                [fingerprint],
            )?;
            Ok(())
        })
    }

    fn migrate(&self) -> Result<()> {
        if self.read(version)? == MIGRATIONS.len() {
            return Ok(());
        }
        self.write(|tx| {
            // Read again under the write lock: another process may have been first.
            for migration in MIGRATIONS.iter().skip(version(tx)?) {
                tx.execute_batch(migration)?;
            }
            tx.pragma_update(
                None,
                "user_version",
                i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX),
            )?;
            let known: i64 = tx.query_row("SELECT count(*) FROM installation", [], |r| r.get(0))?;
            if known == 0 {
                tx.execute(
                    "INSERT INTO installation (id, created_at) VALUES (?1, ?2)",
                    (new_id(), now()),
                )?;
            }
            Ok(())
        })
    }
}

/// What every connection has.
pub(super) fn prepare(db: &Connection) -> Result<()> {
    db.busy_handler(Some(look_again))?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    // A plan is made once for each statement, and not again for each value that it is given.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // What a savepoint may have to put back is kept in memory: a file is written for it otherwise.
    db.pragma_update(None, "temp_store", "memory")?;
    Ok(())
}

/// Whether to look again for the end of another process's transaction, after a pause.
fn look_again(looks: i32) -> bool {
    let goes_on = BUSY_LOOK * looks.unsigned_abs() < BUSY_TIMEOUT;
    if goes_on {
        std::thread::park_timeout(BUSY_LOOK);
    }
    goes_on
}

/// Switches the database to a write-ahead log, once. The switch does not wait for other processes,
/// whatever the timeout; to begin a transaction that excludes them does.
fn write_ahead(db: &Connection) -> Result<()> {
    for _ in 0..WAL_ATTEMPTS {
        match db.pragma_update(None, "journal_mode", "wal") {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                db.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
            }
            ended => return Ok(ended?),
        }
    }
    Ok(db.pragma_update(None, "journal_mode", "wal")?)
}

fn version(db: &Connection) -> Result<usize> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    usize::try_from(version).map_err(|_| StoreError::Corrupt("a negative version".into()))
}

fn check(db: &Connection, path: &Path) -> Result<()> {
    let damaged = |detail: &str| {
        StoreError::Refused(
            Failure::failed(format!(
                "the state database {} is damaged ({detail}); it was left as it is",
                path.display()
            ))
            .remedy(
                "copy it aside, then put back a copy of the data directory, or try sqlite3's \
                 .recover on the copy",
            ),
        )
    };
    let verdict: String =
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| match error
            .sqlite_error_code()
        {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                damaged(&error.to_string())
            }
            _ => error.into(),
        })?;
    if verdict != "ok" {
        return Err(damaged(&verdict));
    }
    let found = version(db)?;
    if found > MIGRATIONS.len() {
        return Err(StoreError::Refused(
            Failure::new(
                FailureKind::Conflict,
                format!(
                    "the data directory belongs to a newer openclaw-pipeline: its schema is \
                     {found}, this program knows {}",
                    MIGRATIONS.len()
                ),
            )
            .remedy("use the newer program, or name another OPENCLAW_PIPELINE_HOME"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_the_first_version_is_brought_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = Connection::open(dir.path().join(FILE_NAME)).expect("opens");
        old.execute_batch(MIGRATIONS[0]).expect("makes its tables");
        old.execute_batch(
            "PRAGMA user_version = 1; \
             INSERT INTO installation (id, created_at) VALUES ('it', '2026-01-01'); \
             INSERT INTO events (sequence, id, type, name, message, timestamp) \
             VALUES (41, '1', 'completed', 'main', 'it works', '2026-01-01T00:00:00.000Z')",
        )
        .expect("writes");
        drop(old);
        let store = Store::open(dir.path()).expect("opens");
        assert_eq!(store.installation_id().expect("reads"), "it");
        let event = store.events(None, 0, 10).expect("reads").remove(0);
        assert_eq!((event.sequence, event.source.as_str()), (41, "pipeline"));
        // What was removed by then was not written down, and shows by what is left.
        let history = store.history().expect("reads");
        assert_eq!((history.oldest, history.pruned_to, history.last), (Some(41), 40, 41));
    }

    #[test]
    fn another_ones_transaction_is_waited_for_and_not_for_ever() {
        assert!(look_again(0));
        let looks = BUSY_TIMEOUT.as_millis() / BUSY_LOOK.as_millis();
        assert!(!look_again(i32::try_from(looks).expect("small")));
    }
}
