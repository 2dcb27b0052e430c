//! Where gateways run: what each operation's steps are there.
//!
//! Owns the [`Target`] trait and its implementations. Refuses to know of operations, of the store
//! and of each other: a target does one thing to one deployment when it is told to, looks before
//! it acts, and can be told twice.

mod archive;
mod checkout;
pub mod cluster;
pub mod container;
pub mod docker;
pub mod eks;
mod hiding;
mod https;
pub mod keeper;
mod looks;
pub mod machine;
pub mod own_cluster;
pub mod process;
pub mod rendering;
pub mod site;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::domain::{ClusterFacts, Failure, MachineFacts, TargetKind};
use crate::drivers::aws::Environment;
use crate::drivers::terraform::Terraform;
use crate::exec::{Cmd, LockFile};
use crate::gateway::{Dial, TcpDial};

pub use checkout::Checkout;
pub use own_cluster::OwnCluster;
pub use rendering::ManagedConfig;
pub use site::{GatewaySecrets, Layout, Site};

/// The image that is run unless another one is named.
pub const DEFAULT_IMAGE: &str = crate::config::variables::DEFAULT_IMAGE;

/// What an operation lends a target while it works.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// Says that the operation is interrupted.
    pub cancel: &'a CancellationToken,
    /// The deployment's lock, for children to inherit.
    pub lock: &'a LockFile,
    /// Where progress within the step goes.
    pub progress: &'a dyn Progress,
}

/// Progress within a step.
pub trait Progress: Send + Sync {
    /// So much of so much is done; `total` is 0 while it is not known.
    fn amount(&self, done: u64, total: u64, what: &str);
    /// Something worth a line.
    fn note(&self, line: &str);
}

/// What stands ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// The installed version (`process`) or the image's digest (`docker`).
    pub id: String,
    /// The OpenClaw version, where it is known before the gateway runs.
    pub version: Option<String>,
}

/// What putting a deployment in place found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placed {
    /// What the user should know.
    pub notices: Vec<String>,
    /// The gateway's plugins that its configuration switches on.
    pub plugins: Vec<String>,
    /// The default model that its configuration names.
    pub model: Option<String>,
}

/// What is seen of a gateway's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Nothing is there.
    Absent,
    /// It is there and stopped.
    Stopped,
    /// Its process runs; whether the gateway works is another question.
    Running,
    /// It ended, or ends again and again.
    Crashed {
        /// Its last exit code.
        code: Option<i32>,
        /// Its own words, from the log.
        cause: String,
    },
    /// It does not come up, or does not answer, for a reason that is not its own.
    Stuck {
        /// What it is, with the words of whoever runs it.
        cause: String,
        /// What is to be done.
        remedy: String,
    },
    /// It exited with 78, and its own doctor is at work: it is started again after that.
    Mending {
        /// Its own words, from the log.
        cause: String,
    },
    /// It exited with 78 and is held: starting it again will not help.
    Held {
        /// Its own words, from the log.
        cause: String,
    },
}

/// Why a gateway is not up.
#[derive(Debug)]
pub enum NotUp {
    /// Something else has the port that it is to listen on.
    PortTaken(Failure),
    /// Anything else.
    Other(Failure),
}

impl NotUp {
    /// Something else has its port.
    pub fn port_taken(site: &Site) -> Self {
        let port = site.deployment.facts.port.unwrap_or_default();
        Self::PortTaken(port_taken(site.deployment.spec.bind, port))
    }
}

impl From<Failure> for NotUp {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl From<NotUp> for Failure {
    fn from(why: NotUp) -> Self {
        match why {
            NotUp::PortTaken(failure) | NotUp::Other(failure) => failure,
        }
    }
}

/// A port of this machine that something else has.
pub fn port_taken(bind: IpAddr, port: u16) -> Failure {
    Failure::conflict(format!("port {port} on {bind} is taken")).remedy(format!(
        "end what listens there (ss -ltnp 'sport = :{port}' shows it), or choose another \
         GATEWAY_PORT"
    ))
}

/// How a log is read.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// How many lines from the end.
    pub tail: u32,
    /// Whether to wait for more.
    pub follow: bool,
}

