//! `launch` on a cluster: a namespace, an address, and a proven gateway behind it.
//!
//! Owns the steps that come before the gateway there; the rest is the same as everywhere.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::{launch, steps};
use crate::domain::{EventType, Failure, cluster};
use crate::targets::Clusters;

type Step<'a> = BoxFuture<'a, Result<StepEnd, Failure>>;

pub(super) static DEFINITION: OperationDef = OperationDef {
    steps: &[
        launch::PREPARE,
        CLAIM,
        steps::FETCH,
        ADDRESS,
        steps::CONFIGURE,
        launch::START,
        launch::PROVE,
        POLICIES,
        steps::OPEN_WINDOW,
    ],
    ..launch::DEFINITION
};

const CLAIM: StepDef = StepDef {
    name: "deploy_app",
    says: |c| format!("make the namespace {}", cluster::namespace(&c.deployment.name)),
    event: Some(EventType::DeployingApp),
    run: claim,
    repeat: Repeat::Never,
};

fn claim<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        let made = clusters(c)?.claim(&site, &c.lease.operation, c.work()).await?;
        let output = json!({ "namespace": made.namespace });
        c.change_facts(|facts| facts.cluster = Some(made))?;
        Ok(StepEnd::Done(output))
    })
}

const ADDRESS: StepDef = StepDef {
    name: "address",
    says: |_| "wait for its address".into(),
    event: None,
    run: address,
    repeat: Repeat::Never,
};

fn address<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        let host = clusters(c)?.address(&site, c.work()).await?;
        let output = json!({ "host": host });
        c.change_facts(|facts| {
            if let Some(cluster) = &mut facts.cluster {
                cluster.host = host;
            }
        })?;
        Ok(StepEnd::Done(output))
    })
}

const POLICIES: StepDef = StepDef {
    name: "policies",
    says: |_| "see whether the cluster enforces network policies".into(),
    event: None,
    run: policies,
    repeat: Repeat::Never,
};

fn policies<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move { see_policies(c).await.map(StepEnd::Done) })
}

/// Hears whether the cluster enforces network policies, and says so where it does not.
pub(super) async fn see_policies(c: &mut Context<'_>) -> Result<Value, Failure> {
    let site = c.site()?;
    let enforces = clusters(c)?.enforces_policies(&site, c.work()).await?;
    if enforces == Some(false) {
        c.sink.progress().note(
            "this cluster does not enforce network policies: the gateway, which runs commands that \
             an AI chose, reaches whatever its node reaches (docs/kubernetes.md says how to switch \
             them on)",
        );
    }
    c.change_facts(|facts| {
        if let Some(cluster) = &mut facts.cluster {
            cluster.enforces_policies = enforces;
        }
    })?;
    Ok(json!({ "enforces_policies": enforces }))
}

/// The target, which has clusters.
pub(super) fn clusters<'a>(c: &Context<'a>) -> Result<&'a dyn Clusters, Failure> {
    c.target().clusters().ok_or_else(|| Failure::failed("this target has no cluster"))
}
