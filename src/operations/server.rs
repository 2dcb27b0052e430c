//! The pipeline server's own machine: making it, and bringing releases of the server there.
//!
//! Owns the steps beyond the machine itself, which is made as any other. A release is brought there
//! beside what runs and proven to be a program there; then it takes the other's place, and where it
//! does not come up, the other one comes back. Refuses to hand the token that the server made to
//! anybody but the sealed store.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::vault::Slot;
use super::{destroy, launch, machine, steps, update};
use crate::domain::{
    Aftermath, DeploymentSpec, EventType, Failure, FailureKind, OperationKind, ServerFacts,
    TargetKind,
};
use crate::store::now;
use crate::targets::machine::MachineTarget;
use crate::targets::machine::server::{Program, Release};
use crate::targets::{Machines as _, Target as _};

type Step<'a> = BoxFuture<'a, Result<StepEnd, Failure>>;

/// What bringing a server there is asked for with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerParams {
    /// The specification.
    pub spec: DeploymentSpec,
    /// What is shipped; `None` where the machine alone is made.
    pub shipped: Option<Shipped>,
}

/// The programs that are shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipped {
    /// The server's own.
    pub program: Program,
    /// Terraform.
    pub terraform: Program,
}

/// The definition of an operation on the server's own machine, where it has one of its own.
pub(super) fn definition(kind: OperationKind, target: TargetKind) -> Option<&'static OperationDef> {
    match (kind, target) {
        (OperationKind::Launch, TargetKind::Lightsail) => Some(&ON_LIGHTSAIL),
        (OperationKind::Launch, _) => Some(&ON_EC2),
        (OperationKind::Update, _) => Some(&UPDATE),
        (OperationKind::Destroy, _) => Some(&DESTROY),
        _ => None,
    }
}

macro_rules! launch_on {
    ($machine:expr) => {
        OperationDef {
            done_says: |c| match c.deployment.server_url() {
                Some(url) => format!("the pipeline server runs at {url}"),
                None => "the pipeline server's machine is ready".to_owned(),
            },
            steps: &[
                PREPARE,
                machine::KEY,
                machine::CONFIG,
                $machine,
                machine::READY,
                SHIP,
                BEGIN,
                SWITCH,
                PROVE,
            ],
            recovery: &[],
            changes_from: "switch",
            ..launch::DEFINITION
        }
    };
}

static ON_EC2: OperationDef =
    launch_on!(StepDef { event: Some(EventType::CreatingEc2), ..machine::MACHINE });
static ON_LIGHTSAIL: OperationDef =
    launch_on!(StepDef { event: Some(EventType::CreatingInstance), ..machine::MACHINE });

static UPDATE: OperationDef = OperationDef {
    done_says: |c| {
        let version = c.deployment.facts.server.as_ref().map(|it| it.version.clone());
        format!("the pipeline server runs {}", version.unwrap_or_default())
    },
    steps: &[
        PREPARE,
        machine::CONFIG,
        machine::MACHINE,
        machine::READY,
        SHIP,
        SWITCH,
        PROVE,
        PRUNE,
    ],
    recovery: &[PUT_BACK],
    // Its firewall may be another one from there on.
    changes_from: machine::CONFIG.name,
    recovered: Aftermath::Serving,
    ..update::DEFINITION
};

static DESTROY: OperationDef =
    OperationDef { steps: &[STOP, REMOVE, destroy::FORGET], ..destroy::DEFINITION };

/// That what was in force before works again.
pub(super) fn went_back(c: &Context<'_>) -> String {
    if c.deployment.name.is_cluster() {
        return "the cluster is as far as that came, and nothing that gateways hang by was taken away"
            .to_owned();
    }
    if !c.deployment.name.is_server() {
        return steps::works_at(c, "went back");
    }
    match &c.deployment.facts.server {
        Some(it) => format!("the server went back, and runs {} ({})", it.version, it.release),
        None => "the server went back".to_owned(),
    }
}

fn target<'a>(c: &Context<'a>) -> Result<&'a MachineTarget, Failure> {
    let kind = c.deployment.spec.target;
    c.targets
        .machine(kind)
        .ok_or_else(|| Failure::internal(format!("the {kind} target makes no machines")))
}

/// What this operation ships; `None` where it makes the machine alone.
fn shipped(c: &Context<'_>) -> Result<Option<Shipped>, Failure> {
    Ok(c.params::<ServerParams>()?.shipped)
}

