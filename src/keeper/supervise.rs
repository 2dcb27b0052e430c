//! Supervising a `process` gateway: starting it again with back-off and a bound, mending it once
//! after exit 78, and ending it when told to.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use super::{Keeper, rotate_log, say};
use crate::domain::{Change, Failure};
use crate::exec::identity::resident_mib;
use crate::exec::{LockFile, ProcessId, family, wait};
use crate::gateway::cause;
use crate::targets::keeper::READY;
use crate::targets::process::{ProcessTarget, RunRecord, RunState, tail};
use crate::targets::{Site, Target};

/// The exit code that says that the state needs `doctor --fix` and a restart will not help.
const NEEDS_DOCTOR: i32 = 78;
/// More ends than this within [`BOUND_WINDOW`] and the gateway is left alone.
const BOUND: usize = 5;
/// The window of the bound.
const BOUND_WINDOW: Duration = Duration::from_secs(600);
/// The pause before the first restart; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A gateway that ran this long before it ended starts the pauses over.
const STEADY: Duration = Duration::from_secs(300);
/// How long a gateway may take to drain and end: its own limit is 330 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(332);
/// How often the log's size and the memory are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long `doctor --fix` may take.
const DOCTOR_DEADLINE: Duration = Duration::from_secs(600);

/// Supervises until told to end, or until the gateway is left alone.
pub(super) async fn supervise(
    keeper: &Keeper,
    lock: &LockFile,
    end: &CancellationToken,
) -> Result<(), Failure> {
    let mut ends: VecDeque<Instant> = VecDeque::new();
    let mut pause = FIRST_PAUSE;
    let mut mended = false;
    let mut restarts = 0;
    let mut told = false;
    // Tools that the gateway starts may leave its group, and outlive it: they come here then.
    family::adopt_orphans()?;
    loop {
        let site = keeper.site()?;
        let begun = Instant::now();
        let mut child = start(keeper, &site, lock)?;
        let gateway = identity(&child)?;
        record(&site, RunState::Running { gateway: gateway.clone() }, restarts)?;
        if !told {
            say(READY);
            told = true;
        }
        let status = tokio::select! {
            status = attend(&mut child, &site, &gateway) => status?,
            () = end.cancelled() => {
                stop(&mut child, &gateway).await?;
                end_tools().await?;
                return record(&site, RunState::Stopped, restarts);
            }
        };
        end_tools().await?;
        let (code, cause) = why(&site, status)?;
        tracing::warn!(name = %keeper.name, ?code, "the gateway ended: {cause}");
        let held = if code == Some(NEEDS_DOCTOR) && mended {
            Some(RunState::Held { cause: cause.clone() })
        } else if code == Some(NEEDS_DOCTOR) {
            mended = true;
            record(&site, RunState::Mending { cause: cause.clone() }, restarts)?;
            mend(keeper, &site, lock, end).await;
            None
        } else {
            ends.push_back(begun);
            ends.retain(|at| at.elapsed() < BOUND_WINDOW);
            (ends.len() > BOUND).then(|| RunState::GaveUp { code, cause: cause.clone() })
        };
        if let Some(state) = held {
            record(&site, state, restarts)?;
            // An operation that is at work says itself how it ends; otherwise this is how the
            // deployment is found from now on.
            keeper.engine.store().observe(&keeper.name, Change::Degrade)?;
            return Ok(());
        }
        restarts += 1;
        if begun.elapsed() > STEADY {
            pause = FIRST_PAUSE;
        }
        record(&site, RunState::BackingOff { code, cause }, restarts)?;
        tokio::select! {
            () = wait::back_off(pause) => {}
            () = end.cancelled() => return record(&site, RunState::Stopped, restarts),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn start(keeper: &Keeper, site: &Site, lock: &LockFile) -> Result<Child, Failure> {
    let log = log(site)?;
    let mut cmd = keeper.engine.targets().process().gateway(site)?;
    let child = cmd.hold(lock)?.supervised(&log)?;
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // A core of it would hold every key; and no runaway child eats every file or process.
        for (resource, most) in
            [(Resource::Core, 0), (Resource::Nofile, 65_536), (Resource::Nproc, 4096)]
        {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            if let Err(error) = prlimit(Some(pid), resource, limit) {
                tracing::debug!(?resource, %error, "a limit could not be set");
            }
        }
    }
    Ok(child)
}

fn log(site: &Site) -> Result<File, Failure> {
    let path = ProcessTarget::log_path(&site.layout, &site.deployment.name);
    Ok(OpenOptions::new().create(true).append(true).mode(0o600).open(path)?)
}

fn identity(child: &Child) -> Result<ProcessId, Failure> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = pid.ok_or_else(|| Failure::failed("the gateway ended at once"))?;
    Ok(ProcessId::of(pid)?)
}

/// Waits for the gateway's end, and meanwhile keeps its log and its memory bounded.
async fn attend(
    child: &mut Child,
    site: &Site,
    gateway: &ProcessId,
) -> Result<ExitStatus, Failure> {
    let path = ProcessTarget::log_path(&site.layout, &site.deployment.name);
    let limit = u64::from(site.deployment.spec.memory_mib);
    let mut ended = Vec::new();
    loop {
        if let Ok(status) = tokio::time::timeout(LOOK_EVERY, child.wait()).await {
            return Ok(status?);
        }
        if let Err(error) = family::reap_adopted(&mut ended) {
            tracing::debug!(%error, "what ended could not be waited for");
        }
        if let Err(error) = rotate_log::rotate(&path) {
            tracing::warn!(%error, "the log could not be turned over");
        }
        if let Some(used) = resident_mib(gateway.pid).filter(|used| *used > limit) {
            tracing::warn!(used, limit, "the gateway is past its memory limit");
            note(
                site,
                &format!(
                    "the gateway used {used} MiB, more than its limit of {limit} MiB, and is \
                     restarted"
                ),
            )?;
            gateway.signal(Signal::TERM)?;
        }
    }
}

/// Writes a line of the keeper's own into the gateway's log.
fn note(site: &Site, line: &str) -> Result<(), Failure> {
    use std::io::Write;
    Ok(writeln!(log(site)?, "{} openclaw-pipeline: {line}", crate::store::now())?)
}

/// Lets the gateway drain, and ends it and what it started when it does not.
async fn stop(child: &mut Child, gateway: &ProcessId) -> Result<(), Failure> {
    gateway.signal(Signal::TERM)?;
    let ended = tokio::time::timeout(DRAIN_DEADLINE, child.wait()).await;
    // Most tools that the gateway started are in its group.
    if let Some(group) = Pid::from_raw(gateway.pid) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    if ended.is_err() {
        child.wait().await?;
    }
    Ok(())
}

/// Ends what a gateway that has ended left running: it would hold its port and its files, or go on
/// with what nobody asks for any more.
async fn end_tools() -> Result<(), Failure> {
    let left = family::end_descendants().await?;
    if !left.is_empty() {
        let left: Vec<i32> = left.iter().map(|process| process.pid).collect();
        tracing::warn!(?left, "what the gateway started could not be ended");
    }
    Ok(())
}

/// Why it ended, in its own words.
fn why(site: &Site, status: ExitStatus) -> Result<(Option<i32>, String), Failure> {
    use std::os::unix::process::ExitStatusExt;
    let log = tail(&ProcessTarget::log_path(&site.layout, &site.deployment.name), 32 * 1024)?;
    let mut cause = site.scrub(&cause::of_log(&log), 400);
    if let Some(signal) = status.signal() {
        cause = format!("it was ended by signal {signal}; its last word: {cause}");
    }
    Ok((status.code(), cause))
}

/// Runs the gateway's own doctor once. Whether it helped shows at the next start.
async fn mend(keeper: &Keeper, site: &Site, lock: &LockFile, end: &CancellationToken) {
    let args = ["doctor", "--fix", "--yes", "--non-interactive"];
    let doctor = async {
        note(site, "the gateway exited with 78: running openclaw doctor --fix once")?;
        let mut cmd = keeper.engine.targets().process().openclaw(site, &args, false)?;
        let output = cmd.hold(lock)?.deadline(DOCTOR_DEADLINE).cancel_on(end).output().await?;
        note(site, &format!("openclaw doctor --fix: {}", site.scrub(&output.last_line(), 300)))
    };
    if let Err(failure) = doctor.await {
        tracing::warn!(name = %keeper.name, "doctor --fix: {failure}");
    }
}

fn record(site: &Site, state: RunState, restarts: u32) -> Result<(), Failure> {
    RunRecord { state, restarts }.write(&site.dir())
}
