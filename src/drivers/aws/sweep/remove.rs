//! Removing what is an installation's.
//!
//! Owns the order, and the waiting for what AWS does in its own time. Each thing is looked at
//! anew before it is removed, and one that is gone already is as good.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Found, Kind, Mark, Phase, Removal};
use crate::domain::Failure;
use crate::drivers::aws::client::{Aws, Pace, chance};
use crate::drivers::aws::error::{CallError, Problem};
use crate::drivers::aws::service::{Call, Service};
use crate::drivers::aws::xml;
use crate::exec::wait;

/// How long a machine may take until it is gone. A large one takes minutes.
const MACHINE_WITHIN: Duration = Duration::from_secs(10 * 60);
/// How long a cluster, or its nodes, may take until they are gone, and until they may be asked to be:
/// not before they were made as a whole.
const CLUSTER_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How long something may still be in use by what was removed before it, or be shown after that.
const FREE_WITHIN: Duration = Duration::from_secs(3 * 60);

/// How long one of a kind may take until it may be removed, and then until it is gone.
const fn within(kind: Kind) -> (Duration, Duration) {
    match kind {
        Kind::Instance | Kind::LightsailInstance => (FREE_WITHIN, MACHINE_WITHIN),
        Kind::NodeGroup | Kind::Cluster => (CLUSTER_WITHIN, CLUSTER_WITHIN),
        Kind::ClusterAddOn | Kind::NatGateway => (MACHINE_WITHIN, MACHINE_WITHIN),
        _ => (FREE_WITHIN, FREE_WITHIN),
    }
}

impl Aws {
    /// Removes several things in the order in which that works. One that fails stops no other one, but
    /// for a cluster: as long as it is there, what it needs stays.
    pub async fn remove_all(&self, mut found: Vec<Found>, mark: &Mark) -> Vec<Removal> {
        found.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
        let mut removals = Vec::with_capacity(found.len());
        let mut stays: Option<String> = None;
        for found in found {
            let outcome = match &stays {
                Some(cluster) if is_needed(found.kind) => Err(Failure::conflict(format!(
                    "it was left, because the {cluster} could not be removed"
                ))),
                _ => self.remove(&found, mark).await,
            };
            if outcome.is_err() && matches!(found.kind, Kind::NodeGroup | Kind::Cluster) {
                stays = Some(found.to_string());
            }
            removals.push(Removal { found, outcome });
        }
        removals
    }

    /// Removes one thing, and comes back when it is gone. Refused if it does not carry the mark
    /// now, whatever it did when it was found.
    pub async fn remove(&self, found: &Found, mark: &Mark) -> Result<(), Failure> {
        let during = |failure: Failure| failure.context(format!("removing {found}"));
        let now = self.settled(found).await.map_err(|error| during(error.into()))?;
        let Some(now) = now else { return Ok(()) };
        if !mark.owns(&now) {
            return Err(Failure::conflict(format!(
                "{now} does not carry this installation's mark, so it is left alone"
            ))
            .remedy("remove it in the AWS console if it is yours and not needed"));
        }
        if now.phase != Phase::Going {
            self.delete(&now).await.map_err(|error| during(error.into()))?;
        }
        self.until_gone(&now).await.map_err(|error| during(error.into()))
    }

    /// It as it is once it is not being made any more; none if it is gone.
    async fn settled(&self, found: &Found) -> Result<Option<Found>, CallError> {
        let mut turns = Turns::new(self.pace(), within(found.kind).0);
        loop {
            let now = self.one(found.kind, &found.id).await?;
            let is_busy = now.as_ref().is_some_and(|it| it.phase == Phase::Busy);
            if !is_busy || !turns.next().await {
                return Ok(now);
            }
        }
    }

    async fn delete(&self, found: &Found) -> Result<(), CallError> {
        let ec2 = |action, field: &str| Call::form(Service::Ec2, action).with(field, &found.id);
        let lightsail = |action, field: &str| {
            Call::json(Service::Lightsail, action, json!({})).with(field, &found.id)
        };
        match found.kind {
            Kind::NodeGroup | Kind::ClusterAddOn | Kind::ClusterEntry | Kind::Cluster => {
                let call = Self::removal_of_clusters(found.kind, &found.id);
                self.gone_within(&call, within(found.kind).0).await
            }
            Kind::LogGroup | Kind::EncryptionKey => {
                self.gone(&Self::removal_of_named(found.kind, &found.id)).await
            }
            Kind::NatGateway => {
                let call = ec2("DeleteNatGateway", "NatGatewayId");
                self.gone_within(&call, within(found.kind).0).await
            }
            Kind::Subnet => self.gone(&ec2("DeleteSubnet", "SubnetId")).await,
            Kind::RouteTable => self.gone(&ec2("DeleteRouteTable", "RouteTableId")).await,
            Kind::RouteTableAssociation => {
                self.gone(&ec2("DisassociateRouteTable", "AssociationId")).await
            }
            Kind::InternetGateway => {
                if let Some(network) = &found.attached {
                    let call = ec2("DetachInternetGateway", "InternetGatewayId");
                    self.gone(&call.with("VpcId", network)).await?;
                }
                self.gone(&ec2("DeleteInternetGateway", "InternetGatewayId")).await
            }
            Kind::Vpc => self.gone(&ec2("DeleteVpc", "VpcId")).await,
            Kind::LaunchTemplate => {
                self.gone(&ec2("DeleteLaunchTemplate", "LaunchTemplateId")).await
            }
            Kind::SecurityGroupRule => {
                let call = ec2("RevokeSecurityGroupIngress", "SecurityGroupRuleId.1");
                self.gone(&call.with("GroupId", found.attached.as_deref().unwrap_or_default()))
                    .await
            }
            Kind::Instance => self.gone(&ec2("TerminateInstances", "InstanceId.1")).await,
            Kind::LightsailInstance => {
                let input = json!({ "instanceName": found.id, "forceDeleteAddOns": true });
                self.gone(&Call::json(Service::Lightsail, "DeleteInstance", input)).await
            }
            Kind::Address => {
                if let Some(association) = &found.attached {
                    let call = Call::form(Service::Ec2, "DisassociateAddress");
                    self.gone(&call.with("AssociationId", association)).await?;
                }
                self.gone(&ec2("ReleaseAddress", "AllocationId")).await
            }
            Kind::LightsailStaticIp => {
                if found.attached.is_some() {
                    self.gone(&lightsail("DetachStaticIp", "staticIpName")).await?;
                }
                self.gone(&lightsail("ReleaseStaticIp", "staticIpName")).await
            }
            Kind::Volume => self.gone(&ec2("DeleteVolume", "VolumeId")).await,
            Kind::SecurityGroup => self.gone(&ec2("DeleteSecurityGroup", "GroupId")).await,
            Kind::KeyPair => {
                let call = Call::form(Service::Ec2, "DeleteKeyPair");
                self.gone(&match &found.name {
                    Some(name) => call.with("KeyName", name),
                    None => call.with("KeyPairId", &found.id),
                })
                .await
            }
            Kind::LightsailKeyPair => self.gone(&lightsail("DeleteKeyPair", "keyPairName")).await,
            Kind::InstanceProfile => self.delete_profile(&found.id).await,
            Kind::Role => self.delete_role(&found.id).await,
        }
    }

