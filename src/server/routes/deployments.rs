//! Deployments: the list, one of them, its protection, its removal.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Asked, Body, Named};
use super::super::cache;
use super::super::caller::{Caller, Start};
use super::super::json::Json;
use super::super::page;
use super::super::problem::Answer;
use super::super::state::Server;
use super::super::views::{DeploymentDetail, DeploymentView, OperationView, Page};
use super::lifecycle::Nothing;
use crate::app::{Alongs, DeploymentFilter, DestroyParams, Order, Unprotected};
use crate::domain::{DeploymentStatus, Need, TargetKind};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, change, destroy))
}

/// Which deployments.
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
    status: Option<DeploymentStatus>,
    /// Those on this target.
    target: Option<TargetKind>,
}

/// List deployments
#[utoipa::path(
    get,
    path = "/v1/deployments",
    operation_id = "list_deployments",
    tag = "Deployments",
    params(Which),
    responses((status = 200, description = "A page of them, by name",
               body = Page<DeploymentView>)),
)]
async fn list(
    State(server): State<Server>,
    caller: Caller,
    Asked(which): Asked<Which>,
) -> Answer<Json<Page<DeploymentView>>> {
    caller.may(Need::Read)?;
    let limit = page::limit(which.limit)?;
    let after: Option<String> = page::cursor(which.cursor.as_deref(), "deployments")?;
    let prefix = caller.principal.name_prefix.as_ref();
    let filter = DeploymentFilter {
        status: which.status,
        target: which.target,
        name_prefix: prefix.map(|prefix| prefix.as_str().to_owned()),
    };
    let found = server.app().store().deployments_page(&filter, after.as_deref(), limit + 1);
    let found = found.map_err(crate::domain::Failure::from)?;
    Ok(Json(page::page(found, limit, "deployments", |it| it.name.to_string(), |it| it.into())))
}

/// See a deployment
#[utoipa::path(
    get,
    path = "/v1/deployments/{name}",
    operation_id = "get_deployment",
    tag = "Deployments",
    params(("name" = String, Path, description = "The deployment")),
    responses((status = 200, description = "How it stands, and what was last done to it",
               body = DeploymentDetail)),
)]
async fn show(
    State(server): State<Server>,
    caller: Caller,
    Named(name): Named<String>,
) -> Answer<Response> {
    caller.may(Need::Read)?;
    let name = caller.named(&name)?;
    cache::answered(&server, format!("deployment {name}"), || detail(&server, &name))
}

fn detail(
    server: &Server,
    name: &crate::domain::DeploymentName,
) -> Result<DeploymentDetail, crate::domain::Failure> {
    let app = server.app();
    let deployment = app.deployment(name)?;
    let last = app.store().operations(Some(name), 1)?.into_iter().next();
    let last = last.map(|operation| app.operation(&operation.id)).transpose()?;
    Ok(DeploymentDetail {
        deployment: DeploymentView::from(&deployment),
        operation: last.map(|operation| OperationView::of(&operation, app)),
    })
}

/// What of a deployment can be changed at once.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Whether only an administrator may destroy it.
    protected: bool,
}

/// Protect a deployment, or no longer
#[utoipa::path(
    patch,
    path = "/v1/deployments/{name}",
    operation_id = "change_deployment",
    tag = "Deployments",
    params(("name" = String, Path, description = "The deployment")),
    request_body = Change,
    responses((status = 200, description = "How it stands now", body = DeploymentDetail)),
)]
async fn change(
    State(server): State<Server>,
    caller: Caller,
    Named(name): Named<String>,
    Body(change): Body<Change>,
) -> Answer<Json<DeploymentDetail>> {
    caller.may(Need::Admin)?;
    let name = caller.deployment(&server, &name)?.name;
    server.app().protect(&name, change.protected)?;
    Ok(Json(detail(&server, &name)?))
}

/// How a deployment is removed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct How {
    /// Make a last backup first.
    #[serde(default)]
    #[param(required = false)]
    backup: bool,
    /// Leave its volumes, which the next launch of its name takes up. On a cluster.
    #[serde(default)]
    #[param(required = false)]
    keep_volumes: bool,
    /// Forget it although its cluster is gone, or cannot be looked at: what is left there stays.
    #[serde(default)]
    #[param(required = false)]
    unseen: bool,
}

/// Destroy a deployment
///
/// Removes its gateway and all its data; its backups stay, and can be restored into
/// a new deployment of the same name. On a cluster its volumes can be kept. A protected one takes the scope admin.
#[utoipa::path(
    delete,
    path = "/v1/deployments/{name}",
    operation_id = "destroy_deployment",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The deployment"),
        How,
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gets the same \
         answer again, for a day"),
    ),
    responses((status = 202, description = "It is being removed", body = OperationView)),
)]
async fn destroy(
    State(server): State<Server>,
    Named(name): Named<String>,
    Asked(how): Asked<How>,
    start: Start<Nothing>,
) -> Answer<Response> {
    start.caller.may(Need::Destroy)?;
    if let Some(before) = start.before(&server)? {
        return Ok(before);
    }
    let deployment = start.caller.deployment(&server, &name)?;
    let How { backup, keep_volumes, unseen } = how;
    let order = Order::Destroy(DestroyParams { backup, keep_volumes, unseen });
    let is_administrator = start.caller.may(Need::Admin).is_ok();
    let begin = |mut along: Alongs| {
        if !is_administrator {
            along.push(Arc::new(Unprotected));
        }
        server.app().begin_order(&deployment.name, order, along)
    };
    start.begin_operation(&server, begin).await
}
