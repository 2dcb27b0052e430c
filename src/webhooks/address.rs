//! Which addresses events may be sent to.
//!
//! Owns the reading of a receiver's URL and the one rule about IP addresses. An address that hides
//! another one (IPv4-mapped, NAT64, 6to4, Teredo and the like) counts as the one that it hides.
//! Refuses to look a name up: that is done when a connection is made, and what comes of it is asked
//! about here, so that a name cannot point elsewhere in between.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use crate::domain::{Failure, text};

/// The longest URL of a receiver, in bytes: what proxies and servers take everywhere.
pub const URL_MAX: usize = 2048;

/// Whose the receiver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The operator's own front end: plain HTTP and the operator's own networks are fine.
    Operator,
    /// Anybody else's: HTTPS, and an address of the internet.
    Global,
}

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of the internet.
    Global,
    /// Of this machine.
    Loopback,
    /// Of a private network, unique local IPv6 included.
    Private,
    /// Of a carrier's network, shared by its customers.
    Shared,
    /// Of the link alone.
    LinkLocal,
    /// A cloud's own service on each of its machines, which hands out credentials.
    Metadata,
    /// Nobody's: 0.0.0.0 and its like.
    Unspecified,
    /// Of many machines at once.
    Multicast,
    /// For documents and measurements.
    Documentation,
    /// Not given to anybody.
    Reserved,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "an address of the internet",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Shared => "an address of a carrier's network",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud's metadata service",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Documentation => "an address for documentation or measurements",
            Self::Reserved => "a reserved address",
        })
    }
}

/// An address that a rule refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}, where events are not sent")]
pub struct Refused {
    /// Which one.
    pub address: IpAddr,
    /// Why.
    pub kind: Kind,
}

/// Whether events may be sent to an address.
pub fn check_address(address: IpAddr, rule: Rule) -> Result<(), Refused> {
    let kind = kind(address);
    let fine = match rule {
        Rule::Global => kind == Kind::Global,
        // Its networks are the operator's to know; what no front end ever has stays refused.
        Rule::Operator => !matches!(
            kind,
            Kind::LinkLocal | Kind::Metadata | Kind::Unspecified | Kind::Multicast | Kind::Reserved
        ),
    };
    if fine { Ok(()) } else { Err(Refused { address, kind }) }
}

/// What an address is, once everything that it hides is out.
pub fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(four) => kind_of_four(four),
        IpAddr::V6(six) => kind_of_six(six),
    }
}

/// Whether an address is of this machine, of its link or of a private network.
pub fn is_near(address: IpAddr) -> bool {
    matches!(kind(address), Kind::Loopback | Kind::Private | Kind::LinkLocal)
}

#[expect(clippy::match_same_arms, reason = "range by range, each with its own reason")]
fn kind_of_four(address: Ipv4Addr) -> Kind {
    match address.octets() {
        // Azure's stands among the addresses of the internet, Oracle's and Alibaba's do not.
        [169, 254, 169, 254 | 253 | 123]
        | [169, 254, 170, 2 | 23]
        | [168, 63, 129, 16]
        | [192, 0, 0, 192]
        | [100, 100, 100, 200] => Kind::Metadata,
        [0, ..] => Kind::Unspecified,
        [127, ..] => Kind::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Kind::Private,
        [100, 64..=127, ..] => Kind::Shared,
        [169, 254, ..] => Kind::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => {
            Kind::Documentation
        }
        // For protocols, and the relays of 6to4.
        [192, 0, 0, _] | [192, 88, 99, _] => Kind::Reserved,
        [224..=239, ..] => Kind::Multicast,
        [240..=255, ..] => Kind::Reserved,
        _ => Kind::Global,
    }
}

