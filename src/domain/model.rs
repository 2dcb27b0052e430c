//! Which model a gateway runs with.
//!
//! Owns the inference of a provider from a model's name and the replacement of models that are
//! gone. Always answers `provider/model`: the gateway reads a bare id as one of OpenAI's.

use super::credential::Provider;

/// The model that the knowledge base names; today's gateways answer "Unknown model".
const RETIRED: [&str; 2] = ["claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929"];

/// A chosen model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelChoice {
    /// The model as `provider/model`.
    pub model: String,
    /// What the user should know about the choice.
    pub notice: Option<String>,
}

/// Why a model cannot be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The provider cannot be told from the name.
    #[error(
        "the provider of model {0:?} cannot be told from its name; write it as provider/model, \
         or set DEFAULT_PROVIDER"
    )]
    UnknownProvider(String),
    /// The name has characters that no model has.
    #[error(
        "DEFAULT_MODEL is 1 to 200 of letters, digits and . _ : / @ + -, starting with a letter \
         or digit; {0:?} is not"
    )]
    Invalid(String),
}

/// The model for a deployment: what was asked for, or the default of the first credential given.
/// `None` when nothing was asked for and no credential was given.
pub fn choose(
    model: Option<&str>,
    provider: Option<&str>,
    credentials: &[Provider],
) -> Result<Option<ModelChoice>, ModelError> {
    let Some(model) = model else {
        let first = match provider {
            Some(id) => credentials.iter().find(|candidate| candidate.id() == id),
            None => credentials.first(),
        };
        return Ok(first.map(|provider| ModelChoice {
            model: provider.default_model().to_owned(),
            notice: None,
        }));
    };
    if RETIRED.contains(&model) {
        let replacement = Provider::Anthropic.default_model();
        return Ok(Some(ModelChoice {
            model: replacement.to_owned(),
            notice: Some(format!(
                "model {model} is gone from today's gateways; using {replacement} instead"
            )),
        }));
    }
    if !is_model_name(model) {
        return Err(ModelError::Invalid(super::text::clean(model, 80)));
    }
    let full = match provider {
        Some(provider) if model.starts_with(&format!("{provider}/")) => model.to_owned(),
        Some(provider) => format!("{provider}/{model}"),
        None if model.contains('/') => model.to_owned(),
        None => match infer(model) {
            Some(provider) => format!("{}/{model}", provider.id()),
            None => return Err(ModelError::UnknownProvider(model.to_owned())),
        },
    };
    Ok(Some(ModelChoice { model: full, notice: None }))
}

/// The provider's id in a `provider/model`.
pub fn provider_of(model: &str) -> Option<&str> {
    model.split_once('/').map(|(provider, _)| provider)
}

fn is_model_name(model: &str) -> bool {
    (1..=200).contains(&model.len())
        && model.bytes().all(|c| c.is_ascii_alphanumeric() || b"._:/@+-".contains(&c))
        && model.as_bytes()[0].is_ascii_alphanumeric()
        && !model.ends_with('/')
}

fn infer(model: &str) -> Option<Provider> {
    const PREFIXES: [(&str, Provider); 5] = [
        ("claude-", Provider::Anthropic),
        ("gemini-", Provider::Google),
        ("gpt-", Provider::OpenAi),
        ("o1", Provider::OpenAi),
        ("o3", Provider::OpenAi),
    ];
    PREFIXES
        .iter()
        .find(|(prefix, _)| {
            model.strip_prefix(prefix).is_some_and(|rest| {
                prefix.ends_with('-') || rest.is_empty() || rest.starts_with('-')
            })
        })
        .map(|(_, provider)| *provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(model: &str, provider: Option<&str>) -> String {
        choose(Some(model), provider, &[]).expect(model).expect(model).model
    }

    #[test]
    fn the_provider_is_inferred_from_the_name() {
        assert_eq!(chosen("claude-opus-5", None), "anthropic/claude-opus-5");
        assert_eq!(chosen("gemini-2.5-pro", None), "google/gemini-2.5-pro");
        assert_eq!(chosen("gpt-5.5", None), "openai/gpt-5.5");
        assert_eq!(chosen("o3-mini", None), "openai/o3-mini");
        assert_eq!(chosen("o1", None), "openai/o1");
        assert_eq!(chosen("groq/llama-3", None), "groq/llama-3");
    }

    #[test]
    fn a_provider_that_is_set_wins() {
        assert_eq!(chosen("gpt-5.5", Some("openrouter")), "openrouter/gpt-5.5");
        assert_eq!(chosen("openai/gpt-5.5", Some("openai")), "openai/gpt-5.5");
        assert_eq!(
            chosen("openai/gpt-5.5", Some("openrouter")),
            "openrouter/openai/gpt-5.5",
            "openrouter's own ids have a slash"
        );
    }

    #[test]
    fn the_first_credential_chooses_the_default() {
        let none = choose(None, None, &[]).expect("no model");
        assert_eq!(none, None);
        let google = choose(None, None, &[Provider::Google, Provider::OpenAi]).expect("google");
        assert_eq!(google.expect("a model").model, Provider::Google.default_model());
    }

    #[test]
    fn the_retired_default_is_replaced_with_a_notice() {
        let choice = choose(Some("claude-sonnet-4-5-20250929"), None, &[]).expect("replaced");
        let choice = choice.expect("a model");
        assert_eq!(choice.model, "anthropic/claude-sonnet-5");
        assert!(choice.notice.expect("a notice").contains("gone"));
    }

    #[test]
    fn nonsense_is_refused() {
        for model in ["", "a b", "x\n", "$(id)", "/x", "x/", "-x", "'"] {
            assert!(
                matches!(choose(Some(model), None, &[]), Err(ModelError::Invalid(_))),
                "{model}"
            );
        }
        assert!(matches!(choose(Some("llama"), None, &[]), Err(ModelError::UnknownProvider(_))));
        assert!(matches!(choose(Some("o1x"), None, &[]), Err(ModelError::UnknownProvider(_))));
    }
}
