//! What would keep the cluster, or its network, from being removed.
//!
//! Owns the load balancers that this installation left there, and which volumes outlive the cluster.
//! Refuses to take the cluster away from under a gateway, whoever's it is and by whichever address it was
//! put there, and to remove anything of anybody else's: it is named, and its owner removes it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::EksMaker;
use crate::domain::text::clean;
use crate::domain::{DeploymentName, Failure, FailureKind};
use crate::drivers::kubernetes::{Cluster, Kind, Object, Problem};
use crate::targets::cluster::{Fate, Whose, fate_of_volume};
use crate::targets::looks::Looks;
use crate::targets::own_cluster::{Cleared, Clearing, Removal};
use crate::targets::{Site, Work};

/// How long the load balancers, and then the volumes, may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(600);

/// What is on the cluster that matters to its removal.
struct Seen {
    own: BTreeSet<String>,
    balancers: Vec<(Kind, Object)>,
}

impl Seen {
    fn is_own(&self, object: &Object) -> bool {
        object.metadata.namespace.as_ref().is_some_and(|it| self.own.contains(it))
    }
}

impl EksMaker {
    /// Refuses a removal that would take something away that is used, or that could not end. Answers why
    /// nothing was looked at, where nobody sees what is there and it goes all the same.
    pub async fn refuse_in_use(
        &self,
        site: &Site,
        removal: Removal<'_>,
        work: Work<'_>,
    ) -> Result<Option<String>, Failure> {
        Ok(self.view(site, removal, work).await?.err())
    }

    /// Removes what would keep the cluster's network from being removed, and, where that is asked for,
    /// the volumes that gateways left. Nothing is removed where it is in use.
    pub async fn clear(
        &self,
        site: &Site,
        removal: Removal<'_>,
        work: Work<'_>,
    ) -> Result<Cleared, Failure> {
        match self.view(site, removal, work).await? {
            Ok((cluster, seen)) => {
                let cleared = clear_at(&cluster, &seen, removal.asked.volumes, work).await;
                cleared
                    .map_err(refused)
                    .or_else(|failure| all_the_same(failure, removal.asked).map(Cleared::unseen))
            }
            Err(why) => Ok(Cleared::unseen(why)),
        }
    }

    /// What is on the cluster, where it may go; or why nobody sees that, where it goes all the same.
    async fn view(
        &self,
        site: &Site,
        removal: Removal<'_>,
        work: Work<'_>,
    ) -> Result<Result<(Cluster, Seen), String>, Failure> {
        let at = &removal.facts.at;
        let cluster = self.api(at).await?;
        let looked = match cluster.version().await {
            Ok(_) => look(&cluster, site, removal).await.map_err(refused),
            Err(error) if error.problem == Problem::Unreachable => {
                // What a removal before this one came as far as to remove answers nobody.
                if !self.held(site, work).await?.has("aws_eks_cluster") {
                    return Ok(Err(format!("the cluster {} itself is gone already", at.name)));
                }
                // Load balancers would hold the network for good, and volumes stay that nobody names.
                Err(Failure::prerequisite(format!(
                    "the API of the cluster {} does not answer ({}), so nobody sees what on it would \
                     hold its network or outlive it; nothing was removed",
                    at.name, error.words
                ))
                .remedy(
                    "openclaw-pipeline cluster apply lets the address in that you have now",
                ))
            }
            Err(error) => Err(refused(error.into())),
        };
        match looked {
            Ok(seen) => Ok(Ok((cluster, seen))),
            Err(failure) => all_the_same(failure, removal.asked).map(Err),
        }
    }
}

/// Why nobody sees what is there, where it goes all the same; else the failure, with how that is asked
/// for. Whatever was seen to be in use is not gone over.
fn all_the_same(failure: Failure, asked: Clearing) -> Result<String, Failure> {
    match failure.kind {
        FailureKind::Conflict | FailureKind::Interrupted => Err(failure),
        _ if asked.unseen => Ok(failure.message),
        _ => Err(failure.also(
            "where the cluster is broken, or gone: openclaw-pipeline cluster destroy --unseen",
        )),
    }
}

/// What is there, where nothing of it keeps the cluster from being removed.
async fn look(cluster: &Cluster, site: &Site, removal: Removal<'_>) -> Result<Seen, Failure> {
    let namespaces = cluster.list(Kind::NAMESPACE, None, "").await?;
    refuse_gateways(&namespaces, site, removal.gateways)?;
    let is_own = |it: &&Object| {
        Whose::of(it).is_some_and(|it| it.installation == site.layout.installation())
    };
    let own = namespaces.iter().filter(is_own).filter_map(|it| it.metadata.name.clone()).collect();
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
    let seen = Seen { own, balancers };
    let others: Vec<String> = seen
        .balancers
        .iter()
        .filter(|(_, it)| !seen.is_own(it))
        .map(|(_, it)| called(it))
        .collect();
    if !others.is_empty() {
        return Err(Failure::conflict(format!(
            "load balancers of somebody else's lead to the cluster, and its network cannot go while \
             they are there: {}; nothing was removed",
            others.join(", ")
        ))
        .remedy(
            "remove what they belong to (kubectl delete service -n NAMESPACE NAME), then try again",
        ));
    }
    Ok(seen)
}

