//! The account that machines are made in, asked directly.
//!
//! Owns whose account it is. Refuses the credentials of another account than the one that the machine
//! was made in: there, everything looks as if it were gone.

use super::cloud::Cloud;
use super::files::Files;
use super::state::Kept;
use super::{Tools, adopted, infra, state};
use crate::domain::Failure;
use crate::domain::text::clean;
use crate::drivers::aws::identity::Identity;
use crate::drivers::aws::machines::{MachineId, MachineState};
use crate::drivers::aws::{Aws, Environment};
use crate::targets::{Site, Work};

pub(in crate::targets) fn aws(environment: &Environment, region: &str) -> Result<Aws, Failure> {
    Aws::new(environment.clone(), Some(region))
}

/// The account that a deployment's machine was made in, or was begun to be made in.
fn known(site: &Site) -> Option<String> {
    let machine = site.deployment.facts.machine.as_ref();
    let recorded = machine.map(|it| it.account.clone()).filter(|it| !it.is_empty());
    recorded.or_else(|| Files::of(site).account_of_run()).or_else(|| adopted::account(site))
}

/// Whether something of the deployment's may be in an account.
pub(in crate::targets) fn has_begun(site: &Site) -> bool {
    site.deployment.facts.machine.is_some() || Files::of(site).run().exists()
}

/// Whether a look at the state may tell something. Before anything was begun, one in a bucket is not
/// asked for.
fn may_hold(site: &Site) -> bool {
    has_begun(site) || matches!(Kept::of(site), Kept::File(_))
}

/// Refuses whoever calls from another account than this one.
pub(super) fn refuse_other(site: &Site, account: &str, who: &Identity) -> Result<(), Failure> {
    if account == who.account {
        return Ok(());
    }
    let (name, theirs) = (&site.deployment.name, clean(&who.account, 40));
    Err(Failure::conflict(format!(
        "the machine of {name} is in the AWS account {account}, and these credentials are of the \
         account {theirs} ({}); nothing was changed",
        clean(&who.arn, 200)
    ))
    .remedy(format!(
        "use credentials of the account {account}: name their profile in AWS_PROFILE, or give \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and try again"
    )))
}

/// Refuses whoever is known to call from another account than the machine's.
pub(super) fn refuse_known(site: &Site, who: &Identity) -> Result<(), Failure> {
    known(site).map_or(Ok(()), |known| refuse_other(site, &known, who))
}

/// The account of the credentials, which is the one of the deployment's machine, where one was
/// begun. What an earlier version made says so in its state, and where nothing does, nobody is
/// refused.
pub(in crate::targets) async fn of(
    tools: &Tools,
    site: &Site,
    region: &str,
    work: Work<'_>,
) -> Result<String, Failure> {
    let who = aws(&tools.aws, region)?.identity().await?;
    if let Some(known) = known(site) {
        refuse_other(site, &known, &who)?;
    } else if may_hold(site)
        && let Some(held) = state::held(&tools.terraform, site, work).await?.account
    {
        refuse_other(site, &held, &who)?;
        let files = Files::of(site);
        if files.run().exists() {
            files.write_account(&held)?;
        }
    }
    Ok(who.account)
}

/// The same without a look at the state, for whoever has no lock.
pub(super) async fn refuse_known_other(
    environment: &Environment,
    site: &Site,
) -> Result<(), Failure> {
    let (Some(known), Some(machine)) = (known(site), &site.deployment.facts.machine) else {
        return Ok(());
    };
    let who = aws(environment, &machine.region)?.identity().await?;
    refuse_other(site, &known, &who)
}

/// Why a machine that was made takes no commands, where the account knows that.
pub(super) async fn is_off(
    environment: &Environment,
    cloud: Cloud,
    site: &Site,
) -> Result<Option<Failure>, Failure> {
    let Some(machine) = &site.deployment.facts.machine else { return Ok(None) };
    let id = match cloud {
        Cloud::Ec2 => MachineId::Ec2(machine.id.clone()),
        Cloud::Lightsail => MachineId::Lightsail(machine.id.clone()),
    };
    let aws = aws(environment, &machine.region)?;
    if known(site).is_some()
        && let Err(failure) = refuse_known(site, &aws.identity().await?)
    {
        return Ok(Some(failure));
    }
    let found = aws.machine(&id).await?;
    Ok(match found.map(|found| found.state) {
        None | Some(MachineState::Terminated | MachineState::ShuttingDown) => {
            Some(infra::gone(site, machine))
        }
        Some(MachineState::Stopped | MachineState::Stopping) => {
            Some(Failure::failed(format!("the machine {} is switched off", machine.id)).remedy(
                format!("start it in the AWS console ({}), then try again", machine.region),
            ))
        }
        Some(_) => None,
    })
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
