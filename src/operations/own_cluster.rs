//! The installation's own cluster: making it, changing it, removing it.
//!
//! Owns the steps. Gateways on it are other deployments, and their operations others. Refuses to call it
//! made before its API took this program's credentials and a node took pods.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use serde_json::json;

use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::{destroy, launch, update};
use crate::domain::{
    Aftermath, Deployment, DeploymentName, EventType, Failure, FailureKind, OperationKind,
    OwnClusterFacts,
};
use crate::store::now;
use crate::targets::own_cluster::{Cleared, Clearing, Removal};
use crate::targets::{OwnCluster, Site};

type Step<'a> = BoxFuture<'a, Result<StepEnd, Failure>>;

/// The definition of an operation on it, where it has one of its own.
pub(super) fn definition(kind: OperationKind) -> Option<&'static OperationDef> {
    match kind {
        OperationKind::Launch => Some(&MAKE),
        OperationKind::Update => Some(&CHANGE),
        OperationKind::Destroy => Some(&DESTROY),
        _ => None,
    }
}

static MAKE: OperationDef = OperationDef {
    done_says: says_ready,
    steps: &[PREPARE, CONFIG, CREATE, READY],
    recovery: &[],
    changes_from: CREATE.name,
    ..launch::DEFINITION
};

static CHANGE: OperationDef = OperationDef {
    done_says: says_ready,
    steps: &[PREPARE, CONFIG, StepDef { event: None, ..CREATE }, READY],
    recovery: &[],
    changes_from: CREATE.name,
    // What could not be changed is as it was, or as far as it came: gateways go on there.
    recovered: Aftermath::Serving,
    ..update::DEFINITION
};

static DESTROY: OperationDef = OperationDef {
    done_says: says_removed,
    steps: &[LOOK, CLEAR, REMOVE, destroy::FORGET],
    changes_from: CLEAR.name,
    ..destroy::DEFINITION
};

fn says_ready(c: &Context<'_>) -> String {
    match &c.deployment.facts.own_cluster {
        Some(it) => format!(
            "the cluster {} in {} takes gateways (Kubernetes {})",
            it.at.name, it.at.region, it.version
        ),
        None => "the cluster is ready".to_owned(),
    }
}

fn says_removed(c: &Context<'_>) -> String {
    let removed: Vec<String> = c.output("remove").ok().flatten().unwrap_or_default();
    let cleared: Cleared = c.output("clear").ok().flatten().unwrap_or_default();
    let all: Vec<String> = cleared.removed.into_iter().chain(removed).collect();
    let mut text = match all.len() {
        0 => "the cluster is removed; nothing of it was left".to_owned(),
        _ => format!("the cluster is removed: {}", all.join(", ")),
    };
    if cleared.unseen.is_some() {
        text.push_str("; its volumes stay in the account, and nobody could say which they are");
    }
    if !cleared.kept.is_empty() {
        text.push_str("; what stays in the account, and costs: ");
        text.push_str(&cleared.kept.join(", "));
    }
    text
}

fn maker<'a>(c: &Context<'a>) -> &'a dyn OwnCluster {
    c.targets.own_cluster()
}

/// The same failure, with what goes on and what removes what there is by now.
async fn begun(c: &Context<'_>, failure: Failure) -> Failure {
    if failure.kind == FailureKind::Interrupted {
        return failure;
    }
    let Ok(site) = c.site() else { return failure };
    let made = maker(c).made(&site, c.work()).await.unwrap_or_default();
    let exists = if made.is_empty() {
        "nothing of the cluster is in Terraform's state".to_owned()
    } else {
        format!("there are {}", made.join(", "))
    };
    let name = &c.deployment.name;
    failure.also(format!(
        "{exists}: {} goes on, {} removes it",
        name.launching(None),
        name.destroying()
    ))
}

const PREPARE: StepDef = StepDef {
    name: "prepare",
    says: |_| "check what a cluster needs".into(),
    event: None,
    run: prepare,
    repeat: Repeat::Never,
};

fn prepare<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let launch::LaunchParams { spec } = c.params()?;
        c.change_spec(spec)?;
        let site = c.site()?;
        maker(c).preflight(&site, c.work()).await?;
        Ok(StepEnd::NOTHING)
    })
}

const CONFIG: StepDef = StepDef {
    name: "create_config",
    says: |_| "write what the cluster is made with".into(),
    event: Some(EventType::CreatingConfig),
    run: config,
    repeat: Repeat::Never,
};

fn config<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        maker(c).write_values(&site, &c.lease.operation).await?;
        Ok(StepEnd::NOTHING)
    })
}

