//! What would keep the cluster, or its network, from being removed.
//!
//! Owns the load balancers that this installation left there, and which volumes outlive the cluster.
//! Refuses to remove anything of anybody else's: it is named, and its owner removes it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::EksMaker;
use crate::domain::text::clean;
use crate::domain::{Failure, FailureKind, OwnClusterFacts};
use crate::drivers::kubernetes::{Cluster, Kind, Object, Problem};
use crate::targets::cluster::{Fate, INSTALLATION, fate_of_volume};
use crate::targets::looks::Looks;
use crate::targets::{Site, Work};
use serde::{Deserialize, Serialize};

/// How long the load balancers, and then the volumes, may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(600);

/// What is asked for beside the cluster's own removal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearing {
    /// Whether the volumes go that gateways left.
    #[serde(default)]
    pub volumes: bool,
    /// Whether it goes although its API does not answer, and nobody sees what is on it.
    #[serde(default)]
    pub unseen: bool,
}

/// What was removed, and what outlives the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    /// Load balancers and volumes that are gone.
    pub removed: Vec<String>,
    /// Volumes that stay in the account.
    pub kept: Vec<String>,
    /// Why nothing of that was looked at, where nobody answers for the cluster any more.
    #[serde(default)]
    pub unseen: Option<String>,
}

impl EksMaker {
    /// Removes what would keep the cluster's network from being removed, and, where that is asked for,
    /// the volumes that gateways left. Nothing is removed where somebody else's load balancer is there.
    pub async fn clear(
        &self,
        site: &Site,
        facts: &OwnClusterFacts,
        asked: Clearing,
        work: Work<'_>,
    ) -> Result<Cleared, Failure> {
        let cluster = self.api(&facts.at).await?;
        match cluster.version().await {
            // Load balancers would hold the network for good, and volumes stay that nobody names.
            Err(error) if error.problem == Problem::Unreachable && !asked.unseen => {
                return Err(Failure::prerequisite(format!(
                    "the API of the cluster {} does not answer ({}), so nobody sees what on it would \
                     hold its network or outlive it; nothing was removed",
                    facts.at.name, error.words
                ))
                .remedy(
                    "openclaw-pipeline cluster apply lets the address in that you have now; where \
                     the cluster is broken, or gone: cluster destroy --unseen",
                ));
            }
            Err(error) if error.problem == Problem::Unreachable => {
                let unseen = Some(Failure::from(error).to_string());
                return Ok(Cleared { unseen, ..Cleared::default() });
            }
            Err(error) => return Err(refused(error.into())),
            Ok(_) => {}
        }
        self.clear_at(&cluster, site, asked.volumes, work).await.map_err(refused)
    }

    async fn clear_at(
        &self,
        cluster: &Cluster,
        site: &Site,
        volumes: bool,
        work: Work<'_>,
    ) -> Result<Cleared, Failure> {
        let own = own_namespaces(cluster, site).await?;
        let is_own =
            |object: &Object| object.metadata.namespace.as_ref().is_some_and(|it| own.contains(it));
        let mut balancers = Vec::new();
        // What others make a service for goes before the service.
        for kind in [Kind::GATEWAY, Kind::INGRESS, Kind::SERVICE] {
            let all = match cluster.list(kind, None, "").await {
                // The Gateway API is not of every cluster.
                Err(error) if error.problem == Problem::NotFound => Vec::new(),
                all => all?,
            };
            balancers.extend(all.into_iter().filter(has_balancer).map(|it| (kind, it)));
        }
        let others: Vec<String> =
            balancers.iter().filter(|(_, it)| !is_own(it)).map(|(_, it)| called(it)).collect();
        if !others.is_empty() {
            return Err(Failure::conflict(format!(
                "load balancers of somebody else's lead to the cluster, and its network cannot go \
                 while they are there: {}; nothing was removed",
                others.join(", ")
            ))
            .remedy(
                "remove what they belong to (kubectl delete service -n NAMESPACE NAME), then try \
                 again",
            ));
        }
        let mut cleared = Cleared::default();
        for (kind, object) in &balancers {
            remove(cluster, *kind, object).await?;
        }
        let mut looks = Looks::new(GONE_WITHIN, work);
        for (kind, object) in &balancers {
            is_gone(cluster, *kind, object, &mut looks).await?;
            cleared.removed.push(format!("the load balancer of {}", called(object)));
        }
        let claims = cluster.list(Kind::CLAIM, None, "").await?;
        let volumes_left = cluster.list(Kind::VOLUME, None, "").await?;
        // Their claims are gone, and their class retains them.
        let released = volumes_left.iter().filter(|it| it.data["status"]["phase"] == "Released");
        cleared.kept.extend(released.map(|it| format!("the volume {}", described(it))));
        let mut going = Vec::new();
        for claim in &claims {
            let volume = volume_of(cluster, claim).await;
            if volumes && is_own(claim) {
                remove(cluster, Kind::CLAIM, claim).await?;
                going.push((claim, volume));
            } else {
                cleared.kept.push(format!("the volume {volume} of {}", called(claim)));
            }
        }
        let mut looks = Looks::new(GONE_WITHIN, work);
        for (claim, volume) in going {
            is_gone(cluster, Kind::CLAIM, claim, &mut looks).await?;
            match fate_of_volume(cluster, claim, &mut looks).await? {
                Fate::Gone => {
                    cleared.removed.push(format!("the volume {volume} of {}", called(claim)));
                }
                Fate::Retained => {
                    cleared.kept.push(format!("the volume {volume}, which its class retains"));
                }
                Fate::Unseen => {
                    cleared
                        .kept
                        .push(format!("the volume {volume}, which nobody here may look for"));
                }
            }
        }
        Ok(cleared)
    }
}

