//! Who is let in: approvals, requests that are turned away, devices.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Body, Named};
use super::super::caller::{Caller, Start};
use super::super::gate::Recorded;
use super::super::json::Json;
use super::super::problem::{Answer, Problem};
use super::super::start::REPLAYED;
use super::super::state::Server;
use crate::app::{Alongs, Devices, Once, Order, Repeated, check_request_id};
use crate::domain::{Need, OperationStatus};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .routes(routes!(approve))
        .routes(routes!(approve_named))
        .routes(routes!(reject))
        .routes(routes!(devices))
        .routes(routes!(remove))
}

/// How long an approval may take: connecting to a gateway that has just begun takes up to a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// Which browsers are let in.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApproveRequest {
    /// The deployment; `main` when left out.
    name: Option<String>,
    /// Exactly this request, whatever it asks for. When left out: every one that is pending now,
    /// of the role operator, and within the ceiling.
    #[schema(min_length = 1, max_length = 200, pattern = "^[!-~]+$")]
    request_id: Option<String>,
}

/// The same, of the deployment in the path.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApproveBody {
    /// Exactly this request, whatever it asks for.
    #[schema(min_length = 1, max_length = 200, pattern = "^[!-~]+$")]
    request_id: Option<String>,
}

/// A request that was not approved.
#[derive(Debug, Serialize, ToSchema)]
struct Left {
    /// Its id.
    request_id: String,
    /// The device, in words.
    device: String,
    /// Why it waits.
    reason: String,
}

/// What an approval did.
#[derive(Debug, Serialize, ToSchema)]
struct ApproveAnswer {
    /// Always `ok`.
    #[schema(examples("ok"))]
    status: &'static str,
    /// The deployment.
    name: String,
    /// In a sentence.
    message: String,
    /// The devices that were let in, in words.
    approved: Vec<String>,
    /// The requests that wait on.
    pending: Vec<Left>,
}

/// Let waiting browsers in
#[utoipa::path(
    post,
    path = "/approve",
    operation_id = "approve",
    tag = "Front ends",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
         the same answer again, for a day"),
    ),
    request_body = ApproveRequest,
    responses((status = 200, description = "Who was let in, and who waits on",
               body = ApproveAnswer)),
)]
async fn approve(
    State(server): State<Server>,
    mut asked: Start<ApproveRequest>,
) -> Answer<Response> {
    let ApproveRequest { name, request_id } = std::mem::take(&mut asked.body);
    asked.caller.is_about(name.as_deref());
    let name = name.unwrap_or_else(|| "main".into());
    let_in(&server, &mut asked, &name, request_id).await
}

/// Let waiting browsers into a deployment
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/approve",
    operation_id = "approve_devices",
    tag = "Devices",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
         the same answer again, for a day"),
    ),
    request_body = ApproveBody,
    responses((status = 200, description = "Who was let in, and who waits on",
               body = ApproveAnswer)),
)]
async fn approve_named(
    State(server): State<Server>,
    Named(name): Named<String>,
    mut asked: Start<ApproveBody>,
) -> Answer<Response> {
    let request_id = asked.body.request_id.take();
    let_in(&server, &mut asked, &name, request_id).await
}

/// The id of a request that a body names, if it can be one.
fn plausible(id: &str) -> Answer<()> {
    check_request_id(id).map_err(|failure| Problem::field("request_id", failure.message))
}

async fn let_in<T>(
    server: &Server,
    asked: &mut Start<T>,
    name: &str,
    request_id: Option<String>,
) -> Answer<Response> {
    let caller = asked.caller.clone();
    caller.may(Need::Approve)?;
    if let Some(id) = begun_before(server, asked)? {
        asked.is_on_record();
        return again(server, &caller, &id).await;
    }
    let name = caller.deployment(server, name)?.name;
    request_id.as_deref().map(plausible).transpose()?;
    let app = server.app();
    app.refuse_asleep(&name).await?;
    // On record with its beginning: it goes on whatever becomes of this request.
    let status = StatusCode::OK.as_u16();
    let mut along: Alongs = vec![Arc::new(caller.record(status))];
    if let Some(key) = &asked.key {
        // What it did shows when it is over, and by its operation for as long as the key is kept.
        along.push(Arc::new(Once::new(key.clone(), move |operation| {
            Repeated::new(status, "").of(operation.id.clone())
        })));
    }
    let operation = match app.begin_order(&name, Order::Approve { request_id }, along).await {
        Ok(operation) => operation,
        // Another one with the same key was first by a hair.
        Err(failure) => match begun_before(server, asked)? {
            Some(id) => {
                asked.is_on_record();
                return again(server, &caller, &id).await;
            }
            None => return Err(failure.into()),
        },
    };
    asked.is_on_record();
    server.executor().submit(&operation, &caller.request_id);
    let mut answer = outcome(server, &operation.id).await?.into_response();
    answer.extensions_mut().insert(Recorded);
    Ok(answer)
}

