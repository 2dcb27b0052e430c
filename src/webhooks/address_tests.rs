//! The address rule, range by range, and for every address whatever hides it.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
}

#[test]
fn every_range_is_what_it_is() {
    let ranges: [(Kind, &[&str]); 10] = [
        (
            Kind::Global,
            &[
                "1.1.1.1",
                "8.8.8.8",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "169.253.255.255",
                "169.255.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "192.0.1.0",
                "192.0.3.0",
                "192.167.255.255",
                "192.169.0.0",
                "198.17.255.255",
                "198.20.0.0",
                "223.255.255.255",
                "168.63.129.15",
                "2606:4700::1111",
                "2001:200::1",
                "2a00:1450:4001::1",
                "3ffe::1",
                "3fff:1000::1",
                "2001:db9::1",
                "::ffff:8.8.8.8",
                "64:ff9b::808:808",
                "2002:808:808::1",
                "::8.8.8.8",
            ],
        ),
        (
            Kind::Loopback,
            &[
                "127.0.0.1",
                "127.255.255.255",
                "::1",
                "::ffff:127.0.0.1",
                "::127.0.0.1",
                "64:ff9b::7f00:1",
                "2002:7f00:1::",
                "2001:0:808:808:0:0:80ff:fffe",
                "2001:0:7f00:1::f7f7:f7f7",
                "2606:4700::5efe:7f00:1",
                "2606:4700::200:5efe:7f00:1",
            ],
        ),
        (
            Kind::Private,
            &[
                "10.0.0.0",
                "10.255.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.168.0.0",
                "192.168.255.255",
                "fc00::1",
                "fdff::1",
                "fec0::1",
                "::ffff:10.0.0.1",
                "64:ff9b::a00:1",
                "2002:a00:1::",
            ],
        ),
        (Kind::Shared, &["100.64.0.0", "100.127.255.255", "::ffff:100.64.0.1"]),
        (Kind::LinkLocal, &["169.254.0.0", "169.254.255.255", "fe80::1", "febf::1"]),
        (
            Kind::Metadata,
            &[
                "169.254.169.254",
                "169.254.170.2",
                "168.63.129.16",
                "100.100.100.200",
                "192.0.0.192",
                "fd00:ec2::254",
                "fd20:ce::254",
                "::ffff:169.254.169.254",
                "64:ff9b::a9fe:a9fe",
                "2002:a9fe:a9fe::",
            ],
        ),
        (Kind::Unspecified, &["0.0.0.0", "0.255.255.255", "::", "::ffff:0.0.0.0"]),
        (Kind::Multicast, &["224.0.0.0", "239.255.255.255", "ff02::1", "ffff::"]),
        (
            Kind::Documentation,
            &[
                "192.0.2.0",
                "198.51.100.255",
                "203.0.113.7",
                "198.18.0.0",
                "198.19.255.255",
                "2001:db8::1",
                "3fff::1",
                "3fff:fff::1",
                "2001:2::1",
            ],
        ),
        (
            Kind::Reserved,
            &[
                "192.0.0.0",
                "192.0.0.255",
                "192.88.99.1",
                "240.0.0.0",
                "255.255.255.255",
                "64:ff9b:1::1",
                "64:ff9b:1:7f00:0:100::",
                "100::1",
                "2001:10::1",
                "2001:20::1",
                "2001:1::1",
                "5f00::1",
                "::ffff:0:7f00:1",
                "1::",
                "4000::1",
                "2001:1ff::1",
            ],
        ),
    ];
    for (expected, addresses) in ranges {
        for address in addresses {
            assert_eq!(kind(parse(address)), expected, "{address}");
        }
    }
}

#[test]
fn the_operator_has_networks_of_its_own_and_others_do_not() {
    for own in ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "fd12::1", "100.64.0.1", "8.8.8.8"] {
        assert_eq!(check_address(parse(own), Rule::Operator), Ok(()), "{own}");
        assert_eq!(check_address(parse(own), Rule::Global).is_ok(), own == "8.8.8.8", "{own}");
    }
    for nobody in ["0.0.0.0", "169.254.169.254", "fe80::1", "224.0.0.1", "255.255.255.255"] {
        assert!(check_address(parse(nobody), Rule::Operator).is_err(), "{nobody}");
    }
    let refused = check_address(parse("10.0.0.1"), Rule::Global).expect_err("private");
    let said = "10.0.0.1 is a private address, where events are not sent";
    assert_eq!(refused.to_string(), said);
}

