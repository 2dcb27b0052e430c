//! What the dry runs ask for and how they are read; and the server's role, held against both.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::super::fake::{Asked, Fake};
use super::super::simulated::{LIGHTSAIL, Whose};
use super::*;

fn launch() -> Launch {
    Launch {
        image: "ami-0123456789abcdef0".into(),
        instance_type: "t3.medium".into(),
        subnet: None,
        tags: vec![("openclaw:installation".into(), "i1".into())],
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
    assert_eq!(found.allowed.len(), 17);
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

// ---------------------------------------------------------------------- the server's role

/// The policy of the server's role, as `terraform/ec2/tests/server.tftest.hcl` proves that the module
/// renders it.
static POLICY: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/terraform/ec2/tests/server-policy.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the policy")).expect("JSON")
});
const REGION: &str = "us-west-2";
const INSTALLATION: &str = "openclaw-pipeline:installation";

/// What IAM is asked: an action, what on, and what is known about both.
struct Ask {
    action: String,
    resource: String,
    keys: BTreeMap<String, String>,
}

impl Ask {
    fn new(action: &str, resource: &str) -> Self {
        let keys = [("aws:RequestedRegion".to_owned(), REGION.to_owned())].into();
        Self { action: action.to_owned(), resource: resource.to_owned(), keys }
    }

    fn of(action: &str, kind: &str) -> Self {
        Self::new(action, &format!("arn:aws:ec2:{REGION}:123456789012:{kind}/*"))
    }

    fn knowing(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With the tags that a call gives to what it makes of a kind.
    fn tagged(self, call: &Call, kind: &str) -> Self {
        let specifications = (1..).map(|number| format!("TagSpecification.{number}"));
        let mut found = specifications
            .map_while(|it| Some((call.field(&format!("{it}.ResourceType"))?.to_owned(), it)))
            .filter(|(of, _)| of == kind);
        let Some((_, specification)) = found.next() else { return self };
        let tags = (1..).map(|number| format!("{specification}.Tag.{number}"));
        let tags = tags.map_while(|tag| {
            let field = |part: &str| call.field(&format!("{tag}.{part}")).map(str::to_owned);
            Some((field("Key")?, field("Value")?))
        });
        tags.fold(self, |ask, (key, value)| ask.knowing(&format!("aws:RequestTag/{key}"), &value))
    }

    /// Whether the role may.
    fn is_allowed(&self) -> bool {
        let each = |value: &Value| match value {
            Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            one => one.as_str().map(str::to_owned).into_iter().collect::<Vec<_>>(),
        };
        let statements = POLICY["Statement"].as_array().expect("statements");
        statements.iter().any(|statement| {
            assert_eq!(statement["Effect"], "Allow");
            let mut conditions = statement["Condition"].as_object().into_iter().flatten();
            each(&statement["Action"]).contains(&self.action)
                && each(&statement["Resource"]).iter().any(|it| is_like(&self.resource, it))
                && conditions.all(|(test, keys)| {
                    keys.as_object().expect("keys").iter().all(|(key, values)| {
                        let (found, values) = (self.keys.get(key), each(values));
                        match test.as_str() {
                            "StringEquals" => found.is_some_and(|it| values.contains(it)),
                            "StringEqualsIfExists" => found.is_none_or(|it| values.contains(it)),
                            "Null" => values == [found.is_none().to_string()],
                            "ForAllValues:StringNotEquals" => {
                                found.is_none_or(|it| !values.contains(it))
                            }
                            other => panic!("a condition that is not understood: {other}"),
                        }
                    })
                })
        })
    }
}

/// Whether a resource is one that a pattern with stars means.
fn is_like(resource: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => resource == pattern,
        Some((start, rest)) => resource.strip_prefix(start).is_some_and(|left| {
            (0..=left.len()).any(|at| left.is_char_boundary(at) && is_like(&left[at..], rest))
        }),
    }
}

/// What IAM is asked about a dry run.
fn asks(call: &Call) -> Vec<Ask> {
    let action = call.permission();
    let made: &[&str] = match call.action {
        "RunInstances" => &["instance", "volume"],
        "CreateSecurityGroup" => &["security-group"],
        "AllocateAddress" => &["elastic-ip"],
        "ImportKeyPair" => &["key-pair"],
        _ => return vec![Ask::new(&action, "*")],
    };
    let mut asks = Vec::new();
    for kind in made {
        let whole = Ask::of(&action, kind).tagged(call, kind);
        let given = [
            ("ec2:InstanceType", "InstanceType"),
            ("ec2:MetadataHttpTokens", "MetadataOptions.HttpTokens"),
        ];
        let given = given.iter().filter_map(|(key, field)| Some((*key, call.field(field)?)));
        asks.push(given.fold(whole, |ask, (key, value)| ask.knowing(key, value)));
        // Who gives tags to what is being made is asked about them, too.
        let tag = Ask::of("ec2:CreateTags", kind).tagged(call, kind);
        asks.push(tag.knowing("ec2:CreateAction", call.action));
    }
    match call.action {
        "RunInstances" => {
            let image = format!("arn:aws:ec2:{REGION}::image/{}", launch().image);
            asks.push(Ask::new(&action, &image).knowing("ec2:Owner", "amazon"));
            asks.extend(["subnet", "network-interface"].map(|it| Ask::of(&action, it)));
        }
        "CreateSecurityGroup" => asks.push(Ask::of(&action, "vpc")),
        _ => {}
    }
    asks
}

