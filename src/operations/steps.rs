//! Steps that several operations share.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::approval;
use super::context::{Context, Repeat, StepDef, StepEnd};
use super::crash::{LOOK_EVERY, crashed};
use super::tunnel;
use crate::domain::{
    Credential, EventType, Failure, OpenClawVersion, approval::ApprovalMode, model,
};
use crate::exec::{addresses, wait};
use crate::gateway::cause;
use crate::gateway::prove::{Proof, ProveError, Route, prove as prove_route};
use crate::store::{Window, now};
use crate::targets::rendering::{self, Bind};
use crate::targets::{Artefact, Learned, ManagedConfig, NotUp, Progress, Site, Target, keeper};

/// How long a gateway may take from its start until it is proven. The first start after an
/// upgrade migrates databases, which may take minutes.
const PROVE_DEADLINE: Duration = Duration::from_secs(600);
/// How many looks in a row find something else on the port of a starting gateway before it is given
/// up. What is there once may be on its way out, and the gateway itself tries again.
const STRANGERS: u32 = 2;

type Step<'a> = BoxFuture<'a, Result<StepEnd, Failure>>;
/// What brings a gateway up, or says what kept it from that.
pub(super) type Rise<'a> = BoxFuture<'a, Result<StepEnd, NotUp>>;

pub(super) const FETCH: StepDef = StepDef {
    name: "fetch",
    says: |c| match c.deployment.spec.target {
        target if target.runs_image() => format!(
            "get the image {}",
            c.deployment.spec.image.as_deref().unwrap_or(crate::targets::DEFAULT_IMAGE)
        ),
        _ => format!(
            "get OpenClaw {} from the npm registry",
            c.deployment.spec.version.as_deref().unwrap_or(crate::assets::OPENCLAW_VERSION)
        ),
    },
    event: Some(EventType::PullingImage),
    run: fetch,
    repeat: Repeat::Never,
};

fn fetch<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let mut site = c.site()?;
        pin(&mut site.deployment);
        let artefact = fetch_launchable(c, &site).await?;
        let output = json!({ "artefact": artefact.id, "version": artefact.version });
        c.change_facts(|facts| facts.take_artefact(artefact.id, artefact.version))?;
        Ok(StepEnd::Done(output))
    })
}

/// A deployment that worked goes on with the very image that it worked with: its tag may name
/// another one by now, and only an update makes a backup first.
fn pin(deployment: &mut crate::domain::Deployment) {
    let facts = &deployment.facts;
    if deployment.spec.target.runs_image() && facts.proven_at.is_some() {
        deployment.spec.image = facts.artefact.clone().or(deployment.spec.image.take());
    }
}

/// Gets what the specification names.
async fn fetch_launchable(c: &Context<'_>, site: &Site) -> Result<Artefact, Failure> {
    launchable(site, c.target().fetch(site, c.work())).await
}

/// The same for an update, which asks for what the name stands for today.
pub(super) async fn fetch_newest(c: &Context<'_>, site: &Site) -> Result<Artefact, Failure> {
    launchable(site, c.target().fetch_newest(site, c.work())).await
}

/// What is fetched, unless it is too old: a version that says so itself is not even fetched, an
/// image tells by its label.
async fn launchable(
    site: &Site,
    fetched: impl Future<Output = Result<Artefact, Failure>>,
) -> Result<Artefact, Failure> {
    OpenClawVersion::refuse_old(site.deployment.spec.version.as_deref())?;
    let artefact = fetched.await?;
    OpenClawVersion::refuse_old(artefact.version.as_deref())?;
    Ok(artefact)
}

/// Before anything that works is stopped: a configuration that its user broke would only be found
/// when the gateway is down.
pub(super) const CHECK: StepDef = StepDef {
    name: "check",
    says: |_| "check the configuration that is in place".into(),
    event: None,
    run: check,
    repeat: Repeat::Before("stop"),
};

fn check<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        c.target().check_configuration(&site).await?;
        // What a recovery goes back to, where a later step changes it.
        Ok(StepEnd::Done(json!({ "spec": c.deployment.spec })))
    })
}

pub(super) const CONFIGURE: StepDef = StepDef {
    name: "configure",
    says: |_| "write the gateway's configuration".into(),
    event: Some(EventType::CreatingConfig),
    run: configure,
    repeat: Repeat::Never,
};

