//! What can be asked of a deployment that is there, as data.
//!
//! Owns the plan of each: what its operation begins with, made from what is in force. Refuses what
//! the deployment's state does not allow, before anything is begun.

use serde_json::{Value, json};

use super::App;
use super::devices::check_request_id;
use super::exposing::Exposure;
use super::rotation::{Rotation, rotated_notices};
use super::specification::{Wanted, updated};
use crate::domain::{
    Deployment, DeploymentName, DeploymentStatus, Failure, Operation, OperationKind, TargetKind,
};
use crate::operations::approval::Approved;
use crate::operations::vault::Slot;
use crate::operations::{ApproveParams, DestroyParams, RestartParams, RestoreParams, UpdateParams};
use crate::secrets::Secret;
use crate::targets::{GatewaySecrets, rendering};

/// What is asked of a deployment.
#[derive(Debug)]
pub enum Order<'a> {
    /// Let it drain and stop it.
    Stop,
    /// Start and prove it.
    Start,
    /// Stop, start and prove it.
    Restart,
    /// Make a backup.
    Backup,
    /// Remove it with all its data.
    Destroy(DestroyParams),
    /// Go to another version or image.
    Update(Wanted<'a>),
    /// Go back to a backup.
    Restore {
        /// Which one; the newest when `None`.
        backup: Option<String>,
    },
    /// Replace the token, provider keys, or both; take keys out.
    Rotate(Rotation),
    /// Have it reached in another way.
    Expose(Exposure),
    /// Put the user's own configuration in place of the gateway's, with the managed keys merged
    /// in.
    Sync(Secret),
    /// Let waiting browsers in.
    Approve {
        /// The request; every one within the ceiling when `None`.
        request_id: Option<String>,
    },
}

impl Order<'_> {
    /// The operation that does it.
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::Stop => OperationKind::Stop,
            Self::Start => OperationKind::Start,
            Self::Restart | Self::Sync(_) => OperationKind::Restart,
            Self::Backup => OperationKind::Backup,
            Self::Destroy { .. } => OperationKind::Destroy,
            Self::Update(_) => OperationKind::Update,
            Self::Restore { .. } => OperationKind::Restore,
            Self::Rotate(_) => OperationKind::Rotate,
            Self::Expose(_) => OperationKind::Expose,
            Self::Approve { .. } => OperationKind::Approve,
        }
    }
}

/// What an operation begins with, or that it need not.
pub(super) enum Planned {
    /// It begins.
    Begin {
        /// What it is asked for with.
        params: Value,
        /// What is sealed in the same commit, by slot.
        sealed: Vec<(String, Vec<u8>)>,
        /// What the user should know.
        notices: Vec<String>,
    },
    /// What was gone on with did what is asked for.
    Done(Operation),
}

impl Planned {
    /// An operation without a new secret, unless the one that was gone on with did the same.
    pub(super) fn unless_done(params: Value, done: Option<Operation>) -> Self {
        match done.filter(|it| it.params == params) {
            Some(done) => Self::Done(done),
            None => Self::Begin { params, sealed: Vec::new(), notices: Vec::new() },
        }
    }
}

impl App {
    /// The plan of an order. `done` is the operation of its kind that was interrupted, gone on
    /// with just now, and succeeded.
    pub(super) fn plan(
        &self,
        name: &DeploymentName,
        order: Order<'_>,
        done: Option<Operation>,
    ) -> Result<Planned, Failure> {
        match order {
            Order::Stop | Order::Start | Order::Restart | Order::Backup => {
                Ok(Planned::unless_done(json!({}), done))
            }
            // However the one that was gone on with was asked for: it is gone.
            Order::Destroy(how) => {
                if how.keep_volumes {
                    let why = "only on a cluster are there volumes which outlive a gateway";
                    let remedy =
                        "leave it out; a last backup (backup, or --backup) keeps its state";
                    self.refuse_without_cluster(name, "keep_volumes", why, remedy)?;
                }
                if how.unseen {
                    let why = "only a cluster may be gone and what was on it not";
                    let remedy = "leave it out: a machine that is gone is removed all the same";
                    self.refuse_without_cluster(name, "unseen", why, remedy)?;
                }
                let params = to_value(&how)?;
                Ok(done.map_or_else(|| Planned::unless_done(params, None), Planned::Done))
            }
            Order::Restore { backup } => {
                Ok(Planned::unless_done(to_value(&RestoreParams { backup })?, done))
            }
            // Browsers that asked since are another request.
            Order::Approve { request_id } => {
                if let Some(id) = &request_id {
                    check_request_id(id)?;
                }
                Ok(Planned::unless_done(to_value(&ApproveParams { request_id })?, None))
            }
            Order::Update(wanted) => {
                let why = "an update proves the gateway before and after";
                let deployment = self.unless_stopped(name, why)?;
                let params = to_value(&UpdateParams { spec: updated(&deployment, wanted)? })?;
                Ok(Planned::unless_done(params, done))
            }
            Order::Sync(config) => self.plan_sync(name, config, done),
            Order::Rotate(rotation) => self.plan_rotation(name, rotation, done),
            Order::Expose(exposure) => self.plan_exposure(name, exposure, done),
        }
    }

