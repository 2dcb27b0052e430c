//! What is wrong with this machine or a deployment, and what to do about it.
//!
//! Owns the examination. Every finding names what was looked at; a problem names its remedy.
//! Changes nothing. The machine has a file of its own.

mod machine;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::App;
use crate::config::Settings;
use crate::domain::{Deployment, DeploymentName, DeploymentStatus, Failure, TargetKind};
use crate::gateway::prove::{Route, prove};
use crate::gateway::{ConnectOptions, GatewayClient};
use crate::operations::approval;
use crate::targets::{Observed, Site, process, rendering};

/// How long the proof of a gateway that should be up may take.
const PROVE_WITHIN: Duration = Duration::from_secs(20);
/// How long the gateway's own command may take: it costs a start of Node.js.
const ASK_WITHIN: Duration = Duration::from_secs(60);

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing fails by it.
    Note,
    /// Something does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// How it is.
    pub verdict: Verdict,
    /// What was looked at.
    pub what: String,
    /// What was seen.
    pub seen: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(what: &str, seen: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, what: what.into(), seen: seen.into(), remedy: None }
    }

    fn from(verdict: Verdict, what: &str, failure: Failure) -> Self {
        Self { verdict, what: what.into(), seen: failure.message, remedy: failure.remedy }
    }

    /// Whether something does not work.
    pub fn is_problem(&self) -> bool {
        self.verdict == Verdict::Problem
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Ok => "ok     ",
            Verdict::Note => "note   ",
            Verdict::Problem => "PROBLEM",
        };
        write!(f, "{mark}  {:<12} {}", self.what, self.seen)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n                      to do: {remedy}"),
            None => Ok(()),
        }
    }
}

/// Examines the machine, and every deployment or the one named.
pub async fn examine(
    settings: &Settings,
    name: Option<&DeploymentName>,
) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    if let Some(failure) = settings.broken() {
        findings.push(Finding::from(Verdict::Problem, "settings", failure.clone()));
    }
    for (variable, failure) in settings.problems() {
        findings.push(Finding::from(Verdict::Problem, variable.name(), failure));
    }
    let app = match App::open(settings) {
        Ok(app) => app,
        Err(failure) => {
            findings.push(Finding::from(Verdict::Problem, "data", failure));
            return Ok(findings);
        }
    };
    findings.extend(machine::examine(&app).await?);
    let deployments = match name {
        Some(name) => vec![app.deployment(name)?],
        None => app.store().deployments(false)?,
    };
    for deployment in deployments {
        // One that cannot be looked at must not hide what the others lack.
        match examined(&app, &deployment).await {
            Ok(found) => findings.extend(found),
            Err(failure) => {
                findings.push(Finding::from(Verdict::Problem, deployment.name.as_str(), failure));
            }
        }
    }
    Ok(findings)
}

async fn examined(app: &App, deployment: &Deployment) -> Result<Vec<Finding>, Failure> {
    let name = &deployment.name;
    let site = app.engine().site(deployment).map_err(|failure| {
        let remedy =
            format!("openclaw-pipeline destroy {name}, then launch it again; its backups stay");
        failure.context("its secrets cannot be read").remedy(remedy)
    })?;
    gateway(app, &site).await
}

