//! The image: got by a pod of its own, before anything that works is stopped.
//!
//! Owns that pod: it pins the image by its digest, and reads the gateway's version out of it. Beside
//! that it finds out what [`super::policies`] asks. Refuses secrets and volumes: what it runs was just
//! fetched.

use serde_json::json;

use super::reason::{self, Seen, Trouble};
use super::{At, names, policies};
use crate::domain::{Failure, FailureKind, OpenClawVersion};
use crate::drivers::kubernetes::{Kind, Object};
use crate::targets::looks::Looks;
use crate::targets::{Artefact, DEFAULT_IMAGE, Work};

/// What its first container says: the version that the image has. A shell is there at once.
const VERSION: &str = r#"
version=$(sed -n 's/^[[:space:]]*"version": *"\([^"]*\)".*/\1/p' /app/package.json | head -n 1)
printf '{"version":"%s"}' "$version" >/dev/termination-log
"#;

impl At<'_> {
    /// Gets the deployment's image ready, and pins it. `newest` asks the registry what its tag names
    /// today.
    pub(super) async fn fetch(&self, newest: bool, work: Work<'_>) -> Result<Artefact, Failure> {
        let image = self.site.deployment.spec.image.as_deref().unwrap_or(DEFAULT_IMAGE);
        let facts = &self.site.deployment.facts;
        if facts.artefact.as_deref() == Some(image) && image.contains('@') {
            // It ran here before.
            let version = facts.artefact_version.clone();
            return Ok(Artefact { id: image.to_owned(), version });
        }
        match self.pull(image, newest && !image.contains('@'), work).await {
            Err(failure) if newest && failure.kind != FailureKind::Interrupted => {
                // One that only the nodes have, or whose registry is down, is used as it is.
                let found = self.pull(image, false, work).await.map_err(|_| failure.clone())?;
                work.progress.note(&format!("{failure}; using the one that is there"));
                Ok(found)
            }
            pulled => pulled,
        }
    }

    async fn pull(&self, image: &str, always: bool, work: Work<'_>) -> Result<Artefact, Failure> {
        self.remove_pod(names::PULL).await?;
        let (kind, mut pod) =
            self.manifests().pod(names::PULL, image, &["sh", "-c", VERSION], false)?;
        if always {
            pod.data["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
        }
        policies::ask(&mut pod);
        let changes = self.changes(&format!("app.kubernetes.io/name={}", names::PULL)).await;
        self.cluster.create(kind, &pod).await?;
        let looks = Looks::new(self.target.within, work).hearing(changes);
        let pod = match self.pulled(looks).await {
            Ok(pod) => pod,
            Err(failure) => {
                // The reason counts; the next try removes what is left.
                let _ = self.remove_now(names::PULL).await;
                return Err(failure);
            }
        };
        let told = reason::last_word(&pod, names::GATEWAY).unwrap_or_default();
        // Its own word, which goes into messages and events: a version, or nothing.
        let version = told["version"].as_str().and_then(OpenClawVersion::parse);
        Ok(Artefact {
            id: reason::image_of(&pod).unwrap_or_else(|| image.to_owned()),
            version: version.map(|it| it.to_string()),
        })
    }

    /// Waits until the pod has the image, and has said what that is.
    async fn pulled(&self, mut looks: Looks<'_>) -> Result<Object, Failure> {
        let mut warnings = Vec::new();
        loop {
            let found = self.cluster.get(Kind::POD, Some(&self.namespace), names::PULL).await?;
            let pod = found.ok_or_else(|| Failure::conflict("somebody removed the pod that pulls"));
            let pod = pod?;
            if reason::last_word(&pod, names::GATEWAY).is_some() {
                return Ok(pod);
            }
            if looks.is_quiet() {
                warnings = self.warnings().await?;
            }
            let stuck: Option<Trouble> = match reason::of_helper(&pod, &warnings) {
                Seen::Stuck(trouble) if looks.bears(trouble.may_pass) => Some(trouble),
                Seen::Stuck(trouble) => return Err(trouble.into()),
                _ => {
                    looks.is_well();
                    None
                }
            };
            if looks.is_late() {
                if let Some(trouble) = stuck {
                    return Err(trouble.into());
                }
                return Err(Failure::failed("the image did not come in time")
                    .remedy("kubectl describe pod says what the node waits for"));
            }
            looks.next("the node gets the image").await?;
        }
    }
}
