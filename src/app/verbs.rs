//! Everything that is done to a deployment that is there.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::App;
use super::rotation::{Rotation, rotated_notices};
use super::specification::{Wanted, updated};
use crate::domain::{
    Deployment, DeploymentName, DeploymentStatus, Failure, FailureKind, Operation, OperationKind,
    OperationStatus,
};
use crate::exec::LockFile;
use crate::operations::approval::Approved;
use crate::operations::vault::Slot;
use crate::operations::{ApproveParams, RestartParams, RestoreParams, Sink, UpdateParams};
use crate::secrets::Secret;
use crate::store::Begin;
use crate::targets::{GatewaySecrets, rendering};

/// What an operation begins with, or that it need not.
enum Planned {
    /// It begins.
    Begin {
        /// What it is asked for with.
        params: Value,
        /// What is sealed in the same commit, by slot.
        sealed: Vec<(String, Vec<u8>)>,
    },
    /// What was gone on with did what is asked for.
    Done(Operation),
}

impl App {
    /// Goes on with an interrupted operation of a deployment, to its end. Its own failure is told
    /// and is no obstacle to what is done next.
    pub async fn go_on(
        &self,
        name: &DeploymentName,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Option<Operation>, Failure> {
        let Some(operation) = self.store().active_operation(name)? else { return Ok(None) };
        let lock = self.engine().lock(name, operation.kind.as_str()).await?;
        // It may have been finished while the lock was waited for.
        let Some(operation) = self.store().active_operation(name)? else { return Ok(None) };
        sink.progress().note(&format!(
            "going on with the {} that was interrupted ({})",
            operation.kind, operation.id
        ));
        match self.finish(&operation, &lock, sink, cancel).await {
            Err(failure) if failure.kind == FailureKind::Interrupted => Err(failure),
            Err(failure) => {
                sink.progress().note(&format!("the interrupted {}: {failure}", operation.kind));
                Ok(Some(operation))
            }
            Ok(operation) => Ok(Some(operation)),
        }
    }

    /// Executes an operation to its end.
    pub(super) async fn finish(
        &self,
        operation: &Operation,
        lock: &LockFile,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let ended = self.engine().execute(operation, lock, sink, cancel).await?;
        match ended.failure {
            None => Ok(ended.operation),
            Some(failure) => Err(failure),
        }
    }

    /// Begins an operation and executes it. One of the same kind that asks for the same and was
    /// interrupted is gone on with instead: its end is what was asked for.
    pub async fn run(
        &self,
        kind: OperationKind,
        name: &DeploymentName,
        params: Value,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let plan = |done: Option<Operation>| {
            // Browsers that asked since are another request.
            Ok(match done.filter(|it| it.params == params && kind != OperationKind::Approve) {
                Some(done) => Planned::Done(done),
                None => Planned::Begin { params, sealed: Vec::new() },
            })
        };
        self.planned(kind, name, sink, cancel, plan).await
    }

    /// Goes on with what was interrupted, and then begins an operation and executes it. What it
    /// begins with is made under the deployment's lock, from what is there by then: nobody else
    /// changes that any more. `plan` is given the operation of this kind that was gone on with,
    /// where it succeeded.
    async fn planned(
        &self,
        kind: OperationKind,
        name: &DeploymentName,
        sink: &dyn Sink,
        cancel: &CancellationToken,
        plan: impl FnOnce(Option<Operation>) -> Result<Planned, Failure>,
    ) -> Result<Operation, Failure> {
        self.deployment(name)?;
        let done = self.go_on(name, sink, cancel).await?;
        let done = done.filter(|it| it.kind == kind && it.status == OperationStatus::Succeeded);
        let lock = self.engine().lock(name, kind.as_str()).await?;
        let (params, sealed) = match plan(done)? {
            Planned::Begin { params, sealed } => (params, sealed),
            Planned::Done(operation) => return Ok(operation),
        };
        let operation = self.store().begin(&Begin {
            kind,
            deployment: name,
            params,
            create: None,
            sealed,
            event: None,
        })?;
        self.finish(&operation, &lock, sink, cancel).await
    }

    /// The deployment, unless it is stopped.
    fn unless_stopped(&self, name: &DeploymentName, why: &str) -> Result<Deployment, Failure> {
        let deployment = self.deployment(name)?;
        if deployment.status == DeploymentStatus::Stopped {
            return Err(Failure::conflict(format!("{name} is stopped; {why}"))
                .remedy(format!("openclaw-pipeline start {name}")));
        }
        Ok(deployment)
    }

    /// Seals secrets for the operation that begins with them.
    fn sealed(
        &self,
        deployment: &Deployment,
        slot: Slot,
        secrets: &GatewaySecrets,
    ) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let sealed = self.engine().vault().seal(&deployment.id, slot, secrets)?;
        Ok(vec![(slot.name().to_owned(), sealed)])
    }