#[expect(clippy::match_same_arms, reason = "range by range, each with its own reason")]
fn kind_of_six(address: Ipv6Addr) -> Kind {
    let parts = address.segments();
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
        // IPv4-compatible, IPv4-mapped, NAT64.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            kind_of_four(four(high, low))
        }
        // Teredo names its server, and its client with every bit turned round.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            worse(kind_of_four(four(server_high, server_low)), kind_of_four(four(!high, !low)))
        }
        // 6to4.
        [0x2002, high, low, ..] => kind_of_four(four(high, low)),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => {
            Kind::Metadata
        }
        [0xfc00..=0xfdff, ..] => Kind::Private,
        [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
        // Site-local, given up long ago, and routed all the same where somebody still has it.
        [0xfec0..=0xfeff, ..] => Kind::Private,
        [0xff00..=0xffff, ..] => Kind::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x2001, 2, 0, ..] => Kind::Documentation,
        // The rest of what protocols have for themselves.
        [0x2001, 0..=0x01ff, ..] => Kind::Reserved,
        // ISATAP hides its IPv4 address in the lower half, whatever stands in the upper one.
        [0x2000..=0x3fff, _, _, _, 0 | 0x200, 0x5efe, high, low] => kind_of_four(four(high, low)),
        [0x2000..=0x3fff, ..] => Kind::Global,
        _ => Kind::Reserved,
    }
}

fn four(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

fn worse(one: Kind, other: Kind) -> Kind {
    if one == Kind::Global { other } else { one }
}

/// The receiver that a text names. The field is what its reader calls it: `url`, `FRONTEND_URL`.
pub fn check_url(field: &str, given: &str, rule: Rule) -> Result<Url, Failure> {
    let refuse = |rule: &str, remedy: &str| {
        Err(Failure::bad_input(format!("{field} {rule}")).remedy(remedy.to_owned()))
    };
    if given.len() > URL_MAX {
        return refuse(
            &format!("has at most {URL_MAX} characters; the one given has {}", given.len()),
            "give a shorter address",
        );
    }
    let example = match rule {
        Rule::Operator => "write it as http://localhost:3000 or https://app.example",
        Rule::Global => "write it as https://app.example/hooks",
    };
    let Ok(url) = Url::parse(given) else {
        let shown = text::clean(given, 60);
        return refuse(&format!("is the URL of a receiver; {shown:?} is none"), example);
    };
    match (url.scheme(), rule) {
        ("https", _) | ("http", Rule::Operator) => {}
        ("http", Rule::Global) => {
            return refuse(
                "begins with https://; plain HTTP is for the operator's own FRONTEND_URL alone",
                "give the receiver a certificate",
            );
        }
        _ => return refuse("begins with http:// or https://", example),
    }
    if !url.username().is_empty() || url.password().is_some() {
        // What stands there is a secret, and would be shown wherever the address is.
        return refuse(
            "holds no user and password",
            "leave them out: the signature tells the receiver who sent it",
        );
    }
    if url.fragment().is_some() {
        return refuse("has no part behind a #: it is never sent", "leave it out");
    }
    let Some(host) = url.host_str().filter(|_| url.port() != Some(0)) else {
        return refuse("names a host, and a port that can be connected to", example);
    };
    check_host(field, host, rule)?;
    Ok(url)
}

/// Refuses what shows before a name is looked up.
fn check_host(field: &str, host: &str, rule: Rule) -> Result<(), Failure> {
    let refused = if let Some(address) = literal(host) {
        check_address(address, rule).err().map(|it| it.kind)
    } else {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let is_here = name.rsplit('.').next() == Some("localhost");
        (is_here && rule == Rule::Global).then_some(Kind::Loopback)
    };
    let Some(kind) = refused else { return Ok(()) };
    let (wanted, remedy) = match rule {
        Rule::Operator => ("an address that can be connected to", "use 127.0.0.1 for this machine"),
        Rule::Global => (
            "an address of the internet",
            "name a host that the internet reaches; loopback and private addresses are for the \
             operator's own FRONTEND_URL alone",
        ),
    };
    Err(Failure::bad_input(format!(
        "{field} leads to {wanted}; {} is {kind}",
        text::clean(host, 60)
    ))
    .remedy(remedy))
}

/// The address that a URL's host is, where it is no name.
pub fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
