//! `launch`: from nothing, or from something interrupted, to a proven gateway.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use super::steps;
use crate::domain::{
    Aftermath, DeploymentSpec, DeploymentStatus, EventType, Failure, OperationKind, TargetKind,
};
use crate::targets::{Observed, keeper};

/// The port that the first deployment gets unless another one is asked for.
const DEFAULT_PORT: u16 = crate::config::variables::DEFAULT_PORT;
/// How far apart the ports of two deployments are: a gateway's browser control opens ports up to
/// 110 above its own.
const PORT_STEP: u16 = 120;

/// What a launch is asked for with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LaunchParams {
    /// The specification.
    pub spec: DeploymentSpec,
}

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Launch,
    done: Some(EventType::Completed),
    done_says: |c| steps::works_at(c, "is launched"),
    steps: &[PREPARE, steps::FETCH, steps::CONFIGURE, START, steps::PROVE, steps::OPEN_WINDOW],
    recovery: &[HALT],
    changes_from: "start",
    recovered: Aftermath::Broken,
};

const PREPARE: StepDef = StepDef {
    name: "prepare",
    says: |c| format!("check what the {} target needs", c.deployment.spec.target),
    event: None,
    run: prepare,
    repeat: Repeat::Never,
};

fn prepare<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let LaunchParams { spec } = c.params()?;
        if spec != c.deployment.spec {
            c.store.set_spec(&c.lease, &spec)?;
            c.deployment.spec = spec;
        }
        let site = c.site()?;
        c.target().preflight(&site, c.work()).await?;
        let runs = c.target().observe(&site).await? == Observed::Running;
        if !runs {
            // Or its own gateway would be what takes its port.
            keeper::end_orphans(&site.layout, &site.deployment.name).await?;
        }
        let port = choose_port(c, runs)?;
        c.deployment.facts.port = Some(port);
        Ok(StepEnd::Done(json!({ "port": port })))
    })
}

/// The port: the one asked for, or the one it had, or the next free one. It is recorded as this
/// deployment's at once: nothing listens there for seconds, and another launch looks for one too.
fn choose_port(c: &Context<'_>, runs: bool) -> Result<u16, Failure> {
    let had = c.deployment.facts.port;
    let wanted = c.deployment.spec.port;
    let take = |port: u16| -> Result<bool, Failure> {
        Ok(((runs && had == Some(port)) || can_listen(c, port)?)
            && c.store.reserve_port(&c.lease, port)?)
    };
    if let Some(port) = wanted {
        return if take(port)? { Ok(port) } else { Err(taken(c, port)) };
    }
    let first = had.unwrap_or(DEFAULT_PORT);
    if take(first)? {
        return Ok(first);
    }
    let mut next = DEFAULT_PORT;
    while let Some(port) = next.checked_add(PORT_STEP) {
        if take(port)? {
            c.sink.progress().note(&format!("port {first} is taken; using {port}"));
            return Ok(port);
        }
        next = port;
    }
    Err(taken(c, first))
}

fn can_listen(c: &Context<'_>, port: u16) -> Result<bool, Failure> {
    let bind = c.deployment.spec.bind;
    for address in [bind, Ipv4Addr::LOCALHOST.into()] {
        match TcpListener::bind((address, port)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                return Err(Failure::bad_input(format!(
                    "GATEWAY_BIND is {bind}, which is no address of this machine"
                ))
                .remedy("name an address of this machine (ip address shows them), or 0.0.0.0"));
            }
            // The engine may open what this user may not.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                if c.deployment.spec.target == TargetKind::Process {
                    return Err(Failure::bad_input(format!(
                        "port {port} cannot be opened by this user: {error}"
                    ))
                    .remedy("choose a GATEWAY_PORT from 1024 on"));
                }
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

fn taken(c: &Context<'_>, port: u16) -> Failure {
    Failure::conflict(format!("port {port} on {} is taken", c.deployment.spec.bind)).remedy(
        format!(
            "end what listens there (ss -ltnp 'sport = :{port}' shows it), or choose another \
         GATEWAY_PORT"
        ),
    )
}

const START: StepDef = StepDef { run: start, ..steps::START };

fn start<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        // What a failed operation left running was started with whatever it had then: another
        // token, another version.
        if c.prior == Some(DeploymentStatus::Failed) {
            steps::stop(c).await?;
        }
        steps::start(c).await
    })
}

const HALT: StepDef = StepDef {
    name: "halt",
    says: |_| "stop what did not come up; its data and log stay".into(),
    event: None,
    run: steps::stop,
    repeat: Repeat::Never,
};
