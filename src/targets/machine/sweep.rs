//! Everything in a region that carries this installation's id, held against its deployments.
//!
//! Owns what counts as accounted for: what stands in the state of a deployment that is there. Refuses
//! to call anything an orphan whose deployment's state nobody could read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::account;
use super::state::resource_name;
use super::strays::{self, DEPLOYMENT, INSTALLATION};
use crate::domain::Failure;
use crate::drivers::aws::identity::Identity;
use crate::drivers::aws::sweep::{Found, Kind, Mark};
use crate::drivers::aws::{Aws, Environment};
use crate::drivers::terraform::State;
use crate::targets::{Layout, Site};

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Swept {
    /// How much a deployment accounts for.
    pub accounted: usize,
    /// What none does, in words, and what became of its removal.
    pub orphans: Vec<(String, Option<Result<(), Failure>>)>,
    /// What gateways on a cluster kept their data on, in words, and how its owner removes it.
    pub kept: Vec<(String, String)>,
    /// What could not be looked for.
    pub unseen: Vec<String>,
}

/// What is in a region, and of which deployments.
pub struct Sweep {
    aws: Aws,
    who: Identity,
    mark: Mark,
    found: Vec<(Option<String>, Found)>,
    unseen: Vec<String>,
}

/// What is known of a deployment that is there.
#[derive(Debug, Clone)]
pub enum Known {
    /// Nothing: its state could not be read, or it has none.
    Nothing,
    /// What stands in its state.
    State(State),
    /// The same of a cluster that was whole: gateways may be on what its state has lost.
    Cluster(State),
}

impl Sweep {
    /// Looks through a region. `sites` are all deployments that ever were.
    pub async fn look(
        environment: &Environment,
        region: &str,
        layout: &Layout,
        sites: &[Site],
    ) -> Result<Self, Failure> {
        let aws = Aws::new(environment.clone(), Some(region))?;
        let who = aws.identity().await?;
        // What has no tags goes by its name, which is a hash of installation and deployment.
        let own = |site: &Site| {
            resource_name(layout.installation(), &site.deployment.id, &site.deployment.name)
        };
        let names: Vec<(String, String)> =
            sites.iter().map(|site| (own(site), site.deployment.id.clone())).collect();
        let all = names.clone();
        let is_own_name =
            Arc::new(move |text: &str| all.iter().any(|(name, _)| begins_with(text, name)));
        let mark =
            Mark { key: INSTALLATION.into(), value: layout.installation().to_owned(), is_own_name };
        // Who has no cluster needs no permission to look at one.
        let has_cluster = sites.iter().any(|it| it.deployment.name.is_cluster());
        let kinds = Kind::ALL.into_iter().filter(|it| has_cluster || !it.is_of_a_cluster());
        let seen = aws.sweep(&mark, &kinds.collect::<Vec<_>>()).await;
        let owner = |found: &Found| {
            let by_name = || names.iter().find(|(name, _)| begins_with(found.own_name(), name));
            let tagged = found.tags.get(DEPLOYMENT).cloned();
            tagged.or_else(|| by_name().map(|(_, id)| id.clone()))
        };
        let found = seen.found.into_iter().map(|found| (owner(&found), found)).collect();
        let unseen = seen.unseen.iter().map(|(kind, why)| format!("{kind}: {why}")).collect();
        Ok(Self { aws, who, mark, found, unseen })
    }

    /// The ids of the deployments that something is there of.
    pub fn owners(&self) -> BTreeSet<&str> {
        self.found.iter().filter_map(|(owner, _)| owner.as_deref()).collect()
    }

    /// Why nothing of a deployment can have been seen, where that is so.
    pub fn elsewhere(&self, site: &Site) -> Option<Failure> {
        account::refuse_known(site, &self.who).err()
    }

    /// Holds it against the states of the deployments that are there, by their ids, and removes what
    /// stands in none where that is asked for. What stands in no state of a deployment was made by
    /// no run that came to its end: nobody may be at work on the deployment, and nobody may begin,
    /// from before its state was read until this is done.
    pub async fn settle(self, living: &BTreeMap<String, Known>, remove: bool) -> Swept {
        let mut of: BTreeMap<Option<String>, Vec<Found>> = BTreeMap::new();
        for (owner, found) in self.found {
            of.entry(owner).or_default().push(found);
        }
        let mut swept = Swept { unseen: self.unseen, ..Swept::default() };
        let mut orphans = Vec::new();
        for (owner, found) in of {
            let all = found.len();
            match owner.and_then(|id| living.get(&id)) {
                None => orphans.extend(strays::strays(&found, &State::default())),
                Some(Known::Nothing) => swept.accounted += all,
                Some(Known::State(state)) => {
                    let strays = strays::strays(&found, state);
                    swept.accounted += all - strays.len();
                    orphans.extend(strays);
                }
                Some(Known::Cluster(state)) => {
                    let lost = strays::strays(&found, state);
                    swept.accounted += all - lost.len();
                    swept.unseen.extend(lost.iter().map(|it| {
                        format!(
                            "the {it} is the cluster's, and stands in no state of Terraform's: \
                             gateways may need it"
                        )
                    }));
                }
            }
        }
        let (data, orphans): (Vec<_>, Vec<_>) = orphans.into_iter().partition(holds_data);
        let region = self.aws.region();
        let removing =
            |id: &str| format!("aws ec2 delete-volume --region {region} --volume-id {id}");
        swept.kept = data.iter().map(|it| (it.to_string(), removing(&it.id))).collect();
        if remove {
            let removals = self.aws.remove_all(orphans, &self.mark).await.into_iter();
            swept.orphans = removals.map(|it| (it.found.to_string(), Some(it.outcome))).collect();
        } else {
            swept.orphans = orphans.iter().map(|found| (found.to_string(), None)).collect();
        }
        swept
    }
}

/// Whether it is what a gateway on a cluster keeps its data on: it was left on purpose.
fn holds_data(found: &Found) -> bool {
    // What the driver of a cluster says of all that it makes, and what it says where it is told to.
    let signs = ["ebs.csi.aws.com/cluster", "CSIVolumeName", "kubernetes.io/created-for/pvc/name"];
    found.kind == Kind::Volume && signs.iter().any(|it| found.tags.contains_key(*it))
}

/// Whether a name is this one, or a part's of what has it.
fn begins_with(text: &str, name: &str) -> bool {
    text.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
