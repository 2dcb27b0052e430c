//! Reading what a request says: its body, its path, its query.
//!
//! Owns the bounds and the words in which a wrong one is refused: the field, the rule. Refuses a
//! body that is not declared as JSON, and a field that nobody knows.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;

use super::problem::{Answer, Problem};
use crate::domain::text::clean;

/// The largest body, in bytes: an `env` of many tokens fits, a file does not.
pub const LARGEST_BODY: usize = 256 << 10;

/// How long a body may take to come: whoever is slower holds a connection and no work.
const WHOLE_BODY: Duration = Duration::from_secs(20);

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// A JSON body that may be left out.
#[derive(Debug, Default)]
pub struct OptionalBody<T>(pub T);

/// What the path names.
#[derive(Debug)]
pub struct Named<T>(pub T);

/// What the query says.
#[derive(Debug)]
pub struct Asked<T>(pub T);

/// The body as it came, bounded.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

impl<S: Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Answer<Self> {
        let body = request.into_body();
        // One that says so need not be waited for.
        if usize::try_from(body.size_hint().lower()).is_ok_and(|size| size <= LARGEST_BODY) {
            let bytes = axum::body::to_bytes(body, LARGEST_BODY);
            let bytes = tokio::time::timeout(WHOLE_BODY, bytes).await.map_err(|_| too_slow())?;
            return bytes.map(Self).map_err(|error| not_whole(&error));
        }
        Err(too_large())
    }
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {} KiB", LARGEST_BODY >> 10),
    )
}

fn too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        format!("the body did not come within {} s", WHOLE_BODY.as_secs()),
    )
}

fn not_whole(error: &axum::Error) -> Problem {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if cause.is::<http_body_util::LengthLimitError>() {
            return too_large();
        }
        source = cause.source();
    }
    Problem::bad_request("the body did not come whole")
}

pub(super) fn require_json(headers: &HeaderMap) -> Answer<()> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let kind = declared.and_then(|it| it.split(';').next()).map(str::trim);
    if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!(
            "the body is to be JSON; {} is not",
            declared.map_or_else(
                || "one without a content type".into(),
                |it| format!("{:?}", clean(it, 60))
            )
        ),
    )
    .remedy("send it with Content-Type: application/json"))
}

/// Parses a body; the field that is wrong is named.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    // The parser would take a list of the members' values for an object.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::bad_request("the body is to be an object; it is a list"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = clean(&error.path().to_string(), 100);
        let why = error.into_inner();
        if why.is_data() {
            let said = without_place(&why);
            // The parser names an unknown or missing field itself.
            let field = quoted(&said).filter(|_| said.contains(" field `"));
            let field = match (path.as_str(), field) {
                ("." | "", Some(field)) => field,
                ("." | "", None) => return Problem::bad_request(format!("the body: {said}")),
                (path, _) => path.to_owned(),
            };
            return Problem::field(field, said);
        }
        Problem::bad_request(format!("the body is no JSON: {}", clean(&why.to_string(), 200)))
    })?;
    reader
        .end()
        .map_err(|_| Problem::bad_request("the body is no JSON: something follows its end"))?;
    Ok(parsed)
}

fn without_place(error: &serde_json::Error) -> String {
    let text = clean(&error.to_string(), 400);
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn quoted(text: &str) -> Option<String> {
    text.split('`').nth(1).map(str::to_owned)
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Answer<Self> {
        require_json(request.headers())?;
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        parse(&bytes).map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Answer<Self> {
        let declared = require_json(request.headers());
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        declared?;
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        // A name that breaks the rule names nothing: it is not found, and not echoed.
        match Path::from_request_parts(parts, state).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(_) => Err(Problem::not_found("there is nothing of this name")),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejected) => {
                let text = clean(&rejected.body_text(), 300);
                let said = text
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&text)
                    .to_owned();
                Err(match quoted(&said).filter(|_| said.contains(" field `")) {
                    Some(field) => Problem::field(field, said),
                    None => match said.split_once(": ") {
                        Some((field, why)) => Problem::field(field, why),
                        None => Problem::bad_request(said),
                    },
                })
            }
        }
    }
}