    /// Puts the user's own configuration in place of the gateway's, with the managed keys merged
    /// in, and proves the gateway with it.
    pub async fn sync(
        &self,
        name: &DeploymentName,
        config: Secret,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        // A file that cannot be read is refused before anything is touched.
        rendering::parse(config.expose())?;
        let plan = |done: Option<Operation>| {
            let why = "its configuration is replaced and proven in one";
            let deployment = self.unless_stopped(name, why)?;
            let params = to_value(&RestartParams { sync: true })?;
            let mut secrets = self.engine().vault().open(self.store(), &deployment.id)?;
            let known = secrets.user_config.replace(config);
            let same = known.as_ref().map(Secret::expose)
                == secrets.user_config.as_ref().map(Secret::expose);
            if let Some(done) = done.filter(|it| same && it.params == params) {
                return Ok(Planned::Done(done));
            }
            let sealed = self.sealed(&deployment, Slot::Current, &secrets)?;
            Ok(Planned::Begin { params, sealed })
        };
        self.planned(OperationKind::Restart, name, sink, cancel, plan).await
    }

    /// Updates to another version or image.
    pub async fn update(
        &self,
        name: &DeploymentName,
        wanted: Wanted<'_>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let plan = |done: Option<Operation>| {
            let why = "an update proves the gateway before and after";
            let deployment = self.unless_stopped(name, why)?;
            let params = to_value(&UpdateParams { spec: updated(&deployment, wanted)? })?;
            Ok(match done.filter(|it| it.params == params) {
                Some(done) => Planned::Done(done),
                None => Planned::Begin { params, sealed: Vec::new() },
            })
        };
        self.planned(OperationKind::Update, name, sink, cancel, plan).await
    }

    /// Goes back to a backup.
    pub async fn restore(
        &self,
        name: &DeploymentName,
        backup: Option<String>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let params = to_value(&RestoreParams { backup })?;
        self.run(OperationKind::Restore, name, params, sink, cancel).await
    }

    /// Replaces the token, provider keys, or both; takes keys out.
    pub async fn rotate(
        &self,
        name: &DeploymentName,
        rotation: Rotation,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let plan = |done: Option<Operation>| {
            let deployment = self.unless_stopped(name, "a rotation proves the gateway after it")?;
            let known = self.engine().vault().open(self.store(), &deployment.id)?;
            let Some((params, secrets)) = rotation.over(name, &known, done.as_ref())? else {
                return done.map(Planned::Done).ok_or_else(|| {
                    Failure::failed("a rotation that changes nothing was not refused")
                });
            };
            for notice in rotated_notices(&deployment, &secrets) {
                sink.progress().note(&notice);
            }
            let sealed = self.sealed(&deployment, Slot::Next, &secrets)?;
            Ok(Planned::Begin { params: to_value(&params)?, sealed })
        };
        self.planned(OperationKind::Rotate, name, sink, cancel, plan).await
    }

    /// Lets waiting browsers in: the one named, or every one within the ceiling.
    pub async fn approve(
        &self,
        name: &DeploymentName,
        request_id: Option<String>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Approved, Failure> {
        // What was interrupted is gone on with first, and may bring the gateway up.
        if self.store().active_operation(name)?.is_none() {
            self.refuse_asleep(name).await?;
        }
        let params = to_value(&ApproveParams { request_id })?;
        let operation = self.run(OperationKind::Approve, name, params, sink, cancel).await?;
        let output = operation.steps.last().map(|step| step.output.clone()).unwrap_or_default();
        serde_json::from_value(output)
            .map_err(|error| Failure::failed(format!("the approval's outcome: {error}")))
    }

    /// Goes on with an interrupted operation by its id.
    pub async fn resume(
        &self,
        id: &str,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let deployment = self.operation(id)?.deployment;
        let lock = self.engine().lock(&deployment, "resume").await?;
        let operation = self.interrupted(id)?;
        self.finish(&operation, &lock, sink, cancel).await
    }

    /// Gives an interrupted operation up.
    pub async fn give_up(&self, id: &str) -> Result<Operation, Failure> {
        let operation = self.operation(id)?;
        let _lock = self.engine().lock(&operation.deployment, "cancel").await?;
        self.engine().cancel(&self.interrupted(id)?)?;
        self.operation(id)
    }

    /// An operation that is not over.
    fn interrupted(&self, id: &str) -> Result<Operation, Failure> {
        let operation = self.operation(id)?;
        if operation.status == OperationStatus::Running {
            return Ok(operation);
        }
        Err(Failure::conflict(format!(
            "the {} of {} is over: it {}",
            operation.kind,
            operation.deployment,
            match operation.status {
                OperationStatus::Cancelled => "was cancelled",
                other => other.as_str(),
            }
        ))
        .remedy(format!("openclaw-pipeline status {} shows how it stands", operation.deployment)))
    }

    /// An operation by its id.
    pub fn operation(&self, id: &str) -> Result<Operation, Failure> {
        self.store().operation(id)?.ok_or_else(|| {
            Failure::not_found(format!(
                "there is no operation {}",
                crate::domain::text::clean(id, 60)
            ))
            .remedy("openclaw-pipeline operations list shows what there is")
        })
    }

    /// No parameters.
    pub fn no_params() -> Value {
        json!({})
    }
}

fn to_value<T: serde::Serialize>(params: &T) -> Result<Value, Failure> {
    serde_json::to_value(params)
        .map_err(|error| Failure::failed(format!("the operation's parameters: {error}")))
}