pub(super) fn configure<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    configure_from(c, false)
}

/// Configures the gateway: on top of what is in place, or of the user's own file.
pub(super) fn configure_from<'a>(c: &'a mut Context<'_>, users_file: bool) -> Step<'a> {
    Box::pin(async move {
        let notices = write_configuration(c, users_file).await?;
        for notice in &notices {
            c.sink.progress().note(notice);
        }
        Ok(StepEnd::Done(json!({ "notices": notices })))
    })
}

/// Writes the gateway's configuration; answers what the user should know of it.
pub(super) async fn write_configuration(
    c: &mut Context<'_>,
    users_file: bool,
) -> Result<Vec<String>, Failure> {
    let site = c.site()?;
    let mut config = managed(&site)?;
    config.users_file = users_file;
    let placed = c.target().place(&site, &config, c.work()).await?;
    let names: Vec<String> =
        site.secrets.credentials.iter().map(|(name, _)| name.clone()).collect();
    c.change_facts(|facts| {
        facts.managed_origins.clone_from(&config.origins);
        facts.managed_proxies.clone_from(&config.proxies);
        facts.credentials = names;
        facts.plugins.clone_from(&placed.plugins);
        facts.managed_model = config.model.filter(|model| placed.model.as_ref() == Some(model));
        facts.model = placed.model;
    })?;
    Ok(placed.notices)
}

/// The managed keys of a deployment.
pub(super) fn managed(site: &Site) -> Result<ManagedConfig, Failure> {
    let port = site.port()?;
    let spec = &site.deployment.spec;
    let mut config = ManagedConfig::of(spec, port, Bind::Loopback, String::new());
    let facts = &site.deployment.facts;
    // An image without a label tells its version only once it runs.
    let version = facts.artefact_version.as_deref().or(facts.gateway_version.as_deref());
    config.version = version.and_then(OpenClawVersion::parse);
    config.origins = vec![site.origin()?];
    if let Some(tunnel) = &facts.tunnel {
        config.proxies.push(crate::targets::container::TUNNEL_ADDRESS.into());
        config.origins.extend(Some(tunnel.origin()).filter(|it| !config.origins.contains(it)));
    }
    if !spec.target.is_local() {
        // Through a tunnel of SSH.
        let local = ["127.0.0.1", "localhost"].map(|it| format!("http://{it}:{port}"));
        config.origins.extend(local.into_iter().filter(|it| *it != site.deployment.origin(port)));
    } else if spec.bind.is_loopback() || spec.bind.is_unspecified() {
        config.origins.push(format!("http://localhost:{port}"));
    }
    if spec.target.is_local() && spec.bind.is_unspecified() {
        // A browser elsewhere names this machine by one of these, and is refused by any other.
        let addresses = addresses::addresses().into_iter().map(|address| address.to_string());
        let hosts = addresses.chain(addresses::host_name());
        config.origins.extend(hosts.map(|host| format!("http://{host}:{port}")));
    }
    if let Some(ingress) = site.deployment.ingress() {
        config.proxies.extend(ingress.proxies.iter().cloned());
    }
    config.stale_origins.clone_from(&facts.managed_origins);
    config.stale_proxies.clone_from(&facts.managed_proxies);
    config.last_model.clone_from(&facts.managed_model);
    Ok(config)
}

pub(super) const START: StepDef = StepDef {
    name: "start",
    says: |c| format!("start the gateway on port {}", c.deployment.facts.port.unwrap_or_default()),
    event: Some(EventType::StartingApp),
    run: start,
    repeat: Repeat::Always,
};

pub(super) fn start<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move { Ok(begin(c).await?) })
}

/// Starts the gateway.
pub(super) fn begin<'a>(c: &'a mut Context<'_>) -> Rise<'a> {
    Box::pin(async move {
        let site = c.site()?;
        c.target().start(&site, c.work()).await?;
        if let Some(learned) = c.target().learned(&site).await? {
            learn(c, learned)?;
        }
        Ok(StepEnd::NOTHING)
    })
}

/// Takes over what the configuration turned out to be, and says what the user should know of it.
fn learn(c: &mut Context<'_>, learned: Learned) -> Result<(), Failure> {
    let Learned { plugins, model, notices } = learned;
    for notice in &notices {
        c.sink.progress().note(notice);
    }
    let managed = managed(&c.site()?)?.model;
    c.change_facts(|facts| {
        facts.plugins = plugins;
        facts.managed_model = managed.filter(|it| model.as_ref() == Some(it));
        facts.model = model;
    })
}

