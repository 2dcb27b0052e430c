//! The rules for values: one function each, from text to what it means.
//!
//! Owns what a port, a size, a duration, an address and a version are. Refuses everything else
//! with the variable, the rule and the remedy; no function here reads anything but its argument.

mod cluster;
mod machine;

use std::net::IpAddr;
use std::time::Duration;

use crate::domain::{Failure, text};

pub use cluster::proxies;
pub use machine::{
    boot_within, checkout, module_target, port_of_machine, program, region, server_cidrs, size,
    ssh_cidrs,
};

/// The least memory that a gateway starts in: 768 MiB is killed at the start (measured).
pub const MEMORY_MIN_MIB: u32 = 1024;
/// The most memory that can be asked for: one tebibyte, to catch a unit that was meant otherwise.
const MEMORY_MAX_MIB: u32 = 1 << 20;
/// The longest approval window, in seconds: an open door is not left open for a day.
const WINDOW_MAX_S: u32 = 3600;
/// The most devices that are let in without a question.
const DEVICES_MAX: u32 = 20;
/// The rarest heartbeat, in minutes.
const HEARTBEAT_MAX_MIN: u32 = 24 * 60;

pub(super) fn refused(
    variable: &str,
    rule: &str,
    given: &str,
    remedy: impl Into<String>,
) -> Failure {
    Failure::bad_input(format!("{variable} is {rule}; {:?} is not", text::clean(given, 60)))
        .remedy(remedy)
}

/// The members of a list.
fn members(given: &str) -> impl Iterator<Item = &str> {
    given.split(',').map(str::trim).filter(|it| !it.is_empty())
}

/// A port.
pub fn port(given: &str) -> Result<u16, Failure> {
    port_number(given).ok_or_else(|| {
        refused(
            "GATEWAY_PORT",
            "a number from 1 to 65535",
            given,
            "choose one above 1023, or leave it out for 18789",
        )
    })
}

/// A port's number, from its digits alone.
pub(super) fn port_number(given: &str) -> Option<u16> {
    let digits = !given.is_empty() && given.bytes().all(|c| c.is_ascii_digit());
    given.parse().ok().filter(|port| digits && *port != 0)
}

/// A span of time: seconds, or a number with its unit behind it.
pub(super) fn span(given: &str) -> Option<Duration> {
    let lower = given.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0)?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// Yes or no.
pub fn boolean(variable: &str, given: &str) -> Result<bool, Failure> {
    match given.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(refused(
            variable,
            "true or false (1 and 0, yes and no are taken too)",
            given,
            format!("set {variable} to true or false"),
        )),
    }
}

/// How often the idle agent thinks, as the gateway spells it. `0m` is never.
pub fn heartbeat(given: &str) -> Result<String, Failure> {
    let refuse = || {
        refused(
            "HEARTBEAT",
            "off, or whole minutes or hours from 1m to 24h, such as 30m or 1h",
            given,
            "set it to off, or write a number with m or h behind it (90m, not 1h30m)",
        )
    };
    let lower = given.to_ascii_lowercase();
    if matches!(lower.as_str(), "off" | "0" | "0s" | "0m" | "0h") {
        return Ok("0m".to_owned());
    }
    let (number, unit) = split_unit(&lower).ok_or_else(refuse)?;
    let minutes = match unit {
        "m" => Some(number),
        "h" => number.checked_mul(60),
        _ => None,
    };
    match minutes {
        Some(1..=HEARTBEAT_MAX_MIN) => Ok(format!("{number}{unit}")),
        _ => Err(refuse()),
    }
}

/// How long the approval window is open, in seconds.
pub fn window_s(given: &str) -> Result<u32, Failure> {
    let refuse = || {
        refused(
            "OPENCLAW_PIPELINE_APPROVAL_WINDOW",
            "seconds, or a number with s, m or h behind it, from 1s to 1h",
            given,
            "set it to 10m; later browsers are let in by the command approve",
        )
    };
    let lower = given.to_ascii_lowercase();
    let (number, unit) = split_unit(&lower).ok_or_else(refuse)?;
    let seconds = match unit {
        "" | "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        _ => None,
    };
    seconds.filter(|seconds| (1..=WINDOW_MAX_S).contains(seconds)).ok_or_else(refuse)
}

