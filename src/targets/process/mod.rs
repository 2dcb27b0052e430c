//! The `process` target: a gateway as a supervised process of this machine.
//!
//! Owns how it is installed, started through its keeper, seen and stopped. It runs as the user
//! who launches it, from an environment made for it, with its own state, port, log and limits.

mod archive;
mod install;
mod listener;
mod prune;
mod record;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::rendering::{self, Bind, ManagedConfig};
use super::site::{Layout, Site};
use super::{Artefact, LogOptions, NotUp, Observed, Placed, Target, Work, keeper};
use crate::domain::{DeploymentName, Failure, TargetKind};
use crate::exec::Cmd;
use crate::gateway::Dial;
use crate::secrets::write_private;

use listener::OwnTcp;

pub use install::{Installed, npm_version, own_node};
pub use record::{RunRecord, RunState};

/// How long stopping may take: the gateway drains running turns for up to 315 s.
pub const STOP_DEADLINE: Duration = Duration::from_secs(340);
/// What the gateway and its tools find programs in, after Node.js itself.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Before it listens, a gateway looks in the npm registry for plugins that its keys suggest
/// (`OPENROUTER_API_KEY` for one), at every start. Without a registry, npm's own pauses between its
/// tries make that 72 s.
const NPM_PATIENCE: [(&str, &str); 3] = [
    ("npm_config_fetch_retry_mintimeout", "500"),
    ("npm_config_fetch_retry_maxtimeout", "1000"),
    ("npm_config_fetch_timeout", "20000"),
];

/// The target.
#[derive(Debug)]
pub struct ProcessTarget {
    layout: Layout,
}

impl ProcessTarget {
    /// The target in a data directory.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    /// Makes sure that a version is installed and whole.
    pub async fn install(&self, version: &str, work: Work<'_>) -> Result<Installed, Failure> {
        install::ensure(&self.layout, version, work).await
    }

    /// The child that is the gateway, for the keeper to start.
    pub fn gateway(&self, site: &Site) -> Result<Cmd, Failure> {
        let heap = site.heap_mib();
        let port = site.port()?.to_string();
        let mut cmd = self.node(
            site,
            &[&format!("--max-old-space-size={heap}")],
            &["gateway", "--port", &port],
        )?;
        cmd.secret_env("OPENCLAW_GATEWAY_TOKEN", &site.secrets.token);
        Ok(cmd)
    }

    /// Node.js running the gateway's program.
    fn node(&self, site: &Site, options: &[&str], args: &[&str]) -> Result<Cmd, Failure> {
        let (mut cmd, installed) = self.bare_node(site)?;
        cmd.args(options).arg(&installed.script).args(args);
        Ok(cmd)
    }

    /// Node.js from an environment made for the gateway.
    fn bare_node(&self, site: &Site) -> Result<(Cmd, Installed), Failure> {
        let version = site.deployment.facts.artefact.as_deref().ok_or_else(|| {
            Failure::failed(format!("{} has nothing installed yet", site.deployment.name))
                .remedy("launch it again")
        })?;
        let installed = install::located(&self.layout, version)?;
        let dir = site.dir();
        let mut cmd = Cmd::bare(&installed.node);
        let bin = installed.node.parent().unwrap_or(&dir);
        let mut path = bin.as_os_str().to_owned();
        path.push(":");
        path.push(SYSTEM_PATH);
        cmd.allow(&[
            "LANG",
            "LC_ALL",
            "TZ",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "NODE_EXTRA_CA_CERTS",
        ]);
        cmd.env("PATH", path)
            .env("HOME", dir.join("home"))
            .env("TMPDIR", dir.join("tmp"))
            .env("XDG_CACHE_HOME", dir.join("home/.cache"))
            .env("OPENCLAW_STATE_DIR", dir.join("state"))
            .env("OPENCLAW_CONFIG_PATH", config_path(site))
            .env("OPENCLAW_SUPERVISOR_MODE", "external")
            .env("OPENCLAW_NO_RESPAWN", "1")
            .env("OPENCLAW_NO_AUTO_UPDATE", "1");
        for (name, value) in NPM_PATIENCE {
            cmd.env(name, value);
        }
        for (name, value) in site.gateway_env() {
            cmd.secret_env(name, &value);
        }
        cmd.cwd(dir.join("workspace"));
        Ok((cmd, installed))
    }

    /// The log of the gateway's output.
    pub fn log_path(layout: &Layout, name: &DeploymentName) -> PathBuf {
        layout.deployment(name).join("gateway.log")
    }
}

