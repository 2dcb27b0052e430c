//! `stop`: let the gateway drain, stop it, keep everything.

use super::context::OperationDef;
use super::steps;
use crate::domain::{Aftermath, EventType, OperationKind};

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Stop,
    done: Some(EventType::Stopped),
    done_says: |c| format!("{} is stopped; its data stays", c.deployment.name),
    steps: &[steps::STOP],
    recovery: &[],
    changes_from: "stop",
    recovered: Aftermath::Broken,
};
