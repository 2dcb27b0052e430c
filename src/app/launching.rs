//! Launching: from settings to an operation, and converging on what is there.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::App;
use super::clusters::refuse_taken_host;
use super::requests::Alongs;
use super::specification::{Asked, has_data};
use super::without_effect::{config_notice, token_notice, without_effect};
use crate::config::Settings;
use crate::domain::credential::CREDENTIALS;
use crate::domain::{
    Deployment, DeploymentName, DeploymentStatus, EventType, Failure, OperationKind,
    OperationStatus, TargetKind,
};
use crate::operations::vault::Slot;
use crate::operations::{LaunchParams, Sink};
use crate::secrets::{Secret, token::generate_token};
use crate::store::{Begin, NewDeployment, NewEvent, OwnClusterStands, new_id};
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
}

/// What a launch begins with.
pub(super) struct LaunchPlan {
    /// What it is asked for with.
    pub params: LaunchParams,
    /// What is recorded of it.
    pub create: NewDeployment,
    /// What is sealed of it.
    pub secrets: GatewaySecrets,
    plugins: Vec<String>,
    /// What the user should know of the settings.
    pub notices: Vec<String>,
}

impl LaunchPlan {
    /// Refuses a machine that would be paid for and could not answer a message.
    pub(super) fn refuse_idle_machine(&self) -> Result<(), Failure> {
        let target = self.params.spec.target;
        if target.is_local() || self.is_provided_for() {
            return Ok(());
        }
        Err(Failure::bad_input(format!(
            "no credential of a provider was given, and a gateway on {target} costs money without \
             being able to answer"
        ))
        .remedy(
            "put one, ANTHROPIC_API_KEY for example, into .env or the environment, or name a \
             provider of your own in openclaw.json",
        ))
    }

    /// Whether the gateway has a provider to ask.
    fn is_provided_for(&self) -> bool {
        !self.secrets.credentials.is_empty() || self.secrets.names_model()
    }

    /// What comes along with its beginning.
    pub fn along(&self) -> Alongs {
        let own = self.params.spec.cluster.as_ref().and_then(|it| it.own.as_ref());
        let stands = own.map(|it| OwnClusterStands { server: it.server.clone() });
        stands.into_iter().map(|it| Arc::new(it) as _).collect()
    }