/// The configuration's text; `None` when there is none yet.
fn in_place(site: &Site) -> Result<Option<String>, Failure> {
    match fs::read_to_string(config_path(site)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a gateway's configuration lies.
pub fn config_path(site: &Site) -> PathBuf {
    site.dir().join("state/openclaw.json")
}

/// Where a gateway listens so that the published address reaches it.
fn bind(address: std::net::IpAddr) -> Bind {
    if address.is_unspecified() {
        Bind::Lan
    } else if address.is_loopback() {
        Bind::Loopback
    } else {
        Bind::Custom(address)
    }
}

#[async_trait]
impl Target for ProcessTarget {
    fn kind(&self) -> TargetKind {
        TargetKind::Process
    }

    async fn preflight(&self, site: &Site, _work: Work<'_>) -> Result<(), Failure> {
        let version = install::version_of(site);
        if install::check(&self.layout, &version).is_ok() {
            return Ok(());
        }
        install::npm_version().await.map(drop)
    }

    async fn fetch(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        let version = install::version_of(site);
        let installed = install::ensure(&self.layout, &version, work).await?;
        Ok(Artefact { id: installed.version.clone(), version: Some(installed.version) })
    }

    async fn place(
        &self,
        site: &Site,
        config: &ManagedConfig,
        _work: Work<'_>,
    ) -> Result<Placed, Failure> {
        let dir = site.dir();
        for part in ["state", "workspace", "home/.cache", "tmp"] {
            make_private_dir(&dir.join(part))?;
        }
        let mut config = config.clone();
        config.bind = bind(site.deployment.spec.bind);
        config.workspace = dir.join("workspace").to_string_lossy().into_owned();
        // Its default lies in /tmp, where the gateways of one user share it.
        config.log = Some(dir.join("tmp/openclaw.log").to_string_lossy().into_owned());
        let path = config_path(site);
        let in_place = in_place(site)?;
        let users = site.secrets.user_config.as_ref().map(crate::secrets::Secret::expose);
        let placing = rendering::place(in_place, users, &config)
            .map_err(|failure| failure.context(path.display().to_string()))?;
        if let Some(text) = &placing.replaced {
            write_private(&path.with_file_name(rendering::REPLACED), text.as_bytes())?;
        }
        if let Some(text) = &placing.text {
            write_private(&path, text.as_bytes())?;
        }
        Ok(Placed { notices: placing.notices, plugins: placing.plugins, model: placing.model })
    }

    async fn check_configuration(&self, site: &Site) -> Result<(), Failure> {
        let text = in_place(site)?.unwrap_or_default();
        rendering::parse(&text)
            .map(drop)
            .map_err(|failure| failure.context(config_path(site).display().to_string()))
    }

    async fn start(&self, site: &Site, work: Work<'_>) -> Result<(), NotUp> {
        if self.observe(site).await? == Observed::Running {
            return Ok(());
        }
        if let Some(version) = &site.deployment.facts.artefact
            && !install::looks_installed(&self.layout, version)
        {
            install::ensure(&self.layout, version, work).await?;
        }
        keeper::stop(&self.layout, &site.deployment.name).await?;
        port_is_free(site)?;
        Ok(keeper::spawn(site).await?)
    }

    async fn lost_port(&self, site: &Site) -> Result<bool, Failure> {
        for address in listens_on(site.deployment.spec.bind) {
            let own = OwnTcp { address: (address, site.port()?).into(), dir: site.dir() };
            if own.stranger()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn stop(&self, site: &Site, _work: Work<'_>) -> Result<(), Failure> {
        keeper::stop(&self.layout, &site.deployment.name).await
    }

    async fn observe(&self, site: &Site) -> Result<Observed, Failure> {
        let Some(record) = RunRecord::read(&site.dir())? else { return Ok(Observed::Absent) };
        // A gateway whose keeper was killed works, and nothing starts it again should it end.
        let kept = keeper::lives(&site.layout, &site.deployment.name)?;
        Ok(match record.state {
            RunState::Held { cause } => Observed::Held { cause },
            RunState::GaveUp { code, cause } => Observed::Crashed { code, cause },
            RunState::BackingOff { code, cause } if kept => Observed::Crashed { code, cause },
            RunState::Running { gateway } if kept && gateway.is_alive() => Observed::Running,
            RunState::Mending { cause } if kept => Observed::Mending { cause },
            RunState::Running { .. } if kept => {
                // It ended a moment ago; its keeper is about to say why.
                Observed::Crashed { code: None, cause: "it ended just now".into() }
            }
            RunState::Running { .. } | RunState::BackingOff { .. } | RunState::Mending { .. } => {
                Observed::Crashed { code: None, cause: "its keeper was killed".into() }
            }
            RunState::Stopped => Observed::Stopped,
        })
    }

    fn route(&self, site: &Site) -> Result<Box<dyn Dial>, Failure> {
        let bind = site.deployment.spec.bind;
        if bind.is_unspecified() {
            return self.loopback(site);
        }
        Ok(Box::new(OwnTcp { address: (bind, site.port()?).into(), dir: site.dir() }))
    }

    fn loopback(&self, site: &Site) -> Result<Box<dyn Dial>, Failure> {
        let address = (std::net::Ipv4Addr::LOCALHOST, site.port()?).into();
        Ok(Box::new(OwnTcp { address, dir: site.dir() }))
    }

    async fn openclaw(&self, site: &Site, args: &[&str], terminal: bool) -> Result<Cmd, Failure> {
        let mut cmd = self.node(site, &[], args)?;
        cmd.secret_env("OPENCLAW_GATEWAY_TOKEN", &site.secrets.token);
        if terminal {
            cmd.allow(&["TERM", "COLORTERM"]);
        }
        cmd.deadline(Duration::from_secs(300));
        Ok(cmd)
    }

    async fn script(&self, site: &Site, script: &str) -> Result<Cmd, Failure> {
        let (mut cmd, installed) = self.bare_node(site)?;
        let package = installed.script.parent().unwrap_or(&installed.script).to_owned();
        cmd.args(["--input-type=module", "--eval", script]).arg(package);
        Ok(cmd)
    }

    async fn shell(&self, site: &Site) -> Result<Cmd, Failure> {
        let mut cmd =
            Cmd::new(std::env::var_os("SHELL").as_deref().unwrap_or(OsStr::new("/bin/sh")));
        cmd.cwd(site.dir());
        Ok(cmd)
    }

    async fn logs(&self, site: &Site, options: LogOptions) -> Result<Cmd, Failure> {
        let path = Self::log_path(&self.layout, &site.deployment.name);
        if !path.exists() {
            return Err(Failure::not_found(format!("{} has no log yet", site.deployment.name)));
        }
        let mut cmd = Cmd::new("tail");
        cmd.args(["-n", &options.tail.to_string()]);
        if options.follow {
            // -F: the log is rotated.
            cmd.arg("-F");
        }
        // By its name alone: what it says of the file goes to whoever reads the log.
        if let (Some(directory), Some(name)) = (path.parent(), path.file_name()) {
            cmd.cwd(directory).arg("--").arg(name);
        }
        Ok(cmd)
    }

    async fn log_tail(&self, site: &Site) -> Result<String, Failure> {
        tail(&Self::log_path(&self.layout, &site.deployment.name), 32 * 1024)
    }

    async fn archive(
        &self,
        site: &Site,
        into: &std::path::Path,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        archive::create(self, site, into, work).await
    }

    async fn restore(
        &self,
        site: &Site,
        from: &std::path::Path,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        archive::restore(self, site, from, work).await
    }

    async fn prune(&self, superseded: &[String]) -> Result<Vec<String>, Failure> {
        prune::prune(&self.layout, superseded)
    }

    async fn remove(&self, site: &Site, _work: Work<'_>) -> Result<Vec<String>, Failure> {
        keeper::stop(&self.layout, &site.deployment.name).await?;
        Ok(site.remove_files()?.into_iter().collect())
    }
}

/// Refuses a port that something else listens on: the gateway would only say so in its log.
fn port_is_free(site: &Site) -> Result<(), NotUp> {
    let port = site.port()?;
    let Some((address, error)) = taken(site.deployment.spec.bind, port) else { return Ok(()) };
    let said =
        format!("{}: port {port} on {address} cannot be used: {error}", site.deployment.name);
    let remedy = format!(
        "end what listens there (ss -ltnp 'sport = :{port}' shows it), or choose another \
         GATEWAY_PORT"
    );
    Err(match error.kind() {
        std::io::ErrorKind::AddrInUse => NotUp::PortTaken(Failure::conflict(said).remedy(remedy)),
        _ => Failure::failed(said).remedy(remedy).into(),
    })
}

/// Where a gateway listens that is bound to this address: on loopback, whatever else.
fn listens_on(bind: std::net::IpAddr) -> [std::net::IpAddr; 2] {
    [bind, std::net::Ipv4Addr::LOCALHOST.into()]
}

/// Where a port cannot be used, and why.
fn taken(bind: std::net::IpAddr, port: u16) -> Option<(std::net::IpAddr, std::io::Error)> {
    listens_on(bind).into_iter().find_map(|address| {
        std::net::TcpListener::bind((address, port)).err().map(|error| (address, error))
    })
}

fn make_private_dir(path: &std::path::Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::failed(format!("{} cannot be made: {error}", path.display())))
}

/// The end of a file, as text.
pub fn tail(path: &std::path::Path, bytes: u64) -> Result<String, Failure> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error.into()),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    if length > bytes {
        // A line that begins before may open with the second half of a secret.
        let line = end.iter().position(|byte| *byte == b'\n').map_or(end.len(), |at| at + 1);
        end.drain(..line);
    }
    Ok(String::from_utf8_lossy(&end).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_port_that_is_taken_on_loopback_is_taken_for_every_address() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = other.local_addr().expect("its address").port();
        let elsewhere = Ipv4Addr::new(127, 0, 0, 2).into();
        let found = taken(elsewhere, port).map(|(address, _)| address);
        assert_eq!(found, Some(Ipv4Addr::LOCALHOST.into()));
        drop(other);
        assert!(taken(elsewhere, port).is_none());
    }
}
