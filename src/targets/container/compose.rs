//! The compose project of a deployment.
//!
//! Owns finding `docker compose` or `docker-compose`, and what is written for it. The shipped file
//! is used as it is; a second file names the variables to hand over, and their values travel in
//! the child's environment, so no file holds a secret and no value is interpolated.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::Work;
use super::super::site::Site;
use super::engine::{Engine, SETTINGS, failure};
use super::{container, owner, tunnel};
use crate::domain::Failure;
use crate::exec::{Cmd, Place};

/// The service in the compose file.
pub(super) const SERVICE: &str = "openclaw-gateway";
/// The volumes of the file that are the other service's, and no deployment's.
const SERVER_VOLUMES: [&str; 2] = ["pipeline-data", "pipeline-key"];
/// Where a plugin of the Docker command line stands, beside the user's own directory.
const PLUGINS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];
/// How long making the container may take: one that runs and has to be made anew drains first,
/// for up to 330 s.
const CREATE_DEADLINE: Duration = Duration::from_secs(480);
/// How long making the tunnel's may take: it drains nothing.
const TUNNEL_DEADLINE: Duration = Duration::from_secs(120);

/// How long the plugin may take to say that it is there.
const FIND_DEADLINE: Duration = Duration::from_secs(30);

/// Which of the two there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compose {
    /// `docker compose`.
    Plugin,
    /// `docker-compose`.
    Standalone,
}

impl Compose {
    /// Finds one; the plugin first. Looks for their files: starting `docker-compose` 1.29 only to
    /// see that it is there takes more than a second.
    pub(super) async fn find(engine: &Engine) -> Result<Self, Failure> {
        let docker = engine.docker();
        if let Some(found) = Self::located(
            docker.variable("DOCKER_CONFIG"),
            docker.variable("HOME"),
            docker.variable("PATH"),
        ) {
            return Ok(found);
        }
        // A plugin can be configured to stand anywhere, and another machine is not looked through.
        let mut cmd = Self::Plugin.command(engine);
        let output = cmd.args(["version", "--short"]).deadline(FIND_DEADLINE);
        if output.output().await.is_ok_and(|output| output.success()) {
            return Ok(Self::Plugin);
        }
        if matches!(engine.place(), Place::There(_)) {
            // Starting it takes seconds; that it is there tells enough.
            let mut cmd = engine.place().cmd("sh");
            let output = cmd.args(["-c", "command -v docker-compose"]).output().await?;
            if output.success() {
                return Ok(Self::Standalone);
            }
            return Err(failure(&output).context("neither docker compose nor docker-compose works"));
        }
        Err(Failure::prerequisite("neither docker compose nor docker-compose is installed").remedy(
            "install the compose plugin (Debian: apt-get install docker-compose), or use the \
             process target: --target process",
        ))
    }