/// What exists, for who makes it: where a release replaces another one, what becomes of the two is
/// told when it is known.
fn begun(c: &Context<'_>, failure: Failure) -> Failure {
    if c.kind == OperationKind::Update { failure } else { machine::begun(c, failure) }
}

fn machine_alone() -> Result<StepEnd, Failure> {
    Ok(StepEnd::Skipped("the machine alone was asked for".into()))
}

/// What was in force before.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Before {
    spec: Option<DeploymentSpec>,
    release: Option<String>,
    facts: Option<ServerFacts>,
}

const PREPARE: StepDef = StepDef {
    name: "prepare",
    says: |_| "check what the machine needs, and what is to be shipped there".into(),
    event: None,
    run: prepare,
    repeat: Repeat::Never,
};

fn prepare<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let ServerParams { spec, shipped } = c.params()?;
        let before = c.deployment.spec.clone();
        let mut site = c.site()?;
        site.deployment.spec = spec.clone();
        let target = target(c)?;
        target.preflight(&site, c.work()).await?;
        if let Some(Shipped { program, terraform }) = &shipped {
            let paths: [&PathBuf; 2] = [&program.path, &terraform.path];
            c.sink.progress().amount(
                0,
                0,
                &format!("{} and {}", paths[0].display(), paths[1].display()),
            );
            program.unchanged()?;
            terraform.unchanged()?;
            target.refuse_unfit(&site, &[program, terraform]).await?;
        }
        c.change_spec(spec)?;
        Ok(StepEnd::Done(json!({ "spec": before })))
    })
}

const SHIP: StepDef = StepDef {
    name: "ship",
    says: |_| {
        "bring program, settings and Terraform there, and have them say their versions".into()
    },
    event: Some(EventType::PullingImage),
    run: ship,
    repeat: Repeat::Before("switch"),
};

fn ship<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let Some(shipped) = shipped(c)? else { return machine_alone() };
        let site = c.site()?;
        let release = release(c, &shipped);
        let target = target(c)?;
        let done = async {
            let in_force = target.release_in_force(&site).await?;
            let facts = target.ship(&site, &release, c.work()).await?;
            Ok::<_, Failure>((in_force, facts))
        };
        let (in_force, facts) = done.await.map_err(|failure| machine::begun(c, failure))?;
        let before = c.deployment.facts.server.clone();
        Ok(StepEnd::Done(json!({
            "release": in_force, "facts": before, "next": facts,
        })))
    })
}

fn release<'a>(c: &'a Context<'_>, shipped: &'a Shipped) -> Release<'a> {
    let Shipped { program, terraform } = shipped;
    Release { id: &c.lease.operation, program, terraform }
}

const BEGIN: StepDef = StepDef {
    name: "begin",
    says: |_| "begin its installation, and have it make its token".into(),
    event: None,
    run: begin,
    repeat: Repeat::Never,
};

fn begin<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let Some(shipped) = shipped(c)? else { return machine_alone() };
        let site = c.site()?;
        if !site.secrets.token.expose().is_empty() {
            return Ok(StepEnd::Skipped("it has its token".into()));
        }
        let release = release(c, &shipped);
        let begun = target(c)?.begin_server(&site, &release, c.work()).await;
        let token = begun.map_err(|failure| machine::begun(c, failure))?;
        let mut secrets = site.secrets;
        secrets.token = token;
        c.vault.keep(c.store, &c.deployment.id, Slot::Current, &secrets)?;
        Ok(StepEnd::Done(json!({ "token": "made" })))
    })
}

const SWITCH: StepDef = StepDef {
    name: "switch",
    says: |_| "put the new release in force, and wait until it takes work".into(),
    event: Some(EventType::StartingApp),
    run: switch,
    repeat: Repeat::Always,
};

fn switch<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        if shipped(c)?.is_none() {
            return machine_alone();
        }
        let next = next(c)?;
        let site = c.site()?;
        let switched = target(c)?.switch(&site, &next.release, c.work()).await;
        switched.map_err(|failure| begun(c, failure))?;
        c.change_facts(|facts| facts.server = Some(next))?;
        Ok(StepEnd::NOTHING)
    })
}

