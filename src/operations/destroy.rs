//! `destroy`: remove everything of a deployment but its backups.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::backup;
use super::cluster::clusters;
use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::steps;
use super::vault::Slot;
use crate::domain::{Aftermath, EventType, Failure, FailureKind, OperationKind, cluster};
use crate::secrets::Secret;
use crate::targets::{GatewaySecrets, Site, Vacated, keeper};

/// What a removal is asked for with.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct DestroyParams {
    /// Whether a last backup is made first.
    #[serde(default)]
    pub backup: bool,
    /// Whether its volumes stay, for the next deployment of its name: on a cluster.
    #[serde(default)]
    pub keep_volumes: bool,
    /// Whether it is forgotten although its cluster cannot be looked at, and what is left there stays.
    #[serde(default)]
    pub unseen: bool,
}

/// What the step that removes says it did.
#[derive(Deserialize)]
#[serde(untagged)]
enum Output {
    All(Vec<String>),
    ButVolumes(Vacated),
    Unseen { removed: Vec<String>, left: String },
}

pub(super) const DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Destroy,
    done: Some(EventType::Destroyed),
    done_says: |c| {
        let output = c.output("remove").ok().flatten().unwrap_or(Output::All(Vec::new()));
        let name = &c.deployment.name;
        let (removed, kept) = match output {
            Output::All(removed) => (removed, Vec::new()),
            Output::ButVolumes(Vacated { removed, kept }) => (removed, kept),
            Output::Unseen { removed, left } => {
                return format!("{name} is forgotten: removed {}; {left}", removed.join(", "));
            }
        };
        let mut text = match removed.len() {
            0 => format!("{name} is destroyed; nothing of it was left to remove"),
            _ => format!("{name} is destroyed: removed {}", removed.join(", ")),
        };
        if !kept.is_empty() {
            let (kept, namespace) = (kept.join(", "), cluster::namespace(name));
            text = format!(
                "{text}; kept for the next launch of this name: {kept} (kubectl delete namespace \
                 {namespace} removes them for good)"
            );
        }
        text
    },
    steps: &[LAST_BACKUP, STOP, REMOVE, FORGET],
    recovery: &[],
    changes_from: "stop",
    recovered: Aftermath::Broken,
};

/// The deployment as its target sees it. Its secrets may be forgotten already, by a destroy that
/// was given up: that keeps nobody from removing the rest.
pub(super) fn site(c: &Context<'_>) -> Result<Site, Failure> {
    let known = c.vault.peek(c.store, &c.deployment.id, Slot::Current)?;
    let secrets = known.unwrap_or_else(|| GatewaySecrets {
        token: Secret::new(""),
        credentials: Vec::new(),
        env: Vec::new(),
        user_config: None,
        tunnel_token: None,
    });
    Ok(Site { layout: c.layout.clone(), deployment: c.deployment.clone(), secrets })
}

const LAST_BACKUP: StepDef = StepDef {
    says: |_| "make a last backup, if one is wanted".into(),
    run: last_backup,
    ..backup::BACKUP
};

fn last_backup<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let DestroyParams { backup, keep_volumes, unseen } = c.params()?;
        refuse_other_account(c).await?;
        if keep_volumes && !unseen {
            clusters(c)?.may_vacate(&site(c)?).await?;
        }
        if backup {
            return backup::backup(c).await;
        }
        Ok(StepEnd::Skipped("none was asked for".into()))
    })
}

const STOP: StepDef = StepDef { event: Some(EventType::Destroying), run: stop, ..steps::STOP };

fn stop<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let site = site(c)?;
        let DestroyParams { unseen, .. } = c.params()?;
        refuse_other_account(c).await?;
        match steps::stop_at(c, &site).await {
            Err(failure) if unseen && failure.kind != FailureKind::Interrupted => {
                let failure = c.scrubbed(failure);
                let why =
                    format!("whether its gateway still runs could not be looked at: {failure}");
                c.sink.progress().note(&why);
                Ok(StepEnd::Skipped(why))
            }
            // One that cannot be reached, or is gone, goes all the same, and its gateway with it.
            Err(failure) if is_of_its_own(c) && failure.kind != FailureKind::Interrupted => {
                let failure = c.scrubbed(failure);
                let why = format!("the gateway was not stopped before its machine goes: {failure}");
                c.sink.progress().note(&why);
                keeper::stop(&site.layout, &site.deployment.name).await?;
                Ok(StepEnd::Skipped(why))
            }
            Err(failure)
                if failure.kind == FailureKind::Prerequisite && c.target().clusters().is_some() =>
            {
                let again = c.deployment.name.destroying();
                Err(failure.also(format!("where its cluster is gone for good: {again} --unseen")))
            }
            stopped => stopped,
        }
    })
}

/// Refuses credentials that would find nothing of the machine, while everything still runs.
pub(super) async fn refuse_other_account(c: &Context<'_>) -> Result<(), Failure> {
    let Some(machines) = c.target().machines() else { return Ok(()) };
    let refused = machines.refuse_other_account(&site(c)?, c.work()).await;
    refused.map_err(|failure| half_removed(c, failure))
}

/// Whether the deployment has a machine of its own.
fn is_of_its_own(c: &Context<'_>) -> bool {
    c.deployment.spec.target.has_machine() || c.deployment.name.is_cluster()
}

pub(super) const REMOVE: StepDef = StepDef {
    name: "remove",
    says: |_| "remove the gateway, its data and its files".into(),
    event: None,
    run: remove,
    repeat: Repeat::Never,
};

fn remove<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let DestroyParams { keep_volumes, unseen, .. } = c.params()?;
        let site = site(c)?;
        let removed = if keep_volumes {
            clusters(c)?.vacate(&site, c.work()).await.map(|it| json!(it))
        } else {
            c.target().remove(&site, c.work()).await.map(|it| json!(it))
        };
        match removed {
            Err(failure) if unseen && failure.kind != FailureKind::Interrupted => {
                let left = format!(
                    "whatever is left of it in the namespace {} of its cluster stays there, and may \
                     cost",
                    cluster::namespace(&c.deployment.name)
                );
                let removed: Vec<String> = site.remove_files()?.into_iter().collect();
                Ok(StepEnd::Done(json!({ "removed": removed, "left": left })))
            }
            removed => Ok(StepEnd::Done(removed.map_err(|failure| half_removed(c, failure))?)),
        }
    })
}

/// The same failure, with how to go on: what is left of a machine stays recorded, and costs.
pub(super) fn half_removed(c: &Context<'_>, failure: Failure) -> Failure {
    let again = c.deployment.name.destroying();
    if !is_of_its_own(c)
        || failure.kind == FailureKind::Interrupted
        || failure.remedy.as_ref().is_some_and(|remedy| remedy.contains(&again))
    {
        return failure;
    }
    failure.also(format!("what is left is recorded, and may cost: {again} removes it"))
}

pub(super) const FORGET: StepDef = StepDef {
    name: "forget",
    says: |_| "forget its token and keys".into(),
    event: None,
    run: forget,
    repeat: Repeat::Never,
};

fn forget<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        c.store.forget(&c.deployment.id)?;
        steps::nothing()
    })
}
