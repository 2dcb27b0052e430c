//! What there is to look for.
//!
//! Owns the kinds, their names in words, and the order in which they can be removed. Refuses to know
//! how any of them is asked for.

use std::fmt;

use serde::Serialize;

/// What kinds of things are looked for, in the order in which they can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The machines of a cluster.
    NodeGroup,
    /// What a cluster runs by itself. It goes with its cluster, too.
    ClusterAddOn,
    /// Who may use a cluster. It goes with its cluster, too.
    ClusterEntry,
    /// A cluster of EKS.
    Cluster,
    /// A machine of EC2's.
    Instance,
    /// A machine of Lightsail's.
    LightsailInstance,
    /// How a private subnet reaches the internet.
    NatGateway,
    /// An elastic IP.
    Address,
    /// Lightsail's equal of one.
    LightsailStaticIp,
    /// A disk that outlived its machine.
    Volume,
    /// What a firewall lets in. It goes with its firewall, too.
    SecurityGroupRule,
    /// A firewall.
    SecurityGroup,
    /// Which way a subnet's packets take. No table goes before it.
    RouteTableAssociation,
    /// A part of a network.
    Subnet,
    /// The ways out of subnets.
    RouteTable,
    /// How a network reaches the internet.
    InternetGateway,
    /// A network.
    Vpc,
    /// What machines are made by.
    LaunchTemplate,
    /// What a cluster has written.
    LogGroup,
    /// A key that encrypts. AWS keeps it for a week after it was asked to be gone.
    EncryptionKey,
    /// The public half of a key at EC2.
    KeyPair,
    /// The same at Lightsail.
    LightsailKeyPair,
    /// What gives a machine its role.
    InstanceProfile,
    /// A role.
    Role,
}

/// The ways that things are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Lists with tags, or names (`shape`).
    Described,
    /// EKS (`clusters`).
    Clusters,
    /// Services that know names alone (`named`).
    Named,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::NodeGroup,
        Self::ClusterAddOn,
        Self::ClusterEntry,
        Self::Cluster,
        Self::Instance,
        Self::LightsailInstance,
        Self::NatGateway,
        Self::Address,
        Self::LightsailStaticIp,
        Self::Volume,
        Self::SecurityGroupRule,
        Self::SecurityGroup,
        Self::RouteTableAssociation,
        Self::Subnet,
        Self::RouteTable,
        Self::InternetGateway,
        Self::Vpc,
        Self::LaunchTemplate,
        Self::LogGroup,
        Self::EncryptionKey,
        Self::KeyPair,
        Self::LightsailKeyPair,
        Self::InstanceProfile,
        Self::Role,
    ];

    /// Whether AWS keeps tags on it.
    pub const fn has_tags(self) -> bool {
        !matches!(self, Self::LightsailStaticIp)
    }

    /// Whether there may be one of ours without tags. A key pair gets them by a call after the one that
    /// makes it: whoever is broken off between the two leaves it without any. A group of logs that was
    /// removed is made anew by EKS, for lines that come late.
    pub(super) const fn may_lack_tags(self) -> bool {
        matches!(self, Self::LightsailKeyPair | Self::LogGroup)
    }

    /// Whether it is Lightsail's.
    pub const fn is_lightsail(self) -> bool {
        matches!(self, Self::LightsailInstance | Self::LightsailStaticIp | Self::LightsailKeyPair)
    }

    /// How one is asked for.
    pub(super) const fn family(self) -> Family {
        match self {
            Self::NodeGroup | Self::ClusterAddOn | Self::ClusterEntry | Self::Cluster => {
                Family::Clusters
            }
            Self::LogGroup | Self::EncryptionKey => Family::Named,
            _ => Family::Described,
        }
    }

    /// Whether only a cluster, or what was made for one, has it.
    pub const fn is_of_a_cluster(self) -> bool {
        matches!(self.family(), Family::Clusters | Family::Named)
            || matches!(
                self,
                Self::NatGateway
                    | Self::SecurityGroupRule
                    | Self::RouteTableAssociation
                    | Self::Subnet
                    | Self::RouteTable
                    | Self::InternetGateway
                    | Self::Vpc
                    | Self::LaunchTemplate
            )
    }

    /// Whether it is gone as soon as what it is attached to is.
    pub const fn is_a_part(self) -> bool {
        matches!(self, Self::ClusterAddOn | Self::ClusterEntry | Self::SecurityGroupRule)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeGroup => "EKS node group",
            Self::ClusterAddOn => "EKS add-on",
            Self::ClusterEntry => "EKS access entry",
            Self::Cluster => "EKS cluster",
            Self::Instance => "EC2 instance",
            Self::LightsailInstance => "Lightsail instance",
            Self::NatGateway => "NAT gateway",
            Self::Address => "elastic IP",
            Self::LightsailStaticIp => "Lightsail static IP",
            Self::Volume => "EBS volume",
            Self::SecurityGroupRule => "security group rule",
            Self::SecurityGroup => "security group",
            Self::RouteTableAssociation => "route table association",
            Self::Subnet => "subnet",
            Self::RouteTable => "route table",
            Self::InternetGateway => "internet gateway",
            Self::Vpc => "VPC",
            Self::LaunchTemplate => "launch template",
            Self::LogGroup => "log group",
            Self::EncryptionKey => "KMS key",
            Self::KeyPair => "EC2 key pair",
            Self::LightsailKeyPair => "Lightsail key pair",
            Self::InstanceProfile => "instance profile",
            Self::Role => "IAM role",
        })
    }
}