/// What was shipped, as `ship` left it.
fn next(c: &Context<'_>) -> Result<ServerFacts, Failure> {
    #[derive(Deserialize)]
    struct Left {
        next: ServerFacts,
    }
    let left: Option<Left> = c.output("ship")?;
    left.map(|left| left.next).ok_or_else(|| Failure::internal("nothing was shipped"))
}

const PROVE: StepDef = StepDef {
    name: "prove",
    says: |c| match c.deployment.server_url() {
        Some(url) => format!("prove the server at {url}"),
        None => "prove the server".into(),
    },
    event: Some(EventType::HealthCheck),
    run: prove,
    repeat: Repeat::Always,
};

fn prove<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        if shipped(c)?.is_none() {
            return machine_alone();
        }
        let site = c.site()?;
        let facts = next(c)?;
        let proven = target(c)?.prove_server(&site, &facts, c.work()).await;
        proven.map_err(|failure| begun(c, failure))?;
        c.change_facts(|facts| facts.proven_at = Some(now()))?;
        Ok(StepEnd::Done(json!({ "version": facts.version })))
    })
}

const PRUNE: StepDef = StepDef {
    name: "prune",
    says: |_| "remove releases that are older than the one before".into(),
    event: None,
    run: prune,
    repeat: Repeat::Never,
};

fn prune<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let before: Before = c.output("ship")?.unwrap_or_default();
        let (site, next) = (c.site()?, next(c)?);
        let previous = before.release.as_deref();
        match target(c)?.prune_releases(&site, &next.release, previous, c.work()).await {
            // They take room, and do no harm.
            Err(failure) if failure.kind != FailureKind::Interrupted => {
                Ok(StepEnd::Skipped(c.scrubbed(failure).message))
            }
            pruned => pruned.map(|()| StepEnd::NOTHING),
        }
    })
}

const PUT_BACK: StepDef = StepDef {
    name: "put_back",
    says: |_| "put back what was in force, and prove it".into(),
    event: None,
    run: put_back,
    repeat: Repeat::Always,
};

fn put_back<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let wanted = c.params::<ServerParams>()?.spec;
        let prepared: Before = c.output("prepare")?.unwrap_or_default();
        let spec = prepared.spec.unwrap_or_else(|| wanted.clone());
        c.change_spec(spec)?;
        let target = target(c)?;
        if c.deployment.spec != wanted && c.begun.contains(machine::MACHINE.name) {
            let site = c.site()?;
            target.write_config(&site, &c.lease.operation, c.work()).await?;
            target.make(&site, c.work()).await?;
        }
        if c.begun.contains(SWITCH.name) {
            let shipped: Before = c.output("ship")?.unwrap_or_default();
            let (Some(release), Some(facts)) = (shipped.release, shipped.facts) else {
                return Err(Failure::failed("there is no release to put back"));
            };
            c.change_facts(|known| known.server = Some(facts))?;
            target.switch(&c.site()?, &release, c.work()).await?;
        }
        let Some(facts) = c.deployment.facts.server.clone() else {
            return Err(Failure::failed("there is no release to put back"));
        };
        let site = c.site()?;
        let proven = target.prove_server(&site, &facts, c.work()).await;
        proven.map_err(|failure| {
            // Why nothing was switched says better what to do.
            let remedy = failure.remedy.clone().filter(|_| c.begun.contains(SWITCH.name));
            Failure { remedy, ..failure }
        })?;
        Ok(StepEnd::NOTHING)
    })
}

const STOP: StepDef = StepDef {
    name: "stop",
    says: |_| "stop the server, so that it begins nothing any more".into(),
    event: Some(EventType::Destroying),
    run: stop,
    repeat: Repeat::Never,
};

fn stop<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = destroy::site(c)?;
        destroy::refuse_other_account(c).await?;
        if site.deployment.facts.server.is_none() {
            return Ok(StepEnd::Skipped("there is none".into()));
        }
        match target(c)?.stop_server(&site, c.work()).await {
            // One that cannot be reached goes all the same.
            Err(failure) if failure.kind != FailureKind::Interrupted => {
                let failure = c.scrubbed(failure);
                let why = format!("the server was not stopped before its machine goes: {failure}");
                c.sink.progress().note(&why);
                Ok(StepEnd::Skipped(why))
            }
            stopped => stopped.map(|()| StepEnd::NOTHING),
        }
    })
}

const REMOVE: StepDef = StepDef {
    says: |_| "remove the machine, its address, firewall, key and role, and its files".into(),
    ..destroy::REMOVE
};
