//! What the server says of itself: its log, for `jq`, and its traces, to a collector.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::product::{Product, TOKEN, until};
use crate::support::receiver::{Mode, Receiver};
use crate::support::server::{API_TOKEN, Served};

/// The lines of a log, each of them an object.
fn lines(served: &Served) -> Vec<Value> {
    let log = served.log();
    let objects = log.lines().filter(|line| line.starts_with('{'));
    objects.map(|line| serde_json::from_str(line).expect("an object")).collect()
}

fn product() -> Product {
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    product
}

#[test]
fn every_line_has_the_ids_of_what_it_is_about() {
    let mut product = product();
    product.set("OPENCLAW_PIPELINE_LOG", "trace");
    let served = Served::on(product, &[]);
    let begun = served.post("/v1/deployments", &Served::launch_body("box"));
    let request_id = begun.header("x-request-id").to_owned();
    let ended = served.ended(&begun.ok(202));
    let of = |key: &str, id: &Value| {
        let lines = lines(&served).into_iter();
        lines.filter(|line| line[key] == *id).collect::<Vec<_>>()
    };
    // What the request itself said, and what the operation did that it began.
    let of_request = of("request_id", &json!(request_id));
    let answered = of_request.iter().find(|line| line["message"] == "answered").expect("a line");
    let path = json!("/v1/deployments");
    assert_eq!((&answered["method"], &answered["route"]), (&json!("POST"), &path));
    assert_eq!(answered["status"], 202, "{answered}");
    assert!(answered.get("operation_id").is_none(), "{answered}");
    let mut of_operation = of("operation_id", &ended["id"]);
    // Its events are delivered, or not, by somebody else.
    of_operation.retain(|line| line.get("endpoint_id").is_none());
    for step in ended["steps"].as_array().expect("steps") {
        let of_step = of_operation.iter().filter(|line| line["step"] == step["name"]);
        assert!(of_step.count() >= 2, "it begins and ends: {of_operation:#?}");
    }
    for line in &of_operation {
        assert_eq!((&line["kind"], &line["deployment"]), (&json!("launch"), &json!("box")));
        assert_eq!(line["request_id"], json!(request_id), "{line}");
        assert!(line.get("route").is_none(), "it is no part of the request: {line}");
    }
    for line in lines(&served) {
        for fixed in ["timestamp", "level", "message"] {
            assert!(line[fixed].is_string(), "{line}");
        }
    }
    let log = served.log();
    for secret in [TOKEN, API_TOKEN] {
        assert!(!log.contains(secret), "a secret stands in the log");
    }
}

#[test]
fn the_level_is_read_anew() {
    let served = Served::on(product(), &[]);
    let env = served.product().work().join(".env");
    let debug = || lines(&served).iter().filter(|line| line["level"] == "DEBUG").count();
    served.get("/v1/deployments").ok(200);
    assert_eq!(debug(), 0);
    let anew = |text: &str| {
        let before = served.log().matches("were read anew").count();
        fs::write(&env, text).expect("written");
        served.signal(Signal::HUP);
        until("it reads them", || {
            (served.log().matches("were read anew").count() > before).then_some(())
        });
    };
    anew("OPENCLAW_PIPELINE_LOG=debug\n");
    served.get("/v1/deployments").ok(200);
    until("it says more", || (debug() > 0).then_some(()));
    anew("");
    let before = debug();
    served.get("/v1/deployments").ok(200);
    served.post("/launch", &json!({ "nonsense": 1 })).problem(400);
    until("it says that", || served.log().contains("\"status\":400").then_some(()));
    assert_eq!(debug(), before, "what nobody asks for any more");
}

