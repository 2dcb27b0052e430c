//! Gateways on machines of their own, looked at from outside.
//!
//! Owns the look that costs one request: whether the gateway answers by the route that its user
//! takes, as `GET /startupz` tells. Refuses to open a shell there for it, to wait for long (a machine
//! that cannot be reached in time is a gateway that does not work, and no failure of the look), and
//! to believe a single look that failed.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::App;
use super::listing::is_watched;
use crate::domain::status::next;
use crate::domain::{Change, Deployment, Expose, Failure};
use crate::exec::wait;
use crate::gateway::probe::{self, Startup};

/// How long one look may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// The pause before a second look, where the first one failed.
const AGAIN: Duration = Duration::from_secs(2);
/// How many machines are looked at side by side: a thousand of them are no thousand connections.
const AT_ONCE: usize = 8;

impl App {
    /// Looks at every gateway that is meant to run on a machine of its own and is reached from
    /// outside, and records what changed. Where only SSH leads to it, whoever asks for its status
    /// looks: a round of its own would keep a connection to each.
    pub(super) async fn survey_machines(&self) -> Result<(), Failure> {
        let outside = |it: &Deployment| {
            is_watched(it) && it.expose().is_some_and(|expose| expose != Expose::None)
        };
        let due = self.store().deployments(false)?.into_iter().filter(outside);
        let mut looks = stream::iter(due)
            .map(|it| async move {
                let mut change = self.reached(&it).await;
                if matches!(change, Some(Change::Degrade)) {
                    // One answer that was lost on its way is no outage.
                    wait::back_off(AGAIN).await;
                    change = self.reached(&it).await;
                }
                if matches!(change, Some(Change::Degrade)) {
                    self.follow_tunnel(&it).await;
                }
                (change, it)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((change, seen)) = looks.next().await {
            let Some(change) = change else { continue };
            if next(Some(seen.status), change).is_ok_and(|status| status == seen.status) {
                continue;
            }
            // The look took its time: what was destroyed meanwhile is nobody's trouble.
            if let Err(error) = self.store().observe(&seen.name, change) {
                tracing::debug!(name = %seen.name, %error, "what was seen could not be recorded");
            }
        }
        Ok(())
    }

    /// What a look by its user's route says of a gateway; `None` where there is no route yet.
    pub(super) async fn reached(&self, deployment: &Deployment) -> Option<Change> {
        let site = self.unopened(deployment);
        let route = self.target(&site).route(&site).ok()?;
        let host = site.host_header().ok()?;
        let look = probe::startup(&*route, &host);
        Some(match tokio::time::timeout(LOOK_DEADLINE, look).await {
            // A gateway without this probe answered another one.
            Ok(Ok(Startup::Started { .. } | Startup::Unsupported)) => Change::Recover,
            Ok(Ok(Startup::Starting { .. }) | Err(_)) | Err(_) => Change::Degrade,
        })
    }
}
