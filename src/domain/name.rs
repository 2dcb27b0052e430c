//! A deployment's name.
//!
//! Owns the rule for names. Refuses everything else early: a name reaches file names, container
//! names, tags and command lines, so nothing unvalidated may be called one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::spec::TargetKind;

/// The longest name, in characters.
pub const MAX_LENGTH: usize = 40;

/// The pipeline server's own machine, which nobody launches under this name.
const SERVER: &str = "server";
/// The installation's own cluster, nor under this one.
const CLUSTER: &str = "cluster";

/// A valid deployment name: 1 to 40 of `a-z 0-9 -`, starting and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeploymentName(String);

/// Why a text is not a deployment name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text breaks the rule.
    #[error(
        "a deployment name is 1 to 40 of a-z, 0-9 and -, starting and ending with a letter or \
         digit; {0:?} is not. Choose a name such as \"main\" or \"team-a\""
    )]
    Invalid(String),
    /// The name is reserved.
    #[error(
        "the name {0:?} is reserved for the pipeline's own {0} (openclaw-pipeline {0}); choose \
         another one"
    )]
    Reserved(String),
}

impl DeploymentName {
    /// The name used when none is given.
    pub fn main() -> Self {
        Self("main".to_owned())
    }

    /// The pipeline server's own machine. No text that somebody gives is this name.
    pub fn server() -> Self {
        Self(SERVER.to_owned())
    }

    /// Whether it is the pipeline server's own machine.
    pub fn is_server(&self) -> bool {
        self.0 == SERVER
    }

    /// The installation's own cluster. No text that somebody gives is this name.
    pub fn cluster() -> Self {
        Self(CLUSTER.to_owned())
    }

    /// Whether it is the installation's own cluster.
    pub fn is_cluster(&self) -> bool {
        self.0 == CLUSTER
    }

    /// Whether it is a gateway's.
    pub fn is_gateway(&self) -> bool {
        !self.is_server() && !self.is_cluster()
    }

    /// The command that makes what has this name, and goes on with it.
    pub fn launching(&self, target: Option<TargetKind>) -> String {
        if self.is_cluster() {
            return "openclaw-pipeline cluster apply".to_owned();
        }
        match (self.is_server(), target) {
            (true, Some(target)) => format!("openclaw-pipeline server full-setup --on {target}"),
            (true, None) => "openclaw-pipeline server full-setup".to_owned(),
            (false, Some(target)) => format!("openclaw-pipeline launch {self} --target {target}"),
            (false, None) => format!("openclaw-pipeline launch {self}"),
        }
    }

    /// The command that removes it.
    pub fn destroying(&self) -> String {
        if !self.is_gateway() {
            return format!("openclaw-pipeline {self} destroy");
        }
        format!("openclaw-pipeline destroy {self}")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeploymentName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let alphanumeric = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = (1..=MAX_LENGTH).contains(&bytes.len())
            && bytes.iter().all(|c| alphanumeric(c) || *c == b'-')
            && bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric);
        if !valid {
            // The text is echoed, so it is bounded: a megabyte of name is not an error message.
            return Err(NameError::Invalid(super::text::clean(text, 60)));
        }
        if [SERVER, CLUSTER].contains(&text) {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for DeploymentName {
    type Error = NameError;

    /// A name that was recorded: the reserved ones are among these.
    fn try_from(text: String) -> Result<Self, NameError> {
        if [SERVER, CLUSTER].contains(&text.as_str()) { Ok(Self(text)) } else { text.parse() }
    }
}

impl From<DeploymentName> for String {
    fn from(name: DeploymentName) -> Self {
        name.0
    }
}

impl fmt::Display for DeploymentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_the_rule_are_taken() {
        for text in ["a", "0", "main", "team-a", "a--b", "x1", &"a".repeat(40)] {
            assert_eq!(text.parse::<DeploymentName>().expect(text).as_str(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_rule() {
        let long = "a".repeat(41);
        for text in
            ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "..", "a b", "a\n", "ä", "$(id)", &long]
        {
            let error = text.parse::<DeploymentName>().expect_err(text).to_string();
            assert!(error.contains("1 to 40"), "{error}");
        }
    }

    #[test]
    fn the_servers_name_is_reserved() {
        assert!(matches!("server".parse::<DeploymentName>(), Err(NameError::Reserved(_))));
        let recorded = DeploymentName::try_from("server".to_owned()).expect("as it was recorded");
        assert_eq!(recorded, DeploymentName::server());
        assert!(recorded.is_server() && !DeploymentName::main().is_server());
    }
}
