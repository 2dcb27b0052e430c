//! `restore`: back to a backup, with the version that made it.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::backup;
use super::context::{Context, OperationDef, StepDef, StepEnd};
use super::steps;
use crate::domain::{Aftermath, Deployment, EventType, Failure, OperationKind, TargetKind};
use crate::targets::Site;

/// What a restore is asked for with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreParams {
    /// The backup's id; the newest one when `None`.
    pub backup: Option<String>,
}

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Restore,
    done: Some(EventType::Restored),
    done_says: |c| steps::works_at(c, "is restored"),
    steps: &[CHOOSE, steps::STOP, PUT_BACK, steps::CONFIGURE, steps::START, steps::PROVE],
    recovery: &[],
    changes_from: "stop",
    recovered: Aftermath::Broken,
};

const CHOOSE: StepDef = StepDef {
    name: "choose",
    says: |_| "find the backup and what it was made with".into(),
    event: Some(EventType::Updating),
    run: choose,
};

fn choose<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let params: RestoreParams = c.params()?;
        let backup = backup::find(c, params.backup.as_deref())?;
        Ok(StepEnd::Done(json!({ "id": backup.id })))
    })
}

const PUT_BACK: StepDef = StepDef {
    name: "put_back",
    says: |_| "put the backup's state in place".into(),
    event: None,
    run: put_back,
};

fn put_back<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let chosen: Option<backup::Made> = c.output("choose")?;
        let backup = backup::find(c, chosen.as_ref().map(|made| made.id.as_str()))?;
        let mut site = c.site()?;
        back_to_artefact(c, &mut site, &backup.artefact).await?;
        let end = backup::put_back(c, &site, &backup).await?;
        // Only now: a version that is recorded before its state is there could not start on the
        // newer state, should this fail.
        let Deployment { spec, facts, .. } = site.deployment;
        if spec != c.deployment.spec {
            c.store.set_spec(&c.lease, &spec)?;
            c.deployment.spec = spec;
        }
        c.change_facts(|known| *known = facts)?;
        Ok(end)
    })
}

/// Goes back to the version or image that a backup was made with: a newer one has migrated its
/// databases, and an older one may not read them.
async fn back_to_artefact(c: &Context<'_>, site: &mut Site, artefact: &str) -> Result<(), Failure> {
    let deployment = &mut site.deployment;
    if artefact.is_empty() || deployment.facts.artefact.as_deref() == Some(artefact) {
        return Ok(());
    }
    match deployment.spec.target {
        TargetKind::Process => deployment.spec.version = Some(artefact.to_owned()),
        TargetKind::Docker => deployment.spec.image = Some(artefact.to_owned()),
    }
    let artefact = c.target().fetch(site, c.work()).await?;
    site.deployment.facts.take_artefact(artefact.id, artefact.version);
    Ok(())
}
