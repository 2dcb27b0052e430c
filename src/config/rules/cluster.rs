//! Rules of what is said about gateways on clusters.

use super::range::{Range, members};
use crate::domain::{Failure, text};

/// The widest range of IPv4 and of IPv6 that one names as a proxy's, by its bits.
const WIDEST: (u32, u32) = (8, 32);

/// Addresses and ranges of proxies.
pub fn proxies(given: &str) -> Result<Vec<String>, Failure> {
    members(given).map(proxy).collect()
}

fn proxy(given: &str) -> Result<String, Failure> {
    let refused = |why: String| {
        Failure::bad_input(format!(
            "OPENCLAW_PIPELINE_INGRESS_PROXIES: {:?} {why}",
            text::clean(given, 60)
        ))
        .remedy("give addresses or ranges, such as 10.42.0.7 or 10.42.0.0/16, separated by commas")
    };
    let Range { first, bits } = Range::of(given).map_err(refused)?;
    let Some(bits) = bits else { return Ok(first.to_string()) };
    let widest = if first.is_ipv4() { WIDEST.0 } else { WIDEST.1 };
    if bits < widest {
        return Err(refused(format!(
            "is wider than a /{widest}: whoever comes from there may claim any address"
        )));
    }
    Ok(format!("{first}/{bits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_addresses_and_ranges_that_are_not_everybody() {
        let good = "10.42.0.7, 10.42.0.0/16,fd00::/48 ,::1,10.0.0.1/32";
        let named = ["10.42.0.7", "10.42.0.0/16", "fd00::/48", "::1", "10.0.0.1/32"];
        assert_eq!(proxies(good).expect("good"), named);
        for (bad, why) in [
            ("0.0.0.0/0", "is wider than a /8"),
            ("::/0", "is wider than a /32"),
            ("10.42.0.7/16", "does not begin a range"),
            ("fd00::1/48", "does not begin a range"),
            ("10.42.0.0/33", "has no length"),
            ("10.42.0.0/x", "has no length"),
            ("a.example", "is neither"),
            ("10.42.0.7;x", "is neither"),
        ] {
            let failure = proxies(bad).expect_err(bad);
            assert!(failure.message.contains(why), "{bad}: {}", failure.message);
        }
    }
}
