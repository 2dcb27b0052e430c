//! Webhooks: where events are sent.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Asked, Body, Named};
use super::super::caller::{Caller, Start};
use super::super::gate::Recorded;
use super::super::json::Json;
use super::super::page;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use super::super::views::{NameBeginning, Page};
use crate::app::endpoints::{
    AskedFilter, EndpointChange, EndpointReport, EndpointStatus, read_events, read_names,
};
use crate::domain::{EventType, Failure, NamePrefix, Need};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, change, remove))
        .routes(routes!(enable))
        .routes(routes!(disable))
        .routes(routes!(rotate))
}

/// Where events are sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
struct EndpointView {
    /// Its id.
    id: String,
    /// Where it is.
    #[schema(examples("https://app.example/hooks/pipeline"))]
    url: String,
    /// The types that it is sent; null is all.
    #[schema(required)]
    events: Option<Vec<EventType>>,
    /// What the names begin with that it is told of; null is all.
    #[schema(required)]
    names: Option<Vec<String>>,
    /// Whether it is sent anything: `enabled` or `disabled`.
    #[schema(value_type = String, examples("enabled"))]
    status: EndpointStatus,
    /// Why not.
    #[schema(required)]
    reason: Option<String>,
    /// Whether it is the operator's own, which `FRONTEND_URL` names.
    is_frontend: bool,
    /// When it was made, RFC 3339 UTC.
    created_at: String,
    /// How many deliveries are pending.
    pending: i64,
    /// Since when the oldest of them waits, RFC 3339 UTC.
    #[schema(required)]
    oldest_pending_at: Option<String>,
    /// How many dead letters there are.
    dead: i64,
}

impl From<EndpointReport> for EndpointView {
    fn from(it: EndpointReport) -> Self {
        let names = |names: Vec<NamePrefix>| names.iter().map(ToString::to_string).collect();
        Self {
            id: it.endpoint.id,
            url: it.endpoint.url,
            events: it.endpoint.filter.events,
            names: it.endpoint.filter.names.map(names),
            status: it.endpoint.status,
            reason: it.endpoint.reason,
            is_frontend: it.endpoint.is_frontend,
            created_at: it.endpoint.created_at,
            pending: it.pending,
            oldest_pending_at: it.oldest_pending_at,
            dead: it.dead,
        }
    }
}

/// An endpoint and the secret that it was given, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct NewEndpointView {
    /// The endpoint.
    #[serde(flatten)]
    endpoint: EndpointView,
    /// What its requests are signed with.
    #[schema(examples("whsec_…"))]
    secret: String,
}

/// A secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct SecretView {
    /// What requests are signed with; the one before signs as well for a day.
    #[schema(examples("whsec_…"))]
    secret: String,
}

/// An endpoint to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointBody {
    /// Where it is: https, at a public address.
    #[schema(max_length = 2048)]
    url: String,
    /// The types that it is sent; all when left out.
    #[schema(value_type = Option<Vec<EventType>>, min_items = 1, max_items = 64)]
    events: Option<Vec<String>>,
    /// What the names begin with that it is told of; all when left out.
    #[schema(value_type = Option<Vec<NameBeginning>>, min_items = 1, max_items = 64)]
    names: Option<Vec<String>>,
}

/// What of an endpoint is changed. What is left out stays; null is all.
#[expect(clippy::option_option, reason = "left out, null and a list are three things")]
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointChangeBody {
    /// Where it is.
    #[schema(max_length = 2048)]
    url: Option<String>,
    /// The types that it is sent.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<EventType>>, min_items = 1, max_items = 64)]
    events: Option<Option<Vec<String>>>,
    /// What the names begin with that it is told of.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<NameBeginning>>, min_items = 1, max_items = 64)]
    names: Option<Option<Vec<String>>>,
}

/// Tells a null from what is left out.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Marks an answer whose line the audit log has already.
pub(super) fn recorded(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    response.extensions_mut().insert(Recorded);
    response
}

/// List webhooks
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    operation_id = "list_webhooks",
    tag = "Webhooks",
    params(page::Which),
    responses((status = 200, description = "A page of them, oldest first",
               body = Page<EndpointView>)),
)]
async fn list(
    State(server): State<Server>,
    caller: Caller,
    Asked(which): Asked<page::Which>,
) -> Answer<Json<Page<EndpointView>>> {
    let found = server.app().endpoints(&caller.principal)?;
    let id = |it: &EndpointReport| it.endpoint.id.clone();
    Ok(Json(which.of(found, "webhooks", id, |it| it.clone().into())?))
}

