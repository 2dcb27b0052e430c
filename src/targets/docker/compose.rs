//! The compose project of a deployment.
//!
//! Owns finding `docker compose` or `docker-compose`, and what is written for it. The shipped file
//! is used as it is; a second file names the variables to hand over, and their values travel in
//! the child's environment, so no file holds a secret and no value is interpolated.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::json;

use super::super::site::Site;
use super::super::{Work, process};
use super::container;
use super::engine::{SETTINGS, docker, failure};
use crate::assets;
use crate::domain::{Failure, FailureKind};
use crate::exec::Cmd;
use crate::secrets::private::create_private_directory;

/// Which of the two there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compose {
    /// `docker compose`.
    Plugin,
    /// `docker-compose`.
    Standalone,
}

impl Compose {
    /// Finds one; the plugin first.
    pub(super) async fn find() -> Result<Self, Failure> {
        for compose in [Self::Plugin, Self::Standalone] {
            let mut cmd = compose.command();
            let output = cmd.args(["version", "--short"]).deadline(Duration::from_secs(20));
            if output.output().await.is_ok_and(|output| output.success()) {
                return Ok(compose);
            }
        }
        Err(Failure::prerequisite("neither docker compose nor docker-compose is installed").remedy(
            "install the compose plugin (Debian: apt-get install docker-compose), or use the \
             process target: --target process",
        ))
    }

    fn command(self) -> Cmd {
        match self {
            Self::Plugin => {
                let mut cmd = docker();
                cmd.arg("compose");
                cmd
            }
            Self::Standalone => {
                let mut cmd = Cmd::new("docker-compose");
                cmd.allow(&SETTINGS);
                cmd
            }
        }
    }

    /// Makes the project's volumes, network and container without starting it. A container that
    /// is as it should be is left alone.
    pub(super) async fn create(self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let dir = site.dir();
        create_private_directory(&dir)?;
        fs::write(dir.join("docker-compose.yml"), assets::DOCKER_COMPOSE)?;
        fs::write(dir.join("variables.yml"), variables(site))?;
        let spec = &site.deployment.spec;
        let image = site.deployment.facts.artefact.clone().ok_or_else(|| {
            Failure::failed("the image was not fetched").remedy("launch it again")
        })?;
        let mut cmd = self.command();
        cmd.args(["-p", &container(site), "-f", "docker-compose.yml", "-f", "variables.yml"])
            .args(["up", "--no-start", "openclaw-gateway"])
            .cwd(&dir)
            .env("OPENCLAW_CONTAINER", container(site))
            .env("OPENCLAW_PIPELINE_IMAGE", image)
            .env("GATEWAY_BIND", spec.bind.to_string())
            .env("GATEWAY_PORT", site.port()?.to_string())
            .env("OPENCLAW_MEMORY_MIB", spec.memory_mib.to_string())
            .env("OPENCLAW_HEAP_MIB", process::heap_mib(spec.memory_mib).to_string())
            .secret_env("OPENCLAW_GATEWAY_TOKEN", &site.secrets.token)
            .deadline(Duration::from_secs(120))
            .cancel_on(work.cancel)
            .hold(work.lock)?;
        for (name, value) in site.gateway_env() {
            cmd.secret_env(name, &value);
        }
        let output = cmd.output().await?;
        if output.success() { Ok(()) } else { Err(create_failure(site, &output)) }
    }
}

/// The second compose file: the variables' names, and the labels that say whose it is.
fn variables(site: &Site) -> String {
    let names: BTreeMap<String, serde_json::Value> =
        site.gateway_env().into_iter().map(|(name, _)| (name, serde_json::Value::Null)).collect();
    let labels = json!({
        "io.openclaw.pipeline.deployment": site.deployment.name,
        "io.openclaw.pipeline.id": site.deployment.id,
    });
    // JSON is YAML; nothing here needs quoting rules of its own.
    json!({ "services": { "openclaw-gateway": { "environment": names, "labels": labels } } })
        .to_string()
}

fn create_failure(site: &Site, output: &crate::exec::Output) -> Failure {
    let said = output.stderr.to_lowercase();
    if said.contains("is already in use by container") {
        return Failure::new(
            FailureKind::Conflict,
            format!("a container {} is there that is not this deployment's", container(site)),
        )
        .remedy("remove or rename it, or launch under another name");
    }
    failure(output)
}

/// What a project consists of: how it is listed and how it is removed, in this order.
const KINDS: [(&str, &[&str], &[&str]); 3] = [
    ("container", &["container", "ls", "-aq", "--filter"], &["container", "rm", "-f"]),
    ("volume", &["volume", "ls", "-q", "--filter"], &["volume", "rm"]),
    ("network", &["network", "ls", "-q", "--filter"], &["network", "rm"]),
];

/// Removes the project's container, volumes and networks; says what it removed. By label, so that
/// it also works when the compose file, or compose itself, is gone.
pub(super) async fn remove(site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
    let label = format!("label=com.docker.compose.project={}", container(site));
    let mut removed = Vec::new();
    for (kind, list, delete) in KINDS {
        let listed = docker().args(list).arg(&label).output().await?;
        if !listed.success() {
            return Err(failure(&listed));
        }
        for id in listed.stdout.split_whitespace() {
            let output = docker()
                .args(delete)
                .arg(id)
                .hold(work.lock)?
                .cancel_on(work.cancel)
                .deadline(Duration::from_secs(120))
                .output()
                .await?;
            if !output.success() {
                return Err(failure(&output));
            }
            removed.push(format!("the {kind} {id}"));
        }
    }
    Ok(removed)
}
