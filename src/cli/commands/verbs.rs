//! The verbs that are one operation each: `stop`, `start`, `restart`, `update`, `rotate`,
//! `backup`, `backups`, `restore`.

use serde_json::json;

use super::super::progress::Shown;
use super::{Session, expose};
use crate::app::{App, Order, Rotation, Wanted};
use crate::domain::{DeploymentName, Failure, Operation, OperationKind};

pub(super) async fn simple(
    session: &Session<'_>,
    order: Order<'_>,
    name: Option<&str>,
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    session.interruptible()?;
    let shown = Shown::new(*session.out);
    let operation = app.order(&name, order, &shown, session.cancel).await?;
    drop(shown);
    said(session, &app, &name, &operation)
}

/// Whether an operation's last event names the gateway's address.
fn tells_a_url(kind: OperationKind) -> bool {
    use OperationKind as K;
    matches!(kind, K::Start | K::Restart | K::Update | K::Restore)
}

/// Answers with what the operation's last event says.
fn said(
    session: &Session<'_>,
    app: &App,
    name: &DeploymentName,
    operation: &Operation,
) -> Result<u8, Failure> {
    let deployment = app.store().deployment(name)?;
    let status = deployment.as_ref().map(|deployment| deployment.status);
    let message = app.outcome(operation)?;
    if let Some(deployment) = deployment.filter(|_| tells_a_url(operation.kind)) {
        expose::warn(session.out, &deployment);
    }
    let answer =
        json!({ "name": name, "status": status, "operation": operation, "message": message });
    session.out.answer(&answer, || message);
    Ok(0)
}

pub(super) async fn stop(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    simple(session, Order::Stop, name).await
}

pub(super) async fn start(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    simple(session, Order::Start, name).await
}

pub(super) async fn restart(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    simple(session, Order::Restart, name).await
}

pub(super) async fn backup(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    simple(session, Order::Backup, name).await
}

pub(super) async fn sync(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    simple(session, Order::Sync(super::required_user_config()?), name).await
}

pub(super) async fn update(
    session: &Session<'_>,
    name: Option<&str>,
    version: Option<String>,
    image: Option<String>,
) -> Result<u8, Failure> {
    let version = version.map(|version| crate::config::rules::version(&version)).transpose()?;
    let image = image.map(|image| crate::config::image::image(&image)).transpose()?;
    let wanted = Wanted { version, image, settings: &session.settings, over_api: false };
    simple(session, Order::Update(wanted), name).await
}

pub(super) async fn restore(
    session: &Session<'_>,
    name: Option<&str>,
    backup: Option<String>,
) -> Result<u8, Failure> {
    simple(session, Order::Restore { backup }, name).await
}

pub(super) async fn rotate(
    session: &Session<'_>,
    name: Option<&str>,
    token: bool,
    keys: bool,
    dropped: Vec<String>,
) -> Result<u8, Failure> {
    let credentials = if keys { session.settings.credentials()? } else { Vec::new() };
    if keys && credentials.is_empty() {
        return Err(Failure::bad_input(
            "--keys takes over the provider keys that are set; none is",
        )
        .remedy("set one in the environment or in .env, ANTHROPIC_API_KEY for example"));
    }
    let rotation = Rotation {
        new_token: token || (!keys && dropped.is_empty()),
        token: session.settings.gateway_token()?,
        credentials: credentials
            .into_iter()
            .map(|(credential, value)| (credential.variable.to_owned(), value))
            .collect(),
        keys_of_request: false,
        dropped,
    };
    simple(session, Order::Rotate(rotation), name).await
}
