//! The engine: executes an operation's steps, and can be killed at any instant.
//!
//! Owns the order of things: the deployment's lock, the lease, a step's intent before it acts and
//! its outcome after, recovery, and the end. A step whose outcome is not in the journal is run
//! again; every step looks before it acts, so that is safe.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::backup;
use super::context::{Context, OperationDef, Repeat, Sink, StepDef, StepEnd, Told};
use super::definition_of;
use super::machine;
use super::server;
use super::vault::{Slot, Vault};
use super::watcher::Watcher;
use crate::domain::{
    Aftermath, Change, Deployment, DeploymentName, EventType, Failure, FailureKind, Operation,
    OperationKind, OperationStatus, StepRecord, StepStatus,
};
use crate::exec::{LockFile, ProcessId, children, wait};
use crate::store::{Finish, NewEvent, StepUpdate, Store};
use crate::targets::{Layout, Site, Targets};

/// How long children of a killed executor may take to end when they are told to.
const ORPHANS_DEADLINE: Duration = Duration::from_secs(60);

/// How long a lock may be held by others before they count as being at work.
const LOOKERS_DEADLINE: Duration = Duration::from_millis(300);

/// How long while nothing is under way: an executor lets go a while after its operation is over.
const ENDING_DEADLINE: Duration = Duration::from_secs(10);

/// The engine of one data directory.
#[derive(Clone)]
pub struct Engine {
    store: Store,
    layout: Layout,
    targets: Targets,
    vault: Arc<Vault>,
    watcher: Watcher,
}

/// How an execution ended.
#[derive(Debug)]
pub struct Ended {
    /// The operation, as the journal has it.
    pub operation: Operation,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
}

/// Whether who reaches a gateway was recorded by it already.
fn has_switched(operation: &Operation) -> bool {
    operation.steps.iter().any(|step| step.name == "switch")
}

impl Engine {
    /// An engine.
    pub fn new(store: Store, layout: Layout, targets: Targets, vault: Arc<Vault>) -> Self {
        Self { store, layout, targets, vault, watcher: Watcher::Keeper }
    }

    /// The same, with somebody else to let browsers in.
    #[must_use]
    pub fn watched_by(self, watcher: Watcher) -> Self {
        Self { watcher, ..self }
    }

    /// Who lets browsers in.
    pub fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where things lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The targets.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The sealed secrets.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// A deployment as its target sees it, with the secrets in force.
    pub fn site(&self, deployment: &Deployment) -> Result<Site, Failure> {
        Ok(Site {
            layout: self.layout.clone(),
            deployment: deployment.clone(),
            secrets: self.vault.open(&self.store, &deployment.id)?,
        })
    }

    /// Takes the lock of a deployment. What is left of a killed executor is ended first; a living
    /// one is a conflict.
    pub async fn lock(&self, name: &DeploymentName, purpose: &str) -> Result<LockFile, Failure> {
        let path = self.layout.lock(name);
        if let Some(parent) = path.parent() {
            crate::secrets::private::create_private_directory(parent)?;
        }
        // Who only looks (`status`) holds it for an instant, and is no conflict.
        let begun = Instant::now();
        let taken = wait::until(ENDING_DEADLINE, || {
            let lock = LockFile::try_acquire(&path, purpose).transpose();
            let is_over = lock.is_some()
                || begun.elapsed() > LOOKERS_DEADLINE && !self.is_ending(name, &path);
            async move { is_over.then_some(lock) }
        });
        if let Some(lock) = taken.await.flatten() {
            return self.settled(name, lock?).await;
        }
        let busy = |doing: &str, pid: i32| {
            Failure::conflict(format!(
                "{name}: another command is at work on it ({doing}, process {pid})"
            ))
            .remedy("wait until it has ended, then run this again")
        };
        if let Some(holder) = LockFile::holder(&path)
            && holder.process.is_alive()
        {
            return Err(busy(&holder.purpose, holder.process.pid));
        }
        // The executor is dead and its children still work: they end before anyone goes on.
        for signal in [Signal::INT, Signal::KILL] {
            for pid in LockFile::held_by(&path)? {
                if let Ok(process) = ProcessId::of(pid) {
                    process.signal(signal)?;
                }
            }
            let deadline =
                if signal == Signal::INT { ORPHANS_DEADLINE } else { Duration::from_secs(5) };
            let taken = wait::until(deadline, || {
                let lock = LockFile::try_acquire(&path, purpose);
                async move { lock.transpose() }
            });
            if let Some(lock) = taken.await {
                return self.settled(name, lock?).await;
            }
        }
        Err(not_ending(name, &path))
    }

