//! The addresses and the name that other machines reach this one by.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;

/// Every IPv4 address of this machine's interfaces but loopback. Empty where the kernel does not
/// say.
pub fn addresses() -> Vec<Ipv4Addr> {
    local_addresses(&fs::read_to_string("/proc/net/fib_trie").unwrap_or_default())
}

/// The machine's name as a browser would spell it, if it has one that can stand in an address.
pub fn host_name() -> Option<String> {
    host(&fs::read_to_string("/proc/sys/kernel/hostname").ok()?)
}

/// The addresses in the kernel's routing trie that are this machine's own: a line with the address,
/// and behind it one that says what it is.
fn local_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut last = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last.filter(|address| !address.is_loopback()));
        }
    }
    found.into_iter().collect()
}

fn host(text: &str) -> Option<String> {
    let name = text.trim().to_ascii_lowercase();
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    let usable = name.len() <= 253 && name.split('.').all(label);
    (usable && name != "localhost" && name != "(none)").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_addresses_are_read_once_each() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.0\n        \
                    /24 link UNICAST\n     |-- 192.0.2.2\n        /32 host LOCAL\n     \
                    |-- 192.0.2.255\n        /32 link BROADCAST\nLocal:\n     |-- 198.51.100.7\n\
                    /32 link UNICAST\n        /32 host LOCAL\n     |-- 192.0.2.2\n        \
                    /32 host LOCAL\n";
        let expected = [[192, 0, 2, 2], [198, 51, 100, 7]].map(Ipv4Addr::from);
        assert_eq!(local_addresses(trie), expected);
        assert_eq!(local_addresses(""), [] as [Ipv4Addr; 0]);
        assert!(addresses().iter().all(|address| !address.is_loopback()));
    }

    #[test]
    fn a_name_is_one_that_can_stand_in_an_address() {
        assert_eq!(host("My-Laptop\n").as_deref(), Some("my-laptop"));
        assert_eq!(host("a.example\n").as_deref(), Some("a.example"));
        for none in ["", "localhost\n", "(none)\n", "a b", "a/b", "a..b", "ä"] {
            assert_eq!(host(none), None, "{none}");
        }
    }
}
