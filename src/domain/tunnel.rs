//! A tunnel that leads to a gateway over HTTPS, and the host names that it may have.
//!
//! Owns the rule for a name: what it says comes from outside, and reaches URLs, configurations and
//! name resolution. Refuses what is no plain DNS name, an address among it.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::text::clean;

/// What the host names of quick tunnels end in.
pub const QUICK_DOMAIN: &str = ".trycloudflare.com";
/// The longest name, in characters.
const MAX_LENGTH: usize = 253;
/// The longest part of one.
const MAX_LABEL: usize = 63;

/// What is known of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelFacts {
    /// The host name that leads to the gateway.
    pub host: String,
    /// Whether that was proven, and told.
    #[serde(default)]
    pub is_announced: bool,
}

impl TunnelFacts {
    /// One that was found just now.
    pub fn found(host: String) -> Self {
        Self { host, is_announced: false }
    }

    /// The origin of the gateway's page through it.
    pub fn origin(&self) -> String {
        format!("https://{}", self.host)
    }
}

/// A host name as it goes into a URL: in small letters, of two labels at least.
pub fn host_name(text: &str) -> Result<String, Failure> {
    let name = text.to_ascii_lowercase();
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = name.len() <= MAX_LENGTH
        && name.contains('.')
        && name.split('.').all(label)
        // Or it would be an address.
        && last.bytes().any(|c| c.is_ascii_alphabetic());
    if is_name {
        return Ok(name);
    }
    Err(Failure::bad_input(format!(
        "{:?} is no host name such as gateway.example.com: letters, digits and hyphens in parts of \
         1 to {MAX_LABEL}, at least two of them, with dots between",
        clean(text, 80)
    )))
}

/// The host name of a quick tunnel, as the tunnel's own program says it: one label, and the domain
/// of quick tunnels.
pub fn quick_host(text: &str) -> Result<String, Failure> {
    let name = host_name(text.trim())?;
    match name.strip_suffix(QUICK_DOMAIN) {
        Some(label) if !label.contains('.') => Ok(name),
        _ => Err(Failure::failed(format!(
            "{:?} is no host name of a quick tunnel (NAME{QUICK_DOMAIN})",
            clean(text, 80)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_a_plain_dns_name() {
        for good in ["a.example", "x-1.a.example.com", "Gateway.Example.COM", "1.2.3.com"] {
            assert_eq!(host_name(good).expect("a name"), good.to_ascii_lowercase());
        }
        let long = format!("{}.com", "a".repeat(64));
        let longer = format!("{}com", "a.".repeat(130));
        for bad in [
            "",
            "localhost",
            "203.0.113.7",
            "1.2",
            "a..b",
            ".a.b",
            "a.b.",
            "-a.b",
            "a-.b",
            "a_b.c",
            "a.b/c",
            "a.b:443",
            "a.b@c.d",
            "ä.example",
            "a .b",
            "a.b\n",
            "[::1]",
            "*.a.b",
            &long,
            &longer,
        ] {
            host_name(bad).expect_err(bad);
        }
    }

    #[test]
    fn a_quick_tunnels_name_is_one_label_of_its_domain() {
        let name = "olive-wide-pear-sun.trycloudflare.com";
        assert_eq!(quick_host(name).expect("one"), name);
        for bad in [
            "trycloudflare.com",
            ".trycloudflare.com",
            "a.b.trycloudflare.com",
            "a.trycloudflare.com.evil.example",
            "a-trycloudflare.com",
            "evil.example",
            "a.trycloudflare.com/x",
            "api.trycloudflare.com\u{1b}[2J",
        ] {
            quick_host(bad).expect_err(bad);
        }
    }
}
