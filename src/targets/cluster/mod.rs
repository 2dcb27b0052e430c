//! The `eks` target: a gateway in a namespace of its own on a Kubernetes cluster.
//!
//! Owns what every operation's steps are there, through the cluster's own API. Kubernetes does the
//! placing, restarting and storing; nothing of that is done again here. Refuses a namespace that is not
//! the deployment's own, and a cluster that nobody named.

mod address;
mod archive;
mod checks;
mod entry;
mod finding;
mod inside;
mod manifests;
mod names;
mod place;
mod policies;
mod pull;
mod reason;
mod remove;
mod rise;
mod route;
mod state;
mod vacate;
mod worries;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use super::checkout::Checkout;
use super::rendering::ManagedConfig;
use super::site::Site;
use super::{
    Artefact, Clusters, Learned, LogOptions, NotUp, Observed, Placed, Target, Vacated, Work,
};
use crate::domain::{ClusterFacts, Expose, Failure, TargetKind};
use crate::drivers::kubernetes::{Cluster, Whereabouts};
use crate::exec::Cmd;
use crate::gateway::Dial;

pub use finding::{Finder, Own};
pub(super) use names::Whose;
pub(super) use remove::{Fate, fate_of_volume};

/// The target.
#[derive(Debug)]
pub struct ClusterTarget {
    finder: Finder,
    checkout: Checkout,
    /// How long a pod, or an address, may take to come.
    within: Duration,
    /// Who tells this machine's own address, where that is not the usual one.
    own_address: Option<String>,
}

impl ClusterTarget {
    /// The target, which finds clusters so, with the checkout and the patience of these tools.
    pub fn new(finder: Finder, tools: &super::machine::Tools) -> Self {
        let own_address = tools.own_address.clone();
        Self { finder, checkout: tools.checkout.clone(), within: tools.boot_within, own_address }
    }

    /// A look at one deployment.
    async fn at<'a>(&'a self, site: &'a Site) -> Result<At<'a>, Failure> {
        let cluster = self.finder.find(site).await?;
        let place = self.finder.place(site)?;
        Ok(At { cluster, place, site, target: self, namespace: names::namespace(site) })
    }

    /// The same, where the namespace is there, and its own.
    async fn own<'a>(&'a self, site: &'a Site) -> Result<At<'a>, Failure> {
        let at = self.at(site).await?;
        at.require_own().await?;
        Ok(at)
    }
}

/// One deployment on its cluster.
struct At<'a> {
    cluster: Cluster,
    place: Whereabouts,
    site: &'a Site,
    target: &'a ClusterTarget,
    namespace: String,
}

impl<'a> At<'a> {
    fn manifests(&self) -> manifests::Manifests<'a> {
        manifests::Manifests::new(self.site, &self.target.checkout)
    }
}

#[async_trait]
impl Clusters for ClusterTarget {
    async fn claim(
        &self,
        site: &Site,
        operation: &str,
        work: Work<'_>,
    ) -> Result<ClusterFacts, Failure> {
        self.at(site).await?.claim(operation, work).await
    }

    async fn address(&self, site: &Site, work: Work<'_>) -> Result<Option<String>, Failure> {
        self.own(site).await?.address(work).await
    }

    async fn may_vacate(&self, site: &Site) -> Result<(), Failure> {
        if site.deployment.facts.cluster.is_none() {
            return Ok(());
        }
        self.at(site).await?.may_vacate().await
    }

    async fn may_go_back(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        self.own(site).await?.may_go_back(work).await
    }

    async fn worries(&self, site: &Site) -> Result<Vec<Failure>, Failure> {
        self.own(site).await?.worries().await
    }

    async fn vacate(&self, site: &Site, work: Work<'_>) -> Result<Vacated, Failure> {
        let mut vacated = match site.deployment.facts.cluster {
            None => Vacated::default(),
            Some(_) => self.at(site).await?.vacate(work).await?,
        };
        vacated.removed.extend(site.remove_files()?);
        Ok(vacated)
    }

