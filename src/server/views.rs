//! What answers look like.
//!
//! Owns the shape of every noun in an answer, apart from how the store keeps it. Refuses to show a
//! secret: there is none in what these are made from.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::remedy::for_callers;
use crate::app::endpoints::{Replay, ReplayStatus};
use crate::app::{App, steps_ahead};
use crate::domain::approval::ApprovalMode;
use crate::domain::{
    Deployment, DeploymentStatus, Event, EventSource, EventType, Expose, Failure, FailureKind,
    Operation, OperationStatus, StepStatus, TargetKind,
};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; null when this is the last.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// How names begin.
#[derive(ToSchema)]
#[schema(as = NamePrefix, max_length = 40, pattern = "^[a-z0-9][a-z0-9-]*$")]
#[expect(dead_code, reason = "it says what the text of a prefix looks like")]
pub struct NameBeginning(String);

/// A deployment.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Deployment)]
pub struct DeploymentView {
    /// Its name.
    #[schema(examples("main"))]
    pub name: String,
    /// Where it runs.
    pub target: TargetKind,
    /// How it stands.
    pub status: DeploymentStatus,
    /// The bare address of the gateway's page; null until it has one, and so until its machine is
    /// made. It lets nobody in by itself: the access call does.
    #[schema(required, examples("http://127.0.0.1:18789/"))]
    pub url: Option<String>,
    /// Its addresses for browsers on other machines, where its port is published to them.
    pub urls_elsewhere: Vec<String>,
    /// The gateway's version, as it said itself.
    #[schema(required, examples("2026.9.6"))]
    pub version: Option<String>,
    /// The default model.
    #[schema(required, examples("anthropic/claude-sonnet-5"))]
    pub model: Option<String>,
    /// The image that was named, for targets that run one.
    #[schema(required)]
    pub image: Option<String>,
    /// The port in use: of the server's own machine, or of the deployment's.
    #[schema(required)]
    pub port: Option<u16>,
    /// The region of its machine; null on targets that make none.
    #[schema(required, examples("us-west-2"))]
    pub region: Option<String>,
    /// The instance type or bundle of its machine; null on targets that make none.
    #[schema(required, examples("t3.medium"))]
    pub size: Option<String>,
    /// The address of its machine; null until there is one.
    #[schema(required, examples("203.0.113.7"))]
    pub address: Option<String>,
    /// Who reaches the gateway on its machine; null on targets that make none.
    #[schema(required)]
    pub expose: Option<Expose>,
    /// Whether its page comes over plain HTTP by a way that others may be on. `POST
    /// /v1/deployments/{name}/tunnel` puts a tunnel with HTTPS in front of one on `ec2` and
    /// `lightsail`.
    pub readable_on_its_way: bool,
    /// Whether only an administrator may destroy it.
    pub protected: bool,
    /// The names of the credentials that the gateway was given.
    pub credentials: Vec<String>,
    /// How browsers are let in.
    pub approval: ApprovalView,
    /// When it was last proven to work, RFC 3339 UTC.
    #[schema(required)]
    pub proven_at: Option<String>,
    /// When it was first launched, RFC 3339 UTC.
    pub created_at: String,
    /// When it last changed, RFC 3339 UTC.
    pub updated_at: String,
}

/// How browsers are let in.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ApprovalPolicy)]
pub struct ApprovalView {
    /// `auto`: within the window; `ask`: a person decides; `off`: nobody looks.
    pub mode: ApprovalMode,
    /// How long the window is open after the first proof, in seconds.
    pub window_s: u32,
    /// How many devices it lets in.
    pub devices: u32,
}

impl From<&Deployment> for DeploymentView {
    fn from(it: &Deployment) -> Self {
        let machine = it.spec.machine.as_ref();
        let default_size = || it.spec.target.default_size().map(str::to_owned);
        Self {
            name: it.name.to_string(),
            status: it.status,
            target: it.spec.target,
            url: it.url(),
            urls_elsewhere: it.urls_elsewhere(),
            version: it.facts.gateway_version.clone(),
            model: it.facts.model.clone().or_else(|| it.spec.model.clone()),
            image: it.spec.image.clone(),
            port: it.facts.port,
            region: machine.map(|machine| machine.region.clone()),
            size: machine.and_then(|machine| machine.size.clone().or_else(default_size)),
            address: it.facts.machine.as_ref().map(|made| made.address.to_string()),
            expose: machine.map(|machine| machine.expose),
            readable_on_its_way: it.is_readable_on_its_way(),
            protected: it.spec.protected,
            credentials: it.facts.credentials.clone(),
            approval: ApprovalView {
                mode: it.spec.approval.mode,
                window_s: it.spec.approval.window_s,
                devices: it.spec.approval.devices,
            },
            proven_at: it.facts.proven_at.clone(),
            created_at: it.created_at.clone(),
            updated_at: it.updated_at.clone(),
        }
    }
}

/// A deployment and what was last done to it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeploymentDetail {
    /// The deployment.
    #[serde(flatten)]
    pub deployment: DeploymentView,
    /// The operation that is at work on it, or was last.
    #[schema(required)]
    pub operation: Option<OperationView>,
}

