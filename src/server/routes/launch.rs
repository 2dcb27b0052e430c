//! `POST /launch` and `POST /v1/deployments`.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::caller::Start;
use super::super::problem::Answer;
use super::super::state::Server;
use super::super::views::OperationView;
use super::form::LaunchForm;
use crate::domain::Need;

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(launch)).routes(routes!(create))
}

/// What a launch is answered.
#[derive(Debug, Serialize, ToSchema)]
struct Accepted {
    /// Always `accepted`.
    #[schema(examples("accepted"))]
    status: &'static str,
    /// The name that it got.
    #[schema(examples("main"))]
    name: String,
    /// In a sentence.
    message: String,
    /// The operation, for `GET /v1/operations/{id}`.
    operation_id: String,
}

/// Launch a gateway
///
/// Where the name is taken, it gets the next free number (`main`, `main1`, …), unless
/// `on_conflict` says otherwise. While a deployment of this very name is being launched, it is
/// refused. Events tell how it goes.
#[utoipa::path(
    post,
    path = "/launch",
    operation_id = "launch",
    tag = "Front ends",
    request_body = LaunchForm,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
           the same answer again, for a day")),
    responses((status = 202, description = "It is being launched", body = Accepted)),
)]
async fn launch(State(server): State<Server>, mut start: Start<LaunchForm>) -> Answer<Response> {
    start.caller.is_about(start.body.name.as_deref());
    start.caller.may(Need::Deploy)?;
    let form = std::mem::take(&mut start.body);
    if let Some(before) = start.before(&server)? {
        return Ok(before);
    }
    let order = form.order(&server, &start.caller, true)?;
    let target = order.target;
    let answer = move |operation: &crate::domain::Operation| Accepted {
        status: "accepted",
        name: operation.deployment.to_string(),
        message: format!("launching {} on the {target} target", operation.deployment),
        operation_id: operation.id.clone(),
    };
    let app = server.app();
    start.begin(&server, answer, |along| app.begin_launch(order, along)).await
}

/// Create a deployment
///
/// Launches a gateway under exactly this name; a name that is taken is refused.
#[utoipa::path(
    post,
    path = "/v1/deployments",
    operation_id = "create_deployment",
    tag = "Deployments",
    request_body = LaunchForm,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
           the same answer again, for a day")),
    responses((status = 202, description = "It is being launched", body = OperationView)),
)]
async fn create(State(server): State<Server>, mut start: Start<LaunchForm>) -> Answer<Response> {
    start.caller.is_about(start.body.name.as_deref());
    start.caller.may(Need::Deploy)?;
    let form = std::mem::take(&mut start.body);
    if let Some(before) = start.before(&server)? {
        return Ok(before);
    }
    let order = form.order(&server, &start.caller, false)?;
    start.begin_operation(&server, |along| server.app().begin_launch(order, along)).await
}
