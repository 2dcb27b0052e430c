//! What the credentials may do, found out without doing it.
//!
//! Owns the dry runs of what a launch on EC2 calls. Refuses to guess: a call that AWS refuses for
//! another reason than permission is listed as undecided. Lightsail and IAM have no dry runs; there
//! the first call that is denied names what is missing.

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
    /// The image, as `RunInstances` takes it.
    pub image: String,
    /// The instance type.
    pub instance_type: String,
    /// A tag that everything will carry: policies may insist on it.
    pub tag: (String, String),
    /// The public half of the key, as `ImportKeyPair` takes it.
    pub public_key: String,
}

/// What came of the dry runs.
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

/// The calls that are tried.
fn calls(launch: &Launch) -> Vec<Call> {
    let ec2 = |action| Call::form(Service::Ec2, action).with("DryRun", "true");
    let tagged = |call: Call, kind: &str| {
        call.with("TagSpecification.1.ResourceType", kind)
            .with("TagSpecification.1.Tag.1.Key", launch.tag.0.as_str())
            .with("TagSpecification.1.Tag.1.Value", launch.tag.1.as_str())
    };
    let run = ec2("RunInstances")
        .with("ImageId", launch.image.as_str())
        .with("InstanceType", launch.instance_type.as_str())
        .with("MinCount", "1")
        .with("MaxCount", "1");
    let group = ec2("CreateSecurityGroup")
        .with("GroupName", "openclaw-pipeline-dry-run")
        .with("GroupDescription", "dry run");
    let rule = ec2("AuthorizeSecurityGroupIngress")
        .with("GroupName", "default")
        .with("IpPermissions.1.IpProtocol", "tcp")
        .with("IpPermissions.1.FromPort", "22")
        .with("IpPermissions.1.ToPort", "22")
        .with("IpPermissions.1.IpRanges.1.CidrIp", "203.0.113.1/32");
    let key = ec2("ImportKeyPair")
        .with("KeyName", "openclaw-pipeline-dry-run")
        .with("PublicKeyMaterial", base64_of(&launch.public_key));
    let mut calls = vec![
        tagged(run, "instance"),
        tagged(group, "security-group"),
        rule,
        tagged(ec2("AllocateAddress").with("Domain", "vpc"), "elastic-ip"),
        tagged(key, "key-pair"),
    ];
    // What Terraform reads before and after.
    // One of them by name: a service that does not know dry runs answers it, and all would be a lot.
    calls.push(ec2("DescribeInstanceTypes").with("InstanceType.1", launch.instance_type.as_str()));
    calls.extend(
        [
            "DescribeAddresses",
            "DescribeImages",
            "DescribeInstances",
            "DescribeKeyPairs",
            "DescribeSecurityGroups",
            "DescribeSubnets",
            "DescribeTags",
            "DescribeVolumes",
            "DescribeVpcs",
        ]
        .map(ec2),
    );
    calls
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

impl Aws {
    /// What of a launch on EC2 the credentials allow. Only what no permission can mend is a
    /// failure: wrong credentials, no connection.
    pub async fn permissions(&self, launch: &Launch) -> Result<Permissions, CallError> {
        let calls = calls(launch);
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
                    Problem::Denied => found.missing.push(error.missing()),
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
mod tests {
    use super::super::fake::{Asked, Fake};
    use super::*;

    fn launch() -> Launch {
        Launch {
            image: "ami-0123456789abcdef0".into(),
            instance_type: "t3.medium".into(),
            tag: ("openclaw:installation".into(), "i1".into()),
            public_key: "ssh-ed25519 AAAA x".into(),
        }
    }

    fn error(code: &str, message: &str) -> String {
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>\
             </Errors></Response>"
        )
    }

    #[test]
    fn everything_is_a_dry_run_and_carries_the_tag_where_it_can() {
        for call in calls(&launch()) {
            let body = call.body();
            assert!(body.contains("&DryRun=true"), "{body}");
            let makes = ["Run", "Create", "Allocate", "Import"].iter();
            if makes.clone().any(|verb| call.action.starts_with(verb)) {
                assert!(body.contains("Tag.1.Key=openclaw%3Ainstallation"), "{body}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_told_from_what_is_allowed_and_what_is_unclear() {
        let fake = Fake::with(|asked: &Asked| {
            let body = if asked.body.starts_with("Action=RunInstances") {
                error(
                    "UnauthorizedOperation",
                    "User: x is not authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:a \
                     because",
                )
            } else if asked.body.starts_with("Action=AllocateAddress") {
                error("UnauthorizedOperation", "You are not authorized to perform this operation.")
            } else if asked.body.starts_with("Action=ImportKeyPair") {
                error("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
            } else {
                return (412, error("DryRunOperation", "would have succeeded"));
            };
            (400, body)
        })
        .await;
        let found = fake.aws().permissions(&launch()).await.expect("an answer");
        let missing: Vec<String> = found.missing.iter().map(ToString::to_string).collect();
        assert_eq!(missing, ["ec2:AllocateAddress", "ec2:CreateTags on arn:aws:ec2:a"]);
        assert_eq!(found.allowed.len(), 12);
        assert_eq!(found.undecided[0].0, "ec2:ImportKeyPair");
        let failure = found.check().expect_err("not allowed");
        assert!(failure.message.contains("ec2:CreateTags on arn:aws:ec2:a"), "{failure}");
        assert!(failure.remedy.expect("one").contains("ec2:AllocateAddress, ec2:CreateTags"));
    }

    #[tokio::test]
    async fn wrong_credentials_are_no_missing_permission() {
        let fake = Fake::with(|_| (401, error("AuthFailure", "not able to validate"))).await;
        let failure = Failure::from(fake.aws().permissions(&launch()).await.expect_err("wrong"));
        assert!(failure.message.contains("does not know"), "{failure}");
    }
}