    /// Whether who has the lock lives, and has nothing under way that is recorded.
    fn is_ending(&self, name: &DeploymentName, path: &Path) -> bool {
        LockFile::holder(path).is_some_and(|it| it.process.is_alive())
            && matches!(self.store.active_operation(name), Ok(None))
    }

    /// The lock, once nothing works any more that an earlier executor started.
    async fn settled(&self, name: &DeploymentName, lock: LockFile) -> Result<LockFile, Failure> {
        let path = self.layout.lock(name);
        if children::end_left(&path).await? { Ok(lock) } else { Err(not_ending(name, &path)) }
    }

    /// Executes an operation from where it stands to its end. The caller holds the lock.
    pub async fn execute(
        &self,
        operation: &Operation,
        lock: &LockFile,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Ended, Failure> {
        let executor = format!("process {}", std::process::id());
        let lease = self.store.acquire(&operation.id, &executor)?;
        backup::sweep(&self.store, &self.layout, &operation.deployment)?;
        let operation = self.reread(&operation.id)?;
        let definition = definition_of(&operation);
        let deployment = self
            .store
            .deployment(&operation.deployment)?
            .ok_or_else(|| Failure::failed("an operation without its deployment"))?;
        let outputs = operation
            .steps
            .iter()
            .filter(|step| step.status.is_done())
            .map(|step| (step.name.clone(), step.output.clone()))
            .collect::<BTreeMap<_, _>>();
        let mut context = Context {
            store: &self.store,
            kind: operation.kind,
            lease,
            targets: &self.targets,
            layout: &self.layout,
            vault: &self.vault,
            deployment,
            prior: operation.prior,
            params: operation.params.clone(),
            outputs,
            begun: operation.steps.iter().map(|step| step.name.clone()).collect::<BTreeSet<_>>(),
            cancel: cancel.clone(),
            lock,
            watcher: &self.watcher,
            sink,
            failure: None,
        };
        let ended = Run { definition, operation: &operation, context: &mut context }.run().await;
        let failure = match ended {
            Ok(()) => None,
            Err(failure) if failure.kind == FailureKind::Interrupted => {
                return Ok(Ended {
                    operation: self.reread(&operation.id)?,
                    failure: Some(machine::interrupted(
                        &context.deployment,
                        operation.kind,
                        interrupted(&operation),
                    )),
                });
            }
            Err(failure) => Some(failure),
        };
        // History is bounded as it is made. That an old row could not go is no one's concern now.
        if let Err(error) = self.store.prune() {
            tracing::warn!(%error, "old history could not be pruned");
        }
        Ok(Ended { operation: self.reread(&operation.id)?, failure })
    }

    /// Ends an interrupted operation as cancelled. What exists stays as it is, and is told. One
    /// that had not come to its first change leaves the deployment's status as it was.
    pub fn cancel(&self, operation: &Operation) -> Result<(), Failure> {
        let lease = self.store.acquire(&operation.id, "cancel")?;
        backup::sweep(&self.store, &self.layout, &operation.deployment)?;
        // What it had in hand would be taken for the next one's.
        if let Some(deployment) = self.store.deployment(&operation.deployment)? {
            // A tunnel's token belongs to the host name in the specification.
            if operation.kind == OperationKind::Expose && !has_switched(operation) {
                self.vault.go_back(&self.store, &deployment.id)?;
            }
            for slot in [Slot::Next, Slot::Previous] {
                self.vault.forget(&self.store, &deployment.id, slot)?;
            }
        }
        let operation = self.reread(&operation.id)?;
        let definition = definition_of(&operation);
        let harmless = |name: &str| {
            let mut before =
                definition.steps.iter().take_while(|it| it.name != definition.changes_from);
            before.any(|it| it.name == name)
        };
        let changed = operation.steps.iter().any(|step| !harmless(&step.name));
        let left = match operation.prior {
            Some(prior) if !changed => Aftermath::Unchanged(prior),
            prior if definition.recovery.is_empty() => definition.left(prior),
            _ => Aftermath::Broken,
        };
        let event = NewEvent::new(
            EventType::Cancelled,
            format!("{} of {} was cancelled", operation.kind, operation.deployment),
        );
        self.store.finish(
            &lease,
            &Finish {
                status: OperationStatus::Cancelled,
                change: Some(Change::Fail { kind: operation.kind, left }),
                error: None,
                event: Some(event),
            },
        )?;
        Ok(())
    }

    fn reread(&self, id: &str) -> Result<Operation, Failure> {
        self.store
            .operation(id)?
            .ok_or_else(|| Failure::failed("an operation vanished from the journal"))
    }
}

fn not_ending(name: &DeploymentName, lock: &std::path::Path) -> Failure {
    Failure::conflict(format!("{name}: the processes of an earlier command do not end")).remedy(
        format!(
            "see who has {} open (fuser), or is named in {0}.children, and end them",
            lock.display()
        ),
    )
}

fn interrupted(operation: &Operation) -> Failure {
    Failure::new(
        FailureKind::Interrupted,
        format!(
            "{} of {} was interrupted; its state is saved",
            operation.kind, operation.deployment
        ),
    )
    .remedy(format!(
        "go on with it: openclaw-pipeline operations resume {0}; or give it up: \
         openclaw-pipeline operations cancel {0}",
        operation.id
    ))
}

/// One execution.
struct Run<'r, 'c> {
    definition: &'static OperationDef,
    operation: &'r Operation,
    context: &'r mut Context<'c>,
}

impl Run<'_, '_> {
    async fn run(mut self) -> Result<(), Failure> {
        let failed = match self.recorded_failure() {
            Some(failed) => Some(failed),
            None => self.forward().await?,
        };
        match failed {
            None => self.succeed(),
            Some((position, failure)) => self.give_up(position, failure).await,
        }
    }

