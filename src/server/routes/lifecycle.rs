//! What is done to a deployment that is there: stop, start, restart, update, rotate, backups.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Asked, Named};
use super::super::caller::{Caller, Start};
use super::super::json::Json;
use super::super::page;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use super::super::views::{OperationView, Page};
use crate::app::{Backup, Order, Rotation, Wanted, checked_artefact, checked_key};
use crate::domain::Need;
use crate::domain::credential::CREDENTIALS;
use crate::secrets::Secret;

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .routes(routes!(stop))
        .routes(routes!(start))
        .routes(routes!(restart))
        .routes(routes!(update))
        .routes(routes!(rotate))
        .routes(routes!(backups, backup))
        .routes(routes!(restore))
        .routes(routes!(delete_backup))
}

/// A body that says nothing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Begins an order of a deployment.
pub(super) async fn order<T>(
    server: &Server,
    name: &str,
    start: &Start<T>,
    order: Order<'_>,
) -> Answer<Response> {
    if let Some(before) = start.before(server)? {
        return Ok(before);
    }
    let name = start.caller.deployment(server, name)?.name;
    start.begin_operation(server, |along| server.app().begin_order(&name, order, along)).await
}

/// Stop a gateway
///
/// It drains first. Everything is kept.
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/stop",
    operation_id = "stop_deployment",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gets the same \
         answer again, for a day"),
    ),
    responses((status = 202, description = "It is being stopped", body = OperationView)),
)]
async fn stop(
    State(server): State<Server>,
    Named(name): Named<String>,
    asked: Start<Nothing>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    order(&server, &name, &asked, Order::Stop).await
}

/// Start a stopped gateway
///
/// And prove it.
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/start",
    operation_id = "start_deployment",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gets the same \
         answer again, for a day"),
    ),
    responses((status = 202, description = "It is being started", body = OperationView)),
)]
async fn start(
    State(server): State<Server>,
    Named(name): Named<String>,
    asked: Start<Nothing>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    order(&server, &name, &asked, Order::Start).await
}

/// Restart a gateway
///
/// And prove it.
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/restart",
    operation_id = "restart_deployment",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gets the same \
         answer again, for a day"),
    ),
    responses((status = 202, description = "It is being restarted", body = OperationView)),
)]
async fn restart(
    State(server): State<Server>,
    Named(name): Named<String>,
    asked: Start<Nothing>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    order(&server, &name, &asked, Order::Restart).await
}

/// To what a gateway is updated. One of the two, or neither: then to the newest.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    /// The `OpenClaw` version.
    #[schema(examples("2026.9.6"))]
    version: Option<String>,
    /// The image, for targets that run one.
    image: Option<String>,
}

/// Update a gateway
///
/// A verified backup is made first. Where the new version does not prove itself, everything goes
/// back to the old one.
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/update",
    operation_id = "update_deployment",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
         the same answer again, for a day"),
    ),
    request_body = UpdateBody,
    responses((status = 202, description = "It is being updated", body = OperationView)),
)]
async fn update(
    State(server): State<Server>,
    Named(name): Named<String>,
    mut asked: Start<UpdateBody>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    let UpdateBody { version, image } = std::mem::take(&mut asked.body);
    if version.is_some() && image.is_some() {
        return Err(Problem::field("image", "version and image both name what to run; give one"));
    }
    let field = if image.is_some() { "image" } else { "version" };
    let (version, image) = checked_artefact(version.as_deref(), image.as_deref())
        .map_err(|failure| Problem::field(field, failure.message))?;
    let live = server.live();
    let settings = live.settings.for_request([], Vec::new(), false);
    let wanted = Wanted { version, image, settings: &settings, over_api: true };
    order(&server, &name, &asked, Order::Update(wanted)).await
}

/// What is replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    /// The gateway's new token: 16 to 512 printable characters without blanks.
    #[schema(value_type = Option<String>, min_length = 16, max_length = 512)]
    token: Option<Secret>,
    /// Whether the token is replaced; by a generated one where none is given. True when nothing
    /// else is asked for.
    new_token: Option<bool>,
    /// New provider credentials, by the names that a launch has for them.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>, required = false)]
    credentials: BTreeMap<String, Secret>,
    /// Variables to take out of the gateway, in capitals.
    #[serde(default)]
    #[schema(required = false, max_items = 64)]
    drop: Vec<String>,
}

