//! What of a launch's request has no effect on what is there, and what would give it one.
//!
//! Owns the comparison of what is asked for with what is in force, and its words. Refuses to change
//! either.

use super::launching::LaunchRequest;
use super::specification::Asked;
use crate::config::{Settings, Variable};
use crate::domain::{
    ClusterSpec, Deployment, DeploymentName, DeploymentSpec, Failure, IngressApi, MachineSpec,
};
use crate::secrets::Secret;
use crate::targets::GatewaySecrets;

/// Says that a token is given that is not the one in force.
pub(super) fn token_notice(
    name: &DeploymentName,
    settings: &Settings,
    given: &Secret,
    in_force: &GatewaySecrets,
) -> Option<String> {
    (given.expose() != in_force.token.expose()).then(|| {
        format!(
            "OPENCLAW_GATEWAY_TOKEN ({}) is not the token of {name}, and is not used: only a \
             rotation replaces a token. If it is a new one: openclaw-pipeline rotate {name}; if it \
             is an old one, take it out there",
            settings.origin(Variable::GatewayToken)
        )
    })
}

/// Says that the user's file is not the configuration that was put in place.
pub(super) fn config_notice(
    name: &DeploymentName,
    given: &Secret,
    in_force: &GatewaySecrets,
) -> Option<String> {
    let known = in_force.user_config.as_ref().map(Secret::expose);
    (known != Some(given.expose())).then(|| {
        format!(
            "the openclaw.json here is not the one that {name} was given, and has no effect yet: \
             openclaw-pipeline config sync {name}"
        )
    })
}

/// What of a request has no effect on a deployment that runs, and what would give it one.
pub(super) fn without_effect(
    request: &LaunchRequest<'_>,
    deployment: &Deployment,
    in_force: &GatewaySecrets,
) -> Result<Vec<String>, Failure> {
    let (name, settings) = (&request.name, request.settings);
    let mut notices = Vec::new();
    if let Some(token) = settings.gateway_token()? {
        notices.extend(token_notice(name, settings, &token, in_force));
    }
    if let Some(config) = &request.user_config {
        notices.extend(config_notice(name, config, in_force));
    }
    let differs = |known: &[(String, Secret)], variable: &str, value: &Secret| {
        !known.iter().any(|(known, it)| known == variable && it.expose() == value.expose())
    };
    let keys: Vec<&str> = settings
        .credentials()?
        .iter()
        .filter(|(it, value)| differs(&in_force.credentials, it.variable, value))
        .map(|(it, _)| it.variable)
        .collect();
    if !keys.is_empty() {
        notices.push(format!(
            "{name} runs without what is set as {}: openclaw-pipeline rotate {name} --keys gives \
             it to the gateway",
            keys.join(", ")
        ));
    }
    let mut others: Vec<String> = settings
        .gateway_env()?
        .variables
        .into_iter()
        .filter(|(variable, value)| differs(&in_force.env, variable, value))
        .map(|(variable, _)| variable)
        .collect();
    let target = deployment.spec.target;
    let asked = Asked { name, target, settings, secrets: in_force, existing: Some(deployment) };
    match asked.but_the_artefact(&mut Vec::new()) {
        Ok(spec) => others.extend(changed(deployment, &spec).map(str::to_owned)),
        Err(failure) => notices.push(failure.to_string()),
    }
    if !others.is_empty() {
        notices.push(format!(
            "{name} runs with another {}: to change it, openclaw-pipeline stop {name}, and then \
             the same launch again",
            others.join(", ")
        ));
    }
    let mut spec = deployment.spec.clone();
    if let Err(failure) = asked.choose_artefact(&mut spec, &mut notices) {
        let remedy = failure.remedy.unwrap_or_default();
        notices.push(format!("{}. To do: {remedy}", failure.message));
    }
    Ok(notices)
}

/// The settings by which a specification is another one than what runs.
fn changed<'a>(
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
) -> impl Iterator<Item = &'static str> + use<'a> {
    let has = &deployment.spec;
    let port = spec.port.is_some() && spec.port != deployment.facts.port;
    let on_machine = differing(&OF_MACHINES, spec.machine.as_ref(), has.machine.as_ref());
    let on_cluster = differing(&OF_CLUSTERS, spec.cluster.as_ref(), has.cluster.as_ref());
    let everywhere = [
        ("GATEWAY_PORT", port),
        // On a machine, it follows from who is to reach the gateway.
        ("GATEWAY_BIND", spec.bind != has.bind && spec.machine.is_none()),
        ("DEFAULT_MODEL", spec.model != has.model),
        ("EXEC_ASK", spec.exec_ask != has.exec_ask),
        ("HEARTBEAT", spec.heartbeat != has.heartbeat),
        ("OPENCLAW_PIPELINE_MEMORY", spec.memory_mib != has.memory_mib),
        ("OPENCLAW_PIPELINE_APPROVAL", spec.approval != has.approval),
    ];
    let everywhere = everywhere.into_iter().filter_map(|(name, differs)| differs.then_some(name));
    everywhere.chain(on_machine).chain(on_cluster)
}

/// A setting of a place's, and what that place's specification says of it.
type Said<T> = (&'static str, fn(&T) -> Option<String>);

const OF_MACHINES: [Said<MachineSpec>; 2] = [
    ("EXPOSE", |it| Some(it.expose.to_string())),
    ("OPENCLAW_PIPELINE_SSH_CIDR", |it| Some(it.ssh_cidrs.join(","))),
];

const OF_CLUSTERS: [Said<ClusterSpec>; 8] = [
    ("EXPOSE", |it| Some(it.expose.to_string())),
    ("OPENCLAW_PIPELINE_SSH_CIDR", |it| Some(it.source_ranges.join(","))),
    ("OPENCLAW_PIPELINE_KUBE_CONTEXT", |it| it.context.clone()),
    ("OPENCLAW_PIPELINE_INGRESS_CLASS", |it| it.class_by(IngressApi::Ingress)),
    ("OPENCLAW_PIPELINE_GATEWAY_CLASS", |it| it.class_by(IngressApi::Gateway)),
    ("OPENCLAW_PIPELINE_INGRESS_HOST", |it| Some(it.ingress.as_ref()?.host.clone())),
    ("OPENCLAW_PIPELINE_INGRESS_TLS_SECRET", |it| it.ingress.as_ref()?.tls_secret.clone()),
    ("OPENCLAW_PIPELINE_INGRESS_PROXIES", |it| Some(it.ingress.as_ref()?.proxies.join(","))),
];

fn differing<'a, T>(
    all: &'static [Said<T>],
    one: Option<&'a T>,
    other: Option<&'a T>,
) -> impl Iterator<Item = &'static str> + use<'a, T> {
    let differs = move |said: &&Said<T>| one.map(said.1) != other.map(said.1);
    all.iter().filter(differs).map(|(name, _)| *name)
}
