//! Small disks, and full ones.
//!
//! Owns a file system in memory that is given back when dropped, and filling one to its last byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::skip;

/// A file system of its own.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one on a directory; `None`, after `skipped: REASON`, for others than root.
    pub fn on(path: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(path).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(path.to_owned()));
        }
        skip("a file system can be mounted by root alone");
        None
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills the disk of a directory to its last byte; the file that does is answered.
pub fn fill(directory: &Path) -> PathBuf {
    let filler = directory.join("filler");
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&filler).expect("a file");
    let full = std::io::copy(&mut std::io::repeat(0), &mut file).expect_err("the disk is full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    filler
}
