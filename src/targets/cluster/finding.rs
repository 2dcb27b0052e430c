//! Which cluster a deployment is on.
//!
//! Owns the choice, and one connection for each cluster, which is made anew after a while: what lets in
//! may expire. Refuses to take whatever cluster happens to be current: the specification names one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::domain::{ClusterSpec, Failure};
use crate::drivers::aws::Environment;
use crate::drivers::kubernetes::{Cluster, OwnPod, Whereabouts};
use crate::targets::Site;

/// After how long the credentials are read anew: those that a program gives may be a certificate, which
/// is not found anew when it has expired, as a token is.
const FRESH: Duration = Duration::from_secs(120);

/// The cluster that this program itself runs on.
pub type Own = OwnPod;

/// Finds clusters.
#[derive(Debug, Clone, Default)]
pub struct Finder {
    own: Option<Own>,
    credentials: Environment,
    found: Arc<Mutex<HashMap<Whereabouts, (Instant, Cluster)>>>,
}

impl Finder {
    /// Finds clusters, from a pod of this one where that is said; with these credentials of AWS.
    pub fn new(own: Option<Own>, credentials: Environment) -> Self {
        Self { own, credentials, found: Arc::default() }
    }

    /// Where a deployment's cluster is.
    pub(super) fn place(&self, site: &Site) -> Result<Whereabouts, Failure> {
        let spec = site.deployment.spec.cluster.as_ref();
        let ClusterSpec { own, kubeconfig, context, .. } = spec.cloned().unwrap_or_default();
        if let Some(own) = own {
            return Ok(Whereabouts::Eks(own));
        }
        if !kubeconfig.is_empty() {
            return Ok(Whereabouts::Kubeconfig { files: kubeconfig, context });
        }
        self.own.clone().map(Whereabouts::Within).ok_or_else(|| {
            let name = &site.deployment.name;
            if site.deployment.facts.cluster.is_none() {
                return Failure::bad_input("no cluster is named, and this is none's pod").remedy(
                    "name the context of your kubeconfig whose cluster it is: --context NAME \
                     (kubectl config get-contexts lists them); or make a cluster on EKS: \
                     openclaw-pipeline cluster apply",
                );
            }
            Failure::prerequisite(format!(
                "{name} was launched on the cluster that the program itself ran on, and it runs on \
                 none now"
            ))
            .remedy(format!(
                "name the cluster: openclaw-pipeline launch {name} --target eks --context CONTEXT"
            ))
        })
    }

    /// A deployment's cluster.
    pub(super) async fn find(&self, site: &Site) -> Result<Cluster, Failure> {
        let place = self.place(site)?;
        if let Some(cluster) = self.known(&place) {
            return Ok(cluster);
        }
        let cancel = CancellationToken::new();
        let cluster = Box::pin(Cluster::find(&place, &self.credentials, &cancel)).await?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(place, (Instant::now(), cluster.clone()));
        Ok(cluster)
    }

    fn known(&self, place: &Whereabouts) -> Option<Cluster> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|_, (since, _)| since.elapsed() < FRESH);
        found.get(place).map(|(_, cluster)| cluster.clone())
    }
}
