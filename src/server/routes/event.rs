//! `POST /webhook/event`: what others say happened.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::caller::Start;
use super::super::json::Json;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use crate::app::{Repeated, external};
use crate::domain::{DeploymentName, EventType, Need};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(post))
}

/// Something that happened, as somebody outside tells it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EventBody {
    /// What happened: a progress type or `pairing_required`; with the scope `deploy` also
    /// `cloudflare_ready`. `PascalCase` is taken, too.
    #[serde(rename = "type")]
    #[schema(examples("deploying_app"))]
    kind: String,
    /// The deployment; `main` when left out.
    #[schema(examples("main"))]
    name: Option<String>,
    /// In a sentence.
    #[schema(max_length = 2000)]
    message: String,
    /// When, as the sender's clock has it. The product keeps its own time beside it.
    #[schema(examples("2026-01-31T12:00:00Z"))]
    timestamp: Option<String>,
    /// Details. What the type has no place for is left out.
    #[schema(value_type = Option<Object>)]
    data: Option<Value>,
}

/// That it is stored, and goes to the front ends.
#[derive(Debug, Serialize, ToSchema)]
struct Forwarded {
    /// Always `forwarded`.
    #[schema(examples("forwarded"))]
    status: &'static str,
}

/// Tell of something that happened
///
/// It goes to the front ends with `source: "external"`, and changes no state. `pairing_required`
/// makes the server look who waits; from a token of the scope `connect` or `deploy` it opens a new
/// window for one device, unless automatic approval is off.
#[utoipa::path(
    post,
    path = "/webhook/event",
    operation_id = "post_event",
    tag = "Front ends",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
         the same answer again, for a day"),
    ),
    request_body = EventBody,
    responses((status = 200, description = "It is stored", body = Forwarded)),
)]
async fn post(State(server): State<Server>, mut asked: Start<EventBody>) -> Answer<Response> {
    let body = std::mem::take(&mut asked.body);
    let caller = &asked.caller;
    caller.is_about(body.name.as_deref());
    let given = body.name.as_deref().unwrap_or("main");
    let name: Option<DeploymentName> = given.parse().ok();
    // Without the right, whether there is such a deployment is nobody's business.
    let rights = |name| [Need::Event(name), Need::Deploy, Need::Approve];
    match &name {
        Some(name) => caller.may_any(&rights(name))?,
        None => caller.may_any(&[Need::Deploy, Need::Approve])?,
    }
    let kind =
        external::kind(&body.kind).map_err(|failure| Problem::field("type", failure.message))?;
    if kind == EventType::CloudflareReady {
        // It says where users are sent: no gateway's own token may.
        caller.may_any(&[Need::Deploy, Need::Approve])?;
    }
    let event = external::Told {
        kind,
        message: body.message,
        timestamp: external::timestamp(body.timestamp)
            .map_err(|failure| Problem::field("timestamp", failure.message))?,
        data: body.data,
    };
    let name = caller.named(given)?;
    caller.take(&server, &name)?;
    if let Some(before) = asked.before(&server)? {
        return Ok(before);
    }
    // Letting somebody in is on record, whoever said that they wait.
    let may_open = caller.may_any(&[Need::Deploy, Need::Approve]).is_ok();
    let status = StatusCode::OK.as_u16();
    let opens = may_open.then(|| caller.record(status));
    let forwarded = Forwarded { status: "forwarded" };
    let once = match &asked.key {
        Some(key) => Some((key.clone(), Repeated::new(status, serde_json::to_string(&forwarded)?))),
        None => None,
    };
    match server.app().told_from_outside(&name, event, opens, once).await {
        Ok(()) => Ok(Json(forwarded).into_response()),
        // Another one with the same key was first by a hair.
        Err(failure) => match asked.before(&server)? {
            Some(before) => Ok(before),
            None => Err(failure.into()),
        },
    }
}
