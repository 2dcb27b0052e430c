//! Events: as a stream that resumes without a gap, and as a list.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Asked, Named};
use super::super::caller::{Caller, Shown};
use super::super::crowd::Place;
use super::super::json::Json;
use super::super::page;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use super::super::tail::{BATCH, Frame};
use super::super::views::{EventView, Page};
use super::operations::reached;
use crate::app::EventFilter;
use crate::domain::{Event, EventType, Failure, NamePrefix, Need, OperationStatus};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .routes(routes!(events))
        .routes(routes!(of_deployment))
        .routes(routes!(of_operation))
}

/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often, at most, it is looked at again whether somebody may listen: what ends by itself
/// raises no number.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Those of this deployment.
    name: Option<String>,
    /// Those of these types, separated by commas.
    types: Option<String>,
    /// Those after this sequence number. `Last-Event-ID` says the same, and counts first.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Of a list: at most so many, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Of a list: the `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// An event of a stream, field by field.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it says what a frame of the tail looks like")]
struct SentEvent {
    /// Its sequence number: what `Last-Event-ID` resumes after.
    #[schema(examples("42"), pattern = "^[0-9]+$")]
    id: String,
    /// Its type.
    event: EventType,
    /// The event, as JSON.
    data: String,
}

/// Which events of a deployment or an operation.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichOfIt {
    /// At most so many, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

fn types(given: Option<&str>) -> Answer<Vec<EventType>> {
    let Some(given) = given else { return Ok(Vec::new()) };
    given
        .split(',')
        .map(|text| {
            EventType::parse(text.trim()).ok_or_else(|| {
                let text = crate::domain::text::clean(text, 40);
                Problem::field("types", format!("{text:?} is no type of event"))
            })
        })
        .collect()
}

fn prefix(caller: &Caller) -> Option<String> {
    caller.principal.name_prefix.as_ref().map(|prefix| prefix.as_str().to_owned())
}

/// Whether the caller wants a stream.
fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let wants = |kind: &str| accept.split(',').any(|it| it.trim_start().starts_with(kind));
    wants("text/event-stream") || !wants("application/json")
}

/// After which event to go on, and the field that says so.
type Position = (i64, &'static str);

/// Where a stream begins.
fn begins(headers: &HeaderMap, after: Option<i64>) -> Answer<Option<Position>> {
    if after.is_some_and(|after| after < 0) {
        return Err(Problem::field("after", "it is the sequence number of an event, or 0"));
    }
    let Some(last) = headers.get("last-event-id") else {
        return Ok(after.map(|after| (after, "after")));
    };
    let last = last.to_str().ok().and_then(|text| text.parse().ok());
    match last.filter(|last| *last >= 0) {
        Some(last) => Ok(Some((last, "Last-Event-ID"))),
        None => Err(Problem::field(
            "Last-Event-ID",
            "it is the sequence number of an event, as the stream gave it",
        )),
    }
}

/// Follow events
///
/// A stream of server-sent events: `id` is the sequence number, `event` the type, `data` the event
/// as JSON. With `Last-Event-ID` it resumes without a gap; without, it begins now. An event that
/// is older than what is kept answers 410 with the oldest there is. With `Accept:
/// application/json` it is a list, oldest first, which goes on in the same way.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "follow_events",
    tag = "Events",
    params(
        Which,
        ("Last-Event-ID" = Option<i64>, Header, minimum = 0, description = "The last event that \
         was seen"),
    ),
    responses(
        (status = 200, description = "The events", content(
            (Page<EventView> = "application/json"),
            (SentEvent = "text/event-stream"),
        )),
    ),
)]
async fn events(
    State(server): State<Server>,
    caller: Caller,
    headers: HeaderMap,
    Asked(which): Asked<Which>,
) -> Answer<Response> {
    caller.may(Need::Read)?;
    let filter = EventFilter {
        name: which.name.as_deref().map(|name| caller.named(name)).transpose()?,
        name_prefix: prefix(&caller),
        types: types(which.types.as_deref())?,
        operation: None,
    };
    let after = begins(&headers, which.after)?;
    let (place, limit) = place(which.cursor.as_deref(), which.limit)?;
    if !wants_stream(&headers) {
        return list(&server, &filter, place.or(after), limit);
    }
    follow(&server, &caller, filter, after, None)
}

