//! What the credentials may do, found out without doing it.
//!
//! Owns the dry runs of what a launch on EC2 calls, with what it asks for: a policy may allow it with
//! these tags and these options alone. Refuses to guess: a call that AWS refuses for another reason
//! than permission is listed as undecided, and so is one that is denied for what the launch would
//! have made before. A rule in a group that is not there yet cannot be tried at all. Lightsail and
//! IAM have no dry runs: what they would allow is `simulated`.

use futures_util::{StreamExt, stream};

use super::client::Aws;
use super::error::{CallError, Missing, Problem};
use super::service::{Call, Service};
use crate::domain::Failure;

/// How many dry runs are under way at once.
const AT_ONCE: usize = 6;

/// What a launch on EC2 will ask for.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The image's id.
    pub image: String,
    /// The instance type.
    pub instance_type: String,
    /// The subnet, if it is not one of the default network's.
    pub subnet: Option<String>,
    /// The tags that everything will carry: policies may insist on them.
    pub tags: Vec<(String, String)>,
    /// The public half of the key, as `ImportKeyPair` takes it.
    pub public_key: String,
}

/// What came of the dry runs, or of the simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// What is allowed.
    pub allowed: Vec<String>,
    /// What is not.
    pub missing: Vec<Missing>,
    /// What AWS refused for another reason, and that reason.
    pub undecided: Vec<(String, String)>,
}

impl Permissions {
    /// These, and others.
    pub fn and(mut self, others: Self) -> Self {
        self.allowed.extend(others.allowed);
        self.missing.extend(others.missing);
        self.undecided.extend(others.undecided);
        self
    }

    /// Refuses credentials that lack a permission, with all that they lack.
    pub fn check(&self) -> Result<(), Failure> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let all = self.missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let actions = self.missing.iter().map(|it| it.action.as_str()).collect::<Vec<_>>();
        Err(Failure::prerequisite(format!("the AWS credentials do not allow {all}")).remedy(
            format!("allow {} to this user or role in IAM, then try again", actions.join(", ")),
        ))
    }
}

/// What is sent with `RunInstances` beside image, size and tags, as `terraform/ec2/main.tf` has it.
const OPTIONS: [(&str, &str); 11] = [
    ("MinCount", "1"),
    ("MaxCount", "1"),
    ("MetadataOptions.HttpEndpoint", "enabled"),
    ("MetadataOptions.HttpTokens", "required"),
    ("MetadataOptions.HttpPutResponseHopLimit", "1"),
    ("MetadataOptions.HttpProtocolIpv6", "disabled"),
    ("MetadataOptions.InstanceMetadataTags", "disabled"),
    ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
    ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
    ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
    ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
];

/// What Terraform reads before and after. What shows one instance's attributes is not among it: it
/// may be allowed for one's own alone.
const READING: [&str; 15] = [
    "DescribeAddresses",
    "DescribeAddressesAttribute",
    "DescribeImages",
    "DescribeInstanceCreditSpecifications",
    "DescribeInstanceTypeOfferings",
    "DescribeInstances",
    "DescribeKeyPairs",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroupRules",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeTags",
    "DescribeVolumes",
    "DescribeVpcAttribute",
    "DescribeVpcs",
];

/// The calls that are tried.
fn calls(launch: &Launch) -> Vec<Call> {
    let ec2 = |action| Call::form(Service::Ec2, action).with("DryRun", "true");
    let tagged = |call: Call, number: usize, kind: &str| {
        let specification = format!("TagSpecification.{number}");
        let call = call.with(format!("{specification}.ResourceType"), kind);
        launch.tags.iter().enumerate().fold(call, |call, (index, (key, value))| {
            let tag = format!("{specification}.Tag.{}", index + 1);
            call.with(format!("{tag}.Key"), key).with(format!("{tag}.Value"), value)
        })
    };
    let mut run = ec2("RunInstances")
        .with("ImageId", launch.image.as_str())
        .with("InstanceType", launch.instance_type.as_str());
    if let Some(subnet) = &launch.subnet {
        run = run.with("SubnetId", subnet);
    }
    let run = OPTIONS.iter().fold(run, |call, (name, value)| call.with(*name, *value));
    let group = ec2("CreateSecurityGroup")
        .with("GroupName", "openclaw-pipeline-dry-run")
        .with("GroupDescription", "dry run");
    let key = ec2("ImportKeyPair")
        .with("KeyName", "openclaw-pipeline-dry-run")
        .with("PublicKeyMaterial", base64_of(&launch.public_key));
    let mut calls = vec![
        tagged(tagged(run, 1, "instance"), 2, "volume"),
        tagged(group, 1, "security-group"),
        tagged(ec2("AllocateAddress").with("Domain", "vpc"), 1, "elastic-ip"),
        tagged(key, 1, "key-pair"),
    ];
    // One of them by name: a service that does not know dry runs answers it, and all would be a lot.
    calls.push(ec2("DescribeInstanceTypes").with("InstanceType.1", launch.instance_type.as_str()));
    calls.extend(READING.map(ec2));
    calls
}

/// Whether a denial says nothing about a launch. A dry run of `RunInstances` takes the network's
/// default group, and a launch one that it has made and tagged; a denial that names nothing may be
/// of that group.
fn is_of_what_is_made_before(missing: &Missing) -> bool {
    let is_group = |resource: &String| resource.contains(":security-group/");
    missing.action == "ec2:RunInstances" && missing.resource.as_ref().is_none_or(is_group)
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What a launch on Lightsail reads, but for what is read of one thing by its name: that may be
/// allowed for one's own alone.
const READING_LIGHTSAIL: [&str; 4] = ["GetBundles", "GetInstances", "GetKeyPairs", "GetStaticIps"];

impl Aws {
    /// What a launch on Lightsail reads, as far as the credentials allow it.
    pub async fn lightsail_permissions(&self) -> Result<Permissions, CallError> {
        let call = |action| Call::json(Service::Lightsail, action, serde_json::json!({}));
        self.try_all(READING_LIGHTSAIL.map(call).into()).await
    }

    /// What of a launch on EC2 the credentials allow. Only what no permission can mend is a
    /// failure: wrong credentials, no connection.
    pub async fn permissions(&self, launch: &Launch) -> Result<Permissions, CallError> {
        self.try_all(calls(launch)).await
    }

    async fn try_all(&self, calls: Vec<Call>) -> Result<Permissions, CallError> {
        let outcomes = stream::iter(calls)
            .map(|call| async move { (call.permission(), self.send(&call).await) })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let mut found = Permissions::default();
        for (permission, outcome) in outcomes {
            match outcome {
                // A service that does not know dry runs has done it, and describing harms nobody.
                Ok(_) => found.allowed.push(permission),
                Err(CallError::Api(error)) => match error.problem() {
                    Problem::DryRun => found.allowed.push(permission),
                    Problem::Denied if !is_of_what_is_made_before(&error.missing()) => {
                        found.missing.push(error.missing());
                    }
                    Problem::WrongCredentials
                    | Problem::ExpiredCredentials
                    | Problem::Clock
                    | Problem::NotOptedIn => return Err(error.into()),
                    _ => {
                        let why = format!("{} ({})", error.message, error.code);
                        found.undecided.push((permission, why));
                    }
                },
                Err(error) => return Err(error),
            }
        }
        found.missing.sort_unstable();
        found.missing.dedup();
        Ok(found)
    }
}

#[cfg(test)]
#[path = "permissions_tests.rs"]
mod tests;
