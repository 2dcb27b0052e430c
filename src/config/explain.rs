//! What `config explain` shows: each variable, its value, where the value comes from.
//!
//! Owns the masking. Refuses to show a secret, or any part of one.

use serde::Serialize;

use super::settings::Settings;
use super::sources::Origin;
use super::variables::{DefaultValue, Definition, VARIABLES, Variable};
use crate::domain::text;

/// A variable as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// Its name.
    pub variable: &'static str,
    /// Its value; of a secret, its length.
    pub value: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// What it means.
    pub doc: &'static str,
    /// Why the value cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Every variable, in the order of the table.
pub fn explain(settings: &Settings) -> Vec<Explained> {
    VARIABLES
        .iter()
        .map(|row| Explained {
            variable: row.name,
            value: value(settings, row),
            origin: settings.origin(row.variable),
            doc: row.doc,
            problem: settings.check(row.variable).err().map(|failure| failure.message),
        })
        .collect()
}

fn value(settings: &Settings, row: &Definition) -> String {
    let path = match row.variable {
        Variable::Home => settings.data_directory().ok(),
        Variable::KeyFile => settings.key_file().ok(),
        _ => None,
    };
    if let Some(path) = path {
        return text::clean(&path.display().to_string(), 300);
    }
    match (settings.given(row.variable), row.default) {
        (Some(secret), _) if row.secret => {
            format!("set, {} characters", secret.expose().chars().count())
        }
        (Some(given), _) => text::clean(given.expose(), 300),
        (None, DefaultValue::Text(default) | DefaultValue::Computed(default)) => default.to_owned(),
        (None, DefaultValue::Unset("")) => "not set".to_owned(),
        (None, DefaultValue::Unset(meaning)) => format!("not set ({meaning})"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::*;

    fn explained(sources: &Sources) -> Vec<Explained> {
        explain(&Settings::resolve(sources).expect("resolved"))
    }

    fn row<'a>(rows: &'a [Explained], name: &str) -> &'a Explained {
        rows.iter().find(|row| row.variable == name).expect(name)
    }

    #[test]
    fn secrets_are_masked_and_origins_shown() {
        let rows = explained(
            &Sources::new("/w")
                .env("HOME", "/home/u")
                .env("OPENCLAW_GATEWAY_TOKEN", "s3cr3t-s3cr3t-s3cr3t")
                .dotenv("\nOPENAI_API_KEY=s3cr3t\nGATEWAY_PORT=abc"),
        );
        let token = row(&rows, "OPENCLAW_GATEWAY_TOKEN");
        assert_eq!(token.value, "set, 20 characters");
        assert_eq!(token.origin, Origin::Environment);
        assert_eq!(row(&rows, "OPENAI_API_KEY").origin.to_string(), ".env line 2");
        assert_eq!(row(&rows, "XAI_API_KEY").value, "not set");
        assert_eq!(row(&rows, "HEARTBEAT").value, "off");
        assert_eq!(
            row(&rows, "OPENCLAW_PIPELINE_HOME").value,
            "/home/u/.local/share/openclaw-pipeline"
        );
        let port = row(&rows, "GATEWAY_PORT");
        assert!(port.problem.as_ref().expect("a problem").contains("65535"));
        let json = serde_json::to_string(&rows).expect("json");
        assert!(!json.contains("s3cr3t") && json.contains("\"origin\":\"environment\""));
    }

    #[test]
    fn every_variable_is_explained_even_without_a_home() {
        assert_eq!(explained(&Sources::new("/w")).len(), VARIABLES.len());
    }
}