    async fn delete_profile(&self, name: &str) -> Result<(), CallError> {
        let iam = |action| Call::form(Service::Iam, action).with("InstanceProfileName", name);
        let roles = self.xml(iam("GetInstanceProfile"), |body| names(body, "Roles", "RoleName"));
        for role in roles.await? {
            self.gone(&iam("RemoveRoleFromInstanceProfile").with("RoleName", role)).await?;
        }
        self.gone(&iam("DeleteInstanceProfile")).await
    }

    async fn delete_role(&self, name: &str) -> Result<(), CallError> {
        let iam = |action| Call::form(Service::Iam, action).with("RoleName", name);
        let attached = |body: &str| names(body, "AttachedPolicies", "PolicyArn");
        for policy in self.xml(iam("ListAttachedRolePolicies"), attached).await? {
            self.gone(&iam("DetachRolePolicy").with("PolicyArn", policy)).await?;
        }
        let own = |body: &str| names(body, "PolicyNames", "");
        for policy in self.xml(iam("ListRolePolicies"), own).await? {
            self.gone(&iam("DeleteRolePolicy").with("PolicyName", policy)).await?;
        }
        self.gone(&iam("DeleteRole")).await
    }

    /// Asks for something to be gone, again while something else still uses it.
    async fn gone(&self, call: &Call) -> Result<(), CallError> {
        self.gone_within(call, FREE_WITHIN).await
    }

    async fn gone_within(&self, call: &Call, within: Duration) -> Result<(), CallError> {
        let mut turns = Turns::new(self.pace(), within);
        loop {
            let Err(error) = self.send(call).await else { return Ok(()) };
            match error.problem() {
                Some(Problem::NotFound) => return Ok(()),
                Some(Problem::InUse) => {}
                _ => return Err(error),
            }
            if !turns.next().await {
                return Err(error);
            }
        }
    }

    /// Looks until something is gone: that AWS took the call is not enough.
    async fn until_gone(&self, found: &Found) -> Result<(), CallError> {
        let within = within(found.kind).1;
        let mut turns = Turns::new(self.pace(), within);
        // EKS says that a cluster is gone, and for a moment it is there again.
        let wanted = if found.kind == Kind::Cluster { 3 } else { 1 };
        let mut missed = 0;
        loop {
            missed = match self.one(found.kind, &found.id).await? {
                Some(_) => 0,
                None => missed + 1,
            };
            if missed == wanted {
                return Ok(());
            }
            if !turns.next().await {
                let minutes = within.as_secs() / 60;
                return Err(Failure::failed(format!("it is not gone after {minutes} minutes"))
                    .remedy("look at it in the AWS console, then try again")
                    .into());
            }
        }
    }
}

/// The turns of one wait, each after a longer pause than the one before.
struct Turns {
    pace: Pace,
    end: Instant,
    taken: u32,
}

impl Turns {
    fn new(pace: Pace, within: Duration) -> Self {
        Self { pace, end: Instant::now() + within, taken: 0 }
    }

    /// Waits for the next one; false where there is no time for it.
    async fn next(&mut self) -> bool {
        self.taken += 1;
        let pause = self.pace.pause(self.taken, chance());
        if Instant::now() + pause > self.end {
            return false;
        }
        wait::back_off(pause).await;
        true
    }
}

/// Whether a cluster does not work without it.
const fn is_needed(kind: Kind) -> bool {
    kind.is_of_a_cluster() || matches!(kind, Kind::Address | Kind::SecurityGroup | Kind::Role)
}

/// A field of each element of a list, or the elements themselves.
fn names(body: &str, list: &str, field: &str) -> Result<Vec<String>, Failure> {
    let document = xml::parse(body)?;
    let path: &[&str] = if field.is_empty() { &[] } else { &[field] };
    let items = xml::list(document.root(), list).into_iter();
    Ok(items.filter_map(|item| xml::text(item, path)).collect())
}
