//! What clients of the API show: tokens, and the secrets of the console's sessions.
//!
//! Owns how they are made and what of them is kept: their SHA-256, which is enough to know one
//! again and nothing to get in with. Refuses anything else that is presented before it is hashed,
//! so that a text without end costs nothing.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Secret;
use super::token::{TOKEN_MAX, generate_token};

/// How every token of the API begins: what is found in a log or a repository is known for what
/// it is.
pub const TOKEN_PREFIX: &str = "ocp_";
/// How the secret of a session begins. It is no token.
pub const SESSION_PREFIX: &str = "ocs_";
/// The characters of 32 random bytes.
const RANDOM: usize = 43;

/// The SHA-256 of what a client showed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BearerHash([u8; 32]);

impl BearerHash {
    /// The hash of a token or of a session's secret.
    pub fn of(presented: &str) -> Self {
        Self(Sha256::digest(presented).into())
    }

    /// The same, bound to what else must stay as it is.
    pub fn bound_to(presented: &str, other: Self) -> Self {
        let mut digest = Sha256::new();
        digest.update(presented);
        digest.update(other.0);
        Self(digest.finalize().into())
    }

    /// Its bytes, as they are stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether two are the same, in a time that does not tell where they differ.
    pub fn is(&self, other: &Self) -> bool {
        let differs = self.0.iter().zip(&other.0).fold(0, |differs, (a, b)| differs | (a ^ b));
        std::hint::black_box(differs) == 0
    }
}

impl From<[u8; 32]> for BearerHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for BearerHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hash")
    }
}

/// A new token: `ocp_` and 256 random bits.
pub fn new_token() -> Secret {
    made(TOKEN_PREFIX)
}

/// A new session's secret: `ocs_` and 256 random bits.
pub fn new_session() -> Secret {
    made(SESSION_PREFIX)
}

fn made(prefix: &str) -> Secret {
    Secret::new(format!("{prefix}{}", generate_token().expose()))
}

/// Whether a text can be one of the tokens that are made here.
pub fn is_token(presented: &str) -> bool {
    is_made(presented, TOKEN_PREFIX)
}

/// Whether a text can be a session's secret.
pub fn is_session(presented: &str) -> bool {
    is_made(presented, SESSION_PREFIX)
}

/// Whether a text can be a token at all: one that is made here, or one that a user chose.
pub fn is_presentable(presented: &str) -> bool {
    presented.len() <= TOKEN_MAX && presented.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_made(presented: &str, prefix: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    presented
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == RANDOM && rest.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_sessions_are_long_different_and_known_for_what_they_are() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let (token, session) = (new_token(), new_session());
            assert!(is_token(token.expose()) && !is_session(token.expose()));
            assert!(is_session(session.expose()) && !is_token(session.expose()));
            assert!(is_presentable(token.expose()));
            assert!(seen.insert(token.expose().to_owned()));
            assert!(seen.insert(session.expose().to_owned()));
            assert_eq!(token.expose().len(), 47);
        }
    }

    #[test]
    fn what_cannot_be_one_is_not_looked_up() {
        let token = new_token();
        for text in [
            "",
            "ocp_",
            &token.expose()[1..],
            &token.expose()[..46],
            &format!("{}x", token.expose()),
            &format!("{}\n", &token.expose()[..46]),
            &format!("{}'", &token.expose()[..46]),
        ] {
            assert!(!is_token(text), "{text:?}");
        }
        for text in ["a b", "a\0", "ä", &"x".repeat(TOKEN_MAX + 1)] {
            assert!(!is_presentable(text), "{text:?}");
        }
    }

    #[test]
    fn hashes_are_sha_256_and_do_not_print_themselves() {
        let hash = BearerHash::of("abc");
        assert_eq!(hash.as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert!(hash.is(&BearerHash::of("abc")) && !hash.is(&BearerHash::of("abd")));
        assert_eq!(format!("{hash:?}"), "a hash");
        let bound = BearerHash::bound_to("abc", hash);
        assert!(!bound.is(&hash) && !bound.is(&BearerHash::bound_to("abd", hash)));
        assert!(!bound.is(&BearerHash::bound_to("abc", BearerHash::of("x"))));
    }
}
