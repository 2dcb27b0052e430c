//! The cluster of the target in memory: each deployment claims its place there before anything is put
//! into it.
//!
//! Owns the calls that only targets with a cluster have. Refuses to keep volumes.

use async_trait::async_trait;
use openclaw_pipeline::domain::{ClusterFacts, Failure, cluster};
use openclaw_pipeline::targets::{Clusters, Site, Vacated, Work};

use super::fake_target::{FakeTarget, When};

#[async_trait]
impl Clusters for FakeTarget {
    async fn claim(
        &self,
        site: &Site,
        _operation: &str,
        work: Work<'_>,
    ) -> Result<ClusterFacts, Failure> {
        let call = self.enter("claim", Some(work)).await?;
        self.world().claimed = true;
        self.leave("claim", call).await?;
        let namespace = cluster::namespace(&site.deployment.name);
        Ok(ClusterFacts { namespace, uid: "in-memory".into(), ..ClusterFacts::default() })
    }

    async fn address(&self, _site: &Site, work: Work<'_>) -> Result<Option<String>, Failure> {
        let call = self.enter("address", Some(work)).await?;
        assert!(self.world().claimed, "what was not claimed has no address");
        self.leave("address", call).await?;
        Ok(Some("gateway.example".to_owned()))
    }

    async fn may_go_back(&self, _site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let call = self.enter("may_go_back", Some(work)).await?;
        self.leave("may_go_back", call).await
    }

    async fn may_vacate(&self, _site: &Site) -> Result<(), Failure> {
        Ok(())
    }

    async fn vacate(&self, _site: &Site, _work: Work<'_>) -> Result<Vacated, Failure> {
        Err(Failure::failed("a target in memory keeps no volumes"))
    }

    async fn worries(&self, _site: &Site) -> Result<Vec<Failure>, Failure> {
        Ok(Vec::new())
    }

    async fn enforces_policies(
        &self,
        _site: &Site,
        work: Work<'_>,
    ) -> Result<Option<bool>, Failure> {
        // What fails in it fails nothing.
        let call = self.number();
        self.goes_on(call, Some(work)).await?;
        self.hang(call, When::After).await;
        Ok(Some(true))
    }
}