/// The same failure, with how credentials that the cluster does not take come in again.
fn refused(failure: Failure) -> Failure {
    if failure.kind != FailureKind::Prerequisite {
        return failure;
    }
    let first = failure.remedy.clone().map(|it| format!("{it}; ")).unwrap_or_default();
    failure.remedy(format!(
        "{first}openclaw-pipeline cluster apply lets the AWS credentials that it runs with into the \
         cluster again"
    ))
}

/// The namespaces that carry the installation's label.
async fn own_namespaces(cluster: &Cluster, site: &Site) -> Result<BTreeSet<String>, Failure> {
    let label = format!("{INSTALLATION}={}", site.layout.installation());
    let namespaces = cluster.list(Kind::NAMESPACE, None, &label).await?;
    Ok(namespaces.into_iter().filter_map(|it| it.metadata.name).collect())
}

/// Whether a load balancer in the account belongs to it.
fn has_balancer(object: &Object) -> bool {
    let status = &object.data["status"];
    let given = [&status["loadBalancer"]["ingress"], &status["addresses"]];
    let has_any = given.iter().any(|it| it.as_array().is_some_and(|it| !it.is_empty()));
    object.data["spec"]["type"] == "LoadBalancer" || has_any
}

/// Its namespace and name.
fn called(object: &Object) -> String {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    clean(&format!("{namespace}/{name}"), 140)
}

/// A claim's volume as its driver knows it, with its size.
async fn volume_of(cluster: &Cluster, claim: &Object) -> String {
    let Some(name) = claim.data["spec"]["volumeName"].as_str() else { return "never made".into() };
    let found = cluster.get(Kind::VOLUME, None, name).await.ok().flatten();
    found.as_ref().map_or_else(|| clean(name, 140), described)
}

/// A volume as its driver knows it, with its size.
fn described(volume: &Object) -> String {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let id = volume.data["spec"]["csi"]["volumeHandle"].as_str().unwrap_or(name);
    let size = volume.data["spec"]["capacity"]["storage"].as_str().unwrap_or("of unknown size");
    clean(&format!("{id} ({size})"), 140)
}

/// Removes an object, whose end is waited for when all have been removed.
async fn remove(cluster: &Cluster, kind: Kind, object: &Object) -> Result<(), Failure> {
    let (namespace, name) = place(object);
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    Ok(cluster.remove(kind, namespace, name, uid).await?)
}

/// Waits until whoever made what belongs to it has taken that away.
async fn is_gone(
    cluster: &Cluster,
    kind: Kind,
    object: &Object,
    looks: &mut Looks<'_>,
) -> Result<(), Failure> {
    let (namespace, name) = place(object);
    let is_there = || async {
        let found = cluster.get(kind, namespace, name).await?;
        Ok(found.is_some_and(|it| it.metadata.uid == object.metadata.uid))
    };
    looks.until_gone(&called(object), is_there).await
}

fn place(object: &Object) -> (Option<&str>, &str) {
    (object.metadata.namespace.as_deref(), object.metadata.name.as_deref().unwrap_or_default())
}
