//! `update`: another version or image, with a way back.
//!
//! A new version migrates its databases, and the old one cannot read them again. So a verified
//! backup comes first, and when the new version does not prove itself, backup, configuration and
//! old version go back as one.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::backup;
use super::cluster;
use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::steps;
use crate::domain::{Aftermath, DeploymentSpec, EventType, Failure, OperationKind};

/// What an update is asked for with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateParams {
    /// The specification with the new version or image.
    pub spec: DeploymentSpec,
}

/// What ran before.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Before {
    spec: DeploymentSpec,
    artefact: String,
    version: Option<String>,
    next: String,
    next_version: Option<String>,
}

pub(super) const DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Update,
    done: Some(EventType::Updated),
    done_says: |c| steps::works_at(c, "is updated"),
    steps: &[
        steps::CHECK,
        FETCH_NEW,
        backup::BACKUP,
        steps::STOP,
        SWITCH,
        steps::CONFIGURE,
        steps::START,
        steps::PROVE,
    ],
    recovery: &[BACK_STOP, BACK_SWITCH, BACK_RESTORE, BACK_CONFIGURE, BACK_START, BACK_PROVE],
    changes_from: "stop",
    recovered: Aftermath::Serving,
};

const FETCH_NEW: StepDef = StepDef {
    name: "fetch_new",
    says: |c| {
        let wanted = c
            .params::<UpdateParams>()
            .ok()
            .and_then(|params| params.spec.version.or(params.spec.image));
        format!("get {}", wanted.as_deref().unwrap_or("the newest version"))
    },
    event: Some(EventType::Updating),
    run: fetch_new,
    repeat: Repeat::Never,
};

fn fetch_new<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let UpdateParams { spec } = c.params()?;
        let mut site = c.site()?;
        let before = Before {
            spec: site.deployment.spec.clone(),
            artefact: site.deployment.facts.artefact.clone().unwrap_or_default(),
            version: site.deployment.facts.artefact_version.clone(),
            next: String::new(),
            next_version: None,
        };
        if c.target().clusters().is_some() {
            cluster::clusters(c)?.may_go_back(&site, c.work()).await?;
        }
        site.deployment.spec = spec;
        let artefact = steps::fetch_newest(c, &site).await?;
        if c.target().clusters().is_some() {
            cluster::see_policies(c).await?;
        }
        let (next, next_version) = (artefact.id, artefact.version);
        Ok(StepEnd::Done(json!(Before { next, next_version, ..before })))
    })
}

const SWITCH: StepDef = StepDef {
    name: "switch",
    says: |_| "switch to the new version".into(),
    event: None,
    run: switch,
    repeat: Repeat::Never,
};

fn switch<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let UpdateParams { spec } = c.params()?;
        let Before { next, next_version, .. } = before(c)?;
        set(c, &spec, next, next_version)?;
        steps::nothing()
    })
}

fn before(c: &Context<'_>) -> Result<Before, Failure> {
    c.output("fetch_new")?.ok_or_else(|| Failure::failed("the journal lacks what ran before"))
}

fn set(
    c: &mut Context<'_>,
    spec: &DeploymentSpec,
    artefact: String,
    version: Option<String>,
) -> Result<(), Failure> {
    c.change_spec(spec.clone())?;
    c.change_facts(|facts| facts.take_artefact(artefact, version))
}

const BACK_STOP: StepDef = StepDef {
    name: "back_stop",
    says: |_| "the new version did not prove itself: stop it".into(),
    event: None,
    run: steps::stop,
    repeat: Repeat::Never,
};

const BACK_SWITCH: StepDef = StepDef {
    name: "back_switch",
    says: |_| "go back to the old version".into(),
    event: None,
    run: back_switch,
    repeat: Repeat::Never,
};

fn back_switch<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let before = before(c)?;
        set(c, &before.spec, before.artefact, before.version)?;
        steps::nothing()
    })
}

const BACK_CONFIGURE: StepDef = StepDef { name: "back_configure", event: None, ..steps::CONFIGURE };

const BACK_RESTORE: StepDef = StepDef {
    name: "back_restore",
    says: |_| "put the state of before the update back".into(),
    event: None,
    run: back_restore,
    repeat: Repeat::Never,
};

fn back_restore<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        // What was said to the gateway since the backup is newer than the backup.
        if !c.begun.contains("start") {
            return Ok(StepEnd::Skipped(
                "the new version never ran: the state is as it was".into(),
            ));
        }
        let made: backup::Made = c
            .output("backup")?
            .ok_or_else(|| Failure::failed("the journal lacks the backup of before the update"))?;
        let backup = backup::find(c, Some(&made.id))?;
        let site = c.site()?;
        backup::put_back(c, &site, &backup).await
    })
}

const BACK_START: StepDef = StepDef { name: "back_start", event: None, ..steps::START };
const BACK_PROVE: StepDef = StepDef { name: "back_prove", event: None, ..steps::PROVE };
