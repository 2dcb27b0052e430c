//! The `docker` target: a gateway in a container of this machine's Docker engine.
//!
//! Owns nothing but which engine that is: what is done there stands with the containers.

mod build;

use std::path::Path;

use async_trait::async_trait;

use super::checkout::Checkout;
use super::container::Engine;
use super::rendering::ManagedConfig;
use super::site::Site;
use super::{Artefact, LogOptions, NotUp, Observed, Placed, Target, Work};
use crate::domain::{Failure, TargetKind};
use crate::exec::Cmd;
use crate::gateway::Dial;

pub use build::Program;

/// The target.
#[derive(Debug, Default)]
pub struct DockerTarget {
    engine: Engine,
}

impl DockerTarget {
    /// The target of this machine's engine.
    pub fn new() -> Self {
        Self { engine: Engine::here() }
    }

    /// The same, with the compose file of a checkout.
    pub fn made_from(self, checkout: Checkout) -> Self {
        Self { engine: self.engine.made_from(checkout) }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Builds a gateway image of an installed version.
    pub async fn build(
        &self,
        program: &Program,
        image: &str,
        base: Option<&str>,
        work: Work<'_>,
    ) -> Result<(), Failure> {
        build::build(&self.engine, program, image, base, work).await
    }
}

#[async_trait]
impl Target for DockerTarget {
    fn kind(&self) -> TargetKind {
        TargetKind::Docker
    }

    async fn preflight(&self, _site: &Site, _work: Work<'_>) -> Result<(), Failure> {
        self.engine.preflight().await
    }

    async fn fetch(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        self.engine.fetch(site, work).await
    }

    async fn fetch_newest(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        self.engine.fetch_newest(site, work).await
    }

    async fn place(
        &self,
        site: &Site,
        managed: &ManagedConfig,
        work: Work<'_>,
    ) -> Result<Placed, Failure> {
        self.engine.put_in_place(site, managed, work).await
    }

    async fn check_configuration(&self, site: &Site) -> Result<(), Failure> {
        self.engine.check_configuration(site).await
    }

    async fn start(&self, site: &Site, work: Work<'_>) -> Result<(), NotUp> {
        self.engine.start(site, work).await
    }

    async fn stop(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        self.engine.stop(site, work).await
    }

    async fn observe(&self, site: &Site) -> Result<Observed, Failure> {
        self.engine.observe(site).await
    }

    fn loopback(&self, site: &Site) -> Result<Box<dyn Dial>, Failure> {
        Ok(self.engine.loopback(site))
    }

    async fn openclaw(&self, site: &Site, args: &[&str], terminal: bool) -> Result<Cmd, Failure> {
        self.engine.openclaw(site, args, terminal).await
    }

    async fn script(&self, site: &Site, script: &str) -> Result<Cmd, Failure> {
        self.engine.script(site, script).await
    }

    async fn shell(&self, site: &Site) -> Result<Cmd, Failure> {
        self.engine.shell(site).await
    }

    async fn logs(&self, site: &Site, options: LogOptions) -> Result<Cmd, Failure> {
        self.engine.logs(site, options).await
    }

    async fn log_tail(&self, site: &Site) -> Result<String, Failure> {
        self.engine.log_tail(site).await
    }

    async fn archive(&self, site: &Site, into: &Path, work: Work<'_>) -> Result<(), Failure> {
        self.engine.archive(site, into, work).await
    }

    async fn restore(&self, site: &Site, from: &Path, work: Work<'_>) -> Result<(), Failure> {
        self.engine.restore(site, from, work).await
    }

    async fn prune(&self, superseded: &[String]) -> Result<Vec<String>, Failure> {
        self.engine.prune(superseded).await
    }

    async fn remove(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        let removed = self.engine.remove(site, work).await?;
        match std::fs::remove_dir_all(site.dir()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        Ok(removed)
    }
}
