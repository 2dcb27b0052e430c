//! What a living server does beside answering requests.
//!
//! Owns the data directory while it lives: its lock says that a server is there, its executor
//! carries every operation out, its watches let browsers in, its socket takes the work of commands.
//! Refuses to be two on one data directory.

mod executor;
mod health;
mod office;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use crate::config::Settings;
use crate::domain::Failure;
use crate::exec::{LockFile, wait};
use crate::operations::Watcher;
use crate::secrets::private::create_private_directory;
use crate::telemetry::metrics::Metrics;

pub use executor::{AT_ONCE, Executor, Load};
pub(super) use office::{Answer, Asked};

/// How long an operation that runs is let run when the server is told to stop.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// How many relays to gateways there are at once: for those whose window is open, and for people
/// who look.
const RELAYS: usize = 64;
/// How many of them are for people who look. A window is open for minutes, a look is over in a
/// moment: with a share of their own, people do not wait for windows.
pub const LOOKS: usize = 16;

/// The pause before delivering is begun anew after it failed.
const DELIVER_AGAIN: Duration = Duration::from_secs(5);

/// A living server's work.
pub struct Serving {
    app: App,
    executor: Executor,
    end: CancellationToken,
    tasks: TaskTracker,
    _lock: LockFile,
}

impl Serving {
    /// Takes the data directory over, goes on with whatever was interrupted there, and takes work.
    pub fn begin(
        app: App,
        settings: &Settings,
        metrics: Metrics,
        at_once: usize,
    ) -> Result<Self, Failure> {
        let lock = take(&app)?;
        crate::exec::raise_descriptor_limit();
        let looks = Arc::new(Notify::new());
        let app = app.serving(Watcher::Here(Arc::clone(&looks)));
        let end = CancellationToken::new();
        let tasks = TaskTracker::new();
        // They are counted from here on.
        app.store().decided()?;
        let executor = Executor::new(app.clone(), tasks.clone(), metrics.clone(), at_once);
        let socket = office::bind(&app)?;
        tasks.spawn(office::attend(socket, executor.clone(), end.clone()));
        tasks.spawn(executor::look_for_work(executor.clone(), end.clone()));
        tasks.spawn(watches::keep(app.clone(), looks, metrics, end.clone()));
        tasks.spawn(health::keep(app.clone(), end.clone()));
        tasks.spawn(health::keep_machines(app.clone(), end.clone()));
        tasks.spawn(deliver(app.clone(), settings.clone(), end.clone()));
        Ok(Self { app, executor, end, tasks, _lock: lock })
    }

    /// The program, as the server uses it.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Who carries operations out.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Takes no more work, lets what runs come to its end within `grace`, and interrupts the rest
    /// in a way that it can be gone on with. Open windows are handed to keepers.
    pub async fn end(self, grace: Duration) {
        self.executor.drain(grace).await;
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(failure) = watches::hand_over(&self.app).await {
            tracing::warn!("a window is watched by nobody until the next command: {failure}");
        }
    }
}

/// Tells front ends what happens, for as long as the server lives.
async fn deliver(app: App, settings: Settings, end: CancellationToken) {
    while !end.is_cancelled() {
        if let Err(failure) = app.deliver(&settings, end.clone()).await {
            tracing::error!("events are not delivered: {failure}");
            tokio::select! {
                () = wait::back_off(DELIVER_AGAIN) => {}
                () = end.cancelled() => {}
            }
        }
    }
}

fn take(app: &App) -> Result<LockFile, Failure> {
    let layout = app.layout();
    create_private_directory(&layout.server())?;
    let path = layout.server_lock();
    LockFile::try_acquire(&path, "serve")?.ok_or_else(|| {
        let who = LockFile::holder(&path).map(|holder| holder.process.pid);
        let who = who.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        Failure::conflict(format!("a server holds the data directory already{who}"))
            .remedy("stop it, or name another OPENCLAW_PIPELINE_HOME")
    })
}
