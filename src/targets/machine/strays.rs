//! What of a deployment is in the account and in no state: what a run that was killed had under way.
//!
//! Owns what counts as such, for machines and for a cluster. Refuses to remove what does not carry the
//! deployment's own id, and what goes with something else by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::account;
use super::cloud::Cloud;
use super::files::suffix;
use crate::domain::Failure;
use crate::drivers::aws::Environment;
use crate::drivers::aws::sweep::{Found, Kind, Mark};
use crate::drivers::terraform::State;
use crate::targets::{Site, Work};

/// The tag with the installation's id.
pub(in crate::targets) const INSTALLATION: &str = "openclaw-pipeline:installation";
/// The tag with the deployment's id.
pub(in crate::targets) const DEPLOYMENT: &str = "openclaw-pipeline:deployment";

/// What a machine of a deployment's is made of.
pub(super) fn of_machine(cloud: Cloud, site: &Site) -> Vec<Kind> {
    let is_server = site.deployment.name.is_server();
    let of_it = |kind: &Kind| match (cloud, kind) {
        (Cloud::Lightsail, kind) => kind.is_lightsail(),
        // A gateway's machine has no role.
        (Cloud::Ec2, Kind::Role | Kind::InstanceProfile) => is_server,
        (Cloud::Ec2, kind) => !kind.is_lightsail() && !kind.is_of_a_cluster(),
    };
    Kind::ALL.into_iter().filter(of_it).collect()
}

/// What a cluster is made of by Terraform. Machines and volumes are the cluster's own, and volumes
/// outlive it.
pub(in crate::targets) fn of_cluster() -> Vec<Kind> {
    let shared = [Kind::Address, Kind::SecurityGroup, Kind::Role];
    let of_it = |kind: &Kind| kind.is_of_a_cluster() || shared.contains(kind);
    Kind::ALL.into_iter().filter(of_it).collect()
}

fn mark(site: &Site) -> Mark {
    let ends = format!("-{}", suffix(site));
    let is_own_name =
        Arc::new(move |name: &str| name.starts_with("openclaw-") && name.contains(&ends));
    Mark { key: DEPLOYMENT.into(), value: site.deployment.id.clone(), is_own_name }
}

/// What Terraform calls something of this kind, where a module makes one.
fn made_as(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::NodeGroup => Some("aws_eks_node_group"),
        Kind::ClusterAddOn => Some("aws_eks_addon"),
        Kind::ClusterEntry => Some("aws_eks_access_entry"),
        Kind::Cluster => Some("aws_eks_cluster"),
        Kind::Instance => Some("aws_instance"),
        Kind::LightsailInstance => Some("aws_lightsail_instance"),
        Kind::NatGateway => Some("aws_nat_gateway"),
        Kind::Address => Some("aws_eip"),
        Kind::LightsailStaticIp => Some("aws_lightsail_static_ip"),
        Kind::Volume => None,
        Kind::SecurityGroupRule => Some("aws_vpc_security_group_ingress_rule"),
        Kind::SecurityGroup => Some("aws_security_group"),
        Kind::RouteTableAssociation => Some("aws_route_table_association"),
        Kind::Subnet => Some("aws_subnet"),
        Kind::RouteTable => Some("aws_route_table"),
        Kind::InternetGateway => Some("aws_internet_gateway"),
        Kind::Vpc => Some("aws_vpc"),
        Kind::LaunchTemplate => Some("aws_launch_template"),
        Kind::LogGroup => Some("aws_cloudwatch_log_group"),
        Kind::EncryptionKey => Some("aws_kms_key"),
        Kind::KeyPair => Some("aws_key_pair"),
        Kind::LightsailKeyPair => Some("aws_lightsail_key_pair"),
        Kind::InstanceProfile => Some("aws_iam_instance_profile"),
        Kind::Role => Some("aws_iam_role"),
    }
}

/// What of a deployment's is not in its state, and does not go with something else.
pub(super) fn strays(found: &[Found], state: &State) -> Vec<Found> {
    // An instance, its key and its firewall have the same name: only one of a kind is the same.
    let held = |found: &Found| {
        let is_it = |id: &str| id == found.id || found.name.as_deref() == Some(id);
        state
            .held
            .iter()
            .any(|held| Some(held.kind.as_str()) == made_as(found.kind) && is_it(&held.id))
    };
    // A disk goes with its instance.
    let instance_is_held = found.iter().any(|it| it.kind == Kind::Instance && held(it));
    let has = |kind: Kind, made: &str| state.has(made) || found.iter().any(|it| it.kind == kind);
    // A cluster's nodes come and go by themselves, and stand in no state.
    let has_nodes = has(Kind::NodeGroup, "aws_eks_node_group");
    let has_cluster = has_nodes || has(Kind::Cluster, "aws_eks_cluster");
    let goes_with_it = |it: &Found| match it.kind {
        Kind::Volume => instance_is_held || has_cluster,
        Kind::Instance => has_nodes,
        Kind::SecurityGroup => {
            has_cluster && it.name.as_ref().is_some_and(|it| it.starts_with("eks-cluster-sg-"))
        }
        _ => false,
    };
    let mut strays: Vec<Found> =
        found.iter().filter(|it| !held(it) && !goes_with_it(it)).cloned().collect();
    let wholes: BTreeSet<String> = strays.iter().map(|it| it.id.clone()).collect();
    strays.retain(|it| {
        !(it.kind.is_a_part() && it.attached.as_ref().is_some_and(|it| wholes.contains(it)))
    });
    strays
}

/// What of the deployment, of these kinds, is in the account and in no state.
pub(in crate::targets) async fn find(
    environment: &Environment,
    site: &Site,
    region: &str,
    kinds: &[Kind],
    state: &State,
) -> Result<Vec<Found>, Failure> {
    let sweep = account::aws(environment, region)?.sweep(&mark(site), kinds).await;
    if let Some((kind, failure)) = sweep.unseen.into_iter().next() {
        return Err(failure.context(format!("looking for what is left ({kind})")));
    }
    Ok(strays(&sweep.found, state))
}

/// Removes it, and says what it was. What is being made is removed once it is.
pub(in crate::targets) async fn remove(
    environment: &Environment,
    site: &Site,
    region: &str,
    strays: Vec<Found>,
    work: Work<'_>,
) -> Result<Vec<String>, Failure> {
    let (aws, mark) = (account::aws(environment, region)?, mark(site));
    for stray in &strays {
        work.progress.note(&format!("removing the {stray}, which was made and is in no state"));
    }
    let removing = aws.remove_all(strays, &mark);
    let removals = tokio::select! {
        removals = removing => removals,
        () = work.cancel.cancelled() => return Err(Failure::interrupted()),
    };
    let mut removed = Vec::new();
    for removal in removals {
        removal.outcome.map_err(|failure| failure.context(removal.found.to_string()))?;
        removed.push(format!("the {}", removal.found));
    }
    Ok(removed)
}

#[cfg(test)]
#[path = "strays_tests.rs"]
mod tests;
