//! Starting and stopping: how many pods there are to be, and waiting until it is so.

use std::time::Duration;

use super::reason::{self, Seen};
use super::{At, names};
use crate::domain::Failure;
use crate::drivers::kubernetes::{Changes, Kind, Problem};
use crate::exec::wait;
use crate::targets::Work;
use crate::targets::looks::Looks;

/// How long a gateway may take to drain and be gone.
const STOP_WITHIN: Duration = Duration::from_secs(400);

impl At<'_> {
    /// Starts the gateway, and waits until its process runs.
    pub(super) async fn start(&self, work: Work<'_>) -> Result<(), Failure> {
        self.remove_pod(names::ASIDE).await?;
        let changes = self.changes(names::OF_GATEWAY).await;
        self.cluster.scale(&self.namespace, names::GATEWAY, 1).await?;
        let mut looks = Looks::new(self.target.within, work).hearing(changes);
        let mut warnings = Vec::new();
        loop {
            let what = match self.look(reason::runs, looks.is_quiet(), &mut warnings).await? {
                // One that runs is enough: whether it works is another question, and so is why one
                // ended that began.
                Seen::Running | Seen::Ended { .. } => return Ok(()),
                Seen::Stuck(trouble) if looks.bears(trouble.may_pass) => trouble.what,
                Seen::Stuck(trouble) => return Err(trouble.into()),
                Seen::Coming(what) if looks.is_late() => {
                    return Err(Failure::failed(format!("its pod did not come up: {what}"))
                        .remedy("kubectl describe pod says what it waits for"));
                }
                Seen::Coming(what) => {
                    looks.is_well();
                    what
                }
                Seen::Absent | Seen::Stopped => {
                    return Err(Failure::conflict("somebody else stopped the gateway meanwhile")
                        .remedy("launch it again"));
                }
            };
            looks.next(&self.site.scrub(&what, 200)).await?;
        }
    }

    /// The changes of the deployment's pods that have this label.
    pub(super) async fn changes(&self, label: &str) -> Option<Changes> {
        self.cluster.changes(Kind::POD, &self.namespace, label).await
    }

    /// Lets the gateway drain, and waits until its pod is gone.
    pub(super) async fn stop(&self, work: Work<'_>) -> Result<(), Failure> {
        let Some(found) = self.found().await? else { return Ok(()) };
        names::refuse_others(&found, self.site)?;
        // One that a launch left, which did not come as far as to hear it.
        self.remove_now(names::PULL).await?;
        let changes = self.changes(names::OF_GATEWAY).await;
        match self.cluster.scale(&self.namespace, names::GATEWAY, 0).await {
            Err(error) if error.problem == Problem::NotFound => return Ok(()),
            scaled => scaled?,
        }
        let mut looks = Looks::new(STOP_WITHIN, work).hearing(changes);
        loop {
            let pods =
                self.cluster.list(Kind::POD, Some(&self.namespace), names::OF_GATEWAY).await?;
            if pods.is_empty() {
                return Ok(());
            }
            // One that was evicted stays listed, ended, until somebody removes it.
            for pod in pods.iter().filter(|it| names::has_ended(it) && !names::is_going(it)) {
                let (name, uid) = (pod.metadata.name.as_deref(), pod.metadata.uid.as_deref());
                let (name, uid) = (name.unwrap_or_default(), uid.unwrap_or_default());
                self.cluster.remove(Kind::POD, Some(&self.namespace), name, uid).await?;
            }
            if looks.is_late() {
                return Err(Failure::failed("its pod does not end: its node may be gone").remedy(
                    "look at the node (kubectl get pods -o wide, kubectl describe node); a node \
                     that is gone for good has to be removed from the cluster",
                ));
            }
            looks.next("waiting for the gateway to drain").await?;
        }
    }

    /// Removes a pod of the deployment's, if it is there, and waits until it is gone.
    pub(super) async fn remove_pod(&self, name: &str) -> Result<(), Failure> {
        let namespace = Some(self.namespace.as_str());
        let gone = wait::until(Duration::from_secs(60), || async {
            match self.cluster.get(Kind::POD, namespace, name).await {
                Ok(None) => Some(Ok(())),
                Ok(Some(pod)) if names::is_going(&pod) => None,
                Ok(Some(pod)) => {
                    let uid = pod.metadata.uid.unwrap_or_default();
                    let removed = self.cluster.remove(Kind::POD, namespace, name, &uid).await;
                    removed.err().map(Err)
                }
                Err(error) => Some(Err(error)),
            }
        });
        match gone.await {
            Some(gone) => Ok(gone?),
            None => Err(Failure::failed(format!("the pod {name} does not end"))),
        }
    }
}
