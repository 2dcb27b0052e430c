//! Sweeps and removals against AWS on loopback.

use serde_json::json;

use super::*;
use crate::domain::FailureKind;
use crate::drivers::aws::fake::{Asked, Fake};

pub(super) fn mark() -> Mark {
    let is_own_name =
        Arc::new(|name: &str| name.starts_with("openclaw-") && name.ends_with("-1a2b"));
    Mark { key: "openclaw:installation".into(), value: "i1".into(), is_own_name }
}

pub(super) fn tags(value: &str) -> String {
    format!(
        "<tagSet><item><key>Name</key><value>demo</value></item><item>\
         <key>openclaw:installation</key><value>{value}</value></item></tagSet>"
    )
}

fn instance(state: &str, value: &str) -> String {
    format!(
        "<DescribeInstancesResponse><reservationSet><item><groupSet/><instancesSet><item>\
         <instanceId>i-1</instanceId><instanceState><code>1</code><name>{state}</name>\
         </instanceState><launchTime>2026-11-26T04:48:23.000Z</launchTime>{}</item></instancesSet>\
         </item></reservationSet></DescribeInstancesResponse>",
        tags(value)
    )
}

pub(super) fn refusal(code: &str) -> String {
    format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>m</Message></Error></Errors></Response>"
    )
}

pub(super) fn found(kind: Kind, id: &str) -> Found {
    let tags = BTreeMap::new();
    Found {
        kind,
        id: id.into(),
        name: None,
        tags,
        created: None,
        attached: None,
        phase: Phase::Steady,
    }
}

/// The action of a request, in either protocol.
pub(super) fn action(asked: &Asked) -> String {
    let form = asked.body.strip_prefix("Action=").and_then(|rest| rest.split('&').next());
    let target = || asked.head.split("x-amz-target: ").nth(1)?.split('\r').next();
    let target = || target().and_then(|it| it.split('.').nth(1));
    let path = || asked.head.split(" HTTP/").next();
    form.or_else(target).or_else(path).expect("an action").to_owned()
}

pub(super) fn actions(fake: &Fake) -> Vec<String> {
    fake.asked().iter().map(action).collect()
}

#[test]
fn a_tag_decides_where_there_are_tags_and_a_name_where_there_are_none() {
    let mut one = found(Kind::Instance, "openclaw-demo-1a2b");
    assert!(!mark().owns(&one), "a name alone is not enough");
    one.tags.insert("openclaw:installation".into(), "i2".into());
    assert!(!mark().owns(&one), "another installation's");
    one.tags.insert("openclaw:installation".into(), "i1".into());
    assert!(mark().owns(&one));
    assert!(mark().owns(&found(Kind::LightsailStaticIp, "openclaw-demo-1a2b")));
    assert!(!mark().owns(&found(Kind::LightsailStaticIp, "openclaw-demo-ffff")));
    // A key pair of Lightsail's gets its tags by a second call, which may never have come.
    let mut key = found(Kind::LightsailKeyPair, "openclaw-demo-1a2b");
    assert!(mark().owns(&key));
    assert!(!mark().owns(&found(Kind::LightsailKeyPair, "openclaw-demo-ffff")));
    key.tags.insert("openclaw:installation".into(), "i2".into());
    assert!(!mark().owns(&key), "another installation's");
    let empty = Mark { value: String::new(), ..mark() };
    one.tags.insert("openclaw:installation".into(), String::new());
    assert!(!empty.owns(&one), "an empty mark owns nothing");
}

