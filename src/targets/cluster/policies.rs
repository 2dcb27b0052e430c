//! Whether the cluster enforces network policies.
//!
//! Owns reading what the pod found out that got the image ready: whether it reached the cluster's own
//! API, which the deployment's policy forbids. Refuses to guess where it could not tell.

use super::At;
use super::address::ENFORCES;
use crate::drivers::kubernetes::Kind;
use crate::targets::Work;

impl At<'_> {
    pub(super) async fn enforces_policies(&self, _work: Work<'_>) -> Option<bool> {
        let found = self.cluster.get(Kind::NAMESPACE, None, &self.namespace).await.ok()??;
        match found.metadata.annotations?.get(ENFORCES)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}
