//! The access call: the only one that gives a link a browser can get in with.
//!
//! Owns the turns at it: making a link starts Node.js within the gateway's own bound on memory, so
//! one is made for a deployment at a time. Refuses to keep anybody waiting for long.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Named, OptionalBody};
use super::super::caller::Caller;
use super::super::json::Json;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use super::lifecycle::Nothing;
use crate::app::AccessKind;
use crate::domain::Need;

/// How long somebody waits for their turn. A link takes a second or two, and a minute and a half
/// where the gateway does not give one.
const PATIENCE: Duration = Duration::from_secs(20);
/// When to come again after that, in seconds.
const COME_AGAIN_S: u64 = 10;

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(access))
}

/// A link that lets a browser in.
#[derive(Debug, Serialize, ToSchema)]
struct AccessAnswer {
    /// The link. Whoever has it gets in: hand it to its user, and keep it nowhere.
    url: String,
    /// When it ends, RFC 3339 UTC; null when it does not.
    #[schema(required)]
    expires_at: Option<String>,
    /// `one_time`: it lets one browser in, once. `shared_token`: it carries the gateway's token.
    #[schema(value_type = String, examples("one_time"))]
    kind: AccessKind,
}

/// Get a link that lets a browser in
///
/// The only call whose answer holds a secret. It is recorded in the audit log. Links to one
/// deployment are made one after the other; who would wait for long is answered 429.
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/access",
    operation_id = "access_deployment",
    tag = "Deployments",
    params(("name" = String, Path, description = "The deployment")),
    responses((status = 200, description = "The link", body = AccessAnswer)),
)]
async fn access(
    State(server): State<Server>,
    caller: Caller,
    Named(name): Named<String>,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Answer<Json<AccessAnswer>> {
    caller.may(Need::Access)?;
    let name = caller.deployment(&server, &name)?.name;
    let Some(_turn) = server.links().wait(&name, PATIENCE).await else {
        let busy = format!("others are being given links to {name}");
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, busy).retry_after(COME_AGAIN_S));
    };
    let access = server.app().access(&name).await?;
    Ok(Json(AccessAnswer {
        url: access.url.expose().to_owned(),
        expires_at: access.expires_at,
        kind: access.kind,
    }))
}
