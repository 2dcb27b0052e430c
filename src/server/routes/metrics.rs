//! `GET /metrics`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::caller::Caller;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use crate::domain::{Failure, Need};
use crate::telemetry::metrics::{Form, Now};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Read the server's figures
///
/// For Prometheus: in its own text format, or as `OpenMetrics` where `Accept` asks for that. They
/// are about all deployments: a token that reaches some names only does not see them.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_metrics",
    tag = "The server",
    responses(
        (status = 200, description = "The figures", content(
            (String = "text/plain"),
            (String = "application/openmetrics-text"),
        )),
    ),
)]
async fn metrics(
    State(server): State<Server>,
    caller: Caller,
    headers: HeaderMap,
) -> Answer<Response> {
    caller.may(Need::Read)?;
    if caller.principal.name_prefix.is_some() {
        let detail = "the figures are about all deployments, and the token reaches some only";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail)
            .remedy("use a token of scope read without a prefix"));
    }
    let app = server.app().clone();
    let stored = tokio::task::spawn_blocking(move || app.figures()).await;
    let stored = stored.map_err(|error| Failure::internal(format!("the figures: {error}")))?;
    if let Err(failure) = &stored {
        tracing::warn!("the store's figures are left out: {failure}");
    }
    let load = server.executor().load();
    let now = Now {
        running: load.running,
        waiting: load.waiting,
        queue_age: load.longest_wait,
        listeners: server.tail().listeners(),
        stored: stored.ok(),
    };
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let form = Form::accepted(accept);
    let text = server.metrics().text(&now, form);
    let text = text.map_err(|error| Failure::internal(format!("the figures: {error}")))?;
    let headers = [(header::CONTENT_TYPE, form.media_type()), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}
