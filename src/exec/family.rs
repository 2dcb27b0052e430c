//! The processes that a process has started, directly or through others.
//!
//! Owns finding them, and ending them all. A tool that made a session of its own has left its
//! group, and one whose parent ended has lost its place in the family, unless the process at its
//! head adopts orphans. Refuses to signal by number alone: each is told from whoever gets its
//! number next.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, set_child_subreaper, waitpid};

use super::identity::{ProcessId, Stat, boot_id, stat};
use super::wait;

/// How long killed processes may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// From now on, what this process's children started and left behind becomes its own child.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// What a process has started and what that has, ended ones that nobody waited for included.
pub fn descendants(head: i32) -> io::Result<Vec<ProcessId>> {
    let boot_id = boot_id()?;
    let mut children: BTreeMap<i32, Vec<(i32, Stat)>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends just now cannot be read.
        if let Ok(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push((pid, stat));
        }
    }
    let mut found = Vec::new();
    let mut heads = vec![head];
    while let Some(head) = heads.pop() {
        for (pid, stat) in children.remove(&head).unwrap_or_default() {
            heads.push(pid);
            found.push(ProcessId { pid, start: stat.start, boot_id: boot_id.clone() });
        }
    }
    Ok(found)
}

/// Where each process of one of these programs works, with the value of one variable that it was
/// started with. One that cannot be looked at is another user's.
pub fn running(programs: &[&str], variable: &str) -> io::Result<Vec<(PathBuf, Option<PathBuf>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let (Ok(program), Ok(dir)) =
            (fs::read_link(entry.path().join("exe")), fs::read_link(entry.path().join("cwd")))
        else {
            continue;
        };
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        if !programs.contains(&name.as_ref()) {
            continue;
        }
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut pairs = environment.split(|byte| *byte == 0);
        let value = pairs.find_map(|pair| {
            let value = pair.strip_prefix(variable.as_bytes())?.strip_prefix(b"=")?;
            Some(PathBuf::from(OsStr::from_bytes(value)))
        });
        found.push((dir, value));
    }
    Ok(found)
}

/// Kills every descendant of this process, and waits until they are gone. What could not be ended
/// within ten seconds (another user's, or stuck in the kernel) is answered.
pub async fn end_descendants() -> io::Result<Vec<ProcessId>> {
    let me = getpid().as_raw_pid();
    // A child whose parent is killed comes here, so a later look finds whoever was just started.
    let ended = wait::until(KILL_DEADLINE, || async move {
        match descendants(me) {
            Ok(left) if left.is_empty() => Some(Ok(())),
            Ok(left) => {
                kill(&left);
                left.iter().for_each(reap);
                None
            }
            Err(error) => Some(Err(error)),
        }
    });
    match ended.await {
        Some(ended) => ended.map(|()| Vec::new()),
        None => descendants(me),
    }
}

/// Kills those that still live.
pub fn kill(processes: &[ProcessId]) {
    for process in processes {
        if let Err(error) = process.signal(Signal::KILL) {
            tracing::debug!(pid = process.pid, %error, "a process could not be ended");
        }
    }
}

/// Waits for adopted children that have ended, so that they do not pile up. `ended` remembers
/// those of the last look: a child that somebody here waits for is gone by the next one.
pub fn reap_adopted(ended: &mut Vec<ProcessId>) -> io::Result<()> {
    let mut left = descendants(getpid().as_raw_pid())?;
    left.retain(|process| !process.is_alive());
    ended.retain(|process| left.contains(process));
    ended.iter().for_each(reap);
    *ended = left;
    Ok(())
}

fn reap(process: &ProcessId) {
    // Another one's child, or one that still runs, is no error here.
    let _ = waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;

    #[tokio::test]
    async fn where_a_program_works_is_found_with_what_it_was_started_with() {
        let log = tempfile::tempfile().expect("a file");
        let dir = tempfile::tempdir().expect("a directory");
        let mut cmd = Cmd::new("sleep");
        cmd.arg("600").cwd(dir.path()).env("A_PLACE", "there");
        let mut child = cmd.supervised(&log).expect("starts");
        let at = dir.path().canonicalize().expect("a path");
        let is_it = |(place, value): &(PathBuf, Option<PathBuf>)| {
            *place == at && value.as_deref() == Some(std::path::Path::new("there"))
        };
        let found = wait::until(Duration::from_secs(20), || async {
            running(&["sleep", "coreutils"], "A_PLACE").ok()?.iter().any(is_it).then_some(())
        });
        found.await.expect("it is found");
        assert!(!running(&["no-such-program"], "A_PLACE").expect("looks").iter().any(is_it));
        child.kill().await.expect("ends");
    }

    #[tokio::test]
    async fn a_session_of_its_own_is_no_way_out_of_the_family() {
        let log = tempfile::tempfile().expect("a file");
        let script = "setsid sh -c 'sleep 600 & wait' & wait";
        let mut child = Cmd::new("sh").args(["-c", script]).supervised(&log).expect("starts");
        let head = i32::try_from(child.id().expect("it runs")).expect("a pid");
        let found = wait::until(Duration::from_secs(20), || async {
            descendants(head).ok().filter(|found| found.len() == 2)
        });
        let found = found.await.expect("the shell of the other session, and its sleep");
        assert!(found.iter().all(ProcessId::is_alive));
        kill(&found);
        let gone = wait::until(Duration::from_secs(20), || async {
            found.iter().all(|process| !process.is_alive()).then_some(())
        });
        gone.await.expect("they are gone");
        child.wait().await.expect("is waited for");
        assert_eq!(descendants(head).expect("looks"), []);
    }
}
