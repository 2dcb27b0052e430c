//! The installation's own cluster on EKS, as Terraform makes it.
//!
//! Owns its life: its values, Terraform's runs, that its API takes this program's credentials and a node
//! takes pods, and what would keep it from being removed. The gateways on it are another target's.
//! Refuses an apply that would take the cluster or its network away, and to remove anything in it that
//! carries another installation's label or none.

mod clearing;
mod making;
mod strays;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::machine::files::Files;
use super::machine::meter::Meter;
use super::machine::state::{self, Kept, Room};
use super::machine::{Tools, account, infra};
use super::own_cluster::{Cleared, OwnCluster, Removal};
use super::{Layout, Site, Work};
use crate::assets::terraform;
use crate::domain::{EksCluster, Failure, OwnClusterFacts};
use crate::drivers::kubernetes::{Cluster, Problem, Whereabouts};
use crate::drivers::terraform::{Message, Plan, Run, State};
use crate::secrets::private::create_private_directory;

/// What makes it, and looks after it.
#[derive(Debug)]
pub struct EksMaker {
    tools: Tools,
}

impl EksMaker {
    /// With these tools.
    pub fn new(tools: &Tools) -> Self {
        Self { tools: tools.clone() }
    }

    /// Makes the module ready: its providers, once for all.
    pub async fn init(
        &self,
        layout: &Layout,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Failure> {
        self.tools.terraform.require().await?;
        self.tools.module(&terraform::CLUSTER, layout, cancel).await
    }

    /// What Terraform's state holds.
    pub async fn held(&self, site: &Site, work: Work<'_>) -> Result<State, Failure> {
        state::held(&self.tools.terraform, site, work).await
    }

    /// What making it would change, found out in a directory of its own.
    pub async fn plan(&self, site: &Site, within: &Path, work: Work<'_>) -> Result<Plan, Failure> {
        let module = self.init(&site.layout, work.cancel).await?;
        let layout = Layout::new(within).of_installation(site.layout.installation());
        let mut copy = Site { layout, ..site.clone() };
        if let Some(machine) = &mut copy.deployment.spec.machine {
            machine.state = None;
        }
        let (from, to) = (Files::of(site), Files::of(&copy));
        create_private_directory(&copy.dir())?;
        if from.users().exists() {
            to.write_users_text(&std::fs::read_to_string(from.users())?)?;
        }
        state::copy(&self.tools.terraform, site, &to.state(), work).await?;
        self.write_values(&copy, "plan").await?;
        let room = Room::of(&copy, module);
        room.close()?;
        work.progress.amount(0, 0, "what would change");
        let told = |_: &Message| {};
        let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
        self.tools.terraform.plan(room.workspace(), &to.plan(), run).await
    }

    /// Its API, as whoever the credentials belong to.
    async fn api(&self, at: &EksCluster) -> Result<Cluster, Failure> {
        let place = Whereabouts::Eks(at.clone());
        Box::pin(Cluster::find(&place, &self.tools.aws, &CancellationToken::new())).await
    }

    /// Fails where its API does not answer; `None` where it takes no calls just now.
    pub async fn answers(&self, facts: &OwnClusterFacts) -> Result<Option<()>, Failure> {
        match self.api(&facts.at).await?.answers().await {
            Err(error) if error.problem == Problem::Busy => Ok(None),
            answers => Ok(Some(answers?)),
        }
    }

    /// Removes everything that the state holds, what of it stands in none, and the files; says what it
    /// was.
    pub async fn remove(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        let mut removed = Vec::new();
        let held = self.held(site, work).await?.held;
        if account::has_begun(site) || !held.is_empty() {
            let region = infra::region(site, infra::spec(site)?)?;
            account::of(&self.tools, site, &region, work).await?;
            // What was under way when a run was killed is in the way of the rest.
            removed.extend(self.remove_strays(site, work).await?);
        }
        if !held.is_empty() {
            removed.extend(self.destroy(site, work).await?);
            removed.extend(self.remove_strays(site, work).await?);
        }
        Kept::of(site).remove()?;
        site.layout.remove_looks(&site.deployment.name)?;
        removed.extend(site.remove_files()?);
        Ok(removed)
    }

    async fn destroy(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        let module = self.init(&site.layout, work.cancel).await?;
        let room = Room::of(site, module);
        let meter = Meter::new(work.progress);
        let told = |message: &Message| meter.told(message);
        let run = Run { cancel: work.cancel, lock: work.lock, told: &told };
        self.tools.terraform.destroy(room.workspace(), run).await?;
        let left = self.held(site, work).await?.held;
        if left.is_empty() {
            return Ok(meter.ended());
        }
        Err(Failure::failed(format!(
            "{} resources are still in the state in {}",
            left.len(),
            state::place(site)
        )))
    }
}

/// Each is what stands under the same name in these files.
#[async_trait]
impl OwnCluster for EksMaker {
    async fn preflight(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        Self::preflight(self, site, work).await
    }

    async fn write_values(&self, site: &Site, operation: &str) -> Result<(), Failure> {
        Self::write_values(self, site, operation).await
    }

    async fn make(
        &self,
        site: &Site,
        operation: &str,
        work: Work<'_>,
    ) -> Result<OwnClusterFacts, Failure> {
        Self::make(self, site, operation, work).await
    }

    async fn made(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        Self::made(self, site, work).await
    }

    async fn ready(&self, facts: &OwnClusterFacts, work: Work<'_>) -> Result<(), Failure> {
        Self::ready(self, facts, work).await
    }

    async fn refuse_in_use(
        &self,
        site: &Site,
        removal: Removal<'_>,
        work: Work<'_>,
    ) -> Result<Option<String>, Failure> {
        Self::refuse_in_use(self, site, removal, work).await
    }

    async fn clear(
        &self,
        site: &Site,
        removal: Removal<'_>,
        work: Work<'_>,
    ) -> Result<Cleared, Failure> {
        Self::clear(self, site, removal, work).await
    }

    async fn remove(&self, site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        Self::remove(self, site, work).await
    }
}