/// The spans that a collector has, with the attributes of their resource.
fn spans(collector: &Receiver) -> Vec<(BTreeMap<String, String>, Span)> {
    let mut spans = Vec::new();
    for request in collector.requests() {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(&*request.body).expect("protobuf");
        for of in request.resource_spans {
            let resource = attributes(&of.resource.expect("a resource").attributes);
            let found = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(found.map(|span| (resource.clone(), span)));
        }
    }
    spans
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    all.iter()
        .map(|it| {
            let value = it.value.clone().and_then(|it| it.value);
            let text = match value {
                Some(any_value::Value::StringValue(text)) => text,
                Some(any_value::Value::IntValue(number)) => number.to_string(),
                other => panic!("{}: {other:?}", it.key),
            };
            (it.key.clone(), text)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let number = bytes.iter().fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    format!("{number:0width$x}", width = bytes.len() * 2)
}

#[test]
fn a_collector_is_told_of_requests_and_of_what_they_begin() {
    let [collector, proxy, front] = [(); 3].map(|()| Receiver::start());
    let mut product = product();
    product.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    product.set("FRONTEND_URL", format!("{}/s3cr3t", front.url()));
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        product.set(name, proxy.url());
    }
    let mut served = Served::on(product, &[]);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let begun = served
        .call("POST", "/v1/deployments")
        .json(&Served::launch_body("box"))
        .header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"))
        .send()
        .ok(202);
    let ended = served.ended(&begun);
    served.get("/v1/deployments/absent").problem(404);
    until("the front end knows", || {
        front.requests().iter().any(|it| it.json()["type"] == "completed").then_some(())
    });
    assert_eq!(served.stop(), 0);
    let all = spans(&collector);
    let named = |name: &str| {
        let found = all.iter().find(|(_, span)| span.name == name);
        let names: Vec<&String> = all.iter().map(|(_, span)| &span.name).collect();
        &found.unwrap_or_else(|| panic!("no {name} in {names:?}")).1
    };
    let request = named("POST /v1/deployments");
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)).0, trace);
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    let told = attributes(&request.attributes);
    assert_eq!(told["http.response.status_code"], "202");
    let operation = named("operation launch");
    let told = attributes(&operation.attributes);
    assert_eq!(told["openclaw_pipeline.operation_id"], ended["id"].as_str().expect("an id"));
    assert_eq!(told["openclaw_pipeline.outcome"], "succeeded");
    assert_eq!(operation.links[0].span_id, request.span_id);
    for step in ended["steps"].as_array().expect("steps") {
        let step = named(&format!("step {}", step["name"].as_str().expect("a name")));
        assert_eq!(step.parent_span_id, operation.span_id);
        assert_eq!(step.trace_id, operation.trace_id);
    }
    let missed = named("GET /v1/deployments/{name}");
    assert_eq!(attributes(&missed.attributes)["http.response.status_code"], "404");
    let delivery = named("webhook delivery");
    let told = attributes(&delivery.attributes);
    assert_eq!(told["http.response.status_code"], "204");
    assert_eq!(told["openclaw_pipeline.outcome"], "arrived");
    assert_eq!(told["openclaw_pipeline.operation_id"], ended["id"].as_str().expect("an id"));
    let told_of = front.requests().into_iter().map(|it| it.json()["id"].clone());
    assert!(
        told_of.map(|id| id.to_string()).any(|id| id.contains(&told["openclaw_pipeline.event_id"]))
    );
    for (resource, span) in &all {
        assert_eq!(resource["service.name"], "openclaw-pipeline");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert!(span.events.is_empty() && !attributes(&span.attributes).is_empty(), "{span:?}");
    }
    let ours = ["POST ", "GET ", "operation ", "step ", "webhook delivery"];
    let others = all.iter().filter(|(_, it)| !ours.iter().any(|own| it.name.starts_with(own)));
    assert_eq!(others.count(), 0, "its own requests are none of them");
    for request in collector.requests() {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        for secret in [TOKEN, API_TOKEN, "absent", "s3cr3t"] {
            assert!(!text.contains(secret), "{secret} was sent");
        }
    }
    assert_eq!(proxy.count(), 0);
    served.assert_well();
}

#[test]
fn a_collector_that_is_away_or_hangs_harms_nothing() {
    let collector = Receiver::start();
    for (mode, sign) in [(Mode::Refuse, true), (Mode::Hang, false)] {
        collector.set(mode);
        let mut product = product();
        product.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
        let mut served = Served::on(product, &["--grace", "0"]);
        for _ in 0..20 {
            served.get("/livez").ok(200);
        }
        if sign {
            let says = || served.log().matches("traces do not arrive").count();
            until("it says so", || (says() > 0).then_some(()));
            assert_eq!(says(), 1, "once, however often it fails");
        }
        let asked = Instant::now();
        assert_eq!(served.stop(), 0);
        assert!(asked.elapsed().as_secs() < 8, "{:?}", asked.elapsed());
    }
}

#[test]
fn a_collector_that_is_no_url_is_refused() {
    let mut product = product();
    product.set("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318");
    let failed = product.run(["serve", "--port", "0"]).code(2);
    assert!(failed.stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{}", failed.stderr);
}