/// Add a webhook
///
/// It is sent what happens from now on; a replay sends it what was before. Its secret is shown in
/// this answer, and never again.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    operation_id = "create_webhook",
    tag = "Webhooks",
    request_body = EndpointBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "With the same key, no \
           second one is added")),
    responses((status = 201, description = "The endpoint, with its secret",
               body = NewEndpointView)),
)]
async fn add(State(server): State<Server>, start: Start<EndpointBody>) -> Answer<Response> {
    let Start { caller, body, key, .. } = start;
    caller.may(Need::Admin)?;
    if let Some(key) = &key
        && let Some(before) = server.app().answered(key)?
    {
        return Err(before.not_again().into());
    }
    let filter = AskedFilter { events: body.events, names: body.names }.read().map_err(filter)?;
    let record = caller.record(StatusCode::CREATED.as_u16());
    let added =
        server.app().add_endpoint(&caller.principal, &body.url, filter, &record, key.as_ref());
    let (endpoint, secret) = added?;
    let view = NewEndpointView {
        endpoint: EndpointView::from(endpoint),
        secret: secret.expose().to_owned(),
    };
    Ok(recorded((StatusCode::CREATED, Json(view))))
}

/// The field of a filter that breaks a rule.
fn filter(failure: Failure) -> Problem {
    let field = if failure.message.starts_with("names") { "names" } else { "events" };
    let mut problem = Problem::field(field, failure.message);
    problem.remedy = failure.remedy;
    problem
}

/// See a webhook
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}",
    operation_id = "get_webhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint")),
    responses((status = 200, description = "The endpoint", body = EndpointView)),
)]
async fn show(
    State(server): State<Server>,
    caller: Caller,
    Named(id): Named<String>,
) -> Answer<Json<EndpointView>> {
    Ok(Json(server.app().endpoint(&caller.principal, &id)?.into()))
}

/// Change a webhook
#[utoipa::path(
    patch,
    path = "/v1/webhooks/{id}",
    operation_id = "change_webhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint")),
    request_body = EndpointChangeBody,
    responses((status = 200, description = "The endpoint as it is now", body = EndpointView)),
)]
async fn change(
    State(server): State<Server>,
    caller: Caller,
    Named(id): Named<String>,
    Body(body): Body<EndpointChangeBody>,
) -> Answer<Response> {
    let events = body.events.map(|it| it.as_deref().map(read_events).transpose()).transpose();
    let names = body.names.map(|it| it.as_deref().map(read_names).transpose()).transpose();
    let change = EndpointChange {
        url: body.url,
        events: events.map_err(filter)?,
        names: names.map_err(filter)?,
    };
    let record = caller.record(StatusCode::OK.as_u16());
    let changed = server.app().change_endpoint(&caller.principal, &id, &change, &record)?;
    Ok(recorded(Json(EndpointView::from(changed))))
}

/// Remove a webhook
///
/// With what is pending for it. The operator's own stays: `FRONTEND_URL` names it.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{id}",
    operation_id = "remove_webhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint")),
    responses((status = 204, description = "It is gone")),
)]
async fn remove(
    State(server): State<Server>,
    caller: Caller,
    Named(id): Named<String>,
) -> Answer<Response> {
    let record = caller.record(StatusCode::NO_CONTENT.as_u16());
    server.app().remove_endpoint(&caller.principal, &id, &record)?;
    Ok(recorded(StatusCode::NO_CONTENT))
}

/// Enable a webhook
///
/// It is sent what waited for it.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/enable",
    operation_id = "enable_webhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint")),
    responses((status = 200, description = "The endpoint as it is now", body = EndpointView)),
)]
async fn enable(
    State(server): State<Server>,
    caller: Caller,
    Named(id): Named<String>,
) -> Answer<Response> {
    let record = caller.record(StatusCode::OK.as_u16());
    let enabled = server.app().enable_endpoint(&caller.principal, &id, &record)?;
    Ok(recorded(Json(EndpointView::from(enabled))))
}

/// Disable a webhook
///
/// What comes for it is kept until it is enabled again.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/disable",
    operation_id = "disable_webhook",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint")),
    responses((status = 200, description = "The endpoint as it is now", body = EndpointView)),
)]
async fn disable(
    State(server): State<Server>,
    caller: Caller,
    Named(id): Named<String>,
) -> Answer<Response> {
    let record = caller.record(StatusCode::OK.as_u16());
    let disabled = server.app().disable_endpoint(&caller.principal, &id, &record)?;
    Ok(recorded(Json(EndpointView::from(disabled))))
}

/// Give a webhook a new secret
///
/// The one before signs as well for a day, so that a receiver can change over.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/rotate-secret",
    operation_id = "rotate_webhook_secret",
    tag = "Webhooks",
    params(
        ("id" = String, Path, description = "The endpoint"),
        ("Idempotency-Key" = Option<String>, Header, description = "With the same key, no second \
         one is made"),
    ),
    responses((status = 200, description = "The secret, shown this once", body = SecretView)),
)]
async fn rotate(
    State(server): State<Server>,
    Named(id): Named<String>,
    start: Start<super::lifecycle::Nothing>,
) -> Answer<Response> {
    let Start { caller, key, .. } = start;
    caller.may(Need::Admin)?;
    if let Some(key) = &key
        && let Some(before) = server.app().answered(key)?
    {
        return Err(before.not_again().into());
    }
    let record = caller.record(StatusCode::OK.as_u16());
    let rotated =
        server.app().rotate_endpoint_secret(&caller.principal, &id, &record, key.as_ref());
    let view = SecretView { secret: rotated?.expose().to_owned() };
    Ok(recorded(Json(view)))
}
