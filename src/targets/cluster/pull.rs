//! The image: got by a pod of its own, before anything that works is stopped.
//!
//! Owns that pod: it pins the image by its digest, reads the gateway's version out of it, and tells
//! whether the network lets through what the policy forbids. Refuses secrets and volumes: what it runs
//! was just fetched.

use serde_json::json;

use super::address::ENFORCES;
use super::reason::{self, Seen, Trouble};
use super::{At, names};
use crate::domain::text::clean;
use crate::domain::{Failure, FailureKind, OpenClawVersion};
use crate::drivers::kubernetes::{Kind, Object};
use crate::targets::looks::Looks;
use crate::targets::{Artefact, DEFAULT_IMAGE, Work};

/// What the pod finds out: the gateway's version, and whether the API is reached, which the policy
/// forbids where its address is a private one. Where that is enforced only a while after a pod begins, the last try counts.
const SCRIPT: &str = r"
const fs = require('fs'), net = require('net');
const told = { version: null, reached: null };
try { told.version = require('/app/package.json').version; } catch {}
const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env;
const end = () => { fs.writeFileSync('/dev/termination-log', JSON.stringify(told)); process.exit(0); };
const attempt = (left) => {
  const socket = net.connect({ host, port: Number(port), timeout: 1000 });
  const next = (reached) => {
    socket.destroy();
    told.reached = reached;
    if (!reached || left === 0) end(); else setTimeout(attempt, 500, left - 1);
  };
  socket.on('connect', () => next(true));
  socket.on('timeout', () => next(false));
  socket.on('error', (error) => next(error.code === 'ECONNREFUSED' ? true : false));
};
const [a, b] = (host ?? '').split('.').map(Number);
const isForbidden = a === 10 || (a === 172 && b >= 16 && b < 32) || (a === 192 && b === 168)
  || (a === 100 && b >= 64 && b < 128);
if (isForbidden) attempt(1); else end();
";

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
        let command = ["node", "-e", SCRIPT];
        let (kind, mut pod) = self.manifests().pod(names::PULL, image, &command, false)?;
        if always {
            pod.data["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
        }
        let changes = self.changes(&format!("app.kubernetes.io/name={}", names::PULL)).await;
        self.cluster.create(kind, &pod).await?;
        let looks = Looks::new(self.within, work).hearing(changes);
        let pulled = self.pulled(looks).await;
        let pod = match pulled {
            Ok(pod) => {
                let (namespace, uid) = (Some(self.namespace.as_str()), pod.metadata.uid.as_deref());
                let uid = uid.unwrap_or_default();
                self.cluster.remove(Kind::POD, namespace, names::PULL, uid).await?;
                pod
            }
            Err(failure) => {
                // The reason counts; the next try removes what is left.
                let _ = self.remove_now(names::PULL).await;
                return Err(failure);
            }
        };
        let (digest, told) = reason::image_of(&pod);
        let told = told.unwrap_or_default();
        // Its own word, which goes into messages and events: a version, or nothing.
        let version = told["version"].as_str().and_then(OpenClawVersion::parse);
        if let Some(reached) = told["reached"].as_bool() {
            self.note_policies(!reached).await?;
        }
        Ok(Artefact {
            id: digest.unwrap_or_else(|| image.to_owned()),
            version: version.map(|it| it.to_string()),
        })
    }

    /// Waits until the pod has ended.
    async fn pulled(&self, mut looks: Looks<'_>) -> Result<Object, Failure> {
        let mut warnings = Vec::new();
        loop {
            let found = self.cluster.get(Kind::POD, Some(&self.namespace), names::PULL).await?;
            let pod = found.ok_or_else(|| Failure::conflict("somebody removed the pod that pulls"));
            let pod = pod?;
            if reason::end_of(&pod).is_some() {
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

    async fn note_policies(&self, enforces: bool) -> Result<(), Failure> {
        let annotation =
            json!({ "metadata": { "annotations": { ENFORCES: enforces.to_string() } } });
        let noted = self.cluster.merge(Kind::NAMESPACE, None, &self.namespace, &annotation).await;
        noted.map(drop).map_err(|error| {
            let words = clean(&error.words, 300);
            Failure::from(error).context(format!("the namespace could not be annotated: {words}"))
        })
    }
}
