//! `expose`: another way for a running gateway's users. To a tunnel: it is started, proven from
//! outside and announced, and only then the plain port is closed. From one: the other way round.
//!
//! Whatever fails, the way that worked before is what is left. A named tunnel's token waits, sealed,
//! in [`Slot::Next`].

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::vault::Slot;
use super::{rotate, steps, tunnel};
use crate::domain::{
    Aftermath, DeploymentSpec, DeploymentStatus, EventType, Failure, OperationKind, TunnelFacts,
};

/// What it is asked for with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExposeParams {
    /// The specification, with who is to reach the gateway.
    pub spec: DeploymentSpec,
}

/// What was there before.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Before {
    spec: DeploymentSpec,
    tunnel: Option<TunnelFacts>,
}

type Step<'a> = BoxFuture<'a, Result<StepEnd, Failure>>;

pub(super) static TO_TUNNEL: OperationDef = OperationDef {
    kind: OperationKind::Expose,
    done: Some(EventType::Restarted),
    done_says: |c| steps::works_at(c, "has its tunnel"),
    steps: &[
        CHECK,
        RAISE,
        tunnel::ALLOW,
        tunnel::PROVE,
        SWITCH,
        FIREWALL,
        STOP,
        CONFIGURE,
        START,
        steps::PROVE,
        tunnel::CLOSED,
        rotate::FORGET,
    ],
    recovery: &[
        BACK_SWITCH,
        BACK_FIREWALL,
        BACK_STOP,
        BACK_CONFIGURE,
        BACK_START,
        BACK_PROVE,
        BACK_TUNNEL,
    ],
    changes_from: "tunnel",
    recovered: Aftermath::Serving,
};

pub(super) static TO_PORT: OperationDef = OperationDef {
    kind: OperationKind::Expose,
    done: Some(EventType::Restarted),
    done_says: |c| steps::works_at(c, "is exposed as asked"),
    steps: &[CHECK, SWITCH, FIREWALL, STOP, CONFIGURE, START, steps::PROVE, LOWER],
    recovery: &[BACK_SWITCH, BACK_FIREWALL, BACK_STOP, BACK_CONFIGURE, BACK_START, BACK_PROVE],
    changes_from: "switch",
    recovered: Aftermath::Serving,
};

const CHECK: StepDef = StepDef { run: check, repeat: Repeat::Before("switch"), ..steps::CHECK };

fn check<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        // Asked again after a tunnel was begun with, this is not what was there before it.
        let known: Option<Before> = c.output("check")?;
        (steps::CHECK.run)(c).await?;
        let now =
            Before { spec: c.deployment.spec.clone(), tunnel: c.deployment.facts.tunnel.clone() };
        let before = known.unwrap_or(now);
        if let Some(machines) = c.target().machines()
            && opens_after(c, &before)?
        {
            // Refused later, the firewall could not even be put back.
            machines.refuse_other_account(&c.site()?, c.work()).await?;
        }
        Ok(StepEnd::Done(json!(before)))
    })
}

fn before(c: &Context<'_>) -> Result<Before, Failure> {
    c.output("check")?.ok_or_else(|| Failure::failed("the journal lacks who reached it before"))
}

const RAISE: StepDef = StepDef { run: raise, ..tunnel::RAISE };

fn raise<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        // A named tunnel's token, where this is for another one.
        if c.vault.take_over(c.store, &c.deployment.id)?.is_some() {
            c.vault.forget(c.store, &c.deployment.id, Slot::Next)?;
        }
        (tunnel::RAISE.run)(c).await
    })
}

/// Whether the port is published on another address after it.
fn moves(c: &Context<'_>) -> Result<bool, Failure> {
    let ExposeParams { spec } = c.params()?;
    Ok(before(c)?.spec.bind != spec.bind)
}

/// Whether the machine's firewall is another one after it. What is not known to have worked before
/// is made anew.
fn opens(c: &Context<'_>) -> Result<bool, Failure> {
    opens_after(c, &before(c)?)
}