    /// A failure that an earlier executor recorded before it was killed: the operation does not
    /// go forward again, it goes on with putting things back.
    fn recorded_failure(&self) -> Option<(usize, Failure)> {
        self.definition.steps.iter().enumerate().find_map(|(position, step)| {
            let record = self.record(step.name)?;
            if record.status != StepStatus::FailedClean {
                return None;
            }
            let failure = serde_json::from_value(record.output.clone())
                .unwrap_or_else(|_| Failure::failed(record.message.clone().unwrap_or_default()));
            Some((position, failure))
        })
    }

    /// What the journal has of a step. By name: a failure leaves a gap before the recovery.
    fn record(&self, name: &str) -> Option<&StepRecord> {
        self.operation.steps.iter().find(|record| record.name == name)
    }

    /// Whether a step needs no run: it is done, and what it did is still true.
    fn is_settled(&self, step: &StepDef) -> bool {
        let done = self.record(step.name).is_some_and(|record| record.status.is_done());
        done && match step.repeat {
            Repeat::Never => true,
            Repeat::Always => false,
            Repeat::Before(later) => self.context.begun.contains(later),
        }
    }

    /// Runs the steps that are not done. An interruption is an error; a step's failure is an
    /// answer.
    async fn forward(&mut self) -> Result<Option<(usize, Failure)>, Failure> {
        for (position, step) in self.definition.steps.iter().enumerate() {
            if let Some(failure) = self.step(position, step, self.definition.steps.len()).await? {
                return Ok(Some((position, failure)));
            }
        }
        Ok(None)
    }

