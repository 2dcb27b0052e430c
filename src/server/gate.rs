//! What every request passes before it reaches its call.
//!
//! Owns who it is from and whether it may go on: the server's own names, origins, tokens and
//! sessions, rates; and what every answer gets: its request's id, its problem written out, its
//! line in the audit log. A change goes on to its end, and to its line, whether or not its client
//! waits. Refuses a token anywhere but in its header.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Extension;
use axum::extract::{ConnectInfo, FromRequest as _, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;

use super::body::RawBody;
use super::caller::{Caller, Shown};
use super::listen::Peer;
use super::observe::RequestId;
use super::origin::{self, From};
use super::problem::{Answer, Problem, Unwritten};
use super::state::Server;
use crate::app::rate;
use crate::app::{AuditOutcome, AuditRecord, AuthError};
use crate::domain::{Principal, PrincipalKind};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The calls that need no token.
fn is_public(method: &Method, path: &str) -> bool {
    let looks = matches!(*method, Method::GET | Method::HEAD);
    match path {
        "/health" | "/livez" | "/readyz" => true,
        // Signing in.
        "/v1/session" => *method == Method::POST,
        _ if !looks => false,
        "/swagger.json" => true,
        _ => super::console::is_public(path),
    }
}

/// Lets a request through, or not, and finishes its answer.
pub(super) async fn gate(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    id: Extension<RequestId>,
    mut request: Request,
    next: Next,
) -> Response {
    let Extension(RequestId(request_id)) = id;
    let address = client_address(&server, peer, request.headers());
    let matched = request.extensions().get::<MatchedPath>().map(|it| it.as_str().to_owned());
    let method = request.method().clone();
    let told = Told::default();
    if let Some(name) = about(matched.as_deref(), request.uri().path()) {
        told.is_about(&name);
    }
    request.extensions_mut().insert(told.clone());
    let seen = Seen {
        action: format!("{method} {}", matched.as_deref().unwrap_or("-")),
        told: told.clone(),
        changes: !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS),
        matched,
        address,
    };
    let from = match origin::check(&server, &request) {
        Ok(from) => from,
        Err(problem) => {
            return finish(&server, problem.into_response(), &request_id, None);
        }
    };
    if let From::Allowed(origin) = &from
        && *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return finish(&server, origin::preflight(), &request_id, Some(origin));
    }
    request.extensions_mut().insert(Peer(address));
    let asked = Asked { server: server.clone(), seen, id: Arc::clone(&request_id) };
    let response = match admit(&server, &request, &from, address) {
        Err(problem) => asked.answered(None, Instant::now(), problem.into_response()),
        Ok(admitted) => {
            let principal = admitted.map(|(principal, shown)| {
                request.extensions_mut().insert(Caller {
                    principal: Arc::clone(&principal),
                    shown,
                    address,
                    request_id: Arc::clone(&request_id),
                    action: asked.seen.action.as_str().into(),
                    told,
                });
                principal
            });
            asked.run(principal, request, next).await
        }
    };
    let origin = match &from {
        From::Allowed(origin) => Some(origin),
        _ => None,
    };
    finish(&server, response, &request_id, origin)
}

/// The calls that front ends make most, which wait for one commit alone: their line is in it, and
/// once it is handed over it is made, whether or not anybody waits.
const ITS_OWN_LINE: [&str; 3] = ["/launch", "/v1/deployments", "/webhook/event"];

/// A request that may go on.
struct Asked {
    server: Server,
    seen: Seen,
    id: Arc<str>,
}