/// Rotate secrets
///
/// Replaces the gateway's token, provider credentials, or both, and proves the gateway with them;
/// the old token is shown to be refused.
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/rotate",
    operation_id = "rotate_deployment",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
         the same answer again, for a day"),
    ),
    request_body = RotateBody,
    responses((status = 202, description = "They are being replaced", body = OperationView)),
)]
async fn rotate(
    State(server): State<Server>,
    Named(name): Named<String>,
    mut asked: Start<RotateBody>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    let body = std::mem::take(&mut asked.body);
    let mut credentials = Vec::new();
    for (field, value) in body.credentials {
        let known = CREDENTIALS.iter().find(|it| it.variable.eq_ignore_ascii_case(&field));
        let Some(known) = known.filter(|_| field == field.to_ascii_lowercase()) else {
            let field = crate::domain::text::clean(&field, 60);
            return Err(Problem::field(
                format!("credentials.{field}"),
                "no provider's credential has this name",
            ));
        };
        let value = checked_key(known.variable, &value)
            .map_err(|failure| Problem::field(format!("credentials.{field}"), failure.message))?;
        credentials.push((known.variable.to_owned(), value));
    }
    if body.drop.len() > 64 {
        return Err(Problem::field("drop", "at most 64 variables at once"));
    }
    let token = body.token.map(|token| checked_key("OPENCLAW_GATEWAY_TOKEN", &token)).transpose();
    let token = token.map_err(|failure| Problem::field("token", failure.message))?;
    let nothing_else = credentials.is_empty() && body.drop.is_empty();
    let rotation = Rotation {
        new_token: body.new_token.unwrap_or(token.is_some() || nothing_else),
        token,
        credentials,
        keys_of_request: true,
        dropped: body.drop,
    };
    order(&server, &name, &asked, Order::Rotate(rotation)).await
}

/// A backup.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backup)]
struct BackupView {
    /// Its id.
    id: String,
    /// Whose it is.
    deployment: String,
    /// How large its archive is, in bytes.
    bytes: i64,
    /// The SHA-256 of the archive, in hexadecimal.
    sha256: String,
    /// The gateway's version that made it.
    version: String,
    /// What it was made for: the operation's kind.
    reason: String,
    /// When, RFC 3339 UTC.
    created_at: String,
}

impl From<&Backup> for BackupView {
    fn from(it: &Backup) -> Self {
        Self {
            id: it.id.clone(),
            deployment: it.deployment.clone(),
            bytes: it.bytes,
            sha256: it.sha256.clone(),
            version: it.version.clone(),
            reason: it.reason.clone(),
            created_at: it.created_at.clone(),
        }
    }
}

/// List backups
#[utoipa::path(
    get,
    path = "/v1/deployments/{name}/backups",
    operation_id = "list_backups",
    tag = "Backups",
    params(("name" = String, Path, description = "The deployment"), page::Which),
    responses((status = 200, description = "A page of them, newest first",
               body = Page<BackupView>)),
)]
async fn backups(
    State(server): State<Server>,
    caller: Caller,
    Named(name): Named<String>,
    Asked(which): Asked<page::Which>,
) -> Answer<Json<Page<BackupView>>> {
    caller.may(Need::Read)?;
    // They outlive the deployment.
    let name = caller.named(&name)?;
    let found = server.app().backups_of(&name)?;
    Ok(Json(which.of(found, "backups", |it| it.id.clone(), |it| it.into())?))
}

/// Make a backup
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/backups",
    operation_id = "create_backup",
    tag = "Backups",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gets the same \
         answer again, for a day"),
    ),
    responses((status = 202, description = "It is being made", body = OperationView)),
)]
async fn backup(
    State(server): State<Server>,
    Named(name): Named<String>,
    asked: Start<Nothing>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    order(&server, &name, &asked, Order::Backup).await
}

/// To which backup a deployment goes back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RestoreBody {
    /// The backup's id; the newest when left out.
    backup: Option<String>,
}

/// Go back to a backup
///
/// With the version that made it. What there is now is backed up first.
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/backups/restore",
    operation_id = "restore_backup",
    tag = "Backups",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
         the same answer again, for a day"),
    ),
    request_body = RestoreBody,
    responses((status = 202, description = "It goes back", body = OperationView)),
)]
async fn restore(
    State(server): State<Server>,
    Named(name): Named<String>,
    mut asked: Start<RestoreBody>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    let backup = asked.body.backup.take();
    if let Some(id) = &backup {
        let deployment = asked.caller.deployment(&server, &name)?;
        let known = server.app().backups_of(&deployment.name)?;
        if !known.iter().any(|it| it.id == *id) {
            return Err(Problem::field("backup", format!("{name} has no such backup")));
        }
    }
    order(&server, &name, &asked, Order::Restore { backup }).await
}

/// Delete a backup
#[utoipa::path(
    delete,
    path = "/v1/deployments/{name}/backups/{id}",
    operation_id = "delete_backup",
    tag = "Backups",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("id" = String, Path, description = "The backup"),
    ),
    responses((status = 204, description = "It is gone")),
)]
async fn delete_backup(
    State(server): State<Server>,
    caller: Caller,
    Named((name, id)): Named<(String, String)>,
) -> Answer<StatusCode> {
    caller.may(Need::Destroy)?;
    let name = caller.named(&name)?;
    server.app().delete_backup(&name, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
