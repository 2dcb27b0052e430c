//! Image references.
//!
//! Owns the grammar of the OCI distribution project: `[host[:port]/]path[:tag][@digest]`. Refuses
//! what is no reference before it reaches a tool's command line, where it could read as an
//! option.

use crate::domain::{Failure, text};

/// The longest reference, in characters.
const MAX_LENGTH: usize = 255;

/// Checks an image reference.
pub fn image(given: &str) -> Result<String, Failure> {
    match broken_rule(given) {
        None => Ok(given.to_owned()),
        Some(rule) => Err(Failure::bad_input(format!(
            "OPENCLAW_PIPELINE_IMAGE is an image reference like host/path:tag or \
             host/path@sha256:…; {:?} is not: {rule}",
            text::clean(given, 80)
        ))
        .remedy(format!(
            "leave it out for {}, or correct the reference",
            super::variables::DEFAULT_IMAGE
        ))),
    }
}

/// The repository of a reference: without its tag and digest. `None` for a bare image id, which
/// is in none.
pub fn repository(reference: &str) -> Option<&str> {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    // A colon behind the last slash begins a tag; before it, a port.
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let end = name[last..].find(':').map_or(name.len(), |colon| last + colon);
    (!is_digest(reference)).then(|| &name[..end])
}

/// The digest that a reference is pinned by, or that it is.
pub fn digest(reference: &str) -> Option<&str> {
    let digest = reference.split_once('@').map_or(reference, |(_, digest)| digest);
    is_digest(digest).then_some(digest)
}

/// Whether two references name the same repository.
pub fn same_repository(one: &str, other: &str) -> bool {
    repository(one).is_some_and(|it| repository(other) == Some(it))
}

fn broken_rule(given: &str) -> Option<&'static str> {
    if given.is_empty() {
        return Some("it is empty");
    }
    if given.len() > MAX_LENGTH {
        return Some("it is longer than 255 characters");
    }
    let (rest, digest) = match given.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (given, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Some("a digest is sha256: and 64 of 0-9 and a-f (or sha512: and 128)");
    }
    // A colon behind the last slash begins a tag; before it, a port.
    let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[name_end..].split_once(':') {
        Some((last, tag)) => (&rest[..name_end + last.len()], Some(tag)),
        None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Some("a tag is 1 to 128 of letters, digits, _, . and -, not starting with . or -");
    }
    let path = match name.split_once('/') {
        Some((host, path)) if looks_like_host(host) => {
            if !is_host(host) {
                return Some("a registry is a host name or address, with a port or without");
            }
            path
        }
        _ => name,
    };
    if !path.split('/').all(is_path_component) {
        return Some("a path is lower-case letters and digits, separated by /, ., _, __ or dashes");
    }
    None
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

fn is_tag(tag: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    (1..=128).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|c| word(c) || c == b'.' || c == b'-')
}

/// Docker's own rule for telling `host/path` from `user/path`.
fn looks_like_host(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|c| c.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, tail)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match tail.strip_prefix(':') {
                Some(port) => return is_port(port),
                None => return tail.is_empty(),
            }
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
    };
    name.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_path_component(component: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = bytes.first().is_some_and(|c| alphanumeric(*c))
        && bytes.last().is_some_and(|c| alphanumeric(*c));
    // Between letters and digits: one dot, one or two underscores, or any number of dashes.
    let mut separators = component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|separator| !separator.is_empty());
    ends && separators.all(|separator| {
        matches!(separator, "." | "_" | "__") || separator.bytes().all(|c| c == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for given in [
            super::super::variables::DEFAULT_IMAGE,
            "openclaw",
            "openclaw:2026.9.6-slim",
            "user/open__claw",
            "a.b/c-d--e/f_g:T_1",
            "localhost/x",
            "localhost:5000/x:y",
            "127.0.0.1:5000/x",
            "[::1]:5000/x:y",
            "REGISTRY.example.com/x",
            &format!("ghcr.io/openclaw/openclaw@{digest}"),
            &format!("ghcr.io/openclaw/openclaw:1@{digest}"),
        ] {
            assert_eq!(image(given).expect(given), given);
        }
    }

    #[test]
    fn a_reference_has_a_repository_and_perhaps_a_digest() {
        let pin = format!("sha256:{}", "0a".repeat(32));
        for (reference, expected, pinned) in [
            ("openclaw".to_owned(), Some("openclaw"), false),
            ("openclaw:1".to_owned(), Some("openclaw"), false),
            ("localhost:5000/x".to_owned(), Some("localhost:5000/x"), false),
            ("localhost:5000/x:y".to_owned(), Some("localhost:5000/x"), false),
            (format!("a.b/x@{pin}"), Some("a.b/x"), true),
            (format!("a.b/x:1@{pin}"), Some("a.b/x"), true),
            (pin.clone(), None, true),
        ] {
            assert_eq!(repository(&reference), expected, "{reference}");
            assert_eq!(digest(&reference), pinned.then_some(pin.as_str()), "{reference}");
        }
        assert!(same_repository("a/b:1", "a/b") && !same_repository(&pin, &pin));
    }

    #[test]
    fn everything_else_is_refused_with_the_rule() {
        let long = "a".repeat(256);
        let upper_digest = format!("x@sha256:{}", "0A".repeat(32));
        for given in [
            "",
            "-v",
            "--privileged",
            "x y",
            "x\n",
            "OpenClaw",
            "x:",
            "x:-y",
            "x:y z",
            "x:y:z",
            "x/",
            "/x",
            "a//b",
            "a..b",
            "a___b",
            "x@",
            "x@sha256:abc",
            "x@md5:abc",
            &upper_digest,
            "host:0/x",
            "host:99999/x",
            "-host.x/y",
            "[zz]/x",
            "https://ghcr.io/x",
            "$(id)",
            "ä",
            &long,
        ] {
            let failure = image(given).expect_err(given);
            assert!(failure.message.contains("OPENCLAW_PIPELINE_IMAGE"));
            assert!(failure.remedy.is_some());
        }
    }
}
