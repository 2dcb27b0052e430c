//! What can be done to a deployment.
//!
//! Owns the engine that executes operations, and one file per operation in one order: its
//! definition, its steps, what each step does. Refuses to know a target's details: a step asks the
//! target.

pub mod approval;
mod approve;
pub mod backup;
pub mod context;
mod destroy;
mod engine;
mod launch;
mod port;
mod restart;
mod restore;
mod rotate;
mod start;
mod steps;
mod stop;
mod update;
pub mod vault;
mod watcher;

use crate::domain::OperationKind;

pub use approve::ApproveParams;
pub use context::{Context, OperationDef, Sink, StepDef, StepEnd, Told};
pub use destroy::DestroyParams;
pub use engine::{Ended, Engine};
pub use launch::LaunchParams;
pub use restart::RestartParams;
pub use restore::RestoreParams;
pub use rotate::RotateParams;
pub use steps::prove_site;
pub use update::UpdateParams;
pub use watcher::Watcher;

/// The definition of an operation.
pub fn definition(kind: OperationKind) -> &'static OperationDef {
    match kind {
        OperationKind::Launch => &launch::DEFINITION,
        OperationKind::Restart => &restart::DEFINITION,
        OperationKind::Stop => &stop::DEFINITION,
        OperationKind::Start => &start::DEFINITION,
        OperationKind::Update => &update::DEFINITION,
        OperationKind::Backup => &backup::DEFINITION,
        OperationKind::Restore => &restore::DEFINITION,
        OperationKind::Rotate => &rotate::DEFINITION,
        OperationKind::Destroy => &destroy::DEFINITION,
        OperationKind::Approve => &approve::DEFINITION,
    }
}