    /// What the user should know, under the name that it got.
    pub fn notices(&self, name: &DeploymentName) -> Vec<String> {
        let mut notices = self.notices.clone();
        if !self.is_provided_for() {
            notices.push(no_key(name));
        }
        notices.extend(credential_notices(name, &self.secrets, &self.plugins));
        notices
    }
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
        // Whoever was interrupted has not been given a link yet.
        let launched = finished.is_some_and(|it| {
            it.kind == OperationKind::Launch && it.status == OperationStatus::Succeeded
        });
        if let Some(running) = self.found_running(&request, !launched, sink).await? {
            return Ok(running);
        }
        let lock = self.locked(&name, "launch", cancel).await?;
        // Another command may have launched it while the lock was waited for.
        if let Some(running) = self.found_running(&request, true, sink).await? {
            return Ok(running);
        }
        let existing = self.living(&name)?;
        let plan = self.plan_launch(&request, existing.as_ref()).await?;
        if existing.is_none_or(|it| it.facts.machine.is_none()) {
            plan.refuse_idle_machine()?;
        }
        let notices = plan.notices(&name);
        let along = plan.along();
        let LaunchPlan { params, create, .. } = plan;
        let event = NewEvent::new(
            EventType::Launching,
            format!("launching {name} on the {} target", params.spec.target),
        );
        let params = serde_json::to_value(&params)
            .map_err(|error| Failure::failed(format!("the launch's parameters: {error}")))?;
        let operation = self.store().begin(&Begin {
            params,
            create: Some(create),
            event: Some(event),
            along,
            ..Begin::new(OperationKind::Launch, name.clone())
        })?;
        for notice in &notices {
            sink.progress().note(notice);
        }
        self.finish(&operation, lock, sink, cancel).await?;
        Ok(Launched { deployment: self.deployment(&name)?, ran_already: false })
    }

    /// Fails where a launch would be refused before its target is asked. Changes nothing.
    pub async fn may_launch(&self, request: &LaunchRequest<'_>) -> Result<(), Failure> {
        let existing = self.living(&request.name)?;
        if let Some(existing) = &existing {
            self.refuse_other_target(existing, request.target)?;
        }
        let plan = self.plan_launch(request, existing.as_ref()).await?;
        if existing.is_none() { plan.refuse_idle_machine() } else { Ok(()) }
    }

    /// The deployment of this name, if there is one that is not destroyed.
    pub(super) fn living(&self, name: &DeploymentName) -> Result<Option<Deployment>, Failure> {
        let found = self.store().deployment(name)?;
        Ok(found.filter(|deployment| deployment.status != DeploymentStatus::Destroyed))
    }

    /// The deployment, if it runs: then there is nothing to do but to say what of the request has
    /// no effect.
    async fn found_running(
        &self,
        request: &LaunchRequest<'_>,
        ran_already: bool,
        sink: &dyn Sink,
    ) -> Result<Option<Launched>, Failure> {
        let Some(deployment) = self.living(&request.name)? else { return Ok(None) };
        self.refuse_other_target(&deployment, request.target)?;
        if deployment.status != DeploymentStatus::Running || !self.runs(&deployment).await? {
            return Ok(None);
        }
        self.watch_again(&self.engine().site(&deployment)?).await?;
        if ran_already {
            let secrets = self.engine().vault().open(self.store(), &deployment.id)?;
            for notice in without_effect(request, &deployment, &secrets)? {
                sink.progress().note(&notice);
            }
        }
        Ok(Some(Launched { deployment, ran_already }))
    }

    /// Whether the gateway's process runs; a look, and no proof.
    async fn runs(&self, deployment: &Deployment) -> Result<bool, Failure> {
        let site = self.engine().site(deployment)?;
        Ok(self.target(&site).observe(&site).await? == Observed::Running)
    }

    pub(super) fn refuse_other_target(
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
                "launch it under another name: {}; or remove it first: openclaw-pipeline destroy {}",
                self.free_name(&deployment.name)?,
                deployment.name
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
    pub(super) async fn plan_launch(
        &self,
        request: &LaunchRequest<'_>,
        existing: Option<&Deployment>,
    ) -> Result<LaunchPlan, Failure> {
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
        // From the first proof on, a rotation alone replaces the token, and a sync the
        // configuration: both are proven, and what a file still says is no request.
        let settled = existing.is_some_and(has_data);
        let in_force = known.as_ref().filter(|_| settled);
        let token = match (settings.gateway_token()?, &known) {
            (Some(token), Some(in_force)) if settled => {
                notices.extend(token_notice(&request.name, settings, &token, in_force));
                in_force.token.clone()
            }
            (Some(token), _) => token,
            (None, Some(known)) => known.token.clone(),
            (None, None) => generate_token(),
        };
        if let (Some(config), Some(in_force)) = (&request.user_config, in_force) {
            notices.extend(config_notice(&request.name, config, in_force));
        }
        let user_config = match in_force {
            Some(in_force) => in_force.user_config.clone(),
            None => request.user_config.clone(),
        };
        let known = known.unwrap_or_else(|| GatewaySecrets::with_token(token.clone()));
        let secrets = GatewaySecrets {
            token,
            credentials: merge(
                known.credentials,
                given.into_iter().map(|(it, value)| (it.variable.to_owned(), value)),
            ),
            env: merge(known.env, env.variables),
            user_config: user_config.or(known.user_config),
            tunnel_token: settings.named_tunnel()?.map(|(_, token)| token).or(known.tunnel_token),
        };
        let target = match (existing, request.target) {
            (Some(deployment), _) => deployment.spec.target,
            (None, Some(target)) => target,
            (None, None) => self.pick_target(settings, &mut notices).await?,
        };
        let asked = Asked { name: &request.name, target, settings, secrets: &secrets, existing };
        let mut spec = asked.specification(&mut notices)?;
        if existing.is_none_or(|it| it.facts.machine.is_none()) {
            self.as_written(&request.name, settings, &mut spec, &mut notices)?;
        }
        let plugins = existing.map_or(&[][..], |deployment| &deployment.facts.plugins).to_vec();
        let id = existing.map_or_else(new_id, |deployment| deployment.id.clone());
        self.as_kept((&request.name, &id), settings, existing, &mut spec)?;
        self.as_placed(existing, &mut spec)?;
        if let Some(cluster) = spec.cluster.as_ref().filter(|it| it.ingress.is_some()) {
            refuse_taken_host(&request.name, cluster, &self.store().deployments(false)?)?;
        }
        let sealed = self.engine().vault().seal(&id, Slot::Current, &secrets)?;
        let create = NewDeployment {
            id,
            spec: spec.clone(),
            sealed: vec![(Slot::Current.name().to_owned(), sealed)],
            owner: None,
        };
        Ok(LaunchPlan { params: LaunchParams { spec }, create, secrets, plugins, notices })
    }

    /// The local target: `docker` where an engine answers and the image is there or can be
    /// pulled, else `process`.
    async fn pick_target(
        &self,
        settings: &Settings,
        notices: &mut Vec<String>,
    ) -> Result<TargetKind, Failure> {
        let docker = self.engine().targets().docker().engine();
        let why = match docker.require().await {
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

fn no_key(name: &DeploymentName) -> String {
    format!(
        "no provider key was given: the gateway runs, and cannot answer a message yet. Put one, \
         ANTHROPIC_API_KEY for example, into .env or the environment, and then: \
         openclaw-pipeline rotate {name} --keys"
    )
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
             the token, and does not fall back on the key. To use the key: openclaw-pipeline \
             rotate NAME --drop CLAUDE_CODE_OAUTH_TOKEN"
                .replace("NAME", name.as_str()),
        );
    }
    notices
}

/// The known pairs with the given ones over them, each in its place.
pub(super) fn merge(
    mut known: Vec<(String, Secret)>,
    given: impl IntoIterator<Item = (String, Secret)>,
) -> Vec<(String, Secret)> {
    for (name, value) in given {
        match known.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => known.push((name, value)),
        }
    }
    known
}
