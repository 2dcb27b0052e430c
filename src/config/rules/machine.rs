//! Rules of what is said about machines in a cloud.

use std::time::Duration;

use super::{members, refused, span};
use crate::domain::{Failure, TargetKind, text};

/// The longest that a machine is waited for.
const BOOT_MAX: Duration = Duration::from_secs(3600);

/// A region.
pub fn region(text: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = text.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase());
    let is_one = match parts.as_slice() {
        [first, middle @ .., last] => {
            first.len() == 2
                && letters(first)
                && !middle.is_empty()
                && middle.iter().all(letters)
                && last.len() == 1
                && last.bytes().all(|c| c.is_ascii_digit())
        }
        _ => false,
    };
    if is_one {
        return Ok(text.to_owned());
    }
    Err(Failure::bad_input(format!(
        "AWS_REGION is a region's name, such as us-west-2; {:?} is none",
        text::clean(text, 40)
    ))
    .remedy("name a region, such as us-west-2 or eu-central-1"))
}

/// An instance type or a bundle.
pub fn size(text: &str) -> Result<String, Failure> {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
    let begins = text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if (1..=40).contains(&text.len()) && begins && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(Failure::bad_input(format!(
        "a size is an instance type, such as t3.medium, or a bundle, such as medium_3_0; {:?} is \
         neither",
        text::clean(text, 40)
    ))
    .remedy("name an instance type or a bundle"))
}

/// What a gateway's port on a machine cannot be, and whose it is. The modules refuse the same.
const TAKEN: [(u16, &str); 2] = [(22, "SSH"), (4000, "the pipeline server")];

/// The port of a gateway on a machine of its own.
pub fn port_of_machine(port: u16) -> Result<u16, Failure> {
    match TAKEN.iter().find(|(taken, _)| *taken == port) {
        None => Ok(port),
        Some((_, whose)) => Err(Failure::bad_input(format!(
            "GATEWAY_PORT is {port}, which is the port of {whose} on a machine in the cloud"
        ))
        .remedy("name another port, or none: a machine of its own has 18789 free")),
    }
}

/// IPv4 ranges that may reach SSH.
pub fn ssh_cidrs(text: &str) -> Result<Vec<String>, Failure> {
    ranges("OPENCLAW_PIPELINE_SSH_CIDR", text, 8)
}

/// IPv4 ranges that may reach the API of a server on a machine of its own: everybody, where that is
/// said.
pub fn server_cidrs(text: &str) -> Result<Vec<String>, Failure> {
    ranges("OPENCLAW_PIPELINE_SERVER_CIDR", text, 0)
}

/// IPv4 ranges of at least so many bits.
fn ranges(variable: &str, text: &str, least: u32) -> Result<Vec<String>, Failure> {
    let refused = |given: &str, why: &str| {
        Failure::bad_input(format!("{variable}: {:?} {why}", text::clean(given, 60)))
            .remedy("give IPv4 ranges, such as 203.0.113.7/32, separated by commas")
    };
    let mut ranges = Vec::new();
    for given in members(text) {
        let (address, bits) = given.split_once('/').unwrap_or((given, "32"));
        let address: std::net::Ipv4Addr =
            address.parse().map_err(|_| refused(given, "is no IPv4 range"))?;
        let bits: u32 = bits
            .parse()
            .map_err(|_| refused(given, &format!("has no length from {least} to 32")))?;
        if bits > 32 {
            return Err(refused(given, "is longer than an address"));
        }
        if bits < least {
            return Err(refused(
                given,
                "is not narrower than a /8: SSH is never open to the world",
            ));
        }
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or_default();
        if u32::from(address) & !mask != 0 {
            let first = std::net::Ipv4Addr::from(u32::from(address) & mask);
            return Err(refused(given, &format!("does not begin a range; {first}/{bits} does")));
        }
        ranges.push(format!("{address}/{bits}"));
    }
    if ranges.is_empty() {
        return Err(refused(text, "names no range"));
    }
    Ok(ranges)
}

/// A program: a name in `PATH`, or a path.
pub fn program(text: &str) -> Result<String, Failure> {
    if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
        return Err(Failure::bad_input("TF_BIN names a program: a name in PATH, or a path")
            .remedy("set TF_BIN to terraform, to tofu, or to a path"));
    }
    Ok(text.to_owned())
}

