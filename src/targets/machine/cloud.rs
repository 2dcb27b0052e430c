//! What differs between the clouds' machines.

use crate::assets::terraform;
use crate::domain::TargetKind;
use crate::drivers::ssh::KeyKind;

/// A cloud's kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// An EC2 instance.
    Ec2,
    /// A Lightsail instance.
    Lightsail,
}

impl Cloud {
    /// The target that makes such machines.
    pub fn kind(self) -> TargetKind {
        match self {
            Self::Ec2 => TargetKind::Ec2,
            Self::Lightsail => TargetKind::Lightsail,
        }
    }

    /// The module that makes one.
    pub(super) fn module(self) -> &'static terraform::Module {
        match self {
            Self::Ec2 => &terraform::EC2,
            Self::Lightsail => &terraform::LIGHTSAIL,
        }
    }

    /// What its machines take as a key.
    pub(super) fn key(self) -> KeyKind {
        match self {
            Self::Ec2 => KeyKind::Ed25519,
            Self::Lightsail => KeyKind::Rsa4096,
        }
    }

    /// The size of a machine unless another one is asked for.
    pub fn default_size(self) -> &'static str {
        self.kind().default_size().unwrap_or_default()
    }

    /// What the machine itself is to Terraform.
    pub(super) fn instance(self) -> &'static str {
        match self {
            Self::Ec2 => "aws_instance",
            Self::Lightsail => "aws_lightsail_instance",
        }
    }

    /// What its address is to Terraform.
    pub(super) fn address(self) -> &'static str {
        match self {
            Self::Ec2 => "aws_eip",
            Self::Lightsail => "aws_lightsail_static_ip",
        }
    }

    /// What holds a deployment's data, or its address: no apply takes any of it away.
    pub(super) fn kept(self) -> &'static [&'static str] {
        match self {
            Self::Ec2 => &["aws_instance", "aws_eip", "aws_ebs_volume"],
            Self::Lightsail => &["aws_lightsail_instance", "aws_lightsail_static_ip"],
        }
    }
}

/// Lightsail's firewall, which is the instance's own, and to Terraform a list of ports.
pub(super) const LIGHTSAIL_FIREWALL: &str = "aws_lightsail_instance_public_ports";

/// A resource's type in words.
pub fn in_words(kind: &str) -> &str {
    match kind {
        "aws_instance" | "aws_lightsail_instance" => "the instance",
        "aws_eip" | "aws_lightsail_static_ip" => "the address",
        "aws_eip_association" | "aws_lightsail_static_ip_attachment" => "the address's attachment",
        "aws_key_pair" | "aws_lightsail_key_pair" => "the SSH key",
        "aws_security_group" | LIGHTSAIL_FIREWALL => "the firewall",
        "aws_vpc_security_group_ingress_rule" | "aws_vpc_security_group_egress_rule" => {
            "the firewall's rules"
        }
        "aws_eks_cluster" => "the cluster",
        "aws_eks_node_group" => "the nodes",
        "aws_eks_addon" => "an add-on",
        "aws_eks_access_entry" | "aws_eks_access_policy_association" => "who administers it",
        "aws_eks_pod_identity_association" => "the volume driver's role",
        "aws_vpc" => "the network",
        "aws_subnet" => "a subnet",
        "aws_internet_gateway" => "the internet gateway",
        "aws_nat_gateway" => "the NAT gateway",
        "aws_route_table" | "aws_route_table_association" | "aws_route" => "the routes",
        "aws_launch_template" => "the nodes' template",
        "aws_kms_key" | "aws_kms_alias" => "the key that encrypts secrets",
        "aws_cloudwatch_log_group" => "the cluster's log",
        "aws_iam_role" => "the role",
        "aws_iam_instance_profile" => "the instance profile",
        "aws_iam_policy" | "aws_iam_role_policy" | "aws_iam_role_policy_attachment" => "the policy",
        other => other,
    }
}
