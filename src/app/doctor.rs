//! What is wrong with this machine or a deployment, and what to do about it.
//!
//! Owns the examination. Every finding names what was looked at; a problem names its remedy.
//! Changes nothing.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::App;
use crate::config::Settings;
use crate::domain::{DeploymentName, DeploymentStatus, Failure, TargetKind};
use crate::exec::{Cmd, free_bytes};
use crate::gateway::prove::{Route, prove};
use crate::gateway::{ConnectOptions, GatewayClient};
use crate::operations::approval;
use crate::targets::{Observed, Site, process};

/// Less free space than this is a problem, in bytes.
const FLOOR_BYTES: u64 = 1 << 30;
/// How long the proof of a gateway that should be up may take.
const PROVE_WITHIN: Duration = Duration::from_secs(20);

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
    findings.extend(machine(&app).await?);
    let deployments = match name {
        Some(name) => vec![app.deployment(name)?],
        None => app.store().deployments(false)?,
    };
    for deployment in deployments {
        let site = app.engine().site(&deployment)?;
        findings.extend(gateway(&app, &site).await?);
    }
    Ok(findings)
}

async fn machine(app: &App) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let home = app.layout().home();
    let free = free_bytes(home)?;
    findings.push(if free < FLOOR_BYTES {
        Finding::from(
            Verdict::Problem,
            "disk",
            Failure::failed(format!("{} has {} MiB free", home.display(), free >> 20))
                .remedy("free some space: gateways stop working on a full disk"),
        )
    } else {
        Finding::ok("disk", format!("{} MiB free in {}", free >> 20, home.display()))
    });
    let docker = app.engine().targets().docker().usable().await;
    let npm = process::npm_version().await;
    // Either target is enough, so the lack of one is worth a note and the lack of both a problem.
    let lacking = |other: bool| if other { Verdict::Note } else { Verdict::Problem };
    let (has_docker, has_npm) = (docker.is_ok(), npm.is_ok());
    findings.push(match docker {
        Ok(()) => Finding::ok("docker", "an engine answers"),
        Err(failure) => Finding::from(lacking(has_npm), "docker", failure),
    });
    findings.push(match npm {
        Ok(version) => Finding::ok("npm", version),
        Err(failure) => Finding::from(lacking(has_docker), "npm", failure),
    });
    findings.push(match Cmd::new("node").arg("--version").output().await {
        Ok(output) if output.success() => Finding::ok(
            "node",
            format!(
                "{} (gateways run on their own {})",
                output.stdout.trim(),
                crate::assets::NODE_VERSION
            ),
        ),
        _ => Finding::from(
            Verdict::Note,
            "node",
            Failure::failed("this machine has no node in PATH; npm needs one to run")
                .remedy("install Node.js; gateways themselves run on one of their own"),
        ),
    });
    Ok(findings)
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
        return Ok(findings);
    }
    let observed = app.target(site).observe(site).await;
    let start = format!("openclaw-pipeline start {name}");
    findings.push(match observed {
        Err(failure) => problem(failure),
        Ok(Observed::Running) => {
            findings.extend(running(app, site).await?);
            return Ok(findings);
        }
        Ok(Observed::Absent) => problem(
            Failure::failed("nothing of it is there").remedy("openclaw-pipeline launch makes it again"),
        ),
        Ok(Observed::Stopped) => problem(match last_failure(app, site)? {
            // What did not come up was stopped; why it did not is what its owner asks.
            Some(failure) => failure,
            None => Failure::failed("it was stopped by something else").remedy(start),
        }),
        Ok(Observed::Mending { cause }) => Finding::from(
            Verdict::Note,
            name,
            Failure::failed(format!(
                "it exited with 78, and its own doctor is at work: {}",
                site.scrub(&cause, 400)
            ))
            .remedy(format!("look again in a minute: openclaw-pipeline doctor {name}")),
        ),
        Ok(Observed::Held { cause }) => problem(
            Failure::failed(format!("it exited with 78 and is held: {}", site.scrub(&cause, 400)))
                .remedy(format!("mend its state: openclaw-pipeline openclaw {name} -- doctor --fix; then {start}")),
        ),
        Ok(Observed::Crashed { code, cause }) => {
            let code = code.map_or_else(String::new, |code| format!(" (exit code {code})"));
            problem(
                Failure::failed(format!(
                    "it does not stay up{code}: {}",
                    site.scrub(&cause, 400)
                ))
                .remedy(remedy_for(&cause, name)),
            )
        }
    });
    Ok(findings)
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

/// A gateway whose process runs: whether it works by the user's route.
async fn running(app: &App, site: &Site) -> Result<Vec<Finding>, Failure> {
    let name = site.deployment.name.as_str();
    let target = app.target(site);
    let route = Route {
        host_header: site.host_header()?,
        origin: site.origin()?,
        token: site.secrets.token.clone(),
        expected_model: None,
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
    // The loopback may be reached another way (a relay into the container): look at that too.
    if site.deployment.spec.target == TargetKind::Docker {
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
