//! `start`: start what was stopped, and prove it.

use super::context::OperationDef;
use super::steps;
use crate::domain::{Aftermath, EventType, OperationKind};

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Start,
    done: Some(EventType::Started),
    done_says: |c| steps::works_at(c, "is started"),
    steps: &[steps::CONFIGURE, steps::START, steps::PROVE],
    recovery: &[],
    changes_from: "start",
    recovered: Aftermath::Broken,
};