async fn gateway(app: &App, site: &Site) -> Result<Vec<Finding>, Failure> {
    let name = site.deployment.name.as_str();
    let problem = |failure| Finding::from(Verdict::Problem, name, failure);
    let mut findings = Vec::new();
    if let Some(operation) = app.store().active_operation(&site.deployment.name)?
        && app.is_interrupted(&site.deployment)?
    {
        findings.push(problem(
            Failure::failed(format!("its {} was interrupted", operation.kind))
                .remedy(format!("openclaw-pipeline operations resume {}", operation.id)),
        ));
    }
    if site.deployment.status == DeploymentStatus::Stopped {
        findings.push(Finding::ok(name, "stopped on request"));
        let taken = taken(site);
        findings.extend(taken.map(|failure| Finding::from(Verdict::Note, name, failure)));
        return Ok(findings);
    }
    if site.deployment.name.is_server() {
        findings.push(match app.server_answers(&site.deployment).await {
            Some(true) => Finding::ok(name, "the pipeline server takes work"),
            _ => problem(last_failure(app, site)?.unwrap_or_else(|| {
                Failure::failed("the pipeline server does not answer")
                    .remedy("openclaw-pipeline server logs shows what it said")
            })),
        });
        return Ok(findings);
    }
    if site.deployment.name.is_cluster() {
        findings.push(match app.cluster_answers(&site.deployment).await {
            Ok(Some(())) => Finding::ok(name, "the cluster's API answers"),
            Ok(None) => problem(last_failure(app, site)?.unwrap_or_else(|| {
                Failure::failed("the cluster's API takes no calls just now, or it was never made")
                    .remedy("try again in a minute; openclaw-pipeline cluster apply makes it")
            })),
            Err(failure) => problem(last_failure(app, site)?.unwrap_or(failure)),
        });
        return Ok(findings);
    }
    let observed = app.target(site).observe(site).await;
    let start = format!("openclaw-pipeline start {name}");
    let absent = matches!(observed, Ok(Observed::Absent | Observed::Stopped));
    findings.push(match observed {
        Err(failure) => problem(failure),
        Ok(Observed::Running) => {
            findings.extend(running(app, site).await?);
            return Ok(findings);
        }
        // What did not come up was stopped or never made; why is what its owner asks.
        Ok(seen @ (Observed::Absent | Observed::Stopped)) => {
            problem(match (last_failure(app, site)?, seen) {
                (Some(failure), _) => failure,
                (None, Observed::Absent) => Failure::failed("nothing of it is there")
                    .remedy(format!("openclaw-pipeline launch {name} makes it again")),
                (None, _) => Failure::failed("it was stopped by something else").remedy(start),
            })
        }
        Ok(Observed::Mending { cause }) => Finding::from(
            Verdict::Note,
            name,
            Failure::failed(format!(
                "it exited with 78, and its own doctor is at work: {}",
                site.scrub(&cause, 400)
            ))
            .remedy(format!("look again in a minute: openclaw-pipeline doctor {name}")),
        ),
        Ok(Observed::Held { cause }) => {
            let again = after_mending(site.deployment.spec.target, name);
            problem(
                Failure::failed(format!(
                    "it exited with 78 and is held: {}",
                    site.scrub(&cause, 400)
                ))
                .remedy(format!(
                    "mend its state: openclaw-pipeline openclaw {name} -- doctor --fix; then \
                     {again}"
                )),
            )
        }
        Ok(Observed::Stuck { cause, remedy }) => {
            problem(Failure::failed(site.scrub(&cause, 400)).remedy(remedy))
        }
        Ok(Observed::Crashed { code, cause }) => {
            let code = code.map_or_else(String::new, |code| format!(" (exit code {code})"));
            problem(
                Failure::failed(format!("it does not stay up{code}: {}", site.scrub(&cause, 400)))
                    .remedy(remedy_for(&cause, name)),
            )
        }
    });
    if absent && let Some(failure) = taken(site) {
        findings.push(problem(failure));
    }
    Ok(findings)
}

/// What brings a gateway up that was held and is mended. A held container runs, so that its state
/// can be mended in place: starting it again would change nothing.
fn after_mending(target: TargetKind, name: &str) -> String {
    match target {
        TargetKind::Docker | TargetKind::Ec2 | TargetKind::Lightsail | TargetKind::Eks => {
            format!("openclaw-pipeline restart {name}")
        }
        TargetKind::Process => format!("openclaw-pipeline start {name}"),
    }
}

