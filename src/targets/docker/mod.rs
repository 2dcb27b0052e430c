//! The `docker` target: a gateway in a container of this machine's Docker engine.
//!
//! Owns a compose project for each deployment: its container, volumes and network. Refuses to
//! touch what does not carry the deployment's own label.

mod archive;
mod compose;
mod config;
mod engine;
mod image;
mod relay;

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::rendering::{self, Bind, ManagedConfig};
use super::site::Site;
use super::{Artefact, LogOptions, Observed, Placed, Target, Work};
use crate::domain::{Failure, TargetKind};
use crate::exec::Cmd;
use crate::gateway::Dial;

pub use engine::{SETTINGS, docker};

/// The gateway's port inside its container.
pub const CONTAINER_PORT: u16 = 18789;
/// Where the gateway keeps its state inside its container.
const STATE: &str = "/home/node/.openclaw";
/// Where the workspace lies inside its container.
const WORKSPACE: &str = "/home/node/openclaw/workspace";
/// What the start command logs when it holds a container after exit 78.
const HELD_MARK: &str = "openclaw-pipeline: held after exit 78";
/// How long the engine may take to stop a container: the drain's 330 s, and some.
const STOP_DEADLINE: Duration = Duration::from_secs(360);

/// The target.
#[derive(Debug, Default)]
pub struct DockerTarget {
    compose: tokio::sync::OnceCell<compose::Compose>,
}

impl DockerTarget {
    /// The target of this machine's engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether an engine answers, in words when not.
    pub async fn usable(&self) -> Result<(), Failure> {
        engine::require().await
    }

    /// Whether an image is here, or can be pulled, in words when not.
    pub async fn available(&self, image: &str) -> Result<(), Failure> {
        self.compose().await?;
        match image::present(image).await? {
            Some(_) => Ok(()),
            None => image::can_be_pulled(image).await,
        }
    }

    async fn compose(&self) -> Result<&compose::Compose, Failure> {
        self.compose.get_or_try_init(compose::Compose::find).await
    }
}

/// The name of a deployment's container, and of its compose project.
pub fn container(site: &Site) -> String {
    format!("openclaw-{}", site.deployment.name)
}

/// What the engine says of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    exit_code: i32,
    #[serde(rename = "OOMKilled", default)]
    oom_killed: bool,
    #[serde(default)]
    error: String,
}

async fn state(site: &Site) -> Result<Option<State>, Failure> {
    let output = docker()
        .args(["container", "inspect", "--format", "{{json .State}}", &container(site)])
        .output()
        .await?;
    if !output.success() {
        return if output.stderr.to_lowercase().contains("no such container") {
            Ok(None)
        } else {
            Err(engine::failure(&output))
        };
    }
    serde_json::from_str(output.stdout.trim())
        .map(Some)
        .map_err(|error| Failure::failed(format!("docker inspect answered nonsense: {error}")))
}

#[async_trait]
impl Target for DockerTarget {
    fn kind(&self) -> TargetKind {
        TargetKind::Docker
    }

    async fn preflight(&self, _site: &Site, _work: Work<'_>) -> Result<(), Failure> {
        let (engine, compose) = tokio::join!(engine::require(), self.compose());
        engine.and(compose.map(drop))
    }

    async fn fetch(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        image::ensure(site, work).await
    }

    async fn place(
        &self,
        site: &Site,
        managed: &ManagedConfig,
        work: Work<'_>,
    ) -> Result<Placed, Failure> {
        self.compose().await?.create(site, work).await?;
        let mut managed = managed.clone();
        managed.bind = Bind::Lan;
        managed.port = CONTAINER_PORT;
        managed.workspace = WORKSPACE.into();
        let in_place = config::read(site).await?;
        let users = site.secrets.user_config.as_ref().map(crate::secrets::Secret::expose);
        let placing = rendering::place(in_place, users, &managed)
            .map_err(|failure| failure.context(config::place(site)))?;
        if let Some(text) = &placing.replaced {
            config::write(site, rendering::REPLACED, text, work).await?;
        }
        if let Some(text) = &placing.text {
            config::write(site, config::FILE, text, work).await?;
        }
        if placing.plugins != site.deployment.facts.plugins {
            // The keys that are handed over depend on the plugins, and a container's environment
            // is that of its making.
            let mut site = site.clone();
            site.deployment.facts.plugins.clone_from(&placing.plugins);
            self.compose().await?.create(&site, work).await?;
        }
        Ok(Placed { notices: placing.notices, plugins: placing.plugins })
    }

    async fn check_configuration(&self, site: &Site) -> Result<(), Failure> {
        // A container that somebody removed is made anew.
        if state(site).await?.is_none() {
            return Ok(());
        }
        let text = config::read(site).await?.unwrap_or_default();
        rendering::parse(&text).map(drop).map_err(|failure| failure.context(config::place(site)))
    }

