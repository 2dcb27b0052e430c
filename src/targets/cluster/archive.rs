//! Archives of the state of a gateway on a cluster.
//!
//! Owns the room that they need, which is on the workspace's volume. Refuses to make one, or to put one
//! back, that does not fit: what is in place stays as it is.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::inside::{self, Inside};
use super::{At, names, state};
use crate::assets::kubernetes;
use crate::domain::Failure;
use crate::exec::{Cmd, free_bytes};
use crate::targets::{Work, archive};

/// Where an archive passes through inside the gateway's pod, and what its making needs beside it.
const SCRATCH: &str = "/home/node/openclaw/scratch/backup";
const SCRATCH_TMP: &str = "/home/node/openclaw/scratch/backup/tmp";
/// Where the restore script expects it, in a pod that has the volumes whole.
const ARCHIVE: &str = "/volumes/workspace/scratch/archive.tar.gz";
/// Puts an archive's state in place of the present one.
const RESTORE: &str = kubernetes::RESTORE;
/// Says how much the gateway keeps, and how much is free for archives, in KiB.
const ROOM: &str =
    "du -skc /home/node/.openclaw /home/node/openclaw/workspace 2>/dev/null | tail -n 1
df -Pk /home/node/openclaw/scratch | tail -n 1";
/// How long making or unpacking an archive may take.
const DEADLINE: Duration = Duration::from_secs(1800);
/// What is to be free beside it, in KiB.
const SPARE: u64 = 64 << 10;

/// How much a gateway keeps, and how much is free for archives of it, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    kept: u64,
    free: u64,
}

impl Room {
    /// As the pod said it.
    fn read(said: &str) -> Option<Self> {
        let mut lines = said.lines();
        let kept = lines.next()?.split_whitespace().next()?.parse().ok()?;
        let free = lines.next()?.split_whitespace().nth(3)?.parse().ok()?;
        Some(Self { kept, free })
    }

    /// Fails unless there is room for what is kept so often, once more.
    fn require(self, times: u64, what: &str) -> Result<(), Failure> {
        let needed = self.kept.saturating_mul(times).saturating_add(SPARE);
        if self.free >= needed {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "the workspace's volume has {} MiB free, and {what} needs {} MiB there",
            self.free >> 10,
            needed >> 10
        ))
        .remedy(
            "free some space in the workspace, or raise the claim openclaw-workspace \
             (docs/kubernetes.md says how)",
        ))
    }
}

impl At<'_> {
    /// The pod that runs, from inside.
    async fn running(&self) -> Result<Inside, Failure> {
        let name = &self.site.deployment.name;
        let pod = state::running_pod(&self.cluster, &self.namespace).await?.ok_or_else(|| {
            Failure::conflict(format!(
                "{name} does not run, and a backup is made inside the running gateway's pod"
            ))
            .remedy(format!("start it first: openclaw-pipeline start {name}"))
        })?;
        self.inside(&pod, names::GATEWAY)
    }

    /// Fails unless a backup of now could be made, and put back.
    pub(super) async fn may_go_back(&self, work: Work<'_>) -> Result<(), Failure> {
        let inside = self.running().await?;
        // The archive is gone when what was in it lies beside what is in place.
        room(&inside, work).await?.require(2, "an update that can be gone back on").map(drop)
    }

    /// Makes a verified archive with the gateway's own tool, and copies it to a file here.
    pub(super) async fn archive(&self, into: &Path, work: Work<'_>) -> Result<(), Failure> {
        let inside = self.running().await?;
        let call = |program: &str, args: &[&str]| -> Result<Cmd, Failure> {
            let mut cmd = inside.cmd(program);
            cmd.args(args).deadline(DEADLINE).cancel_on(work.cancel).hold(work.lock)?;
            Ok(cmd)
        };
        call("sh", &archive::clear_args(SCRATCH))?.output().await?;
        room(&inside, work).await?.require(1, "a backup")?;
        let made = call("mkdir", &["-p", "-m", "0700", SCRATCH, SCRATCH_TMP])?.output().await?;
        if !made.success() {
            return Err(Failure::failed(format!("the pod: {}", made.last_line())));
        }
        let mut cmd = call(inside::OPENCLAW[0], &inside::OPENCLAW[1..])?;
        cmd.env("TMPDIR", SCRATCH_TMP);
        let output = cmd.args(archive::create_args(SCRATCH)).output().await?;
        let copied = match archive::created(&output) {
            Ok(path) if path.starts_with(SCRATCH) => copy_out(call("cat", &[&path])?, into).await,
            Ok(_) => Err(Failure::failed("the gateway's backup lies where it was not asked for")),
            Err(failure) => Err(failure),
        };
        call("rm", &["-rf", SCRATCH])?.output().await?;
        copied
    }

    /// Puts an archive's state in place of the present one, in a pod that has the volumes. The gateway
    /// does not run.
    pub(super) async fn restore(&self, from: &Path, work: Work<'_>) -> Result<(), Failure> {
        // One that somebody's shell left may end in the middle of it.
        self.remove_pod(names::ASIDE).await?;
        let aside = self.aside(Some(work)).await?;
        let file = std::fs::File::open(from)?;
        let mut cmd = aside.cmd("sh");
        cmd.args(["-c", &format!("umask 077; cat >{ARCHIVE}")]).stdin_from(file);
        cmd.deadline(DEADLINE).cancel_on(work.cancel).hold(work.lock)?;
        let copied = cmd.output().await?;
        let done = if copied.success() {
            let mut cmd = aside.cmd("sh");
            cmd.args(["-c", RESTORE]);
            cmd.env("OPENCLAW_STATE_DIR", "/tmp/empty");
            cmd.env("OPENCLAW_CONFIG_PATH", "/tmp/empty/openclaw.json");
            cmd.deadline(DEADLINE).cancel_on(work.cancel).hold(work.lock)?;
            let output = cmd.output().await?;
            if output.success() {
                Ok(())
            } else {
                Err(archive::refused("the backup could not be put back", &output))
            }
        } else {
            Err(Failure::failed(format!(
                "the backup did not reach the pod: {}",
                copied.last_line()
            ))
            .remedy("see that the workspace's volume has room for it, then restore it again"))
        };
        self.remove_pod(names::ASIDE).await?;
        done
    }
}