/// What keeps a gateway that does not run from being started: something else on its port.
fn taken(site: &Site) -> Option<Failure> {
    let deployment = &site.deployment;
    if deployment.spec.target.has_own_address() {
        return None;
    }
    let (address, port) = (deployment.spec.bind, deployment.facts.port.or(deployment.spec.port)?);
    let error = std::net::TcpListener::bind((address, port)).err()?;
    (error.kind() == std::io::ErrorKind::AddrInUse).then(|| {
        Failure::conflict(format!("something else listens on its port, {port} on {address}"))
            .remedy(format!(
                "end what listens there (ss -ltnp 'sport = :{port}' shows it), or move it: \
                 GATEWAY_PORT=… openclaw-pipeline launch {}",
                deployment.name
            ))
    })
}

/// Why a failed deployment is one: its last operation's failure.
fn last_failure(app: &App, site: &Site) -> Result<Option<Failure>, Failure> {
    if site.deployment.status != DeploymentStatus::Failed {
        return Ok(None);
    }
    let last = app.store().operations(Some(&site.deployment.name), 1)?.into_iter().next();
    Ok(last.and_then(|last| {
        let failure = last.error?;
        Some(failure.context(format!("its {} failed", last.kind)))
    }))
}

/// What to do about a crash, by the gateway's own words.
fn remedy_for(cause: &str, name: &str) -> String {
    let lower = cause.to_lowercase();
    let start = format!("then openclaw-pipeline start {name}");
    if lower.contains("eaddrinuse")
        || lower.contains("already in use")
        || lower.contains("already listening")
    {
        format!("end what listens on its port, or launch it with another GATEWAY_PORT; {start}")
    } else if lower.contains("enospc")
        || lower.contains("no space")
        || lower.contains("disk is full")
    {
        format!("free some disk space; {start}")
    } else if lower.contains("schema") {
        format!(
            "its state was written by a newer version: openclaw-pipeline update {name}, or restore a backup"
        )
    } else if lower.contains("invalid config")
        || lower.contains("gateway.mode")
        || lower.contains("unrecognized")
    {
        format!(
            "mend its openclaw.json: openclaw-pipeline openclaw {name} -- config validate says where; {start}"
        )
    } else if lower.contains("memory") {
        format!("give it more memory: openclaw-pipeline launch {name} --memory 4g")
    } else {
        format!("the log says more: openclaw-pipeline logs {name}; {start}")
    }
}

/// The origins that the program wrote into the gateway's configuration, and that are not there
/// any more. On loopback the gateway lets its own page in all the same, so the proof does not
/// show it.
async fn stale_origins(app: &App, site: &Site) -> Result<Vec<String>, Failure> {
    let origins = match site.deployment.spec.target {
        TargetKind::Process => {
            let text = std::fs::read_to_string(process::config_path(site))?;
            let config = rendering::parse(&text)?;
            config.pointer("/gateway/controlUi/allowedOrigins").cloned().unwrap_or_default()
        }
        TargetKind::Docker | TargetKind::Ec2 | TargetKind::Lightsail | TargetKind::Eks => {
            let args = ["config", "get", "gateway.controlUi.allowedOrigins", "--json"];
            let mut cmd = app.target(site).openclaw(site, &args, false).await?;
            let output = cmd.deadline(ASK_WITHIN).output().await?;
            let printed = output.stdout.find('[').map_or("", |begin| &output.stdout[begin..]);
            serde_json::from_str(printed.trim()).map_err(|_| {
                Failure::failed(format!(
                    "openclaw config get: {}",
                    site.scrub(&output.last_line(), 200)
                ))
            })?
        }
    };
    let listed: Vec<&str> =
        origins.as_array().into_iter().flatten().filter_map(|it| it.as_str()).collect();
    let managed = site.deployment.facts.managed_origins.iter();
    let stale = managed.filter(|origin| !listed.iter().any(|it| it == origin || *it == "*"));
    Ok(stale.cloned().collect())
}

