//! Everything in a region that carries this installation's id, held against its deployments.

use std::sync::Arc;

use super::account::{DEPLOYMENT, INSTALLATION};
use super::state::resource_name;
use crate::domain::Failure;
use crate::drivers::aws::sweep::{Found, Kind, Mark};
use crate::drivers::aws::{Aws, Environment};
use crate::targets::{Layout, Site};

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Swept {
    /// How much a deployment accounts for.
    pub accounted: usize,
    /// What none does, in words, and what became of its removal.
    pub orphans: Vec<(String, Option<Result<(), Failure>>)>,
    /// What could not be looked for.
    pub unseen: Vec<String>,
}

/// Looks through a region. `sites` are all deployments that ever were, and `living` says of an id
/// whether its deployment is there.
pub async fn sweep(
    environment: &Environment,
    region: &str,
    layout: &Layout,
    sites: &[Site],
    living: &(dyn Fn(&str) -> bool + Sync),
    remove: bool,
) -> Result<Swept, Failure> {
    let aws = Aws::new(environment.clone(), Some(region))?;
    aws.identity().await?;
    // What has no tags goes by its name, which is a hash of installation and deployment.
    let own = |site: &Site| {
        resource_name(layout.installation(), &site.deployment.id, &site.deployment.name)
    };
    let names: Vec<(String, String)> =
        sites.iter().map(|site| (own(site), site.deployment.id.clone())).collect();
    let all = names.clone();
    let is_own_name =
        Arc::new(move |text: &str| all.iter().any(|(name, _)| begins_with(text, name)));
    let owner = |text: &str| {
        names.iter().find(|(name, _)| begins_with(text, name)).map(|(_, id)| id.as_str())
    };
    let mark =
        Mark { key: INSTALLATION.into(), value: layout.installation().to_owned(), is_own_name };
    let seen = aws.sweep(&mark, &Kind::ALL).await;
    let is_accounted = |found: &Found| {
        let id = found.tags.get(DEPLOYMENT).map(String::as_str);
        id.or_else(|| owner(&found.id)).is_some_and(living)
    };
    let (accounted, orphans): (Vec<Found>, Vec<Found>) =
        seen.found.into_iter().partition(is_accounted);
    let mut swept = Swept { accounted: accounted.len(), ..Swept::default() };
    swept.unseen = seen.unseen.iter().map(|(kind, why)| format!("{kind}: {why}")).collect();
    if remove {
        let removals = aws.remove_all(orphans, &mark).await.into_iter();
        swept.orphans = removals.map(|it| (it.found.to_string(), Some(it.outcome))).collect();
    } else {
        swept.orphans = orphans.iter().map(|found| (found.to_string(), None)).collect();
    }
    Ok(swept)
}

/// Whether a name is this one, or a part's of what has it.
fn begins_with(text: &str, name: &str) -> bool {
    text.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
