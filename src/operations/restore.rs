//! `restore`: back to a backup, with the version that made it.
//!
//! The backup is opened to its end before anything is stopped. A gateway that works is backed up
//! first, and put back as it was when what was restored does not prove itself.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::backup;
use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::steps;
use crate::domain::{
    Aftermath, Deployment, DeploymentSpec, DeploymentStatus, EventType, Facts, Failure,
    OperationKind, TargetKind,
};
use crate::targets::Site;

/// What a restore is asked for with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreParams {
    /// The backup's id; when `None`, the newest one that no restore made.
    pub backup: Option<String>,
}

/// What was chosen, and what ran before.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Chosen {
    id: String,
    spec: DeploymentSpec,
    facts: Facts,
}

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Restore,
    done: Some(EventType::Restored),
    done_says: |c| steps::works_at(c, "is restored"),
    steps: &[CHOOSE, SAVE, steps::STOP, PUT_BACK, steps::CONFIGURE, steps::START, steps::PROVE],
    recovery: &[BACK_STOP, BACK_STATE, BACK_CONFIGURE, BACK_START, BACK_PROVE],
    changes_from: "stop",
    recovered: Aftermath::Serving,
};

const CHOOSE: StepDef = StepDef {
    name: "choose",
    says: |_| "open the backup and check it".into(),
    event: Some(EventType::Updating),
    run: choose,
    repeat: Repeat::Never,
};

fn choose<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let params: RestoreParams = c.params()?;
        let backup = backup::find(c, params.backup.as_deref())?;
        backup::verify(c.vault.key(), &backup)?;
        let Deployment { spec, facts, .. } = c.deployment.clone();
        Ok(StepEnd::Done(json!(Chosen { id: backup.id, spec, facts })))
    })
}

fn chosen(c: &Context<'_>) -> Result<Chosen, Failure> {
    c.output("choose")?.ok_or_else(|| Failure::failed("the journal lacks which backup was chosen"))
}

const SAVE: StepDef = StepDef {
    name: "save",
    says: |_| "back up what is there now".into(),
    run: save,
    ..backup::BACKUP
};

fn save<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        if c.prior != Some(DeploymentStatus::Running) {
            return Ok(StepEnd::Skipped("there is no gateway that works".into()));
        }
        backup::backup(c).await
    })
}

const PUT_BACK: StepDef = StepDef {
    name: "put_back",
    says: |_| "put the backup's state in place".into(),
    event: None,
    run: put_back,
    repeat: Repeat::Never,
};

fn put_back<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let backup = backup::find(c, Some(&chosen(c)?.id))?;
        let mut site = c.site()?;
        back_to_artefact(c, &mut site, &backup.artefact).await?;
        let end = backup::put_back(c, &site, &backup).await?;
        // Only now: a version that is recorded before its state is there could not start on the
        // newer state, should this fail.
        let Deployment { spec, facts, .. } = site.deployment;
        set(c, spec, facts)?;
        Ok(end)
    })
}

fn set(c: &mut Context<'_>, spec: DeploymentSpec, facts: Facts) -> Result<(), Failure> {
    c.change_spec(spec)?;
    c.change_facts(|known| *known = facts)
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
        TargetKind::Docker | TargetKind::Ec2 | TargetKind::Lightsail | TargetKind::Eks => {
            deployment.spec.image = Some(artefact.to_owned());
        }
    }
    let artefact = c.target().fetch(site, c.work()).await?;
    site.deployment.facts.take_artefact(artefact.id, artefact.version);
    Ok(())
}

const BACK_STOP: StepDef = StepDef {
    name: "back_stop",
    says: |_| "what was restored did not prove itself: stop it".into(),
    event: None,
    run: steps::stop,
    repeat: Repeat::Never,
};

const BACK_STATE: StepDef = StepDef {
    name: "back_state",
    says: |_| "put back what was there before".into(),
    event: None,
    run: back_state,
    repeat: Repeat::Never,
};

fn back_state<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let Chosen { spec, facts, .. } = chosen(c)?;
        if c.prior != Some(DeploymentStatus::Running) {
            return Err(Failure::failed("no gateway worked before that could be put back")
                .remedy("choose another backup: openclaw-pipeline backups lists them"));
        }
        if !c.begun.contains("put_back") {
            return Ok(StepEnd::Skipped("the state is as it was".into()));
        }
        let saved: backup::Made = c
            .output("save")?
            .ok_or_else(|| Failure::failed("the journal lacks the backup of before"))?;
        let backup = backup::find(c, Some(&saved.id))?;
        let mut site = c.site()?;
        (site.deployment.spec, site.deployment.facts) = (spec, facts);
        let end = backup::put_back(c, &site, &backup).await?;
        let Deployment { spec, facts, .. } = site.deployment;
        set(c, spec, facts)?;
        Ok(end)
    })
}

const BACK_CONFIGURE: StepDef = StepDef { name: "back_configure", event: None, ..steps::CONFIGURE };
const BACK_START: StepDef = StepDef { name: "back_start", event: None, ..steps::START };
const BACK_PROVE: StepDef = StepDef { name: "back_prove", event: None, ..steps::PROVE };
