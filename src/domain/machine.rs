//! A machine of a cloud, and who reaches what runs on it.
//!
//! Owns what is asked of it and what is known of it. Neither holds a secret.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::state_place::StatePlace;

/// Who reaches a gateway on a machine of a cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expose {
    /// Everybody, over plain HTTP.
    #[default]
    Http,
    /// Everybody, over HTTPS through a tunnel, and in no other way.
    Tunnel,
    /// Whoever may reach SSH, over plain HTTP.
    Operator,
    /// Nobody but who has a shell there.
    None,
}

impl Expose {
    /// Each, in the order in which help lists them.
    pub const ALL: [Self; 4] = [Self::Http, Self::Tunnel, Self::Operator, Self::None];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tunnel => "tunnel",
            Self::Operator => "operator",
            Self::None => "none",
        }
    }

    /// The address that the machine publishes the gateway's port on: never on IPv6, through whose
    /// proxy everybody would look like one of the machine's own.
    pub fn published_on(self) -> IpAddr {
        match self {
            Self::Http | Self::Operator => Ipv4Addr::UNSPECIFIED.into(),
            Self::Tunnel | Self::None => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

impl fmt::Display for Expose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Expose {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or_else(|| {
            Failure::bad_input(format!(
                "EXPOSE is http (everybody), tunnel (everybody, over HTTPS), operator (whoever may \
                 reach SSH) or none; {:?} is none of these",
                super::text::clean(text, 40)
            ))
        })
    }
}

/// What a machine should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// The region that it is in.
    pub region: String,
    /// Its instance type or bundle. `None`: the target's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Who reaches the gateway.
    #[serde(default)]
    pub expose: Expose,
    /// Who may reach SSH, as IPv4 ranges. Empty: the operator's own address, found out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_cidrs: Vec<String>,
    /// Where Terraform's state is kept. `None`: with the deployment's own files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StatePlace>,
    /// The host name of its tunnel, where that has one of its own. `None`: a quick one, whose name
    /// is new at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_host: Option<String>,
    /// The image of the tunnel's program. `None`: the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_image: Option<String>,
    /// What the pipeline server there should be, where it is that one's own machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerSpec>,
}

/// How a pipeline server on a machine of its own is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// By TLS, with a certificate that was given, or one that it made itself.
    #[default]
    Https,
    /// Over plain HTTP, said outright.
    Http,
    /// On its loopback alone, by SSH.
    Tunnel,
}

/// What a pipeline server on a machine of its own should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// The id that the installation there will have: what carries it, its role may change.
    pub installation: String,
    /// Who reaches its port, as IPv4 ranges. Empty: whoever reaches SSH.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
    /// How it is reached.
    #[serde(default)]
    pub reach: Reach,
    /// Further names by which it is called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Its settings by their names; those that are secrets are sealed beside this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<(String, String)>,
}

/// The port of a pipeline server on a machine of its own.
pub const SERVER_PORT: u16 = 4000;

/// What is known of a pipeline server on a machine of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// The release that it runs: the operation that brought it there.
    pub release: String,
    /// The program's own word.
    pub version: String,
    /// How it is reached.
    pub reach: Reach,
    /// The name that its address is shown with, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The SHA-256 of its certificate, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// What is known of a machine that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFacts {
    /// Its public IPv4 address.
    pub address: Ipv4Addr,
    /// The cloud's id of it.
    pub id: String,
    /// The image that it was made of, where the cloud names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The region that it is in.
    pub region: String,
    /// The account that it is in; empty where a version recorded it that did not ask.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// The user for SSH.
    pub user: String,
    /// The name that its resources have in the account.
    pub resource_name: String,
    /// The operation that made it.
    pub made_by: String,
    /// Whether it shows its own host key, and is ready for a gateway.
    #[serde(default)]
    pub ready: bool,
}