fn tagged_launch() -> Launch {
    Launch { tags: vec![(INSTALLATION.into(), "inst-1".into())], ..launch() }
}

#[test]
fn the_servers_role_may_do_what_is_tried() {
    for ask in calls(&tagged_launch()).iter().flat_map(asks) {
        assert!(ask.is_allowed(), "{} on {} {:?}", ask.action, ask.resource, ask.keys);
    }
}

#[test]
fn the_servers_role_may_do_what_is_simulated() {
    let whose = Whose::of("arn:aws:sts::123456789012:assumed-role/r/i-0").expect("a role");
    let mut allowed = BTreeMap::<String, bool>::new();
    for question in LIGHTSAIL {
        let resource = question.resource(&whose, REGION, "");
        for action in question.permissions() {
            let context = question.context(REGION, &tagged_launch().tags);
            let ask = context
                .into_iter()
                .fold(Ask::new(&action, &resource), |ask, it| ask.knowing(&it.key, &it.values[0]));
            *allowed.entry(action).or_default() |= ask.is_allowed();
        }
    }
    let denied = allowed.iter().filter(|(_, is_allowed)| !**is_allowed);
    assert_eq!(denied.collect::<Vec<_>>(), Vec::new());
}

#[test]
fn the_servers_role_may_not_do_it_otherwise() {
    let makes = ["RunInstances", "CreateSecurityGroup", "AllocateAddress", "ImportKeyPair"];
    let others = Launch { tags: vec![(INSTALLATION.into(), "another".into())], ..launch() };
    for launch in [Launch { tags: Vec::new(), ..launch() }, others] {
        for call in calls(&launch).iter().filter(|it| makes.contains(&it.action)) {
            let denied = asks(call).into_iter().filter(|it| !it.is_allowed()).count();
            assert_eq!(
                denied,
                if call.action == "RunInstances" { 4 } else { 2 },
                "{}",
                call.action
            );
        }
    }
    let large = Launch { instance_type: "p5.48xlarge".into(), ..tagged_launch() };
    assert!(!calls(&large).iter().flat_map(asks).all(|it| it.is_allowed()));
    // Each field that a condition looks at is needed.
    for field in ["ec2:InstanceType", "ec2:MetadataHttpTokens"] {
        let run = &calls(&tagged_launch())[0];
        let mut ask = asks(run).into_iter().next().expect("the instance");
        assert!(ask.keys.remove(field).is_some() && !ask.is_allowed(), "{field}");
    }
}

#[test]
fn the_servers_role_may_ask_what_the_program_asks() {
    let image = "arn:aws:ssm:us-west-2::parameter/aws/service/ami-amazon-linux-latest/\
                 al2023-ami-kernel-default-arm64";
    assert!(Ask::new("ssm:GetParameter", image).is_allowed());
    // The regions are asked for where every account has one.
    let regions = Ask::new("ec2:DescribeRegions", "*");
    assert!(regions.knowing("aws:RequestedRegion", "us-east-1").is_allowed());
    for action in [
        "servicequotas:GetServiceQuota",
        "servicequotas:GetAWSDefaultServiceQuota",
        "ec2:DescribeInstanceTypes",
        "lightsail:GetBundles",
        "lightsail:GetInstances",
        "lightsail:GetStaticIps",
        "lightsail:GetKeyPairs",
    ] {
        assert!(Ask::new(action, "*").is_allowed(), "{action}");
    }
}

#[test]
fn a_denial_of_the_default_group_is_undecided() {
    let denied = |action: &str, resource: Option<&str>| Missing {
        action: action.into(),
        resource: resource.map(str::to_owned),
    };
    let of = |kind: &str| format!("arn:aws:ec2:{REGION}:123456789012:{kind}");
    // As the server's role is denied it: the group carries no tag.
    let group = of("security-group/sg-0");
    assert!(!Ask::new("ec2:RunInstances", &group).is_allowed());
    assert!(is_of_what_is_made_before(&denied("ec2:RunInstances", Some(&group))));
    assert!(is_of_what_is_made_before(&denied("ec2:RunInstances", None)));
    let others =
        [("ec2:RunInstances", "instance/*"), ("ec2:CreateSecurityGroup", "security-group/*")];
    for (action, kind) in others {
        assert!(!is_of_what_is_made_before(&denied(action, Some(&of(kind)))), "{action} {kind}");
    }
    assert!(!is_of_what_is_made_before(&denied("ec2:CreateSecurityGroup", None)));
}
