//! Space for the journal when the disk is full.
//!
//! Owns a file that takes room while there is some, and gives it back when a write finds none, so
//! that a running step can still record its outcome. Work that would begin on a disk that is
//! nearly full is refused before it begins.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Result, Store, StoreError};
use crate::domain::{Failure, OperationKind};

/// The reserve, in bytes.
const RESERVE_BYTES: usize = 2 << 20;
/// Below so much free space no work begins, in bytes.
const FLOOR_BYTES: u64 = 64 << 20;
/// Below so much free space a disk counts as full, in bytes: the database's log takes a few pages
/// for each step.
const FULL_BYTES: u64 = 256 << 10;

fn file(home: &Path) -> PathBuf {
    home.join("reserve")
}

/// How many bytes are free for this user where the data directory lies.
fn free_bytes(home: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(home).map_err(std::io::Error::from).map_err(Failure::from);
    let stat = stat.map_err(StoreError::Refused)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Fills the reserve where there is ample room: what was given back, or has just been freed, is
/// for the work at hand.
pub(super) fn fill(home: &Path) {
    let path = file(home);
    if fs::metadata(&path).is_ok_and(|file| file.len() >= RESERVE_BYTES as u64) {
        return;
    }
    if free_bytes(home).is_ok_and(|free| free < FLOOR_BYTES + 2 * RESERVE_BYTES as u64) {
        return;
    }
    // Real bytes: a file with holes reserves nothing.
    if crate::secrets::write_private(&path, &vec![0x5a; RESERVE_BYTES]).is_err() {
        let _ = fs::remove_file(&path);
    }
}

/// Gives the reserve back on a disk that is full: also what is no database, such as a lock, needs
/// a few bytes.
pub(super) fn release_when_full(home: &Path) {
    if free_bytes(home).is_ok_and(|free| free < FULL_BYTES) {
        release(home);
    }
}

/// Whether a failure is one that a full disk has: where SQLite cannot make or grow its own files,
/// it says that input or output failed, or that a file cannot be opened.
pub(super) fn may_be_full(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(DiskFull | SystemIoFailure | CannotOpen))
}

/// Gives the reserve back; whether there was one.
pub(super) fn release(home: &Path) -> bool {
    fs::remove_file(file(home)).is_ok()
}

impl Store {
    /// Refuses to begin work on a disk that is nearly full. Ending a gateway needs no room, and
    /// destroying one makes some.
    pub fn check_floor(&self, kind: OperationKind) -> Result<()> {
        if matches!(kind, OperationKind::Stop | OperationKind::Destroy) {
            return Ok(());
        }
        let home = self.path().parent().unwrap_or(self.path());
        let free = free_bytes(home)?;
        if free >= FLOOR_BYTES {
            return Ok(());
        }
        Err(StoreError::Refused(
            Failure::prerequisite(format!(
                "the disk of {} is full: {} MiB are free, and nothing is begun below {} MiB",
                home.display(),
                free >> 20,
                FLOOR_BYTES >> 20
            ))
            .remedy(
                "free some space (openclaw-pipeline destroy frees a deployment's), or name another \
                 OPENCLAW_PIPELINE_HOME",
            ),
        ))
    }
}