/// How many devices the approval window lets in.
pub fn devices(given: &str) -> Result<u32, Failure> {
    split_unit(given)
        .filter(|(number, unit)| unit.is_empty() && (1..=DEVICES_MAX).contains(number))
        .map(|(number, _)| number)
        .ok_or_else(|| {
            refused(
                "OPENCLAW_PIPELINE_APPROVAL_DEVICES",
                "a number from 1 to 20",
                given,
                "to let none in automatically, set OPENCLAW_PIPELINE_APPROVAL to ask or off",
            )
        })
}

/// A memory limit, in mebibytes.
pub fn memory_mib(given: &str) -> Result<u32, Failure> {
    let refuse = |rule: &str| {
        refused(
            "OPENCLAW_PIPELINE_MEMORY",
            rule,
            given,
            "leave it out for 2048 MiB, which suits most gateways",
        )
    };
    let form = "a whole number of MiB, or one with m or g behind it, up to 1024g";
    let lower = given.to_ascii_lowercase();
    let (number, unit) = split_unit(&lower).ok_or_else(|| refuse(form))?;
    let mib = match unit {
        "" | "m" | "mb" | "mib" => Some(number),
        "g" | "gb" | "gib" => number.checked_mul(1024),
        _ => None,
    };
    match mib {
        Some(mib @ MEMORY_MIN_MIB..=MEMORY_MAX_MIB) => Ok(mib),
        Some(mib) if mib < MEMORY_MIN_MIB => {
            Err(refuse("at least 1024 MiB, because a gateway with less is killed when it starts"))
        }
        _ => Err(refuse(form)),
    }
}

/// The address that the gateway's port is published on.
pub fn bind(given: &str) -> Result<IpAddr, Failure> {
    let address: IpAddr = given.parse().map_err(|_| {
        refused(
            "GATEWAY_BIND",
            "an IP address",
            given,
            "use 127.0.0.1 for this machine only, or 0.0.0.0 for others too",
        )
    })?;
    let IpAddr::V4(four) = address else {
        // Docker's IPv6 proxy makes every client look private, and the gateway trusts those.
        return Err(refused(
            "GATEWAY_BIND",
            "an IPv4 address of this machine: behind an IPv6 address, strangers would look like \
             this machine's own clients",
            given,
            "use 127.0.0.1 for this machine only, or 0.0.0.0 to let other machines reach the \
             gateway",
        ));
    };
    if four.is_multicast() || four.is_broadcast() {
        return Err(refused(
            "GATEWAY_BIND",
            "an address of this machine",
            given,
            "use 0.0.0.0 to let other machines reach the gateway",
        ));
    }
    // Every loopback address reaches the same machine, and links name this one.
    if four.is_loopback() && four != std::net::Ipv4Addr::LOCALHOST {
        return Err(refused(
            "GATEWAY_BIND",
            "127.0.0.1 where it is a loopback address",
            given,
            "use 127.0.0.1",
        ));
    }
    Ok(address)
}

/// The store's address: the one that it has. The given one is not shown: it may hold a password.
pub fn database_url(given: &str, home: &std::path::Path) -> Result<(), Failure> {
    let path = given.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    if path.is_some_and(|path| path.is_empty() || home.join("pipeline.db") == *path) {
        return Ok(());
    }
    Err(Failure::bad_input(
        "OPENCLAW_PIPELINE_DATABASE_URL is sqlite: for the store in the data directory; the one \
         given is not, and other databases are not supported",
    )
    .remedy("leave it out, and name the data directory in OPENCLAW_PIPELINE_HOME"))
}