const CREATE: StepDef = StepDef {
    name: "create_cluster",
    says: |c| {
        let region = c.deployment.spec.machine.as_ref().map_or("", |it| it.region.as_str());
        format!(
            "make the cluster on EKS in {region}, with its network and nodes (a quarter of an hour)"
        )
    },
    event: Some(EventType::CreatingCluster),
    run: create,
    repeat: Repeat::Never,
};

fn create<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        let made = match maker(c).make(&site, &c.lease.operation, c.work()).await {
            Ok(made) => made,
            Err(failure) => return Err(begun(c, failure).await),
        };
        let output = json!({ "name": made.at.name, "version": made.version });
        c.change_facts(|facts| facts.own_cluster = Some(made))?;
        Ok(StepEnd::Done(output))
    })
}

const READY: StepDef = StepDef {
    name: "connect",
    says: |_| "reach its API, and wait for a node that takes pods".into(),
    event: None,
    run: ready,
    repeat: Repeat::Always,
};

fn ready<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let facts = c.deployment.facts.own_cluster.clone();
        let facts = facts.ok_or_else(|| Failure::internal("a cluster that was not made"))?;
        if let Err(failure) = maker(c).ready(&facts, c.work()).await {
            return Err(begun(c, failure).await);
        }
        c.change_facts(|facts| facts.proven_at = Some(now()))?;
        Ok(StepEnd::NOTHING)
    })
}

const LOOK: StepDef = StepDef {
    name: "look",
    says: |_| "look for gateways and load balancers on the cluster".into(),
    event: None,
    run: look,
    repeat: Repeat::Before(CLEAR.name),
};

fn look<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let Some(whole) = Whole::of(c)? else { return Ok(never_whole()) };
        if let Some(name) = &whole.placed {
            return Err(Failure::conflict(format!(
                "the gateway {name} of this installation is on the cluster; nothing was removed"
            ))
            .remedy(format!("remove it first: {}", name.destroying())));
        }
        let looked = maker(c).refuse_in_use(&whole.site, whole.removal(), c.work()).await?;
        if let Some(why) = looked {
            let why = format!("what hangs by the cluster could not be looked at: {why}");
            c.sink.progress().note(&why);
        }
        Ok(StepEnd::NOTHING)
    })
}

/// A cluster that was whole once, and may have something on it.
struct Whole {
    site: Site,
    facts: OwnClusterFacts,
    /// The ids of everything that this installation has not removed.
    gateways: BTreeSet<String>,
    /// One of them that was put on this very cluster, by its record.
    placed: Option<DeploymentName>,
    asked: Clearing,
}

impl Whole {
    fn of(c: &Context<'_>) -> Result<Option<Self>, Failure> {
        let asked = c.params()?;
        let Some(facts) = c.deployment.facts.own_cluster.clone() else { return Ok(None) };
        let all = c.store.deployments(false)?;
        let is_placed = |it: &&Deployment| {
            it.spec.cluster.as_ref().is_some_and(|cluster| cluster.own.is_some())
        };
        let placed = all.iter().find(is_placed).map(|it| it.name.clone());
        let gateways = all.into_iter().map(|it| it.id).collect();
        Ok(Some(Self { site: destroy::site(c)?, facts, gateways, placed, asked }))
    }

    fn removal(&self) -> Removal<'_> {
        Removal { facts: &self.facts, gateways: &self.gateways, asked: self.asked }
    }
}

fn never_whole() -> StepEnd {
    StepEnd::Skipped("it was never whole".into())
}

const CLEAR: StepDef = StepDef {
    name: "clear",
    says: |_| "remove what would hold the cluster's network".into(),
    event: Some(EventType::Destroying),
    run: clear,
    repeat: Repeat::Never,
};

fn clear<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let Some(whole) = Whole::of(c)? else { return Ok(never_whole()) };
        let cleared = maker(c).clear(&whole.site, whole.removal(), c.work()).await?;
        Ok(StepEnd::Done(json!(cleared)))
    })
}

const REMOVE: StepDef = StepDef {
    says: |_| "remove the cluster, its nodes and its network".into(),
    run: remove,
    ..destroy::REMOVE
};

fn remove<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = destroy::site(c)?;
        let removed = maker(c).remove(&site, c.work()).await;
        let removed = removed.map_err(|failure| half_removed(c, failure))?;
        Ok(StepEnd::Done(json!(removed)))
    })
}

/// The same failure, with what outlives the cluster: nobody may be able to look for it any more.
fn half_removed(c: &Context<'_>, failure: Failure) -> Failure {
    let failure = destroy::half_removed(c, failure);
    let cleared: Cleared = c.output("clear").ok().flatten().unwrap_or_default();
    if cleared.kept.is_empty() || failure.kind == FailureKind::Interrupted {
        return failure;
    }
    failure.also(format!("what stays in the account: {}", cleared.kept.join(", ")))
}
