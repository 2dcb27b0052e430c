//! Everything that is done to a deployment that is there.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::App;
use super::launching::credential_notices;
use crate::domain::{
    Deployment, DeploymentName, DeploymentSpec, DeploymentStatus, Failure, FailureKind, Operation,
    OperationKind, OperationStatus, TargetKind,
};
use crate::exec::LockFile;
use crate::operations::approval::Approved;
use crate::operations::vault::Slot;
use crate::operations::{
    ApproveParams, RestartParams, RestoreParams, RotateParams, Sink, UpdateParams,
};
use crate::secrets::{Secret, token::generate_token};
use crate::store::Begin;
use crate::targets::rendering;

/// What a rotation changes.
#[derive(Debug, Default)]
pub struct Rotation {
    /// Whether the gateway's token is replaced.
    pub new_token: bool,
    /// The new token; a generated one when `None`.
    pub token: Option<Secret>,
    /// New provider keys, by variable.
    pub credentials: Vec<(String, Secret)>,
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
        self.deployment(name)?;
        if let Some(done) = self.go_on(name, sink, cancel).await?
            && done.status == OperationStatus::Succeeded
            && done.kind == kind
            && done.params == params
            // Browsers that asked since, and secrets that differ, are another request.
            && !matches!(kind, OperationKind::Approve | OperationKind::Rotate)
        {
            return Ok(done);
        }
        let lock = self.engine().lock(name, kind.as_str()).await?;
        let operation = self.store().begin(&Begin {
            kind,
            deployment: name,
            params,
            create: None,
            event: None,
        })?;
        self.finish(&operation, &lock, sink, cancel).await
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
        self.deployment(name)?;
        self.go_on(name, sink, cancel).await?;
        let deployment = self.deployment(name)?;
        if deployment.status == DeploymentStatus::Stopped {
            return Err(Failure::conflict(format!(
                "{name} is stopped; its configuration is replaced and proven in one"
            ))
            .remedy(format!("openclaw-pipeline start {name}")));
        }
        let vault = self.engine().vault();
        let mut secrets = vault.open(self.store(), &deployment.id)?;
        secrets.user_config = Some(config);
        vault.keep(self.store(), &deployment.id, Slot::Current, &secrets)?;
        let params = to_value(&RestartParams { sync: true })?;
        self.run(OperationKind::Restart, name, params, sink, cancel).await
    }

    /// Updates to another version or image.
    pub async fn update(
        &self,
        name: &DeploymentName,
        version: Option<String>,
        image: Option<String>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let deployment = self.deployment(name)?;
        if deployment.status == DeploymentStatus::Stopped {
            return Err(Failure::conflict(format!(
                "{name} is stopped; an update proves the gateway before and after"
            ))
            .remedy(format!("openclaw-pipeline start {name}")));
        }
        let spec = updated(&deployment, version, image)?;
        let params = to_value(&UpdateParams { spec })?;
        self.run(OperationKind::Update, name, params, sink, cancel).await
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

    /// Replaces the token, provider keys, or both.
    pub async fn rotate(
        &self,
        name: &DeploymentName,
        rotation: Rotation,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let deployment = self.deployment(name)?;
        let done = self.go_on(name, sink, cancel).await?;
        let vault = self.engine().vault();
        let mut secrets = vault.open(self.store(), &deployment.id)?;
        if rotation.new_token
            && let Some(token) = &rotation.token
            && token.expose() == secrets.token.expose()
        {
            // The rotation that put it in force was interrupted, and is done now.
            return done
                .filter(|it| it.kind == OperationKind::Rotate)
                .filter(|it| it.status == OperationStatus::Succeeded)
                .ok_or_else(|| {
                    Failure::bad_input(
                        "the token that OPENCLAW_GATEWAY_TOKEN names is the one in force already",
                    )
                    .remedy("set another one, or leave it out to have one generated")
                });
        }
        let params = RotateParams {
            token: rotation.new_token,
            credentials: rotation.credentials.iter().map(|(name, _)| name.clone()).collect(),
        };
        if rotation.new_token {
            secrets.token = rotation.token.unwrap_or_else(generate_token);
        }
        for (variable, value) in rotation.credentials {
            secrets.credentials.retain(|(known, _)| *known != variable);
            secrets.credentials.push((variable, value));
        }
        for notice in credential_notices(name, &secrets, &deployment.facts.plugins) {
            sink.progress().note(&notice);
        }
        vault.keep(self.store(), &deployment.id, Slot::Next, &secrets)?;
        let params = to_value(&params)?;
        self.run(OperationKind::Rotate, name, params, sink, cancel).await
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

fn updated(
    deployment: &Deployment,
    version: Option<String>,
    image: Option<String>,
) -> Result<DeploymentSpec, Failure> {
    let mut spec = deployment.spec.clone();
    match (spec.target, version, image) {
        (TargetKind::Process, version, None) => {
            spec.version =
                Some(version.unwrap_or_else(|| crate::assets::OPENCLAW_VERSION.to_owned()));
        }
        (TargetKind::Docker, None, image) => {
            spec.image = Some(image.unwrap_or_else(|| crate::targets::DEFAULT_IMAGE.to_owned()));
        }
        (TargetKind::Docker, Some(version), None) => {
            spec.image = Some(format!("ghcr.io/openclaw/openclaw:{version}"));
        }
        (TargetKind::Process, _, Some(_)) => {
            return Err(Failure::bad_input(format!(
                "{} runs on the process target, which has no image",
                deployment.name
            ))
            .remedy("name a version: --version"));
        }
        (TargetKind::Docker, Some(_), Some(_)) => {
            return Err(Failure::bad_input("--version and --image both name what to run")
                .remedy("give one of them"));
        }
    }
    Ok(spec)
}
