//! What an update has made superfluous: versions and images that nothing runs any more.
//!
//! Owns which those are. Kept are what a deployment runs, and what the one before it was, to go
//! back to; the rest is removed where its target can get it again. Only what this installation ran
//! itself is ever named.

use std::collections::BTreeSet;

use super::App;
use crate::domain::{Deployment, DeploymentName, DeploymentStatus, Failure};
use crate::operations::Sink;
use crate::store::Backup;

impl App {
    /// Removes what is superseded. That it could not be is told, and is nobody's failure: what
    /// was asked for is done.
    pub(super) async fn prune(&self, name: &DeploymentName, sink: &dyn Sink) {
        match self.try_prune(name).await {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => {
                sink.progress().note(&format!("no longer needed: {}", removed.join(", ")));
            }
            Err(failure) => {
                sink.progress().note(&format!("old versions could not be removed: {failure}"));
            }
        }
    }

    async fn try_prune(&self, name: &DeploymentName) -> Result<Vec<String>, Failure> {
        let store = self.store();
        let mut known = Vec::new();
        for deployment in store.deployments(true)? {
            if store.active_operation(&deployment.name)?.is_some() {
                // It may be about to run what nothing runs now.
                return Ok(Vec::new());
            }
            let backups = store.backups(&deployment.name)?;
            known.push((deployment, backups));
        }
        let superseded = superseded(&known);
        if superseded.is_empty() {
            return Ok(Vec::new());
        }
        let site = self.site(name)?;
        self.target(&site).prune(&superseded).await
    }
}

/// What deployments ran before the one before. Each deployment with its backups, newest first: an
/// update makes one, so what ran is known by them.
fn superseded(known: &[(Deployment, Vec<Backup>)]) -> Vec<String> {
    let mut kept = BTreeSet::new();
    let mut ran = BTreeSet::new();
    for (deployment, backups) in known {
        let runs = Some(&deployment.facts.artefact)
            .filter(|_| deployment.status != DeploymentStatus::Destroyed)
            .and_then(Option::as_deref);
        let mut before = backups.iter().map(|backup| backup.artefact.as_str());
        kept.extend(runs);
        kept.extend(before.find(|artefact| Some(*artefact) != runs));
        ran.extend(backups.iter().map(|backup| backup.artefact.as_str()));
    }
    let gone = ran.difference(&kept).filter(|artefact| !artefact.is_empty());
    gone.map(|artefact| (*artefact).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(status: &str, artefact: &str) -> Deployment {
        serde_json::from_value(serde_json::json!({
            "id": "1", "name": "main", "status": status,
            "spec": {
                "target": "docker", "bind": "127.0.0.1", "heartbeat": "0m", "memory_mib": 2048,
                "approval": { "mode": "auto", "window_s": 600, "devices": 3 },
            },
            "facts": { "artefact": artefact }, "created_at": "", "updated_at": "",
        }))
        .expect("a deployment")
    }

    fn backups(artefacts: &[&str]) -> Vec<Backup> {
        let backup = |artefact: &&str| Backup {
            id: String::new(),
            deployment_id: String::new(),
            deployment: "main".into(),
            path: String::new(),
            bytes: 0,
            sha256: String::new(),
            version: String::new(),
            artefact: (*artefact).to_owned(),
            reason: String::new(),
            created_at: String::new(),
        };
        artefacts.iter().map(backup).collect()
    }

    #[test]
    fn what_runs_and_what_ran_before_it_stay() {
        let one = (deployment("running", "4"), backups(&["3", "2", "1"]));
        assert_eq!(superseded(&[one]), ["1", "2"]);
        let backed_up = (deployment("running", "4"), backups(&["4", "4", "3", "2"]));
        assert_eq!(superseded(&[backed_up]), ["2"], "a backup of what runs is none of before");
    }

    #[test]
    fn what_another_deployment_needs_stays() {
        let one = (deployment("running", "4"), backups(&["3", "2", "1", ""]));
        let other = (deployment("stopped", "2"), Vec::new());
        assert_eq!(superseded(&[one.clone(), other]), ["1"]);
        let gone = (deployment("destroyed", "2"), backups(&["1"]));
        assert_eq!(superseded(&[one, gone]), ["2"], "its newest backup may be restored");
    }
}