/// List a deployment's events
///
/// Oldest first. A page after events that are kept no longer answers 410.
#[utoipa::path(
    get,
    path = "/v1/deployments/{name}/events",
    operation_id = "list_deployment_events",
    tag = "Events",
    params(("name" = String, Path, description = "The deployment"), WhichOfIt),
    responses((status = 200, description = "A page of them", body = Page<EventView>)),
)]
async fn of_deployment(
    State(server): State<Server>,
    caller: Caller,
    Named(name): Named<String>,
    Asked(which): Asked<WhichOfIt>,
) -> Answer<Response> {
    caller.may(Need::Read)?;
    let name = caller.deployment(&server, &name)?.name;
    let (place, limit) = place(which.cursor.as_deref(), which.limit)?;
    let filter = EventFilter { name: Some(name), ..EventFilter::default() };
    list(&server, &filter, place, limit)
}

/// Follow an operation's events
///
/// All of them, from its beginning; the stream ends with the operation. A position that is older
/// than what is kept answers 410. With `Accept: application/json` it is a list.
#[utoipa::path(
    get,
    path = "/v1/operations/{id}/events",
    operation_id = "follow_operation_events",
    tag = "Events",
    params(
        ("id" = String, Path, description = "The operation"),
        WhichOfIt,
        ("Last-Event-ID" = Option<i64>, Header, minimum = 0, description = "The last event that \
         was seen"),
    ),
    responses(
        (status = 200, description = "The events", content(
            (Page<EventView> = "application/json"),
            (SentEvent = "text/event-stream"),
        )),
    ),
)]
async fn of_operation(
    State(server): State<Server>,
    caller: Caller,
    headers: HeaderMap,
    Named(id): Named<String>,
    Asked(which): Asked<WhichOfIt>,
) -> Answer<Response> {
    caller.may(Need::Read)?;
    let operation = reached(&server, &caller, &id)?;
    let after = begins(&headers, None)?;
    let (place, limit) = place(which.cursor.as_deref(), which.limit)?;
    let filter = EventFilter { operation: Some(operation.id.clone()), ..EventFilter::default() };
    if !wants_stream(&headers) {
        return list(&server, &filter, place.or(after), limit);
    }
    follow(&server, &caller, filter, after, Some(operation.id))
}

/// Where a page begins, and how long it is. What is wrong is refused for a stream as well, which
/// has no pages.
fn place(cursor: Option<&str>, limit: Option<u32>) -> Answer<(Option<Position>, usize)> {
    let cursor = page::cursor(cursor, "events")?;
    Ok((cursor.map(|after| (after, "cursor")), page::limit(limit)?))
}

fn list(
    server: &Server,
    filter: &EventFilter,
    from: Option<Position>,
    limit: usize,
) -> Answer<Response> {
    let after = from.map_or(0, |(after, _)| after);
    let found = server.app().store().events_page(filter, after, limit).map_err(Failure::from)?;
    // Looked at after the page was read: what was removed before that is noticed. The first page
    // begins with what there is.
    if let Some(from) = from {
        refuse_gap(server, from)?;
    }
    let page = Page {
        items: found.events.iter().map(EventView::from).collect(),
        next_cursor: found.more.then(|| page::cursor_at("events", &found.seen.to_string())),
    };
    Ok(Json(page).into_response())
}

/// Refuses to go on after an event that is not known: older than what is kept, or to come.
fn refuse_gap(server: &Server, (after, field): Position) -> Answer<()> {
    let history = server.app().store().history().map_err(Failure::from)?;
    if after < history.pruned_to {
        let mut problem = Problem::new(
            StatusCode::GONE,
            format!(
                "events up to {} are kept no longer: nothing goes on after {after}",
                history.pruned_to
            ),
        )
        .remedy("read how everything stands (GET /status), and follow from the oldest on");
        problem.oldest = Some(history.oldest.unwrap_or(history.last + 1));
        return Err(problem);
    }
    if after > history.last {
        return Err(Problem::field(
            field,
            format!("there is no event {after} yet; the last is {}", history.last),
        ));
    }
    Ok(())
}

