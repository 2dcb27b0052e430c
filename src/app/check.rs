//! Checks of a running gateway: its route, its providers' keys, its default model.
//!
//! Owns asking the gateway now, and saying what the answer is worth. Refuses to change anything.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::domain::{Credential, DeploymentName, Failure, Provider};
use crate::exec::wait;
use crate::gateway::models::{self, Availability, ModelList};
use crate::gateway::prove::{Proof, wait_available};
use crate::gateway::{ConnectOptions, GatewayClient, RpcError, connect_retrying};
use crate::operations::prove_site;
use crate::targets::{Observed, Progress, Site};

/// How long a proof of a gateway that runs may take: it may just be starting, and reads its
/// providers' catalogues for up to a minute after that.
const PROVE_DEADLINE: Duration = Duration::from_secs(90);
/// How long connecting to it may take.
const CONNECT: Duration = Duration::from_secs(15);
/// How long the gateway may take to read a provider's catalogue, one after the other.
const CATALOGUE_PATIENCE: Duration = Duration::from_secs(60);
/// How long models may be missing although nothing is pending.
const SETTLE: Duration = Duration::from_secs(5);
/// The pause between two looks at the catalogue.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long asking the gateway's own command may take: it costs a start of Node.js.
const ASK_DEADLINE: Duration = Duration::from_secs(90);

