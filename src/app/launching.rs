//! Launching: from settings to an operation, and converging on what is there.

use tokio_util::sync::CancellationToken;

use super::App;
use crate::config::Settings;
use crate::domain::credential::CREDENTIALS;
use crate::domain::{
    Deployment, DeploymentName, DeploymentSpec, DeploymentStatus, EventType, Failure,
    OperationKind, TargetKind,
};
use crate::operations::vault::Slot;
use crate::operations::{LaunchParams, Sink};
use crate::secrets::{Secret, token::generate_token};
use crate::store::{Begin, NewDeployment, NewEvent, new_id};
use crate::targets::{GatewaySecrets, Observed, rendering};

/// What a launch is asked for with.
#[derive(Debug)]
pub struct LaunchRequest<'a> {
    /// The name.
    pub name: DeploymentName,
    /// The target; `None` picks a local one.
    pub target: Option<TargetKind>,
    /// Everything else.
    pub settings: &'a Settings,
    /// The user's own `openclaw.json`, if there is one.
    pub user_config: Option<Secret>,
}

/// What a launch led to.
#[derive(Debug)]
pub struct Launched {
    /// The deployment.
    pub deployment: Deployment,
    /// Whether it ran already, so that nothing was done.
    pub ran_already: bool,
    /// What the user should know.
    pub notices: Vec<String>,
}

impl App {
    /// Launches a deployment, goes on with an interrupted launch, or finds that it runs.
    pub async fn launch(
        &self,
        request: LaunchRequest<'_>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Launched, Failure> {
        let name = request.name.clone();
        let finished = self.go_on(&name, sink, cancel).await?;
        let launched = finished.is_some_and(|operation| operation.kind == OperationKind::Launch);
        let existing = self.store().deployment(&name)?;
        let existing =
            existing.filter(|deployment| deployment.status != DeploymentStatus::Destroyed);
        if let Some(deployment) = &existing {
            self.refuse_other_target(deployment, request.target)?;
            if deployment.status == DeploymentStatus::Running && self.runs(deployment).await? {
                return Ok(Launched {
                    deployment: deployment.clone(),
                    // Whoever was interrupted has not been given a link yet.
                    ran_already: !launched,
                    notices: Vec::new(),
                });
            }
        }
        let (params, create, notices) = self.plan(&request, existing.as_ref()).await?;
        let event = NewEvent::new(
            EventType::Launching,
            format!("launching {name} on the {} target", params.spec.target),
        );
        let params = serde_json::to_value(&params)
            .map_err(|error| Failure::failed(format!("the launch's parameters: {error}")))?;
        let lock = self.engine().lock(&name, "launch").await?;
        let operation = self.store().begin(&Begin {
            kind: OperationKind::Launch,
            deployment: &name,
            params,
            create: Some(create),
            event: Some(event),
        })?;
        for notice in &notices {
            sink.progress().note(notice);
        }
        self.finish(&operation, &lock, sink, cancel).await?;
        Ok(Launched { deployment: self.deployment(&name)?, ran_already: false, notices })
    }

    /// Whether the gateway's process runs; a look, and no proof.
    async fn runs(&self, deployment: &Deployment) -> Result<bool, Failure> {
        let site = self.engine().site(deployment)?;
        Ok(self.target(&site).observe(&site).await? == Observed::Running)
    }

    fn refuse_other_target(
        &self,
        deployment: &Deployment,
        target: Option<TargetKind>,
    ) -> Result<(), Failure> {
        let has = deployment.spec.target;
        match target {
            Some(target) if target != has => Err(Failure::conflict(format!(
                "{} is there already, on the {has} target",
                deployment.name
            ))
            .remedy(format!(
                "launch it under another name: {}",
                self.free_name(&deployment.name)?
            ))),
            _ => Ok(()),
        }
    }

    /// The first of `name1`, `name2`, … that nothing has.
    fn free_name(&self, name: &DeploymentName) -> Result<String, Failure> {
        for number in 1..1000 {
            let Ok(candidate) = format!("{name}{number}").parse::<DeploymentName>() else { break };
            if self.store().deployment(&candidate)?.is_none() {
                return Ok(candidate.to_string());
            }
        }
        Ok("a-name-of-its-own".into())
    }