/// Refuses to take the place away where gateways are: what is recorded tells only by which address
/// each was put somewhere, and what the cluster says of itself counts.
fn refuse_gateways(
    namespaces: &[Object],
    site: &Site,
    living: &BTreeSet<String>,
) -> Result<(), Failure> {
    let mut own = Vec::new();
    let mut others = Vec::new();
    for namespace in namespaces {
        let called = clean(namespace.metadata.name.as_deref().unwrap_or_default(), 80);
        let Some(whose) = Whose::of(namespace) else { continue };
        let Some(deployment) = whose.deployment.filter(|_| !whose.is_kept) else { continue };
        if living.contains(deployment) {
            let name = whose.name.and_then(|it| it.parse::<DeploymentName>().ok());
            own.push((called, name));
        } else if whose.installation != site.layout.installation() {
            others.push(called);
        }
    }
    if let Some((_, name)) = own.first() {
        let all: Vec<&str> = own.iter().map(|(called, _)| called.as_str()).collect();
        let remedy = name.as_ref().map_or_else(
            || "destroy each first (openclaw-pipeline list has their names)".to_owned(),
            |name| format!("remove each first: {}", name.destroying()),
        );
        return Err(Failure::conflict(format!(
            "gateways of this installation are on the cluster, in {}; nothing was removed",
            all.join(", ")
        ))
        .remedy(remedy));
    }
    if others.is_empty() {
        return Ok(());
    }
    Err(Failure::conflict(format!(
        "gateways of another installation are on the cluster, in {}; nothing was removed",
        others.join(", ")
    ))
    .remedy(
        "let whoever launched them destroy them; what nobody knows any more goes with its data by \
         kubectl delete namespace NAMESPACE",
    ))
}

async fn clear_at(
    cluster: &Cluster,
    seen: &Seen,
    volumes: bool,
    work: Work<'_>,
) -> Result<Cleared, Failure> {
    let mut cleared = Cleared::default();
    for (kind, object) in &seen.balancers {
        remove(cluster, *kind, object).await?;
    }
    let mut looks = Looks::new(GONE_WITHIN, work);
    for (kind, object) in &seen.balancers {
        is_gone(cluster, *kind, object, &mut looks).await?;
        cleared.removed.push(format!("the load balancer of {}", called(object)));
    }
    let claims = cluster.list(Kind::CLAIM, None, "").await?;
    let volumes_left = cluster.list(Kind::VOLUME, None, "").await?;
    let mut going = Vec::new();
    for volume in volumes_left.iter().filter(|it| it.data["status"]["phase"] == "Released") {
        // Its claim is gone: by a removal before this one, which did not come as far as to wait for
        // it; or its class retains it.
        let spec = &volume.data["spec"];
        let of = spec["claimRef"]["namespace"].as_str().unwrap_or_default();
        let words = format!("the volume {}", described(volume));
        if volumes && seen.own.contains(of) && spec["persistentVolumeReclaimPolicy"] == "Delete" {
            going.push((None, volume.metadata.name.clone(), words));
        } else {
            cleared.kept.push(words);
        }
    }
    for claim in &claims {
        let volume = claim.data["spec"]["volumeName"].as_str().map(str::to_owned);
        let words = match &volume {
            Some(it) => format!("the volume {} of {}", volume_of(cluster, it).await, called(claim)),
            None => format!("the claim {}, for which no volume was made", called(claim)),
        };
        if volumes && seen.is_own(claim) {
            remove(cluster, Kind::CLAIM, claim).await?;
            going.push((Some(claim), volume, words));
        } else if volume.is_some() {
            cleared.kept.push(words);
        }
    }
    let mut looks = Looks::new(GONE_WITHIN, work);
    for (claim, volume, words) in going {
        if let Some(claim) = claim {
            is_gone(cluster, Kind::CLAIM, claim, &mut looks).await?;
        }
        match fate_of_volume(cluster, volume.as_deref(), &mut looks).await? {
            Fate::Gone => cleared.removed.push(words),
            Fate::Retained => cleared.kept.push(format!("{words}, which its class retains")),
            Fate::Unseen => cleared.kept.push(format!("{words}, which nobody here may look for")),
        }
    }
    Ok(cleared)
}

/// The same failure, with how credentials that the cluster does not take come in again.
fn refused(failure: Failure) -> Failure {
    if failure.kind != FailureKind::Prerequisite {
        return failure;
    }
    failure.also(
        "openclaw-pipeline cluster apply lets the AWS credentials that it runs with into the cluster \
         again",
    )
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

/// The volume of this name as its driver knows it, with its size.
async fn volume_of(cluster: &Cluster, name: &str) -> String {
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
