//! The lab's API tester, tested: it finds what an API does against its document, and nothing
//! where there is nothing.

use axum::extract::{Path, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::support::schemathesis::{Options, run};

const TOKEN: &str = "ocp_a-token-of-a-test";

/// A list, one of its things, and an event stream that never ends.
fn document() -> Value {
    let problem = json!({ "description": "wrong", "content": { "application/problem+json": {
        "schema": { "type": "object", "required": ["title"] } } } });
    let thing = json!({ "type": "object", "required": ["name"], "additionalProperties": false,
        "properties": { "name": { "type": "string" } } });
    // Each event of a stream is held against the schema, with its fields as members.
    let event = json!({ "type": "object", "required": ["id", "data"] });
    let answers = |media: &str, schema: Value| {
        json!({ "200": { "description": "good", "content": { media: { "schema": schema } } },
            "400": problem, "401": problem, "404": problem })
    };
    let limit = json!({ "name": "limit", "in": "query",
        "schema": { "type": "integer", "minimum": 1, "maximum": 200 } });
    let name = json!({ "name": "name", "in": "path", "required": true,
        "schema": { "type": "string", "pattern": "^[a-z]{1,8}$" } });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "a toy", "version": "1" },
        "security": [{ "token": [] }],
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "paths": {
            "/things": { "get": { "parameters": [limit], "responses": answers(
                "application/json", json!({ "type": "array", "items": thing })) } },
            "/things/{name}": { "get": { "parameters": [name],
                "responses": answers("application/json", thing) } },
            "/events": { "get": {
                "responses": answers("text/event-stream", event) } },
        },
    })
}

fn problem(status: StatusCode) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, kind, json!({ "title": status.as_str() }).to_string()).into_response()
}

async fn authenticated(request: Request, next: axum::middleware::Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    if given.is_some_and(|given| given.as_bytes() == format!("Bearer {TOKEN}").as_bytes()) {
        next.run(request).await
    } else {
        problem(StatusCode::UNAUTHORIZED)
    }
}

async fn things(uri: axum::http::Uri) -> Response {
    let values = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let limits: Vec<_> = values.filter_map(|pair| pair.strip_prefix("limit=")).collect();
    match limits[..] {
        [] => Json(json!([{ "name": "one" }])).into_response(),
        [limit] if limit.parse().is_ok_and(|limit| (1..=200).contains(&limit)) => {
            Json(json!([{ "name": "one" }])).into_response()
        }
        _ => problem(StatusCode::BAD_REQUEST),
    }
}

async fn thing(Path(name): Path<String>) -> Response {
    let plain = name.bytes().all(|c| c.is_ascii_lowercase()) && (1..=8).contains(&name.len());
    if !plain {
        return problem(StatusCode::BAD_REQUEST);
    }
    Json(json!({ "name": name })).into_response()
}

/// A thing that its document does not know, and one that it falls over.
async fn wrong_thing(Path(name): Path<String>) -> Response {
    if name.contains(|c: char| !c.is_ascii_lowercase()) {
        return problem(StatusCode::INTERNAL_SERVER_ERROR);
    }
    Json(json!({ "nmae": name })).into_response()
}

async fn events() -> Response {
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>("id: 1\ndata: {}\n\n")]);
    let endless = futures_util::StreamExt::chain(first, futures_util::stream::pending());
    let body = axum::body::Body::from_stream(endless);
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// Serves until the test ends; answers the address.
async fn serve(router: Router) -> String {
    let router = router
        .fallback(async || problem(StatusCode::NOT_FOUND))
        .layer(axum::middleware::from_fn(authenticated));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn tested(router: Router, options: Options) -> Option<super::support::schemathesis::Report> {
    let url = serve(router).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("openapi.json");
    std::fs::write(&file, document().to_string()).expect("a file");
    let tested = tokio::task::spawn_blocking(move || run(&file, &url, TOKEN, &options));
    tested.await.expect("it does not panic")
}

fn options() -> Options {
    Options {
        max_examples: 10,
        // What a stream of events costs, which does not end.
        request_timeout: std::time::Duration::from_secs(5),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_does_as_it_says_is_clean() {
    let router = Router::new()
        .route("/things", get(things))
        .route("/things/{name}", get(thing))
        .route("/events", get(events));
    let Some(report) = tested(router, options()).await else { return };
    report.assert_clean();
    assert_eq!((report.total, report.tested), (3, 3), "{}", report.output);
    assert!(report.cases > 30, "{}", report.output);
    assert!(!report.output.contains(TOKEN), "{}", report.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_api_does_wrong_is_found() {
    let router = Router::new()
        .route("/things", get(things))
        .route("/things/{name}", get(wrong_thing))
        .route("/events", get(async || "open to everybody"));
    let options = Options { exclude: vec!["GET /things"], ..options() };
    let Some(report) = tested(router, options).await else { return };
    assert!(!report.is_clean());
    assert_eq!((report.code, report.tested), (Some(1), 2), "{}", report.output);
    let wrong = report.kinds("GET /things/{name}");
    for kind in ["ServerError", "JsonSchemaError"] {
        assert!(wrong.contains(&kind), "{:?}\n{}", report.failures, report.output);
    }
    let events = report.kinds("GET /events");
    assert!(events.contains(&"UndefinedContentType"), "{:?}\n{}", report.failures, report.output);
    assert!(!report.output.contains(TOKEN), "{}", report.output);
}
