//! What of the cluster is in the account and in no state.
//!
//! Owns which of it goes: where the cluster is to be removed, all. Refuses to take away beneath gateways
//! what was made for them and what a state has lost.

use super::EksMaker;
use super::making::KEPT;
use crate::domain::Failure;
use crate::targets::machine::{infra, state, strays};
use crate::targets::{Site, Work};

/// What of it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// All: the cluster goes, too.
    All,
    /// What no gateway hangs by: all that there is of a cluster that was never whole.
    NobodyNeeds,
}

impl EksMaker {
    /// Removes it, and says what it was.
    pub(super) async fn take_strays(
        &self,
        site: &Site,
        taken: Taken,
        work: Work<'_>,
    ) -> Result<Vec<String>, Failure> {
        let region = infra::region(site, infra::spec(site)?)?;
        work.progress.amount(0, 0, "what is in the account and in no state");
        let held = self.held(site, work).await?;
        let (aws, kinds) = (&self.tools.aws, strays::of_cluster());
        let found = strays::find(aws, site, &region, &kinds, &held).await?;
        let is_kept = |kind| strays::made_as(kind).is_some_and(|it| KEPT.contains(&it));
        let was_whole = site.deployment.facts.own_cluster.is_some();
        if let Some(kept) = found.iter().find(|it| is_kept(it.kind))
            && was_whole
            && taken == Taken::NobodyNeeds
        {
            return Err(Failure::conflict(format!(
                "the {kept} is this cluster's, and stands in no state of Terraform's; nothing of it \
                 was removed"
            ))
            .remedy(format!(
                "put the state back that has it (in {}, or its .backup), or remove it in the AWS \
                 console if nothing needs it",
                state::place(site)
            )));
        }
        strays::remove(aws, site, &region, found, work).await
    }
}
