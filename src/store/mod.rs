//! The store: deployments, operations and their journal, events, approvals and backups.
//!
//! Owns the database. Every change of state and the event that tells of it commit in one
//! transaction, and every write of an executor carries the epoch under which it took the
//! operation up. Refuses a database that is damaged, belongs to a newer program, or lies on a
//! network file system.
//!
//! The calls are synchronous: a local SQLite answers in microseconds, and a commit waits for the
//! disk because that is what makes it a commit.

mod access;
mod approvals;
mod audit;
mod backups;
mod begin;
mod changes;
mod counts;
mod deliveries;
mod deployments;
mod endpoints;
mod events;
mod figures;
mod group;
mod hints;
mod home;
mod idempotency;
mod open;
mod operations;
mod outbox;
mod reader;
mod replays;
mod reserve;
mod retention;
mod rows;
mod sealed;
mod sessions;
mod spending;
mod standing;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::domain::Failure;

pub use approvals::{APPROVING, ApprovalEnd, ApprovalId, ApprovalRecord, Window};
pub use audit::{AuditFilter, AuditOutcome, AuditRecord};
pub use backups::Backup;
pub use begin::{Along, Begin, OwnerLimits, Unprotected};
pub use counts::Census;
pub use deliveries::{
    Counts, DEAD_DAYS, DELIVERED_DAYS, Delivery, DeliveryStatus, now_ms, time_of,
};
pub use deployments::{DeploymentFilter, NewDeployment};
pub use endpoints::{
    ENDPOINTS_MAX, Endpoint, EndpointChange, EndpointStatus, Filter, NewEndpoint, SealedSecrets,
};
pub use events::{EventFilter, EventsPage, History, NewEvent};
pub use hints::Opening;
pub use idempotency::{Answer, IdempotencyKey, KEY_MAX, Once};
pub use operations::{Finish, Lease, OperationFilter, StepUpdate};
pub use outbox::{Due, Fate, Outcome, Waiting};
pub use replays::{AskedOnce, NewReplay, Replay, ReplayStatus, Scope};
pub use retention::KEPT_DAYS;
pub use sessions::{SESSION_HOURS, SessionRecord};
pub use spending::Spending;
pub use standing::{NobodyComes, OwnClusterStands};
pub use tokens::{NewToken, TokenRecord, unknown as unknown_token};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database or a row says no; the sentence is for the user.
    #[error("{0}")]
    Refused(Failure),
    /// The request was sent before, and its work is done: this was the answer.
    #[error("this request was sent before")]
    Answered(Box<Answer>),
    /// The lease under which a write was tried has been taken over.
    #[error("another executor has taken this operation over")]
    LeaseLost,
    /// The database failed.
    #[error("the state database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row cannot be read.
    #[error("the state database holds something unreadable: {0}")]
    Corrupt(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(failure) => failure,
            StoreError::Sqlite(error) if is_full(&error) => {
                Self::internal("the disk is full: the state could not be recorded")
                    .remedy("free some space, then run the same command again")
            }
            // What SQLite says when it cannot make its files on a full disk, too.
            StoreError::Sqlite(rusqlite::Error::SqliteFailure(code, _))
                if code.code == rusqlite::ErrorCode::SystemIoFailure =>
            {
                Self::internal(format!("the state could not be read or recorded: {error}")).remedy(
                    "see whether the disk is full (df) and free some space, then run the same \
                     command again",
                )
            }
            other => Self::internal(other.to_string()),
        }
    }
}

/// The result of a call to the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The store of one data directory.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    group: Arc<group::Group>,
}

/// What every clone of a store shares with the thread that commits for it.
struct Shared {
    /// Before the connection, so that they close before it: the last one to close puts the files
    /// at rest, and one that only reads could not.
    readers: reader::Readers,
    changes: changes::Changes,
    decided: figures::Decided,
    connection: Mutex<Connection>,
    /// Held while the connection is waited for: a thread that gives the connection back and wants
    /// it again at once does not pass by one that waits.
    door: Mutex<()>,
    path: PathBuf,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Store {
    fn new(connection: Connection, path: PathBuf) -> Self {
        let shared = Arc::new(Shared {
            readers: reader::Readers::default(),
            changes: changes::Changes::default(),
            decided: figures::Decided::default(),
            connection: Mutex::new(connection),
            door: Mutex::default(),
            path,
        });
        Self { shared, group: Arc::default() }
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Runs `work` in one immediate transaction: it has the write lock from its first line on, so
    /// what it reads is what it changes.
    fn write<T>(&self, work: impl Fn(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.shared.write_on(&mut self.shared.lock(), work)
    }

    /// Does the same without waiting for the disk: a power cut may lose the commit, nothing else
    /// can. The next commit of another kind makes it last.
    fn write_unsynced<T>(&self, work: impl Fn(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.shared.lock();
        connection.pragma_update(None, "synchronous", "normal")?;
        let written = self.shared.write_on(&mut connection, work);
        connection.pragma_update(None, "synchronous", "full")?;
        written
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.shared.read(work)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        let _door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        // A panic while the lock was held cannot have left a half-done transaction: dropping it
        // rolled it back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_on<T>(
        &self,
        connection: &mut Connection,
        mut work: impl FnMut(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut once = |connection: &mut Connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        let ended = match once(connection) {
            // What was done must be recorded, also on a full disk: that is what the reserve is for.
            Err(StoreError::Sqlite(error))
                if reserve::may_be_full(&error) && self.release_reserve() =>
            {
                once(connection)
            }
            ended => ended,
        };
        if ended.is_ok() {
            self.changes.committed();
        }
        ended
    }

    fn release_reserve(&self) -> bool {
        self.path.parent().is_some_and(reserve::release)
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// Now, as the store writes times: RFC 3339 UTC with milliseconds.
pub fn now() -> String {
    format_time(time::OffsetDateTime::now_utc())
}

fn format_time(at: time::OffsetDateTime) -> String {
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    at.format(format).unwrap_or_default()
}

/// A new id that sorts by the time of its making.
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