/// What a target does that makes a machine for each deployment, before a gateway can be put there.
/// Each can be told twice.
#[async_trait]
pub trait Machines: Send + Sync {
    /// Makes the key by which the machine is reached.
    async fn make_key(&self, site: &Site, work: Work<'_>) -> Result<(), Failure>;

    /// Writes what the machine is made with. What the user changed there is kept.
    async fn write_config(
        &self,
        site: &Site,
        operation: &str,
        work: Work<'_>,
    ) -> Result<(), Failure>;

    /// Makes the machine, or brings the one that is there to what it should be.
    async fn make(&self, site: &Site, work: Work<'_>) -> Result<MachineFacts, Failure>;

    /// Refuses credentials of another account than the machine's: what is there looks gone to them.
    /// Asks nobody where nothing was begun.
    async fn refuse_other_account(&self, site: &Site, work: Work<'_>) -> Result<(), Failure>;

    /// What there is of the machine by now, in words. Changes nothing in the cloud.
    async fn made(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure>;

    /// Waits until a gateway can be put there.
    async fn ready(&self, site: &Site, work: Work<'_>) -> Result<(), Failure>;
}

/// What a target does that gives each deployment a place of its own on a cluster. Each can be told
/// twice.
#[async_trait]
pub trait Clusters: Send + Sync {
    /// Makes the namespace, and what the gateway is reached by.
    async fn claim(
        &self,
        site: &Site,
        operation: &str,
        work: Work<'_>,
    ) -> Result<ClusterFacts, Failure>;

    /// Waits until it has an address; answers it. `None` where nobody reaches it but through the
    /// cluster's own API, or by a name that was given.
    async fn address(&self, site: &Site, work: Work<'_>) -> Result<Option<String>, Failure>;

    /// Fails unless its volumes have room for going back on an update. Changes nothing.
    async fn may_go_back(&self, site: &Site, work: Work<'_>) -> Result<(), Failure>;

    /// Fails unless a deployment can be removed without its volumes. Changes nothing.
    async fn may_vacate(&self, site: &Site) -> Result<(), Failure>;

    /// Removes everything of a deployment but its volumes, which the next one of its name takes up.
    async fn vacate(&self, site: &Site, work: Work<'_>) -> Result<Vacated, Failure>;

    /// What is to be known of one that runs: that it was started anew, that a volume is nearly full.
    async fn worries(&self, site: &Site) -> Result<Vec<Failure>, Failure>;

    /// Whether the cluster enforces network policies, as a pod finds out; `None` where it cannot be
    /// told. Fails only where it is interrupted.
    async fn enforces_policies(&self, site: &Site, work: Work<'_>)
    -> Result<Option<bool>, Failure>;
}

/// What was removed of a deployment, and which of its volumes stay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Vacated {
    /// What was removed.
    pub removed: Vec<String>,
    /// The volumes that stay, and where.
    pub kept: Vec<String>,
}

/// What is known of a gateway only once it was started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Learned {
    /// The plugins that its configuration switches on.
    pub plugins: Vec<String>,
    /// The default model that it names.
    pub model: Option<String>,
    /// What the user should know.
    pub notices: Vec<String>,
}

/// What a target does that can put a tunnel in front of a gateway. Each can be told twice.
#[async_trait]
pub trait Tunnels: Send + Sync {
    /// Starts the tunnel, or leaves the one that runs as it should, and waits until it leads
    /// somewhere; answers its host name.
    async fn raise(&self, site: &Site, work: Work<'_>) -> Result<String, Failure>;

    /// The host name that it has now; `None` where it leads nowhere.
    async fn host(&self, site: &Site) -> Result<Option<String>, Failure>;

    /// Removes it.
    async fn lower(&self, site: &Site, work: Work<'_>) -> Result<(), Failure>;

    /// Waits until nobody reaches the gateway's plain port from here.
    async fn closed(&self, site: &Site, work: Work<'_>) -> Result<(), Failure>;
}

/// A place where gateways run.
#[async_trait]
pub trait Target: Send + Sync {
    /// Which one.
    fn kind(&self) -> TargetKind;

    /// The machines that it makes, where it makes any.
    fn machines(&self) -> Option<&dyn Machines> {
        None
    }

    /// The places on a cluster that it gives, where it gives any.
    fn clusters(&self) -> Option<&dyn Clusters> {
        None
    }

    /// The tunnels that it puts in front of gateways, where it can.
    fn tunnels(&self) -> Option<&dyn Tunnels> {
        None
    }

    /// Checks what the target needs of the machine. Changes nothing.
    async fn preflight(&self, site: &Site, work: Work<'_>) -> Result<(), Failure>;

    /// Makes the program or image that the specification names ready to run.
    async fn fetch(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure>;

    /// The same, and where what is named may have moved since it was fetched, as a tag does, what
    /// it names today.
    async fn fetch_newest(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        self.fetch(site, work).await
    }

    /// Puts the deployment in place, with its configuration, without starting it. What is there
    /// is kept, but for the managed keys of the configuration.
    async fn place(
        &self,
        site: &Site,
        config: &ManagedConfig,
        work: Work<'_>,
    ) -> Result<Placed, Failure>;

    /// Refuses a configuration in place that cannot be read, and says where it lies. Changes
    /// nothing.
    async fn check_configuration(&self, site: &Site) -> Result<(), Failure>;

    /// Starts it; does nothing when it runs.
    async fn start(&self, site: &Site, work: Work<'_>) -> Result<(), NotUp>;

    /// What its configuration turned out to be when it was started, where that is not known before.
    async fn learned(&self, _site: &Site) -> Result<Option<Learned>, Failure> {
        Ok(None)
    }

    /// Whether something else listens where a gateway that was started is to. Never, where what
    /// starts it takes the port for it.
    async fn lost_port(&self, _site: &Site) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Lets it drain and stops it; does nothing when it does not run.
    async fn stop(&self, site: &Site, work: Work<'_>) -> Result<(), Failure>;

    /// What is seen of it.
    async fn observe(&self, site: &Site) -> Result<Observed, Failure>;

    /// The route that the user's browser takes.
    fn route(&self, site: &Site) -> Result<Box<dyn Dial>, Failure> {
        let address = site.deployment.spec.bind;
        let address =
            if address.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address };
        Ok(Box::new(TcpDial::new((address, site.port()?).into())))
    }

    /// The gateway's own loopback, where the program's own connections keep their scopes.
    fn loopback(&self, site: &Site) -> Result<Box<dyn Dial>, Failure>;

    /// The gateway's own command line, in place. The gateway need not run.
    async fn openclaw(&self, site: &Site, args: &[&str], terminal: bool) -> Result<Cmd, Failure>;

    /// A script for Node.js, in place, with the gateway's package directory as its argument.
    async fn script(&self, site: &Site, script: &str) -> Result<Cmd, Failure>;

    /// A shell in place.
    async fn shell(&self, site: &Site) -> Result<Cmd, Failure>;

    /// A child that prints the log, which is there.
    async fn logs(&self, site: &Site, options: LogOptions) -> Result<Cmd, Failure>;

    /// The end of the log, for finding the cause of a crash.
    async fn log_tail(&self, site: &Site) -> Result<String, Failure>;

    /// Makes a verified archive of the state with the gateway's own tool and copies it to a file.
    async fn archive(
        &self,
        site: &Site,
        into: &std::path::Path,
        work: Work<'_>,
    ) -> Result<(), Failure>;

    /// Puts an archive's state in place of the present one. The gateway does not run.
    async fn restore(
        &self,
        site: &Site,
        from: &std::path::Path,
        work: Work<'_>,
    ) -> Result<(), Failure>;

    /// Makes sure that a keeper watches for browsers, and has looked at the store after this call.
    async fn watch(&self, site: &Site) -> Result<(), Failure> {
        keeper::ensure(site).await
    }

    /// Removes artefacts that this installation ran before and can get again; says which. One
    /// that somebody else uses stays, and that is no failure.
    async fn prune(&self, _superseded: &[String]) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    /// Removes everything of it; says what it removed.
    async fn remove(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure>;
}

/// The targets that there are.
#[derive(Clone)]
pub struct Targets {
    process: Arc<process::ProcessTarget>,
    docker: Arc<docker::DockerTarget>,
    ec2: Arc<machine::MachineTarget>,
    lightsail: Arc<machine::MachineTarget>,
    eks: Arc<cluster::ClusterTarget>,
    cluster_maker: Arc<eks::EksMaker>,
    stand_in: Option<Arc<dyn Target>>,
    own_cluster: Option<Arc<dyn OwnCluster>>,
}

impl Targets {
    /// The targets of this machine.
    pub fn new(layout: &Layout) -> Self {
        let tools = machine::Tools {
            terraform: Terraform::new("terraform"),
            aws: Environment::default(),
            own_address: None,
            boot_within: machine::BOOT_WITHIN,
            checkout: Checkout::default(),
        };
        Self::driving(layout, &tools, cluster::Finder::default())
    }

    /// The same, with these tools for machines.
    pub fn driving(layout: &Layout, tools: &machine::Tools, finder: cluster::Finder) -> Self {
        let machines = |cloud| Arc::new(machine::MachineTarget::new(cloud, tools.clone()));
        Self {
            process: Arc::new(process::ProcessTarget::new(layout.clone())),
            docker: Arc::new(docker::DockerTarget::new().made_from(tools.checkout.clone())),
            ec2: machines(machine::Cloud::Ec2),
            lightsail: machines(machine::Cloud::Lightsail),
            eks: Arc::new(cluster::ClusterTarget::new(finder, tools)),
            cluster_maker: Arc::new(eks::EksMaker::new(tools)),
            stand_in: None,
            own_cluster: None,
        }
    }

    /// The same with another target in the place of every kind, for tests of the operations.
    pub fn with_stand_in(layout: &Layout, target: Arc<dyn Target>) -> Self {
        Self { stand_in: Some(target), ..Self::new(layout) }
    }

    /// The same with another maker of the installation's own cluster, for tests of the operations.
    pub fn with_own_cluster(self, own_cluster: Arc<dyn OwnCluster>) -> Self {
        Self { own_cluster: Some(own_cluster), ..self }
    }

    /// The target of a kind.
    pub fn get(&self, kind: TargetKind) -> &dyn Target {
        match (&self.stand_in, kind) {
            (Some(target), _) => &**target,
            (None, TargetKind::Process) => &*self.process,
            (None, TargetKind::Docker) => &*self.docker,
            (None, TargetKind::Ec2) => &*self.ec2,
            (None, TargetKind::Lightsail) => &*self.lightsail,
            (None, TargetKind::Eks) => &*self.eks,
        }
    }

    /// What the environment says of AWS.
    pub fn aws(&self) -> &Environment {
        &self.ec2.tools().aws
    }

    /// The target of a kind, where it makes machines.
    pub fn machine(&self, kind: TargetKind) -> Option<&machine::MachineTarget> {
        match kind {
            TargetKind::Ec2 => Some(&*self.ec2),
            TargetKind::Lightsail => Some(&*self.lightsail),
            TargetKind::Process | TargetKind::Docker | TargetKind::Eks => None,
        }
    }

    /// What the operations make the installation's own cluster by.
    pub fn own_cluster(&self) -> &dyn OwnCluster {
        self.own_cluster.as_deref().unwrap_or(&*self.cluster_maker)
    }

    /// What makes that cluster with Terraform, for asking about it.
    pub fn cluster_maker(&self) -> &eks::EksMaker {
        &self.cluster_maker
    }

    /// The `process` target, for its supervisor.
    pub fn process(&self) -> &process::ProcessTarget {
        &self.process
    }

    /// The `docker` target, for finding out whether it can be used.
    pub fn docker(&self) -> &docker::DockerTarget {
        &self.docker
    }
}
