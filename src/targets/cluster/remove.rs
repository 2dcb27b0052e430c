//! Removing a deployment from its cluster.
//!
//! Owns what goes, in which order, and that it is seen to be gone. Refuses a namespace that is not the
//! deployment's own.

use std::time::Duration;

use super::{At, names};
use crate::domain::Failure;
use crate::domain::text::clean;
use crate::drivers::kubernetes::{Cluster, Kind, Object, Problem};
use crate::targets::Work;
use crate::targets::looks::Looks;

/// How long a namespace, and then its volumes, may take to be gone: load balancers and volumes are taken
/// away by others.
const GONE_WITHIN: Duration = Duration::from_secs(600);

/// A claim's volume, in words.
pub(super) fn volume(claim: &Object) -> String {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let volume = claim.data["spec"]["volumeName"].as_str().unwrap_or("never made");
    format!("the volume of {} ({})", clean(name, 80), clean(volume, 80))
}

/// What became of a claim's volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::targets) enum Fate {
    /// It is gone.
    Gone,
    /// Its class retains it.
    Retained,
    /// Nobody here may look for it.
    Unseen,
}

/// Waits until the volume that a claim had, if it had one, is gone with it; whether it goes is for its class to say. Without the
/// cluster nobody removes it.
pub(in crate::targets) async fn fate_of_volume(
    cluster: &Cluster,
    volume: Option<&str>,
    looks: &mut Looks<'_>,
) -> Result<Fate, Failure> {
    let Some(name) = volume else { return Ok(Fate::Gone) };
    loop {
        let found = match cluster.get(Kind::VOLUME, None, name).await {
            // Who may not look at volumes cannot wait for them.
            Err(error) if error.problem == Problem::Forbidden => return Ok(Fate::Unseen),
            found => found?,
        };
        let Some(found) = found else { return Ok(Fate::Gone) };
        if found.data["spec"]["persistentVolumeReclaimPolicy"] != "Delete" {
            return Ok(Fate::Retained);
        }
        if looks.is_late() {
            return Err(Failure::failed(format!("the volume {} is not gone yet", clean(name, 80)))
                .remedy("look at its driver (kubectl describe pv), then destroy again"));
        }
        looks.next("the cluster removes the volumes").await?;
    }
}

impl At<'_> {
    /// Removes the namespace with everything in it; says what that was.
    pub(super) async fn remove(&self, work: Work<'_>) -> Result<Vec<String>, Failure> {
        let Some(found) = self.found().await? else { return Ok(Vec::new()) };
        let facts = self.site.deployment.facts.cluster.clone().unwrap_or_default();
        let uid = found.metadata.uid.clone().unwrap_or_default();
        if uid != facts.uid && !names::is_own(&found, self.site) {
            names::refuse_others(&found, self.site)?;
        }
        let claims = self.cluster.list(Kind::CLAIM, Some(&self.namespace), "").await?;
        let mut removed = vec![format!("the namespace {}", self.namespace)];
        if let Some(host) = &facts.host {
            removed.push(format!("its load balancer {}", clean(host, 120)));
        }
        self.cluster.remove(Kind::NAMESPACE, None, &self.namespace, &uid).await?;
        let mut looks = Looks::new(GONE_WITHIN, work);
        loop {
            match self.cluster.get(Kind::NAMESPACE, None, &self.namespace).await? {
                None => break,
                Some(now) if now.metadata.uid.as_deref() != Some(&uid) => break,
                Some(now) if looks.is_late() => {
                    let why = now.data["status"]["conditions"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter(|it| it["status"] == "True")
                        .find_map(|it| it["message"].as_str())
                        .map_or_else(|| "nobody says why".to_owned(), |it| clean(it, 400));
                    return Err(Failure::failed(format!(
                        "the namespace {} is not gone yet: {why}",
                        self.namespace
                    ))
                    .remedy("see to what holds it, then destroy again"));
                }
                Some(_) => looks.next("the cluster removes the namespace").await?,
            }
        }
        let mut looks = Looks::new(GONE_WITHIN, work);
        for claim in &claims {
            let volume = volume(claim);
            let name = claim.data["spec"]["volumeName"].as_str();
            match fate_of_volume(&self.cluster, name, &mut looks).await? {
                Fate::Gone => removed.push(volume),
                Fate::Retained => {
                    work.progress.note(&format!("{volume} stays: its class retains it"));
                }
                Fate::Unseen => work.progress.note(&format!(
                    "whether {volume} goes is for its class to say: nobody here may look at volumes"
                )),
            }
        }
        Ok(removed)
    }

    /// Removes a pod of the deployment's without waiting for its end.
    pub(super) async fn remove_now(&self, name: &str) -> Result<(), Failure> {
        let found = self.cluster.get(Kind::POD, Some(&self.namespace), name).await?;
        let Some(uid) = found.and_then(|it| it.metadata.uid) else { return Ok(()) };
        Ok(self.cluster.remove(Kind::POD, Some(&self.namespace), name, &uid).await?)
    }
}
