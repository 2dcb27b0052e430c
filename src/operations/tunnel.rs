//! A tunnel's steps: start it, let its page in, prove it from outside, announce it.
//!
//! Owns the order of these, and following a quick tunnel whose host name is a new one. Refuses to
//! announce what was not proven over HTTPS, and to announce anything twice.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;

use super::context::{Context, Repeat, StepDef, StepEnd};
use super::steps;
use crate::domain::{
    DeploymentSpec, EventType, Expose, Failure, FailureKind, OperationKind, TunnelFacts,
};
use crate::store::NewEvent;
use crate::targets::{Site, Tunnels};

/// How long a tunnel may take from its connection until a page comes through it: a new host name
/// has to come to the system's name servers first.
const PROVE_DEADLINE: Duration = Duration::from_secs(180);

/// How long a gateway that runs may be out of reach where nothing but a firewall is before it.
const REACH_PATIENCE: Duration = Duration::from_secs(30);

/// The same where a load balancer is before it: AWS takes minutes until a new one lets anybody in, and
/// until its name is known.
const BALANCER_PATIENCE: Duration = Duration::from_secs(480);

/// How long a gateway that runs may take to let a new page in.
const REFUSED_PATIENCE: Duration = Duration::from_secs(20);

type Step<'a> = BoxFuture<'a, Result<StepEnd, Failure>>;

/// The target's tunnels, which it has to have.
pub(super) fn tunnels<'a>(c: &Context<'a>) -> Result<&'a dyn Tunnels, Failure> {
    let target = c.target();
    target.tunnels().ok_or_else(|| refused(target.kind().as_str()))
}

/// A target without tunnels.
pub(super) fn refused(target: &str) -> Failure {
    Failure::new(
        FailureKind::BadInput,
        format!("no tunnel can be put in front of a gateway on the {target} target"),
    )
    .remedy("launch it on ec2 or lightsail")
}

/// How long what comes through a tunnel may be refused: only what was let in just now, while the
/// gateway runs.
pub(super) fn refused_patience(site: &Site) -> Duration {
    site.deployment.tunnel().map_or(Duration::ZERO, |_| REFUSED_PATIENCE)
}

/// How long a gateway that runs may be out of its user's reach. A port that was just opened lets in
/// within seconds; a new name has to come around first.
pub(super) fn reach_patience(site: &Site) -> Duration {
    if site.deployment.tunnel().is_some() {
        return PROVE_DEADLINE;
    }
    let cluster = site.deployment.facts.cluster.as_ref();
    let is_balanced = cluster.is_some_and(|it| it.host.is_some());
    if is_balanced || site.deployment.ingress().is_some() {
        return BALANCER_PATIENCE;
    }
    REACH_PATIENCE
}

/// The specification that an operation leads to.
fn wanted(c: &Context<'_>) -> DeploymentSpec {
    let wanted = c.params.get("spec").cloned().and_then(|it| serde_json::from_value(it).ok());
    wanted.unwrap_or_else(|| c.deployment.spec.clone())
}

/// The deployment as its target sees it when the operation is done.
fn site_to_be(c: &Context<'_>) -> Result<Site, Failure> {
    let mut site = c.site()?;
    site.deployment.spec = wanted(c);
    Ok(site)
}

/// Records the host name that a tunnel has. A new one is announced anew.
fn record(c: &mut Context<'_>, host: String) -> Result<bool, Failure> {
    let is_new = c.deployment.facts.tunnel.as_ref().is_none_or(|it| it.host != host);
    if is_new {
        c.change_facts(|facts| facts.tunnel = Some(TunnelFacts::found(host)))?;
    }
    Ok(is_new)
}

pub(super) const RAISE: StepDef = StepDef {
    name: "tunnel",
    says: |c| match wanted(c).machine.and_then(|it| it.tunnel_host) {
        Some(host) => format!("start the Cloudflare tunnel of {host}"),
        None => "start a Cloudflare tunnel, and learn its host name".into(),
    },
    event: Some(EventType::SettingUpCloudflare),
    run: raise,
    // From there on its name is followed by the proof.
    repeat: Repeat::Before("switch"),
};

fn raise<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = site_to_be(c)?;
        let host = tunnels(c)?.raise(&site, c.work()).await?;
        let output = json!({ "host": host });
        record(c, host)?;
        Ok(StepEnd::Done(output))
    })
}

pub(super) const ALLOW: StepDef = StepDef {
    name: "allow",
    says: |c| format!("let the page at {} in", origin(c)),
    event: None,
    run: allow,
    repeat: Repeat::Before("switch"),
};

