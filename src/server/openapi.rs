//! The description of the API, made from the code of its calls.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Info, License, OpenApi, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::problem::{Details, FieldError};
use super::session;
use crate::app::KEY_MAX;

/// What the description says of itself.
const DESCRIPTION: &str = "Launches OpenClaw gateways, proves that they work, lets their users' \
browsers in, tells what happens, and keeps, updates and removes them.

Long work answers 202 and an operation; `GET /v1/operations/{id}` and the events tell how it goes. \
A call that starts work takes an `Idempotency-Key`: sent again with the same body, it is answered \
as the first time, and nothing is done twice. Errors are problem details (RFC 9457). Times are \
RFC 3339 UTC. Events are pushed to webhooks (signed as Standard Webhooks say) and can be followed \
as a stream (`GET /v1/events`), which resumes without a gap.";

/// Completes the description that the calls make.
pub fn complete(mut api: OpenApi) -> OpenApi {
    let mut info = Info::new("OpenClaw Pipeline", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    let mut license = License::new("MIT");
    license.identifier = Some("MIT".to_owned());
    info.license = Some(license);
    api.info = info;
    api.servers = None;
    let components = api.components.get_or_insert_default();
    for (name, schema) in
        [(Details::name(), Details::schema()), (FieldError::name(), FieldError::schema())]
    {
        components.schemas.insert(name.into_owned(), schema);
    }
    components.add_security_scheme(
        "token",
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some("A token, or OPENCLAW_PIPELINE_API_TOKEN"))
                .build(),
        ),
    );
    components.add_security_scheme(
        "session",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
            session::COOKIE,
            "The console's session: the cookie, together with its key",
        ))),
    );
    components.add_security_scheme(
        "session_key",
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            session::KEY_HEADER,
            "The key of the console's session",
        ))),
    );
    let none: [&str; 0] = [];
    api.security = Some(vec![
        SecurityRequirement::new("token", none),
        SecurityRequirement::new("session", none).add("session_key", none),
    ]);
    for item in api.paths.paths.values_mut() {
        let calls =
            [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete, &mut item.put];
        for call in calls.into_iter().flatten() {
            bound_key(call);
            add_problem(call);
        }
    }
    api
}

/// A key has the same form wherever one is taken.
fn bound_key(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        if parameter.name != "Idempotency-Key" {
            continue;
        }
        if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
            (schema.min_length, schema.max_length) = (Some(1), Some(KEY_MAX));
            schema.pattern = Some("^[ -~]+$".to_owned());
        }
    }
}

/// Every call may be answered with a problem.
fn add_problem(operation: &mut Operation) {
    let schema = RefOr::Ref(Ref::from_schema_name(Details::name()));
    let response = ResponseBuilder::new()
        .description("Why it was not done: problem details (RFC 9457)")
        .content("application/problem+json", ContentBuilder::new().schema(Some(schema)).build())
        .build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
}

/// The document as it is committed and served.
pub fn text(api: &OpenApi) -> Result<String, crate::domain::Failure> {
    let mut text = api
        .to_pretty_json()
        .map_err(|error| crate::domain::Failure::internal(format!("the description: {error}")))?;
    text.push('\n');
    Ok(text)
}

/// Serves it.
pub async fn serve(State(text): State<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
