//! A cluster, its parts and its network, found and removed against AWS on loopback.

use serde_json::json;

use super::tests::{actions, found, mark, refusal, tags};
use super::*;
use crate::drivers::aws::fake::{Asked, Fake};

const NAME: &str = "openclaw-cluster-1a2b";

fn marked(value: &str) -> serde_json::Value {
    json!({ "openclaw:installation": value })
}

/// An account with one cluster of ours, one of another's, and one that only has such a name.
fn account(asked: &Asked) -> (u16, String) {
    let called = super::tests::action(asked);
    let answer = match called.strip_prefix("GET /clusters").unwrap_or(&called) {
        "" => json!({ "clusters": ["theirs", NAME], "nextToken": "2" }),
        "?nextToken=2" => json!({ "clusters": ["openclaw-old-1a2b"] }),
        "/openclaw-cluster-1a2b" => json!({ "cluster": {
            "name": NAME, "status": "ACTIVE", "createdAt": 1_700_000_000.25, "tags": marked("i1"),
        } }),
        "/openclaw-old-1a2b" => json!({ "cluster": { "tags": marked("i2") } }),
        "/openclaw-cluster-1a2b/node-groups" => json!({ "nodegroups": ["gateways", "theirs"] }),
        "/openclaw-cluster-1a2b/node-groups/gateways" => {
            json!({ "nodegroup": { "status": "DELETING", "tags": marked("i1") } })
        }
        "/openclaw-cluster-1a2b/node-groups/theirs" => json!({ "nodegroup": { "tags": {} } }),
        "/openclaw-cluster-1a2b/addons" => json!({ "addons": [] }),
        "/openclaw-cluster-1a2b/access-entries" => {
            json!({ "accessEntries": ["arn:aws:iam::1:role/a", "arn:aws:iam::1:role/node"] })
        }
        "/openclaw-cluster-1a2b/access-entries/arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa" => {
            json!({ "accessEntry": { "tags": marked("i1") } })
        }
        "/openclaw-cluster-1a2b/access-entries/arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fnode" => {
            json!({ "accessEntry": { "tags": {} } })
        }
        "DescribeLogGroups" => json!({ "logGroups": [
            { "logGroupName": format!("/aws/eks/{NAME}/cluster"), "arn": "arn:1:*" },
            { "logGroupName": "/aws/eks/theirs/cluster", "arn": "arn:2:*" },
        ] }),
        "ListTagsForResource" => {
            assert_eq!(asked.body, r#"{"resourceArn":"arn:1"}"#, "as it is without its lines");
            json!({ "tags": marked("i1") })
        }
        "GetResources" => json!({
            "ResourceTagMappingList": [
                { "ResourceARN": "arn:aws:kms:us-east-1:1:key/k-1" },
                { "ResourceARN": "arn:aws:kms:us-east-1:1:key/k-2" },
            ],
            "PaginationToken": "",
        }),
        "DescribeKey" => {
            let state = if asked.body.contains("k-1") { "Enabled" } else { "PendingDeletion" };
            json!({ "KeyMetadata": { "KeyState": state, "CreationDate": 1_700_000_000 } })
        }
        "ListResourceTags" => {
            json!({ "Tags": [{ "TagKey": "openclaw:installation", "TagValue": "i1" }] })
        }
        other => panic!("{other}"),
    };
    (200, answer.to_string())
}

#[tokio::test]
async fn a_cluster_of_ours_is_found_with_what_of_it_is_ours() {
    let fake = Fake::with(account).await;
    let kinds = [
        Kind::NodeGroup,
        Kind::ClusterAddOn,
        Kind::ClusterEntry,
        Kind::Cluster,
        Kind::LogGroup,
        Kind::EncryptionKey,
    ];
    let sweep = fake.aws().sweep(&mark(), &kinds).await;
    assert!(sweep.unseen.is_empty(), "{:?}", sweep.unseen);
    let shown: Vec<String> = sweep.found.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "EKS node group openclaw-cluster-1a2b:gateways",
            "EKS access entry openclaw-cluster-1a2b:arn:aws:iam::1:role/a",
            "EKS cluster openclaw-cluster-1a2b",
            "log group /aws/eks/openclaw-cluster-1a2b/cluster",
            "KMS key k-1",
        ]
    );
    let phases: Vec<Phase> = sweep.found.iter().map(|it| it.phase).collect();
    let (going, steady) = (Phase::Going, Phase::Steady);
    assert_eq!(phases, [going, steady, steady, steady, steady]);
    assert_eq!(sweep.found[0].attached.as_deref(), Some(NAME));
    assert_eq!(sweep.found[2].created.map(OffsetDateTime::unix_timestamp), Some(1_700_000_000));
}

#[tokio::test]
async fn what_is_going_is_waited_for_and_what_is_being_made_too() {
    let nodes = |status: &str| {
        (200, json!({ "nodegroup": { "status": status, "tags": marked("i1") } }).to_string())
    };
    let gone = || (404, json!({ "__type": "ResourceNotFoundException" }).to_string());
    let fake = Fake::answering([nodes("DELETING"), nodes("DELETING"), gone()]).await;
    let group = found(Kind::NodeGroup, "c:gateways");
    fake.aws().remove(&group, &mark()).await.expect("gone");
    assert!(actions(&fake).iter().all(|it| it.starts_with("GET ")), "{:?}", actions(&fake));

    let busy = json!({ "__type": "ResourceInUseException", "message": "it is being updated" });
    let fake = Fake::answering([
        nodes("CREATING"),
        nodes("ACTIVE"),
        (409, busy.to_string()),
        (200, "{}".into()),
        nodes("DELETING"),
        gone(),
    ])
    .await;
    fake.aws().remove(&group, &mark()).await.expect("gone");
    let deletes = actions(&fake).iter().filter(|it| it.starts_with("DELETE ")).count();
    assert_eq!(deletes, 2);
    assert_eq!(actions(&fake)[2], "DELETE /clusters/c/node-groups/gateways");
}

