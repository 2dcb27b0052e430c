//! What is in the cloud and in no deployment.
//!
//! Owns the sweep: everything that carries this installation's own id is held against the
//! deployments that there are. Refuses to remove what it did not find to be the installation's, and
//! what belongs to a deployment that is there: destroying that is its own verb.

use std::collections::BTreeSet;

use serde::Serialize;

use super::App;
use crate::config::Settings;
use crate::domain::{Deployment, DeploymentStatus, Failure};
use crate::targets::machine::{Swept, sweep};

/// What a sweep of the cloud came to.
#[derive(Debug, Clone, Serialize)]
pub struct Orphans {
    /// The regions that were looked through.
    pub regions: Vec<String>,
    /// How much is there that a deployment accounts for.
    pub accounted: usize,
    /// What is there and in no deployment.
    pub orphans: Vec<Orphan>,
    /// What could not be looked for.
    pub unseen: Vec<String>,
}

/// Something without a deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Orphan {
    /// In which region.
    pub region: String,
    /// What it is, in words.
    pub what: String,
    /// Whether it was removed.
    pub removed: bool,
    /// Why it could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl App {
    /// Looks through the cloud for what no deployment accounts for, and removes it where that is
    /// asked for.
    pub async fn orphans(&self, settings: &Settings, remove: bool) -> Result<Orphans, Failure> {
        let all = self.store().deployments(true)?;
        let machines: Vec<Deployment> =
            all.into_iter().filter(|it| it.spec.target.has_machine()).collect();
        // Those of deployments that are gone, too: what was forgotten is theirs.
        let named = machines.iter().filter_map(|it| it.spec.machine.as_ref());
        let mut regions: BTreeSet<String> = named.map(|it| it.region.clone()).collect();
        regions.insert(settings.region()?);
        let sites: Vec<_> = machines.iter().map(|it| self.unopened(it)).collect();
        let living = |id: &str| {
            machines.iter().any(|it| it.id == id && it.status != DeploymentStatus::Destroyed)
        };
        let mut found = Orphans {
            regions: regions.iter().cloned().collect(),
            accounted: 0,
            orphans: Vec::new(),
            unseen: Vec::new(),
        };
        let environment = self.engine().targets().aws();
        for region in regions {
            let Swept { accounted, orphans, unseen } =
                sweep(environment, &region, self.layout(), &sites, &living, remove).await?;
            found.accounted += accounted;
            found.unseen.extend(unseen.into_iter().map(|why| format!("{region}: {why}")));
            found.orphans.extend(orphans.into_iter().map(|(what, outcome)| Orphan {
                region: region.clone(),
                what,
                removed: matches!(outcome, Some(Ok(()))),
                failure: outcome.and_then(Result::err).map(|failure| failure.message),
            }));
        }
        Ok(found)
    }
}
