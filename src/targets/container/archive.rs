//! Archives of a containerised gateway's state.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::super::site::Site;
use super::super::{Work, archive};
use super::engine::{Engine, failure};
use super::{compose, container, owner, state, tarball};
use crate::assets::RESTORE_IN_CONTAINER;
use crate::domain::Failure;
use crate::exec::{Cmd, free_bytes};

/// Where an archive passes through inside a container: on no volume.
const SCRATCH: &str = "/tmp/openclaw-pipeline-backup";
/// How long making or unpacking an archive may take.
const DEADLINE: Duration = Duration::from_secs(1800);
/// What the container that unpacks an archive is labelled with, beside its owner.
const HELPER: &str = "io.openclaw.pipeline.helper=restore";

/// Makes a verified archive with the gateway's own tool inside the running container, and copies
/// it out.
pub(super) async fn create(
    engine: &Engine,
    site: &Site,
    into: &Path,
    work: Work<'_>,
) -> Result<(), Failure> {
    if !state::require(engine, site).await?.takes_commands() {
        let name = &site.deployment.name;
        return Err(Failure::conflict(format!(
            "{name} does not run, and a backup is made inside the running gateway's container"
        ))
        .remedy(format!("start it first: openclaw-pipeline start {name}")));
    }
    let container = container(site);
    let inside = |args: &[&str]| -> Result<Cmd, Failure> {
        let mut cmd = engine.docker();
        cmd.args(["container", "exec", &container]).args(args);
        cmd.deadline(DEADLINE).cancel_on(work.cancel).hold(work.lock)?;
        Ok(cmd)
    };
    let clear = ["sh"].into_iter().chain(archive::clear_args(SCRATCH)).collect::<Vec<_>>();
    inside(&clear)?.output().await?;
    let made = inside(&["mkdir", "-m", "0700", SCRATCH])?.output().await?;
    if !made.success() {
        return Err(failure(&made));
    }
    let mut cmd = inside(&["node", "/app/openclaw.mjs"])?;
    let output = cmd.args(archive::create_args(SCRATCH)).output().await?;
    let copied = match archive::created(&output) {
        Ok(path) => copy_out(engine, &container, &path, into, work).await,
        Err(failure) => Err(failure),
    };
    inside(&["rm", "-rf", SCRATCH])?.output().await?;
    copied
}

async fn copy_out(
    engine: &Engine,
    container: &str,
    path: &str,
    into: &Path,
    work: Work<'_>,
) -> Result<(), Failure> {
    if !path.starts_with(SCRATCH) {
        return Err(Failure::failed("the gateway's backup lies where it was not asked for"));
    }
    // It lies here twice, plain and sealed; and the gateway says how big it is.
    let bound = free_bytes(into.parent().unwrap_or(into))? / 2;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(into)?;
    let mut copy = engine.docker();
    copy.args(["container", "cp", &format!("{container}:{path}"), "-"]);
    copy.deadline(DEADLINE).cancel_on(work.cancel).hold(work.lock)?;
    match tarball::take_out(&mut copy, bound, file).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure::failed("the gateway's backup is not where it was made")),
        Err(failure) => Err(failure.context("the gateway's backup")),
    }
}

/// Unpacks an archive in a container of the deployment's image that has its volume, and puts the
/// state that is in it in place. The gateway's own container does not run.
pub(super) async fn restore(
    engine: &Engine,
    site: &Site,
    from: &Path,
    work: Work<'_>,
) -> Result<(), Failure> {
    let image = site.deployment.facts.artefact.clone().ok_or_else(|| {
        Failure::failed("the image to restore with is not known").remedy("launch it again")
    })?;
    state::require(engine, site).await?;
    let call = |args: &[&str]| -> Result<Cmd, Failure> {
        let mut cmd = engine.docker();
        cmd.args(args);
        cmd.deadline(DEADLINE).cancel_on(work.cancel).hold(work.lock)?;
        Ok(cmd)
    };
    // What a killed restore left is of no use.
    compose::remove_labelled(engine, site, &[&format!("label={HELPER}")], work).await?;
    let (id, name) = (
        format!("{}={}", owner::ID, site.deployment.id),
        format!("{}={}", owner::NAME, site.deployment.name),
    );
    let mut create = call(&["container", "create", "--label", &id, "--label", &name])?;
    let made = create
        .args(["--label", HELPER])
        .args(["--network", "none"])
        .args(["--cap-drop", "ALL", "--security-opt", "no-new-privileges"])
        .args(["--volumes-from", &container(site)])
        .args(["--env", "OPENCLAW_STATE_DIR=/tmp/empty"])
        .args(["--env", "OPENCLAW_CONFIG_PATH=/tmp/empty/openclaw.json"])
        .args(["--entrypoint", "sh", &image, "-c", RESTORE_IN_CONTAINER])
        .output()
        .await?;
    if !made.success() {
        return Err(failure(&made));
    }
    let helper = made.stdout.trim();
    let done = unpack(&call, helper, from).await;
    call(&["container", "rm", "-f", helper])?.output().await?;
    done
}

async fn unpack(
    call: &impl Fn(&[&str]) -> Result<Cmd, Failure>,
    helper: &str,
    from: &Path,
) -> Result<(), Failure> {
    let file = std::fs::File::open(from)?;
    let size = file.metadata()?.len();
    let mut copy = call(&["container", "cp", "-", &format!("{helper}:/tmp")])?;
    // A state may be larger than this machine's memory.
    let stream = tarball::of_file("archive.tar.gz", size, file)?;
    let output = copy.stdin_from(stream).output().await?;
    if !output.success() {
        return Err(failure(&output));
    }
    let output = call(&["container", "start", "--attach", helper])?.output().await?;
    if output.success() {
        Ok(())
    } else {
        Err(archive::refused("the backup could not be put back", &output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_works_where_the_state_lies() {
        let (script, state) = (RESTORE_IN_CONTAINER, super::super::STATE);
        assert!(script.contains(&format!("cd {state}\n")));
        assert!(script.contains(&format!("--target {state}/.restored")));
        assert!(script.contains(super::super::WORKSPACE));
    }
}
