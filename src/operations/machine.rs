//! `launch` where each deployment has a machine of its own: from nothing to a proven gateway.
//!
//! Owns the steps that make the machine and get to it; on it, the launch is the same as everywhere.
//! Once there is a machine, every failure says so, and how to go on or be rid of it.

use futures_util::future::BoxFuture;
use serde_json::json;

use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::{launch, steps, tunnel};
use crate::domain::{Deployment, EventType, Failure, FailureKind, OperationKind, TargetKind};
use crate::targets::{Machines, Site};

type Step<'a> = BoxFuture<'a, Result<StepEnd, Failure>>;

macro_rules! launch_on {
    ($machine:expr $(, $more:expr)*) => {
        OperationDef {
            steps: &[
                launch::PREPARE,
                KEY,
                CONFIG,
                $machine,
                READY,
                FETCH,
                CONFIGURE,
                START,
                PROVE,
                $($more,)*
                steps::OPEN_WINDOW,
            ],
            ..launch::DEFINITION
        }
    };
}

pub(super) static ON_EC2: OperationDef =
    launch_on!(StepDef { event: Some(EventType::CreatingEc2), ..MACHINE });
pub(super) static ON_LIGHTSAIL: OperationDef =
    launch_on!(StepDef { event: Some(EventType::CreatingInstance), ..MACHINE });

// Nobody reached its port before: there is nothing to close, only to see closed.
pub(super) static ON_EC2_BY_TUNNEL: OperationDef = launch_on!(
    StepDef { event: Some(EventType::CreatingEc2), ..MACHINE },
    TUNNEL,
    ALLOW,
    PROVE_TUNNEL,
    tunnel::CLOSED
);
pub(super) static ON_LIGHTSAIL_BY_TUNNEL: OperationDef = launch_on!(
    StepDef { event: Some(EventType::CreatingInstance), ..MACHINE },
    TUNNEL,
    ALLOW,
    PROVE_TUNNEL,
    tunnel::CLOSED
);

const TUNNEL: StepDef = StepDef { run: raise, repeat: Repeat::Always, ..tunnel::RAISE };

fn raise<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    told(c, tunnel::RAISE.run)
}

const ALLOW: StepDef = StepDef { repeat: Repeat::Always, ..tunnel::ALLOW };

const PROVE_TUNNEL: StepDef =
    StepDef { run: prove_tunnel, repeat: Repeat::Always, ..tunnel::PROVE };

fn prove_tunnel<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    told(c, tunnel::PROVE.run)
}

pub(super) const KEY: StepDef = StepDef {
    name: "create_key",
    says: |c| format!("make the SSH key of {}", c.deployment.name),
    event: Some(EventType::CreatingKey),
    run: key,
    repeat: Repeat::Never,
};

fn key<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        machines(c)?.make_key(&site, c.work()).await?;
        Ok(StepEnd::NOTHING)
    })
}

pub(super) const CONFIG: StepDef = StepDef {
    name: "create_config",
    says: |_| "write what the machine is made with".into(),
    event: Some(EventType::CreatingConfig),
    run: config,
    repeat: Repeat::Never,
};

fn config<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        machines(c)?.write_config(&site, &c.lease.operation, c.work()).await?;
        Ok(StepEnd::NOTHING)
    })
}

pub(super) const MACHINE: StepDef = StepDef {
    name: "create_machine",
    says: |c| {
        let target = match c.deployment.spec.target {
            TargetKind::Lightsail => "Lightsail",
            _ => "EC2",
        };
        let region = c.deployment.spec.machine.as_ref().map_or("", |it| it.region.as_str());
        format!("make the machine on {target} in {region}, with its address and firewall")
    },
    event: None,
    run: machine,
    repeat: Repeat::Never,
};

fn machine<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        let mut made = match machines(c)?.make(&site, c.work()).await {
            Ok(made) => made,
            Err(failure) => {
                let exists = exists_now(c, &site, &failure).await;
                return Err(begun_with(c, failure, &exists));
            }
        };
        if made.made_by.is_empty() {
            made.made_by.clone_from(&c.lease.operation);
        }
        let output = json!({ "id": made.id, "address": made.address });
        c.change_facts(|facts| facts.machine = Some(made))?;
        Ok(StepEnd::Done(output))
    })
}

pub(super) const READY: StepDef = StepDef {
    name: "connect",
    says: |c| {
        let machine = c.deployment.facts.machine.as_ref();
        let address = machine.map_or_else(|| "it".into(), |it| it.address.to_string());
        format!("reach {address} by SSH, and wait until Docker is there")
    },
    event: Some(EventType::DeployingApp),
    run: ready,
    repeat: Repeat::Always,
};

