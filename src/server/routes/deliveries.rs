//! What became of events on their way to a webhook, and sending them again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Asked, Named};
use super::super::caller::{Caller, Start};
use super::super::json::Json;
use super::super::page;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use super::super::views::{OperationView, Page};
use super::webhooks::recorded;
use crate::app::Repeated;
use crate::app::endpoints::{AskedOnce, Delivery, DeliveryStatus, Replay, ReplayWanted};
use crate::domain::Need;

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(deliveries)).routes(routes!(replay))
}

/// What is sent again: one event, or a range of them.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    /// The event with this id.
    event_id: Option<String>,
    /// What this delivery sent.
    delivery_id: Option<String>,
    /// The first event of a range.
    #[schema(minimum = 1)]
    from_sequence: Option<i64>,
    /// The last event of a range.
    #[schema(minimum = 1)]
    to_sequence: Option<i64>,
    /// Of a range: only what stands in the dead letters.
    #[serde(default)]
    dead: bool,
}

impl ReplayBody {
    fn read(self) -> Answer<ReplayWanted> {
        match (self.event_id, self.delivery_id, self.from_sequence, self.to_sequence) {
            (Some(event), None, None, None) => Ok(ReplayWanted::Event(event)),
            (None, Some(delivery), None, None) => Ok(ReplayWanted::Delivery(delivery)),
            (None, None, Some(from), Some(to)) => {
                Ok(ReplayWanted::Range { from, to, dead: self.dead })
            }
            _ => Err(Problem::bad_request(
                "a replay is of one event (event_id or delivery_id), or of a range (from_sequence \
                 and to_sequence)",
            )),
        }
    }
}

/// One sending of an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
struct DeliveryView {
    /// Its id.
    id: String,
    /// The endpoint's id.
    endpoint: String,
    /// The event's id, which is the `webhook-id` of each request.
    event_id: String,
    /// The event's place in the order.
    sequence: i64,
    /// The event's type.
    #[serde(rename = "type")]
    kind: String,
    /// The deployment.
    name: String,
    /// How far it is: `pending`, `delivered` or `dead`.
    #[schema(value_type = String, examples("delivered"))]
    status: DeliveryStatus,
    /// How often it was tried.
    attempts: u32,
    /// When it is tried next, if it is the next one of its deployment.
    #[schema(required)]
    next_attempt_at: Option<String>,
    /// What the receiver answered last.
    #[schema(required)]
    last_status: Option<u16>,
    /// Why it did not arrive.
    #[schema(required)]
    last_error: Option<String>,
    /// When it was queued, RFC 3339 UTC.
    created_at: String,
    /// When it arrived or was given up.
    #[schema(required)]
    ended_at: Option<String>,
    /// The replay that it belongs to.
    #[schema(required)]
    replay: Option<String>,
}

impl From<Delivery> for DeliveryView {
    fn from(it: Delivery) -> Self {
        Self {
            id: it.id,
            endpoint: it.endpoint,
            event_id: it.event_id,
            sequence: it.sequence,
            kind: it.kind,
            name: it.name,
            status: it.status,
            attempts: it.attempts,
            next_attempt_at: it.next_attempt_at,
            last_status: it.last_status,
            last_error: it.last_error,
            created_at: it.created_at,
            ended_at: it.ended_at,
            replay: it.replay,
        }
    }
}

/// Which deliveries.
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
    /// Those that are so far: `pending`, `delivered` or `dead`.
    status: Option<String>,
}

/// List deliveries
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}/deliveries",
    operation_id = "list_deliveries",
    tag = "Webhooks",
    params(("id" = String, Path, description = "The endpoint"), Which),
    responses((status = 200, description = "A page of them", body = Page<DeliveryView>)),
)]
async fn deliveries(
    State(server): State<Server>,
    caller: Caller,
    Named(id): Named<String>,
    Asked(which): Asked<Which>,
) -> Answer<Json<Page<DeliveryView>>> {
    let limit = page::limit(which.limit)?;
    let status =
        match which.status.as_deref() {
            None => None,
            Some(text) => Some(DeliveryStatus::parse(text).ok_or_else(|| {
                Problem::field("status", "a delivery is pending, delivered or dead")
            })?),
        };
    let before = page::cursor(which.cursor.as_deref(), "deliveries")?;
    let found = server.app().deliveries(&caller.principal, &id, status, before, limit)?;
    let (items, next) = found;
    Ok(Json(Page {
        items: items.into_iter().map(DeliveryView::from).collect(),
        next_cursor: next.map(|place| page::cursor_at("deliveries", &place.to_string())),
    }))
}

/// Send events again
///
/// One, or a range. Each keeps its `webhook-id`, and waits for what is pending of its deployment.
/// The answer is an operation of the kind `replay`, which survives whatever happens to the server.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/replay",
    operation_id = "replay_events",
    tag = "Webhooks",
    params(
        ("id" = String, Path, description = "The endpoint"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
         the same answer again, for a day"),
    ),
    request_body = ReplayBody,
    responses((status = 202, description = "They are being sent", body = OperationView)),
)]
async fn replay(
    State(server): State<Server>,
    Named(id): Named<String>,
    mut start: Start<ReplayBody>,
) -> Answer<Response> {
    start.caller.may(Need::Admin)?;
    if let Some(before) = start.before(&server)? {
        return Ok(before);
    }
    let wanted = std::mem::take(&mut start.body).read()?;
    let record = start.caller.record(StatusCode::ACCEPTED.as_u16());
    let once: Option<AskedOnce<'_>> = start.key.as_ref().map(|key| (key, &answer_of as _));
    let begun = server.app().replay(&start.caller.principal, &id, &wanted, &record, once);
    match begun {
        Ok(begun) => Ok(recorded((StatusCode::ACCEPTED, Json(OperationView::of_replay(&begun))))),
        Err(failure) => match start.before(&server)? {
            Some(before) => Ok(before),
            None => Err(failure.into()),
        },
    }
}

/// What a request about a replay is answered.
pub(super) fn answer_of(replay: &Replay) -> Repeated {
    let body = serde_json::to_string(&OperationView::of_replay(replay)).unwrap_or_default();
    Repeated::new(StatusCode::ACCEPTED.as_u16(), body).of(replay.id.clone())
}
