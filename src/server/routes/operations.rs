//! Operations: the list, one of them, giving one up, going on with one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Asked, Named};
use super::super::caller::{Caller, Start};
use super::super::json::Json;
use super::super::page;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use super::super::views::{OperationView, Page};
use super::deliveries::answer_of;
use super::lifecycle::Nothing;
use super::webhooks::recorded;
use crate::app::endpoints::AskedOnce;
use crate::app::{Alongs, OperationFilter};
use crate::domain::{Failure, Need, Operation, OperationStatus};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_deployment))
        .routes(routes!(show))
        .routes(routes!(cancel))
        .routes(routes!(resume))
}

/// Which operations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// At most so many, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// Those with this status.
    status: Option<OperationStatus>,
    /// Those of this deployment.
    deployment: Option<String>,
}

/// The operation, if the caller reaches it.
pub(super) fn reached(server: &Server, caller: &Caller, id: &str) -> Answer<Operation> {
    let unknown = || Problem::not_found("there is no such operation");
    let operation = server.app().operation(id).map_err(|failure| match failure.kind {
        crate::domain::FailureKind::NotFound => unknown(),
        _ => failure.into(),
    })?;
    if caller.principal.reaches(&operation.deployment) { Ok(operation) } else { Err(unknown()) }
}

fn listed(
    server: &Server,
    caller: &Caller,
    which: &Which,
    deployment: Option<&str>,
) -> Answer<Json<Page<OperationView>>> {
    caller.may(Need::Read)?;
    let limit = page::limit(which.limit)?;
    let before: Option<i64> = page::cursor(which.cursor.as_deref(), "operations")?;
    let prefix = caller.principal.name_prefix.as_ref();
    let filter = OperationFilter {
        deployment: deployment.map(|name| caller.named(name)).transpose()?,
        status: which.status,
        name_prefix: prefix.map(|prefix| prefix.as_str().to_owned()),
    };
    let found = server.app().store().operations_page(&filter, before, limit + 1);
    let found = found.map_err(Failure::from)?;
    Ok(Json(page::page(
        found,
        limit,
        "operations",
        |operation| operation.sequence.to_string(),
        |operation| OperationView::of(operation, server.app()),
    )))
}

/// List operations
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/operations",
    operation_id = "list_operations",
    tag = "Operations",
    params(Which),
    responses((status = 200, description = "A page of them", body = Page<OperationView>)),
)]
async fn list(
    State(server): State<Server>,
    caller: Caller,
    Asked(which): Asked<Which>,
) -> Answer<Json<Page<OperationView>>> {
    let deployment = which.deployment.clone();
    listed(&server, &caller, &which, deployment.as_deref())
}

/// Which operations of a deployment.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichOfIt {
    /// At most so many, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// Those with this status.
    status: Option<OperationStatus>,
}

/// List a deployment's operations
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/deployments/{name}/operations",
    operation_id = "list_deployment_operations",
    tag = "Operations",
    params(("name" = String, Path, description = "The deployment"), WhichOfIt),
    responses((status = 200, description = "A page of them", body = Page<OperationView>)),
)]
async fn of_deployment(
    State(server): State<Server>,
    caller: Caller,
    Named(name): Named<String>,
    Asked(WhichOfIt { limit, cursor, status }): Asked<WhichOfIt>,
) -> Answer<Json<Page<OperationView>>> {
    let which = Which { limit, cursor, status, deployment: None };
    caller.may(Need::Read)?;
    caller.deployment(&server, &name)?;
    listed(&server, &caller, &which, Some(&name))
}

/// See an operation
#[utoipa::path(
    get,
    path = "/v1/operations/{id}",
    operation_id = "get_operation",
    tag = "Operations",
    params(("id" = String, Path, description = "The operation")),
    responses((status = 200, description = "How it stands, with its steps",
               body = OperationView)),
)]
async fn show(
    State(server): State<Server>,
    caller: Caller,
    Named(id): Named<String>,
) -> Answer<Json<OperationView>> {
    caller.may(Need::Read)?;
    // Replays are the administrator's, and have the same form.
    if let Ok(replay) = server.app().replay_status(&caller.principal, &id) {
        return Ok(Json(OperationView::of_replay(&replay)));
    }
    let operation = reached(&server, &caller, &id)?;
    Ok(Json(OperationView::of(&operation, server.app())))
}

/// One that is not over.
fn unfinished(operation: Operation) -> Answer<Operation> {
    if operation.status == OperationStatus::Running {
        return Ok(operation);
    }
    Err(is_over(&operation).into())
}

fn is_over(operation: &Operation) -> Failure {
    let (kind, status) = (operation.kind, operation.status.as_str());
    Failure::conflict(format!("the {kind} of {} is over: {status}", operation.deployment))
}

/// Cancel an operation
///
/// A step that changes something is interrupted where that is safe. What exists stays; the
/// deployment's status and the event `cancelled` tell what that is.
#[utoipa::path(
    post,
    path = "/v1/operations/{id}/cancel",
    operation_id = "cancel_operation",
    tag = "Operations",
    params(
        ("id" = String, Path, description = "The operation"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gets the same \
         answer again, for a day"),
    ),
    responses((status = 202, description = "It is being cancelled", body = OperationView)),
)]
async fn cancel(
    State(server): State<Server>,
    Named(id): Named<String>,
    asked: Start<Nothing>,
) -> Answer<Response> {
    asked.caller.may_any(&[Need::Deploy, Need::Admin])?;
    if let Some(before) = asked.before(&server)? {
        return Ok(before);
    }
    if server.app().replay_status(&asked.caller.principal, &id).is_ok() {
        return cancel_replay(&server, &asked, &id);
    }
    let operation = unfinished(reached(&server, &asked.caller, &id)?)?;
    let (executor, app) = (server.executor(), server.app());
    let give_up = |along| async move {
        if executor.give_up(&operation, &along)? {
            return Ok(operation);
        }
        // It came to its end since it was looked at.
        Err(is_over(&app.operation(&operation.id)?))
    };
    asked.begin_operation(&server, give_up).await
}

/// Replays are no operations, and have the same form.
fn cancel_replay(server: &Server, asked: &Start<Nothing>, id: &str) -> Answer<Response> {
    let caller = &asked.caller;
    let record = caller.record(StatusCode::ACCEPTED.as_u16());
    let once: Option<AskedOnce<'_>> = asked.key.as_ref().map(|key| (key, &answer_of as _));
    match server.app().cancel_replay(&caller.principal, id, &record, once) {
        Ok(it) => Ok(recorded((StatusCode::ACCEPTED, Json(OperationView::of_replay(&it))))),
        Err(failure) => match asked.before(server)? {
            Some(before) => Ok(before),
            None => Err(failure.into()),
        },
    }
}

/// Go on with an interrupted operation
///
/// The server does so by itself; this makes it try now.
#[utoipa::path(
    post,
    path = "/v1/operations/{id}/resume",
    operation_id = "resume_operation",
    tag = "Operations",
    params(
        ("id" = String, Path, description = "The operation"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gets the same \
         answer again, for a day"),
    ),
    responses((status = 202, description = "It is being carried out", body = OperationView)),
)]
async fn resume(
    State(server): State<Server>,
    Named(id): Named<String>,
    asked: Start<Nothing>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    if let Some(before) = asked.before(&server)? {
        return Ok(before);
    }
    let operation = unfinished(reached(&server, &asked.caller, &id)?)?;
    let store = server.app().store();
    let hasten = |along: Alongs| async move {
        store.write_along(&operation, &along).map_err(Failure::from)?;
        Ok(operation)
    };
    asked.begin_operation(&server, hasten).await
}
