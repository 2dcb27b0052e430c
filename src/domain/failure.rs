//! What went wrong, said for the reader: what happened, why, and what to do next.
//!
//! Owns the kinds of failure; the command line and the API each map a kind to an exit code or a
//! status in one place. Refuses secrets: whoever builds one passes text that was cleaned.

use serde::{Deserialize, Serialize};

/// The kind of a failure. It decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The work was tried and failed.
    Failed,
    /// The input breaks a rule.
    BadInput,
    /// Whoever asks may not.
    Forbidden,
    /// What was named does not exist.
    NotFound,
    /// Something else holds or is what was named.
    Conflict,
    /// The key of a request that may be sent again was used for another one.
    KeyReused,
    /// A tool, an engine or a resource that the work needs is missing.
    Prerequisite,
    /// The user stopped it.
    Interrupted,
    /// The program's own files or its store failed it: nobody's input did.
    Internal,
}

/// A failure with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// What happened and why, as a sentence without a secret.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: None }
    }

    /// The work was tried and failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, message)
    }

    /// The input breaks a rule.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(FailureKind::BadInput, message)
    }

    /// What was named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureKind::NotFound, message)
    }

    /// Something else holds or is what was named.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Conflict, message)
    }

    /// Somebody interrupted it, in a way that it can be gone on with.
    pub fn interrupted() -> Self {
        Self::new(FailureKind::Interrupted, "interrupted")
    }

    /// A prerequisite is missing.
    pub fn prerequisite(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Prerequisite, message)
    }

    /// The program's own files or its store failed it.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, message)
    }

    /// Adds what to do next.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds what else to do, behind what is said of that already.
    pub fn also(self, more: impl AsRef<str>) -> Self {
        let first = self.remedy.as_ref().map(|it| format!("{it}; ")).unwrap_or_default();
        self.remedy(format!("{first}{}", more.as_ref()))
    }

    /// Puts a context before the message: `context: message`.
    pub fn context(mut self, context: impl AsRef<str>) -> Self {
        self.message = format!("{}: {}", context.as_ref(), self.message);
        self
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}
