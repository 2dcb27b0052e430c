//! A gateway in a container of a Docker engine, here or on another machine.
//!
//! Owns a compose project for each deployment: its container, volumes and network, and what every
//! operation's steps are there. Refuses to touch what does not carry the deployment's own label.
//! Their names end in a piece of the deployment's id, so that two installations on one engine do
//! not meet.

mod archive;
mod compose;
mod config;
mod engine;
mod image;
mod owner;
mod relay;
mod state;
mod tarball;
mod tunnel;

use std::path::Path;
use std::time::Duration;

use super::rendering::{self, Bind, ManagedConfig};
use super::site::Site;
use super::{Artefact, LogOptions, NotUp, Observed, Placed, Work};
use crate::domain::Failure;
use crate::exec::Cmd;
use crate::gateway::Dial;

pub use engine::{Engine, SETTINGS, failure};
pub(in crate::targets) use owner::ID;
pub use tunnel::{Seen, TUNNEL_ADDRESS, metrics_port};

/// The gateway's port inside its container.
pub const CONTAINER_PORT: u16 = 18789;
/// Where the gateway keeps its state inside its container.
pub(in crate::targets) const STATE: &str = "/home/node/.openclaw";
/// Where the workspace lies inside its container.
pub(in crate::targets) const WORKSPACE: &str = "/home/node/openclaw/workspace";
/// The gateway's own command line inside its container.
const OPENCLAW: [&str; 2] = ["node", "/app/openclaw.mjs"];
/// How many characters of the deployment's id its names end in.
const SUFFIX: usize = 8;
/// How long the engine may take to stop a container: the drain's 330 s, and some.
const STOP_DEADLINE: Duration = Duration::from_secs(360);

/// The name of a deployment's container, and of its compose project. It ends in the end of the
/// deployment's id, which is its random part.
pub fn container(site: &Site) -> String {
    let id: String = site.deployment.id.chars().filter(char::is_ascii_alphanumeric).collect();
    let suffix = &id[id.len().saturating_sub(SUFFIX)..];
    format!("openclaw-{}-{}", site.deployment.name, suffix.to_ascii_lowercase())
}

/// Whether the engine never made anything of the deployment: its image comes first. A launch that
/// failed for want of an engine can be taken back without one.
pub(super) fn was_never_made(site: &Site) -> bool {
    site.deployment.facts.artefact.is_none()
}

impl Engine {
    /// Makes the deployment's image ready to run.
    pub async fn fetch(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        image::ensure(self, site, work).await
    }

    /// The same, and where its tag has moved, what it names today.
    pub async fn fetch_newest(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        image::ensure_newest(self, site, work).await
    }

    /// Makes the container, with its configuration, without starting it.
    pub async fn put_in_place(
        &self,
        site: &Site,
        managed: &ManagedConfig,
        work: Work<'_>,
    ) -> Result<Placed, Failure> {
        let (compose, _, standing) =
            tokio::try_join!(self.compose(), self.cpus(), owner::look(self, site))?;
        let mut managed = managed.clone();
        managed.bind = Bind::Lan;
        managed.port = CONTAINER_PORT;
        managed.workspace = WORKSPACE.into();
        if !standing.container && standing.volumes {
            // What the volumes hold is read through a container.
            compose.create(self, site, work).await?;
        }
        let in_place = if standing.container || standing.volumes {
            config::read(self, site).await?
        } else {
            None
        };
        let users = site.secrets.user_config.as_ref().map(crate::secrets::Secret::expose);
        let placing = rendering::place(in_place, users, &managed)
            .map_err(|failure| failure.context(config::place(site)))?;
        // The keys that are handed over depend on the plugins, and a container's environment is
        // that of its making.
        let mut site = site.clone();
        site.deployment.facts.plugins.clone_from(&placing.plugins);
        compose.create(self, &site, work).await?;
        if let Some(text) = &placing.replaced {
            config::write(self, &site, rendering::REPLACED, text, work).await?;
        }
        if let Some(text) = &placing.text {
            config::write(self, &site, config::FILE, text, work).await?;
        }
        Ok(Placed { notices: placing.notices, plugins: placing.plugins, model: placing.model })
    }