#[test]
fn urls_of_receivers() {
    for fine in ["https://app.example", "https://app.example:8443/a/b?c=d", "https://127.example/"]
    {
        check_url("url", fine, Rule::Global).expect(fine);
        check_url("url", fine, Rule::Operator).expect(fine);
    }
    for own in ["http://localhost:3000", "http://127.0.0.1:1", "http://[::1]:3000/x"] {
        check_url("url", own, Rule::Operator).expect(own);
    }
    for (given, says) in [
        ("http://app.example", "begins with https"),
        ("ftp://app.example", "begins with http:// or https://"),
        ("file:///etc/passwd", "begins with http:// or https://"),
        ("app.example", "is the URL of a receiver"),
        ("", "is the URL of a receiver"),
        ("https://", "is the URL of a receiver"),
        ("https://user@app.example", "holds no user and password"),
        ("https://:s3cr3t@app.example", "holds no user and password"),
        ("https://app.example/#part", "behind a #"),
        ("https://app.example:0/", "a port that can be connected to"),
        ("https://app.example:70000/", "is the URL of a receiver"),
    ] {
        refuses(given, says);
    }
    let long = format!("https://app.example/{}", "x".repeat(URL_MAX));
    refuses(&long, "has at most 2048 characters");
}

#[test]
fn hosts_that_give_themselves_away() {
    for (host, says) in [
        ("localhost", "is a loopback address"),
        ("x.LocalHost.", "is a loopback address"),
        ("127.1", "is a loopback address"),
        ("0x7f000001", "is a loopback address"),
        ("2130706433", "is a loopback address"),
        ("0177.0.0.1", "is a loopback address"),
        ("[::ffff:7f00:1]", "is a loopback address"),
        ("10.0.0.1", "is a private address"),
        ("169.254.169.254", "is a cloud's metadata service"),
        ("[fd00:ec2::254]", "is a cloud's metadata service"),
    ] {
        refuses(&format!("https://{host}/"), says);
    }
    check_url("url", &format!("https://{}/", "8.8.8.8"), Rule::Global).expect("of the internet");
}

fn refuses(given: &str, says: &str) {
    let failure = check_url("url", given, Rule::Global).expect_err(given);
    assert!(failure.message.starts_with("url "), "{failure}");
    assert!(failure.message.contains(says), "{given}: {failure}");
    assert!(failure.remedy.is_some(), "{given}");
    assert!(!failure.message.contains("s3cr3t"), "{failure}");
    assert!(failure.message.len() < 300, "bounded: {failure}");
}

/// Every way to hide an IPv4 address in an IPv6 one.
fn disguises(address: Ipv4Addr) -> [Ipv6Addr; 8] {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    [
        address.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5),
        Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low),
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !0x0808, !0x0808),
        Ipv6Addr::new(0x2606, 1, 2, 3, 0, 0x5efe, high, low),
        Ipv6Addr::new(0x2606, 1, 2, 3, 0x200, 0x5efe, high, low),
    ]
}

#[test]
fn a_proxy_is_near() {
    for near in ["127.0.0.1", "::1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "fd00::1", "fe80::1"]
    {
        assert!(is_near(near.parse().expect("an address")), "{near}");
    }
    for far in ["203.0.113.9", "8.8.8.8", "100.64.0.1", "169.254.169.254", "2606:4700::1"] {
        assert!(!is_near(far.parse().expect("an address")), "{far}");
    }
}

proptest! {
    #[test]
    fn no_disguise_helps(bits: u32) {
        let address = Ipv4Addr::from_bits(bits);
        let bare = check_address(address.into(), Rule::Global).is_ok();
        for disguise in disguises(address) {
            // Two of the disguises are special addresses of their own where little hides in them.
            let itself = disguise.is_unspecified() || disguise.is_loopback();
            let hidden = check_address(disguise.into(), Rule::Global).is_ok();
            prop_assert_eq!(hidden, bare && !itself, "{} as {}", address, disguise);
        }
    }

    #[test]
    fn what_the_standard_library_calls_special_is_never_global(bits: u32) {
        let four = Ipv4Addr::from_bits(bits);
        let special = four.is_private() || four.is_loopback() || four.is_link_local()
            || four.is_broadcast() || four.is_documentation() || four.is_multicast()
            || four.is_unspecified();
        prop_assert!(!special || kind(four.into()) != Kind::Global, "{}", four);
    }

    #[test]
    fn only_what_is_given_out_is_global(bits: u128) {
        let six = Ipv6Addr::from_bits(bits);
        let first = six.segments()[0];
        let outside = !(0x2000..=0x3fff).contains(&first) && first != 0 && first != 0x64;
        let special = six.is_unique_local() || six.is_unicast_link_local() || six.is_multicast();
        prop_assert!(!(outside || special) || kind(six.into()) != Kind::Global, "{}", six);
    }

    #[test]
    fn no_text_makes_the_reading_panic(text in "\\PC{0,80}") {
        for rule in [Rule::Operator, Rule::Global] {
            if let Err(failure) = check_url("url", &text, rule) {
                prop_assert!(failure.message.len() < 600);
            }
        }
    }
}
