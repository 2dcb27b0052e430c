//! What a caller is told when it does not work: problem details (RFC 9457).
//!
//! Owns the mapping from failures to statuses, and the form of it. Refuses to tell what is only the
//! server's business: a path of its machine, or what its store said.

use std::ops::{Deref, DerefMut};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::remedy::for_callers;
use crate::domain::{Denied, Failure, FailureKind};

/// One field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field, as a path where it is nested.
    #[schema(examples("name"))]
    pub field: String,
    /// The rule that it breaks.
    pub message: String,
}

/// Why a call was not answered as asked, as problem details (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Details {
    /// The kind of problem, as a URN.
    #[serde(rename = "type")]
    #[schema(examples("urn:openclaw-pipeline:not-found"))]
    pub kind: String,
    /// The kind in words.
    #[schema(examples("Not found"))]
    pub title: String,
    /// The HTTP status.
    #[schema(examples(404), minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened and why, as a sentence.
    pub detail: String,
    /// The same sentence, for clients that look here.
    pub error: String,
    /// The id of this request, which the server's log has too.
    pub request_id: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The fields that break a rule, where it is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// The oldest event that there still is, where an older one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<i64>,
    /// Not part of the body: when to try again, in seconds.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after_s: Option<u64>,
    /// Not part of the body: the methods that there are.
    #[serde(skip)]
    #[schema(ignore)]
    pub allow: Option<HeaderValue>,
}

/// Why a call is not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(Box<Details>);

impl Deref for Problem {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

/// A result whose error is a problem.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem of a status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        let detail = detail.into();
        Self(Box::new(Details {
            kind: format!("urn:openclaw-pipeline:{}", title.to_ascii_lowercase().replace(' ', "-")),
            title: title.to_owned(),
            status: status.as_u16(),
            error: detail.clone(),
            detail,
            request_id: String::new(),
            remedy: None,
            errors: Vec::new(),
            oldest: None,
            retry_after_s: None,
            allow: None,
        }))
    }

    /// The request breaks a rule.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// A field of the request breaks a rule.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let detail = if message.starts_with(&field) {
            message.clone()
        } else {
            format!("{field}: {message}")
        };
        let mut problem = Self::bad_request(detail);
        problem.errors.push(FieldError { field, message });
        problem
    }

    /// What was named does not exist, or not for this caller.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same for this request.
    #[must_use]
    pub fn of_request(mut self, request_id: &str) -> Self {
        request_id.clone_into(&mut self.request_id);
        self
    }
}

fn status_of(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::BadInput => StatusCode::BAD_REQUEST,
        FailureKind::NotFound => StatusCode::NOT_FOUND,
        FailureKind::Conflict => StatusCode::CONFLICT,
        FailureKind::Forbidden => StatusCode::FORBIDDEN,
        FailureKind::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        FailureKind::Prerequisite | FailureKind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        // It was tried with a gateway, or with what it runs on.
        FailureKind::Failed => StatusCode::BAD_GATEWAY,
        FailureKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        if failure.kind == FailureKind::Internal {
            tracing::error!("{failure}");
            return Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server could not do this; its log says why, under this request's id",
            );
        }
        let mut problem = Self::new(status_of(failure.kind), failure.message);
        problem.remedy = failure.remedy;
        problem
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, denied.to_string()).remedy(denied.remedy())
    }
}

/// What the outermost layer finds in an answer, and writes out with the request's id.
#[derive(Clone)]
pub(super) struct Unwritten(pub Problem);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(Unwritten(self));
        response
    }
}

impl Problem {
    /// Writes it out.
    pub(super) fn write(&self, hide: impl Fn(&str) -> String) -> Response {
        let mut told = self.clone();
        let told = &mut *told.0;
        told.detail = hide(&told.detail);
        told.error.clone_from(&told.detail);
        told.remedy = told.remedy.take().map(|it| for_callers(&hide(&it)));
        for error in &mut told.errors {
            error.message = hide(&error.message);
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(told).unwrap_or_else(|_| json!({}).to_string().into_bytes());
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = &self.allow {
            headers.insert(header::ALLOW, allow.clone());
        }
        response
    }
}
