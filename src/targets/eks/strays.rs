//! What of the cluster is in the account and in no state.
//!
//! Owns its removal, where the cluster was never whole or is to be removed. Refuses to take anything away
//! from beneath gateways: of a cluster that was whole it is named, and somebody looks.

use super::EksMaker;
use crate::domain::Failure;
use crate::drivers::aws::sweep::Found;
use crate::targets::machine::{infra, state, strays};
use crate::targets::{Site, Work};

impl EksMaker {
    /// What there is.
    pub(super) async fn strays(&self, site: &Site, work: Work<'_>) -> Result<Vec<Found>, Failure> {
        let region = infra::region(site, infra::spec(site)?)?;
        work.progress.amount(0, 0, "what is in the account and in no state");
        let held = self.held(site, work).await?;
        strays::find(&self.tools.aws, site, &region, &strays::of_cluster(), &held).await
    }

    /// Removes it, and says what it was.
    pub(super) async fn remove_strays(
        &self,
        site: &Site,
        work: Work<'_>,
    ) -> Result<Vec<String>, Failure> {
        let region = infra::region(site, infra::spec(site)?)?;
        let found = self.strays(site, work).await?;
        strays::remove(&self.tools.aws, site, &region, found, work).await
    }

    /// The failure of a run of a cluster that was whole, with what is in its way.
    pub(super) async fn in_the_way(
        &self,
        failure: Failure,
        site: &Site,
        work: Work<'_>,
    ) -> Failure {
        let found = match self.strays(site, work).await {
            Ok(found) if !found.is_empty() => found,
            _ => return failure,
        };
        let all: Vec<String> = found.iter().map(|it| format!("the {it}")).collect();
        Failure::conflict(format!(
            "{} of this cluster stands in no state of Terraform's, and gateways may need it; nothing \
             of it was removed ({})",
            all.join(", "),
            failure.message
        ))
        .remedy(format!(
            "put the state back that has it (in {}, or its .backup); if a run was killed while it \
             made it, remove it in the AWS console, and apply again",
            state::place(site)
        ))
    }
}