    fn located(config: Option<&OsStr>, home: Option<&OsStr>, path: Option<&OsStr>) -> Option<Self> {
        let own = match (config, home) {
            (Some(config), _) if !config.is_empty() => Some(PathBuf::from(config)),
            (_, home) => home.map(|home| Path::new(home).join(".docker")),
        };
        let own = own.map(|own| own.join("cli-plugins"));
        let mut plugins = own.into_iter().chain(PLUGINS.map(PathBuf::from));
        let is_in = |dir: PathBuf| {
            fs::metadata(dir.join("docker-compose"))
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        if plugins.any(is_in) {
            return Some(Self::Plugin);
        }
        let mut path = path.into_iter().flat_map(std::env::split_paths);
        path.any(is_in).then_some(Self::Standalone)
    }

    fn command(self, engine: &Engine) -> Cmd {
        match self {
            Self::Plugin => {
                let mut cmd = engine.docker();
                cmd.arg("compose");
                cmd
            }
            Self::Standalone => {
                let mut cmd = engine.place().cmd("docker-compose");
                cmd.allow(&SETTINGS);
                cmd
            }
        }
    }

    /// A call for the deployment's project, with the files and values that it needs. The secrets
    /// travel in its environment.
    async fn project(self, engine: &Engine, site: &Site) -> Result<Cmd, Failure> {
        let variables = variables(site).to_string();
        let shipped = engine.checkout().compose()?;
        let files = [("docker-compose.yml", &*shipped), ("variables.yml", &variables)];
        let dir = engine.put(site, &files).await?;
        let cpus = engine.cpus().await?;
        let spec = &site.deployment.spec;
        let image = site.deployment.facts.artefact.clone().ok_or_else(|| {
            Failure::failed("the image was not fetched").remedy("launch it again")
        })?;
        let mut cmd = self.command(engine);
        cmd.args(["-p", &container(site), "-f", "docker-compose.yml", "-f", "variables.yml"])
            .cwd(&dir)
            .env("OPENCLAW_CONTAINER", container(site))
            .env("OPENCLAW_PIPELINE_IMAGE", image)
            .env("OPENCLAW_CPUS", cpus)
            .env("GATEWAY_BIND", spec.bind.to_string())
            .env("GATEWAY_PORT", site.port()?.to_string())
            .env("OPENCLAW_MEMORY_MIB", spec.memory_mib.to_string())
            .env("OPENCLAW_HEAP_MIB", site.heap_mib().to_string())
            .secret_env("OPENCLAW_GATEWAY_TOKEN", &site.secrets.token);
        for (index, (_, value)) in site.gateway_env().into_iter().enumerate() {
            cmd.secret_env(handle(index), &value);
        }
        Ok(cmd)
    }

    /// Makes the project's volumes, network and container without starting it. A container that
    /// is as it should be is left alone. The caller has looked whose all of it is.
    pub(super) async fn create(
        self,
        engine: &Engine,
        site: &Site,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        let mut cmd = self.project(engine, site).await?;
        cmd.args(["up", "--no-start", SERVICE])
            .deadline(CREATE_DEADLINE)
            .cancel_on(work.cancel)
            .hold(work.lock)?;
        let output = cmd.output().await?;
        if output.success() { Ok(()) } else { Err(create_failure(site, &output)) }
    }

    /// Makes the tunnel's container and starts it. One that runs as it should is left alone.
    pub(super) async fn raise(
        self,
        engine: &Engine,
        site: &Site,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        let service = tunnel::service(site)?.to_string();
        engine.put(site, &[("tunnel.yml", &service)]).await?;
        let mut cmd = self.project(engine, site).await?;
        if let Some(token) = &site.secrets.tunnel_token {
            cmd.secret_env(tunnel::TOKEN, token);
        }
        cmd.args(["-f", "tunnel.yml", "up", "-d", "--no-deps", tunnel::SERVICE])
            .deadline(TUNNEL_DEADLINE)
            .cancel_on(work.cancel)
            .hold(work.lock)?;
        let output = cmd.output().await?;
        if output.success() { Ok(()) } else { Err(create_failure(site, &output)) }
    }

    /// A command in a container of its own, which is gone when it ends: with the gateway's image,
    /// volumes, network, environment and limits, and without its port.
    pub(super) async fn beside(
        self,
        engine: &Engine,
        site: &Site,
        args: &[&str],
        terminal: bool,
    ) -> Result<Cmd, Failure> {
        let mut cmd = self.project(engine, site).await?;
        cmd.args(["run", "--rm", "--no-deps"]);
        if !terminal {
            cmd.arg("-T");
        }
        cmd.arg(SERVICE).args(args);
        Ok(cmd)
    }
}

/// The name under which a value travels to compose. The user's own names would steer it: one that
/// is called `DOCKER_HOST` sends every secret to another engine.
fn handle(index: usize) -> String {
    format!("OPENCLAW_PIPELINE_VALUE_{index}")
}

/// The second compose file: the variables' names, and the labels that say whose it all is.
fn variables(site: &Site) -> Value {
    let given = site.gateway_env().into_iter().enumerate();
    let names: BTreeMap<String, String> =
        given.map(|(index, (name, _))| (name, format!("${{{}}}", handle(index)))).collect();
    let labels = json!({ owner::NAME: site.deployment.name, owner::ID: site.deployment.id });
    let labelled = json!({ "labels": labels });
    let mut volumes: BTreeMap<_, _> = owner::VOLUMES.map(|name| (name, labelled.clone())).into();
    // docker-compose 1.29 makes every volume of the file, used or not: these are then one that is
    // there already.
    let name = format!("{}_{}", container(site), owner::VOLUMES[0]);
    let stand_in = json!({ "name": name, "labels": labels });
    volumes.extend(SERVER_VOLUMES.map(|volume| (volume, stand_in.clone())));
    let mut network = labelled.clone();
    if site.deployment.spec.target.has_machine() {
        // The only deployment of its engine: its addresses can be chosen.
        network["ipam"] = tunnel::network();
    }
    // JSON is YAML; nothing here needs quoting rules of its own.
    json!({
        "services": { SERVICE: { "environment": names, "labels": labels } },
        "volumes": volumes,
        "networks": { owner::NETWORK: network },
    })
}

fn create_failure(site: &Site, output: &crate::exec::Output) -> Failure {
    let said = output.stderr.to_lowercase();
    if said.contains("is already in use by container") {
        return Failure::conflict(format!(
            "a container {} is there that is not this deployment's",
            container(site)
        ))
        .remedy("remove or rename it, or launch under another name");
    }
    failure(output)
}

/// What a project consists of: how it is listed and how it is removed, in this order.
const KINDS: [(&str, &[&str], &[&str]); 3] = [
    ("container", &["container", "ls", "-aq", "--no-trunc"], &["container", "rm", "-f"]),
    ("volume", &["volume", "ls", "-q"], &["volume", "rm"]),
    ("network", &["network", "ls", "-q", "--no-trunc"], &["network", "rm"]),
];

/// Removes the deployment's containers, volumes and networks; says what it removed. By the label
/// with its own id, so that nobody else's is touched, and that it also works when the compose
/// file, or compose itself, is gone.
pub(super) async fn remove(
    engine: &Engine,
    site: &Site,
    work: Work<'_>,
) -> Result<Vec<String>, Failure> {
    let mut removed = Vec::new();
    for kind in KINDS {
        removed.extend(remove_kind(engine, site, kind, &[], work).await?);
    }
    Ok(removed)
}

/// Removes those of the deployment's containers that the filters find, too.
pub(super) async fn remove_labelled(
    engine: &Engine,
    site: &Site,
    filters: &[&str],
    work: Work<'_>,
) -> Result<Vec<String>, Failure> {
    remove_kind(engine, site, KINDS[0], filters, work).await
}

async fn remove_kind(
    engine: &Engine,
    site: &Site,
    (kind, list, delete): (&str, &[&str], &[&str]),
    filters: &[&str],
    work: Work<'_>,
) -> Result<Vec<String>, Failure> {
    let own = format!("label={}={}", owner::ID, site.deployment.id);
    let mut listing = engine.docker();
    listing.args(list).args(["--filter", &own]);
    for filter in filters {
        listing.args(["--filter", filter]);
    }
    let listed = listing.output().await?;
    if !listed.success() {
        return Err(failure(&listed));
    }
    let mut removed = Vec::new();
    for id in listed.stdout.split_whitespace() {
        let output = engine
            .docker()
            .args(delete)
            .arg(id)
            .hold(work.lock)?
            .cancel_on(work.cancel)
            .deadline(Duration::from_secs(120))
            .output()
            .await?;
        // A helper may have ended, and gone, since it was listed.
        let gone = output.stderr.to_lowercase().contains("no such");
        if !output.success() && !gone {
            return Err(failure(&output));
        }
        removed.push(format!("the {kind} {}", short(id)));
    }
    Ok(removed)
}

/// An id as people know it; a name as it is.
fn short(id: &str) -> &str {
    let is_id = id.len() == 64 && id.bytes().all(|c| c.is_ascii_hexdigit());
    if is_id { &id[..12] } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets;
    use crate::targets::Checkout;
    use crate::targets::container::site_of_a_test;

    fn executable(dir: &Path) {
        fs::create_dir_all(dir).expect("a directory");
        let file = dir.join("docker-compose");
        fs::write(&file, "").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    #[test]
    fn the_plugin_is_found_before_the_program() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |part: &str| dir.path().join(part).into_os_string();
        let (home, config, bin) = (at("home"), at("config"), at("bin"));
        let located = || Compose::located(Some(&config), Some(&home), Some(&bin));
        executable(&dir.path().join("bin"));
        // This machine's own plugin would be found everywhere.
        if located() == Some(Compose::Plugin) {
            return;
        }
        assert_eq!(Compose::located(None, Some(&home), None), None);
        assert_eq!(located(), Some(Compose::Standalone));
        executable(&dir.path().join("home/.docker/cli-plugins"));
        assert_eq!(located(), Some(Compose::Standalone), "DOCKER_CONFIG names another place");
        assert_eq!(Compose::located(None, Some(&home), Some(&bin)), Some(Compose::Plugin));
        executable(&dir.path().join("config/cli-plugins"));
        assert_eq!(located(), Some(Compose::Plugin));
    }

    #[tokio::test]
    async fn both_are_called_alike() {
        let dir = tempfile::tempdir().expect("a directory");
        let (site, engine) = (site_of_a_test(dir.path()), Engine::with_cpus("2"));
        let plugin = Compose::Plugin.project(&engine, &site).await.expect("a call");
        let standalone = Compose::Standalone.project(&engine, &site).await.expect("a call");
        assert_eq!((plugin.name(), standalone.name()), ("docker".into(), "docker-compose".into()));
        let (mut plugin, standalone) = (plugin.arguments(), standalone.arguments());
        assert_eq!(plugin.remove(0), "compose");
        assert_eq!(plugin, standalone);
        let name = container(&site);
        assert_eq!(plugin, ["-p", &name, "-f", "docker-compose.yml", "-f", "variables.yml"]);
    }

    #[tokio::test]
    async fn the_file_of_a_checkout_takes_the_place_of_the_shipped_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (site, engine) = (site_of_a_test(dir.path()), Engine::with_cpus("2"));
        let written = || fs::read_to_string(site.dir().join("docker-compose.yml")).expect("a file");
        Compose::Plugin.project(&engine, &site).await.expect("a call");
        assert_eq!(written(), assets::DOCKER_COMPOSE);
        let mine = tempfile::tempdir().expect("a directory");
        let engine = engine.made_from(Checkout::new(Some(mine.path().to_owned())));
        let failure = Compose::Plugin.project(&engine, &site).await.expect_err("no file");
        assert!(failure.message.contains("PIPELINE_DIR"), "{failure}");
        fs::write(mine.path().join("docker-compose.yml"), "# mine\n").expect("a file");
        Compose::Plugin.project(&engine, &site).await.expect("a call");
        assert_eq!(written(), "# mine\n");
    }

