//! `list`, `status` and `doctor`.

use serde_json::json;

use super::super::output::table;
use super::{Session, expose};
use crate::domain::{Deployment, Failure, Operation};

pub(super) async fn list(session: &Session<'_>) -> Result<u8, Failure> {
    let deployments = session.app()?.list().await?;
    let items: Vec<_> = deployments.iter().map(summary).collect();
    session.out.answer(&json!({ "items": items }), || {
        if deployments.is_empty() {
            return "There is no deployment yet. Launch one: openclaw-pipeline launch".into();
        }
        let rows: Vec<Vec<String>> = deployments
            .iter()
            .map(|deployment| {
                vec![
                    deployment.name.to_string(),
                    deployment.status.to_string(),
                    place(deployment),
                    version(deployment).unwrap_or_else(|| "-".into()),
                    deployment.url().unwrap_or_else(|| "-".into()),
                ]
            })
            .collect();
        table(&["NAME", "STATUS", "TARGET", "VERSION", "ADDRESS"], &rows)
    });
    expose::warn_of_all(session.out, &deployments);
    Ok(0)
}

/// Where it is; the pipeline server's own machine is no gateway.
fn place(deployment: &Deployment) -> String {
    let target = deployment.spec.target;
    if deployment.name.is_server() {
        return format!("{target} (the pipeline server)");
    }
    if deployment.name.is_cluster() {
        return format!("{target} (the cluster itself)");
    }
    target.to_string()
}

/// The version of what runs there.
fn version(deployment: &Deployment) -> Option<String> {
    let facts = &deployment.facts;
    let server = facts.server.as_ref().map(|it| it.version.clone());
    let cluster = facts.own_cluster.as_ref().map(|it| it.version.clone());
    server.or(cluster).or_else(|| facts.gateway_version.clone())
}

fn summary(deployment: &Deployment) -> serde_json::Value {
    json!({
        "name": deployment.name,
        "status": deployment.status,
        "target": deployment.spec.target,
        "url": deployment.url(),
        "version": version(deployment),
        "model": deployment.spec.model,
        "created_at": deployment.created_at,
        "updated_at": deployment.updated_at,
    })
}

pub(super) async fn show(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    let name = session.shown_name(name)?;
    let app = session.app()?;
    let deployment = app.look(&app.deployment(&name)?).await?;
    let last = app.store().operations(Some(&name), 1)?.into_iter().next();
    let last = last.map(|operation| app.operation(&operation.id)).transpose()?;
    let interrupted = app.is_interrupted(&deployment)?;
    let approvals = app.store().approvals(&name, 10)?;
    let mut value = summary(&deployment);
    value["operation"] = json!(last);
    value["interrupted"] = json!(interrupted);
    value["approvals"] = json!(approvals);
    value["credentials"] = json!(deployment.facts.credentials);
    value["expose"] = json!(deployment.expose());
    session.out.answer(&value, || {
        let mut lines = vec![format!("{}  {}", deployment.name, deployment.status)];
        let mut fact = |title: &str, value: Option<String>| {
            if let Some(value) = value {
                lines.push(format!("  {title:<9} {value}"));
            }
        };
        fact("target", Some(place(&deployment)));
        fact("address", deployment.url());
        fact("version", version(&deployment));
        fact("reached", deployment.expose().map(|expose| expose.to_string()));
        fact("model", deployment.spec.model.clone());
        let is_gateway = deployment.name.is_gateway();
        fact("keys", is_gateway.then(|| keys(&deployment)));
        fact("proven", deployment.facts.proven_at.clone());
        if let Some(operation) = &last {
            lines.push(String::new());
            lines.extend(operation_lines(operation));
        }
        for approval in &approvals {
            lines.push(format!(
                "  {}  {} {} from {}: {}",
                approval.decided_at,
                approval.decision,
                approval.device_id.get(..8).unwrap_or_default(),
                approval.address,
                approval.reason
            ));
        }
        lines.join("\n")
    });
    expose::warn(session.out, &deployment);
    if interrupted && !session.out.is_json() {
        let operation = last.map(|operation| operation.id).unwrap_or_default();
        session.out.say(&format!(
            "\nThe operation was interrupted. Go on with it: openclaw-pipeline operations resume \
             {operation}"
        ));
    }
    Ok(0)
}

fn keys(deployment: &Deployment) -> String {
    if deployment.facts.credentials.is_empty() {
        "none: it cannot answer a message yet".into()
    } else {
        deployment.facts.credentials.join(", ")
    }
}

/// An operation and its steps, for a person.
pub(super) fn operation_lines(operation: &Operation) -> Vec<String> {
    let mut lines = vec![format!(
        "  {} {}  {}  {}",
        operation.kind,
        operation.status.as_str(),
        operation.created_at,
        operation.id
    )];
    for step in &operation.steps {
        lines.push(format!(
            "    {:<12} {:<14} {}",
            step.status.as_str(),
            step.name,
            step.message.as_deref().unwrap_or_default()
        ));
    }
    if let Some(error) = &operation.error {
        lines.push(format!("    why: {}", error.message));
        if let Some(remedy) = &error.remedy {
            lines.push(format!("    to do: {remedy}"));
        }
    }
    lines
}

pub(super) async fn doctor(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    let name = name.map(|name| session.name(Some(name))).transpose()?;
    let findings = crate::app::doctor::examine(&session.settings, name.as_ref()).await?;
    let ill = findings.iter().any(crate::app::doctor::Finding::is_problem);
    session.out.answer(&json!({ "ok": !ill, "findings": findings }), || {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        lines.join("\n")
    });
    Ok(u8::from(ill))
}
