//! Rules of what is said about gateways on clusters.

use std::net::IpAddr;

use super::members;
use crate::domain::{Failure, text};

/// The addresses of proxies. Whoever comes from one is believed, whatever address it says that a browser
/// has: a range would be whoever gets an address in it.
pub fn proxies(given: &str) -> Result<Vec<String>, Failure> {
    members(given).map(proxy).collect()
}

fn proxy(given: &str) -> Result<String, Failure> {
    let refused = |why: &str, remedy: &str| {
        Failure::bad_input(format!(
            "OPENCLAW_PIPELINE_INGRESS_PROXIES: {:?} {why}",
            text::clean(given, 60)
        ))
        .remedy(remedy)
    };
    if given.contains('/') {
        return Err(refused(
            "is a range, and whoever comes from a proxy's address may claim any other",
            "name each proxy's own address, such as 10.0.3.17; on the nodes' own network they stay the \
             same (docs/kubernetes.md)",
        ));
    }
    let address: Result<IpAddr, _> = given.parse();
    address.map(|it| it.to_string()).map_err(|_| {
        refused("is no address", "give addresses, such as 10.0.3.17, separated by commas")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_addresses_and_no_ranges() {
        let good = "10.42.0.7, fd00::7 ,::1,";
        assert_eq!(proxies(good).expect("good"), ["10.42.0.7", "fd00::7", "::1"]);
        for (bad, why) in [
            ("0.0.0.0/0", "is a range"),
            ("10.42.0.7/32", "is a range"),
            ("10.42.0.0/16", "is a range"),
            ("fd00::/64", "is a range"),
            ("10.42.0.7,a.example", "is no address"),
            ("10.42.0.7;x", "is no address"),
            ("10.42.0.256", "is no address"),
        ] {
            let failure = proxies(bad).expect_err(bad);
            assert!(failure.message.contains(why), "{bad}: {}", failure.message);
        }
    }
}
