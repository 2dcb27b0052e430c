//! What is in the cloud and in no deployment.
//!
//! Owns the sweep: everything that carries this installation's own id is held against the states of
//! the deployments that there are. Refuses to remove what it did not find to be the installation's,
//! what stands in the state of a deployment that is there (destroying that is its own verb), and
//! anything of one that somebody is at work on, or whose state tells nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::App;
use super::handover::Unheard;
use crate::config::Settings;
use crate::domain::{Deployment, DeploymentStatus, Failure};
use crate::exec::LockFile;
use crate::targets::machine::{Known, Sweep, Swept};
use crate::targets::{Site, Work};

/// What a sweep of the cloud came to.
#[derive(Debug, Clone, Serialize)]
pub struct Orphans {
    /// The regions that were looked through.
    pub regions: Vec<String>,
    /// How much is there that a deployment accounts for.
    pub accounted: usize,
    /// What is there and in no deployment, or in no state of the one whose id it carries.
    pub orphans: Vec<Orphan>,
    /// Volumes with the data of gateways that were on a cluster. Nobody removes them but their owner.
    pub kept: Vec<Kept>,
    /// What could not be looked for.
    pub unseen: Vec<String>,
}

/// Data that was kept.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    /// In which region.
    pub region: String,
    /// What it is, in words.
    pub what: String,
    /// The command that removes it.
    pub removing: String,
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
        let (machines, others): (Vec<Deployment>, Vec<Deployment>) =
            all.into_iter().partition(|it| it.spec.machine.is_some());
        // A cluster's controllers give what they make for a gateway its tags.
        let others = others.into_iter().filter(|it| it.status != DeploymentStatus::Destroyed);
        let others: BTreeMap<String, Known> = others.map(|it| (it.id, Known::Nothing)).collect();
        // Those of deployments that are gone, too: what was forgotten is theirs.
        let named = machines.iter().filter_map(|it| it.spec.machine.as_ref());
        let mut regions: BTreeSet<String> = named.map(|it| it.region.clone()).collect();
        regions.insert(settings.region()?);
        let sites: Vec<_> = machines.iter().map(|it| self.unopened(it)).collect();
        let is_living = |site: &&Site| site.deployment.status != DeploymentStatus::Destroyed;
        let living: Vec<&Site> = sites.iter().filter(is_living).collect();
        let mut found = Orphans {
            regions: regions.iter().cloned().collect(),
            accounted: 0,
            orphans: Vec::new(),
            kept: Vec::new(),
            unseen: Vec::new(),
        };
        let environment = self.engine().targets().aws();
        for region in regions {
            let sweep = Sweep::look(environment, &region, self.layout(), &sites).await?;
            let elsewhere = living.iter().filter(|site| is_in(site, &region));
            let elsewhere = elsewhere.filter_map(|site| sweep.elsewhere(site));
            found.unseen.extend(elsewhere.map(|why| format!("{region}: {why}")));
            // Read after the look: what was made meanwhile stands there by now.
            let mut known = others.clone();
            let mut locks = Vec::new();
            for site in &living {
                let id = &site.deployment.id;
                if !sweep.owners().contains(id.as_str()) {
                    continue;
                }
                let state = match self.settled_state(site).await {
                    Ok((lock, state)) => {
                        locks.push(lock);
                        state
                    }
                    Err(why) => {
                        let name = &site.deployment.name;
                        found
                            .unseen
                            .push(format!("{region}: what of {name}'s is in no state: {why}"));
                        Known::Nothing
                    }
                };
                known.insert(id.clone(), state);
            }
            let Swept { accounted, orphans, kept, unseen } = sweep.settle(&known, remove).await;
            drop(locks);
            found.accounted += accounted;
            found.unseen.extend(unseen.into_iter().map(|why| format!("{region}: {why}")));
            let kept = kept.into_iter();
            found.kept.extend(kept.map(|(what, removing)| Kept {
                region: region.clone(),
                what,
                removing,
            }));
            found.orphans.extend(orphans.into_iter().map(|(what, outcome)| Orphan {
                region: region.clone(),
                what,
                removed: matches!(outcome, Some(Ok(()))),
                failure: outcome.and_then(Result::err).map(|failure| failure.message),
            }));
        }
        Ok(found)
    }

    /// What the state of a deployment holds that nobody is at work on, and the lock that keeps it
    /// so. Refuses a state that lacks the machine: what it says is not all that there is.
    async fn settled_state(&self, site: &Site) -> Result<(LockFile, Known), Failure> {
        let name = &site.deployment.name;
        let lock = self.lock_idle(name).await?;
        let cancel = CancellationToken::new();
        let work = Work { cancel: &cancel, lock: &lock, progress: &Unheard };
        let state = if name.is_cluster() {
            self.engine().targets().cluster_maker().held(site, work).await?
        } else {
            self.maker(site)?.held(site, work).await?
        };
        // What it is by now, with the lock: a launch may have come to its end meanwhile.
        let facts = self.deployment(name)?.facts;
        if let Some(machine) = facts.machine
            && !state.held.iter().any(|held| held.id == machine.id)
        {
            return Err(Failure::conflict(format!(
                "its state does not hold the machine {}, which was made",
                machine.id
            )));
        }
        let Some(made) = facts.own_cluster else {
            return Ok((lock, Known::State(state)));
        };
        if !state.held.iter().any(|it| it.kind == "aws_eks_cluster" && it.id == made.at.name) {
            return Err(Failure::conflict(format!(
                "its state does not hold the cluster {}, which was made",
                made.at.name
            )));
        }
        Ok((lock, Known::Cluster(state)))
    }
}

/// Whether a deployment's machine is in a region.
fn is_in(site: &Site, region: &str) -> bool {
    let (spec, facts) = (&site.deployment.spec.machine, &site.deployment.facts.machine);
    let made = facts.as_ref().map(|it| it.region.as_str());
    made.or(spec.as_ref().map(|it| it.region.as_str())) == Some(region)
}