/// What of the program's own log is shown.
pub fn log(given: &str) -> Result<String, Failure> {
    let lower = given.to_ascii_lowercase();
    if ["off", "error", "warn", "info", "debug", "trace"].contains(&lower.as_str()) {
        return Ok(lower);
    }
    Err(refused(
        "OPENCLAW_PIPELINE_LOG",
        "off, error, warn, info, debug or trace",
        given,
        "leave it out for warn",
    ))
}

/// An `OpenClaw` version that can be installed: an exact one, so that a restart, an update and a
/// backup know what they go back to.
pub fn version(given: &str) -> Result<String, Failure> {
    let (core, suffix) = match given.split_once('-') {
        Some((core, suffix)) => (core, Some(suffix)),
        None => (given, None),
    };
    let numbers: Vec<Option<u32>> = core.split('.').map(number).collect();
    let core = matches!(numbers[..], [Some(2020..=2099), Some(1..=12), Some(0..=9999)]);
    let suffix = suffix.is_none_or(|suffix| {
        suffix.len() <= 40
            && suffix.split('.').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            })
    });
    if core && suffix {
        return Ok(given.to_owned());
    }
    Err(refused(
        "OPENCLAW_PIPELINE_VERSION",
        "one exact version, such as 2026.9.6 or 2026.9.6-beta.1 (no tag like latest, no range)",
        given,
        format!(
            "leave it out for {}, or look one up: npm view openclaw versions",
            super::variables::DEFAULT_VERSION
        ),
    ))
}

/// A provider's id.
pub fn provider(given: &str) -> Result<String, Failure> {
    let valid = (1..=64).contains(&given.len())
        && given.as_bytes()[0].is_ascii_alphanumeric()
        && given
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(&c));
    if valid {
        return Ok(given.to_owned());
    }
    Err(refused(
        "DEFAULT_PROVIDER",
        "1 to 64 of a-z, 0-9, -, _ and ., starting with a letter or digit",
        given,
        "use anthropic, google, openai, groq, xai, mistral, openrouter, or leave it out",
    ))
}

/// A number and the letters behind it.
fn split_unit(given: &str) -> Option<(u32, &str)> {
    let end = given.find(|c: char| !c.is_ascii_digit()).unwrap_or(given.len());
    Some((number(&given[..end])?, &given[end..]))
}

