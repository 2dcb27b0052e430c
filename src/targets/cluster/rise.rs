//! Starting and stopping: how many pods there are to be, and waiting until it is so.

use std::time::Duration;

use tokio::time::Instant;

use super::reason::Seen;
use super::{At, names};
use crate::domain::Failure;
use crate::drivers::kubernetes::{Kind, Problem};
use crate::exec::wait;
use crate::targets::Work;

/// The pause between two looks, at first and at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// How long something that may pass is waited for: a node is added, a volume made.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a gateway may take to drain and be gone.
const STOP_WITHIN: Duration = Duration::from_secs(400);

/// Looks that grow further apart.
pub(super) struct Looks<'a> {
    pause: Duration,
    work: Work<'a>,
}

impl<'a> Looks<'a> {
    pub(super) fn new(work: Work<'a>) -> Self {
        Self { pause: LOOKS.0, work }
    }

    /// Until the next look; fails when the operation is interrupted.
    pub(super) async fn next(&mut self) -> Result<(), Failure> {
        tokio::select! {
            () = wait::back_off(self.pause) => {}
            () = self.work.cancel.cancelled() => return Err(Failure::interrupted()),
        }
        self.pause = (self.pause * 3 / 2).min(LOOKS.1);
        Ok(())
    }
}

impl At<'_> {
    /// Starts the gateway, and waits until its process runs.
    pub(super) async fn start(&self, work: Work<'_>) -> Result<(), Failure> {
        self.remove_pod(names::ASIDE).await?;
        self.cluster.scale(&self.namespace, names::GATEWAY, 1).await?;
        let deadline = Instant::now() + self.within;
        let mut stuck_since: Option<Instant> = None;
        let mut looks = Looks::new(work);
        loop {
            // An API server that is restarted meanwhile is asked again.
            let seen = match self.look().await {
                Ok(seen) => seen,
                Err(failure) if Instant::now() > deadline => return Err(failure),
                Err(_) => Seen::Coming("the cluster does not answer just now".into()),
            };
            match seen {
                // Whether it works is another question, and so is why one ended that began.
                Seen::Running | Seen::Ended { .. } => return Ok(()),
                Seen::Stuck(trouble) => {
                    let since = *stuck_since.get_or_insert_with(Instant::now);
                    let patience = PATIENCE.min(self.within);
                    if !trouble.may_pass || since.elapsed() > patience {
                        return Err(trouble.into());
                    }
                    work.progress.amount(0, 0, &trouble.what);
                }
                Seen::Coming(what) => {
                    stuck_since = None;
                    if Instant::now() > deadline {
                        return Err(Failure::failed(format!("its pod did not come up: {what}"))
                            .remedy("kubectl describe pod says what it waits for"));
                    }
                    work.progress.amount(0, 0, &what);
                }
                Seen::Absent | Seen::Stopped => {
                    return Err(Failure::conflict("somebody else stopped the gateway meanwhile")
                        .remedy("launch it again"));
                }
            }
            looks.next().await?;
        }
    }

    async fn look(&self) -> Result<Seen, Failure> {
        // One that runs is enough here: whether it is ready is for the proof.
        if let Some(pod) = self.pod().await?
            && super::reason::runs(&pod)
            && !names::is_going(&pod)
        {
            return Ok(Seen::Running);
        }
        self.seen().await
    }

    /// Lets the gateway drain, and waits until its pod is gone.
    pub(super) async fn stop(&self, work: Work<'_>) -> Result<(), Failure> {
        let found = self.cluster.get(Kind::NAMESPACE, None, &self.namespace).await?;
        let Some(found) = found else { return Ok(()) };
        names::refuse_others(&found, self.site)?;
        match self.cluster.scale(&self.namespace, names::GATEWAY, 0).await {
            Err(error) if error.problem == Problem::NotFound => return Ok(()),
            scaled => scaled?,
        }
        let deadline = Instant::now() + STOP_WITHIN;
        let mut looks = Looks::new(work);
        loop {
            let pods =
                self.cluster.list(Kind::POD, Some(&self.namespace), names::OF_GATEWAY).await?;
            if pods.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Failure::failed("its pod does not end: its node may be gone").remedy(
                    "look at the node (kubectl get pods -o wide, kubectl describe node); a node \
                     that is gone for good has to be removed from the cluster",
                ));
            }
            work.progress.amount(0, 0, "waiting for the gateway to drain");
            looks.next().await?;
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