impl Asked {
    /// Has its call answer it. The future of a client that hangs up is dropped wherever it waits:
    /// what changes something runs apart from it, so that nobody changes anything and is not on
    /// record. It begins once the request is here whole: half of one is no request.
    async fn run(
        self,
        principal: Option<Arc<Principal>>,
        request: Request,
        next: Next,
    ) -> Response {
        let begun = Instant::now();
        let matched = self.seen.matched.as_deref();
        let apart = matched.is_some_and(|path| !ITS_OWN_LINE.contains(&path));
        if !self.seen.changes || !apart {
            let response = next.run(request).await;
            return self.answered(principal.as_deref(), begun, response);
        }
        let request = match whole(request).await {
            Ok(request) => request,
            Err(problem) => {
                return self.answered(principal.as_deref(), begun, problem.into_response());
            }
        };
        let goes_on = async move {
            let response = next.run(request).await;
            self.answered(principal.as_deref(), begun, response)
        };
        match tokio::spawn(goes_on.in_current_span()).await {
            Ok(response) => response,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")
                    .into_response(),
            },
        }
    }

    /// Puts it on record, and tells the log.
    fn answered(
        &self,
        principal: Option<&Principal>,
        begun: Instant,
        response: Response,
    ) -> Response {
        let status = response.status();
        if response.extensions().get::<Recorded>().is_none() {
            let problem = response.extensions().get::<Unwritten>().map(|it| it.0.detail.clone());
            record(&self.server, &self.seen, principal, &self.id, status, problem);
        }
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (status, by) = (status.as_u16(), principal.map(|it| it.id.as_str()));
        // Who looks, looks often.
        if self.seen.changes || status >= 400 {
            tracing::info!(status, took_us, by, "answered");
        } else {
            tracing::debug!(status, took_us, by, "answered");
        }
        response
    }
}

/// The request with its whole body.
async fn whole(request: Request) -> Answer<Request> {
    let (parts, body) = request.into_parts();
    let RawBody(bytes) = RawBody::from_request(Request::new(body), &()).await?;
    Ok(Request::from_parts(parts, bytes.into()))
}

/// On an answer: the audit log has its line already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recorded;

/// What the audit log says of a request.
struct Seen {
    action: String,
    matched: Option<String>,
    told: Told,
    changes: bool,
    address: IpAddr,
}

/// What the call itself knows of a request, for its line in the audit log.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Answers>);

#[derive(Debug, Default)]
struct Answers {
    name: OnceLock<String>,
    who: OnceLock<Arc<Principal>>,
}

impl Told {
    /// Which deployment it is about. What the path says comes before what the body says.
    pub(super) fn is_about(&self, name: &str) {
        let _ = self.0.name.set(crate::domain::text::clean(name, 80));
    }

    /// Who made it, where that shows in the call alone.
    pub(super) fn is_by(&self, who: &Arc<Principal>) {
        let _ = self.0.who.set(Arc::clone(who));
    }
}

/// The deployment, or what else stands in the path where its route has a parameter.
fn about(matched: Option<&str>, path: &str) -> Option<String> {
    let pairs = matched?.split('/').zip(path.split('/'));
    let mut named = pairs.filter(|(pattern, _)| pattern.starts_with('{'));
    named.next().map(|(_, text)| text.to_owned())
}

/// Where the caller is. A proxy that has the TLS is believed about that, and nobody else: not who
/// comes from the internet past it.
fn client_address(server: &Server, peer: Peer, headers: &HeaderMap) -> IpAddr {
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded.and_then(|it| it.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    match last {
        Some(address) if server.is_behind_proxy() && peer.is_near() => address,
        _ => peer.0.to_canonical(),
    }
}

/// Who makes the request; nobody in particular for a public call.
fn admit(
    server: &Server,
    request: &Request,
    from: &From,
    address: IpAddr,
) -> Answer<Option<(Arc<Principal>, Shown)>> {
    let now = Instant::now();
    // The console's own files cost nothing, and one page is made of dozens.
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    if looks && super::console::is_public(request.uri().path()) {
        return Ok(None);
    }
    server.rate().take(rate::Caller::Address(address), now).map_err(too_many)?;
    if is_public(request.method(), request.uri().path()) {
        return Ok(None);
    }
    let (principal, shown) = known(server, request.headers(), address)?;
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let own = matches!(from, From::Own);
    match principal.kind {
        // A page of somebody else's makes the browser send the cookie, or reach loopback.
        PrincipalKind::Session if changes && !own => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "a change with a session comes from the console itself: its Origin is missing or \
             another one",
        )),
        PrincipalKind::Open if matches!(from, From::Foreign) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "pages of other origins may not call a server that asks for no token",
        )),
        _ => {
            server.rate().take(rate::Caller::Token(&principal.id), now).map_err(too_many)?;
            if changes && principal.kind != PrincipalKind::Operator {
                let expensive = rate::Caller::Expensive(&principal.id);
                if is_expensive(request.uri().path()) {
                    server.rate().take(expensive, now).map_err(too_many)?;
                }
            }
            Ok(Some((principal, shown)))
        }
    }
}

