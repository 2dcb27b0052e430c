//! What a deployment should be, and what is known of it.
//!
//! Owns the specification (what was asked for) and the facts (what was found or made). Neither
//! holds a secret: those are sealed in the store beside them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::approval::ApprovalPolicy;
use super::cluster::{ClusterFacts, ClusterSpec, IngressSpec, OwnClusterFacts};
use super::failure::Failure;
use super::machine::{Expose, MachineFacts, MachineSpec, Reach, SERVER_PORT, ServerFacts};
use super::name::DeploymentName;
use super::status::DeploymentStatus;
use super::tunnel::TunnelFacts;

/// Where a gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// A process of this machine, supervised by the program.
    Process,
    /// A container of this machine's Docker engine.
    Docker,
    /// A machine of its own on AWS EC2.
    Ec2,
    /// A machine of its own on AWS Lightsail.
    Lightsail,
    /// A namespace of a Kubernetes cluster: one on AWS EKS, or any other.
    Eks,
}

impl TargetKind {
    /// Every target, in the order in which help lists them.
    pub const ALL: [Self; 5] = [Self::Docker, Self::Process, Self::Ec2, Self::Lightsail, Self::Eks];

    /// Whether gateways run on the machine of the program itself there.
    pub fn is_local(self) -> bool {
        match self {
            Self::Process | Self::Docker => true,
            Self::Ec2 | Self::Lightsail | Self::Eks => false,
        }
    }

    /// Whether a gateway runs from an image there; otherwise a version is installed.
    pub fn runs_image(self) -> bool {
        self != Self::Process
    }

    /// Whether each deployment has a machine of its own there.
    pub fn has_machine(self) -> bool {
        matches!(self, Self::Ec2 | Self::Lightsail)
    }

    /// Whether each deployment has an address of its own there, with every port free.
    pub fn has_own_address(self) -> bool {
        !self.is_local()
    }

    /// The size of the pipeline server's own machine there, unless another one is asked for.
    pub fn server_size(self) -> Option<&'static str> {
        match self {
            Self::Process | Self::Docker | Self::Eks => None,
            Self::Ec2 => Some("t3.xlarge"),
            Self::Lightsail => Some("xlarge_3_0"),
        }
    }

    /// The size of a machine there, unless another one is asked for.
    pub fn default_size(self) -> Option<&'static str> {
        match self {
            Self::Process | Self::Docker | Self::Eks => None,
            Self::Ec2 => Some("t3.medium"),
            Self::Lightsail => Some("medium_3_0"),
        }
    }

    /// The target's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Ec2 => "ec2",
            Self::Lightsail => "lightsail",
            Self::Eks => "eks",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TargetKind {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            Failure::bad_input(format!(
                "target is one of {}; {:?} is not",
                known.join(", "),
                super::text::clean(text, 40)
            ))
        })
    }
}

/// How the gateway's agent may run commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ExecAsk {
    /// Every command is asked for.
    #[default]
    On,
    /// No questions.
    Off,
}

