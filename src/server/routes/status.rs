//! `GET /status`: every deployment, and which are being launched.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::cache;
use super::super::caller::Caller;
use super::super::problem::Answer;
use super::super::state::Server;
use super::super::views::DeploymentView;
use crate::domain::{DeploymentStatus, Need};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(status))
}

/// Everything at a glance.
#[derive(Debug, Serialize, ToSchema)]
struct StatusAnswer {
    /// The names of the launches in progress.
    running_deployments: Vec<String>,
    /// How many those are.
    count: usize,
    /// All deployments.
    deployments: Vec<DeploymentView>,
}

/// See everything at a glance
#[utoipa::path(
    get,
    path = "/status",
    operation_id = "get_status",
    tag = "Front ends",
    responses((status = 200, description = "The launches in progress, and all deployments",
               body = StatusAnswer)),
)]
async fn status(State(server): State<Server>, caller: Caller) -> Answer<Response> {
    caller.may(Need::Read)?;
    let prefix = caller.principal.name_prefix.as_ref().map_or("", |prefix| prefix.as_str());
    cache::answered(&server, format!("status {prefix}"), || {
        let there = server.app().store().deployments(false)?;
        let there = || there.iter().filter(|it| caller.principal.reaches(&it.name));
        let launching: Vec<String> = there()
            .filter(|it| it.status == DeploymentStatus::Launching)
            .map(|it| it.name.to_string())
            .collect();
        Ok(StatusAnswer {
            count: launching.len(),
            running_deployments: launching,
            deployments: there().map(DeploymentView::from).collect(),
        })
    })
}