/// A checkout of the project: a directory that is there.
pub fn checkout(dir: &std::path::Path) -> Result<(), Failure> {
    if dir.is_dir() {
        return Ok(());
    }
    Err(Failure::bad_input(format!(
        "PIPELINE_DIR is a checkout of the project; {:?} is no directory",
        text::clean(&dir.display().to_string(), 200)
    ))
    .remedy(
        "set PIPELINE_DIR to a directory with docker-compose.yml, terraform and k8s in it, or take it \
         away",
    ))
}

/// The target whose module a folder is.
pub fn module_target(text: &str) -> Result<TargetKind, Failure> {
    let folder = std::path::Path::new(text).file_name().and_then(std::ffi::OsStr::to_str);
    match folder {
        Some("ec2") => Ok(TargetKind::Ec2),
        Some("lightsail") => Ok(TargetKind::Lightsail),
        _ => Err(Failure::bad_input(format!(
            "TF_DIR is terraform/ec2 or terraform/lightsail; {:?} is neither",
            text::clean(text, 60)
        ))
        .remedy("set TF_DIR to one of them, or take it away")),
    }
}

/// How long a new machine may take until SSH lets in.
pub fn boot_within(given: &str) -> Result<Duration, Failure> {
    span(given).filter(|it| *it <= BOOT_MAX).ok_or_else(|| {
        refused(
            "OPENCLAW_PIPELINE_BOOT_TIMEOUT",
            "seconds, or a number with s, m or h behind it, from 1s to 1h",
            given,
            "leave it out for 10m",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::all_refused;
    use super::*;

    #[test]
    fn the_ports_that_a_module_refuses_are_refused() {
        for port in [1, 21, 23, 80, 443, 3999, 18789, 65535] {
            assert_eq!(port_of_machine(port).expect("a port"), port);
        }
        let taken = TAKEN.map(|(port, _)| port);
        for port in taken {
            let failure = port_of_machine(port).expect_err("taken");
            assert!(failure.message.contains(&format!("GATEWAY_PORT is {port},")), "{failure}");
        }
        for module in ["ec2", "lightsail"] {
            let path = format!("{}/terraform/{module}/variables.tf", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).expect("the module's variables");
            assert!(text.contains(&format!("!contains({taken:?}, var.gateway_port)")), "{module}");
        }
    }

    #[test]
    fn how_long_a_machine_may_take() {
        for (given, seconds) in [("20", 20), ("90s", 90), ("10m", 600), ("1H", 3600)] {
            assert_eq!(boot_within(given).expect(given), Duration::from_secs(seconds));
        }
        let odd = ["", "0", "61m", "2h", "1d", "-1m", "m", "1m30s"];
        all_refused("OPENCLAW_PIPELINE_BOOT_TIMEOUT", boot_within, &odd);
    }

    #[test]
    fn machines() {
        for given in ["us-west-2", "eu-central-1", "us-gov-east-1", "ap-southeast-4"] {
            assert_eq!(region(given).expect(given), given);
        }
        let odd = ["", "us", "us-west", "us-west-22", "US-WEST-2", "us west-2", "x-y-1", "us--2"];
        all_refused("AWS_REGION", region, &odd);
        for given in ["t3.medium", "medium_3_0", "u-6tb1.metal"] {
            assert_eq!(size(given).expect(given), given);
        }
        all_refused("size", size, &["", "T3", "a b", "-x", "a/b", "x\n", "$(id)"]);
        assert_eq!(ssh_cidrs("203.0.113.7").expect("one"), ["203.0.113.7/32"]);
        let two = ssh_cidrs("203.0.113.0/24, 198.51.100.7/32").expect("two");
        assert_eq!(two, ["203.0.113.0/24", "198.51.100.7/32"]);
        let odd = ["", ",", "0.0.0.0/0", "10.0.0.0/7", "203.0.113.7/24", "::/0", "x", "1.2.3.4/33"];
        all_refused("OPENCLAW_PIPELINE_SSH_CIDR", ssh_cidrs, &odd);
        assert_eq!(program("tofu").expect("one"), "tofu");
        for given in ["terraform/ec2", "/w/terraform/ec2/", "ec2"] {
            assert_eq!(module_target(given).expect(given), TargetKind::Ec2);
        }
        assert_eq!(module_target("terraform/lightsail").expect("one"), TargetKind::Lightsail);
        all_refused("TF_DIR", module_target, &["", "terraform", "terraform/eks", "ec2x"]);
        all_refused("TF_BIN", program, &["", "-x", "a\nb"]);
        let here = |text: &str| checkout(std::path::Path::new(text));
        here(env!("CARGO_MANIFEST_DIR")).expect("a checkout");
        all_refused(
            "PIPELINE_DIR",
            here,
            &["/nowhere", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
        );
    }
}
