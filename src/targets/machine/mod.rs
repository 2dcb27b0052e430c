//! The targets that make a machine for each deployment: EC2 and Lightsail.
//!
//! Owns the machine's life: its keys, its configuration, Terraform's runs, its first connection, and
//! what is left when it is gone. On the machine, a gateway is a container like any other. Refuses to
//! run anything there before the machine has shown the key that it is known by, and any apply that
//! would take away what holds data.

pub(super) mod account;
mod adopted;
mod ahead;
mod boot;
mod checks;
mod cloud;
pub(super) mod files;
pub(super) mod infra;
pub(super) mod meter;
mod reach;
mod route;
pub mod server;
pub(super) mod state;
pub(super) mod strays;
mod sweep;
mod tunnel;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::checkout::Checkout;
use super::container::{self, Engine};
use super::rendering::ManagedConfig;
use super::site::Site;
use super::{
    Artefact, Layout, LogOptions, Machines, NotUp, Observed, Placed, Target, Tunnels, Work,
};
use crate::assets::terraform::Module;
use crate::domain::{Expose, Failure, MachineFacts, TargetKind};
use crate::drivers::aws::Environment;
use crate::drivers::ssh::{self, make_key};
use crate::drivers::terraform::Terraform;
use crate::exec::Cmd;
use crate::gateway::{Dial, TcpDial};

pub use adopted::Earlier;
pub use ahead::Written;
pub use cloud::{Cloud, in_words};
use files::Files;
pub use state::resource_name;
pub use sweep::{Known, Sweep, Swept};

/// How long a machine may take to boot where nobody says otherwise.
pub const BOOT_WITHIN: Duration = Duration::from_secs(600);

/// What machines are made with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Terraform.
    pub terraform: Terraform,
    /// What the environment says of AWS.
    pub aws: Environment,
    /// Who tells this machine's own address, where that is not the usual one.
    pub own_address: Option<String>,
    /// How long a machine may take from its making until it takes commands.
    pub boot_within: Duration,
    /// Where the modules and the gateway's compose file come from.
    pub checkout: Checkout,
}

impl Tools {
    /// A module, made ready.
    pub(super) async fn module(
        &self,
        module: &Module,
        layout: &Layout,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Failure> {
        let files = self.checkout.module(module)?;
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, &**text)).collect();
        self.terraform.prepare(&layout.modules(), &files, cancel).await
    }
}

/// A target whose deployments have machines of their own.
#[derive(Debug)]
pub struct MachineTarget {
    cloud: Cloud,
    tools: Tools,
    /// What is known of each machine's engine, by the deployment's id and the machine's.
    engines: Mutex<HashMap<String, Arc<Engine>>>,
}

impl MachineTarget {
    /// The target of a cloud.
    pub fn new(cloud: Cloud, tools: Tools) -> Self {
        Self { cloud, tools, engines: Mutex::default() }
    }

    /// What its machines are made with.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The machine's engine. Commands share a connection, which is opened here.
    async fn engine(&self, site: &Site) -> Result<Arc<Engine>, Failure> {
        if let Err(refusal) = reach::machine(site)?.open().await {
            if refusal.may_pass() {
                self.is_off(site).await?;
            }
            return Err(refusal.into());
        }
        self.engine_of(site)
    }

    /// Refuses a machine that is switched off, or gone. An account that does not answer says nothing
    /// about it.
    async fn is_off(&self, site: &Site) -> Result<(), Failure> {
        match account::is_off(&self.tools.aws, self.cloud, site).await {
            Ok(Some(failure)) => Err(failure),
            _ => Ok(()),
        }
    }

    fn engine_of(&self, site: &Site) -> Result<Arc<Engine>, Failure> {
        let machine = reach::known(site)?;
        let key = format!("{}/{}/{}", site.deployment.id, machine.id, machine.address);
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&key) {
            return Ok(Arc::clone(engine));
        }
        let engine = Engine::there(reach::machine(site)?.root());
        let engine = Arc::new(engine.made_from(self.tools.checkout.clone()));
        engines.insert(key, Arc::clone(&engine));
        Ok(engine)
    }

    fn forget(&self, site: &Site) {
        let of_it = format!("{}/", site.deployment.id);
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.retain(|key, _| !key.starts_with(&of_it));
    }
}

#[async_trait]
impl Machines for MachineTarget {
    async fn make_key(&self, site: &Site, _work: Work<'_>) -> Result<(), Failure> {
        let files = Files::of(site);
        files.make()?;
        let comment = format!("openclaw-{}", site.deployment.name);
        make_key(&files.key(), self.cloud.key(), &comment).await.map(drop)
    }

    async fn write_config(
        &self,
        site: &Site,
        operation: &str,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        infra::write_config(self.cloud, &self.tools, site, operation, work).await
    }

    async fn make(&self, site: &Site, work: Work<'_>) -> Result<MachineFacts, Failure> {
        infra::make(self.cloud, &self.tools, site, work).await
    }

    async fn refuse_other_account(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        infra::refuse_other_account(&self.tools, site, work).await
    }

    async fn made(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        let held = state::held(&self.tools.terraform, site, work).await?;
        Ok(meter::things(&held))
    }

    async fn ready(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        // One that just begins is waited for.
        if site.deployment.facts.machine.as_ref().is_some_and(|machine| machine.ready) {
            self.is_off(site).await?;
        }
        reach::ready(site, self.tools.boot_within, work).await
    }
}

