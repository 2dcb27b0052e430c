//! A gateway's log, as lines or as a stream.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Asked, Named};
use super::super::caller::{Caller, Shown};
use super::super::crowd::Place;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use crate::app::LogOptions;
use crate::app::logs::Lines;
use crate::domain::{Failure, Need, text};

/// The most lines from the end.
const MOST: u32 = 10_000;
/// The longest sentence about why reading ended, in characters.
const LONGEST: usize = 1000;
/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often, at most, it is looked at again whether somebody may read.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(logs))
}

/// A line of a stream, as its one field.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it says what a frame looks like")]
struct SentLine {
    /// `error` where the line is why reading ended; a line of the log has none.
    #[schema(examples("error"))]
    event: Option<String>,
    /// The line.
    data: String,
}

/// Which part of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// How many lines from the end, at most 10,000; 200 when left out.
    #[param(minimum = 0, maximum = 10000)]
    tail: Option<u32>,
    /// Whether to wait for more.
    #[serde(default)]
    #[param(required = false)]
    follow: bool,
}

/// Somebody who reads.
struct Reader {
    server: Server,
    /// By what they are known, and when that was last looked at.
    shown: Shown,
    looked: Instant,
    lines: Lines,
    as_events: bool,
    /// Among all who read.
    _place: Place,
}

impl Reader {
    /// Says why there are no more lines, as a problem would.
    fn end(&self, failure: Failure) -> String {
        let problem = Problem::from(failure);
        let detail =
            text::clean(&self.server.app().layout().without_paths(&problem.detail), LONGEST);
        if self.as_events {
            format!("event: error\ndata: {detail}\n\n")
        } else {
            format!("openclaw-pipeline: {detail}\n")
        }
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            let line = tokio::select! {
                line = tokio::time::timeout(KEEP_ALIVE, self.lines.next()) => line,
                () = self.server.tail().ended() => return None,
            };
            if self.looked.elapsed() > LOOK_AGAIN {
                if !self.shown.is_good(&self.server) {
                    return None;
                }
                self.looked = Instant::now();
            }
            match line {
                Ok(None) => return None,
                Ok(Some(Err(failure))) => return Some(self.end(failure)),
                Ok(Some(Ok(line))) if self.as_events => return Some(format!("data: {line}\n\n")),
                Ok(Some(Ok(line))) => return Some(format!("{line}\n")),
                Err(_) if self.as_events => return Some(": keep-alive\n\n".into()),
                Err(_) => {}
            }
        }
    }
}

/// Read a gateway's log
///
/// Lines without control characters and without a secret of the deployment. With `Accept:
/// text/event-stream`, each line is the `data` of a server-sent event. Where reading fails after
/// it began, the last line says why: an event `error`.
#[utoipa::path(
    get,
    path = "/v1/deployments/{name}/logs",
    operation_id = "get_logs",
    tag = "Deployments",
    params(("name" = String, Path, description = "The deployment"), Which),
    responses(
        (status = 200, description = "The lines", content(
            (String = "text/plain"),
            (SentLine = "text/event-stream"),
        )),
    ),
)]
async fn logs(
    State(server): State<Server>,
    caller: Caller,
    headers: HeaderMap,
    Named(name): Named<String>,
    Asked(which): Asked<Which>,
) -> Answer<Response> {
    caller.may(Need::Read)?;
    let tail = which.tail.unwrap_or(200);
    if tail > MOST {
        return Err(Problem::field("tail", format!("tail is at most {MOST}; {tail} is not")));
    }
    let name = caller.deployment(&server, &name)?.name;
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let as_events = accept.contains("text/event-stream");
    let crowds = server.crowds();
    let crowd = if which.follow { &crowds.log_followers } else { &crowds.log_readers };
    let place = crowd.take(&caller.principal.id)?;
    let lines = server.app().log_lines(&name, LogOptions { tail, follow: which.follow }).await?;
    let shown = caller.shown;
    let looked = Instant::now();
    let reader = Reader { server, shown, looked, lines, as_events, _place: place };
    let lines = stream::unfold(reader, async |mut reader| {
        let text = reader.next().await?;
        Some((Ok::<_, Infallible>(text), reader))
    });
    let kind = if as_events { "text/event-stream" } else { "text/plain; charset=utf-8" };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}
