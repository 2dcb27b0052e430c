//! The account that machines are made in, asked directly.
//!
//! Owns what is checked before anything is made, and what of a deployment is left in the account
//! that no state knows of. Refuses to remove what does not carry the deployment's own id.

use std::sync::Arc;

use super::cloud::Cloud;
use super::files::suffix;
use crate::domain::{Failure, MachineSpec};
use crate::drivers::aws::permissions::Launch;
use crate::drivers::aws::sizes::Architecture;
use crate::drivers::aws::sweep::{Found, Kind, Mark};
use crate::drivers::aws::{Aws, Environment, regions};
use crate::drivers::terraform::State;
use crate::targets::{Progress, Site};

/// The tag with the installation's id.
pub(super) const INSTALLATION: &str = "openclaw-pipeline:installation";
/// The tag with the deployment's id.
pub(super) const DEPLOYMENT: &str = "openclaw-pipeline:deployment";
/// A public key to be refused politely: what the dry run of an import needs.
const SOME_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHwzAdnGvHL7NDTdwhmeNIFw3sC4eqGwIsJZlJkMhxdr dry-run";

fn aws(environment: &Environment, machine: &MachineSpec) -> Result<Aws, Failure> {
    Aws::new(environment.clone(), Some(&machine.region))
}

/// Checks who calls, the region, the size, the permissions and the quotas. Changes nothing.
pub(super) async fn check(
    environment: &Environment,
    cloud: Cloud,
    site: &Site,
    machine: &MachineSpec,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let aws = aws(environment, machine)?;
    progress.amount(0, 0, "who calls AWS");
    aws.identity().await?;
    let wanted = machine.size.as_deref().unwrap_or(cloud.default_size());
    match cloud {
        Cloud::Lightsail => {
            regions::check_lightsail(&machine.region)?;
            progress.amount(0, 0, "the bundle");
            aws.bundle(wanted).await?;
        }
        Cloud::Ec2 => {
            progress.amount(0, 0, "the region and the instance type");
            aws.check_region().await?;
            let found = aws.instance_type(wanted).await?;
            if site.deployment.facts.machine.is_some() {
                return Ok(());
            }
            progress.amount(0, 0, "permissions and quotas");
            let architecture = match found.architecture {
                Architecture::X86_64 => "x86_64",
                Architecture::Arm64 => "arm64",
            };
            let launch = Launch {
                image: format!(
                    "resolve:ssm:/aws/service/ami-amazon-linux-latest/\
                     al2023-ami-kernel-default-{architecture}"
                ),
                instance_type: wanted.to_owned(),
                tag: (INSTALLATION.into(), site.layout.installation().to_owned()),
                public_key: SOME_KEY.into(),
            };
            let (permissions, vcpus, addresses) = tokio::join!(
                aws.permissions(&launch),
                aws.room_for_vcpus(),
                aws.room_for_addresses()
            );
            permissions?.check()?;
            vcpus.check(found.vcpus)?;
            addresses.check(1)?;
        }
    }
    Ok(())
}

fn kinds(cloud: Cloud) -> Vec<Kind> {
    let of_it = |kind: &Kind| match cloud {
        Cloud::Lightsail => kind.is_lightsail(),
        // A gateway's machine has no role.
        Cloud::Ec2 => !kind.is_lightsail() && !matches!(kind, Kind::Role | Kind::InstanceProfile),
    };
    Kind::ALL.into_iter().filter(of_it).collect()
}

fn mark(site: &Site) -> Mark {
    let ends = format!("-{}", suffix(site));
    let is_own_name =
        Arc::new(move |name: &str| name.starts_with("openclaw-") && name.contains(&ends));
    Mark { key: DEPLOYMENT.into(), value: site.deployment.id.clone(), is_own_name }
}

/// Removes what of the deployment is in the account and in no state: what a run that was killed had
/// under way. Says what it removed.
pub(super) async fn remove_strays(
    environment: &Environment,
    cloud: Cloud,
    site: &Site,
    machine: &MachineSpec,
    state: &State,
) -> Result<Vec<String>, Failure> {
    let (aws, mark) = (aws(environment, machine)?, mark(site));
    let sweep = aws.sweep(&mark, &kinds(cloud)).await;
    let held = |found: &Found| {
        let name = found.name.as_deref();
        state.held.iter().any(|held| {
            held.id == found.id || (name == Some(held.id.as_str()) && found.kind != Kind::Instance)
        })
    };
    // A disk goes with its instance.
    let instance_is_held = sweep.found.iter().any(|it| it.kind == Kind::Instance && held(it));
    let strays: Vec<Found> = sweep
        .found
        .into_iter()
        .filter(|found| !(held(found) || found.kind == Kind::Volume && instance_is_held))
        .collect();
    let mut removed = Vec::new();
    for removal in aws.remove_all(strays, &mark).await {
        removal.outcome.map_err(|failure| failure.context(removal.found.to_string()))?;
        removed.push(format!("the {}", removal.found));
    }
    Ok(removed)
}
