//! Answering a call that starts work, once, however often it is sent.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::caller::Start;
use super::gate::Recorded;
use super::problem::{Answer, Problem};
use super::state::Server;
use super::views::OperationView;
use crate::app::{Alongs, Once, Repeated};
use crate::domain::{Failure, Operation};

/// When to come again while the server stops, in seconds: another one may be there by then.
const STOPPING_S: u64 = 5;
/// Says that an answer was given before.
pub(super) const REPLAYED: &str = "idempotency-replayed";

impl<T> Start<T> {
    /// Begins an operation, has it carried out, and answers with what `answer` makes of it. Whether
    /// the request was sent before is asked first, with [`Start::before`]: what is looked at in
    /// between may have changed since.
    pub async fn begin<V: Serialize, F>(
        &self,
        server: &Server,
        answer: impl Fn(&Operation) -> V + Send + Sync + 'static,
        begin: impl FnOnce(Alongs) -> F,
    ) -> Answer<Response>
    where
        F: Future<Output = Result<Operation, Failure>>,
    {
        if server.executor().is_closed() {
            let why = "the server is stopping, and takes no more work";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).retry_after(STOPPING_S));
        }
        let body = move |operation: &Operation| {
            serde_json::to_string(&answer(operation)).unwrap_or_else(|_| "{}".into())
        };
        let body = Arc::new(body);
        let status = StatusCode::ACCEPTED.as_u16();
        let mut along: Alongs = vec![Arc::new(self.caller.record(status))];
        if let Some(key) = &self.key {
            let body = Arc::clone(&body);
            along.push(Arc::new(Once::new(key.clone(), move |operation| {
                Repeated::new(status, body(operation)).of(operation.id.clone())
            })));
        }
        match begin(along).await {
            Ok(operation) => {
                server.executor().submit(&operation, &self.caller.request_id);
                let mut response = accepted(body(&operation));
                response.extensions_mut().insert(Recorded);
                Ok(response)
            }
            // Another one with the same key was first by a hair.
            Err(failure) => match self.before(server)? {
                Some(before) => Ok(before),
                None => Err(failure.into()),
            },
        }
    }

    /// Does the same, and answers with the operation.
    pub async fn begin_operation<F>(
        &self,
        server: &Server,
        begin: impl FnOnce(Alongs) -> F,
    ) -> Answer<Response>
    where
        F: Future<Output = Result<Operation, Failure>>,
    {
        let app = server.app().clone();
        self.begin(server, move |operation| OperationView::of(operation, &app), begin).await
    }

    /// The answer that the same request got before.
    pub fn before(&self, server: &Server) -> Answer<Option<Response>> {
        let Some(key) = &self.key else { return Ok(None) };
        let Some(before) = server.app().answered(key)? else { return Ok(None) };
        let Some(body) = &before.body else { return Err(before.not_again().into()) };
        let mut response = accepted(body.clone());
        *response.status_mut() = StatusCode::from_u16(before.status).unwrap_or(StatusCode::OK);
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(Some(response))
    }
}

fn accepted(body: String) -> Response {
    (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A problem for what cannot be.
impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Failure::internal(format!("an answer could not be written: {error}")).into()
    }
}