    /// Refuses a configuration in place that cannot be read.
    pub async fn check_configuration(&self, site: &Site) -> Result<(), Failure> {
        // A container that somebody removed is made anew.
        if state::own(self, site).await?.is_none() {
            return Ok(());
        }
        let text = config::read(self, site).await?.unwrap_or_default();
        rendering::parse(&text).map(drop).map_err(|failure| failure.context(config::place(site)))
    }

    /// Starts the container; does nothing when it runs.
    pub async fn start(&self, site: &Site, work: Work<'_>) -> Result<(), NotUp> {
        let state = state::require(self, site).await?;
        if state.takes_commands()
            && matches!(state::meaning(self, site, state).await?, Observed::Held { .. })
        {
            // To the engine a held container runs; starting it would do nothing.
            self.halt(site, work).await?;
        }
        let output = self
            .docker()
            .args(["container", "start", &container(site)])
            .cancel_on(work.cancel)
            .output()
            .await
            .map_err(Failure::from)?;
        if output.success() { Ok(()) } else { Err(start_failure(site, &output)) }
    }

    /// Lets the gateway drain and stops its container.
    pub async fn stop(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        if was_never_made(site) {
            return Ok(());
        }
        match state::own(self, site).await? {
            Some(state) if state.status != "exited" && state.status != "created" => {
                self.halt(site, work).await
            }
            _ => Ok(()),
        }
    }

    /// What is seen of it.
    pub async fn observe(&self, site: &Site) -> Result<Observed, Failure> {
        state::observe(self, site).await
    }

    /// The gateway's own command line, in place.
    pub async fn openclaw(
        &self,
        site: &Site,
        args: &[&str],
        terminal: bool,
    ) -> Result<Cmd, Failure> {
        let args = [&OPENCLAW[..], args].concat();
        let mut cmd = if state::require(self, site).await?.takes_commands() {
            let mut cmd = self.inside(site, terminal);
            cmd.args(args);
            cmd
        } else {
            self.compose().await?.beside(self, site, &args, terminal).await?
        };
        cmd.deadline(Duration::from_secs(300));
        Ok(cmd)
    }

    /// A script for Node.js, in place.
    pub async fn script(&self, site: &Site, script: &str) -> Result<Cmd, Failure> {
        state::require(self, site).await?;
        let mut cmd = self.inside(site, false);
        cmd.args(["node", "--input-type=module", "--eval", script, "/app"]);
        Ok(cmd)
    }

    /// A shell in place.
    pub async fn shell(&self, site: &Site) -> Result<Cmd, Failure> {
        let shell = ["sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"];
        if !state::require(self, site).await?.takes_commands() {
            return self.compose().await?.beside(self, site, &shell, true).await;
        }
        let mut cmd = self.inside(site, true);
        cmd.args(shell);
        Ok(cmd)
    }

    /// A child that prints the log.
    pub async fn logs(&self, site: &Site, options: LogOptions) -> Result<Cmd, Failure> {
        // Not that of somebody else's container of this name.
        state::require(self, site).await?;
        let mut cmd = self.docker();
        cmd.args(["container", "logs", "--tail", &options.tail.to_string()]);
        if options.follow {
            cmd.arg("--follow");
        }
        cmd.arg(container(site));
        Ok(cmd)
    }

    /// The end of what the present run logged.
    pub async fn log_tail(&self, site: &Site) -> Result<String, Failure> {
        state::log_of_run(self, site).await
    }

    /// Makes a verified archive of the state, and copies it to a file here.
    pub async fn archive(&self, site: &Site, into: &Path, work: Work<'_>) -> Result<(), Failure> {
        archive::create(self, site, into, work).await
    }

    /// Puts an archive's state in place of the present one.
    pub async fn restore(&self, site: &Site, from: &Path, work: Work<'_>) -> Result<(), Failure> {
        archive::restore(self, site, from, work).await
    }

    /// Removes superseded images that nobody uses.
    pub async fn prune(&self, superseded: &[String]) -> Result<Vec<String>, Failure> {
        image::prune(self, superseded).await
    }

    /// The gateway's own loopback.
    pub fn loopback(&self, site: &Site) -> Box<dyn Dial> {
        Box::new(relay::ContainerDial::new(self.place().clone(), container(site)))
    }

    /// Whether an image is here, or can be pulled, in words when not.
    pub async fn available(&self, image: &str) -> Result<(), Failure> {
        self.compose().await?;
        match image::present(self, image).await? {
            Some(_) => Ok(()),
            None => image::can_be_pulled(self, image).await,
        }
    }