impl FromStr for ExecAsk {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            other => Err(Failure::bad_input(format!(
                "EXEC_ASK is on (ask before each command) or off (no questions); {:?} is neither",
                super::text::clean(other, 40)
            ))),
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentSpec {
    /// Where it runs.
    pub target: TargetKind,
    /// The port asked for. `None`: the default one, or the next free one.
    #[serde(default)]
    pub port: Option<u16>,
    /// The address that the gateway's port is published on.
    pub bind: std::net::IpAddr,
    /// The model, as `provider/model`.
    #[serde(default)]
    pub model: Option<String>,
    /// Whether the user chose the model; otherwise it follows from the keys.
    #[serde(default)]
    pub model_is_chosen: bool,
    /// How commands are run.
    #[serde(default)]
    pub exec_ask: ExecAsk,
    /// How often the idle agent thinks: `0m` is never.
    pub heartbeat: String,
    /// The image, for targets that run one.
    #[serde(default)]
    pub image: Option<String>,
    /// The OpenClaw version, for targets that install it.
    #[serde(default)]
    pub version: Option<String>,
    /// Who may be let in without being asked.
    pub approval: ApprovalPolicy,
    /// The gateway's memory limit, in mebibytes.
    pub memory_mib: u32,
    /// Whether only an administrator may destroy it over the API.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// Whether every provider key that it has came with the request that launched it. Where that is
    /// not said, the operator's own may be among them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keys_of_request: bool,
    /// The machine, for targets that make one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineSpec>,
    /// The cluster, for targets that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterSpec>,
}

impl DeploymentSpec {
    /// What Terraform makes for this program itself, and no gateway is on.
    pub fn without_gateway(target: TargetKind, machine: MachineSpec) -> Self {
        Self {
            target,
            port: None,
            bind: Expose::None.published_on(),
            model: None,
            model_is_chosen: false,
            exec_ask: ExecAsk::default(),
            heartbeat: "0m".to_owned(),
            image: None,
            version: None,
            approval: ApprovalPolicy::default(),
            memory_mib: 0,
            protected: true,
            keys_of_request: false,
            machine: Some(machine),
            cluster: None,
        }
    }
}

/// What was found or made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Facts {
    /// The port in use on the host.
    #[serde(default)]
    pub port: Option<u16>,
    /// The gateway's version as it said itself.
    #[serde(default)]
    pub gateway_version: Option<String>,
    /// The installed version (`process`) or the image's digest (`docker`) that runs.
    #[serde(default)]
    pub artefact: Option<String>,
    /// Its OpenClaw version, where that is known before it runs.
    #[serde(default)]
    pub artefact_version: Option<String>,
    /// The container's id, for targets that have one.
    #[serde(default)]
    pub container: Option<String>,
    /// When the route was last proven, RFC 3339.
    #[serde(default)]
    pub proven_at: Option<String>,
    /// Origins that were written into the gateway's configuration by the program, so that stale
    /// ones can be taken out again without touching the user's.
    #[serde(default)]
    pub managed_origins: Vec<String>,
    /// The same of the proxies that it believes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_proxies: Vec<String>,
    /// The gateway's plugins that its configuration switches on.
    #[serde(default)]
    pub plugins: Vec<String>,
    /// The default model that its configuration names.
    #[serde(default)]
    pub model: Option<String>,
    /// The model that the program wrote into the configuration, where it did.
    #[serde(default)]
    pub managed_model: Option<String>,
    /// The names of the credentials that were handed to the gateway.
    #[serde(default)]
    pub credentials: Vec<String>,
    /// The machine, once it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineFacts>,
    /// What was made of it on its cluster, once its namespace was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterFacts>,
    /// The cluster, where it is the installation's own one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_cluster: Option<OwnClusterFacts>,
    /// The pipeline server on it, where it is that one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerFacts>,
    /// The tunnel, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelFacts>,
}

impl Facts {
    /// Takes an artefact as the one that runs from now on.
    pub fn take_artefact(&mut self, id: String, version: Option<String>) {
        if self.artefact.as_ref() != Some(&id) {
            // That was another one's.
            self.gateway_version = None;
        }
        self.artefact = Some(id);
        self.artefact_version = version;
    }
}

/// A deployment as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its own id: a name that is destroyed and launched again is another deployment.
    pub id: String,
    /// Its name.
    pub name: DeploymentName,
    /// Its status.
    pub status: DeploymentStatus,
    /// What was asked for.
    pub spec: DeploymentSpec,
    /// What is known.
    pub facts: Facts,
    /// The id of the API token that launched it; `None` is the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it was first launched, RFC 3339 UTC.
    pub created_at: String,
    /// When it last changed, RFC 3339 UTC.
    pub updated_at: String,
}

