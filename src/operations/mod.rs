//! What can be done to a deployment.
//!
//! Owns the engine that executes operations, and one file per operation in one order: its
//! definition, its steps, what each step does. Refuses to know a target's details: a step asks the
//! target.

pub mod approval;
mod approve;
pub mod backup;
mod cluster;
pub mod context;
mod crash;
mod destroy;
mod engine;
mod expose;
mod launch;
mod machine;
mod own_cluster;
mod port;
mod restart;
mod restore;
mod rotate;
mod server;
mod start;
mod steps;
mod stop;
mod tunnel;
mod update;
pub mod vault;
mod watcher;

use crate::domain::{Operation, OperationKind, TargetKind};

pub use approve::ApproveParams;
pub use context::{Context, OperationDef, Sink, StepDef, StepEnd, Told};
pub use destroy::DestroyParams;
pub use engine::{Ended, Engine};
pub use expose::ExposeParams;
pub use launch::LaunchParams;
pub use restart::RestartParams;
pub use restore::RestoreParams;
pub use rotate::RotateParams;
pub use server::{ServerParams, Shipped};
pub use steps::prove_site;
pub use update::UpdateParams;
pub use watcher::Watcher;

/// The definition of an operation on a target; of those that lead to a tunnel or from one, the one
/// that leads there.
pub fn definition(kind: OperationKind, target: TargetKind) -> &'static OperationDef {
    static LAUNCH: OperationDef = launch::DEFINITION;
    match kind {
        OperationKind::Launch => match target {
            TargetKind::Ec2 => &machine::ON_EC2,
            TargetKind::Lightsail => &machine::ON_LIGHTSAIL,
            TargetKind::Eks => &cluster::DEFINITION,
            TargetKind::Process | TargetKind::Docker => &LAUNCH,
        },
        OperationKind::Restart => &restart::DEFINITION,
        OperationKind::Stop => &stop::DEFINITION,
        OperationKind::Start => &start::DEFINITION,
        OperationKind::Update => &update::DEFINITION,
        OperationKind::Backup => &backup::DEFINITION,
        OperationKind::Restore => &restore::DEFINITION,
        OperationKind::Rotate => &rotate::DEFINITION,
        OperationKind::Expose => &expose::TO_TUNNEL,
        OperationKind::Destroy => &destroy::DEFINITION,
        OperationKind::Approve => &approve::DEFINITION,
    }
}

/// The definition of an operation that was begun.
pub fn definition_of(operation: &Operation) -> &'static OperationDef {
    let target = &operation.params["spec"]["target"];
    let target = target.as_str().and_then(|it| it.parse().ok()).unwrap_or(TargetKind::Process);
    let own = match &operation.deployment {
        it if it.is_server() => server::definition(operation.kind, target),
        it if it.is_cluster() => own_cluster::definition(operation.kind),
        _ => None,
    };
    if let Some(definition) = own {
        return definition;
    }
    let expose = &operation.params["spec"]["machine"]["expose"];
    match (operation.kind, target, expose == "tunnel") {
        (OperationKind::Launch, TargetKind::Ec2, true) => &machine::ON_EC2_BY_TUNNEL,
        (OperationKind::Launch, TargetKind::Lightsail, true) => &machine::ON_LIGHTSAIL_BY_TUNNEL,
        (OperationKind::Expose, _, false) => &expose::TO_PORT,
        (kind, ..) => definition(kind, target),
    }
}
