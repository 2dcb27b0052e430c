//! Ranges of addresses, as they are written.
//!
//! Owns how a list of them is taken apart, and what is no range. Refuses to judge how wide one may
//! be: who names them knows whom they let in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, or the range that begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// Its first address.
    pub(super) first: IpAddr,
    /// The length of what its addresses begin with, in bits; `None` for an address alone.
    pub(super) bits: Option<u32>,
}

/// The members of a list.
pub(super) fn members(given: &str) -> impl Iterator<Item = &str> {
    given.split(',').map(str::trim).filter(|it| !it.is_empty())
}

impl Range {
    /// Takes one apart.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with it.
    pub(super) fn of(given: &str) -> Result<Self, String> {
        let (address, bits) = match given.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (given, None),
        };
        let first: IpAddr =
            address.parse().map_err(|_| "is neither an address nor a range of addresses")?;
        let Some(bits) = bits else { return Ok(Self { first, bits: None }) };
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits
            .parse()
            .ok()
            .filter(|bits| *bits <= longest)
            .ok_or_else(|| format!("has no length from 0 to {longest}"))?;
        let begins = match first {
            IpAddr::V4(it) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or_default();
                IpAddr::from(Ipv4Addr::from_bits(it.to_bits() & mask))
            }
            IpAddr::V6(it) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or_default();
                IpAddr::from(Ipv6Addr::from_bits(it.to_bits() & mask))
            }
        };
        if begins != first {
            return Err(format!("does not begin a range; {begins}/{bits} does"));
        }
        Ok(Self { first, bits: Some(bits) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_an_address_or_what_addresses_begin_with() {
        for (given, first, bits) in [
            ("10.42.0.7", "10.42.0.7", None),
            ("10.42.0.0/16", "10.42.0.0", Some(16)),
            ("0.0.0.0/0", "0.0.0.0", Some(0)),
            ("10.0.0.1/32", "10.0.0.1", Some(32)),
            ("fd00::/48", "fd00::", Some(48)),
            ("::/0", "::", Some(0)),
            ("::1/128", "::1", Some(128)),
        ] {
            let first = first.parse().expect("an address");
            assert_eq!(Range::of(given), Ok(Range { first, bits }), "{given}");
        }
        for (given, why) in [
            ("", "is neither an address"),
            ("a.example", "is neither an address"),
            ("10.42.0.7;x", "is neither an address"),
            ("10.42.0.0/33", "has no length from 0 to 32"),
            ("10.42.0.0/x", "has no length from 0 to 32"),
            ("10.42.0.0/", "has no length from 0 to 32"),
            ("fd00::/129", "has no length from 0 to 128"),
            ("10.42.0.7/16", "does not begin a range; 10.42.0.0/16 does"),
            ("10.42.0.7/0", "does not begin a range; 0.0.0.0/0 does"),
            ("fd00::1/48", "does not begin a range; fd00::/48 does"),
        ] {
            assert!(Range::of(given).is_err_and(|it| it.starts_with(why)), "{given}");
        }
    }

    #[test]
    fn a_list_may_have_blanks_and_nothing_in_it() {
        assert_eq!(members(" a, b,,c ,").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(members(" ,").count(), 0);
    }
}