fn opens_after(c: &Context<'_>, before: &Before) -> Result<bool, Failure> {
    let ExposeParams { spec } = c.params()?;
    let worked = [DeploymentStatus::Running, DeploymentStatus::Degraded];
    let of = |spec: &DeploymentSpec| spec.machine.as_ref().map(|it| it.expose);
    let same = of(&before.spec) == of(&spec);
    Ok(!same || !c.prior.is_some_and(|prior| worked.contains(&prior)))
}

const SWITCH: StepDef = StepDef {
    name: "switch",
    says: |c| {
        let to = c.params::<ExposeParams>().ok().and_then(|it| it.spec.machine);
        format!("record that it is exposed as {}", to.map(|it| it.expose).unwrap_or_default())
    },
    event: None,
    run: switch,
    repeat: Repeat::Never,
};

fn switch<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let ExposeParams { spec } = c.params()?;
        c.change_spec(spec)?;
        if c.deployment.tunnel().is_none() {
            // Its page is let in no more; the tunnel itself goes last.
            c.change_facts(|facts| facts.tunnel = None)?;
        }
        steps::nothing()
    })
}

const FIREWALL: StepDef = StepDef {
    name: "firewall",
    says: |_| "bring the machine's firewall to that".into(),
    event: None,
    run: firewall,
    repeat: Repeat::Never,
};

fn firewall<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        if !opens(c)? {
            return Ok(StepEnd::Skipped("it is as it should be".into()));
        }
        let site = c.site()?;
        let Some(machines) = c.target().machines() else {
            return Ok(StepEnd::Skipped("there is none".into()));
        };
        machines.write_config(&site, &c.lease.operation, c.work()).await?;
        machines.make(&site, c.work()).await?;
        Ok(StepEnd::NOTHING)
    })
}

const STOP: StepDef = StepDef { event: Some(EventType::Restarting), run: stop, ..steps::STOP };

fn stop<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        if moves(c)? { steps::stop(c).await } else { Ok(StepEnd::Skipped(STAYS.into())) }
    })
}

/// Why a gateway need not be stopped.
const STAYS: &str = "its port stays where it is";

const CONFIGURE: StepDef = StepDef { event: None, ..steps::CONFIGURE };
const START: StepDef = StepDef { event: None, ..steps::START };

const LOWER: StepDef = StepDef {
    name: "lower",
    says: |_| "take the tunnel away, where there is one".into(),
    event: None,
    run: lower,
    repeat: Repeat::Never,
};

fn lower<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        tunnel::lower(c).await?;
        steps::nothing()
    })
}

const BACK_SWITCH: StepDef = StepDef {
    name: "back_switch",
    says: |_| "go back to the way that worked before".into(),
    event: None,
    run: back_switch,
    repeat: Repeat::Never,
};

fn back_switch<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let Before { spec, tunnel } = before(c)?;
        c.vault.go_back(c.store, &c.deployment.id)?;
        c.change_spec(spec)?;
        c.change_facts(|facts| facts.tunnel = tunnel)?;
        steps::nothing()
    })
}

const BACK_FIREWALL: StepDef = StepDef { name: "back_firewall", run: back_firewall, ..FIREWALL };

fn back_firewall<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        if c.begun.contains("firewall") {
            return firewall(c).await;
        }
        Ok(StepEnd::Skipped("it was not touched".into()))
    })
}

const BACK_STOP: StepDef =
    StepDef { name: "back_stop", event: None, run: back_stop, ..steps::STOP };

fn back_stop<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        if c.begun.contains("stop") {
            return stop(c).await;
        }
        Ok(StepEnd::Skipped("it was not touched".into()))
    })
}

const BACK_CONFIGURE: StepDef = StepDef { name: "back_configure", event: None, ..steps::CONFIGURE };
const BACK_START: StepDef = StepDef { name: "back_start", event: None, ..steps::START };
const BACK_PROVE: StepDef = StepDef { name: "back_prove", event: None, ..steps::PROVE };

const BACK_TUNNEL: StepDef = StepDef {
    name: "back_tunnel",
    says: |_| "take the tunnel away that was begun with".into(),
    event: None,
    run: back_tunnel,
    repeat: Repeat::Never,
};

fn back_tunnel<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        if before(c)?.tunnel.is_some() {
            return Ok(StepEnd::Skipped("it was there before".into()));
        }
        tunnel::lower(c).await?;
        steps::nothing()
    })
}