#[async_trait]
impl Target for MachineTarget {
    fn kind(&self) -> TargetKind {
        self.cloud.kind()
    }

    fn machines(&self) -> Option<&dyn Machines> {
        Some(self)
    }

    fn tunnels(&self) -> Option<&dyn Tunnels> {
        Some(self)
    }

    async fn preflight(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        self.tools.checkout.module(self.cloud.module())?;
        self.tools.checkout.compose()?;
        self.tools.terraform.require().await?;
        ssh::require().await?;
        let machine = infra::spec(site)?;
        state::refuse_others(&self.tools.terraform, site, work).await?;
        checks::check(&self.tools, self.cloud, site, machine, work).await
    }

    async fn fetch(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        self.engine(site).await?.fetch(site, work).await
    }

    async fn fetch_newest(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        self.engine(site).await?.fetch_newest(site, work).await
    }

    async fn place(
        &self,
        site: &Site,
        managed: &ManagedConfig,
        work: Work<'_>,
    ) -> Result<Placed, Failure> {
        self.engine(site).await?.put_in_place(site, managed, work).await
    }

    async fn check_configuration(&self, site: &Site) -> Result<(), Failure> {
        self.engine(site).await?.check_configuration(site).await
    }

    async fn start(&self, site: &Site, work: Work<'_>) -> Result<(), NotUp> {
        self.engine(site).await?.start(site, work).await
    }

    async fn stop(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        if site.deployment.facts.machine.is_none() || container::was_never_made(site) {
            return Ok(());
        }
        self.engine(site).await?.stop(site, work).await
    }

    async fn observe(&self, site: &Site) -> Result<Observed, Failure> {
        if site.deployment.facts.machine.is_none() {
            return Ok(Observed::Absent);
        }
        self.engine(site).await?.observe(site).await
    }

    fn route(&self, site: &Site) -> Result<Box<dyn Dial>, Failure> {
        let port = site.port()?;
        if let Some(tunnel) = site.deployment.tunnel() {
            return Ok(Box::new(crate::targets::https::Https::new(tunnel.host.clone())));
        }
        if matches!(site.deployment.expose(), Some(Expose::None | Expose::Tunnel)) {
            return Ok(Box::new(route::Forwarded::new(reach::machine(site)?, port)));
        }
        let address = reach::known(site)?.address;
        Ok(Box::new(TcpDial::new((address, port).into())))
    }

    fn loopback(&self, site: &Site) -> Result<Box<dyn Dial>, Failure> {
        Ok(self.engine_of(site)?.loopback(site))
    }

    async fn openclaw(&self, site: &Site, args: &[&str], terminal: bool) -> Result<Cmd, Failure> {
        self.engine(site).await?.openclaw(site, args, terminal).await
    }

    async fn script(&self, site: &Site, script: &str) -> Result<Cmd, Failure> {
        self.engine(site).await?.script(site, script).await
    }

    async fn shell(&self, site: &Site) -> Result<Cmd, Failure> {
        self.engine(site).await?.shell(site).await
    }

    async fn logs(&self, site: &Site, options: LogOptions) -> Result<Cmd, Failure> {
        self.engine(site).await?.logs(site, options).await
    }

    async fn log_tail(&self, site: &Site) -> Result<String, Failure> {
        self.engine(site).await?.log_tail(site).await
    }

    async fn archive(&self, site: &Site, into: &Path, work: Work<'_>) -> Result<(), Failure> {
        self.engine(site).await?.archive(site, into, work).await
    }

    async fn restore(&self, site: &Site, from: &Path, work: Work<'_>) -> Result<(), Failure> {
        self.engine(site).await?.restore(site, from, work).await
    }

    async fn remove(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        if let Ok(machine) = reach::machine(site) {
            machine.close().await;
        }
        self.forget(site);
        let mut removed = infra::destroy(self.cloud, &self.tools, site, work).await?;
        state::Kept::of(site).remove()?;
        site.layout.remove_looks(&site.deployment.name)?;
        removed.extend(site.remove_files()?);
        Ok(removed)
    }
}

/// A deployment with a machine, for unit tests.
#[cfg(test)]
fn site_of_a_test(data: &Path, name: crate::domain::DeploymentName) -> Site {
    use super::site::GatewaySecrets;
    use crate::domain::{Deployment, DeploymentStatus, Facts};
    use crate::secrets::Secret;
    let machine = MachineFacts {
        address: [203, 0, 113, 7].into(),
        id: "i-1".into(),
        image: None,
        region: "us-east-1".into(),
        account: "123456789012".into(),
        user: "ec2-user".into(),
        resource_name: "openclaw-m-1".into(),
        made_by: "1".into(),
        ready: true,
    };
    let spec = serde_json::json!({
        "target": TargetKind::Ec2, "bind": "127.0.0.1", "heartbeat": "0m",
        "approval": crate::domain::approval::ApprovalPolicy::default(), "memory_mib": 2048,
    });
    Site {
        layout: Layout::new(data),
        deployment: Deployment {
            id: "1".into(),
            name,
            status: DeploymentStatus::Running,
            spec: serde_json::from_value(spec).expect("a specification"),
            facts: Facts { machine: Some(machine), ..Facts::default() },
            owner: None,
            created_at: String::new(),
            updated_at: String::new(),
        },
        secrets: GatewaySecrets::with_token(Secret::new("")),
    }
}