fn origin(c: &Context<'_>) -> String {
    c.deployment.facts.tunnel.as_ref().map_or_else(|| "its host name".into(), TunnelFacts::origin)
}

fn allow<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        // The gateway takes the list over while it runs.
        let notices = steps::write_configuration(c, false).await?;
        Ok(StepEnd::Done(json!({ "notices": notices })))
    })
}

pub(super) const PROVE: StepDef = StepDef {
    name: "prove_tunnel",
    says: |c| format!("prove the gateway from outside, at {}/", origin(c)),
    event: Some(EventType::HealthCheck),
    run: prove,
    repeat: Repeat::Before("switch"),
};

fn prove<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = site_to_be(c)?;
        let progress = c.sink.progress();
        let proof = steps::prove_site(c.target(), &site, PROVE_DEADLINE, progress, &c.cancel);
        let proof = proof.await.map_err(|why| through(c, why.into()))?;
        announce(c)?;
        Ok(StepEnd::Done(json!({ "protocol": proof.protocol })))
    })
}

/// A failure of the way through the tunnel, with what may be done about it there.
fn through(c: &Context<'_>, failure: Failure) -> Failure {
    if failure.kind == FailureKind::Interrupted {
        return failure;
    }
    let name = &c.deployment.name;
    let named = wanted(c).machine.is_some_and(|it| it.tunnel_host.is_some());
    let ingress = if named {
        "; a named tunnel's public host name has to lead to http://openclaw-gateway:18789 (at its \
         account)"
    } else {
        ""
    };
    // A launch is gone on with in its own way.
    let again = match c.kind {
        OperationKind::Expose => {
            format!("; to try again: openclaw-pipeline expose {name} tunnel")
        }
        _ => String::new(),
    };
    let remedy = failure.remedy.clone().unwrap_or_default();
    let remedy = remedy.trim_end_matches('.');
    failure
        .context(format!("through the tunnel at {}", origin(c)))
        .remedy(format!("{remedy}{ingress}{again}"))
}

/// Tells of a tunnel that was proven just now, once for each host name.
pub(super) fn announce(c: &mut Context<'_>) -> Result<(), Failure> {
    let mut facts = c.deployment.facts.clone();
    let Some(tunnel) = facts.tunnel.as_mut().filter(|it| !it.is_announced) else {
        return Ok(());
    };
    // The plain way may be what was proven.
    if wanted(c).machine.is_none_or(|it| it.expose != Expose::Tunnel) {
        return Ok(());
    }
    tunnel.is_announced = true;
    let url = format!("{}/", tunnel.origin());
    let says = format!("the tunnel of {} is ready: {url}", c.deployment.name);
    let event = NewEvent::new(EventType::CloudflareReady, says).with(json!({ "url": url }));
    c.store.set_facts_and_tell(&c.lease, &facts, &event)?;
    c.deployment.facts = facts;
    Ok(())
}

/// Before a gateway is proven that is reached through a tunnel: the tunnel runs, and the page at
/// the host name that it has by now is let in.
pub(super) async fn follow(c: &mut Context<'_>) -> Result<(), Failure> {
    if c.deployment.tunnel().is_none() {
        return Ok(());
    }
    let site = c.site()?;
    let host = tunnels(c)?.raise(&site, c.work()).await?;
    if record(c, host)? {
        c.sink.progress().note(&format!("the tunnel has a new host name: {}/", origin(c)));
    }
    // An earlier run may have come no further than to its name.
    if !c.deployment.facts.managed_origins.contains(&origin(c)) {
        steps::write_configuration(c, false).await?;
    }
    Ok(())
}

pub(super) const CLOSED: StepDef = StepDef {
    name: "closed",
    says: |_| "see from outside that the plain port is closed".into(),
    event: None,
    run: closed,
    repeat: Repeat::Always,
};

fn closed<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        tunnels(c)?.closed(&site, c.work()).await?;
        Ok(StepEnd::NOTHING)
    })
}

/// Takes the tunnel away, where there is one, and forgets its name.
pub(super) async fn lower(c: &mut Context<'_>) -> Result<(), Failure> {
    if let Some(tunnels) = c.target().tunnels() {
        let site = c.site()?;
        tunnels.lower(&site, c.work()).await?;
    }
    c.change_facts(|facts| facts.tunnel = None)
}

/// Takes the tunnel of a gateway away that is stopped. Its name is known still, so that the start
/// after it brings one up again.
pub(super) async fn rest(c: &Context<'_>) -> Result<(), Failure> {
    if c.deployment.tunnel().is_some() {
        let site = c.site()?;
        tunnels(c)?.lower(&site, c.work()).await?;
    }
    Ok(())
}