fn ready<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        machines(c)?.ready(&site, c.work()).await.map_err(|failure| begun(c, failure))?;
        c.change_facts(|facts| {
            if let Some(machine) = &mut facts.machine {
                machine.ready = true;
            }
        })?;
        Ok(StepEnd::NOTHING)
    })
}

const FETCH: StepDef = StepDef { run: fetch, ..steps::FETCH };

fn fetch<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    told(c, steps::FETCH.run)
}

const CONFIGURE: StepDef = StepDef { event: None, run: configure, ..steps::CONFIGURE };

fn configure<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    told(c, steps::CONFIGURE.run)
}

const START: StepDef = StepDef { run: start, ..launch::START };

fn start<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    told(c, launch::START.run)
}

const PROVE: StepDef = StepDef { run: prove, ..launch::PROVE };

fn prove<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    told(c, launch::PROVE.run)
}

/// A step of every launch, whose failure says that there is a machine.
fn told<'a>(c: &'a mut Context<'_>, run: for<'b> fn(&'b mut Context<'_>) -> Step<'b>) -> Step<'a> {
    Box::pin(async move {
        let done = run(c).await;
        done.map_err(|failure| begun(c, failure))
    })
}

/// The same failure, with what exists by now, and the commands that go on and that clean up.
pub(super) fn begun(c: &Context<'_>, failure: Failure) -> Failure {
    begun_with(c, failure, &exists(&c.deployment))
}

fn begun_with(c: &Context<'_>, failure: Failure, exists: &str) -> Failure {
    if failure.kind == FailureKind::Interrupted {
        return failure;
    }
    let (name, target) = (&c.deployment.name, c.deployment.spec.target);
    let removal = name.destroying();
    // One that knows better what is there says so itself.
    if failure.remedy.as_ref().is_some_and(|remedy| remedy.contains(&removal)) {
        return failure;
    }
    if c.kind == OperationKind::Update {
        // Of the server's own: what became of what ran before is told when it is known.
        return if failure.remedy.is_some() {
            failure
        } else {
            failure.remedy("openclaw-pipeline server deploy tries again")
        };
    }
    failure
        .also(format!("{exists}: {} goes on, {removal} removes it", name.launching(Some(target))))
}

/// What exists of a deployment's machine.
fn exists(deployment: &Deployment) -> String {
    match &deployment.facts.machine {
        Some(machine) => format!("the machine {} ({}) is there", machine.id, machine.address),
        None => "part of the machine may be there".to_owned(),
    }
}

/// The same, where the making itself failed: nobody knows the machine yet, and Terraform's state
/// says what there is of it.
async fn exists_now(c: &Context<'_>, site: &Site, failure: &Failure) -> String {
    let known = exists(&c.deployment);
    if c.deployment.facts.machine.is_some() || failure.kind == FailureKind::Interrupted {
        return known;
    }
    let Ok(machines) = machines(c) else { return known };
    machines.made(site, c.work()).await.map_or(known, |made| are_there(&made))
}

/// That these are there.
fn are_there(things: &[String]) -> String {
    match things {
        [] => "nothing of the machine is in Terraform's state".to_owned(),
        [one] => format!("{one} is there"),
        [first @ .., last] => format!("{} and {last} are there", first.join(", ")),
    }
}

/// An interruption, with what exists and what removes it.
pub(super) fn interrupted(
    deployment: &Deployment,
    kind: OperationKind,
    failure: Failure,
) -> Failure {
    if kind != OperationKind::Launch || !deployment.spec.target.has_machine() {
        return failure;
    }
    let remedy = failure.remedy.clone().unwrap_or_default();
    failure.remedy(format!(
        "{}; {remedy}; or remove it: {}",
        exists(deployment),
        deployment.name.destroying()
    ))
}

fn machines<'a>(c: &Context<'a>) -> Result<&'a dyn Machines, Failure> {
    let target = c.target();
    target
        .machines()
        .ok_or_else(|| Failure::internal(format!("the {} target makes no machines", target.kind())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_in_a_sentence() {
        let told = |things: &[&str]| {
            are_there(&things.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(told(&[]), "nothing of the machine is in Terraform's state");
        assert_eq!(told(&["the SSH key"]), "the SSH key is there");
        let three = told(&["the address", "the SSH key", "the firewall"]);
        assert_eq!(three, "the address, the SSH key and the firewall are there");
    }
}