/// One provider credential, as the gateway uses it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct CheckedCredential {
    /// The variable that it was handed over by.
    pub variable: String,
    /// Its provider.
    pub provider: &'static str,
    /// Whether the gateway has models to use with it.
    pub works: bool,
    /// How many.
    pub models: usize,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The default model, as the gateway knows it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct CheckedModel {
    /// The model.
    pub model: String,
    /// Whether the gateway can use it.
    pub available: bool,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl App {
    /// Proves the user's route now, as a launch does.
    pub async fn check_gateway(
        &self,
        name: &DeploymentName,
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<Proof, Failure> {
        let site = self.running(name).await?;
        Ok(prove_site(self.target(&site), &site, PROVE_DEADLINE, progress, cancel).await?)
    }

    /// Whether each provider credential that was handed over arrives in the gateway.
    pub async fn check_auth(
        &self,
        name: &DeploymentName,
    ) -> Result<Vec<CheckedCredential>, Failure> {
        let site = self.running(name).await?;
        let given = credentials(&site);
        if given.is_empty() {
            return Err(Failure::failed(format!("{name} was handed no provider key")).remedy(
                format!(
                    "set one in the environment or in .env, ANTHROPIC_API_KEY for example; then: \
                     openclaw-pipeline rotate {name} --keys"
                ),
            ));
        }
        let wanted: Vec<Provider> = given
            .iter()
            .map(|credential| credential.provider)
            .filter(|provider| !lacks_plugin(&site, *provider))
            .collect();
        let client = self.reading(&site).await?;
        let list = catalogue(&client, &wanted).await;
        client.close().await;
        let list = list.map_err(|error| told(&site, &error))?;
        Ok(given.into_iter().map(|credential| judged(&site, credential, &list)).collect())
    }

    /// The default model, and whether the gateway can use it.
    pub async fn check_model(&self, name: &DeploymentName) -> Result<CheckedModel, Failure> {
        let site = self.running(name).await?;
        let model = match &site.deployment.spec.model {
            Some(model) => model.clone(),
            None => self.own_model(&site).await?,
        };
        let client = self.reading(&site).await?;
        let deadline = Instant::now() + PROVE_DEADLINE;
        let found = wait_available(&client, &model, deadline, &mut |_: &str| {}).await;
        client.close().await;
        let why = match found.map_err(|error| told(&site, &error))? {
            Availability::Available => None,
            Availability::Unavailable { reason } => {
                Some(reason.unwrap_or_else(|| "the gateway gives no reason".into()))
            }
            Availability::Unknown => Some("the gateway's catalogue does not have it".into()),
        };
        Ok(CheckedModel { model: site.scrub(&model, 200), available: why.is_none(), why })
    }

    /// The deployment, when its gateway's process runs.
    async fn running(&self, name: &DeploymentName) -> Result<Site, Failure> {
        let site = self.site(name)?;
        let start = format!("openclaw-pipeline start {name}");
        match self.target(&site).observe(&site).await? {
            Observed::Running => Ok(site),
            Observed::Absent | Observed::Stopped => {
                Err(Failure::failed(format!("{name} does not run")).remedy(start))
            }
            Observed::Crashed { cause, .. }
            | Observed::Held { cause }
            | Observed::Stuck { cause, .. }
            | Observed::Mending { cause } => {
                Err(Failure::failed(format!("{name} does not run: {}", site.scrub(&cause, 400)))
                    .remedy(format!("openclaw-pipeline doctor {name}")))
            }
        }
    }

    /// A connection on the gateway's loopback that may read the catalogue.
    async fn reading(&self, site: &Site) -> Result<GatewayClient, Failure> {
        let dial = self.target(site).loopback(site)?;
        let host = site.host_header()?;
        let options =
            ConnectOptions::new(site.secrets.token.clone(), host, Instant::now() + CONNECT)
                .scopes(&[models::SCOPE]);
        connect_retrying(&*dial, &options, |_| {}).await.map_err(|error| {
            Failure::failed(format!(
                "{}: the gateway cannot be talked to: {}",
                site.deployment.name,
                site.scrub(&error.to_string(), 300)
            ))
            .remedy(format!("openclaw-pipeline doctor {}", site.deployment.name))
        })
    }

    /// The model that the gateway's own configuration names, where the program manages none.
    async fn own_model(&self, site: &Site) -> Result<String, Failure> {
        let mut cmd =
            self.target(site).openclaw(site, &["models", "status", "--json"], false).await?;
        let output = cmd.deadline(ASK_DEADLINE).output().await?;
        default_model(&output.stdout).ok_or_else(|| {
            Failure::failed(format!(
                "{}: no default model is set, neither here nor in the gateway's configuration",
                site.deployment.name
            ))
            .remedy("set DEFAULT_MODEL, or agents.defaults.model in openclaw.json, and launch")
        })
    }
}

fn credentials(site: &Site) -> Vec<&'static Credential> {
    let given = site.secrets.credentials.iter();
    given.filter_map(|(variable, _)| Credential::by_variable(variable)).collect()
}

fn lacks_plugin(site: &Site, provider: Provider) -> bool {
    let plugins = &site.deployment.facts.plugins;
    provider.plugin().is_some() && !plugins.iter().any(|plugin| plugin == provider.id())
}

/// The catalogue, once what is wanted of it is there or will not come.
async fn catalogue(client: &GatewayClient, wanted: &[Provider]) -> Result<ModelList, RpcError> {
    let asked = Instant::now();
    loop {
        let list = models::list(client).await?;
        let pending = wanted.iter().any(|provider| list.is_pending(provider.id()));
        let missing = wanted.iter().any(|provider| available(&list, provider.id()) == 0);
        let patience = if pending { CATALOGUE_PATIENCE } else { SETTLE };
        if !missing || asked.elapsed() >= patience {
            return Ok(list);
        }
        wait::back_off(LOOK_EVERY).await;
    }
}

fn available(list: &ModelList, provider: &str) -> usize {
    let of_provider = list.models.iter().filter(|model| model.provider == provider);
    of_provider.filter(|model| model.available == Some(true)).count()
}

fn judged(site: &Site, credential: &Credential, list: &ModelList) -> CheckedCredential {
    let provider = credential.provider;
    let name = &site.deployment.name;
    let models = available(list, provider.id());
    let why = match provider.plugin() {
        Some(plugin) if lacks_plugin(site, provider) => Some(format!(
            "it has no effect until its plugin is there: openclaw-pipeline openclaw {name} -- \
             plugins install {plugin}; then: openclaw-pipeline restart {name}"
        )),
        _ if models > 0 => None,
        _ if list.is_pending(provider.id()) => {
            Some("the gateway is still reading this provider's models; ask again".into())
        }
        _ => Some(unavailable(list, provider.id())),
    };
    CheckedCredential {
        variable: credential.variable.to_owned(),
        provider: provider.id(),
        works: why.is_none(),
        models,
        why,
    }
}

/// The gateway's reason, where all its models of a provider have one.
fn unavailable(list: &ModelList, provider: &str) -> String {
    let mut reasons = list
        .models
        .iter()
        .filter(|model| model.provider == provider)
        .filter_map(|model| model.unavailable_reason.as_deref());
    match reasons.next() {
        Some(reason) => {
            format!("its models cannot be used: {}", crate::gateway::clean_text(reason))
        }
        None => "the gateway lists no model of this provider".into(),
    }
}

fn told(site: &Site, error: &RpcError) -> Failure {
    let name = &site.deployment.name;
    let why = site.scrub(&error.to_string(), 300);
    Failure::failed(format!("{name}: the gateway did not list its models: {why}"))
        .remedy(format!("openclaw-pipeline doctor {name}"))
}

/// The default model in what `openclaw models status --json` prints.
fn default_model(printed: &str) -> Option<String> {
    let begin = printed.find('{')?;
    let status: Value = serde_json::from_str(printed[begin..].trim()).ok()?;
    let text = |key: &str| status.get(key).and_then(Value::as_str);
    let model = text("resolvedDefault").or_else(|| text("defaultModel"))?;
    model.contains('/').then(|| model.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> ModelList {
        serde_json::from_str(
            r#"{"models": [
                {"provider": "anthropic", "id": "a", "available": true},
                {"provider": "anthropic", "id": "b", "available": false},
                {"provider": "xai", "id": "c", "available": false,
                 "unavailableReason": "missing-auth"}
            ], "pendingProviders": ["openai"]}"#,
        )
        .expect("a catalogue")
    }

    #[test]
    fn only_models_that_can_be_called_count() {
        assert_eq!(available(&list(), "anthropic"), 1);
        assert_eq!(available(&list(), "xai"), 0);
        assert!(unavailable(&list(), "xai").contains("missing-auth"));
        assert!(unavailable(&list(), "google").contains("no model"));
    }

    #[test]
    fn the_default_model_is_read_behind_whatever_is_printed_before() {
        let printed = "a notice\n{\"defaultModel\": \"x/y\", \"resolvedDefault\": \"x/z\"}\n";
        assert_eq!(default_model(printed).as_deref(), Some("x/z"));
        assert_eq!(default_model("{\"defaultModel\": \"x/y\"}").as_deref(), Some("x/y"));
        assert_eq!(default_model("{}"), None);
        assert_eq!(default_model("no JSON"), None);
    }
}
