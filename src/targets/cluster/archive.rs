//! Archives of the state of a gateway on a cluster.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::{At, inside, names, state};
use crate::domain::Failure;
use crate::exec::free_bytes;
use crate::targets::container::RESTORE;
use crate::targets::{Work, archive};

/// Where an archive passes through inside the pod: on no volume.
const SCRATCH: &str = "/tmp/openclaw-pipeline-backup";
/// Where the restore script expects it.
const ARCHIVE: &str = "/tmp/archive.tar.gz";
/// How long making or unpacking an archive may take.
const DEADLINE: Duration = Duration::from_secs(1800);

impl At<'_> {
    /// Makes a verified archive with the gateway's own tool, and copies it to a file here.
    pub(super) async fn archive(&self, into: &Path, work: Work<'_>) -> Result<(), Failure> {
        let name = &self.site.deployment.name;
        let pod = state::running_pod(&self.cluster, &self.namespace).await?.ok_or_else(|| {
            Failure::conflict(format!(
                "{name} does not run, and a backup is made inside the running gateway's pod"
            ))
            .remedy(format!("start it first: openclaw-pipeline start {name}"))
        })?;
        let inside = self.inside(&pod, names::GATEWAY)?;
        let call = |program: &str, args: &[&str]| -> Result<crate::exec::Cmd, Failure> {
            let mut cmd = inside.cmd(program);
            cmd.args(args).deadline(DEADLINE).cancel_on(work.cancel).hold(work.lock)?;
            Ok(cmd)
        };
        call("rm", &["-rf", SCRATCH])?.output().await?;
        let made = call("mkdir", &["-m", "0700", SCRATCH])?.output().await?;
        if !made.success() {
            return Err(Failure::failed(format!("the pod: {}", made.last_line())));
        }
        let mut cmd = call(inside::OPENCLAW[0], &inside::OPENCLAW[1..])?;
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
            )))
        };
        self.remove_pod(names::ASIDE).await?;
        done
    }
}

async fn copy_out(mut cmd: crate::exec::Cmd, into: &Path) -> Result<(), Failure> {
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
