//! What the settings about events mean.

use std::time::Duration;

use super::Settings;
use crate::config::rules::{self, refused};
use crate::config::variables::Variable;
use crate::domain::Failure;
use crate::secrets::Secret;
use crate::secrets::webhook::check_webhook_secret;

/// The longest that an event is tried: as long as dead letters are kept.
const RETRY_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest address, in bytes.
const URL_MAX: usize = 1900;

impl Settings {
    /// The front end's address, without a slash at its end.
    pub fn frontend_url(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::FrontendUrl, |given| address(Variable::FrontendUrl, given))
    }

    /// Where `scripts/webhook-notify.sh` posts. The script reads it by itself.
    pub fn webhook_url(&self) -> Result<String, Failure> {
        self.read_or_default(Variable::WebhookUrl, |given| address(Variable::WebhookUrl, given))
    }

    /// What events to the front end are signed with, if that was given.
    pub fn webhook_secret(&self) -> Result<Option<Secret>, Failure> {
        let name = Variable::WebhookSecret.name();
        self.read(Variable::WebhookSecret, |given| check_webhook_secret(name, given))
    }

    /// How long an event is tried.
    pub fn webhook_retry(&self) -> Result<Duration, Failure> {
        self.read_or_default(Variable::WebhookRetry, retry)
    }
}

/// An address that a path can be put behind. Whether it leads anywhere that events may be sent to
/// is asked when they are.
fn address(variable: Variable, given: &str) -> Result<String, Failure> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| given.strip_prefix(scheme));
    let plain = |rest: &&str| {
        !rest.is_empty()
            && !rest.starts_with(['/', ':'])
            && rest.chars().all(|c| c.is_ascii_graphic() && !"?#@\\\"<>".contains(c))
    };
    if given.len() <= URL_MAX && rest.as_ref().is_some_and(plain) {
        return Ok(given.trim_end_matches('/').to_owned());
    }
    // What is wrong with it may be a password in it.
    let shown = if given.contains('@') { "the one given" } else { given };
    Err(refused(
        variable.name(),
        "an http or https address without user, password, ? and #",
        shown,
        "write it as in http://localhost:3000",
    ))
}

fn retry(given: &str) -> Result<Duration, Failure> {
    rules::span(given).filter(|it| *it <= RETRY_MAX).ok_or_else(|| {
        refused(
            Variable::WebhookRetry.name(),
            "seconds, or a number with s, m, h or d behind it, from 1s to 30d",
            given,
            "leave it out for 24h; what was given up can be sent again",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_front_ends() {
        for (given, expected) in [
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://app.example/", "https://app.example"),
            ("https://app.example/base//", "https://app.example/base"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(address(Variable::FrontendUrl, given).expect(given), expected);
        }
        let long = format!("http://x/{}", "x".repeat(URL_MAX));
        for given in [
            "",
            "localhost:3000",
            "http://",
            "http:///x",
            "http://:80",
            "ftp://x",
            "http://x?y",
            "http://x#y",
            "http://user:s3cr3t@x",
            "http://a b",
            "http://é",
            &long,
        ] {
            let failure = address(Variable::FrontendUrl, given).expect_err(given);
            assert!(failure.message.contains("FRONTEND_URL"), "{failure}");
            assert!(!failure.message.contains("s3cr3t"), "{failure}");
            assert!(failure.message.len() < 300 && failure.remedy.is_some());
        }
    }

    #[test]
    fn how_long_is_tried() {
        for (given, seconds) in
            [("1", 1), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("30D", 2_592_000)]
        {
            assert_eq!(retry(given).expect(given), Duration::from_secs(seconds));
        }
        for given in ["", "0", "0h", "31d", "-1h", "1w", "h", "1h30m", "99999999999999999999d"] {
            let failure = retry(given).expect_err(given);
            assert!(failure.message.contains("_WEBHOOK_RETRY"), "{failure}");
            assert!(failure.remedy.is_some());
        }
    }
}
