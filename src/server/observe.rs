//! What every request leaves behind: its span, and its count.
//!
//! Owns a request's id. Refuses to look into a request: what is counted and told is which of the
//! server's own calls it was, and how it was answered.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::state::Server;
use crate::telemetry::traces;

/// The route of what no call of the server's matches.
const NO_ROUTE: &str = "-";

/// A request's id.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub Arc<str>);

/// Gives a request its id, and sees how it is answered.
pub(super) async fn observe(
    State(server): State<Server>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
    let method = known(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let span = tracing::info_span!("request", request_id = &*id, method, route);
    traces::adopt(&span, |name| request.headers().get(name)?.to_str().ok());
    request.extensions_mut().insert(RequestId(id));
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    traces::answered(&span, status);
    server.metrics().answered(method, route, status, begun.elapsed());
    response
}

/// The method, if it is one of those that have a meaning here: a client may make others up.
fn known(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|it| *it == method.as_str()).unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_few() {
        assert_eq!(known(&Method::PATCH), "PATCH");
        assert_eq!(known(&Method::from_bytes(b"BREW").expect("a method")), "OTHER");
    }
}