    async fn enforces_policies(
        &self,
        site: &Site,
        work: Work<'_>,
    ) -> Result<Option<bool>, Failure> {
        match self.own(site).await {
            Ok(at) => at.enforces_policies(work).await,
            Err(_) => Ok(None),
        }
    }
}

#[async_trait]
impl Target for ClusterTarget {
    fn kind(&self) -> TargetKind {
        TargetKind::Eks
    }

    fn clusters(&self) -> Option<&dyn Clusters> {
        Some(self)
    }

    async fn preflight(&self, site: &Site, _work: Work<'_>) -> Result<(), Failure> {
        self.at(site).await?.check().await
    }

    async fn fetch(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        self.own(site).await?.fetch(false, work).await
    }

    async fn fetch_newest(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        self.own(site).await?.fetch(true, work).await
    }

    async fn place(
        &self,
        site: &Site,
        managed: &ManagedConfig,
        work: Work<'_>,
    ) -> Result<Placed, Failure> {
        self.own(site).await?.place(managed, work).await
    }

    async fn check_configuration(&self, site: &Site) -> Result<(), Failure> {
        self.own(site).await?.check_configuration().await
    }

    async fn start(&self, site: &Site, work: Work<'_>) -> Result<(), NotUp> {
        Ok(self.own(site).await?.start(work).await?)
    }

    async fn learned(&self, site: &Site) -> Result<Option<Learned>, Failure> {
        self.own(site).await?.learned().await
    }

    async fn stop(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        if site.deployment.facts.cluster.is_none() {
            return Ok(());
        }
        self.at(site).await?.stop(work).await
    }

    async fn observe(&self, site: &Site) -> Result<Observed, Failure> {
        if site.deployment.facts.cluster.is_none() {
            return Ok(Observed::Absent);
        }
        self.at(site).await?.observe().await
    }

    fn route(&self, site: &Site) -> Result<Box<dyn Dial>, Failure> {
        if let Some(ingress) = site.deployment.ingress() {
            return Ok(route::by_ingress(ingress));
        }
        let facts = site.deployment.facts.cluster.as_ref();
        match facts.and_then(|it| it.host.clone()) {
            Some(host) if site.deployment.expose() != Some(Expose::None) => {
                Ok(route::by_name(host, site.port()?))
            }
            _ => self.loopback(site),
        }
    }

    fn loopback(&self, site: &Site) -> Result<Box<dyn Dial>, Failure> {
        Ok(Box::new(route::Forwarded::new(self.finder.clone(), site.clone())))
    }

    async fn openclaw(&self, site: &Site, args: &[&str], terminal: bool) -> Result<Cmd, Failure> {
        self.own(site).await?.openclaw(args, terminal).await
    }

    async fn script(&self, site: &Site, script: &str) -> Result<Cmd, Failure> {
        self.own(site).await?.script(script).await
    }

    async fn shell(&self, site: &Site) -> Result<Cmd, Failure> {
        self.own(site).await?.shell().await
    }

    async fn logs(&self, site: &Site, options: LogOptions) -> Result<Cmd, Failure> {
        self.own(site).await?.logs(options).await
    }

    async fn log_tail(&self, site: &Site) -> Result<String, Failure> {
        self.own(site).await?.log_tail().await
    }

    async fn archive(&self, site: &Site, into: &Path, work: Work<'_>) -> Result<(), Failure> {
        self.own(site).await?.archive(into, work).await
    }

    async fn restore(&self, site: &Site, from: &Path, work: Work<'_>) -> Result<(), Failure> {
        self.own(site).await?.restore(from, work).await
    }

    async fn remove(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        let mut removed = match site.deployment.facts.cluster {
            // A launch that failed before it made anything can be taken back without the cluster.
            None => Vec::new(),
            Some(_) => self.at(site).await?.remove(work).await?,
        };
        removed.extend(site.remove_files()?);
        Ok(removed)
    }
}
