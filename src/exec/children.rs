//! The children of whoever holds a lock, written down beside it.
//!
//! A child inherits the lock, but what it starts itself may not: some programs close every file
//! that they did not open. So each child is recorded with its process group, start time and boot,
//! and a successor ends what is left of these groups before it acts. Refuses to signal a group
//! whose number was given away since.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::identity::{self, ProcessId, boot_id};
use super::wait;

/// How long they may take to end. Whatever saves its state when it is interrupted still holds the
/// lock, and had its time; what a shell started in the background does not hear of an interrupt.
const DEADLINES: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(2)),
    (Signal::TERM, Duration::from_secs(10)),
    (Signal::KILL, Duration::from_secs(5)),
];

/// The record of a lock.
pub(super) fn path(lock: &Path) -> PathBuf {
    let mut name = lock.as_os_str().to_owned();
    name.push(".children");
    name.into()
}

/// Writes a child down. It leads a process group of its own.
pub(super) fn record(path: &Path, child: &ProcessId) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let mut line = serde_json::to_vec(child)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Ends what is left of the children of whoever held a lock before, and begins a new record. The
/// caller holds the lock; `false` when some of them do not end.
pub async fn end_left(lock: &Path) -> io::Result<bool> {
    let path = path(lock);
    let recorded = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let boot = boot_id()?;
    // A line that a full disk cut short names nobody.
    let leaders: Vec<ProcessId> = BufReader::new(recorded)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok())
        .filter(|child: &ProcessId| child.boot_id == boot && !identity::is_given_away(child))
        .collect();
    for (signal, deadline) in DEADLINES {
        for process in left(&leaders)? {
            process.signal(signal)?;
        }
        let gone = wait::until(deadline, || {
            let left = left(&leaders);
            async move { left.is_ok_and(|left| left.is_empty()).then_some(()) }
        });
        if gone.await.is_some() {
            fs::remove_file(&path)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The living processes of these leaders' groups. While a group has a member, the system gives
/// its number to no new process.
fn left(leaders: &[ProcessId]) -> io::Result<Vec<ProcessId>> {
    if leaders.is_empty() {
        return Ok(Vec::new());
    }
    identity::members(|group| leaders.iter().any(|leader| leader.pid == group))
}

#[cfg(test)]
mod tests {
    use super::super::{Cmd, LockFile};
    use super::*;

    #[tokio::test]
    async fn a_child_that_holds_a_lock_is_written_down() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock_path = dir.path().join("lock");
        let lock = LockFile::try_acquire(&lock_path, "test").expect("tries").expect("is free");
        Cmd::new("true").hold(&lock).expect("duplicates").output().await.expect("it ran");
        let text = fs::read_to_string(path(&lock_path)).expect("written");
        let child: ProcessId = serde_json::from_str(text.trim()).expect("one line");
        assert_eq!(child.boot_id, boot_id().expect("a boot"));
        assert!(end_left(&lock_path).await.expect("reads"));
        assert!(!path(&lock_path).exists(), "the record begins anew");
    }

    #[tokio::test]
    async fn what_a_child_started_is_ended_though_it_holds_no_lock() {
        let dir = tempfile::tempdir().expect("a directory");
        let (lock, pid_file) = (dir.path().join("lock"), dir.path().join("pid"));
        let log = tempfile::tempfile().expect("a file");
        let script =
            format!("sleep 600 & echo $! >{0}.new; mv {0}.new {0}; wait", pid_file.display());
        let mut leader = Cmd::new("sh").arg("-c").arg(script).supervised(&log).expect("starts");
        let pid = leader.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
        record(&path(&lock), &ProcessId::of(pid).expect("it runs")).expect("writes");
        let read = || async { fs::read_to_string(&pid_file).ok() };
        let told = wait::until(Duration::from_secs(60), read).await.expect("it says");
        let sleeper = ProcessId::of(told.trim().parse().expect("a number")).expect("it lives");
        leader.kill().await.expect("ends");
        assert!(sleeper.is_alive());
        assert!(end_left(&lock).await.expect("reads"), "it ended");
        assert!(!sleeper.is_alive());
    }

    #[tokio::test]
    async fn a_number_that_was_given_away_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = dir.path().join("lock");
        let log = tempfile::tempfile().expect("a file");
        let mut child = Cmd::new("sleep").arg("600").supervised(&log).expect("starts");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
        let process = ProcessId::of(pid).expect("it runs");
        // The one that had the number before started earlier.
        let before = ProcessId { start: process.start - 1, ..process.clone() };
        record(&path(&lock), &before).expect("writes");
        assert!(end_left(&lock).await.expect("reads"));
        assert!(process.is_alive());
        child.kill().await.expect("ends");
    }
}