/// Whether a changing call begins long work.
fn is_expensive(path: &str) -> bool {
    path != "/webhook/event" && !path.starts_with("/v1/session")
}

pub(super) fn too_many(too_many: rate::TooMany) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, too_many.to_string())
        .retry_after(too_many.retry_after_s)
}

/// Whose token or session it is.
fn known(server: &Server, headers: &HeaderMap, address: IpAddr) -> Answer<(Arc<Principal>, Shown)> {
    let now = Instant::now();
    let guesses = headers.contains_key(header::AUTHORIZATION);
    if guesses {
        server.rate().may_try(address, now).map_err(too_many)?;
    }
    let shown = Shown::by(headers)?;
    match shown.whose(server) {
        Ok(Some(principal)) => Ok((principal, shown)),
        Ok(None) => Err(unauthorized("this call needs a token")
            .remedy("send it as Authorization: Bearer TOKEN")),
        Err(AuthError::Failed(failure)) => Err(failure.into()),
        Err(error) => {
            // A session that ended is no guess: the console goes on asking with it.
            if guesses {
                server.rate().failed(address, now);
            }
            Err(unauthorized(error.to_string()))
        }
    }
}

fn unauthorized(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

/// Writes what was done, or not let, into the audit log. What begins an operation has its line in
/// the same commit already, and so has an event that opens a window; other events, and looking, are
/// not recorded unless they were refused.
fn record(
    server: &Server,
    seen: &Seen,
    principal: Option<&Principal>,
    request_id: &str,
    status: StatusCode,
    problem: Option<String>,
) {
    let denied = matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    );
    let told = seen.changes && seen.matched.as_deref() != Some("/webhook/event");
    if !denied && !told {
        return;
    }
    let outcome = match status {
        _ if denied => AuditOutcome::Denied,
        status if status.is_success() => AuditOutcome::Allowed,
        _ => AuditOutcome::Failed,
    };
    let mut record = match principal.or(seen.told.0.who.get().map(|it| &**it)) {
        Some(principal) => AuditRecord::of(principal, &seen.action),
        None => AuditRecord::of_nobody(&seen.action),
    }
    .from_address(seen.address.to_string())
    .ended(outcome, status.as_u16())
    .in_request(request_id);
    if let Some(name) = seen.told.0.name.get() {
        record = record.about(name);
    }
    if let Some(detail) = problem {
        record = record.detail(detail);
    }
    if outcome == AuditOutcome::Allowed {
        if let Err(error) = server.app().store().append_audit(&record) {
            tracing::warn!(%error, "the audit log lacks a line");
        }
    } else {
        server.denials().note(record);
    }
}

/// Gives an answer what every answer has.
fn finish(
    server: &Server,
    mut response: Response,
    request_id: &str,
    origin: Option<&HeaderValue>,
) -> Response {
    if let Some(Unwritten(problem)) = response.extensions_mut().remove::<Unwritten>() {
        let written =
            problem.of_request(request_id).write(|text| server.app().layout().without_paths(text));
        response = written;
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    if let Some(origin) = origin {
        origin::allow(headers, origin);
    }
    if server.is_tls() {
        headers
            .entry(header::STRICT_TRANSPORT_SECURITY)
            .or_insert(HeaderValue::from_static("max-age=31536000"));
    }
    response
}