/// The operation that the same request began before.
fn begun_before<T>(server: &Server, asked: &Start<T>) -> Answer<Option<String>> {
    let Some(key) = &asked.key else { return Ok(None) };
    Ok(server.app().answered(key)?.and_then(|it| it.made))
}

/// The answer that the same request got before, or will get.
async fn again(server: &Server, caller: &Caller, id: &str) -> Answer<Response> {
    let begun = server.app().operation(id)?;
    if begun.status == OperationStatus::Running {
        // Whoever began it may not have come to that yet, or may be a server that was killed.
        server.executor().submit(&begun, &caller.request_id);
    }
    let mut answer = outcome(server, id).await?.into_response();
    answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(answer)
}

/// What an approval did, once it is over.
async fn outcome(server: &Server, id: &str) -> Answer<Json<ApproveAnswer>> {
    let ended = server.executor().ended(id, PATIENCE).await?;
    if ended.status != OperationStatus::Succeeded {
        return Err(match ended.error {
            Some(failure) => failure.into(),
            None => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the approval takes longer than it should; the server goes on with it",
            ),
        });
    }
    let approved = server.app().approved(&ended)?;
    let name = &ended.deployment;
    let message = match (approved.approved.len(), approved.pending.len()) {
        (0, 0) => format!("nobody waits to be let into {name}"),
        (0, waiting) => format!("nobody was let into {name}; {waiting} wait"),
        (in_now, 0) => format!("{in_now} let into {name}"),
        (in_now, waiting) => format!("{in_now} let into {name}; {waiting} wait on"),
    };
    Ok(Json(ApproveAnswer {
        status: "ok",
        name: name.to_string(),
        message,
        approved: approved.approved,
        pending: approved
            .pending
            .into_iter()
            .map(|it| Left { request_id: it.request_id, device: it.device, reason: it.reason })
            .collect(),
    }))
}

/// Which browser is turned away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RejectBody {
    /// The request.
    #[schema(min_length = 1, max_length = 200, pattern = "^[!-~]+$")]
    request_id: String,
}

/// Turn a waiting browser away
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/reject",
    operation_id = "reject_device",
    tag = "Devices",
    params(("name" = String, Path, description = "The deployment")),
    request_body = RejectBody,
    responses((status = 204, description = "It was turned away")),
)]
async fn reject(
    State(server): State<Server>,
    caller: Caller,
    Named(name): Named<String>,
    Body(request): Body<RejectBody>,
) -> Answer<StatusCode> {
    caller.may(Need::Approve)?;
    let name = caller.deployment(&server, &name)?.name;
    plausible(&request.request_id)?;
    let _looks = server.look().await;
    server.app().reject(&name, &request.request_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List devices
///
/// Who waits to be let in, and who is in.
#[utoipa::path(
    get,
    path = "/v1/deployments/{name}/devices",
    operation_id = "list_devices",
    tag = "Devices",
    params(("name" = String, Path, description = "The deployment")),
    responses((status = 200, description = "The devices", body = Devices)),
)]
async fn devices(
    State(server): State<Server>,
    caller: Caller,
    Named(name): Named<String>,
) -> Answer<Json<Devices>> {
    caller.may(Need::Read)?;
    let name = caller.deployment(&server, &name)?.name;
    let _looks = server.look().await;
    Ok(Json(server.app().devices(&name).await?))
}

/// Put a device out
#[utoipa::path(
    delete,
    path = "/v1/deployments/{name}/devices/{device_id}",
    operation_id = "remove_device",
    tag = "Devices",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("device_id" = String, Path, description = "The device's id, whole"),
    ),
    responses((status = 204, description = "It is out, with its tokens")),
)]
async fn remove(
    State(server): State<Server>,
    caller: Caller,
    Named((name, device)): Named<(String, String)>,
) -> Answer<StatusCode> {
    caller.may(Need::Approve)?;
    let name = caller.deployment(&server, &name)?.name;
    let _looks = server.look().await;
    server.app().remove_device(&name, &device).await?;
    Ok(StatusCode::NO_CONTENT)
}
