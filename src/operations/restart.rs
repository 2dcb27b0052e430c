//! `restart`: stop, start, and prove again; with `sync`, from the user's own configuration.

use serde::{Deserialize, Serialize};

use super::context::{Context, OperationDef, StepDef};
use super::steps;
use crate::domain::{Aftermath, EventType, OperationKind};

/// What a restart is asked for with.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct RestartParams {
    /// Whether the user's sealed configuration replaces the one that is in place.
    #[serde(default)]
    pub sync: bool,
}

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Restart,
    done: Some(EventType::Restarted),
    done_says: |c| {
        let did = if is_sync(c) { "is restarted with your openclaw.json" } else { "is restarted" };
        steps::works_at(c, did)
    },
    steps: &[
        steps::CHECK,
        StepDef { event: Some(EventType::Restarting), ..steps::STOP },
        CONFIGURE,
        steps::START,
        steps::PROVE,
    ],
    recovery: &[],
    changes_from: "stop",
    recovered: Aftermath::Broken,
};

const CONFIGURE: StepDef = StepDef {
    says: |c| {
        if is_sync(c) {
            "put your openclaw.json in place, managed settings kept".into()
        } else {
            (steps::CONFIGURE.says)(c)
        }
    },
    run: |c| {
        let sync = is_sync(c);
        steps::configure_from(c, sync)
    },
    ..steps::CONFIGURE
};

fn is_sync(c: &Context<'_>) -> bool {
    c.params::<RestartParams>().unwrap_or_default().sync
}
