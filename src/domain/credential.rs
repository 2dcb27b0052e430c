//! The provider credentials: the contract's names and what the gateway reads.
//!
//! Owns the one table of credentials. The names of the contract are kept; where this gateway
//! reads another variable, the table says which, and where a key has no effect without a plugin,
//! it says which plugin.

use serde::{Deserialize, Serialize};

/// A provider of models, spelled as the gateway spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Anthropic.
    Anthropic,
    /// Google Gemini.
    Google,
    /// OpenAI.
    OpenAi,
    /// Groq.
    Groq,
    /// xAI.
    Xai,
    /// Mistral.
    Mistral,
    /// OpenRouter.
    OpenRouter,
}

impl Provider {
    /// The provider's id in `provider/model`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Google => "google",
            Self::OpenAi => "openai",
            Self::Groq => "groq",
            Self::Xai => "xai",
            Self::Mistral => "mistral",
            Self::OpenRouter => "openrouter",
        }
    }

    /// The gateway plugin without which this provider's key does nothing.
    pub fn plugin(self) -> Option<&'static str> {
        match self {
            Self::Groq => Some("@openclaw/groq-provider"),
            Self::Mistral => Some("@openclaw/mistral-provider"),
            _ => None,
        }
    }

    /// The model chosen when only this provider's credential was given.
    pub fn default_model(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic/claude-sonnet-5",
            Self::Google => "google/gemini-3.5-flash",
            Self::OpenAi => "openai/gpt-5.5",
            Self::Groq => "groq/llama-3.3-70b-versatile",
            Self::Xai => "xai/grok-4.5",
            Self::Mistral => "mistral/mistral-large-latest",
            Self::OpenRouter => "openrouter/auto",
        }
    }
}

/// One credential of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// The variable's name in the contract.
    pub variable: &'static str,
    /// The variable that the gateway reads it from.
    pub gateway_variable: &'static str,
    /// Whose it is.
    pub provider: Provider,
    /// What it is called in a message.
    pub title: &'static str,
}

const fn key(variable: &'static str, provider: Provider, title: &'static str) -> Credential {
    Credential { variable, gateway_variable: variable, provider, title }
}

/// Every credential, in the order in which the first one given chooses the default model.
pub const CREDENTIALS: [Credential; 8] = [
    // The gateway does not read CLAUDE_CODE_OAUTH_TOKEN; under this name it sends the token as a
    // bearer token, which is what Anthropic expects of one.
    Credential {
        variable: "CLAUDE_CODE_OAUTH_TOKEN",
        gateway_variable: "ANTHROPIC_OAUTH_TOKEN",
        provider: Provider::Anthropic,
        title: "Claude Code OAuth token",
    },
    key("ANTHROPIC_API_KEY", Provider::Anthropic, "Anthropic API key"),
    key("GEMINI_API_KEY", Provider::Google, "Google Gemini API key"),
    key("OPENAI_API_KEY", Provider::OpenAi, "OpenAI API key"),
    key("GROQ_API_KEY", Provider::Groq, "Groq API key"),
    key("XAI_API_KEY", Provider::Xai, "xAI API key"),
    key("MISTRAL_API_KEY", Provider::Mistral, "Mistral API key"),
    key("OPENROUTER_API_KEY", Provider::OpenRouter, "OpenRouter API key"),
];

impl Credential {
    /// The credential with this contract name.
    pub fn by_variable(variable: &str) -> Option<&'static Self> {
        CREDENTIALS.iter().find(|credential| credential.variable == variable)
    }
}
