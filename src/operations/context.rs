//! What an operation is made of, and what its steps are given.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::vault::{Slot, Vault};
use super::watcher::Watcher;
use crate::domain::{
    Aftermath, Change, Deployment, DeploymentSpec, DeploymentStatus, EventType, Facts, Failure,
    OperationKind,
};
use crate::exec::LockFile;
use crate::store::{Lease, Store};
use crate::targets::{Layout, Progress, Site, Target, Targets, Work};

/// How long a failure's sentence may be, in characters.
const MESSAGE_CHARS: usize = 2000;

/// An operation: its steps, and how its end is told.
pub struct OperationDef {
    /// What it is for.
    pub kind: OperationKind,
    /// The event of its success, for operations whose steps do not tell of it themselves.
    pub done: Option<EventType>,
    /// The event's sentence.
    pub done_says: fn(&Context<'_>) -> String,
    /// Its steps, in order.
    pub steps: &'static [StepDef],
    /// What puts things back when a step fails; run in order, and journalled like the others.
    pub recovery: &'static [StepDef],
    /// The first step that changes what runs: a failure before it leaves everything as it was.
    pub changes_from: &'static str,
    /// What a recovery that succeeded leaves.
    pub recovered: Aftermath,
}

impl OperationDef {
    /// What its success makes of the deployment. Where a machine alone was made, nothing runs.
    pub fn succeeds(&self, c: &Context<'_>) -> Change {
        let is_machine_alone = c.deployment.name.is_server()
            && self.kind == OperationKind::Launch
            && c.params["shipped"].is_null();
        Change::Succeed(if is_machine_alone { OperationKind::Stop } else { self.kind })
    }

    /// What its failure leaves once something was changed, if its recovery works. Where nothing is put
    /// back, what did not work before does not now.
    pub fn left(&self, prior: Option<DeploymentStatus>) -> Aftermath {
        if !self.recovery.is_empty() || self.recovered != Aftermath::Serving {
            return self.recovered;
        }
        match prior {
            Some(DeploymentStatus::Running) => Aftermath::Serving,
            Some(prior @ DeploymentStatus::Degraded) => Aftermath::Unchanged(prior),
            _ => Aftermath::Broken,
        }
    }

    /// The event of its failure. A browser that was not let in is no failed deployment.
    pub fn failed(&self) -> EventType {
        match self.kind {
            OperationKind::Approve => EventType::ApproveFailed,
            _ => EventType::Failed,
        }
    }
}

/// One step.
pub struct StepDef {
    /// Its name in the journal.
    pub name: &'static str,
    /// What it does, in one line: the progress message and the event's.
    pub says: fn(&Context<'_>) -> String,
    /// The event that tells of it.
    pub event: Option<EventType>,
    /// What it does. Running it again is safe: it looks before it acts.
    pub run: for<'a> fn(&'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>>,
    /// Whether somebody who goes on with the operation runs it again although it is done.
    pub repeat: Repeat,
}

/// When a step that is done is run again by whoever goes on with an interrupted operation. Days
/// may lie between the two, and a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// What it did stays true.
    Never,
    /// What it found may be true no longer: a gateway that ran, a proof.
    Always,
    /// What it made grows old until this step has begun.
    Before(&'static str),
}

/// How a step ended well.
#[derive(Debug, Clone, PartialEq)]
pub enum StepEnd {
    /// Done, with what later steps need of it.
    Done(Value),
    /// Not needed this time, and why.
    Skipped(String),
}

impl StepEnd {
    /// Done, with nothing to hand on.
    pub const NOTHING: Self = Self::Done(Value::Null);
}

/// Where an operation's progress goes: a terminal, a stream of JSON, a log.
pub trait Sink: Progress {
    /// An operation goes forward.
    fn tell(&self, told: &Told<'_>);

    /// The sink as the targets know it.
    fn progress(&self) -> &dyn Progress;
}

/// What a sink is told.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// A step begins.
    StepBegins {
        /// Its name.
        name: &'a str,
        /// Its place, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// What it does.
        says: &'a str,
        /// Whether it is run again after an interruption.
        again: bool,
    },
    /// A step has acted; its outcome is not stored yet.
    StepActed {
        /// Its name.
        name: &'a str,
    },
    /// A step ended, and its outcome is stored.
    StepEnds {
        /// Its name.
        name: &'a str,
        /// How: `succeeded`, `skipped`, `failed_clean`, `unknown`.
        status: &'a str,
        /// How long it took, in milliseconds.
        took_ms: u64,
        /// What became of it.
        message: Option<&'a str>,
    },
}

/// What a step is given.
pub struct Context<'a> {
    /// The store.
    pub store: &'a Store,
    /// What the operation is for.
    pub kind: OperationKind,
    /// The right to write.
    pub lease: Lease,
    /// The targets.
    pub targets: &'a Targets,
    /// Where things lie.
    pub layout: &'a Layout,
    /// The sealed secrets.
    pub vault: &'a Vault,
    /// The deployment as it stands now.
    pub deployment: Deployment,
    /// The deployment's status before the operation began; `None` when there was none.
    pub prior: Option<DeploymentStatus>,
    /// What the operation was asked for with.
    pub params: Value,
    /// What earlier steps left, by name.
    pub outputs: BTreeMap<String, Value>,
    /// The steps that have begun, whatever became of them.
    pub begun: BTreeSet<String>,
    /// Says that the operation is interrupted.
    pub cancel: CancellationToken,
    /// The deployment's lock.
    pub lock: &'a LockFile,
    /// Who lets browsers in.
    pub watcher: &'a Watcher,
    /// Where progress goes.
    pub sink: &'a dyn Sink,
    /// Why the operation failed, for recovery steps.
    pub failure: Option<Failure>,
}

impl<'a> Context<'a> {
    /// What the operation was asked for with, typed.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_value(self.params.clone())
            .map_err(|error| Failure::failed(format!("the operation's parameters: {error}")))
    }

