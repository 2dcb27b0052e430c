//! Who a process is, beyond its reusable number, and which boot this is.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process that can be told from any other that had or gets its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the boot.
    pub start: u64,
    /// The boot it belongs to.
    pub boot_id: String,
}

impl ProcessId {
    /// This process.
    pub fn current() -> io::Result<Self> {
        Self::of(i32::try_from(std::process::id()).map_err(io::Error::other)?)
    }

    /// The process that has this number now. One that ended and was not waited for yet is one: a
    /// child can be named even when it ended at once.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, start: stat(pid)?.start, boot_id: boot_id()? })
    }

    /// Whether it lives. A zombie does not.
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot_id)
            && stat(self.pid).is_ok_and(|stat| !stat.ended && stat.start == self.start)
    }

    /// Sends it a signal; `false` when it is gone. The signal cannot reach a process that was
    /// given its number since.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if !self.is_alive() {
            return Ok(false);
        }
        match pidfd_send_signal(&handle, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The id of this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The time since the boot, suspended time included. No clock step changes it.
pub fn boottime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// The memory that a process holds, in mebibytes.
pub fn resident_mib(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// Whether a process's number belongs to another one now. A number without a process does not.
pub(super) fn is_given_away(process: &ProcessId) -> bool {
    stat(process.pid).is_ok_and(|stat| stat.start != process.start)
}

/// The living processes whose process group is wanted.
pub(super) fn members(wanted: impl Fn(i32) -> bool) -> io::Result<Vec<ProcessId>> {
    let boot_id = boot_id()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // One that ends just now cannot be read.
        if let Some(pid) = pid
            && let Ok(stat) = stat(pid)
            && !stat.ended
            && wanted(stat.group)
        {
            found.push(ProcessId { pid, start: stat.start, boot_id: boot_id.clone() });
        }
    }
    Ok(found)
}

/// What the process table has of a process.
pub(super) struct Stat {
    /// Nobody waited for it yet.
    pub(super) ended: bool,
    /// The process that it is a child of.
    pub(super) parent: i32,
    group: i32,
    /// In clock ticks since the boot.
    pub(super) start: u64,
}

pub(super) fn stat(pid: i32) -> io::Result<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets, and may hold anything.
    let mut fields = line.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ended = matches!(fields.next(), Some("Z" | "X"));
    // The 22nd field of the file is the 17th after the process group.
    let parent = fields.next().and_then(|field| field.parse().ok());
    let group = fields.next().and_then(|field| field.parse().ok());
    let start = fields.nth(16).and_then(|field| field.parse().ok());
    parent
        .zip(group)
        .zip(start)
        .map(|((parent, group), start)| Stat { ended, parent, group, start })
        .ok_or_else(|| io::Error::other("the process table cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_another_with_its_number_does_not() {
        let mut me = ProcessId::current().expect("this process");
        assert!(me.is_alive());
        me.start += 1;
        assert!(!me.is_alive());
        assert!(!me.signal(Signal::TERM).expect("no process"), "a signal went astray");
    }

    #[tokio::test]
    async fn a_child_that_ended_at_once_has_a_name_and_does_not_live() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let mut child = crate::exec::Cmd::new("true").supervised(&log).expect("starts");
        let pid = i32::try_from(child.id().expect("not waited for")).expect("a pid");
        let ended = crate::exec::wait::until(Duration::from_secs(10), || async {
            stat(pid).is_ok_and(|stat| stat.ended).then_some(())
        });
        ended.await.expect("it ends");
        assert!(!ProcessId::of(pid).expect("it has a name").is_alive());
        child.wait().await.expect("waited for");
    }

    #[test]
    fn memory_is_read() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        assert!(resident_mib(pid).is_some_and(|mib| mib > 0));
    }
}
