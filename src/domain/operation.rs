//! Operations and their steps, as the journal keeps them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::Failure;
use super::name::DeploymentName;
use super::status::DeploymentStatus;

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// From nothing, or from something interrupted, to a proven gateway.
    Launch,
    /// Stop and start.
    Restart,
    /// Stop, keeping everything.
    Stop,
    /// Start what was stopped.
    Start,
    /// Another version or image.
    Update,
    /// A verified, sealed archive of the state.
    Backup,
    /// Back to an archive.
    Restore,
    /// New token or keys.
    Rotate,
    /// Another way for its users: a tunnel, or the plain port.
    Expose,
    /// Remove it.
    Destroy,
    /// Let a browser in.
    Approve,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Launch,
        Self::Restart,
        Self::Stop,
        Self::Start,
        Self::Update,
        Self::Backup,
        Self::Restore,
        Self::Rotate,
        Self::Expose,
        Self::Destroy,
        Self::Approve,
    ];

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Update => "update",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Rotate => "rotate",
            Self::Expose => "expose",
            Self::Destroy => "destroy",
            Self::Approve => "approve",
        }
    }

    /// As in "cannot be …".
    pub fn participle(self) -> &'static str {
        match self {
            Self::Launch => "launched",
            Self::Restart => "restarted",
            Self::Stop => "stopped",
            Self::Start => "started",
            Self::Update => "updated",
            Self::Backup => "backed up",
            Self::Restore => "restored",
            Self::Rotate => "given new keys",
            Self::Expose => "exposed",
            Self::Destroy => "destroyed",
            Self::Approve => "approved",
        }
    }

    /// The kind with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The status of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationStatus {
    /// Being executed, or interrupted and waiting to be gone on with.
    Running,
    /// Done.
    Succeeded,
    /// Failed.
    Failed,
    /// Cancelled on request.
    Cancelled,
}

impl OperationStatus {
    /// The status's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// The status of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// Its intent is stored; what it did is not known until its outcome is.
    Running,
    /// Done, with its output stored.
    Succeeded,
    /// Not needed this time.
    Skipped,
    /// Failed, and known to have changed nothing more.
    FailedClean,
    /// Ended without knowing what it changed: the next run looks before it acts.
    Unknown,
}

impl StepStatus {
    /// The status's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::FailedClean => "failed_clean",
            Self::Unknown => "unknown",
        }
    }

    /// The status with this name.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Pending,
            Self::Running,
            Self::Succeeded,
            Self::Skipped,
            Self::FailedClean,
            Self::Unknown,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }

    /// Whether the step needs no further run.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }
}

/// One step as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: StepStatus,
    /// When it first began, RFC 3339 UTC.
    pub started_at: Option<String>,
    /// When it ended, RFC 3339 UTC.
    pub ended_at: Option<String>,
    /// What it does, or what became of it.
    pub message: Option<String>,
    /// What later steps and a resumed run need of it. Not for outside readers.
    #[serde(skip)]
    pub output: Value,
}

/// One operation as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub kind: OperationKind,
    /// Whose it is.
    pub deployment: DeploymentName,
    /// Its status.
    pub status: OperationStatus,
    /// Its steps so far.
    pub steps: Vec<StepRecord>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// When it was asked for, RFC 3339 UTC.
    pub created_at: String,
    /// When it ended, RFC 3339 UTC.
    pub ended_at: Option<String>,
    /// What it was asked for with. It holds no secret, and is not for outside readers.
    #[serde(skip)]
    pub params: Value,
    /// The deployment's status before it began; `None` when there was no deployment.
    #[serde(skip)]
    pub prior: Option<DeploymentStatus>,
    /// Whether somebody asked that it be given up, while it was at work.
    #[serde(skip)]
    pub given_up: bool,
    /// How often an executor took it up.
    #[serde(skip)]
    pub epoch: i64,
    /// Its place in the order in which operations began.
    #[serde(skip)]
    pub sequence: i64,
}
