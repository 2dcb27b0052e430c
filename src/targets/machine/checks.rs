//! What is checked in the account before a machine is made there.
//!
//! Owns the order: who calls, the region, the size, then what is allowed (by trying it, and by asking
//! IAM about what cannot be tried) and whether there is room. Refuses to change anything: whether something may be made is asked by calls that make nothing.

use super::account;
use super::cloud::Cloud;
use super::files::{Files, suffix};
use super::strays::{DEPLOYMENT, INSTALLATION};
use super::{Tools, infra, state};
use crate::domain::{Failure, FailureKind, MachineSpec};
use crate::drivers::aws::permissions::{Launch, Permissions};
use crate::drivers::aws::quotas::Room;
use crate::drivers::aws::simulated::Making;
use crate::drivers::aws::{Aws, CallError, regions};
use crate::targets::{Site, Work};

/// A public key to be refused politely: what the dry run of an import needs.
const SOME_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHwzAdnGvHL7NDTdwhmeNIFw3sC4eqGwIsJZlJkMhxdr dry-run";

/// What the account says to one more machine.
struct Said {
    permissions: Permissions,
    vcpus: Room,
    addresses: Room,
}

/// What will be made, as the modules name it, and the tags that all of it carries. Which operation
/// makes it is not known yet.
fn making(site: &Site) -> Making {
    let (deployment, name) = (&site.deployment, site.deployment.name.to_string());
    let named = format!("openclaw-{name}-{}", suffix(site));
    let tags = [
        ("Name", named.clone()),
        (INSTALLATION, site.layout.installation().to_owned()),
        (DEPLOYMENT, deployment.id.clone()),
        ("openclaw-pipeline:name", name),
        ("openclaw-pipeline:operation", "dry-run".into()),
    ];
    let tags = tags.map(|(key, value)| (key.to_owned(), value)).into();
    Making { name: named, tags }
}

/// Checks who calls, the region, the size, the permissions and the quotas. Changes nothing.
pub(super) async fn check(
    tools: &Tools,
    cloud: Cloud,
    site: &Site,
    machine: &MachineSpec,
    work: Work<'_>,
) -> Result<(), Failure> {
    let progress = work.progress;
    let region = infra::region(site, machine)?;
    let aws = account::aws(&tools.aws, &region)?;
    progress.amount(0, 0, "who calls AWS");
    account::of(tools, site, &region, work).await?;
    let users = Files::of(site).users_value("size").or_else(|| machine.size.clone());
    let wanted = users.as_deref().unwrap_or(cloud.default_size());
    let is_made = site.deployment.facts.machine.is_some();
    let (said, needed) = match cloud {
        Cloud::Lightsail => {
            regions::check_lightsail(&region)?;
            // Lightsail's own answer would be that there is no such host. Who may not ask EC2 gets
            // that one.
            if let Err(CallError::Other(failure)) = aws.check_region().await
                && failure.kind == FailureKind::BadInput
            {
                return Err(failure);
            }
            progress.amount(0, 0, "the bundle");
            let bundle = aws.bundle(wanted).await?;
            if is_made {
                return Ok(());
            }
            if let Some(zone) = Files::of(site).users_value("availability_zone") {
                aws.check_lightsail_zone(&zone).await?;
            }
            progress.amount(0, 0, "permissions and quotas");
            (lightsail(&aws, site).await?, bundle.vcpus)
        }
        Cloud::Ec2 => {
            progress.amount(0, 0, "the region and the instance type");
            aws.check_region().await?;
            let found = aws.instance_type(wanted).await?;
            if is_made {
                return Ok(());
            }
            progress.amount(0, 0, "permissions and quotas");
            let image = match Files::of(site).users_value("ami_id") {
                Some(named) => named,
                None => aws.newest_image(found.architecture).await?,
            };
            (ec2(&aws, site, image, wanted).await?, found.vcpus)
        }
    };
    said.permissions.check()?;
    // What an interrupted launch has made is counted as used.
    let held = state::held(&tools.terraform, site, work).await?;
    if !held.has(cloud.instance()) {
        said.vcpus.check(needed)?;
    }
    if !held.has(cloud.address()) {
        said.addresses.check(1)?;
    }
    Ok(())
}

async fn lightsail(aws: &Aws, site: &Site) -> Result<Said, CallError> {
    let making = making(site);
    let (permissions, simulated, vcpus, addresses) = tokio::join!(
        aws.lightsail_permissions(),
        aws.simulated_lightsail(&making),
        aws.room_for_bundles(),
        aws.room_for_static_ips()
    );
    Ok(Said { permissions: permissions?.and(simulated), vcpus, addresses })
}

async fn ec2(aws: &Aws, site: &Site, image: String, wanted: &str) -> Result<Said, CallError> {
    let making = making(site);
    let launch = Launch {
        image,
        instance_type: wanted.to_owned(),
        subnet: Files::of(site).users_value("subnet_id"),
        tags: making.tags.clone(),
        public_key: SOME_KEY.into(),
    };
    // A gateway's machine has no role.
    let role = async {
        if site.deployment.name.is_server() {
            aws.simulated_role(&making).await
        } else {
            Permissions::default()
        }
    };
    let (permissions, simulated, vcpus, addresses) = tokio::join!(
        aws.permissions(&launch),
        role,
        aws.room_for_vcpus(),
        aws.room_for_addresses()
    );
    Ok(Said { permissions: permissions?.and(simulated), vcpus, addresses })
}