async fn room(inside: &Inside, work: Work<'_>) -> Result<Room, Failure> {
    let mut cmd = inside.cmd("sh");
    cmd.args(["-c", ROOM]).deadline(DEADLINE).cancel_on(work.cancel).hold(work.lock)?;
    let output = cmd.output().await?;
    let read = Room::read(&output.stdout);
    read.ok_or_else(|| {
        Failure::failed(format!(
            "the pod does not say how much room it has: {}",
            output.last_line()
        ))
    })
}

async fn copy_out(mut cmd: Cmd, into: &Path) -> Result<(), Failure> {
    // It lies here twice, plain and sealed; and the gateway says how big it is.
    let bound = free_bytes(into.parent().unwrap_or(into))? / 2;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(into)?;
    let (output, copied) = cmd
        .read_by(move |stdout| {
            let mut bounded = std::io::Read::take(stdout, bound + 1);
            let copied = std::io::copy(&mut bounded, &mut file)?;
            file.flush()?;
            Ok::<u64, std::io::Error>(copied)
        })
        .await?;
    if copied? > bound {
        return Err(Failure::failed("the gateway's backup is larger than what is free here"));
    }
    if output.success() {
        Ok(())
    } else {
        Err(Failure::failed(format!("the gateway's backup: {}", output.last_line())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::container::{STATE, WORKSPACE};

    #[test]
    fn room_is_read_as_the_tools_print_it() {
        let said =
            "2048\ttotal\n/dev/nvme1n1  10255636  4096  10235156  1% /home/node/openclaw/scratch\n";
        let room = Room { kept: 2048, free: 10_235_156 };
        assert_eq!(Room::read(said), Some(room));
        for odd in ["", "2048\ttotal\n", "x\ttotal\na b c d\n", "1\ttotal\na b c\n"] {
            assert_eq!(Room::read(odd), None, "{odd:?}");
        }
        room.require(2, "a backup").expect("room");
        let full = Room { kept: 5 << 20, free: 9 << 20 };
        full.require(1, "a backup").expect("room for one");
        let failure = full.require(2, "an update").expect_err("no room for two");
        assert!(
            failure.message.contains("9216 MiB free, and an update needs 10304 MiB"),
            "{failure}"
        );
    }

    #[test]
    fn the_script_works_where_the_volumes_lie() {
        assert!(RESTORE.contains(&format!("find_in_archive {STATE})")));
        assert!(RESTORE.contains(&format!("find_in_archive {WORKSPACE})")));
        assert!(
            ARCHIVE.ends_with("/scratch/archive.tar.gz")
                && RESTORE.contains("$scratch/archive.tar.gz")
        );
        assert!(ROOM.contains(STATE) && ROOM.contains(WORKSPACE));
    }
}