fn follow(
    server: &Server,
    caller: &Caller,
    filter: EventFilter,
    from: Option<Position>,
    operation: Option<String>,
) -> Answer<Response> {
    let place = server.crowds().events.take(&caller.principal.id)?;
    // Listening begins before the store is read, so that nothing falls between the two.
    let live = server.tail().listen();
    let last = match from {
        Some(from) => {
            refuse_gap(server, from)?;
            from.0
        }
        // Its first event, where that is still there.
        None if operation.is_some() => 0,
        None => server.app().store().last_sequence().map_err(Failure::from)?,
    };
    let behind = from.is_some() || operation.is_some();
    let prefix = filter.name_prefix.as_deref().and_then(|prefix| prefix.parse().ok());
    let listener = Listener {
        server: server.clone(),
        shown: caller.shown.clone(),
        rights: 0,
        looked: Instant::now(),
        sent: Instant::now(),
        filter,
        prefix,
        operation,
        live,
        last,
        behind,
        waiting: VecDeque::from([Bytes::from_static(b": connected\n\n")]),
        _place: place,
    };
    let frames = stream::unfold(listener, async |mut listener| {
        let frame = listener.next().await?;
        listener.sent = Instant::now();
        Some((Ok::<_, std::convert::Infallible>(frame), listener))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy that gathers an answer before it passes it on would keep events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

/// Somebody who follows.
struct Listener {
    server: Server,
    /// By what they are known.
    shown: Shown,
    /// What the number of the rights was when they were looked at.
    rights: i64,
    /// When it was last looked at whether they may.
    looked: Instant,
    /// When they were last sent something.
    sent: Instant,
    filter: EventFilter,
    prefix: Option<NamePrefix>,
    /// Whose end is the stream's.
    operation: Option<String>,
    live: broadcast::Receiver<Arc<Frame>>,
    /// The last event that was looked at.
    last: i64,
    /// Whether the store has to be read before what comes live.
    behind: bool,
    waiting: VecDeque<Bytes>,
    /// Among all who follow.
    _place: Place,
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        // Not begun anew by what others hear: a proxy ends a stream on which nothing comes.
        let silent = self.sent + KEEP_ALIVE;
        loop {
            if self.looked.elapsed() >= LOOK_AGAIN {
                self.look_again()?;
            }
            if let Some(frame) = self.waiting.pop_front() {
                return Some(frame);
            }
            if Instant::now() >= silent {
                self.look_again()?;
                return Some(Bytes::from_static(b": keep-alive\n\n"));
            }
            if self.behind {
                self.catch_up()?;
                continue;
            }
            if self.is_over() {
                // Its last event is committed with its end: it may stand in the store by now.
                self.catch_up()?;
                return self.waiting.pop_front();
            }
            let news = tokio::select! {
                news = tokio::time::timeout_at(silent, self.live.recv()) => news,
                () = self.server.tail().ended() => return None,
            };
            match news {
                // Silent for too long, as is seen above.
                Err(_) => {}
                Ok(Ok(frame)) => {
                    if frame.event.sequence <= self.last {
                        continue;
                    }
                    self.may_go_on(frame.rights)?;
                    self.last = frame.event.sequence;
                    if self.wants(&frame.event) {
                        return Some(frame.text.clone());
                    }
                }
                Ok(Err(RecvError::Lagged(_))) => self.behind = true,
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }

    /// Looks again whether they may listen, where somebody lost a right since the last time.
    fn may_go_on(&mut self, rights: i64) -> Option<()> {
        if rights != self.rights {
            self.look_again()?;
        }
        self.rights = rights;
        Some(())
    }

    /// Looks whether they may still listen.
    fn look_again(&mut self) -> Option<()> {
        self.looked = Instant::now();
        self.shown.is_good(&self.server).then_some(())
    }

    /// Reads on from the store; one batch, so that nobody is kept waiting for a long history.
    fn catch_up(&mut self) -> Option<()> {
        let store = self.server.app().store();
        let found = match store.events_page(&self.filter, self.last, BATCH) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "events could not be read");
                return None;
            }
        };
        let rights = store.access_generation().unwrap_or(self.rights);
        self.may_go_on(rights)?;
        self.behind = found.more;
        self.last = found.seen;
        self.waiting.extend(found.events.into_iter().map(|event| Frame::of(event, rights).text));
        Some(())
    }

    fn wants(&self, event: &Event) -> bool {
        let EventFilter { name, types, operation, .. } = &self.filter;
        name.as_ref().is_none_or(|name| *name == event.name)
            && self.prefix.as_ref().is_none_or(|prefix| prefix.covers(&event.name))
            && (types.is_empty() || types.contains(&event.kind))
            && operation.as_ref().is_none_or(|it| Some(it) == event.operation_id.as_ref())
    }

    /// Whether the operation whose events these are has ended.
    fn is_over(&self) -> bool {
        let Some(id) = &self.operation else { return false };
        let operation = self.server.app().operation(id);
        operation.is_ok_and(|operation| operation.status != OperationStatus::Running)
    }
}
