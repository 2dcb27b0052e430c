//! Letting browsers in, for every deployment whose window is open.
//!
//! Owns one watch for each, and how many there are at once: a watch holds a connection to a gateway.
//! Refuses to hold one where no window is open.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::App;
use crate::domain::{Deployment, DeploymentStatus, Failure};
use crate::exec::wait;
use crate::operations::approval;
use crate::telemetry::metrics::Metrics;

/// How many gateways are watched at once; the others wait.
const AT_ONCE: usize = super::RELAYS - super::LOOKS;
/// How often the store is looked through for open windows without being told to.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Watches whatever has to be watched, until the server ends.
pub(super) async fn keep(app: App, told: Arc<Notify>, metrics: Metrics, end: CancellationToken) {
    let watched: Arc<Mutex<HashSet<String>>> = Arc::default();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let tasks = TaskTracker::new();
    loop {
        match open(&app) {
            Ok(open) => {
                for deployment in open {
                    let id = deployment.id.clone();
                    let is_new = lock(&watched).insert(id.clone());
                    if !is_new {
                        continue;
                    }
                    let (app, slots, watched) =
                        (app.clone(), Arc::clone(&slots), Arc::clone(&watched));
                    let (metrics, end) = (metrics.clone(), end.clone());
                    tasks.spawn(async move {
                        let Ok(_slot) = slots.acquire().await else { return };
                        let _counted = metrics.watch();
                        tokio::select! {
                            watch = watch(&app, &deployment) => if let Err(failure) = watch {
                                tracing::warn!(name = %deployment.name, "{failure}");
                            },
                            () = end.cancelled() => {}
                        }
                        // One that ended too early is begun again at the next look.
                        lock(&watched).remove(&id);
                    });
                }
            }
            Err(failure) => tracing::warn!("open windows could not be looked for: {failure}"),
        }
        tokio::select! {
            () = told.notified() => {}
            () = wait::back_off(LOOK_EVERY) => {}
            () = end.cancelled() => break,
        }
    }
    tasks.close();
    tasks.wait().await;
}

fn lock(watched: &Mutex<HashSet<String>>) -> std::sync::MutexGuard<'_, HashSet<String>> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The deployments whose window is open, and those of which an approval is not settled.
fn open(app: &App) -> Result<Vec<Deployment>, Failure> {
    let mut open = Vec::new();
    for deployment in app.store().watchable()? {
        let stands = matches!(
            deployment.status,
            DeploymentStatus::Destroyed | DeploymentStatus::Destroying | DeploymentStatus::Stopped
        );
        let window = approval::window_now(app.store(), &deployment)?;
        let is_open = window.is_some_and(|(state, _)| approval::is_worth_watching(state));
        if !stands && (is_open || !app.store().approving(&deployment.name)?.is_empty()) {
            open.push(deployment);
        }
    }
    Ok(open)
}

async fn watch(app: &App, deployment: &Deployment) -> Result<(), Failure> {
    let site = app.engine().site(deployment)?;
    let dial = app.target(&site).loopback(&site)?;
    approval::watch(app.store(), &site, &*dial).await
}

/// Leaves the open windows to keepers: the server ends.
pub(super) async fn hand_over(app: &App) -> Result<(), Failure> {
    for deployment in open(app)? {
        let site = app.engine().site(&deployment)?;
        app.target(&site).watch(&site).await?;
    }
    Ok(())
}
