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
    let watches = Watches::new(metrics, end.clone());
    loop {
        match open(&app) {
            Ok(open) => {
                for deployment in open {
                    let app = app.clone();
                    watches.begin(deployment.id.clone(), async move {
                        if let Err(failure) = watch(&app, &deployment).await {
                            tracing::warn!(name = %deployment.name, "{failure}");
                        }
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
    watches.ended().await;
}

/// The watches that are held, each once.
struct Watches {
    held: Arc<Mutex<HashSet<String>>>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    metrics: Metrics,
    end: CancellationToken,
}

impl Watches {
    fn new(metrics: Metrics, end: CancellationToken) -> Self {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        Self { held: Arc::default(), slots, tasks: TaskTracker::new(), metrics, end }
    }

    /// Holds a watch of a deployment, once there is room, unless one is held or waits already. One
    /// that ended too early is begun again at the next look.
    fn begin(&self, id: String, watch: impl Future<Output = ()> + Send + 'static) {
        let is_new = lock(&self.held).insert(id.clone());
        if !is_new {
            return;
        }
        let (slots, held) = (Arc::clone(&self.slots), Arc::clone(&self.held));
        let (metrics, end) = (self.metrics.clone(), self.end.clone());
        self.tasks.spawn(async move {
            let held_now = async {
                let Ok(_slot) = slots.acquire().await else { return };
                let _counted = metrics.watch();
                watch.await;
            };
            tokio::select! {
                () = held_now => {}
                () = end.cancelled() => {}
            }
            lock(&held).remove(&id);
        });
    }

    /// Waits until none is held.
    async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn lock(held: &Mutex<HashSet<String>>) -> std::sync::MutexGuard<'_, HashSet<String>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// How many watches are at work, were at most, and came to their end.
    #[derive(Default)]
    struct Seen {
        now: AtomicUsize,
        most: AtomicUsize,
        over: AtomicUsize,
    }

    #[tokio::test]
    async fn so_many_relays_are_held_at_once_and_the_others_wait_their_turn() {
        assert_eq!((AT_ONCE + super::super::LOOKS, AT_ONCE), (64, 48));
        let watches = Watches::new(Metrics::default(), CancellationToken::new());
        let (seen, ends) = (Arc::new(Seen::default()), Arc::new(Semaphore::new(0)));
        for number in 0..200 {
            // Each is asked for again while it is held, or waits.
            for _ in 0..2 {
                let (seen, ends) = (Arc::clone(&seen), Arc::clone(&ends));
                watches.begin(format!("{number}"), async move {
                    let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
                    seen.most.fetch_max(now, Ordering::SeqCst);
                    ends.acquire().await.expect("it stays open").forget();
                    seen.now.fetch_sub(1, Ordering::SeqCst);
                    seen.over.fetch_add(1, Ordering::SeqCst);
                });
            }
        }
        while seen.now.load(Ordering::SeqCst) < AT_ONCE {
            tokio::task::yield_now().await;
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(seen.now.load(Ordering::SeqCst), AT_ONCE);
        ends.add_permits(200);
        watches.ended().await;
        assert_eq!(seen.most.load(Ordering::SeqCst), AT_ONCE);
        assert_eq!(seen.over.load(Ordering::SeqCst), 200, "each once");
    }

    #[tokio::test]
    async fn those_that_wait_end_with_the_server() {
        let end = CancellationToken::new();
        let watches = Watches::new(Metrics::default(), end.clone());
        for number in 0..100 {
            watches.begin(format!("{number}"), std::future::pending());
        }
        end.cancel();
        watches.ended().await;
        assert!(lock(&watches.held).is_empty());
    }
}
