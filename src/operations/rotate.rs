//! `rotate`: a new gateway token, new provider keys, or both; the old token is shown refused.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::steps;
use super::vault::Slot;
use crate::domain::{Aftermath, DeploymentSpec, EventType, Failure, OperationKind};
use crate::gateway::prove::token_refused;

/// How long the check that the old token is refused may take.
const REFUSED_DEADLINE: Duration = Duration::from_secs(30);

/// What a rotation is asked for with. The new secrets themselves wait sealed, in [`Slot::Next`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateParams {
    /// Whether the token is a new one.
    pub token: bool,
    /// The credentials that are new, by variable.
    pub credentials: Vec<String>,
    /// The credentials and further variables that are taken out.
    #[serde(default)]
    pub dropped: Vec<String>,
}

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Rotate,
    done: Some(EventType::Rotated),
    done_says: |c| {
        let params = c.params::<RotateParams>().unwrap_or_default();
        let token = params.token.then(|| "the gateway's token".to_owned());
        let new: Vec<String> = token.into_iter().chain(params.credentials).collect();
        let done = [("rotated", new), ("took out", params.dropped)]
            .into_iter()
            .filter(|(_, what)| !what.is_empty())
            .map(|(did, what)| format!("{did} {}", what.join(", ")));
        format!("{}: {}", c.deployment.name, done.collect::<Vec<_>>().join("; "))
    },
    steps: &[
        steps::CHECK,
        SWAP,
        steps::STOP,
        steps::CONFIGURE,
        steps::START,
        steps::PROVE,
        REFUSED,
        FORGET,
    ],
    recovery: &[BACK, BACK_STOP, BACK_CONFIGURE, BACK_START, BACK_PROVE],
    changes_from: "swap",
    recovered: Aftermath::Serving,
};

const SWAP: StepDef = StepDef {
    name: "swap",
    says: |_| "put the new secrets in force".into(),
    event: Some(EventType::Restarting),
    run: swap,
    repeat: Repeat::Never,
};

fn swap<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        // No new ones waiting: an earlier run of this step has put them in force already.
        let Some(next) = c.vault.take_over(c.store, &c.deployment.id)? else {
            return steps::nothing();
        };
        // The first key of a gateway that had none: without a model it would ask another provider.
        let first = next.usable_providers(&c.deployment.facts.plugins).first().copied();
        if let Some(provider) =
            first.filter(|_| c.deployment.spec.model.is_none() && !next.names_model())
        {
            let mut spec = c.deployment.spec.clone();
            spec.model = Some(provider.default_model().to_owned());
            c.change_spec(spec)?;
        }
        // Last: without the new ones waiting, a run again takes all of this for done.
        c.vault.forget(c.store, &c.deployment.id, Slot::Next)?;
        steps::nothing()
    })
}

const REFUSED: StepDef = StepDef {
    name: "refused",
    says: |_| "check that the old token is refused".into(),
    event: None,
    run: refused,
    repeat: Repeat::Never,
};

fn refused<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        if !c.params::<RotateParams>()?.token {
            return Ok(StepEnd::Skipped("the token stays".into()));
        }
        let Some(previous) = c.vault.peek(c.store, &c.deployment.id, Slot::Previous)? else {
            return Ok(StepEnd::Skipped("checked already".into()));
        };
        let site = c.site()?;
        let route = c.target().route(&site)?;
        let deadline = Instant::now() + REFUSED_DEADLINE;
        let refused = token_refused(&*route, &site.host_header()?, &previous.token, deadline)
            .await
            .map_err(|error| Failure::failed(site.scrub(&error.to_string(), 300)))?;
        if refused {
            return Ok(StepEnd::Done(json!({ "old_token_refused": true })));
        }
        Err(Failure::failed("the gateway still takes the old token")
            .remedy("look for a token in the gateway's own openclaw.json, and take it out"))
    })
}

pub(super) const FORGET: StepDef = StepDef {
    name: "forget",
    says: |_| "forget the old secrets".into(),
    event: None,
    run: forget,
    repeat: Repeat::Never,
};

fn forget<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        c.vault.forget(c.store, &c.deployment.id, Slot::Previous)?;
        steps::nothing()
    })
}

/// What was there before.
#[derive(Deserialize)]
struct Before {
    spec: DeploymentSpec,
}

const BACK: StepDef = StepDef {
    name: "back",
    says: |_| "put the old secrets in force again".into(),
    event: None,
    run: back,
    repeat: Repeat::Never,
};

fn back<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        c.vault.go_back(c.store, &c.deployment.id)?;
        let before: Option<Before> = c.output("check")?;
        if let Some(Before { spec }) = before {
            c.change_spec(spec)?;
        }
        steps::nothing()
    })
}

const BACK_STOP: StepDef = StepDef { name: "back_stop", event: None, ..steps::STOP };
const BACK_CONFIGURE: StepDef = StepDef { name: "back_configure", event: None, ..steps::CONFIGURE };
const BACK_START: StepDef = StepDef { name: "back_start", event: None, ..steps::START };
const BACK_PROVE: StepDef = StepDef { name: "back_prove", event: None, ..steps::PROVE };
