//! Space for the journal when the disk is full.
//!
//! Owns a file that takes room while there is some, and gives it back when a write finds none, so
//! that a running step can still record its outcome. Work that would begin on a disk that is
//! nearly full is refused before it begins.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Result, Store, StoreError};
use crate::domain::Failure;

/// The reserve, in bytes.
const RESERVE_BYTES: usize = 2 << 20;
/// Below so much free space no work begins, in bytes.
const FLOOR_BYTES: u64 = 64 << 20;

fn file(home: &Path) -> PathBuf {
    home.join("reserve")
}

/// Fills the reserve where there is room for it. That there is none is found by the next write.
pub(super) fn fill(home: &Path) {
    let path = file(home);
    if fs::metadata(&path).is_ok_and(|file| file.len() >= RESERVE_BYTES as u64) {
        return;
    }
    // Real bytes: a file with holes reserves nothing.
    if crate::secrets::write_private(&path, &vec![0x5a; RESERVE_BYTES]).is_err() {
        let _ = fs::remove_file(&path);
    }
}

/// Gives the reserve back; whether there was one.
pub(super) fn release(home: &Path) -> bool {
    fs::remove_file(file(home)).is_ok()
}

impl Store {
    /// Refuses to begin work on a disk that is nearly full.
    pub(super) fn check_floor(&self) -> Result<()> {
        let home = self.path.parent().unwrap_or(&self.path);
        let stat = rustix::fs::statvfs(home).map_err(std::io::Error::from).map_err(Failure::from);
        let stat = stat.map_err(StoreError::Refused)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
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
            .remedy("free some space, or name another OPENCLAW_PIPELINE_HOME"),
        ))
    }
}
