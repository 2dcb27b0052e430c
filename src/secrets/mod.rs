//! Secrets: the type that cannot be printed, sealing at rest, and environment files.
//!
//! Owns every place where a secret's text is touched. Refuses to print, serialise or compare one
//! by accident: `Debug`, `Display` and `Serialize` all say `[redacted]`.

pub mod bearer;
pub mod certificate;
pub mod envfile;
pub mod private;
pub mod redact;
pub mod seal;
pub mod seal_file;
pub mod token;
pub mod webhook;

pub use envfile::EnvFile;
pub use private::{read_private, write_private};
pub use redact::Redactor;
pub use seal::SealingKey;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What every printed form of a secret says.
pub const REDACTED: &str = "[redacted]";

/// A secret text: a token, a provider key, a password. Its memory is wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text. The caller drops its own copy.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself. Call it at the last moment, where the secret leaves the program.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}
