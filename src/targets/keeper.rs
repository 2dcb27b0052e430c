//! The handle of a keeper: the small detached process that outlives a command.
//!
//! Owns starting one, telling it to look again, and ending it. What a keeper does stands in
//! [`crate::keeper`]. Its lock says whether one lives; nothing else is believed.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::container::SETTINGS;
use super::site::{Layout, Site};
use crate::domain::{DeploymentName, Failure};
use crate::exec::command::PROXIES;
use crate::exec::{Cmd, LockFile, ProcessId, family, wait};
use crate::secrets::private::create_private_directory;

/// How long a keeper may take to say that it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// How long one may take to end: the gateway drains running turns for up to 315 s.
const STOP_DEADLINE: Duration = Duration::from_secs(340);
/// How long a killed process may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// What a keeper says on its standard output once it has begun.
pub const READY: &str = "ready";

/// Whether a keeper lives. The lock alone does not say so: a gateway inherits it, and outlives a
/// keeper that was killed.
pub fn lives(layout: &Layout, name: &DeploymentName) -> Result<bool, Failure> {
    let path = layout.keeper_lock(name);
    Ok(LockFile::is_held(&path)?
        && LockFile::holder(&path).is_some_and(|holder| holder.process.is_alive()))
}

/// Ends what a keeper that was killed has left, so that it is in nobody's way.
pub async fn end_orphans(layout: &Layout, name: &DeploymentName) -> Result<(), Failure> {
    if lives(layout, name)? { Ok(()) } else { stop(layout, name).await }
}

/// Makes sure that a keeper lives and has looked at the store after this call.
pub async fn ensure(site: &Site) -> Result<(), Failure> {
    let path = site.layout.keeper_lock(&site.deployment.name);
    if LockFile::is_held(&path)?
        && let Some(holder) = LockFile::holder(&path)
        && holder.process.signal(Signal::HUP)?
    {
        return Ok(());
    }
    spawn(site).await
}

/// The file of this program itself.
pub fn own_program() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("the program's own file: {error}")))?;
    // Where it was replaced on disk meanwhile, the kernel still has the one that runs.
    Ok(if program.exists() { program } else { "/proc/self/exe".into() })
}

/// Starts this program again as a keeper, detached, and waits until it says that it has begun.
/// It inherits no lock: it outlives the operation that starts it.
pub async fn spawn(site: &Site) -> Result<(), Failure> {
    let name = &site.deployment.name;
    let program = own_program()?;
    create_private_directory(&site.dir())?;
    let mut log = fs::OpenOptions::new();
    let log = log.create(true).append(true).mode(0o600).open(site.layout.keeper_log(name))?;
    let mut cmd = Cmd::new(program);
    cmd.args(["keep", name.as_str()]).cwd("/");
    cmd.allow(&["OPENCLAW_PIPELINE_LOG"]);
    cmd.allow(&SETTINGS).withhold(&PROXIES);
    if site.deployment.spec.cluster.is_some() {
        // What lets it into the cluster, where a program gives that; and where a pod finds its own.
        cmd.allow_prefix("AWS_").allow_prefix("KUBERNETES_SERVICE_");
    }
    // Outright, and not as this command was given them: the keeper reads no `.env` and no
    // configuration file, and what is relative here is something else in its directory.
    cmd.env("OPENCLAW_PIPELINE_HOME", site.layout.home());
    if let Some(key_file) = site.layout.key_file() {
        cmd.env("OPENCLAW_PIPELINE_KEY_FILE", key_file);
    }
    let mut child = cmd.detached(&log)?;
    let stdout = child.stdout.take();
    let said = async {
        let mut lines = BufReader::new(stdout?).lines();
        lines.next_line().await.ok().flatten()
    };
    let failure = match tokio::time::timeout(READY_DEADLINE, said).await {
        Ok(Some(line)) if line == READY => return Ok(()),
        Ok(Some(line)) => format!(
            "{name}: its keeper could not begin: {}",
            crate::domain::text::clean(&line, 400)
        ),
        Ok(None) | Err(_) => format!("{name}: its keeper did not begin"),
    };
    Err(Failure::failed(failure).remedy(format!("see {}", site.layout.keeper_log(name).display())))
}

/// Asks the keeper of a deployment to end, with what it keeps, and waits until it has.
pub async fn stop(layout: &Layout, name: &DeploymentName) -> Result<(), Failure> {
    let path = layout.keeper_lock(name);
    if !LockFile::is_held(&path)? {
        return Ok(());
    }
    if let Some(holder) = LockFile::holder(&path) {
        holder.process.signal(Signal::TERM)?;
        let gone =
            wait::until(STOP_DEADLINE, || async { (!holder.process.is_alive()).then_some(()) });
        if gone.await.is_none() {
            holder.process.signal(Signal::KILL)?;
        }
    }
    // What still holds the lock are children of a keeper that was killed.
    let mut tools = Vec::new();
    for (signal, deadline) in [(Signal::TERM, STOP_DEADLINE), (Signal::KILL, KILL_DEADLINE)] {
        if !LockFile::is_held(&path)? {
            return Ok(());
        }
        for pid in LockFile::held_by(&path)? {
            // Its tools do not hold the lock, and nobody adopts them any more.
            tools.extend(family::descendants(pid)?);
            if let Ok(process) = ProcessId::of(pid) {
                process.signal(signal)?;
            }
        }
        let free = wait::until(deadline, || async {
            LockFile::is_held(&path).is_ok_and(|held| !held).then_some(())
        });
        if free.await.is_some() {
            family::kill(&tools);
            return Ok(());
        }
    }
    Err(Failure::failed(format!("{name}: the gateway's processes could not be ended")))
}
