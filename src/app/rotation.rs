//! What a rotation changes: the token, keys that are new, and keys that are taken out.
//!
//! Owns the secrets that come of it. Refuses to change nothing: whoever asks for a rotation wants
//! an old secret to be worthless afterwards.

use super::launching::{credential_notices, merge};
use crate::domain::{
    Deployment, DeploymentName, Failure, Operation, credential::CREDENTIALS, model,
};
use crate::operations::RotateParams;
use crate::secrets::{Secret, token::generate_token};
use crate::targets::GatewaySecrets;

/// What a rotation changes.
#[derive(Debug, Default)]
pub struct Rotation {
    /// Whether the gateway's token is replaced.
    pub new_token: bool,
    /// The new token; a generated one when `None`.
    pub token: Option<Secret>,
    /// New provider keys, by variable.
    pub credentials: Vec<(String, Secret)>,
    /// Whether they are those of whoever asks, and not the operator's own.
    pub keys_of_request: bool,
    /// Keys and further variables to take out.
    pub dropped: Vec<String>,
}

impl Rotation {
    /// The rotation of these secrets: what it is asked for with, and the secrets after it. `None`
    /// when the interrupted one that was gone on with (`done`) did all of it.
    pub(super) fn over(
        self,
        name: &DeploymentName,
        known: &GatewaySecrets,
        done: Option<&Operation>,
    ) -> Result<Option<(RotateParams, GatewaySecrets)>, Failure> {
        let did: RotateParams = done
            .and_then(|done| serde_json::from_value(done.params.clone()).ok())
            .unwrap_or_default();
        let mut params = RotateParams {
            token: self.new_token,
            credentials: self.credentials.iter().map(|(name, _)| name.clone()).collect(),
            dropped: self.dropped,
        };
        if let Some(both) = params.dropped.iter().find(|it| params.credentials.contains(it)) {
            return Err(Failure::bad_input(format!(
                "{both} is to be taken out, and is set in the environment or in .env"
            ))
            .remedy(format!("unset {both} too, or leave --drop {both} out")));
        }
        let mut next = known.clone();
        if let Some(token) = self.token.as_ref().filter(|_| params.token)
            && token.expose() == known.token.expose()
        {
            if !did.token {
                return Err(Failure::bad_input(
                    "the token that OPENCLAW_GATEWAY_TOKEN names is the one in force already",
                )
                .remedy("set another one, or leave it out to have one generated"));
            }
            // The rotation that put it in force was interrupted, and is done now.
            params.token = false;
        }
        if params.token {
            next.token = self.token.unwrap_or_else(generate_token);
        }
        next.credentials = merge(next.credentials, self.credentials);
        for variable in std::mem::take(&mut params.dropped) {
            if next.has(&variable) {
                next.drop_variable(&variable);
                params.dropped.push(variable);
            } else if !did.dropped.contains(&variable) {
                return Err(nothing_to_drop(name, &variable, known));
            }
        }
        let unchanged = next.to_bytes()? == known.to_bytes()?;
        Ok((!unchanged || done.is_none()).then_some((params, next)))
    }
}

fn nothing_to_drop(name: &DeploymentName, variable: &str, known: &GatewaySecrets) -> Failure {
    let has: Vec<&str> =
        known.credentials.iter().chain(&known.env).map(|(name, _)| name.as_str()).collect();
    let has = if has.is_empty() { "no key".to_owned() } else { has.join(", ") };
    Failure::not_found(format!(
        "{name} has no {} to take out",
        crate::domain::text::clean(variable, 80)
    ))
    .remedy(format!("name one that it has; it has {has}"))
}

/// What the user should know of the secrets that a deployment is about to get.
pub(super) fn rotated_notices(deployment: &Deployment, next: &GatewaySecrets) -> Vec<String> {
    let name = &deployment.name;
    let mut notices = credential_notices(name, next, &deployment.facts.plugins);
    if let Some(model) = &deployment.spec.model
        && let Some(provider) = model::provider_of(model)
        && CREDENTIALS.iter().any(|credential| credential.provider.id() == provider)
        && !next.providers().iter().any(|known| known.id() == provider)
    {
        notices.push(format!(
            "{name} keeps the model {model}, and has no key of {provider} after this: it cannot \
             answer a message with it. To choose another one: openclaw-pipeline stop {name}, then \
             openclaw-pipeline launch {name} --model PROVIDER/MODEL"
        ));
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureKind;

    fn secrets(keys: &[(&str, &str)]) -> GatewaySecrets {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new(*value));
        GatewaySecrets {
            token: Secret::new("the-token-in-force"),
            credentials: keys.iter().map(pair).collect(),
            env: vec![("TELEGRAM_BOT_TOKEN".into(), Secret::new("t"))],
            user_config: None,
            tunnel_token: None,
        }
    }

    fn over(rotation: Rotation, known: &GatewaySecrets) -> Result<(Vec<String>, String), Failure> {
        let (_, next) = rotation.over(&DeploymentName::main(), known, None)?.expect("something");
        let names = next.credentials.into_iter().map(|(name, _)| name).collect();
        Ok((names, next.token.expose().to_owned()))
    }

    #[test]
    fn a_key_is_taken_out_and_the_token_stays() {
        let known = secrets(&[("CLAUDE_CODE_OAUTH_TOKEN", "c"), ("OPENAI_API_KEY", "o")]);
        let drop = |variable: &str| Rotation {
            dropped: vec![variable.to_owned()],
            credentials: vec![("ANTHROPIC_API_KEY".into(), Secret::new("a"))],
            ..Rotation::default()
        };
        let (names, token) = over(drop("CLAUDE_CODE_OAUTH_TOKEN"), &known).expect("dropped");
        assert_eq!(names, ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"]);
        assert_eq!(token, "the-token-in-force");
        over(drop("TELEGRAM_BOT_TOKEN"), &known).expect("a further variable");
        let failure = over(drop("XAI_API_KEY"), &known).expect_err("not there");
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert!(failure.remedy.expect("a remedy").contains("OPENAI_API_KEY"));
        let failure = over(drop("ANTHROPIC_API_KEY"), &known).expect_err("both");
        assert_eq!(failure.kind, FailureKind::BadInput);
    }

    #[test]
    fn a_key_that_is_replaced_keeps_its_place() {
        let known = secrets(&[("OPENAI_API_KEY", "o"), ("XAI_API_KEY", "x")]);
        let credentials = vec![("OPENAI_API_KEY".into(), Secret::new("other"))];
        let (names, _) =
            over(Rotation { credentials, ..Rotation::default() }, &known).expect("rotated");
        assert_eq!(names, ["OPENAI_API_KEY", "XAI_API_KEY"]);
    }

    #[test]
    fn the_token_in_force_is_refused_as_a_new_one() {
        let token = Some(Secret::new("the-token-in-force"));
        let rotation = Rotation { new_token: true, token, ..Rotation::default() };
        let failure = over(rotation, &secrets(&[])).expect_err("the same");
        assert!(failure.message.contains("in force already"), "{failure}");
    }
}
