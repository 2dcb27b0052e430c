//! The address that this machine has on the internet.
//!
//! Owns the one question, and the check of the answer: what comes of it opens a firewall for one
//! address. Refuses to stand in for an answer: whoever cannot be told apart from the world is not
//! let in as the world. No proxy is asked, because SSH will not go through one.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::Url;

use super::http::{Http, Request};
use crate::domain::Failure;

/// Who is asked.
const ASKED: &str = "https://checkip.amazonaws.com/";
/// How long the answer may take.
const WITHIN: Duration = Duration::from_secs(10);

/// This machine's address as the internet sees it. `asked` replaces who is asked.
pub async fn public_address(asked: Option<&str>) -> Result<Ipv4Addr, Failure> {
    let url: Url = asked.unwrap_or(ASKED).parse().map_err(|_| {
        Failure::bad_input("the address that tells this machine's own is no URL")
            .remedy("correct it, or leave it out")
    })?;
    let reply = Http::default().send_patiently(&Request::get(url, WITHIN)).await;
    let reply = reply.map_err(|trouble| unknown(&trouble.failure.message))?;
    if !reply.is_success() {
        return Err(unknown(&format!("the answer is {}", reply.status)));
    }
    let address: Ipv4Addr =
        reply.body.trim().parse().map_err(|_| unknown("the answer is no IPv4 address"))?;
    if !is_global(address) {
        return Err(unknown(&format!("{address} is no address of the internet")));
    }
    Ok(address)
}

fn unknown(why: &str) -> Failure {
    Failure::prerequisite(format!("this machine's own address on the internet is not known: {why}"))
        .remedy(
            "name the addresses that SSH is to be open for, for example 203.0.113.7/32 for one of \
             them",
        )
}

/// Whether an address is one machine's on the internet, or on one that is simulated: there the
/// addresses for documentation are used, which nobody is told of by the real one.
fn is_global(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [192, 0, 0, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
    )
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[tokio::test]
    async fn only_an_address_of_the_internet_is_taken() {
        let fake = Fake::answering([(200, "8.8.4.4\n")]).await;
        let address = public_address(Some(&fake.url)).await.expect("an address");
        assert_eq!(address, Ipv4Addr::new(8, 8, 4, 4));
        for (status, body) in [
            (200, "10.0.0.1"),
            (200, "0.0.0.0"),
            (200, "0.0.0.0/0"),
            (200, "192.168.1.1"),
            (200, "2606:4700::1"),
            (200, "<html>"),
            (200, ""),
            (503, "8.8.4.4"),
        ] {
            let fake = Fake::answering([(status, body)]).await;
            let failure = public_address(Some(&fake.url)).await.expect_err(body);
            assert!(failure.message.contains("not known"), "{failure}");
            let remedy = failure.remedy.expect("one");
            assert!(!remedy.contains("0.0.0.0"), "{remedy}");
        }
    }

    #[test]
    fn what_is_nobodys_or_near_is_not_global() {
        for near in ["100.64.0.1", "169.254.1.1", "172.31.0.1", "192.0.0.1", "240.0.0.1"] {
            assert!(!is_global(near.parse().expect("an address")), "{near}");
        }
        for far in
            ["1.1.1.1", "100.128.0.1", "172.32.0.1", "192.0.1.1", "203.0.113.1", "223.255.255.1"]
        {
            assert!(is_global(far.parse().expect("an address")), "{far}");
        }
    }
}
