//! The credentials that calls are signed with, and how long they are good.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::secrets::{Redactor, Secret};

/// How long before their end temporary credentials are replaced.
const BEFORE_THE_END: Duration = Duration::from_secs(5 * 60);

/// Where credentials came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    Environment,
    /// A profile of the shared files.
    Profile(String),
    /// The program that a profile names.
    Process(String),
    /// A role that a profile takes.
    Role(String),
    /// The container that this runs in.
    Container,
    /// The role of the instance that this runs on.
    Instance,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("the environment"),
            Self::Profile(name) => write!(f, "the profile {name}"),
            Self::Process(name) => write!(f, "the credential_process of the profile {name}"),
            Self::Role(arn) => write!(f, "the role {arn}"),
            Self::Container => f.write_str("the container's role"),
            Self::Instance => f.write_str("the instance's role"),
        }
    }
}

/// Credentials.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) access_key: String,
    pub(super) secret_key: Secret,
    pub(super) session_token: Option<Secret>,
    pub(super) ends: Option<OffsetDateTime>,
    pub(super) origin: Origin,
}

impl Keys {
    /// Reads the JSON that programs, containers and instances give.
    pub(super) fn read(text: &str, origin: Origin) -> Option<Self> {
        let fields: Value = serde_json::from_str(text).ok()?;
        let field = |name: &str| fields[name].as_str().filter(|value| !value.is_empty());
        let token = field("SessionToken").or_else(|| field("Token"));
        Some(Self {
            access_key: field("AccessKeyId")?.to_owned(),
            secret_key: Secret::new(field("SecretAccessKey")?),
            session_token: token.map(Secret::new),
            ends: field("Expiration").and_then(|it| OffsetDateTime::parse(it, &Rfc3339).ok()),
            origin,
        })
    }

    /// Whether they can still be used for a while.
    pub(super) fn are_fresh(&self, now: OffsetDateTime) -> bool {
        self.ends.is_none_or(|end| end - now > BEFORE_THE_END)
    }

    /// What takes them out of a text.
    pub(super) fn redactor(&self) -> Redactor {
        Redactor::new([&self.secret_key].into_iter().chain(self.session_token.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn both_spellings_of_the_token_are_read_and_nothing_is_shown() {
        let process = r#"{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s3cr3t",
            "SessionToken":"t0k3n","Expiration":"2026-01-01T00:00:00Z"}"#;
        let keys = Keys::read(process, Origin::Process("p".into())).expect("keys");
        assert_eq!(keys.session_token.as_ref().expect("one").expose(), "t0k3n");
        assert!(!format!("{keys:?}").contains("s3cr3t"));
        assert_eq!(keys.redactor().redact("s3cr3t t0k3n"), "[redacted] [redacted]");
        assert!(keys.are_fresh(datetime!(2025-12-31 23:54:00 UTC)));
        assert!(!keys.are_fresh(datetime!(2025-12-31 23:56:00 UTC)));
        let instance = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"s","Token":"t"}"#;
        let keys = Keys::read(instance, Origin::Instance).expect("keys");
        assert!(keys.session_token.is_some() && keys.ends.is_none());
        for wrong in ["", "{}", r#"{"AccessKeyId":"A","SecretAccessKey":""}"#] {
            assert!(Keys::read(wrong, Origin::Instance).is_none(), "{wrong}");
        }
    }
}