    /// The specification and the secrets of a launch.
    async fn plan(
        &self,
        request: &LaunchRequest<'_>,
        existing: Option<&Deployment>,
    ) -> Result<(LaunchParams, NewDeployment, Vec<String>), Failure> {
        let settings = request.settings;
        let mut notices = settings.notices();
        let (given, env) = (settings.credentials()?, settings.gateway_env()?);
        notices.extend(env.notices);
        if let Some(text) = &request.user_config {
            rendering::parse(text.expose())?;
        }
        let known = match existing {
            Some(deployment) => {
                self.engine().vault().peek(self.store(), &deployment.id, Slot::Current)?
            }
            None => None,
        };
        let credentials = merge(
            known.as_ref().map(|known| known.credentials.clone()).unwrap_or_default(),
            given.into_iter().map(|(it, value)| (it.variable.to_owned(), value)),
        );
        let token = match (settings.gateway_token()?, &known) {
            (Some(token), _) => token,
            (None, Some(known)) => known.token.clone(),
            (None, None) => generate_token(),
        };
        let secrets = GatewaySecrets {
            token,
            env: merge(
                known.as_ref().map(|known| known.env.clone()).unwrap_or_default(),
                env.variables,
            ),
            user_config: request
                .user_config
                .clone()
                .or_else(|| known.and_then(|known| known.user_config)),
            credentials,
        };
        let target = match (existing, request.target) {
            (Some(deployment), _) => deployment.spec.target,
            (None, Some(target)) => target,
            (None, None) => self.pick_target(settings, &mut notices).await?,
        };
        let spec =
            specification(&request.name, target, settings, &secrets, existing, &mut notices)?;
        let plugins = existing.map_or(&[][..], |deployment| &deployment.facts.plugins);
        notices.extend(credential_notices(&request.name, &secrets, plugins));
        let id = existing.map_or_else(new_id, |deployment| deployment.id.clone());
        let sealed = self.engine().vault().seal(&id, Slot::Current, &secrets)?;
        let create = NewDeployment {
            id,
            spec: spec.clone(),
            sealed: vec![(Slot::Current.name().to_owned(), sealed)],
        };
        Ok((LaunchParams { spec }, create, notices))
    }

    /// The local target: `docker` where an engine answers and the image is there or can be
    /// pulled, else `process`.
    async fn pick_target(
        &self,
        settings: &Settings,
        notices: &mut Vec<String>,
    ) -> Result<TargetKind, Failure> {
        let docker = self.engine().targets().docker();
        let why = match docker.usable().await {
            Ok(()) => match docker.available(&settings.image()?).await {
                Ok(()) => return Ok(TargetKind::Docker),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        notices.push(format!("the process target is used, because: {why}"));
        Ok(TargetKind::Process)
    }
}

/// The specification that the settings make.
fn specification(
    name: &DeploymentName,
    target: TargetKind,
    settings: &Settings,
    secrets: &GatewaySecrets,
    existing: Option<&Deployment>,
    notices: &mut Vec<String>,
) -> Result<DeploymentSpec, Failure> {
    let providers = secrets.providers();
    let choice = settings.model_with(&secrets.usable_providers())?;
    let own_model = secrets.names_model();
    let chosen_outright =
        settings.origin(crate::config::Variable::DefaultModel) != crate::config::Origin::Default;
    let model = match choice {
        // The user's own configuration names one, and nobody asked for another.
        Some(_) if own_model && !chosen_outright => None,
        Some(choice) => {
            notices.extend(choice.notice);
            Some(choice.model)
        }
        None => existing.and_then(|deployment| deployment.spec.model.clone()),
    };
    if providers.is_empty() && !own_model {
        notices.push(format!(
            "no provider key was given: the gateway runs, and cannot answer a message yet. Put \
             one, ANTHROPIC_API_KEY for example, into .env or the environment, and then: \
             openclaw-pipeline rotate {name} --keys"
        ));
    }
    let version = (target == TargetKind::Process).then(|| settings.version()).transpose()?;
    Ok(DeploymentSpec {
        target,
        port: settings.port()?,
        bind: settings.bind()?,
        model,
        exec_ask: settings.exec_ask()?,
        heartbeat: settings.heartbeat()?,
        image: (target == TargetKind::Docker).then(|| settings.image()).transpose()?,
        version,
        approval: settings.approval()?,
        memory_mib: settings.memory_mib()?,
    })
}

/// Which of the keys have no effect, and why.
pub(super) fn credential_notices(
    name: &DeploymentName,
    secrets: &GatewaySecrets,
    plugins: &[String],
) -> Vec<String> {
    let given = |variable: &str| secrets.credentials.iter().any(|(known, _)| known == variable);
    let mut notices = Vec::new();
    for credential in CREDENTIALS.iter().filter(|credential| given(credential.variable)) {
        let (variable, provider) = (credential.variable, credential.provider);
        if let Some(plugin) = provider.plugin()
            && !plugins.iter().any(|installed| installed == provider.id())
        {
            notices.push(format!(
                "{variable} has no effect: the gateway needs a plugin for it, and is not given \
                 the key before that is there: openclaw-pipeline openclaw {name} -- plugins \
                 install {plugin}, then openclaw-pipeline restart {name}"
            ));
        }
    }
    if given("CLAUDE_CODE_OAUTH_TOKEN") && given("ANTHROPIC_API_KEY") {
        notices.push(
            "ANTHROPIC_API_KEY has no effect beside CLAUDE_CODE_OAUTH_TOKEN: the gateway sends \
             the token, and does not fall back on the key"
                .into(),
        );
    }
    notices
}

/// The known pairs with the given ones over them.
fn merge(
    mut known: Vec<(String, Secret)>,
    given: impl IntoIterator<Item = (String, Secret)>,
) -> Vec<(String, Secret)> {
    for (name, value) in given {
        known.retain(|(known, _)| *known != name);
        known.push((name, value));
    }
    known
}