#[tokio::test]
async fn a_network_is_let_go_before_it_is_removed() {
    let set = |list: &str, fields: &str| {
        (200, format!("<R><{list}><item>{fields}{}</item></{list}></R>", tags("i1")))
    };
    let internet = "<internetGatewayId>igw-1</internetGatewayId><attachmentSet><item>\
                    <vpcId>vpc-1</vpcId></item></attachmentSet>";
    let fake = Fake::answering([
        set("internetGatewaySet", internet),
        (200, "<R/>".into()),
        (200, "<R/>".into()),
        (400, refusal("InvalidInternetGatewayID.NotFound")),
        set("natGatewaySet", "<natGatewayId>nat-1</natGatewayId><state>available</state>"),
        (200, "<R/>".into()),
        set("natGatewaySet", "<natGatewayId>nat-1</natGatewayId><state>deleting</state>"),
        set("natGatewaySet", "<natGatewayId>nat-1</natGatewayId><state>deleted</state>"),
        set(
            "securityGroupRuleSet",
            "<securityGroupRuleId>sgr-1</securityGroupRuleId><groupId>sg-1</groupId>",
        ),
        (200, "<R/>".into()),
        (400, refusal("InvalidSecurityGroupRuleId.NotFound")),
    ])
    .await;
    let aws = fake.aws();
    aws.remove(&found(Kind::InternetGateway, "igw-1"), &mark()).await.expect("gone");
    aws.remove(&found(Kind::NatGateway, "nat-1"), &mark()).await.expect("gone");
    aws.remove(&found(Kind::SecurityGroupRule, "sgr-1"), &mark()).await.expect("gone");
    let bodies = fake.bodies();
    assert!(bodies[1].contains("Action=DetachInternetGateway") && bodies[1].contains("vpc-1"));
    assert!(bodies[2].contains("Action=DeleteInternetGateway"));
    assert!(bodies[5].contains("Action=DeleteNatGateway"));
    assert!(bodies[9].contains("Action=RevokeSecurityGroupIngress"));
    assert!(bodies[9].contains("GroupId=sg-1"), "{}", bodies[9]);
}

#[tokio::test]
async fn the_ways_of_subnets_are_their_tables() {
    let table = format!(
        "<R><routeTableSet><item><routeTableId>rtb-1</routeTableId><associationSet><item>\
         <routeTableAssociationId>rtbassoc-1</routeTableAssociationId><main>false</main>\
         <subnetId>subnet-1</subnetId></item><item><routeTableAssociationId>rtbassoc-0\
         </routeTableAssociationId><main>true</main></item></associationSet>{}</item>\
         </routeTableSet></R>",
        tags("i1")
    );
    let fake = Fake::with(move |_| (200, table.clone())).await;
    let sweep = fake.aws().sweep(&mark(), &[Kind::RouteTableAssociation, Kind::RouteTable]).await;
    let shown: Vec<_> = sweep.found.iter().map(|it| (it.id.as_str(), &it.attached)).collect();
    let of_table = Some("rtb-1".to_owned());
    assert_eq!(shown, [("rtbassoc-1", &of_table), ("rtb-1", &None)]);
}

#[tokio::test]
async fn a_cluster_that_stays_keeps_what_it_needs() {
    let fake = Fake::with(|asked: &Asked| {
        if asked.head.starts_with("DELETE ") {
            let denied = json!({ "__type": "AccessDeniedException", "message": "no" });
            return (403, denied.to_string());
        }
        (200, json!({ "cluster": { "status": "ACTIVE", "tags": marked("i1") } }).to_string())
    })
    .await;
    let all = [Kind::Cluster, Kind::Vpc, Kind::EncryptionKey, Kind::Role].map(|it| found(it, "c"));
    let removals = fake.aws().remove_all(all.to_vec(), &mark()).await;
    assert_eq!(removals.len(), 4);
    for removal in &removals[1..] {
        let failure = removal.outcome.as_ref().expect_err("it is needed");
        assert!(failure.message.contains("the EKS cluster c could not be removed"), "{failure}");
    }
    assert_eq!(fake.asked().len(), 2, "a look, and the call that was denied");
}

#[tokio::test]
async fn a_cluster_is_gone_when_it_is_gone_three_times() {
    let there = || (200, json!({ "cluster": { "tags": marked("i1") } }).to_string());
    let gone = || {
        let said =
            json!({ "__type": "ClientException", "message": "No cluster found for name: c." });
        (404, said.to_string())
    };
    let answers = [there(), there(), gone(), there(), gone(), gone(), gone()];
    let fake = Fake::answering(answers).await;
    fake.aws().remove(&found(Kind::Cluster, "c"), &mark()).await.expect("gone");
    assert_eq!(fake.asked().len(), 7);
}

#[test]
fn logs_that_came_late_are_the_clusters_without_a_tag() {
    let mut group = found(Kind::LogGroup, "/aws/eks/openclaw-cluster-1a2b/cluster");
    assert!(mark().owns(&group));
    group.tags.insert("openclaw:installation".into(), "i2".into());
    assert!(!mark().owns(&group), "another installation's");
    assert!(!mark().owns(&found(Kind::LogGroup, "/aws/eks/theirs/cluster")));
}
