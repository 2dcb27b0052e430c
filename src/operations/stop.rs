//! `stop`: let the gateway drain, stop it, keep everything.

use futures_util::future::BoxFuture;

use super::context::{Context, OperationDef, StepDef, StepEnd};
use super::{steps, tunnel};
use crate::domain::{Aftermath, EventType, Failure, OperationKind};

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Stop,
    done: Some(EventType::Stopped),
    done_says: |c| format!("{} is stopped; its data stays", c.deployment.name),
    steps: &[STOP],
    recovery: &[],
    changes_from: "stop",
    recovered: Aftermath::Broken,
};

const STOP: StepDef = StepDef { run: stop, ..steps::STOP };

fn stop<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let ended = steps::stop(c).await?;
        tunnel::rest(c).await?;
        Ok(ended)
    })
}
