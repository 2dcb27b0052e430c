//! Lock files that live as long as the last process that holds them.
//!
//! An flock belongs to the open file, and children inherit it: while a killed program's child
//! still runs, the lock is held, and nobody starts the same work beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::identity::ProcessId;

/// A held lock. It is released when the last copy of it is closed.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

/// Who took a lock, for messages and for signals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process that took it.
    pub process: ProcessId,
    /// What it does, in a word.
    pub purpose: String,
}

impl LockFile {
    /// Takes the lock, or answers `None` while someone else holds it.
    pub fn try_acquire(path: &Path, purpose: &str) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut lock = Self { file, path: path.to_owned() };
        let holder = Holder { process: ProcessId::current()?, purpose: purpose.to_owned() };
        lock.record(&serde_json::to_vec(&holder)?)?;
        Ok(Some(lock))
    }

    /// Whether somebody holds the lock now.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Who took the lock last.
    pub fn holder(path: &Path) -> Option<Holder> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// The processes of this user that hold the lock: the last ones of whoever took it, when that
    /// one is gone. A process that only looks, or tries to take it, has the file open as well, and
    /// is none of them.
    pub fn held_by(path: &Path) -> io::Result<Vec<i32>> {
        let wanted = fs::metadata(path)?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(entry) = entry else { continue };
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Processes of other users, and those that end just now, cannot be read.
            let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
            let holds = descriptors.flatten().any(|descriptor| {
                let is_open = fs::metadata(descriptor.path())
                    .is_ok_and(|file| file.ino() == wanted.ino() && file.dev() == wanted.dev());
                // The kernel names the locks of an open file there, also of an inherited one.
                let info = || entry.path().join("fdinfo").join(descriptor.file_name());
                is_open && fs::read_to_string(info()).is_ok_and(|info| info.contains("FLOCK"))
            });
            if holds {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// Where its children are written down.
    pub(super) fn children(&self) -> PathBuf {
        super::children::path(&self.path)
    }

    /// A copy for a child to inherit.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What is there is written over: on a full disk there may be no other room for it.
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(bytes)?;
        self.file.set_len(bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_and_the_other_sees_who() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        assert!(!LockFile::is_held(&path).expect("looks"));
        let lock = LockFile::try_acquire(&path, "test").expect("tries").expect("is free");
        assert!(LockFile::is_held(&path).expect("looks"));
        assert!(LockFile::try_acquire(&path, "other").expect("tries").is_none());
        let holder = LockFile::holder(&path).expect("is recorded");
        assert_eq!(holder.purpose, "test");
        assert!(holder.process.is_alive());
        let me = i32::try_from(std::process::id()).expect("a pid");
        assert!(LockFile::held_by(&path).expect("scans").contains(&me));
        drop(lock);
        assert!(!LockFile::is_held(&path).expect("looks"));
        let _looking = File::open(&path).expect("opens");
        assert!(!LockFile::held_by(&path).expect("scans").contains(&me), "it only looks");
    }

    #[tokio::test]
    async fn a_child_keeps_the_lock() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        let lock = LockFile::try_acquire(&path, "test").expect("tries").expect("is free");
        let log = File::create(dir.path().join("log")).expect("a log");
        let mut cmd = crate::exec::Cmd::new("sleep");
        let mut child =
            cmd.arg("600").hold(&lock).expect("duplicates").supervised(&log).expect("starts");
        drop(cmd);
        drop(lock);
        assert!(LockFile::is_held(&path).expect("looks"), "the child holds it");
        child.kill().await.expect("ends");
        assert!(!LockFile::is_held(&path).expect("looks"));
    }
}