/// Digits only: `parse` would take a `+`. No leading zeros: 010 is eight to some.
fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|c| c.is_ascii_digit());
    (plain && (digits == "0" || !digits.starts_with('0'))).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn all_refused<T: std::fmt::Debug>(
        name: &str,
        rule: impl Fn(&str) -> Result<T, Failure>,
        bad: &[&str],
    ) {
        for given in bad {
            let failure = rule(given).expect_err(given);
            assert!(failure.message.contains(name), "{failure}");
            assert!(failure.remedy.is_some(), "{given}");
            assert!(failure.message.len() < 400, "bounded");
        }
    }

    #[test]
    fn ports() {
        for (given, expected) in [("1", 1), ("80", 80), ("18789", 18789), ("65535", 65535)] {
            assert_eq!(port(given).expect(given), expected);
        }
        let long = "9".repeat(10_000);
        all_refused(
            "GATEWAY_PORT",
            port,
            &[
                "", "0", "abc", "70000", "65536", "-1", "+80", " 80", "80 ", "8o", "0x50", "8.0",
                &long,
            ],
        );
    }

    #[test]
    fn booleans() {
        for given in ["true", "1", "yes", "TRUE", "Yes"] {
            assert!(boolean("SKIP_APPROVAL", given).expect(given));
        }
        for given in ["false", "0", "no", "False"] {
            assert!(!boolean("SKIP_APPROVAL", given).expect(given));
        }
        all_refused(
            "SKIP_APPROVAL",
            |given| boolean("SKIP_APPROVAL", given),
            &["", "maybe", "2", "tru", "yes please"],
        );
    }

    #[test]
    fn heartbeats() {
        for given in ["off", "OFF", "0", "0m", "0h"] {
            assert_eq!(heartbeat(given).expect(given), "0m");
        }
        for given in ["1m", "30m", "90m", "1h", "24h"] {
            assert_eq!(heartbeat(given).expect(given), given);
        }
        all_refused(
            "HEARTBEAT",
            heartbeat,
            &[
                "",
                "30",
                "m",
                "-5m",
                "1h30m",
                "25h",
                "30s",
                "1d",
                "30 m",
                "030m",
                "4294967295h",
                "99999999999m",
            ],
        );
    }

    #[test]
    fn windows_and_devices() {
        for (given, expected) in [("600", 600), ("1", 1), ("10m", 600), ("90s", 90), ("1h", 3600)] {
            assert_eq!(window_s(given).expect(given), expected);
        }
        all_refused(
            "APPROVAL_WINDOW",
            window_s,
            &["", "0", "0m", "3601", "2h", "-1", "ten", "10 m", "4294967295m"],
        );
        assert_eq!(devices("3").expect("3"), 3);
        all_refused("APPROVAL_DEVICES", devices, &["", "0", "21", "-1", "3x", "all"]);
    }

    #[test]
    fn memory() {
        for (given, expected) in
            [("1024", 1024), ("2048m", 2048), ("2g", 2048), ("2G", 2048), ("3GiB", 3072)]
        {
            assert_eq!(memory_mib(given).expect(given), expected);
        }
        all_refused(
            "OPENCLAW_PIPELINE_MEMORY",
            memory_mib,
            &["", "0", "768", "768m", "1023", "1.5g", "2t", "lots", "-2g", "1025g", "4294967295g"],
        );
        let failure = memory_mib("768m").expect_err("too little");
        assert!(failure.message.contains("killed"), "{failure}");
    }

    #[test]
    fn addresses() {
        for given in ["127.0.0.1", "0.0.0.0", "192.168.1.5"] {
            assert_eq!(bind(given).expect(given).to_string(), given);
        }
        all_refused(
            "GATEWAY_BIND",
            bind,
            &[
                "",
                "localhost",
                "0",
                "127.0.0.1:80",
                "256.0.0.1",
                "::",
                "::1",
                "127.0.0.2",
                "2001:db8::1",
                "224.0.0.1",
                "255.255.255.255",
                "::ffff:0.0.0.0",
                "127.0.0.1 ",
            ],
        );
    }

    #[test]
    fn databases_and_logs() {
        let home = std::path::Path::new("/d");
        for given in ["sqlite:", "sqlite:/d/pipeline.db", "sqlite:///d/pipeline.db"] {
            database_url(given, home).expect(given);
        }
        for given in ["", "postgres://u:s3cr3t@h/d", "sqlite:/s3cr3t.db", "s3cr3t"] {
            let failure = database_url(given, home).expect_err(given);
            assert!(!failure.message.contains("s3cr3t"), "{failure}");
            assert!(failure.remedy.is_some());
        }
        assert_eq!(log("WARN").expect("a level"), "warn");
        all_refused("OPENCLAW_PIPELINE_LOG", log, &["", "verbose", "openclaw=debug", "5"]);
    }

    #[test]
    fn versions() {
        for given in ["2026.9.6", "2026.12.0", "2026.9.6-beta.1", "2026.9.6-1"] {
            assert_eq!(version(given).expect(given), given);
        }
        all_refused(
            "OPENCLAW_PIPELINE_VERSION",
            version,
            &[
                "",
                "latest",
                "beta",
                "^2026.9.6",
                "2026.9",
                "2026.13.1",
                "v2026.9.6",
                "2026.9.6.1",
                "2026.9.6-",
                "2026.9.6-β",
                "2026.9.6 ",
                "2026.9.6;id",
                "../x",
                "2026.09.6",
            ],
        );
    }

    #[test]
    fn providers() {
        for given in ["anthropic", "openrouter", "my-own_1.x"] {
            assert_eq!(provider(given).expect(given), given);
        }
        all_refused("DEFAULT_PROVIDER", provider, &["", "-x", "Open AI", "a/b", "x\n", "ä"]);
    }
}
