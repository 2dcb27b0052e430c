//! All deployments, each as a quick look finds it.
//!
//! Owns the look that a list can afford: a small record and a lock of each `process` gateway, one
//! call of the engine for all `docker` ones, and nothing for those on machines of their own, whose
//! recorded status has to do. Refuses to open a secret, to wait for an engine that does not answer,
//! and to record what it sees: `status` does that.

use std::collections::BTreeSet;
use std::time::Duration;

use super::App;
use crate::domain::status::next;
use crate::domain::{Change, Deployment, DeploymentStatus, Failure, TargetKind};
use crate::secrets::Secret;
use crate::targets::{GatewaySecrets, Observed, Site, container};

/// How long the engine may take before the recorded status has to do.
const ENGINE_DEADLINE: Duration = Duration::from_secs(5);

impl App {
    /// The deployments, with the status that a look gives those that are meant to run.
    pub async fn list(&self) -> Result<Vec<Deployment>, Failure> {
        let mut deployments = self.store().deployments(false)?;
        self.look_at(&mut deployments).await;
        Ok(deployments)
    }

    /// Looks at every deployment that is meant to run, and records what changed.
    pub(super) async fn survey(&self) -> Result<(), Failure> {
        let known = self.store().deployments(false)?;
        let mut seen = known.clone();
        self.look_at(&mut seen).await;
        for (known, seen) in known.iter().zip(&seen).filter(|(known, seen)| known != seen) {
            let change = match seen.status {
                DeploymentStatus::Running => Change::Recover,
                _ => Change::Degrade,
            };
            self.store().observe(&known.name, change)?;
        }
        Ok(())
    }

    async fn look_at(&self, deployments: &mut [Deployment]) {
        let watched = |it: &Deployment| is_watched(it) && !it.spec.target.has_own_address();
        let on_docker = |deployment: &Deployment| deployment.spec.target == TargetKind::Docker;
        // A machine without a deployment there pays for no engine.
        let running = if deployments.iter().any(|it| watched(it) && on_docker(it)) {
            running_containers().await
        } else {
            None
        };
        for deployment in deployments.iter_mut().filter(|it| watched(it)) {
            let site = self.unopened(deployment);
            let change = if on_docker(deployment) {
                // A container that runs may be a held one: that takes a closer look to see.
                let names = running.as_ref();
                let gone = names.is_some_and(|it| !it.contains(&container::container(&site)));
                gone.then_some(Change::Degrade)
            } else {
                let seen = self.target(&site).observe(&site).await.ok();
                seen.map(|seen| match seen {
                    Observed::Running => Change::Recover,
                    _ => Change::Degrade,
                })
            };
            // What could not be looked at says nothing about the gateway.
            let Some(change) = change else { continue };
            deployment.status = next(Some(deployment.status), change).unwrap_or(deployment.status);
        }
    }

    /// A deployment for a look that needs no secret.
    pub(super) fn unopened(&self, deployment: &Deployment) -> Site {
        Site {
            layout: self.layout().clone(),
            deployment: deployment.clone(),
            secrets: GatewaySecrets {
                token: Secret::new(String::new()),
                credentials: Vec::new(),
                env: Vec::new(),
                user_config: None,
                tunnel_token: None,
            },
        }
    }
}

/// Whether a deployment is meant to run, and nobody is at work on it.
pub(super) fn is_watched(deployment: &Deployment) -> bool {
    matches!(deployment.status, DeploymentStatus::Running | DeploymentStatus::Degraded)
}

/// The names of the engine's running containers; `None` when it does not say.
async fn running_containers() -> Option<BTreeSet<String>> {
    let mut cmd = container::Engine::here().docker();
    cmd.args(["container", "ls", "--format", "{{.Names}}"]).deadline(ENGINE_DEADLINE);
    let output = cmd.output().await.ok().filter(crate::exec::Output::success)?;
    Some(output.stdout.lines().map(|line| line.trim().to_owned()).collect())
}