impl Deployment {
    /// The address of the pipeline server on a machine of its own, as it is reached from where it
    /// was made; `None` while there is none.
    pub fn server_url(&self) -> Option<String> {
        let (server, machine) = (self.facts.server.as_ref()?, self.facts.machine.as_ref()?);
        let host = server.host.clone().unwrap_or_else(|| machine.address.to_string());
        Some(match server.reach {
            Reach::Https => format!("https://{host}:{SERVER_PORT}/"),
            Reach::Http => format!("http://{host}:{SERVER_PORT}/"),
            Reach::Tunnel => format!("http://127.0.0.1:{SERVER_PORT}/"),
        })
    }

    /// The bare address of the gateway's page: it holds no secret and lets nobody in by itself.
    pub fn url(&self) -> Option<String> {
        if self.name.is_server() {
            return self.server_url();
        }
        if self.name.is_cluster() {
            return self.facts.own_cluster.as_ref().map(|it| it.at.server.clone());
        }
        let port = self.facts.port?;
        if self.spec.target.has_machine() {
            self.facts.machine.as_ref()?;
        }
        if self.spec.target == TargetKind::Eks {
            self.facts.cluster.as_ref()?;
        }
        Some(format!("{}/", self.origin(port)))
    }

    /// The bare addresses of the gateway's page for browsers on other machines, where its port is
    /// published to them.
    pub fn urls_elsewhere(&self) -> Vec<String> {
        let elsewhere = |origin: &&String| {
            !origin.starts_with("http://127.0.0.1:") && !origin.starts_with("http://localhost:")
        };
        let origins = self.facts.managed_origins.iter().filter(elsewhere);
        let published = self.spec.target.is_local() && self.spec.bind.is_unspecified();
        origins.filter(|_| published).map(|it| format!("{it}/")).collect()
    }

    /// Who reaches it, where it has an address of its own.
    pub fn expose(&self) -> Option<Expose> {
        let machine = self.spec.machine.as_ref().map(|machine| machine.expose);
        machine.or_else(|| self.spec.cluster.as_ref().map(|cluster| cluster.expose))
    }

    /// The tunnel that its user takes, once there is one.
    pub fn tunnel(&self) -> Option<&TunnelFacts> {
        self.facts.tunnel.as_ref().filter(|_| self.expose() == Some(Expose::Tunnel))
    }

    /// Whether its page comes over plain HTTP by a way that others may be on.
    pub fn is_readable_on_its_way(&self) -> bool {
        let beyond = match self.expose() {
            Some(expose) => matches!(expose, Expose::Http | Expose::Operator),
            None => !self.spec.bind.is_loopback(),
        };
        let by_tls = self.ingress().is_some_and(|it| it.tls_secret.is_some());
        beyond && !by_tls && self.facts.port.is_some()
    }

    /// The ingress that leads to it, where one does.
    pub fn ingress(&self) -> Option<&IngressSpec> {
        let cluster = self.spec.cluster.as_ref()?;
        cluster.ingress.as_ref().filter(|_| cluster.expose == Expose::Http)
    }

    /// The page's origin, as its user's browser sees it: where nobody reaches it where it runs,
    /// through a tunnel of SSH or of the cluster's API.
    pub fn origin(&self, port: u16) -> String {
        if let Some(tunnel) = self.tunnel() {
            return tunnel.origin();
        }
        if let Some(ingress) = self.ingress() {
            return ingress.origin();
        }
        let is_published = !matches!(self.expose(), Some(Expose::None | Expose::Tunnel));
        if let Some(machine) = self.facts.machine.as_ref().filter(|_| is_published) {
            return format!("http://{}:{port}", machine.address);
        }
        let host = self.facts.cluster.as_ref().and_then(|it| it.host.as_ref());
        if let Some(host) = host.filter(|_| is_published) {
            return format!("http://{host}:{port}");
        }
        let host = match self.spec.bind {
            address if address.is_unspecified() || address.is_loopback() => "127.0.0.1".to_owned(),
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        };
        format!("http://{host}:{port}")
    }
}
