//! Why a request to a gateway has no result.
//!
//! Owns the error of every call. Refuses to guess whether the gateway acted: after a timeout or a
//! break it may have, and only looking tells.

use std::time::Duration;

use serde_json::Value;

use super::protocol::WireError;
use super::text::clean_without;
use crate::secrets::Secret;

/// Why a request has no result. The texts are bounded and clean.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The gateway refused it.
    #[error("{method}: {} ({})", .refusal.message, .refusal.code)]
    Refused {
        /// The method.
        method: String,
        /// The gateway's words.
        refusal: Box<Refusal>,
    },
    /// No answer in time. The gateway may still have acted.
    #[error("{method}: no answer within {after:?}")]
    Timeout {
        /// The method.
        method: String,
        /// The time given.
        after: Duration,
    },
    /// The connection ended first. The gateway may still have acted.
    #[error("the connection to the gateway ended: {0}")]
    Closed(String),
    /// The answer has another shape than expected.
    #[error("{method}: the answer cannot be read: {detail}")]
    Malformed {
        /// The method.
        method: String,
        /// What is wrong.
        detail: String,
    },
    /// Sixty-four requests wait for their answers already.
    #[error("too many requests to one gateway at once")]
    Busy,
}

/// A refused request.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// `INVALID_REQUEST`, `FORBIDDEN`, `UNAVAILABLE`, …
    pub code: String,
    /// For people; clean.
    pub message: String,
    /// Structured reasons, as sent: untrusted.
    pub details: Value,
    /// How long to wait before trying again, when that may help.
    pub retry_after: Option<Duration>,
}

impl RpcError {
    /// The scope that this connection lacks, when that is why.
    pub fn missing_scope(&self) -> Option<&str> {
        let Self::Refused { refusal, .. } = self else {
            return None;
        };
        let named = refusal.details.get("missingScope").and_then(Value::as_str);
        // `device.pair.approve` says it in the message only (measured).
        named.or_else(|| refusal.message.strip_prefix("missing scope: "))
    }

    pub(super) fn refused(method: &str, error: &WireError, token: &Secret) -> Self {
        let refusal = Refusal {
            code: clean_without(&error.code, token),
            message: clean_without(&error.message, token),
            retry_after: error.retry_after(),
            details: error.details.clone(),
        };
        Self::Refused { method: method.to_owned(), refusal: Box::new(refusal) }
    }
}
