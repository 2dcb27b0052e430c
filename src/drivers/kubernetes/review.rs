//! Whether whoever asks may do something, as the cluster itself says.
//!
//! Owns the question. Refuses to work it out from roles: what decides may be none of the cluster's own.

use serde_json::json;

use super::error::ApiError;
use super::{Cluster, Kind, Object};

/// A thing that somebody may do, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// Such as `create`.
    pub verb: &'static str,
    /// To what.
    pub kind: Kind,
    /// To which part of it, such as `exec` of a pod; empty for the thing itself.
    pub part: &'static str,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.kind.plural())?;
        if self.part.is_empty() { Ok(()) } else { write!(f, "/{}", self.part) }
    }
}

impl Cluster {
    /// Whether whoever asks may do it, in a namespace or, for what is in none, at all.
    pub async fn may(&self, right: Right, namespace: &str) -> Result<bool, ApiError> {
        let mut attributes = json!({
            "verb": right.verb, "group": right.kind.group(), "resource": right.kind.plural(),
            "subresource": right.part,
        });
        if right.kind.is_namespaced() {
            attributes["namespace"] = json!(namespace);
        }
        let mut object = Object::new("", &Kind::ACCESS_REVIEW.resource());
        object.metadata.name = None;
        object.data = json!({ "spec": { "resourceAttributes": attributes } });
        let answer = self.create(Kind::ACCESS_REVIEW, &object).await?;
        Ok(answer.data.pointer("/status/allowed") == Some(&json!(true)))
    }
}