    /// Runs one step unless it is done.
    async fn step(
        &mut self,
        position: usize,
        step: &StepDef,
        of: usize,
    ) -> Result<Option<Failure>, Failure> {
        let recorded = self.record(step.name).is_some();
        if self.is_settled(step) {
            return Ok(None);
        }
        if self.context.cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        let says = (step.says)(self.context);
        let event = step.event.filter(|_| !recorded);
        let layout = &self.context.layout;
        let event = event.map(|kind| NewEvent::new(kind, layout.without_paths(&says)));
        let context = &mut *self.context;
        context.store.step_intent(&context.lease, position, step.name, &says, event.as_ref())?;
        context.begun.insert(step.name.to_owned());
        context.sink.tell(&Told::StepBegins {
            name: step.name,
            number: position + 1,
            of,
            says: &says,
            again: recorded,
        });
        let begun = Instant::now();
        let span = tracing::info_span!("step", step = step.name, outcome = tracing::field::Empty);
        let ended = (step.run)(context).instrument(span.clone()).await;
        // What a tool or the gateway said may stand in a failure: here is where it is told and kept.
        let ended = ended.map_err(|failure| context.scrubbed(failure));
        context.sink.tell(&Told::StepActed { name: step.name });
        let (status, message, output, failure) = match ended {
            Ok(StepEnd::Done(output)) => (StepStatus::Succeeded, None, output, None),
            Ok(StepEnd::Skipped(why)) => (StepStatus::Skipped, Some(why), Value::Null, None),
            Err(failure) if failure.kind == FailureKind::Interrupted => {
                (StepStatus::Unknown, Some("interrupted".into()), Value::Null, Some(failure))
            }
            Err(failure) => {
                // The details go into the journal, for a successor that finds the failure there.
                let output = serde_json::to_value(&failure).unwrap_or_default();
                (StepStatus::FailedClean, Some(failure.message.clone()), output, Some(failure))
            }
        };
        span.record("outcome", status.as_str());
        drop(span);
        let update = StepUpdate { position, status, message: message.as_deref(), output: &output };
        context.store.step_outcome(&context.lease, &update)?;
        context.sink.tell(&Told::StepEnds {
            name: step.name,
            status: status.as_str(),
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            message: message.as_deref(),
        });
        match failure {
            None => {
                context.outputs.insert(step.name.to_owned(), output);
                Ok(None)
            }
            Some(failure) if status == StepStatus::Unknown => Err(failure),
            Some(failure) => Ok(Some(failure)),
        }
    }

    fn succeed(self) -> Result<(), Failure> {
        let says = (self.definition.done_says)(self.context);
        let says = self.context.layout.without_paths(&says);
        let event = self.definition.done.map(|kind| NewEvent::new(kind, says));
        self.context.store.finish(
            &self.context.lease,
            &Finish {
                status: OperationStatus::Succeeded,
                change: Some(self.definition.succeeds(self.context)),
                error: None,
                event,
            },
        )?;
        Ok(())
    }

    /// Puts things back where the operation says how, and ends it as failed.
    async fn give_up(mut self, position: usize, failure: Failure) -> Result<(), Failure> {
        let steps = self.definition.steps;
        let step = steps[position].name;
        let changes_from = steps.iter().position(|step| step.name == self.definition.changes_from);
        let changed = changes_from.is_none_or(|from| position >= from);
        let mut failure = failure.context(format!("step {step}"));
        self.context.failure = Some(failure.clone());
        let mut left = match self.operation.prior {
            Some(prior) if !changed => Aftermath::Unchanged(prior),
            prior => self.definition.left(prior),
        };
        if changed {
            let of = steps.len() + self.definition.recovery.len();
            for (index, recovery) in self.definition.recovery.iter().enumerate() {
                if let Some(worse) = self.step(steps.len() + index, recovery, of).await? {
                    left = Aftermath::Broken;
                    failure.message = format!(
                        "{}; putting it back failed too, at step {}: {}",
                        failure.message, recovery.name, worse.message
                    );
                    failure.remedy = worse.remedy.or(failure.remedy);
                    break;
                }
            }
        }
        if changed && left == Aftermath::Serving {
            failure.message = format!("{}; {}", failure.message, server::went_back(self.context));
        }
        let kind = self.definition.kind;
        let told = match &failure.remedy {
            Some(remedy) => format!("{}. To do: {remedy}", failure.message),
            None => failure.message.clone(),
        };
        // Events go to others.
        let told = self.context.layout.without_paths(&told);
        let event = NewEvent::new(self.definition.failed(), told)
            .with(serde_json::json!({ "step": step, "operation": kind }));
        self.context.store.finish(
            &self.context.lease,
            &Finish {
                status: OperationStatus::Failed,
                change: Some(Change::Fail { kind, left }),
                error: Some(&failure),
                event: Some(event),
            },
        )?;
        Err(failure)
    }
}
