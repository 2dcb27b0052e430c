//! What is a stray, and what goes with something else.

use std::collections::BTreeMap;

use super::*;
use crate::drivers::aws::sweep::Phase;
use crate::drivers::terraform::Held;

fn found(kind: Kind, id: &str) -> Found {
    let (tags, name) = (BTreeMap::new(), None);
    Found { kind, id: id.into(), name, tags, created: None, attached: None, phase: Phase::Steady }
}

fn part(kind: Kind, id: &str, of: &str) -> Found {
    Found { attached: Some(of.into()), ..found(kind, id) }
}

fn state(held: &[(&str, &str)]) -> State {
    let held = held.iter().map(|(kind, id)| Held {
        kind: (*kind).into(),
        name: "gateways".into(),
        id: (*id).into(),
        is_tainted: false,
    });
    State { held: held.collect(), ..State::default() }
}

#[track_caller]
fn left(all: &[Found], state: &State, expected: &[&str]) {
    let strays = strays(all, state);
    let ids: Vec<&str> = strays.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, expected);
}

#[test]
fn what_a_state_has_is_none() {
    let all = [found(Kind::Vpc, "vpc-1"), found(Kind::Vpc, "vpc-2"), found(Kind::Role, "r")];
    left(&all, &state(&[("aws_vpc", "vpc-1"), ("aws_iam_role", "r")]), &["vpc-2"]);
    // The same name, and another kind.
    left(&all, &state(&[("aws_vpc", "vpc-1"), ("aws_key_pair", "r")]), &["vpc-2", "r"]);
}

#[test]
fn a_part_is_one_only_where_the_whole_is_there_to_stay() {
    let group = found(Kind::SecurityGroup, "sg-1");
    let rule = part(Kind::SecurityGroupRule, "sgr-1", "sg-1");
    let addon = part(Kind::ClusterAddOn, "c:coredns", "c");
    let cluster = found(Kind::Cluster, "c");
    let all = [cluster, addon, group, rule];
    left(&all, &State::default(), &["c", "sg-1"]);
    let known = state(&[("aws_security_group", "sg-1"), ("aws_eks_cluster", "c")]);
    left(&all, &known, &["c:coredns", "sgr-1"]);
    let all_known = state(&[
        ("aws_security_group", "sg-1"),
        ("aws_eks_cluster", "c"),
        ("aws_vpc_security_group_ingress_rule", "sgr-1"),
        ("aws_eks_addon", "c:coredns"),
    ]);
    left(&all, &all_known, &[]);
}

#[test]
fn a_table_goes_after_the_subnets_let_go_of_it() {
    let way = part(Kind::RouteTableAssociation, "rtbassoc-1", "rtb-1");
    let all = [found(Kind::Subnet, "subnet-1"), found(Kind::RouteTable, "rtb-1"), way];
    left(&all, &state(&[("aws_subnet", "subnet-1")]), &["rtb-1", "rtbassoc-1"]);
    assert!(Kind::RouteTableAssociation < Kind::RouteTable, "removed in this order");
}

#[test]
fn what_a_cluster_makes_itself_goes_with_it() {
    let named = |kind, id: &str, name: &str| Found { name: Some(name.into()), ..found(kind, id) };
    let own = named(Kind::SecurityGroup, "sg-9", "eks-cluster-sg-openclaw-cluster-x-1");
    let all = [
        part(Kind::NodeGroup, "c:gateways", "c"),
        found(Kind::Instance, "i-1"),
        found(Kind::Volume, "vol-1"),
        own.clone(),
    ];
    // The group is no part: a cluster cannot go before it.
    left(&all, &State::default(), &["c:gateways"]);
    left(&all, &state(&[("aws_eks_node_group", "c:gateways")]), &[]);
    // Where neither cluster nor nodes are left, nobody removes it.
    left(&[own, found(Kind::Volume, "vol-1")], &State::default(), &["sg-9", "vol-1"]);
}

#[test]
fn machines_and_volumes_are_none_that_terraform_makes_for_a_cluster() {
    let kinds = of_cluster();
    for kind in [Kind::Instance, Kind::Volume, Kind::LightsailInstance, Kind::KeyPair] {
        assert!(!kinds.contains(&kind), "{kind}");
    }
    assert!(kinds.iter().all(|it| made_as(*it).is_some()));
}
