//! One deployment, as a target sees it: its specification, its facts, its secrets, its files.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::{Credential, Deployment, DeploymentName, Failure, Provider};
use crate::secrets::Secret;
use crate::secrets::private::create_private_directory;

/// Where things lie in the data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    home: PathBuf,
    key_file: Option<PathBuf>,
    installation: String,
}

/// How the directories of looks at a deployment begin. A name has no dot, so that no other
/// deployment's begin so.
fn look_prefix(name: &DeploymentName) -> String {
    format!("{name}.")
}

impl Layout {
    /// The layout of a data directory.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into(), key_file: None, installation: String::new() }
    }

    /// The same, with the file of the key that the data is sealed with.
    #[must_use]
    pub fn sealed_by(self, key_file: impl Into<PathBuf>) -> Self {
        Self { key_file: Some(key_file.into()), ..self }
    }

    /// The same, with the installation's own random id.
    #[must_use]
    pub fn of_installation(self, id: impl Into<String>) -> Self {
        Self { installation: id.into(), ..self }
    }

    /// The installation's own random id: what lacks it in a cloud is never touched.
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// The file of the sealing key, absolute, where it is known: it lies apart from the data.
    pub fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    /// The data directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A deployment's own directory.
    pub fn deployment(&self, name: &DeploymentName) -> PathBuf {
        self.home.join("deployments").join(name.as_str())
    }

    /// Where those who only look have a directory for as long as they do.
    fn looks(&self) -> PathBuf {
        self.home.join("looks")
    }

    /// A directory for a look at a deployment, which ends with it.
    pub fn look(&self, name: &DeploymentName) -> Result<tempfile::TempDir, Failure> {
        let looks = self.looks();
        create_private_directory(&looks)?;
        Ok(tempfile::Builder::new().prefix(&look_prefix(name)).tempdir_in(looks)?)
    }

    /// Removes what killed looks at a deployment have left. The caller holds the deployment's lock.
    pub fn remove_looks(&self, name: &DeploymentName) -> std::io::Result<()> {
        let prefix = look_prefix(name);
        let left = match std::fs::read_dir(self.looks()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            left => left?,
        };
        for left in left.flatten() {
            if left.file_name().to_string_lossy().starts_with(&prefix) {
                std::fs::remove_dir_all(left.path())?;
            }
        }
        Ok(())
    }

    /// The lock under which operations on a deployment are executed. It does not lie in the
    /// deployment's directory: destroying that must not free the lock.
    pub fn lock(&self, name: &DeploymentName) -> PathBuf {
        self.home.join("locks").join(name.as_str())
    }

    /// The lock of a deployment's keeper.
    pub fn keeper_lock(&self, name: &DeploymentName) -> PathBuf {
        self.home.join("locks").join(format!("{name}.keeper"))
    }

    /// The keeper's own log.
    pub fn keeper_log(&self, name: &DeploymentName) -> PathBuf {
        self.deployment(name).join("keeper.log")
    }

    /// What belongs to the server that holds the data directory: its lock, and the socket by which
    /// commands hand it their work.
    pub fn server(&self) -> PathBuf {
        self.home.join("server")
    }

    /// The lock of the server.
    pub fn server_lock(&self) -> PathBuf {
        self.server().join("lock")
    }

    /// Terraform's modules as they are initialised, shared by deployments.
    pub fn modules(&self) -> PathBuf {
        self.home.join("modules")
    }

    /// Shared connections to machines.
    pub fn sockets(&self) -> PathBuf {
        self.home.join("ssh")
    }

    /// Installed programs, shared by deployments.
    pub fn runtime(&self) -> PathBuf {
        self.home.join("runtime")
    }

    /// A deployment's backups. They survive the deployment.
    pub fn backups(&self, name: &DeploymentName) -> PathBuf {
        self.home.join("backups").join(name.as_str())
    }
}

/// What is handed to a gateway and never printed.
#[derive(Debug, Clone)]
pub struct GatewaySecrets {
    /// The gateway's token.
    pub token: Secret,
    /// Provider credentials by the contract's variable.
    pub credentials: Vec<(String, Secret)>,
    /// Further variables.
    pub env: Vec<(String, Secret)>,
    /// The user's own configuration, as given at the first launch.
    pub user_config: Option<Secret>,
    /// The token of a named tunnel, for the tunnel's program alone.
    pub tunnel_token: Option<Secret>,
}

/// The form in which [`GatewaySecrets`] is sealed. It is the one place that writes them out.
#[derive(Serialize, Deserialize)]
struct Plain {
    token: String,
    credentials: Vec<(String, String)>,
    env: Vec<(String, String)>,
    user_config: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tunnel_token: Option<String>,
}

impl GatewaySecrets {
    /// A token, and nothing else.
    pub fn with_token(token: Secret) -> Self {
        Self {
            token,
            credentials: Vec::new(),
            env: Vec::new(),
            user_config: None,
            tunnel_token: None,
        }
    }

