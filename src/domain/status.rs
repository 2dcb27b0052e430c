//! A deployment's status and the one function that changes it.
//!
//! Owns the table of transitions. Refuses what is illegal instead of papering over it: an
//! operation that may not begin now says so.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::operation::OperationKind;

/// The status of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentStatus {
    /// Being launched.
    Launching,
    /// Proven, and meant to run.
    Running,
    /// Meant to run, and found not to.
    Degraded,
    /// Being updated or restored.
    Updating,
    /// Being started, restarted or given new keys.
    Restarting,
    /// Stopped on request.
    Stopped,
    /// The last operation left it without a working gateway.
    Failed,
    /// Being removed.
    Destroying,
    /// Removed.
    Destroyed,
}

impl DeploymentStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Launching,
        Self::Running,
        Self::Degraded,
        Self::Updating,
        Self::Restarting,
        Self::Stopped,
        Self::Failed,
        Self::Destroying,
        Self::Destroyed,
    ];

    /// The status as the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launching => "launching",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Updating => "updating",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        }
    }

    /// The status that the contract spells so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for DeploymentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What happened to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An operation began.
    Begin(OperationKind),
    /// An operation did what it was for.
    Succeed(OperationKind),
    /// An operation failed.
    Fail {
        /// Which one.
        kind: OperationKind,
        /// What it left.
        left: Aftermath,
    },
    /// A running gateway was found not to work.
    Degrade,
    /// A degraded gateway was found to work again.
    Recover,
}

/// What a failed operation left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aftermath {
    /// It had changed nothing yet; the status is what it was before it began.
    Unchanged(DeploymentStatus),
    /// It put things back, and the gateway is proven to work again.
    Serving,
    /// No gateway that is known to work.
    Broken,
}

/// A change that the status does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a deployment that is {status} cannot be {verb}")]
pub struct Illegal {
    /// The status that refuses.
    pub status: &'static str,
    /// What was tried, as a participle.
    pub verb: &'static str,
}

/// The status after a change. `None` is a deployment that does not exist yet.
pub fn next(status: Option<DeploymentStatus>, change: Change) -> Result<DeploymentStatus, Illegal> {
    use DeploymentStatus as S;
    use OperationKind as K;

    let illegal =
        |verb| Err(Illegal { status: status.map_or("not there", DeploymentStatus::as_str), verb });
    let Some(current) = status else {
        return match change {
            Change::Begin(K::Launch) => Ok(S::Launching),
            Change::Begin(kind) => illegal(kind.participle()),
            _ => illegal("changed"),
        };
    };
    match change {
        // A destroyed name is free again; everything else about it is over.
        Change::Begin(K::Launch) if current == S::Destroyed => Ok(S::Launching),
        _ if current == S::Destroyed => illegal("changed: it is gone"),
        Change::Begin(K::Destroy) => Ok(S::Destroying),
        Change::Succeed(K::Destroy) => Ok(S::Destroyed),
        Change::Fail { left: Aftermath::Unchanged(before), .. } => Ok(before),
        Change::Fail { kind: K::Destroy, .. } => Ok(S::Failed),
        Change::Begin(kind) if current == S::Destroying => illegal(kind.participle()),
        Change::Begin(K::Launch) => Ok(S::Launching),
        Change::Begin(K::Restart | K::Start | K::Rotate | K::Expose) => Ok(S::Restarting),
        Change::Begin(K::Update | K::Restore) => Ok(S::Updating),
        // These leave what they found in force until they are done.
        Change::Begin(K::Stop | K::Backup | K::Approve)
        | Change::Succeed(K::Backup | K::Approve)
        | Change::Fail { kind: K::Backup | K::Approve | K::Stop, .. } => Ok(current),
        Change::Succeed(K::Stop) => Ok(S::Stopped),
        Change::Succeed(
            K::Launch | K::Restart | K::Start | K::Rotate | K::Expose | K::Update | K::Restore,
        )
        | Change::Fail { left: Aftermath::Serving, .. } => Ok(S::Running),
        Change::Fail { left: Aftermath::Broken, .. } => Ok(S::Failed),
        Change::Degrade => match current {
            S::Running => Ok(S::Degraded),
            other => Ok(other),
        },
        Change::Recover => match current {
            S::Degraded => Ok(S::Running),
            other => Ok(other),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_a_living_deployment_ends_where_it_should() {
        for kind in OperationKind::ALL {
            let begun = next(Some(DeploymentStatus::Running), Change::Begin(kind)).expect("begins");
            let done = next(Some(begun), Change::Succeed(kind)).expect("succeeds");
            let expected = match kind {
                OperationKind::Destroy => DeploymentStatus::Destroyed,
                OperationKind::Stop => DeploymentStatus::Stopped,
                _ => DeploymentStatus::Running,
            };
            assert_eq!(done, expected, "{kind:?}");
        }
    }

    #[test]
    fn only_a_launch_begins_a_deployment() {
        for kind in OperationKind::ALL {
            for status in [None, Some(DeploymentStatus::Destroyed)] {
                let begun = next(status, Change::Begin(kind));
                assert_eq!(begun.is_ok(), kind == OperationKind::Launch, "{status:?} {kind:?}");
            }
        }
    }

    #[test]
    fn nothing_but_destroy_begins_while_destroying() {
        for kind in OperationKind::ALL {
            let begun = next(Some(DeploymentStatus::Destroying), Change::Begin(kind));
            assert_eq!(begun.is_ok(), kind == OperationKind::Destroy, "{kind:?}");
        }
    }

    #[test]
    fn an_update_that_went_back_serves() {
        let change = Change::Fail { kind: OperationKind::Update, left: Aftermath::Serving };
        assert_eq!(next(Some(DeploymentStatus::Updating), change), Ok(DeploymentStatus::Running));
        let change = Change::Fail { kind: OperationKind::Update, left: Aftermath::Broken };
        assert_eq!(next(Some(DeploymentStatus::Updating), change), Ok(DeploymentStatus::Failed));
    }

    #[test]
    fn a_stopped_gateway_does_not_degrade() {
        for status in DeploymentStatus::ALL {
            if status == DeploymentStatus::Destroyed {
                continue;
            }
            let after = next(Some(status), Change::Degrade).expect("total");
            if status != DeploymentStatus::Running {
                assert_eq!(after, status);
            }
        }
    }
}