    /// Refuses what is asked of a gateway that is on no cluster.
    fn refuse_without_cluster(
        &self,
        name: &DeploymentName,
        what: &str,
        why: &str,
        remedy: &str,
    ) -> Result<(), Failure> {
        let target = self.deployment(name)?.spec.target;
        if target == TargetKind::Eks && name.is_gateway() {
            return Ok(());
        }
        Err(Failure::bad_input(format!("{what}: {name} is on {target}, and {why}")).remedy(remedy))
    }

    fn plan_sync(
        &self,
        name: &DeploymentName,
        config: Secret,
        done: Option<Operation>,
    ) -> Result<Planned, Failure> {
        // A file that cannot be read is refused before anything is touched.
        rendering::parse(config.expose())?;
        let why = "its configuration is replaced and proven in one";
        let deployment = self.unless_stopped(name, why)?;
        let params = to_value(&RestartParams { sync: true })?;
        let mut secrets = self.engine().vault().open(self.store(), &deployment.id)?;
        let known = secrets.user_config.replace(config);
        let same =
            known.as_ref().map(Secret::expose) == secrets.user_config.as_ref().map(Secret::expose);
        if let Some(done) = done.filter(|it| same && it.params == params) {
            return Ok(Planned::Done(done));
        }
        let sealed = self.sealed(&deployment, Slot::Current, &secrets)?;
        Ok(Planned::Begin { params, sealed, notices: Vec::new() })
    }

    fn plan_rotation(
        &self,
        name: &DeploymentName,
        rotation: Rotation,
        done: Option<Operation>,
    ) -> Result<Planned, Failure> {
        let deployment = self.unless_stopped(name, "a rotation proves the gateway after it")?;
        let known = self.engine().vault().open(self.store(), &deployment.id)?;
        let others = !rotation.keys_of_request && !rotation.credentials.is_empty();
        if others && deployment.spec.keys_of_request {
            self.store().set_keys_of_others(name)?;
        }
        let Some((params, secrets)) = rotation.over(name, &known, done.as_ref())? else {
            return done
                .map(Planned::Done)
                .ok_or_else(|| Failure::failed("a rotation that changes nothing was not refused"));
        };
        let notices = rotated_notices(&deployment, &secrets);
        let sealed = self.sealed(&deployment, Slot::Next, &secrets)?;
        Ok(Planned::Begin { params: to_value(&params)?, sealed, notices })
    }

    /// The deployment, unless it is stopped.
    pub(super) fn unless_stopped(
        &self,
        name: &DeploymentName,
        why: &str,
    ) -> Result<Deployment, Failure> {
        let deployment = self.deployment(name)?;
        if deployment.status == DeploymentStatus::Stopped {
            return Err(Failure::conflict(format!("{name} is stopped; {why}"))
                .remedy(format!("openclaw-pipeline start {name}")));
        }
        Ok(deployment)
    }

    /// Seals secrets for the operation that begins with them.
    pub(super) fn sealed(
        &self,
        deployment: &Deployment,
        slot: Slot,
        secrets: &GatewaySecrets,
    ) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let sealed = self.engine().vault().seal(&deployment.id, slot, secrets)?;
        Ok(vec![(slot.name().to_owned(), sealed)])
    }
}

/// What an approval by hand did, from its operation.
pub(super) fn approved(operation: &Operation) -> Result<Approved, Failure> {
    let output = operation.steps.last().map(|step| step.output.clone()).unwrap_or_default();
    serde_json::from_value(output)
        .map_err(|error| Failure::failed(format!("the approval's outcome: {error}")))
}

pub(super) fn to_value<T: serde::Serialize>(params: &T) -> Result<Value, Failure> {
    serde_json::to_value(params)
        .map_err(|error| Failure::failed(format!("the operation's parameters: {error}")))
}