    /// The bytes to seal.
    pub fn to_bytes(&self) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
        let open = |pairs: &[(String, Secret)]| {
            pairs.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect()
        };
        let plain = Plain {
            token: self.token.expose().to_owned(),
            credentials: open(&self.credentials),
            env: open(&self.env),
            user_config: self.user_config.as_ref().map(|text| text.expose().to_owned()),
            tunnel_token: self.tunnel_token.as_ref().map(|text| text.expose().to_owned()),
        };
        serde_json::to_vec(&plain)
            .map(zeroize::Zeroizing::new)
            .map_err(|error| Failure::failed(format!("secrets cannot be written: {error}")))
    }

    /// From the bytes that were sealed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Failure> {
        // The parser's message could quote what it read.
        let plain: Plain = serde_json::from_slice(bytes)
            .map_err(|_| Failure::failed("the deployment's sealed secrets cannot be read"))?;
        let wrap = |pairs: Vec<(String, String)>| {
            pairs.into_iter().map(|(name, value)| (name, Secret::new(value))).collect()
        };
        Ok(Self {
            token: Secret::new(plain.token),
            credentials: wrap(plain.credentials),
            env: wrap(plain.env),
            user_config: plain.user_config.map(Secret::new),
            tunnel_token: plain.tunnel_token.map(Secret::new),
        })
    }

    /// The providers whose credentials were given, in the order in which they were.
    pub fn providers(&self) -> Vec<Provider> {
        let known = self.credentials.iter().filter_map(|(name, _)| Credential::by_variable(name));
        known.map(|credential| credential.provider).collect()
    }

    /// The providers to run with by default: not those whose key works only with a plugin that
    /// is not among these.
    pub fn usable_providers(&self, plugins: &[String]) -> Vec<Provider> {
        let usable = |provider: &Provider| {
            provider.plugin().is_none() || plugins.iter().any(|plugin| plugin == provider.id())
        };
        self.providers().into_iter().filter(usable).collect()
    }

    /// Whether there is a credential or a further variable of this name.
    pub fn has(&self, variable: &str) -> bool {
        self.credentials.iter().chain(&self.env).any(|(name, _)| name == variable)
    }

    /// Takes a credential or a further variable out.
    pub fn drop_variable(&mut self, variable: &str) {
        self.credentials.retain(|(name, _)| name != variable);
        self.env.retain(|(name, _)| name != variable);
    }

    /// Whether the user's own configuration names a model.
    pub fn names_model(&self) -> bool {
        let tree = self.user_config.as_ref().map(|text| super::rendering::parse(text.expose()));
        matches!(tree, Some(Ok(tree)) if !tree["agents"]["defaults"]["model"].is_null())
    }

    /// The text without a control character or one of these secrets.
    pub fn scrub(&self, text: &str, max: usize) -> String {
        crate::secrets::Redactor::new(self.all()).redact_line(text, max)
    }

    /// Every secret, for taking them out of texts.
    pub fn all(&self) -> Vec<&Secret> {
        std::iter::once(&self.token)
            .chain(self.credentials.iter().map(|(_, value)| value))
            .chain(self.env.iter().map(|(_, value)| value))
            .chain(self.tunnel_token.as_ref())
            .collect()
    }
}

/// One deployment, with everything that a target needs of it.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where things lie.
    pub layout: Layout,
    /// The deployment.
    pub deployment: Deployment,
    /// Its secrets.
    pub secrets: GatewaySecrets,
}

impl Site {
    /// The variables that the gateway gets, under the names that it reads. A key that works only
    /// with a plugin is withheld until the plugin is there: with the key alone, the gateway looks
    /// for the plugin in the npm registry at every start, for minutes where there is none.
    pub fn gateway_env(&self) -> Vec<(String, Secret)> {
        let named = self.secrets.credentials.iter().filter_map(|(variable, value)| {
            let Some(credential) = Credential::by_variable(variable) else {
                return Some((variable.clone(), value.clone()));
            };
            let provider = credential.provider;
            let usable = provider.plugin().is_none()
                || self.deployment.facts.plugins.iter().any(|plugin| plugin == provider.id());
            usable.then(|| (credential.gateway_variable.to_owned(), value.clone()))
        });
        named.chain(self.secrets.env.iter().cloned()).collect()
    }

    /// The deployment's own directory.
    pub fn dir(&self) -> PathBuf {
        self.layout.deployment(&self.deployment.name)
    }

    /// Removes that directory; says so, where there was one.
    pub fn remove_files(&self) -> Result<Option<String>, Failure> {
        let dir = self.dir();
        match std::fs::remove_dir_all(&dir) {
            Ok(()) => Ok(Some(format!("the directory {}", dir.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The port in use on this machine.
    pub fn port(&self) -> Result<u16, Failure> {
        self.deployment.facts.port.ok_or_else(|| {
            Failure::failed(format!("{} has no port yet", self.deployment.name))
                .remedy("launch it again")
        })
    }

    /// How much of the memory limit Node.js may use for its heap: what lies outside of it (code,
    /// buffers, SQLite) takes a quarter.
    pub fn heap_mib(&self) -> u32 {
        self.deployment.spec.memory_mib / 4 * 3
    }

    /// The page's origin.
    pub fn origin(&self) -> Result<String, Failure> {
        Ok(self.deployment.origin(self.port()?))
    }

    /// The `Host` header of the user's route.
    pub fn host_header(&self) -> Result<String, Failure> {
        let origin = self.origin()?;
        Ok(origin.split_once("://").map_or(origin.as_str(), |(_, host)| host).to_owned())
    }

    /// The text without a control character or a secret of this deployment.
    pub fn scrub(&self, text: &str, max: usize) -> String {
        self.secrets.scrub(text, max)
    }
}
