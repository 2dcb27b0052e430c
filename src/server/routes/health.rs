//! Whether the server lives, and takes work.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::json::Json;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(livez)).routes(routes!(readyz))
}

/// That it lives.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// Always `ok`.
    #[schema(examples("ok"))]
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// See that the server answers
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "get_health",
    tag = "Front ends",
    security(()),
    responses((status = 200, description = "It answers", body = Health)),
)]
async fn health() -> Json<Health> {
    OK
}

/// See that the server lives
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "get_livez",
    tag = "The server",
    security(()),
    responses((status = 200, description = "It lives", body = Health)),
)]
async fn livez() -> Json<Health> {
    OK
}

/// See whether the server takes work
///
/// It does not while it stops, and while its disk is nearly full.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "get_readyz",
    tag = "The server",
    security(()),
    responses((status = 200, description = "It takes work", body = Health)),
)]
async fn readyz(State(server): State<Server>) -> Answer<Json<Health>> {
    let ready = |why: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why);
    if server.executor().is_closed() {
        return Err(ready("the server is stopping"));
    }
    // Anybody may ask: what exactly is wrong, the log says.
    server.app().ready().map_err(|failure| {
        tracing::warn!("not ready: {failure}");
        ready("the server's store does not answer, or its disk is nearly full")
    })?;
    Ok(OK)
}
