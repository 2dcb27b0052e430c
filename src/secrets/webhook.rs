//! The secrets that events are signed with, as Standard Webhooks writes them.
//!
//! Owns their making and the rule for one that comes from outside. Refuses what is no such secret
//! without echoing it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Secret;
use super::seal::fill_random;
use crate::domain::Failure;

/// What one begins with.
pub const PREFIX: &str = "whsec_";
/// How many random bytes a new one has.
const BYTES: usize = 32;
/// How many bytes one may have: the specification's bounds.
const BYTES_TAKEN: std::ops::RangeInclusive<usize> = 24..=64;

/// A new secret: 256 random bits.
pub fn generate_webhook_secret() -> Secret {
    let mut bytes = Zeroizing::new([0; BYTES]);
    fill_random(bytes.as_mut_slice());
    let text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
    Secret::new(format!("{PREFIX}{}", text.as_str()))
}

/// Checks a secret that a user gave.
pub fn check_webhook_secret(variable: &str, text: &str) -> Result<Secret, Failure> {
    let bytes = text
        .strip_prefix(PREFIX)
        .and_then(|rest| STANDARD.decode(rest).map(Zeroizing::new).ok())
        .filter(|bytes| BYTES_TAKEN.contains(&bytes.len()));
    match bytes {
        Some(_) => Ok(Secret::new(text)),
        None => Err(Failure::bad_input(format!(
            "{variable} is {PREFIX} and 24 to 64 bytes in base64 behind it; the one given is not"
        ))
        .remedy(format!(
            "leave {variable} out to have one generated, or make one: echo {PREFIX}$(openssl rand \
             -base64 32)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_secrets_are_long_different_and_acceptable() {
        let (one, other) = (generate_webhook_secret(), generate_webhook_secret());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), PREFIX.len() + 44);
        check_webhook_secret("X", one.expose()).expect("taken");
    }

    #[test]
    fn what_is_no_secret_is_refused_without_an_echo() {
        let bytes = |count: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; count]));
        for fine in [bytes(24), bytes(32), bytes(64)] {
            check_webhook_secret("X", &fine).expect(&fine);
        }
        for given in [
            String::new(),
            PREFIX.to_owned(),
            bytes(23),
            bytes(65),
            bytes(32)[6..].to_owned(),
            format!("{PREFIX}s3cr3t!s3cr3t!s3cr3t!s3cr3t!s3cr3t!"),
            format!(" {}", bytes(32)),
        ] {
            let failure = check_webhook_secret("THE_SECRET", &given).expect_err(&given);
            assert!(failure.message.contains("THE_SECRET"), "{failure}");
            assert!(!failure.message.contains("s3cr3t"), "{failure}");
            assert!(failure.remedy.is_some());
        }
    }
}