/// One step of an operation.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Step)]
pub struct StepView {
    /// Its name.
    #[schema(examples("prove"))]
    pub name: String,
    /// Its status.
    pub status: StepStatus,
    /// When it first began, RFC 3339 UTC.
    #[schema(required)]
    pub started_at: Option<String>,
    /// When it ended, RFC 3339 UTC.
    #[schema(required)]
    pub ended_at: Option<String>,
    /// What it does, or what became of it.
    #[schema(required)]
    pub message: Option<String>,
}

impl StepView {
    /// A step that is to come.
    fn pending(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            status: StepStatus::Pending,
            started_at: None,
            ended_at: None,
            message: None,
        }
    }
}

/// Why an operation failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = OperationError)]
pub struct ErrorView {
    /// Its kind.
    pub kind: FailureKind,
    /// What happened and why.
    pub message: String,
    /// What to do next.
    #[schema(required)]
    pub remedy: Option<String>,
}

impl ErrorView {
    fn of(failure: &Failure, app: &App) -> Self {
        Self {
            kind: failure.kind,
            message: app.layout().without_paths(&failure.message),
            remedy: failure
                .remedy
                .as_deref()
                .map(|it| for_callers(&app.layout().without_paths(it))),
        }
    }
}

/// Long work, as the journal has it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Operation)]
pub struct OperationView {
    /// Its id.
    pub id: String,
    /// What it is for: `launch`, `stop`, `start`, `restart`, `update`, `backup`, `restore`,
    /// `rotate`, `destroy`, `approve` or `replay`.
    #[schema(examples("launch"))]
    pub kind: String,
    /// Whose it is; null where it is no deployment's.
    #[schema(required, examples("main"))]
    pub deployment: Option<String>,
    /// How it stands.
    pub status: OperationStatus,
    /// Its steps: those that began, and, while it is at work, those that are to come.
    pub steps: Vec<StepView>,
    /// Why it failed.
    #[schema(required)]
    pub error: Option<ErrorView>,
    /// When it was asked for, RFC 3339 UTC.
    pub created_at: String,
    /// When it ended, RFC 3339 UTC.
    #[schema(required)]
    pub ended_at: Option<String>,
}

impl OperationView {
    /// A replay: one step, in which the events are sent.
    pub fn of_replay(replay: &Replay) -> Self {
        let (status, step) = match replay.status {
            ReplayStatus::Running => (OperationStatus::Running, StepStatus::Running),
            ReplayStatus::Succeeded => (OperationStatus::Succeeded, StepStatus::Succeeded),
            ReplayStatus::Failed => (OperationStatus::Failed, StepStatus::FailedClean),
            ReplayStatus::Cancelled => (OperationStatus::Cancelled, StepStatus::Unknown),
        };
        let (from, to) = (replay.from_sequence, replay.to_sequence);
        let error = (replay.status == ReplayStatus::Failed).then(|| ErrorView {
            kind: FailureKind::Failed,
            message: format!("{} of {} deliveries were given up", replay.dead, replay.queued),
            remedy: Some(format!(
                "GET /v1/webhooks/{}/deliveries?status=dead says why",
                replay.endpoint
            )),
        });
        Self {
            id: replay.id.clone(),
            kind: "replay".to_owned(),
            deployment: None,
            status,
            steps: vec![StepView {
                name: "send".to_owned(),
                status: step,
                started_at: Some(replay.created_at.clone()),
                ended_at: replay.ended_at.clone(),
                message: Some(format!(
                    "send events {from} to {to} again: {} of {} arrived",
                    replay.delivered, replay.queued
                )),
            }],
            error,
            created_at: replay.created_at.clone(),
            ended_at: replay.ended_at.clone(),
        }
    }

    /// An operation of a deployment.
    pub fn of(operation: &Operation, app: &App) -> Self {
        let plain = |text: &str| app.layout().without_paths(text);
        Self {
            id: operation.id.clone(),
            kind: operation.kind.as_str().to_owned(),
            deployment: Some(operation.deployment.to_string()),
            status: operation.status,
            steps: operation
                .steps
                .iter()
                .map(|step| StepView {
                    name: step.name.clone(),
                    status: step.status,
                    started_at: step.started_at.clone(),
                    ended_at: step.ended_at.clone(),
                    message: step.message.as_deref().map(plain),
                })
                .chain(steps_ahead(operation).map(StepView::pending))
                .collect(),
            error: operation.error.as_ref().map(|error| ErrorView::of(error, app)),
            created_at: operation.created_at.clone(),
            ended_at: operation.ended_at.clone(),
        }
    }
}

/// Something that happened, as streams and webhooks send it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The deployment.
    pub name: String,
    /// In a sentence.
    pub message: String,
    /// When, RFC 3339 UTC.
    pub timestamp: String,
    /// Details, of a form that the type has.
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(required = false, value_type = Object)]
    pub data: Value,
    /// Its own id.
    pub id: String,
    /// Its place in the order of this installation. A filtered stream has gaps.
    pub sequence: i64,
    /// The operation that it tells of; null where it tells of none.
    #[schema(required)]
    pub operation_id: Option<String>,
    /// Who says so: the product, or somebody outside.
    pub source: EventSource,
}

impl From<&Event> for EventView {
    fn from(it: &Event) -> Self {
        Self {
            kind: it.kind,
            name: it.name.to_string(),
            message: it.message.clone(),
            timestamp: it.timestamp.clone(),
            data: it.data.clone(),
            id: it.id.clone(),
            sequence: it.sequence,
            operation_id: it.operation_id.clone(),
            source: it.source,
        }
    }
}
