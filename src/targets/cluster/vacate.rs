//! Removing a deployment from its cluster without its volumes.
//!
//! Owns what goes, and the mark by which the next deployment of this name knows that it may take the
//! volumes up. Refuses to remove anything that the program does not name itself.

use std::time::Duration;

use serde_json::json;

use super::remove::volume;
use super::{At, entry, names};
use crate::domain::Failure;
use crate::domain::text::clean;
use crate::drivers::kubernetes::Kind;
use crate::targets::looks::Looks;
use crate::targets::{Vacated, Work};

/// How long what is removed may take to be gone: a load balancer is taken away by others.
const GONE_WITHIN: Duration = Duration::from_secs(600);
/// What the namespace holds of the program's, but for the volumes and the ways in: its address first.
const OBJECTS: [(Kind, &str, &str); 7] = [
    (Kind::SERVICE, names::GATEWAY, "service"),
    (Kind::DEPLOYMENT, names::GATEWAY, "deployment"),
    (Kind::SECRET, names::SECRETS, "secret"),
    (Kind::SECRET, names::FILE, "secret"),
    (Kind::CONFIG_MAP, names::CONFIG, "config map"),
    (Kind::DISRUPTION_BUDGET, names::GATEWAY, "disruption budget"),
    (Kind::NETWORK_POLICY, names::GATEWAY, "network policy"),
];

impl At<'_> {
    /// Removes everything but the volumes, and marks what stays.
    pub(super) async fn vacate(&self, work: Work<'_>) -> Result<Vacated, Failure> {
        let Some(found) = self.found().await? else { return Ok(Vacated::default()) };
        names::refuse_others(&found, self.site)?;
        let mark = json!({ "metadata": { "labels": { names::KEPT: "true" } } });
        self.cluster.merge(Kind::NAMESPACE, None, &self.namespace, &mark).await?;
        for pod in [names::PULL, names::ASIDE] {
            self.remove_pod(pod).await?;
        }
        let mut removed = Vec::new();
        for (kind, name, noun) in entry::OBJECTS.into_iter().chain(OBJECTS) {
            let what = format!("the {noun} {name}");
            if self.is_removed(kind, name, &what, work).await? {
                removed.push(what);
            }
        }
        let facts = self.site.deployment.facts.cluster.clone().unwrap_or_default();
        if let Some(host) = &facts.host {
            removed.push(format!("its load balancer {}", clean(host, 120)));
        }
        let claims = self.cluster.list(Kind::CLAIM, Some(&self.namespace), "").await?;
        Ok(Vacated { removed, kept: claims.iter().map(volume).collect() })
    }

    /// Removes an object, and waits until it is gone; whether it was there.
    pub(super) async fn is_removed(
        &self,
        kind: Kind,
        name: &str,
        what: &str,
        work: Work<'_>,
    ) -> Result<bool, Failure> {
        // Asked for again, it says whether it is gone: a secret is not to be read for that.
        let is_there =
            || async { Ok(self.cluster.remove_named(kind, &self.namespace, name).await?) };
        if !is_there().await? {
            return Ok(false);
        }
        Looks::new(GONE_WITHIN, work).until_gone(what, is_there).await?;
        Ok(true)
    }
}