#[tokio::test]
async fn a_sweep_finds_what_carries_the_mark_and_says_what_it_could_not_see() {
    let fake = Fake::with(|asked: &Asked| {
        let set = |list: &str, fields: &str| {
            (200, format!("<R><{list}><item>{fields}{}</item></{list}></R>", tags("i1")))
        };
        let lightsail = |list: &str, with_tags: bool| {
            let thing = |name: &str, value: &str| {
                let mut thing = json!({ "name": name, "createdAt": 1_700_000_000.25 });
                if with_tags {
                    thing["tags"] = json!([{ "key": "openclaw:installation", "value": value }]);
                }
                thing
            };
            let things = [thing("openclaw-demo-1a2b", "i1"), thing("theirs", "i2")];
            (200, json!({ list: things }).to_string())
        };
        let role = |name: &str, value: &str| {
            format!(
                "<R><Role><RoleName>{name}</RoleName><CreateDate>2026-11-26T04:48:24Z</CreateDate>\
                 <Tags><member><Key>openclaw:installation</Key><Value>{value}</Value></member>\
                 </Tags><RoleLastUsed/></Role></R>"
            )
        };
        match action(asked).as_str() {
            "DescribeInstances" => (200, instance("running", "i1")),
            "DescribeAddresses" => set("addressesSet", "<allocationId>eipalloc-1</allocationId>"),
            "DescribeVolumes" => {
                set("volumeSet", "<volumeId>vol-1</volumeId><status>deleting</status>")
            }
            "DescribeSecurityGroups" => (403, refusal("UnauthorizedOperation")),
            "DescribeKeyPairs" => set("keySet", "<keyPairId>key-1</keyPairId><keyName>k</keyName>"),
            "GetInstances" => lightsail("instances", true),
            "GetStaticIps" => lightsail("staticIps", false),
            "GetKeyPairs" => lightsail("keyPairs", true),
            "ListRoles" => {
                let names = ["openclaw-demo-1a2b", "openclaw-other-1a2b", "theirs"];
                let members = names.map(|it| format!("<member><RoleName>{it}</RoleName></member>"));
                (200, format!("<R><Roles>{}</Roles></R>", members.concat()))
            }
            "GetRole" if asked.body.contains("demo") => (200, role("openclaw-demo-1a2b", "i1")),
            "GetRole" => (200, role("openclaw-other-1a2b", "i2")),
            it if it.starts_with("GET /clusters") => (200, r#"{"clusters":[]}"#.into()),
            "DescribeLogGroups" => (200, r#"{"logGroups":[]}"#.into()),
            "GetResources" => (200, r#"{"ResourceTagMappingList":[]}"#.into()),
            _ => (200, "<R><InstanceProfiles/></R>".into()),
        }
    })
    .await;
    let sweep = fake.aws().sweep(&mark(), &Kind::ALL).await;
    let shown: Vec<String> = sweep.found.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "EC2 instance i-1 (demo)",
            "Lightsail instance openclaw-demo-1a2b",
            "elastic IP eipalloc-1 (demo)",
            "Lightsail static IP openclaw-demo-1a2b",
            "EC2 key pair key-1 (k)",
            "Lightsail key pair openclaw-demo-1a2b",
            "IAM role openclaw-demo-1a2b",
        ]
    );
    assert_eq!(sweep.unseen.len(), 1);
    assert_eq!(sweep.unseen[0].0, Kind::SecurityGroup);
    assert!(sweep.unseen[0].1.message.contains("ec2:DescribeSecurityGroups"));
    assert_eq!(sweep.found[0].created.map(OffsetDateTime::year), Some(2026));
    assert_eq!(sweep.found[1].created.map(OffsetDateTime::unix_timestamp), Some(1_700_000_000));
    let filter = "Filter.1.Name=tag%3Aopenclaw%3Ainstallation&Filter.1.Value.1=i1";
    assert!(
        fake.bodies()
            .iter()
            .any(|it| it.starts_with("Action=DescribeInstances") && it.contains(filter))
    );
}

#[tokio::test]
async fn where_lightsail_is_not_it_is_not_asked() {
    let fake = Fake::with(|_| (200, "<R/>".into())).await;
    let kinds = [Kind::Instance, Kind::LightsailInstance, Kind::LightsailKeyPair];
    let sweep = fake.aws().elsewhere("us-west-1").sweep(&mark(), &kinds).await;
    assert!(sweep.unseen.is_empty());
    assert!(!actions(&fake).iter().any(|action| action.starts_with("Get")));
}

#[tokio::test]
async fn what_lost_the_mark_since_it_was_found_is_left_alone() {
    let fake = Fake::with(|_| (200, instance("running", "i2"))).await;
    let mut stale = found(Kind::Instance, "i-1");
    stale.tags.insert("openclaw:installation".into(), "i1".into());
    let failure = fake.aws().remove(&stale, &mark()).await.expect_err("not ours");
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.message.contains("left alone"), "{failure}");
    assert_eq!(actions(&fake), ["DescribeInstances"], "nothing but a look");
}

#[tokio::test]
async fn a_machine_is_gone_when_aws_says_so_and_one_that_is_gone_is_as_good() {
    let fake = Fake::answering([
        (200, instance("running", "i1")),
        (200, "<R/>".into()),
        (200, instance("shutting-down", "i1")),
        (200, instance("shutting-down", "i1")),
        (200, instance("terminated", "i1")),
        (400, refusal("InvalidInstanceID.NotFound")),
    ])
    .await;
    let aws = fake.aws();
    aws.remove(&found(Kind::Instance, "i-1"), &mark()).await.expect("removed");
    assert_eq!(actions(&fake)[1], "TerminateInstances");
    aws.remove(&found(Kind::Instance, "i-1"), &mark()).await.expect("gone already");
    assert_eq!(fake.asked().len(), 6);
}