    /// What an earlier step left, typed.
    pub fn output<T: DeserializeOwned>(&self, step: &str) -> Result<Option<T>, Failure> {
        match self.outputs.get(step) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|error| Failure::failed(format!("what step {step} left: {error}"))),
        }
    }

    /// The deployment as the target sees it, with the secrets in force.
    pub fn site(&self) -> Result<Site, Failure> {
        Ok(Site {
            layout: self.layout.clone(),
            deployment: self.deployment.clone(),
            secrets: self.vault.open(self.store, &self.deployment.id)?,
        })
    }

    /// The deployment's target.
    pub fn target(&self) -> &'a dyn Target {
        self.targets.get(self.deployment.spec.target)
    }

    /// The failure as it may be told and kept: without a control character, and without a secret
    /// of this deployment, those that a rotation has in hand included.
    pub fn scrubbed(&self, mut failure: Failure) -> Failure {
        let slots = [Slot::Current, Slot::Next, Slot::Previous];
        let known = slots.iter().filter_map(|slot| {
            self.vault.peek(self.store, &self.deployment.id, *slot).ok().flatten()
        });
        for secrets in known {
            failure.message = secrets.scrub(&failure.message, MESSAGE_CHARS);
            failure.remedy = failure.remedy.map(|remedy| secrets.scrub(&remedy, MESSAGE_CHARS));
        }
        failure
    }

    /// What the operation lends the target.
    pub fn work(&self) -> Work<'_> {
        Work { cancel: &self.cancel, lock: self.lock, progress: self.sink.progress() }
    }

    /// Changes the specification, here and in the store.
    pub fn change_spec(&mut self, spec: DeploymentSpec) -> Result<(), Failure> {
        if spec != self.deployment.spec {
            self.store.set_spec(&self.lease, &spec)?;
            self.deployment.spec = spec;
        }
        Ok(())
    }

    /// Changes the facts, here and in the store.
    pub fn change_facts(&mut self, change: impl FnOnce(&mut Facts)) -> Result<(), Failure> {
        let mut facts = self.deployment.facts.clone();
        change(&mut facts);
        if facts != self.deployment.facts {
            self.store.set_facts(&self.lease, &facts)?;
            self.deployment.facts = facts;
        }
        Ok(())
    }
}
