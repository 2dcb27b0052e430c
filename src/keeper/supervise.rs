//! Supervising a `process` gateway: starting it again with back-off and a bound, mending it once
//! after exit 78, and ending it when told to.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
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
///
/// Only what happens before the first gateway runs is an error: from then on a record that cannot
/// be written, or a store that does not answer, must not leave a gateway without its keeper. A
/// full disk is enough for that.
pub(super) async fn supervise(
    keeper: &Keeper,
    lock: &LockFile,
    end: &CancellationToken,
) -> Result<(), Failure> {
    let mut ends: VecDeque<Instant> = VecDeque::new();
    let mut pause = FIRST_PAUSE;
    let mut mended = false;
    let mut told = false;
    // Tools that the gateway starts may leave its group, and outlive it: they come here then.
    family::adopt_orphans()?;
    let mut site = keeper.site()?;
    let mut record = Record::new(&site);
    loop {
        match keeper.site() {
            Ok(now) => site = now,
            Err(failure) => warn(keeper, "the deployment as it was is started", &failure),
        }
        let begun = Instant::now();
        let (code, cause) = match start(keeper, &site, lock) {
            Err(failure) if !told => return Err(failure),
            Err(failure) => (None, site.scrub(&failure.to_string(), 400)),
            Ok((mut child, gateway)) => {
                record.write(RunState::Running { gateway: gateway.clone() });
                if !told {
                    say(READY);
                    told = true;
                }
                tokio::select! {
                    ended = attend(keeper, &mut child, &site, &gateway, &mut record) => {
                        end_tools(&gateway).await;
                        ended
                    }
                    () = end.cancelled() => {
                        stop(&mut child, &gateway).await;
                        end_tools(&gateway).await;
                        record.write(RunState::Stopped);
                        return Ok(());
                    }
                }
            }
        };
        tracing::warn!(name = %keeper.name, ?code, "the gateway ended: {cause}");
        let held = if code == Some(NEEDS_DOCTOR) && mended {
            Some(RunState::Held { cause: cause.clone() })
        } else if code == Some(NEEDS_DOCTOR) {
            mended = true;
            record.write(RunState::Mending { cause: cause.clone() });
            mend(keeper, &site, lock, end).await;
            None
        } else {
            ends.push_back(begun);
            ends.retain(|at| at.elapsed() < BOUND_WINDOW);
            (ends.len() > BOUND).then(|| RunState::GaveUp { code, cause: cause.clone() })
        };
        if let Some(state) = held {
            record.write(state);
            // An operation that is at work says itself how it ends; otherwise this is how the
            // deployment is found from now on. Without it, the record says so.
            if let Err(error) = keeper.engine.store().observe(&keeper.name, Change::Degrade) {
                warn(keeper, "its end is not in the store", &error);
            }
            return Ok(());
        }
        record.restarts += 1;
        if begun.elapsed() > STEADY {
            pause = FIRST_PAUSE;
        }
        record.write(RunState::BackingOff { code, cause });
        tokio::select! {
            () = wait::back_off(pause) => {}
            () = end.cancelled() => {
                record.write(RunState::Stopped);
                return Ok(());
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What cannot be helped, and ends nothing.
fn warn(keeper: &Keeper, what: &str, error: &dyn std::fmt::Display) {
    tracing::warn!(name = %keeper.name, "{what}: {error}");
}

/// The record of the gateway. What could not be written is tried again while the gateway runs.
struct Record {
    dir: PathBuf,
    restarts: u32,
    unwritten: Option<RunState>,
}

impl Record {
    fn new(site: &Site) -> Self {
        Self { dir: site.dir(), restarts: 0, unwritten: None }
    }

    fn write(&mut self, state: RunState) {
        self.unwritten = Some(state);
        self.retry();
    }

    fn retry(&mut self) {
        let Some(state) = self.unwritten.take() else { return };
        let record = RunRecord { state, restarts: self.restarts };
        if let Err(failure) = record.write(&self.dir) {
            tracing::warn!("the gateway's record could not be written: {failure}");
            self.unwritten = Some(record.state);
        }
    }
}

fn start(keeper: &Keeper, site: &Site, lock: &LockFile) -> Result<(Child, ProcessId), Failure> {
    let log = log(site)?;
    let mut cmd = keeper.engine.targets().process().gateway(site)?;
    // What the log says before this line is of an earlier run, and explains nothing of this one.
    note(site, cause::STARTING);
    let mut child = cmd.hold(lock)?.supervised(&log)?;
    let gateway = match identity(&child) {
        Ok(gateway) => gateway,
        Err(failure) => {
            // Nobody could end it later: it must not run on.
            let _ = child.start_kill();
            return Err(failure);
        }
    };
    if let Some(pid) = Pid::from_raw(gateway.pid) {
        // A core of it would hold every key; and no runaway child eats every file or process. The
        // kernel counts all threads of the user against the last one, those of their desktop too:
        // it is far above what one has, and still ends a fork bomb before the machine does.
        for (resource, most) in
            [(Resource::Core, 0), (Resource::Nofile, 65_536), (Resource::Nproc, 32_768)]
        {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            if let Err(error) = prlimit(Some(pid), resource, limit) {
                tracing::debug!(?resource, %error, "a limit could not be set");
            }
        }
    }
    Ok((child, gateway))
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

/// Waits for the gateway's end, and meanwhile keeps its log and its memory bounded. Answers the
/// exit code, and why it ended.
async fn attend(
    keeper: &Keeper,
    child: &mut Child,
    site: &Site,
    gateway: &ProcessId,
    record: &mut Record,
) -> (Option<i32>, String) {
    let limit = u64::from(site.deployment.spec.memory_mib);
    let logs = [
        ProcessTarget::log_path(&site.layout, &site.deployment.name),
        site.layout.keeper_log(&site.deployment.name),
    ];
    let mut past_limit: Option<(u64, Instant)> = None;
    let mut ended = Vec::new();
    loop {
        match tokio::time::timeout(LOOK_EVERY, child.wait()).await {
            Ok(Ok(status)) => {
                let cause = past_limit.map(|(used, _)| {
                    format!("it used {used} MiB, more than its limit of {limit} MiB")
                });
                return (status.code(), cause.unwrap_or_else(|| why(site, status)));
            }
            Ok(Err(error)) => return (None, format!("its end could not be waited for: {error}")),
            Err(_) => {}
        }
        if let Err(error) = family::reap_adopted(&mut ended) {
            warn(keeper, "what ended could not be waited for", &error);
        }
        for log in &logs {
            if let Err(error) = rotate_log::rotate(log) {
                warn(keeper, "the log could not be turned over", &error);
            }
        }
        record.retry();
        match past_limit {
            None => {
                let Some(used) = resident_mib(gateway.pid).filter(|used| *used > limit) else {
                    continue;
                };
                note(
                    site,
                    &format!(
                        "the gateway used {used} MiB, more than its limit of {limit} MiB, and is \
                         restarted"
                    ),
                );
                past_limit = Some((used, Instant::now()));
                if let Err(error) = gateway.signal(Signal::TERM) {
                    warn(keeper, "the gateway is past its memory limit and goes on", &error);
                    past_limit = None;
                }
            }
            Some((_, since)) if since.elapsed() > DRAIN_DEADLINE => kill_group(gateway),
            Some(_) => {}
        }
    }
}

/// Writes a line of the keeper's own into the gateway's log, which may be on a full disk.
fn note(site: &Site, line: &str) {
    use std::io::Write;
    let written = log(site).and_then(|mut log| {
        // In one write, between two of the gateway's.
        Ok(log.write_all(format!("{} {}{line}\n", crate::store::now(), cause::OURS).as_bytes())?)
    });
    if let Err(failure) = written {
        tracing::warn!("{line}; the gateway's log could not be written: {failure}");
    }
}

/// Lets the gateway drain, and ends it and what it started when it does not.
async fn stop(child: &mut Child, gateway: &ProcessId) {
    if let Err(error) = gateway.signal(Signal::TERM) {
        tracing::warn!("the gateway could not be asked to end: {error}");
    }
    let ended = tokio::time::timeout(DRAIN_DEADLINE, child.wait()).await;
    // Most tools that the gateway started are in its group.
    kill_group(gateway);
    if ended.is_err() {
        let _ = child.wait().await;
    }
}

fn kill_group(gateway: &ProcessId) {
    if let Some(group) = Pid::from_raw(gateway.pid) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Ends what a gateway that has ended left running: it would hold its port, its lock and its files,
/// or go on with what nobody asks for any more.
async fn end_tools(gateway: &ProcessId) {
    kill_group(gateway);
    match family::end_descendants().await {
        Ok(left) if left.is_empty() => {}
        Ok(left) => {
            let left: Vec<i32> = left.iter().map(|process| process.pid).collect();
            tracing::warn!(?left, "what the gateway started could not be ended");
        }
        Err(error) => tracing::warn!(%error, "what the gateway started could not be looked for"),
    }
}

/// Why it ended, in its own words.
fn why(site: &Site, status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    let log = tail(&ProcessTarget::log_path(&site.layout, &site.deployment.name), 32 * 1024);
    let cause = match log {
        Ok(log) => site.scrub(&cause::of_log(&log), 400),
        Err(failure) => format!("unknown, its log cannot be read: {failure}"),
    };
    match status.signal() {
        Some(signal) => format!("it was ended by signal {signal}; its last word: {cause}"),
        None => cause,
    }
}

/// Runs the gateway's own doctor once. Whether it helped shows at the next start.
async fn mend(keeper: &Keeper, site: &Site, lock: &LockFile, end: &CancellationToken) {
    let args = ["doctor", "--fix", "--yes", "--non-interactive"];
    let doctor = async {
        note(site, "the gateway exited with 78: running openclaw doctor --fix once");
        let mut cmd = keeper.engine.targets().process().openclaw(site, &args, false).await?;
        let output = cmd.hold(lock)?.deadline(DOCTOR_DEADLINE).cancel_on(end).output().await?;
        note(site, &format!("openclaw doctor --fix: {}", site.scrub(&output.last_line(), 300)));
        Ok::<(), Failure>(())
    };
    if let Err(failure) = doctor.await {
        tracing::warn!(name = %keeper.name, "doctor --fix: {failure}");
    }
}
