//! `launch`: from nothing, or from something interrupted, to a proven gateway.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::{port, steps, tunnel};
use crate::domain::{
    Aftermath, DeploymentSpec, DeploymentStatus, EventType, Failure, OperationKind,
};
use crate::targets::{Observed, keeper};

/// What a launch is asked for with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LaunchParams {
    /// The specification.
    pub spec: DeploymentSpec,
}

pub(super) const DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Launch,
    done: Some(EventType::Completed),
    done_says: |c| steps::works_at(c, "is launched"),
    steps: &[PREPARE, steps::FETCH, steps::CONFIGURE, START, PROVE, steps::OPEN_WINDOW],
    recovery: &[HALT],
    changes_from: "start",
    recovered: Aftermath::Broken,
};

pub(super) const PREPARE: StepDef = StepDef {
    name: "prepare",
    says: |c| format!("check what the {} target needs", c.deployment.spec.target),
    event: None,
    run: prepare,
    repeat: Repeat::Never,
};

fn prepare<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let LaunchParams { spec } = c.params()?;
        let is_on_cluster = c.target().clusters().is_some();
        if is_on_cluster {
            // One that refuses it, or is another one, is not recorded as where it is.
            let mut site = c.site()?;
            site.deployment.spec = spec.clone();
            c.target().preflight(&site, c.work()).await?;
        }
        c.change_spec(spec)?;
        if c.deployment.facts.tunnel.is_some() && c.deployment.tunnel().is_none() {
            // Launched again to be reached in another way.
            if let Some(machines) = c.target().machines() {
                machines.refuse_other_account(&c.site()?, c.work()).await?;
            }
            tunnel::lower(c).await?;
        }
        let site = c.site()?;
        if !is_on_cluster {
            c.target().preflight(&site, c.work()).await?;
        }
        // An address of its own has every port free.
        let own_address = c.deployment.spec.target.has_own_address();
        let runs = own_address || c.target().observe(&site).await? == Observed::Running;
        if !runs {
            // Or its own gateway would be what takes its port.
            keeper::end_orphans(&site.layout, &site.deployment.name).await?;
        }
        let port = port::choose(c, runs)?;
        Ok(StepEnd::Done(json!({ "port": port })))
    })
}

pub(super) const START: StepDef = StepDef { run: start, ..steps::START };

fn start<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        // What a failed operation left running was started with whatever it had then: another
        // token, another version.
        if c.prior == Some(DeploymentStatus::Failed) {
            steps::stop(c).await?;
        }
        port::catch_up(c).await?;
        port::giving_way(c, steps::begin, steps::begin).await
    })
}

pub(super) const PROVE: StepDef = StepDef { run: prove, ..steps::PROVE };

fn prove<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    // A gateway listens seconds after its start, and may lose its port until then.
    Box::pin(port::giving_way(c, steps::prove_begun, steps::begin_and_prove))
}

const HALT: StepDef = StepDef {
    name: "halt",
    says: |_| "stop what did not come up; its data and log stay".into(),
    event: None,
    run: steps::stop,
    repeat: Repeat::Never,
};