    async fn start(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let output = docker()
            .args(["container", "start", &container(site)])
            .cancel_on(work.cancel)
            .output()
            .await?;
        if output.success() { Ok(()) } else { Err(start_failure(site, &output)) }
    }

    async fn stop(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        match state(site).await? {
            Some(state) if state.status != "exited" && state.status != "created" => {}
            _ => return Ok(()),
        }
        let output = docker()
            .args(["container", "stop", &container(site)])
            .deadline(STOP_DEADLINE)
            .cancel_on(work.cancel)
            .hold(work.lock)?
            .output()
            .await?;
        if output.success() { Ok(()) } else { Err(engine::failure(&output)) }
    }

    async fn observe(&self, site: &Site) -> Result<Observed, Failure> {
        let Some(state) = state(site).await? else { return Ok(Observed::Absent) };
        if state.oom_killed {
            return Ok(Observed::Crashed {
                code: Some(state.exit_code),
                cause: format!(
                    "it was killed for using more than its {} MiB of memory",
                    site.deployment.spec.memory_mib
                ),
            });
        }
        match state.status.as_str() {
            "running" => {
                let log = self.log_tail(site).await?;
                Ok(if log.lines().rev().take(5).any(|line| line.contains(HELD_MARK)) {
                    Observed::Held { cause: crate::gateway::cause::of_log(&log) }
                } else {
                    Observed::Running
                })
            }
            "created" => Ok(Observed::Stopped),
            "exited" if state.exit_code == 0 || state.exit_code == 143 => Ok(Observed::Stopped),
            _ => {
                let log = self.log_tail(site).await?;
                let cause = if state.error.is_empty() {
                    crate::gateway::cause::of_log(&log)
                } else {
                    state.error
                };
                Ok(Observed::Crashed { code: Some(state.exit_code), cause })
            }
        }
    }

    fn loopback(&self, site: &Site) -> Result<Box<dyn Dial>, Failure> {
        Ok(Box::new(relay::ContainerDial::new(container(site))))
    }

    fn openclaw(&self, site: &Site, args: &[&str], terminal: bool) -> Result<Cmd, Failure> {
        let mut cmd = docker();
        cmd.args(["container", "exec", "-i"]);
        if terminal {
            cmd.arg("-t");
        }
        cmd.arg(container(site)).args(["node", "/app/openclaw.mjs"]).args(args);
        cmd.deadline(Duration::from_secs(300));
        Ok(cmd)
    }

    fn script(&self, site: &Site, script: &str) -> Result<Cmd, Failure> {
        let mut cmd = docker();
        cmd.args(["container", "exec", &container(site), "node", "--input-type=module"]);
        cmd.args(["--eval", script, "/app"]);
        Ok(cmd)
    }

    fn shell(&self, site: &Site) -> Result<Cmd, Failure> {
        let mut cmd = docker();
        cmd.args(["container", "exec", "-it", &container(site)]);
        cmd.args(["sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"]);
        Ok(cmd)
    }

    fn logs(&self, site: &Site, options: LogOptions) -> Result<Cmd, Failure> {
        let mut cmd = docker();
        cmd.args(["container", "logs", "--tail", &options.tail.to_string()]);
        if options.follow {
            cmd.arg("--follow");
        }
        cmd.arg(container(site));
        Ok(cmd)
    }

    async fn log_tail(&self, site: &Site) -> Result<String, Failure> {
        let options = LogOptions { tail: 200, follow: false };
        let output = self.logs(site, options)?.output().await?;
        Ok(format!("{}{}", output.stdout, output.stderr))
    }

    async fn archive(
        &self,
        site: &Site,
        into: &std::path::Path,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        archive::create(site, into, work).await
    }

    async fn restore(
        &self,
        site: &Site,
        from: &std::path::Path,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        archive::restore(site, from, work).await
    }

    async fn remove(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        let removed = compose::remove(site, work).await?;
        match std::fs::remove_dir_all(site.dir()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        Ok(removed)
    }
}

fn start_failure(site: &Site, output: &crate::exec::Output) -> Failure {
    let said = output.stderr.to_lowercase();
    let taken =
        said.contains("port is already allocated") || said.contains("address already in use");
    if !taken {
        return engine::failure(output);
    }
    let port = site.deployment.facts.port.unwrap_or_default();
    Failure::conflict(format!("port {port} on {} is taken", site.deployment.spec.bind)).remedy(
        format!(
            "end what listens there (ss -ltnp 'sport = :{port}' shows it), or choose another \
         GATEWAY_PORT"
        ),
    )
}
