//! The gateway's catalogue of models: whether it knows the configured one and can use it.
//!
//! Owns the reading of `models.list`. Refuses the default view: that one lists the configured
//! model whether it exists or not, and calls it available as soon as its provider has a key
//! (measured with 2026.9.6: `anthropic/claude-nonsense-9`, `available: true`). The view `all`
//! holds the catalogue alone.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::client::GatewayClient;
use super::rpc::RpcError;
use super::text::clean_text;

/// The scope needed.
pub const SCOPE: &str = "operator.read";

/// How long the list may take; 15 to 156 ms were measured on an idle gateway.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelList {
    /// Its models.
    pub models: Vec<Model>,
    /// Providers whose models are not read yet. It takes the gateway seconds each, after its
    /// start; until then theirs are missing.
    pub pending_providers: Vec<String>,
}

impl ModelList {
    /// Whether the provider of `model` (`provider/id`) is still to be read.
    pub fn is_pending(&self, model: &str) -> bool {
        let provider = model.split('/').next().unwrap_or_default();
        self.pending_providers.iter().any(|pending| pending == provider)
    }
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// `anthropic`.
    pub provider: String,
    /// `claude-sonnet-5`.
    pub id: String,
    /// Whether the gateway could call it now; absent in some versions.
    #[serde(default)]
    pub available: Option<bool>,
    /// `missing-auth` for one.
    #[serde(default)]
    pub unavailable_reason: Option<String>,
}

/// What the gateway says of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// Known, and its provider has a credential.
    Available,
    /// Known, but it could not be called.
    Unavailable {
        /// `missing-auth` when its provider has no credential.
        reason: Option<String>,
    },
    /// Not in the catalogue: misspelled, or newer than this gateway. It may work all the same.
    Unknown,
}

/// Reads the catalogue.
///
/// # Errors
/// [`RpcError`]; one with `missing_scope` when the connection is not on the gateway's loopback.
pub async fn list(client: &GatewayClient) -> Result<ModelList, RpcError> {
    let method = "models.list";
    let answer = client.request(method, json!({ "view": "all" }), REQUEST_TIMEOUT).await?;
    serde_json::from_value(answer).map_err(|error| client.malformed(method, &error))
}

/// Looks up `model`, spelled `provider/id`; the id may contain slashes itself.
pub fn availability(list: &ModelList, model: &str) -> Availability {
    let Some((provider, id)) = model.split_once('/') else {
        return Availability::Unknown;
    };
    // Some catalogues spell the provider within the id, too.
    let found = list
        .models
        .iter()
        .find(|row| row.provider == provider && (row.id == id || row.id == model));
    match found {
        None => Availability::Unknown,
        Some(row) if row.available == Some(true) => Availability::Available,
        Some(row) => {
            let reason = row.unavailable_reason.as_deref().map(clean_text);
            Availability::Unavailable { reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_rows() {
        // Captured from 2026.9.6 (view "all"), shortened.
        let list: ModelList = serde_json::from_str(
            r#"{"models":[
            {"id":"claude-sonnet-5","name":"Claude Sonnet 5","provider":"anthropic","alias":"sonnet",
             "contextWindow":1000000,"reasoning":true,"tags":["default","configured"],"available":true},
            {"id":"claude-opus-5","name":"Claude Opus 5","provider":"claude-cli","available":false,
             "unavailableReason":"missing-auth"},
            {"id":"meta/llama","name":"Llama","provider":"openrouter"}],"pendingProviders":["openai"]}"#,
        )
        .expect("list");
        let missing_auth = Availability::Unavailable { reason: Some("missing-auth".into()) };
        for (model, expected) in [
            ("anthropic/claude-sonnet-5", Availability::Available),
            ("claude-cli/claude-opus-5", missing_auth),
            ("openrouter/meta/llama", Availability::Unavailable { reason: None }),
            ("anthropic/claude-nonsense-9", Availability::Unknown),
            ("claude-sonnet-5", Availability::Unknown),
        ] {
            assert_eq!(availability(&list, model), expected, "{model}");
        }
        assert!(list.is_pending("openai/gpt-9") && !list.is_pending("anthropic/claude-opus-5"));
    }
}
