//! The keeper: one small detached process of this program for each deployment that needs it.
//!
//! Owns what outlives a command: supervising a `process` gateway, and holding the approval window
//! of any target. It ends when neither is needed. Refuses to be two: its lock says who keeps, and
//! the gateway inherits that lock, so a gateway whose keeper was killed is found and ended before
//! another one is started.

mod rotate_log;
mod supervise;

use std::io::Write;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::domain::{DeploymentName, Failure, TargetKind};
use crate::exec::{LockFile, wait};
use crate::operations::{Engine, approval};
use crate::targets::Site;

/// How long the lock may be held by nobody who lives.
const LOCK_DEADLINE: Duration = Duration::from_secs(2);

/// How often a watch that failed is begun again: for as long as the window is, by default.
const WATCH_ATTEMPTS: u32 = 60;
/// The pause before that.
const WATCH_PAUSE: Duration = Duration::from_secs(10);

/// What a keeper works with.
#[derive(Clone)]
pub struct Keeper {
    engine: Engine,
    name: DeploymentName,
}

impl Keeper {
    /// The keeper of a deployment.
    pub fn new(engine: Engine, name: DeploymentName) -> Self {
        Self { engine, name }
    }

    /// Keeps until nothing needs keeping. Says on standard output when it has begun.
    pub async fn run(self) -> Result<(), Failure> {
        // Its own session: what happens to the terminal of the command is none of its business.
        let _ = rustix::process::setsid();
        let path = self.engine.layout().keeper_lock(&self.name);
        if let Some(parent) = path.parent() {
            crate::secrets::private::create_private_directory(parent)?;
        }
        let taken = wait::until(LOCK_DEADLINE, || {
            let lock = LockFile::try_acquire(&path, "keep");
            let kept = LockFile::holder(&path).is_some_and(|holder| holder.process.is_alive());
            // Without a living holder it is somebody who only looks, for an instant, or what a
            // killed keeper left.
            async move { if matches!(lock, Ok(None)) && !kept { None } else { Some(lock) } }
        });
        let lock = match taken.await {
            Some(Ok(Some(lock))) => lock,
            Some(Ok(None)) => {
                // Another one keeps already, and has been told to look again.
                say(crate::targets::keeper::READY);
                return Ok(());
            }
            Some(Err(error)) => return Err(error.into()),
            None => {
                return Err(Failure::conflict(format!(
                    "what a killed keeper of {} left still runs",
                    self.name
                ))
                .remedy(format!("openclaw-pipeline restart {}", self.name)));
            }
        };
        if let Err(error) = rotate_log::rotate(&self.engine.layout().keeper_log(&self.name)) {
            tracing::warn!("the keeper's log could not be turned over: {error}");
        }
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let end = CancellationToken::new();
        let kept_here = self.site()?.deployment.spec.target == TargetKind::Process;
        let watching = async {
            loop {
                self.watch_patiently().await;
                // Without a gateway to supervise, a window that is over ends the keeper.
                if !kept_here {
                    return;
                }
                hangup.recv().await;
            }
        };
        let ending = end.clone();
        let work = async {
            if kept_here {
                let supervised = supervise::supervise(&self, &lock, &ending);
                tokio::select! {
                    ended = supervised => ended,
                    // It does not end.
                    () = watching => Ok(()),
                }
            } else {
                say(crate::targets::keeper::READY);
                tokio::select! {
                    () = watching => Ok(()),
                    () = ending.cancelled() => Ok(()),
                }
            }
        };
        tokio::pin!(work);
        tokio::select! {
            ended = &mut work => ended,
            _ = terminate.recv() => {
                end.cancel();
                work.await
            }
        }
    }

    /// Watches until the window is over, also when the store does not answer for a while: a window
    /// is longer than most of what is in the way.
    async fn watch_patiently(&self) {
        for attempt in 0..WATCH_ATTEMPTS {
            match self.watch().await {
                Ok(()) => return,
                Err(failure) => tracing::warn!(name = %self.name, attempt, "{failure}"),
            }
            wait::back_off(WATCH_PAUSE).await;
        }
    }

    async fn watch(&self) -> Result<(), Failure> {
        let site = self.site()?;
        let dial = self.engine.targets().get(site.deployment.spec.target).loopback(&site)?;
        approval::watch(self.engine.store(), &site, &*dial).await
    }

    /// The deployment as it stands now.
    fn site(&self) -> Result<Site, Failure> {
        let found = self.engine.store().deployment(&self.name)?;
        let deployment = found
            .ok_or_else(|| Failure::not_found(format!("there is no deployment {}", self.name)))?;
        self.engine.site(&deployment)
    }
}

/// Says a line to the command that started the keeper; it may be gone.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
