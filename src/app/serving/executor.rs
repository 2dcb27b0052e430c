//! Carrying operations out, one task each and a bounded number at once.
//!
//! Owns which operation is at work here. Every operation in the store that is not over comes here,
//! whoever began it: a request, a command, or a server that was killed. Refuses one that another
//! living process executes: its lock says so, and it is tried again later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::super::App;
use super::super::reports::{Report, Reporter};
use super::super::requests::Alongs;
use crate::domain::{Failure, FailureKind, Operation, OperationKind, OperationStatus};
use crate::exec::wait;
use crate::telemetry::metrics::Metrics;

/// How many operations are carried out at once, by default. Each may start a gateway, which takes a core for
/// ten seconds and a gibibyte of memory.
pub const AT_ONCE: usize = 8;
/// The first pause before an operation that somebody else works on is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often the store is looked through for work that nobody told of.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Carries operations out.
#[derive(Clone)]
pub struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    app: App,
    tasks: TaskTracker,
    metrics: Metrics,
    slots: Semaphore,
    at_work: Mutex<HashMap<String, Work>>,
    /// No more work is taken.
    closed: CancellationToken,
    /// What runs is interrupted.
    interrupt: CancellationToken,
}

/// An operation that is at work here, or waits for its turn.
#[derive(Clone)]
struct Work {
    reporter: Reporter,
    /// Ends what runs of it.
    cancel: CancellationToken,
    /// Says that it may be tried again now.
    again: Arc<Notify>,
    /// Says that it is over, here.
    over: CancellationToken,
    /// Since when it waits; `None` while it is carried out.
    waits: Arc<Mutex<Option<Instant>>>,
}

impl Work {
    fn waits(&self) -> MutexGuard<'_, Option<Instant>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An operation that is seen to here, until this is dropped, whatever happens to its task.
struct SeenTo {
    executor: Executor,
    id: String,
    work: Work,
}

impl Drop for SeenTo {
    fn drop(&mut self) {
        self.executor.at_work().remove(&self.id);
        self.work.over.cancel();
        self.work.reporter.report(Report::Over);
    }
}

/// What the executor has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Operations that are carried out now.
    pub running: usize,
    /// Operations that wait for their turn.
    pub waiting: usize,
    /// How long the oldest of those has waited.
    pub longest_wait: Duration,
}

