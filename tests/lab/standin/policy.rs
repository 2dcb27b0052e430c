//! Who is let in with what: the real gateway's rules as pure functions.
//!
//! Owns the origin check, the notion of a local peer, and which scopes imply which. Refuses to
//! know sockets, files and pairing records; `connect.rs` puts the rules in order.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::Value;

/// What is known of a connection before its first frame.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address that the connection comes from.
    pub address: IpAddr,
    /// The `Host` header.
    pub host: String,
    /// The `Origin` header, empty when there is none.
    pub origin: String,
}

impl Peer {
    /// A peer on the gateway's own loopback. (Forwarding headers never come this far.)
    pub fn is_local(&self) -> bool {
        self.address.to_canonical().is_loopback()
    }

    /// The address as pairing records show it: not at all for a local peer.
    pub fn reported_ip(&self) -> Option<String> {
        (!self.is_local()).then(|| self.address.to_canonical().to_string())
    }
}

/// Whose request it is: who connects, or whom a proxy names that the configuration trusts. `None`
/// where a proxy is seen and nobody knows whose it is.
pub fn client(headers: &HashMap<String, String>, peer: IpAddr, config: &Value) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    let trusted = config.pointer("/gateway/trustedProxies").and_then(Value::as_array);
    let trusted: Vec<&str> = trusted.into_iter().flatten().filter_map(Value::as_str).collect();
    let is_trusted = |address: IpAddr| trusted.iter().any(|it| is_within(address, it));
    let is_forwarded = headers
        .keys()
        .any(|name| name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-"));
    if !is_trusted(peer) {
        return (!is_forwarded).then_some(peer);
    }
    // From the right: what stands further left, the client may have said itself.
    let chain = headers.get("x-forwarded-for").map(String::as_str).unwrap_or_default();
    let mut hops = chain.rsplit(',').filter_map(|hop| hop.trim().parse::<IpAddr>().ok());
    hops.find(|hop| !hop.is_loopback() && !is_trusted(*hop))
}

/// Whether an address is this one, or in this range.
fn is_within(address: IpAddr, named: &str) -> bool {
    let (first, bits) = match named.split_once('/') {
        Some((first, bits)) => (first, bits.parse().ok()),
        None => (named, None),
    };
    match (address, first.parse()) {
        (IpAddr::V4(it), Ok(IpAddr::V4(first))) => {
            let length = 32_u32.saturating_sub(bits.unwrap_or(32));
            let of = |it: std::net::Ipv4Addr| u64::from(u32::from(it)) >> length;
            of(it) == of(first)
        }
        (it, Ok(first)) => it == first,
        _ => false,
    }
}

/// Why an origin is not let in.
pub fn origin_failure(peer: &Peer, config: &Value) -> Option<&'static str> {
    let Some((origin, host)) = parse_origin(&peer.origin) else {
        return Some("origin missing or invalid");
    };
    let allowed = config.pointer("/gateway/controlUi/allowedOrigins").and_then(Value::as_array);
    let listed = allowed
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|entry| entry.trim().to_lowercase())
        .any(|entry| entry == "*" || entry == origin);
    let same_host = !peer.host.is_empty() && host == peer.host.to_lowercase();
    let private_same_host = same_host && is_private_host(host_name(&host), peer.is_local());
    let local_loopback = peer.is_local() && is_loopback_host(host_name(&host));
    (!listed && !private_same_host && !local_loopback).then_some("origin not allowed")
}

/// Whether the page was served by this gateway's own host.
pub fn is_own_page(peer: &Peer) -> bool {
    parse_origin(&peer.origin).is_some_and(|(_, host)| host == peer.host.to_lowercase())
}

/// Splits `scheme://host[:port][/]` into the normal origin and its host; default ports vanish.
fn parse_origin(origin: &str) -> Option<(String, String)> {
    let trimmed = origin.trim().to_lowercase();
    let (scheme, rest) = trimmed.split_once("://")?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let scheme_ok = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    if !scheme_ok || host.is_empty() || host.contains(['/', '?', '#', '\\', '@', ' ']) {
        return None;
    }
    let default_port = match scheme {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => "\0",
    };
    let host = host.strip_suffix(default_port).unwrap_or(host);
    Some((format!("{scheme}://{host}"), host.to_owned()))
}

fn host_name(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

fn is_loopback_host(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_private_host(name: &str, local: bool) -> bool {
    if is_loopback_host(name) {
        return local;
    }
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_private() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_unique_local() || address.is_unicast_link_local(),
        Err(_) => {
            let last = name.rsplit('.').next().unwrap_or_default();
            name.contains('.') && (last == "local" || name.ends_with(".ts.net"))
        }
    }
}

/// Whether the scopes held cover the one that is asked for.
pub fn scope_covered(scope: &str, held: &[String]) -> bool {
    let holds = |name: &str| held.iter().any(|scope| scope == name);
    let implied_by_write = matches!(scope, "operator.read" | "operator.talk");
    scope.starts_with("operator.")
        && (holds(scope)
            || holds("operator.admin")
            || (implied_by_write && holds("operator.write")))
}

/// The first of the wanted scopes that the ones held do not cover.
pub fn missing_scope<'a>(wanted: &'a [String], held: &[String]) -> Option<&'a str> {
    wanted.iter().map(String::as_str).find(|scope| !scope_covered(scope, held))
}