pub(super) const STOP: StepDef = StepDef {
    name: "stop",
    says: |_| "let the gateway drain and stop it".into(),
    event: None,
    run: stop,
    repeat: Repeat::Never,
};

pub(super) fn stop<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let site = c.site()?;
        stop_at(c, &site).await
    })
}

pub(super) fn stop_at<'a>(c: &'a Context<'_>, site: &'a Site) -> Step<'a> {
    Box::pin(async move {
        c.target().stop(site, c.work()).await?;
        // A keeper that only watches for browsers has nothing to watch now.
        keeper::stop(&site.layout, &site.deployment.name).await?;
        Ok(StepEnd::NOTHING)
    })
}

pub(super) const PROVE: StepDef = StepDef {
    name: "prove",
    says: |c| match c.deployment.url() {
        Some(url) => format!("prove the gateway at {url}"),
        None => "prove the gateway".into(),
    },
    event: Some(EventType::HealthCheck),
    run: prove,
    repeat: Repeat::Always,
};

pub(super) fn prove<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move { Ok(prove_begun(c).await?) })
}

/// Proves the gateway that was started.
pub(super) fn prove_begun<'a>(c: &'a mut Context<'_>) -> Rise<'a> {
    Box::pin(async move {
        tunnel::follow(c).await?;
        let site = c.site()?;
        let proof =
            prove_site(c.target(), &site, PROVE_DEADLINE, c.sink.progress(), &c.cancel).await?;
        tunnel::announce(c)?;
        c.change_facts(|facts| {
            facts.proven_at = Some(now());
            // Its own word, which goes into messages and events: a version, or nothing.
            let version = proof.server_version.as_deref().and_then(OpenClawVersion::parse);
            if let Some(version) = version {
                facts.gateway_version = Some(version.to_string());
            }
        })?;
        // Who watched for browsers went with the gateway that was stopped.
        let window = approval::window_now(c.store, &c.deployment)?;
        if window.is_some_and(|(state, _)| approval::is_worth_watching(state)) {
            c.watcher.watch(c.target(), &site).await?;
        }
        Ok(StepEnd::Done(json!({
            "version": c.deployment.facts.gateway_version,
            "protocol": proof.protocol,
            "took_ms": u64::try_from(proof.elapsed.as_millis()).unwrap_or(u64::MAX),
        })))
    })
}

/// Starts the gateway and proves it.
pub(super) fn begin_and_prove<'a>(c: &'a mut Context<'_>) -> Rise<'a> {
    Box::pin(async move {
        begin(c).await?;
        prove_begun(c).await
    })
}