    #[tokio::test]
    async fn no_secret_stands_in_an_argument_or_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let (site, engine) = (site_of_a_test(dir.path()), Engine::with_cpus("2"));
        let cmd = Compose::Plugin.project(&engine, &site).await.expect("a call");
        assert_eq!(cmd.variable(&handle(0)), Some(OsStr::new("a-secret-key")));
        assert_eq!(cmd.variable("OPENCLAW_GATEWAY_TOKEN"), Some(OsStr::new("a-secret-token")));
        assert!(!cmd.arguments().concat().contains("a-secret"));
        for file in fs::read_dir(site.dir()).expect("files").flatten() {
            let text = fs::read_to_string(file.path()).expect("a file");
            assert!(!text.contains("a-secret"), "{:?}", file.path());
        }
    }

    #[test]
    fn everything_of_the_project_carries_the_deployments_id() {
        let dir = tempfile::tempdir().expect("a directory");
        let site = site_of_a_test(dir.path());
        let file = variables(&site);
        let id = |at: &str| {
            file.pointer(at).and_then(|labels| labels.get(owner::ID)).and_then(Value::as_str)
        };
        for at in ["/services/openclaw-gateway", "/networks/default"]
            .map(str::to_owned)
            .into_iter()
            .chain(owner::VOLUMES.map(|volume| format!("/volumes/{volume}")))
        {
            assert_eq!(id(&format!("{at}/labels")), Some(site.deployment.id.as_str()), "{at}");
        }
        let (_, declared) = assets::DOCKER_COMPOSE.split_once("\nvolumes:\n").expect("volumes");
        let declared: Vec<_> = declared.lines().map(|line| line.trim_matches([' ', ':'])).collect();
        assert_eq!(declared, [&owner::VOLUMES[..], &SERVER_VOLUMES].concat());
        let config = format!("{}_config", container(&site));
        for volume in SERVER_VOLUMES {
            assert_eq!(file["volumes"][volume]["name"], config.as_str());
        }
    }
}
