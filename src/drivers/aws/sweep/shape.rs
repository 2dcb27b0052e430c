//! How each kind of thing is asked for, and how it is read from the answer.

use std::collections::BTreeMap;

use roxmltree::Node;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Found, Kind, Mark, Phase, seconds};
use crate::domain::Failure;
use crate::drivers::aws::client::Page;
use crate::drivers::aws::service::{Call, Service};
use crate::drivers::aws::xml;

/// What of a kind is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// What carries the mark, as far as AWS can tell it.
    Marked(&'a Mark),
    /// One thing.
    One(&'a str),
}

/// The names of one kind's parts.
struct Shape {
    /// What lists all, and what shows one.
    actions: (&'static str, &'static str),
    /// The list in the answer.
    list: &'static str,
    /// Where one is named in the call.
    by_id: &'static str,
    /// Its id, its name and when it was made, in the answer.
    fields: [&'static str; 3],
    /// What says that it is attached.
    attached: &'static str,
}

const fn shape(kind: Kind) -> Shape {
    let (actions, list, by_id, fields, attached) = match kind {
        Kind::NatGateway => (
            ("DescribeNatGateways", "DescribeNatGateways"),
            "natGatewaySet",
            "NatGatewayId.1",
            ["natGatewayId", "", "createTime"],
            "",
        ),
        Kind::SecurityGroupRule => (
            ("DescribeSecurityGroupRules", "DescribeSecurityGroupRules"),
            "securityGroupRuleSet",
            "SecurityGroupRuleId.1",
            ["securityGroupRuleId", "", ""],
            "groupId",
        ),
        Kind::Subnet => (
            ("DescribeSubnets", "DescribeSubnets"),
            "subnetSet",
            "SubnetId.1",
            ["subnetId", "", ""],
            "",
        ),
        // What it is attached to is read from around it.
        Kind::RouteTable | Kind::RouteTableAssociation => (
            ("DescribeRouteTables", "DescribeRouteTables"),
            "routeTableSet",
            "RouteTableId.1",
            ["routeTableId", "", ""],
            "",
        ),
        Kind::InternetGateway => (
            ("DescribeInternetGateways", "DescribeInternetGateways"),
            "internetGatewaySet",
            "InternetGatewayId.1",
            ["internetGatewayId", "", ""],
            "",
        ),
        Kind::Vpc => (("DescribeVpcs", "DescribeVpcs"), "vpcSet", "VpcId.1", ["vpcId", "", ""], ""),
        Kind::LaunchTemplate => (
            ("DescribeLaunchTemplates", "DescribeLaunchTemplates"),
            "launchTemplates",
            "LaunchTemplateId.1",
            ["launchTemplateId", "launchTemplateName", "createTime"],
            "",
        ),
        Kind::Instance => (
            ("DescribeInstances", "DescribeInstances"),
            "instancesSet",
            "InstanceId.1",
            ["instanceId", "", "launchTime"],
            "",
        ),
        Kind::Address => (
            ("DescribeAddresses", "DescribeAddresses"),
            "addressesSet",
            "AllocationId.1",
            ["allocationId", "", ""],
            "associationId",
        ),
        Kind::Volume => (
            ("DescribeVolumes", "DescribeVolumes"),
            "volumeSet",
            "VolumeId.1",
            ["volumeId", "", "createTime"],
            "",
        ),
        Kind::SecurityGroup => (
            ("DescribeSecurityGroups", "DescribeSecurityGroups"),
            "securityGroupInfo",
            "GroupId.1",
            ["groupId", "groupName", ""],
            "",
        ),
        Kind::KeyPair => (
            ("DescribeKeyPairs", "DescribeKeyPairs"),
            "keySet",
            "KeyPairId.1",
            ["keyPairId", "keyName", "createTime"],
            "",
        ),
        Kind::InstanceProfile => (
            ("ListInstanceProfiles", "GetInstanceProfile"),
            "InstanceProfiles",
            "InstanceProfileName",
            ["InstanceProfileName", "", "CreateDate"],
            "",
        ),
        Kind::Role => {
            (("ListRoles", "GetRole"), "Roles", "RoleName", ["RoleName", "", "CreateDate"], "")
        }
        Kind::LightsailInstance => {
            (("GetInstances", "GetInstance"), "instance", "instanceName", ["name", "", ""], "")
        }
        Kind::LightsailStaticIp => (
            ("GetStaticIps", "GetStaticIp"),
            "staticIp",
            "staticIpName",
            ["name", "", ""],
            "attachedTo",
        ),
        Kind::LightsailKeyPair => {
            (("GetKeyPairs", "GetKeyPair"), "keyPair", "keyPairName", ["name", "", ""], "")
        }
        Kind::NodeGroup
        | Kind::ClusterAddOn
        | Kind::ClusterEntry
        | Kind::Cluster
        | Kind::LogGroup
        | Kind::EncryptionKey => unreachable!(),
    };
    Shape { actions, list, by_id, fields, attached }
}

const fn service(kind: Kind) -> Service {
    match kind {
        Kind::InstanceProfile | Kind::Role => Service::Iam,
        _ if kind.is_lightsail() => Service::Lightsail,
        _ => Service::Ec2,
    }
}

/// The call that asks for them.
pub(super) fn call(kind: Kind, which: Which<'_>) -> Call {
    let (shape, service) = (shape(kind), service(kind));
    match (service, which) {
        (Service::Lightsail, Which::Marked(_)) => Call::json(service, shape.actions.0, json!({})),
        (Service::Lightsail, Which::One(id)) => {
            Call::json(service, shape.actions.1, json!({})).with(shape.by_id, id)
        }
        (_, Which::One(id)) if kind == Kind::RouteTableAssociation => {
            let of = "association.route-table-association-id";
            Call::form(service, shape.actions.1).filter(1, of, &[id])
        }
        (_, Which::One(id)) => Call::form(service, shape.actions.1).with(shape.by_id, id),
        (Service::Iam, Which::Marked(_)) => Call::form(service, shape.actions.0),
        (_, Which::Marked(mark)) => Call::form(service, shape.actions.0).filter(
            1,
            &format!("tag:{}", mark.key),
            &[&mark.value],
        ),
    }
}

/// What an answer has. What is gone already, and is still shown for a while, is left out.
pub(super) fn read(kind: Kind, body: &str) -> Result<Page<Found>, Failure> {
    if kind.is_lightsail() { read_json(kind, body) } else { read_xml(kind, body) }
}

fn read_xml(kind: Kind, body: &str) -> Result<Page<Found>, Failure> {
    let shape = shape(kind);
    let document = xml::parse(body)?;
    let root = document.root();
    let mut nodes = xml::lists(root, shape.list);
    if service(kind) == Service::Iam {
        // One that was asked for stands alone, without a list around it.
        let single = shape.list.trim_end_matches('s');
        nodes = xml::find(root, single).map_or(nodes, |one| vec![one]);
    }
    if kind == Kind::RouteTableAssociation {
        let items = nodes.into_iter().flat_map(associations).collect();
        return Ok(Page { items, next: xml::next_page(root) });
    }
    let items = nodes.into_iter().filter_map(|node| {
        let field = |name: &str| if name.is_empty() { None } else { xml::text(node, &[name]) };
        let state = xml::text(node, &["instanceState", "name"]).or_else(|| field("status"));
        let state = state.or_else(|| field("state"));
        // A gateway that is going has its address, and its network, until it is gone.
        let phase = match kind {
            Kind::NatGateway => Phase::of(state.as_deref()),
            _ => Phase::Steady,
        };
        let is_gone = matches!(state.as_deref(), Some("terminated" | "deleting" | "deleted"));
        // What a group lets out is not asked about: it goes with the group.
        let is_outward = field("isEgress").as_deref() == Some("true");
        if is_gone && phase == Phase::Steady || is_outward {
            return None;
        }
        let tags = xml::tags(node);
        let network = || xml::list(node, "attachmentSet").into_iter().next();
        let [id, name, created] = shape.fields;
        Some(Found {
            kind,
            id: field(id)?,
            name: field(name).or_else(|| claim(&tags)).or_else(|| tags.get("Name").cloned()),
            created: field(created).and_then(|it| OffsetDateTime::parse(&it, &Rfc3339).ok()),
            attached: match kind {
                Kind::InternetGateway => network().and_then(|it| xml::text(it, &["vpcId"])),
                _ => field(shape.attached),
            },
            tags,
            phase,
        })
    });
    Ok(Page { items: items.collect(), next: xml::next_page(root) })
}

/// Which claim of a cluster's a volume was made for.
fn claim(tags: &BTreeMap<String, String>) -> Option<String> {
    let of = |what: &str| tags.get(&format!("kubernetes.io/created-for/pvc/{what}"));
    Some(format!("{}/{}", of("namespace")?, of("name")?))
}

/// Those of a route table, but for what the network's own table has of itself. They have no tags: what
/// the table has is theirs.
fn associations(table: Node<'_, '_>) -> Vec<Found> {
    let tags = xml::tags(table);
    let found = |it: Node<'_, '_>| {
        xml::text(it, &["subnetId"])?;
        Some(Found {
            kind: Kind::RouteTableAssociation,
            id: xml::text(it, &["routeTableAssociationId"])?,
            name: None,
            created: None,
            attached: xml::text(table, &["routeTableId"]),
            tags: tags.clone(),
            phase: Phase::Steady,
        })
    };
    xml::list(table, "associationSet").into_iter().filter_map(found).collect()
}

fn read_json(kind: Kind, body: &str) -> Result<Page<Found>, Failure> {
    let shape = shape(kind);
    let fields: Value = serde_json::from_str(body).map_err(|_| xml::unreadable())?;
    let many = fields[format!("{}s", shape.list)].as_array();
    let items: Vec<&Value> = match many {
        Some(many) => many.iter().collect(),
        None => vec![fields.get(shape.list).ok_or_else(xml::unreadable)?],
    };
    let items = items.into_iter().filter_map(|item| {
        let tag = |tag: &Value| {
            let value = tag["value"].as_str().unwrap_or_default();
            Some((tag["key"].as_str()?.to_owned(), value.to_owned()))
        };
        let name = item["name"].as_str()?.to_owned();
        let created = item["createdAt"].as_f64().and_then(seconds);
        Some(Found {
            kind,
            id: name.clone(),
            name: Some(name),
            tags: item["tags"].as_array().into_iter().flatten().filter_map(tag).collect(),
            created,
            attached: item[shape.attached].as_str().map(ToOwned::to_owned),
            phase: Phase::Steady,
        })
    });
    let next = fields["nextPageToken"].as_str().map(ToOwned::to_owned);
    Ok(Page { items: items.collect(), next })
}
