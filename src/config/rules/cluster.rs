//! Rules of what is said about gateways on clusters.

use std::net::IpAddr;

use crate::domain::{Failure, text};

/// The widest range of IPv4 and of IPv6 that one names as a proxy's, by its bits.
const WIDEST: (u32, u32) = (8, 32);

/// Addresses and ranges of proxies.
pub fn proxies(given: &str) -> Result<Vec<String>, Failure> {
    given.split(',').map(str::trim).filter(|it| !it.is_empty()).map(proxy).collect()
}

fn proxy(given: &str) -> Result<String, Failure> {
    let refused = |why: &str| {
        Failure::bad_input(format!(
            "OPENCLAW_PIPELINE_INGRESS_PROXIES: {:?} {why}",
            text::clean(given, 60)
        ))
        .remedy("give addresses or ranges, such as 10.42.0.7 or 10.42.0.0/16, separated by commas")
    };
    let (address, bits) = match given.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (given, None),
    };
    let address: IpAddr =
        address.parse().map_err(|_| refused("is neither an address nor a range of addresses"))?;
    let (number, length, widest) = match address {
        IpAddr::V4(it) => (u128::from(u32::from(it)) << 96, 32, WIDEST.0),
        IpAddr::V6(it) => (u128::from(it), 128, WIDEST.1),
    };
    let Some(bits) = bits else { return Ok(address.to_string()) };
    let bits: u32 = bits.parse().map_err(|_| refused("has no length"))?;
    if bits > length {
        return Err(refused("is longer than an address"));
    }
    if bits < widest {
        return Err(refused(&format!(
            "is wider than a /{widest}: whoever comes from there may claim any address"
        )));
    }
    if bits < 128 && number << bits != 0 {
        return Err(refused("has more in it than the beginning of a range"));
    }
    Ok(format!("{address}/{bits}"))
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
            ("10.42.0.7/16", "has more in it"),
            ("fd00::1/48", "has more in it"),
            ("10.42.0.0/33", "is longer than an address"),
            ("10.42.0.0/x", "has no length"),
            ("a.example", "is neither"),
            ("10.42.0.7;x", "is neither"),
        ] {
            let failure = proxies(bad).expect_err(bad);
            assert!(failure.message.contains(why), "{bad}: {}", failure.message);
        }
    }
}