/// Whether its cluster keeps it from what its network policy forbids, as far as a pod found that out.
fn policies(site: &Site) -> Option<Finding> {
    let name = site.deployment.name.as_str();
    if site.deployment.facts.cluster.as_ref()?.enforces_policies? {
        return Some(Finding::ok(name, "its cluster enforces network policies"));
    }
    Some(Finding::from(
        Verdict::Note,
        name,
        Failure::failed(
            "its cluster does not enforce network policies: the gateway reaches whatever its node \
             reaches",
        )
        .remedy("switch them on in the cluster's network: docs/kubernetes.md says how"),
    ))
}

/// A gateway whose process runs: whether it works by the user's route.
async fn running(app: &App, site: &Site) -> Result<Vec<Finding>, Failure> {
    let name = site.deployment.name.as_str();
    let target = app.target(site);
    let route = Route {
        host_header: site.host_header()?,
        origin: site.origin()?,
        token: site.secrets.token.clone(),
        expected_model: None,
        refused_patience: Duration::ZERO,
        reach_patience: PROVE_WITHIN,
        accept_unlisted_model: true,
    };
    let mut findings = Vec::new();
    let deadline = tokio::time::Instant::now() + PROVE_WITHIN;
    let way = target.route(site)?;
    match prove(&*way, None, &route, deadline, |_| {}).await {
        Ok(proof) => findings.push(Finding::ok(
            name,
            format!(
                "OpenClaw {} works at {}",
                proof.server_version.unwrap_or_default(),
                site.deployment.url().unwrap_or_default()
            ),
        )),
        Err(error) => findings.push(Finding::from(
            Verdict::Problem,
            name,
            Failure::failed(site.scrub(&error.to_string(), 400)).remedy(format!(
                "{} openclaw-pipeline restart {name} writes the managed settings again.",
                error.remedy()
            )),
        )),
    }
    findings.extend(policies(site));
    if let Some(clusters) = target.clusters() {
        let worries = clusters.worries(site).await.unwrap_or_else(|failure| vec![failure]);
        findings.extend(worries.into_iter().map(|it| Finding::from(Verdict::Note, name, it)));
    }
    match stale_origins(app, site).await {
        Ok(stale) if stale.is_empty() => {}
        Ok(stale) => findings.push(Finding::from(
            Verdict::Problem,
            name,
            Failure::failed(format!(
                "its configuration does not let the page at {} in: the list of origins is stale",
                stale.join(" and ")
            ))
            .remedy(format!(
                "openclaw-pipeline restart {name} writes gateway.controlUi.allowedOrigins again"
            )),
        )),
        Err(failure) => findings.push(Finding::from(
            Verdict::Note,
            name,
            failure.context("its configuration cannot be looked at"),
        )),
    }
    // The loopback may be reached another way (a relay into the container): look at that too.
    if site.deployment.spec.target.runs_image() {
        let dial = target.loopback(site)?;
        let options = ConnectOptions::new(site.secrets.token.clone(), "127.0.0.1", deadline);
        let connected = match dial.dial().await {
            Ok(stream) => GatewayClient::connect(stream, &options).await.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = connected {
            findings.push(Finding::from(
                Verdict::Problem,
                name,
                Failure::failed(format!(
                    "browsers cannot be let in: the relay into the container fails: {}",
                    site.scrub(&error, 300)
                ))
                .remedy(format!("openclaw-pipeline restart {name}")),
            ));
        }
    }
    if let Some((state, left)) = approval::window_now(app.store(), &site.deployment)?
        && approval::is_worth_watching(state)
    {
        findings.push(Finding::ok(
            name,
            format!("its approval window is open for {} s more", left.as_secs()),
        ));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_container_is_restarted() {
        assert_eq!(after_mending(TargetKind::Docker, "box"), "openclaw-pipeline restart box");
        assert_eq!(after_mending(TargetKind::Process, "box"), "openclaw-pipeline start box");
    }
}