    /// Fails, with a remedy, unless the engine and compose can be used.
    pub async fn preflight(&self) -> Result<(), Failure> {
        self.checkout().compose()?;
        let (engine, compose) = tokio::join!(self.require(), self.compose());
        engine.and(compose.map(drop))
    }

    /// Removes the deployment's container, volumes and network; says which.
    pub async fn remove(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        if was_never_made(site) { Ok(Vec::new()) } else { compose::remove(self, site, work).await }
    }

    /// A command that is executed in the running container.
    fn inside(&self, site: &Site, terminal: bool) -> Cmd {
        let mut cmd = self.docker();
        cmd.args(["container", "exec", "-i"]);
        if terminal {
            cmd.arg("-t");
        }
        cmd.arg(container(site));
        cmd
    }

    async fn halt(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let output = self
            .docker()
            .args(["container", "stop", &container(site)])
            .deadline(STOP_DEADLINE)
            .cancel_on(work.cancel)
            .hold(work.lock)?
            .output()
            .await?;
        if output.success() { Ok(()) } else { Err(failure(&output)) }
    }
}

fn start_failure(site: &Site, output: &crate::exec::Output) -> NotUp {
    let said = output.stderr.to_lowercase();
    let taken =
        said.contains("port is already allocated") || said.contains("address already in use");
    if taken { NotUp::port_taken(site) } else { failure(output).into() }
}

/// A deployment for unit tests, with secrets that are easily found.
#[cfg(test)]
fn site_of_a_test(home: &std::path::Path) -> Site {
    use super::site::{GatewaySecrets, Layout};
    use crate::secrets::Secret;
    let deployment = serde_json::json!({
        "id": "0199c0de-0000-7000-8000-0000ABCD1234", "name": "main", "status": "launching",
        "spec": {
            "target": "docker", "bind": "127.0.0.1", "heartbeat": "0m", "memory_mib": 2048,
            "approval": { "mode": "auto", "window_s": 600, "devices": 3 },
        },
        "facts": { "port": 18789, "artefact": "sha256:abc" },
        "created_at": "", "updated_at": "",
    });
    Site {
        layout: Layout::new(home),
        deployment: serde_json::from_value(deployment).expect("a deployment"),
        secrets: GatewaySecrets {
            token: Secret::new("a-secret-token"),
            credentials: vec![("ANTHROPIC_API_KEY".into(), Secret::new("a-secret-key"))],
            env: vec![("MORE".into(), Secret::new("a-secret-more"))],
            user_config: None,
            tunnel_token: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_two_installations_do_not_meet() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut site = site_of_a_test(dir.path());
        assert_eq!(container(&site), "openclaw-main-abcd1234");
        site.deployment.id = "short".into();
        assert_eq!(container(&site), "openclaw-main-short");
    }

    #[test]
    fn the_compose_file_is_hardened() {
        let (file, _) =
            crate::assets::DOCKER_COMPOSE.split_once("\n  pipeline-server:").expect("two services");
        for line in [
            "      - no-new-privileges:true",
            "      - ALL",
            "    pids_limit: 512",
            "    mem_limit: ${OPENCLAW_MEMORY_MIB:-2048}m",
            "    cpus: ${OPENCLAW_CPUS:-2}",
            "        max-size: 10m",
        ] {
            assert!(file.lines().any(|it| it == line), "{line}");
        }
        // By hand, without the program's own configuration, the gateway is no less careful.
        let by_hand = file.split("EOF\n").nth(1).expect("a configuration");
        let by_hand = by_hand.replace("${GATEWAY_PORT:-18789}", "1");
        let by_hand: serde_json::Value = serde_json::from_str(by_hand.trim_end()).expect("is JSON");
        assert_eq!(by_hand["gateway"]["mode"], "local");
        assert_eq!(by_hand["gateway"]["nodes"]["pairing"]["autoApproveLocal"], false);
        assert_eq!(by_hand["agents"]["defaults"]["workspace"], WORKSPACE);
        assert_eq!(by_hand["agents"]["defaults"]["heartbeat"]["every"], "0m");
        assert_eq!(by_hand["tools"]["exec"]["mode"], "ask");
        // Caches stand on none of the volumes.
        assert!(file.contains("XDG_CACHE_HOME: /home/node/.cache\n"));
    }
}