#[tokio::test]
async fn what_is_still_in_use_is_tried_again_and_an_address_let_go_first() {
    let group = format!(
        "<R><securityGroupInfo><item><groupId>sg-1</groupId><groupName>g</groupName>\
         <ipPermissions><item><groups><item><groupId>sg-9</groupId></item></groups></item>\
         </ipPermissions>{}</item></securityGroupInfo></R>",
        tags("i1")
    );
    let address = format!(
        "<R><addressesSet><item><allocationId>eipalloc-1</allocationId><publicIp>198.51.100.1\
         </publicIp><associationId>eipassoc-1</associationId>{}</item></addressesSet></R>",
        tags("i1")
    );
    let fake = Fake::answering([
        (200, address),
        (200, "<R/>".into()),
        (200, "<R/>".into()),
        (200, "<R/>".into()),
        (200, group),
        (400, refusal("DependencyViolation")),
        (400, refusal("DependencyViolation")),
        (200, "<R/>".into()),
        (400, refusal("InvalidGroup.NotFound")),
    ])
    .await;
    let all = vec![found(Kind::SecurityGroup, "sg-1"), found(Kind::Address, "eipalloc-1")];
    let removals = fake.aws().remove_all(all, &mark()).await;
    assert!(removals.iter().all(|it| it.outcome.is_ok()), "{removals:?}");
    assert_eq!(
        actions(&fake),
        [
            "DescribeAddresses",
            "DisassociateAddress",
            "ReleaseAddress",
            "DescribeAddresses",
            "DescribeSecurityGroups",
            "DeleteSecurityGroup",
            "DeleteSecurityGroup",
            "DeleteSecurityGroup",
            "DescribeSecurityGroups",
        ]
    );
    assert!(fake.bodies()[1].ends_with("&AssociationId=eipassoc-1"));
}

#[tokio::test]
async fn a_role_is_emptied_before_it_goes_and_so_is_a_profile() {
    let tags = "<Tags><member><Key>openclaw:installation</Key><Value>i1</Value></member></Tags>";
    let profile = format!(
        "<R><GetInstanceProfileResult><InstanceProfile><InstanceProfileName>p</InstanceProfileName>\
         <Roles><member><RoleName>r</RoleName></member></Roles>{tags}</InstanceProfile>\
         </GetInstanceProfileResult></R>"
    );
    let role = format!("<R><Role><RoleName>r</RoleName>{tags}</Role></R>");
    let policies = "<R><AttachedPolicies><member><PolicyName>n</PolicyName><PolicyArn>arn:p\
                    </PolicyArn></member></AttachedPolicies></R>";
    let done = "<R/>";
    let own = "<R><PolicyNames><member>inline</member></PolicyNames></R>";
    let gone = &refusal("NoSuchEntity");
    let answers =
        [&profile, &profile, done, done, gone, &role, policies, done, own, done, done, gone];
    let status = |body: &str| if body == gone { 404 } else { 200 };
    let fake = Fake::answering(answers.map(|it| (status(it), it.to_owned()))).await;
    let all = vec![found(Kind::Role, "r"), found(Kind::InstanceProfile, "p")];
    let removals = fake.aws().remove_all(all, &mark()).await;
    assert!(removals.iter().all(|it| it.outcome.is_ok()), "{removals:?}");
    assert_eq!(
        actions(&fake),
        [
            "GetInstanceProfile",
            "GetInstanceProfile",
            "RemoveRoleFromInstanceProfile",
            "DeleteInstanceProfile",
            "GetInstanceProfile",
            "GetRole",
            "ListAttachedRolePolicies",
            "DetachRolePolicy",
            "ListRolePolicies",
            "DeleteRolePolicy",
            "DeleteRole",
            "GetRole",
        ]
    );
    assert!(fake.bodies()[9].ends_with("RoleName=r&PolicyName=inline"));
}

#[tokio::test]
async fn lightsails_address_is_detached_and_released_by_its_name() {
    let ip = json!({ "staticIp": { "name": "openclaw-demo-1a2b", "attachedTo": "m",
        "isAttached": true, "ipAddress": "198.51.100.9" } });
    let done = json!({ "operations": [] }).to_string();
    let gone = json!({ "__type": "NotFoundException", "message": "m" }).to_string();
    let fake = Fake::answering([
        (200, ip.to_string()),
        (200, done.clone()),
        (200, done),
        (400, gone.clone()),
        (400, gone),
    ])
    .await;
    let aws = fake.aws();
    let one = found(Kind::LightsailStaticIp, "openclaw-demo-1a2b");
    aws.remove(&one, &mark()).await.expect("removed");
    assert_eq!(actions(&fake), ["GetStaticIp", "DetachStaticIp", "ReleaseStaticIp", "GetStaticIp"]);
    assert_eq!(fake.bodies()[2], "{\"staticIpName\":\"openclaw-demo-1a2b\"}");
    aws.remove(&one, &mark()).await.expect("gone already");
}

#[test]
fn sweeps_can_be_made_by_a_task() {
    fn can<T: Send>(_: T) {}
    let environment = crate::drivers::aws::environment::of(&[]);
    let aws = crate::drivers::aws::Aws::new(environment, Some("us-east-1")).expect("a driver");
    let (mark, one) = (mark(), found(Kind::Role, "r"));
    can(aws.sweep(&mark, &Kind::ALL));
    can(aws.remove(&one, &mark));
    can(aws.room_for_vcpus());
}