impl Executor {
    pub(super) fn new(app: App, tasks: TaskTracker, metrics: Metrics, at_once: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                app,
                tasks,
                metrics,
                slots: Semaphore::new(at_once),
                at_work: Mutex::default(),
                closed: CancellationToken::new(),
                interrupt: CancellationToken::new(),
            }),
        }
    }

    fn at_work(&self) -> MutexGuard<'_, HashMap<String, Work>> {
        self.inner.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program.
    pub(super) fn app(&self) -> &App {
        &self.inner.app
    }

    /// Whether no more work is taken.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.is_cancelled()
    }

    /// What there is to do.
    pub fn load(&self) -> Load {
        let at_work = self.at_work();
        let waits: Vec<Instant> = at_work.values().filter_map(|work| *work.waits()).collect();
        let longest_wait = waits.iter().map(Instant::elapsed).max().unwrap_or_default();
        Load { running: at_work.len() - waits.len(), waiting: waits.len(), longest_wait }
    }

    /// Sees to an operation, which a request has begun. One that is seen to already is tried at
    /// once, where it waits.
    pub fn submit(&self, operation: &Operation, request_id: &str) {
        self.work_on(operation, Some(request_id));
    }

    fn work_on(&self, operation: &Operation, request_id: Option<&str>) -> Option<Work> {
        if self.inner.closed.is_cancelled() {
            return None;
        }
        let mut at_work = self.at_work();
        if let Some(work) = at_work.get(&operation.id) {
            work.again.notify_one();
            return Some(work.clone());
        }
        let work = Work {
            reporter: Reporter::new(operation.kind, self.inner.metrics.clone()),
            cancel: self.inner.interrupt.child_token(),
            again: Arc::default(),
            over: CancellationToken::new(),
            waits: Arc::new(Mutex::new(Some(Instant::now()))),
        };
        at_work.insert(operation.id.clone(), work.clone());
        drop(at_work);
        // It outlives the request that began it by far: it is no part of that one, and names it.
        let span = tracing::info_span!(
            parent: None,
            "operation",
            operation_id = operation.id,
            kind = operation.kind.as_str(),
            deployment = operation.deployment.as_str(),
            request_id,
            outcome = tracing::field::Empty,
        );
        span.follows_from(Span::current());
        let seen_to =
            SeenTo { executor: self.clone(), id: operation.id.clone(), work: work.clone() };
        self.inner.tasks.spawn(
            async move { seen_to.executor.carry_out(&seen_to.id, &seen_to.work).await }
                .instrument(span),
        );
        Some(work)
    }

    /// Sees to an operation, and tells how it goes.
    pub(super) fn follow(&self, operation: &Operation) -> Option<broadcast::Receiver<Report>> {
        self.work_on(operation, None).map(|work| work.reporter.follow())
    }

    /// Waits until nobody works on an operation here any more, but no longer than `at_most`, and
    /// answers how it stands.
    pub async fn ended(&self, id: &str, at_most: Duration) -> Result<Operation, Failure> {
        let over = self.at_work().get(id).map(|work| work.over.clone());
        if let Some(over) = over {
            // Where it takes longer, how it stands says so.
            let _ = tokio::time::timeout(at_most, over.cancelled()).await;
        }
        self.inner.app.operation(id)
    }

    /// Gives an operation up: what runs of it is interrupted first. What exists stays. That it was
    /// asked for is stored, with what comes along: whoever comes after this server does not go on
    /// with it. `false` where it is over, and nothing is stored.
    pub fn give_up(&self, operation: &Operation, along: &Alongs) -> Result<bool, Failure> {
        if !self.inner.app.store().ask_to_give_up(operation, along)? {
            return Ok(false);
        }
        let Some(work) = self.work_on(operation, None) else {
            return Err(stopping());
        };
        work.cancel.cancel();
        work.again.notify_one();
        Ok(true)
    }

    /// Carries an operation out, however often it takes.
    async fn carry_out(&self, id: &str, work: &Work) {
        let inner = &self.inner;
        let mut pause = FIRST_PAUSE;
        loop {
            let turn = tokio::select! {
                turn = inner.slots.acquire() => turn,
                () = inner.closed.cancelled() => return,
            };
            let Ok(turn) = turn else { return };
            *work.waits() = None;
            let ended = self.once(id, work).await;
            *work.waits() = Some(Instant::now());
            drop(turn);
            match ended {
                Ok(true) => return,
                Ok(false) => {}
                Err(failure) => tracing::warn!("it is tried again: {failure}"),
            }
            if inner.closed.is_cancelled() {
                return;
            }
            tokio::select! {
                () = wait::back_off(pause) => {}
                () = work.again.notified() => {}
                () = inner.closed.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Carries it out, or finds that somebody else does. Answers whether it is over.
    async fn once(&self, id: &str, work: &Work) -> Result<bool, Failure> {
        let app = &self.inner.app;
        let is_over = |operation: &Operation| operation.status != OperationStatus::Running;
        let operation = app.operation(id)?;
        if is_over(&operation) {
            return Ok(true);
        }
        let name = &operation.deployment;
        let lock = match app.engine().lock(name, operation.kind.as_str()).await {
            Ok(lock) => lock,
            Err(failure) if failure.kind == FailureKind::Conflict => {
                tracing::debug!("{failure}");
                return Ok(false);
            }
            Err(failure) => return Err(failure),
        };
        let operation = app.operation(id)?;
        if is_over(&operation) {
            return Ok(true);
        }
        if operation.given_up {
            app.engine().cancel(&operation)?;
            self.count(&operation, OperationStatus::Cancelled);
            return Ok(true);
        }
        let ended = app.engine().execute(&operation, &lock, &work.reporter, &work.cancel).await?;
        let interrupted =
            ended.failure.as_ref().is_some_and(|it| it.kind == FailureKind::Interrupted);
        if interrupted && ended.operation.given_up {
            app.engine().cancel(&ended.operation)?;
            self.count(&operation, OperationStatus::Cancelled);
            return Ok(true);
        }
        drop(lock);
        if is_over(&ended.operation) {
            self.count(&operation, ended.operation.status);
        }
        if let Some(failure) = &ended.failure {
            tracing::warn!("{failure}");
        } else {
            tracing::info!("{} of {name} is done", operation.kind);
        }
        if ended.failure.is_none() && operation.kind == OperationKind::Update {
            app.prune(name, &work.reporter).await;
        }
        Ok(is_over(&ended.operation))
    }

    /// Counts an operation that has ended here.
    fn count(&self, operation: &Operation, status: OperationStatus) {
        let Inner { app, metrics, .. } = &*self.inner;
        let outcome = status.as_str();
        Span::current().record("outcome", outcome);
        metrics.operation(operation.kind.as_str(), outcome);
        if operation.kind != OperationKind::Launch {
            return;
        }
        if let Ok(Some(deployment)) = app.store().deployment(&operation.deployment) {
            metrics.launch(deployment.spec.target.as_str(), outcome);
        }
    }

    /// Takes no more work, lets what runs go on for a while, and then interrupts it.
    pub(super) async fn drain(&self, grace: Duration) {
        self.inner.closed.cancel();
        let idle = wait::until(grace, || {
            let idle = self.load().running == 0;
            async move { idle.then_some(()) }
        });
        if idle.await.is_none() {
            tracing::info!("what still runs is interrupted, and is gone on with at the next start");
            self.inner.interrupt.cancel();
        }
    }
}

pub(super) fn stopping() -> Failure {
    Failure::conflict("the server is stopping, and takes no more work")
        .remedy("try again when it is up again")
}

/// Sees to every operation that is not over: those of commands that were killed, and those that
/// an earlier server left.
pub(super) async fn look_for_work(executor: Executor, end: CancellationToken) {
    loop {
        match executor.inner.app.store().operations_running() {
            Ok(running) => running.iter().for_each(|id| executor.found(id)),
            Err(error) => tracing::warn!(%error, "the store could not be looked through"),
        }
        tokio::select! {
            () = wait::back_off(LOOK_EVERY) => {}
            () = end.cancelled() => return,
        }
    }
}

impl Executor {
    /// Sees to an operation unless that is done already.
    fn found(&self, id: &str) {
        if self.at_work().contains_key(id) {
            return;
        }
        match self.inner.app.operation(id) {
            Ok(operation) => {
                let (kind, deployment) = (operation.kind.as_str(), operation.deployment.as_str());
                tracing::info!(operation_id = id, kind, deployment, "found, and seen to");
                self.work_on(&operation, None);
            }
            Err(failure) => tracing::warn!("an operation could not be read: {failure}"),
        }
    }
}