/// Proves a deployment's route, or says why it cannot be: the gateway's own words when it crashes
/// on its way, or that something else has its port.
pub async fn prove_site(
    target: &dyn Target,
    site: &Site,
    within: Duration,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Result<Proof, NotUp> {
    let route = Route {
        host_header: site.host_header()?,
        origin: site.origin()?,
        token: site.secrets.token.clone(),
        expected_model: expected_model(site),
        refused_patience: tunnel::refused_patience(site),
        reach_patience: tunnel::reach_patience(site),
        accept_unlisted_model: false,
    };
    let (way, loopback) = (target.route(site)?, target.loopback(site)?);
    let deadline = Instant::now() + within;
    let mut last = String::new();
    let proof = prove_route(&*way, Some(&*loopback), &route, deadline, |said| {
        if said != last {
            said.clone_into(&mut last);
            progress.amount(0, 0, said);
        }
    });
    tokio::select! {
        proof = proof => match proof {
            Ok(proof) => Ok(proof),
            Err(error) => Err(unproven(target, site, &error).await.into()),
        },
        failure = crashed(target, site, progress) => Err(failure.into()),
        why = displaced(target, site) => Err(why),
        () = cancel.cancelled() => {
            Err(Failure::interrupted().into())
        }
    }
}

/// Why it is not proven, and what to do.
async fn unproven(target: &dyn Target, site: &Site, error: &ProveError) -> Failure {
    let remedy = match site.deployment.ingress() {
        Some(_) if error.is_for_proxy() => unknown_proxy(target, site).await,
        _ => error.remedy().to_owned(),
    };
    Failure::failed(site.scrub(&error.to_string(), 500)).remedy(remedy)
}

/// What to do where the gateway was not told of the proxy that leads to it.
async fn unknown_proxy(target: &dyn Target, site: &Site) -> String {
    let log = target.log_tail(site).await.unwrap_or_default();
    let from = match cause::proxy_of_log(&log) {
        Some(address) => format!("comes from {address}: name that"),
        None => "is unknown to the gateway: name its addresses".to_owned(),
    };
    format!("what leads there {from} in OPENCLAW_PIPELINE_INGRESS_PROXIES; then launch it again")
}

/// The model that has to be available: the one that the configuration names, where its provider's
/// key was given, or stands in the user's own file. Without a key, and where the key works only
/// with a plugin, it cannot be.
fn expected_model(site: &Site) -> Option<String> {
    let (spec, facts) = (&site.deployment.spec, &site.deployment.facts);
    let named = facts.model.as_ref().filter(|_| !spec.model_is_chosen);
    let model = named.or(spec.model.as_ref())?.clone();
    let provider = model::provider_of(&model)?;
    let own = site.secrets.user_config.as_ref();
    if own.is_some_and(|text| rendering::brings_provider(text.expose(), provider)) {
        return Some(model);
    }
    let given = site.secrets.credentials.iter().any(|(variable, _)| {
        Credential::by_variable(variable).is_some_and(|credential| {
            credential.provider.id() == provider && credential.provider.plugin().is_none()
        })
    });
    given.then_some(model)
}

/// Waits until something else has the port of a starting gateway. Never ends when nothing has.
async fn displaced(target: &dyn Target, site: &Site) -> NotUp {
    let mut strangers = 0;
    while strangers < STRANGERS {
        wait::back_off(LOOK_EVERY).await;
        let seen = target.lost_port(site).await.unwrap_or(false);
        strangers = if seen { strangers + 1 } else { 0 };
    }
    NotUp::port_taken(site)
}

pub(super) const OPEN_WINDOW: StepDef = StepDef {
    name: "open_window",
    says: |c| {
        let policy = &c.deployment.spec.approval;
        // It opens once in a deployment's life.
        if policy.mode != ApprovalMode::Off
            && matches!(c.store.window(&c.deployment.id), Ok(Some(_)))
        {
            return "leave the approval window as it is: it opened at the first launch".into();
        }
        match policy.mode {
            ApprovalMode::Auto => format!(
                "let up to {} of your browsers in during the next {}",
                policy.devices,
                minutes(policy.window_s)
            ),
            ApprovalMode::Ask => format!("watch for browsers for {}", minutes(policy.window_s)),
            ApprovalMode::Off => "leave browsers to you".into(),
        }
    },
    event: None,
    run: open_window,
    repeat: Repeat::Never,
};

fn open_window<'a>(c: &'a mut Context<'_>) -> Step<'a> {
    Box::pin(async move {
        let policy = c.deployment.spec.approval.clone();
        if policy.mode == ApprovalMode::Off {
            return Ok(StepEnd::Skipped("automatic approval is off".into()));
        }
        let opened_s = i64::try_from(crate::exec::boottime().as_secs()).unwrap_or(i64::MAX);
        let window = Window {
            boot_id: crate::exec::boot_id()?,
            opened_s,
            deadline_s: opened_s.saturating_add(i64::from(policy.window_s)),
            remaining: policy.devices,
        };
        // It opens once: a second launch of the same deployment does not lengthen it.
        let opened = c.store.open_window(&c.deployment.id, &window)?;
        let site = c.site()?;
        c.watcher.watch(c.target(), &site).await?;
        Ok(StepEnd::Done(json!({ "opened": opened })))
    })
}

fn minutes(seconds: u32) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} minutes"),
        (minutes, seconds) => format!("{minutes} minutes {seconds} s"),
    }
}

/// The sentence of a proven gateway.
pub(super) fn works_at(c: &Context<'_>, did: &str) -> String {
    let version = c.deployment.facts.gateway_version.as_deref().unwrap_or("of unknown version");
    match c.deployment.url() {
        Some(url) => format!("{} {did}: OpenClaw {version} works at {url}", c.deployment.name),
        None => format!("{} {did}", c.deployment.name),
    }
}

/// Nothing to hand on.
pub(super) fn nothing() -> Result<StepEnd, Failure> {
    Ok(StepEnd::Done(Value::Null))
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
