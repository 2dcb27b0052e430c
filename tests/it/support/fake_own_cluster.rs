//! The installation's own cluster in memory: what is made of it, and what hangs by it.
//!
//! Owns the calls of its maker, with the switches of the target in memory. As soon as the
//! cluster takes gateways, one has left something that holds its network until it is cleared away.
//! Refuses to carry gateways.

use async_trait::async_trait;
use openclaw_pipeline::domain::{EksCluster, Failure, OwnClusterFacts};
use openclaw_pipeline::targets::own_cluster::{Cleared, Removal};
use openclaw_pipeline::targets::{OwnCluster, Site, Work};

use super::fake_target::{FakeTarget, World};

/// The cluster, as far as it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// The ranges that its values let in.
    pub ranges: usize,
    /// Whether it is there.
    pub whole: bool,
    /// Whether something of a gateway's holds its network.
    pub held: bool,
}

#[async_trait]
impl OwnCluster for FakeTarget {
    async fn preflight(&self, _site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let call = self.enter("preflight", Some(work)).await?;
        self.leave("preflight", call).await
    }

    async fn write_values(&self, site: &Site, _operation: &str) -> Result<(), Failure> {
        let call = self.enter("write_values", None).await?;
        let machine = site.deployment.spec.machine.as_ref().expect("it has nodes");
        let ranges = machine.ssh_cidrs.len();
        let nothing = Made { ranges, whole: false, held: false };
        self.world().own_cluster.get_or_insert(nothing).ranges = ranges;
        self.leave("write_values", call).await
    }

    async fn make(
        &self,
        _site: &Site,
        _operation: &str,
        work: Work<'_>,
    ) -> Result<OwnClusterFacts, Failure> {
        let call = self.enter("make", Some(work)).await?;
        {
            let mut world = self.world();
            world.own_cluster.as_mut().expect("made without values").whole = true;
        }
        self.leave("make", call).await?;
        Ok(OwnClusterFacts {
            at: EksCluster {
                server: "https://api.example".into(),
                authority: String::new(),
                name: "in-memory".into(),
                region: "in-memory-1".into(),
            },
            account: "in memory".into(),
            version: "1".into(),
            made_by: "an operation".into(),
        })
    }

    async fn made(&self, _site: &Site, _work: Work<'_>) -> Result<Vec<String>, Failure> {
        let is_whole = self.world().own_cluster.is_some_and(|it| it.whole);
        Ok(if is_whole { vec!["a cluster".to_owned()] } else { Vec::new() })
    }

    async fn ready(&self, _facts: &OwnClusterFacts, work: Work<'_>) -> Result<(), Failure> {
        let call = self.enter("ready", Some(work)).await?;
        {
            let mut world = self.world();
            let made = world.own_cluster.as_mut().filter(|it| it.whole);
            made.expect("what is not there is not ready").held = true;
        }
        self.leave("ready", call).await
    }

    async fn refuse_in_use(
        &self,
        _site: &Site,
        _removal: Removal<'_>,
        work: Work<'_>,
    ) -> Result<Option<String>, Failure> {
        let call = self.enter("refuse_in_use", Some(work)).await?;
        self.leave("refuse_in_use", call).await?;
        Ok(None)
    }

    async fn clear(
        &self,
        _site: &Site,
        _removal: Removal<'_>,
        work: Work<'_>,
    ) -> Result<Cleared, Failure> {
        let call = self.enter("clear", Some(work)).await?;
        if let Some(made) = self.world().own_cluster.as_mut() {
            made.held = false;
        }
        self.leave("clear", call).await?;
        Ok(Cleared::default())
    }

    async fn remove(&self, _site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        let call = self.enter("remove", Some(work)).await?;
        {
            let mut world = self.world();
            assert!(world.own_cluster.is_none_or(|it| !it.held), "its network is held");
            *world = World::default();
        }
        self.leave("remove", call).await?;
        Ok(vec!["the cluster in memory".to_owned()])
    }
}
