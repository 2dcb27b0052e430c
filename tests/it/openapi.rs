//! The API's description: that it is the code's, that it is whole, and that the server does what it
//! says. `UPDATE_OPENAPI=1` writes it anew.

use std::collections::BTreeSet;
use std::time::Duration;

use openclaw_pipeline::server::description_text;
use serde_json::{Value, json};

use crate::support::product::{BROKEN, Product};
use crate::support::receiver::{Mode, Receiver};
use crate::support::schemathesis;
use crate::support::server::{API_TOKEN, Served};
use crate::support::source::root;
use crate::support::unlimited::{serve, sources};

fn description() -> Value {
    let text = description_text().expect("a description");
    serde_json::from_str(&text).expect("JSON")
}

/// Every call: its method and path, and what is said of it.
fn calls(description: &Value) -> Vec<(String, Value)> {
    let mut calls = Vec::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, call) in item.as_object().expect("calls") {
            calls.push((format!("{} {path}", method.to_uppercase()), call.clone()));
        }
    }
    calls
}

#[test]
fn the_committed_one_is_the_codes() {
    let text = description_text().expect("a description");
    let file = root().join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&file, text).expect("it can be written");
        return;
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == text,
        "openapi.json is not what the code says any more; write it anew with \
         UPDATE_OPENAPI=1 cargo test --test it openapi::the_committed"
    );
}

#[test]
fn it_keeps_the_specification() {
    let Some(errors) = schemathesis::errors(&root().join("openapi.json")) else { return };
    assert_eq!(errors, "");
    assert_eq!(description()["openapi"], "3.1.0");
}

/// Every `$ref` in a document.
fn references(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(to) = members.get("$ref").and_then(Value::as_str) {
                into.insert(to.to_owned());
            }
            members.values().for_each(|it| references(it, into));
        }
        Value::Array(items) => items.iter().for_each(|it| references(it, into)),
        _ => {}
    }
}

#[test]
fn it_is_whole() {
    let description = description();
    let mut ids = BTreeSet::new();
    let said = |of: &Value, member: &str, at: &str| {
        let text = of[member].as_str().unwrap_or_default();
        assert!(!text.trim().is_empty(), "{at} has no {member}");
        text.to_owned()
    };
    for (at, call) in calls(&description) {
        assert!(ids.insert(said(&call, "operationId", &at)), "{at}: its operationId is another's");
        let summary = said(&call, "summary", &at);
        assert!(!summary.ends_with('.') && summary.len() <= 60, "{at}: {summary:?}");
        assert_eq!(call["tags"].as_array().map(Vec::len), Some(1), "{at}: one tag");
        for parameter in call["parameters"].as_array().into_iter().flatten() {
            let at = format!("{at}: {}", parameter["name"]);
            said(parameter, "description", &at);
            assert!(parameter["schema"].is_object(), "{at} has no schema");
        }
        let responses = call["responses"].as_object().expect("responses");
        assert!(responses.contains_key("default"), "{at} does not say how it is refused");
        let good: Vec<_> = responses.iter().filter(|(status, _)| status.starts_with('2')).collect();
        assert_eq!(good.len(), 1, "{at}: one answer where it works");
        for (status, response) in responses {
            let at = format!("{at}: {status}");
            said(response, "description", &at);
            assert_eq!(response["content"].is_object(), status != "204", "{at}: its body");
            for (kind, content) in response["content"].as_object().into_iter().flatten() {
                assert!(content["schema"].is_object(), "{at}: {kind} has no schema");
            }
        }
    }
    let schemas = description["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        for (member, of) in schema["properties"].as_object().into_iter().flatten() {
            // One that may be null says it beside its reference.
            let said = of.to_string().contains("\"description\"") || of.get("$ref").is_some();
            assert!(said, "{name}.{member} is not described");
        }
    }
    let mut used = BTreeSet::new();
    references(&description, &mut used);
    for to in used {
        assert!(description.pointer(to.trim_start_matches('#')).is_some(), "{to} leads nowhere");
    }
}

/// Where there is something of everything: deployments in several states, operations, events,
/// backups, tokens, endpoints, deliveries, and lines in the audit log.
struct Populated {
    /// The server that made it, which has ended.
    served: Served,
    receiver: Receiver,
    /// What exists, for each call that names one.
    known: Vec<(&'static str, String)>,
}

fn populated() -> Populated {
    let receiver = Receiver::start();
    let mut product = Product::new();
    product.install_faulty(BROKEN, Some("{exit_code: 1}"));
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    product.set("FRONTEND_URL", receiver.url());
    let mut served = Served::on(product, &[]);
    let launch = |name: &str, changes: Value| {
        let mut body = Served::launch_body(name);
        body["approval"] = json!("off");
        for (member, value) in changes.as_object().expect("changes") {
            body[member] = value.clone();
        }
        served.ended(&served.post("/v1/deployments", &body).ok(202))
    };
    let live = launch("live", json!({ "protected": true, "openai_api_key": "sk-0123456789-x" }));
    launch("broken", json!({ "version": BROKEN.0 }));
    launch("gone", json!({ "version": BROKEN.0 }));
    let order = |method: &str, path: &str| {
        served.ended(&served.call(method, path).send().ok(202));
    };
    order("DELETE", "/v1/deployments/gone");
    order("POST", "/v1/deployments/live/backups");
    for number in 0..3 {
        let message = format!("step {number}");
        let event = json!({ "type": "DeployingApp", "name": "live", "message": message });
        served.post("/webhook/event", &event).ok(200);
    }
    let token = served.token(["--scope", "deploy", "--prefix", "team-", "--max-launches", "2"]);
    served.product().run(["tokens", "revoke", &served.token(["--events", "live"]).id]).ok();
    served.call("GET", "/v1/audit").token(&token.text).send().problem(403);
    let endpoint = json!({
        "url": "https://receiver.example/hook", "events": ["completed"], "names": ["team-"],
    });
    let endpoint = served.post("/v1/webhooks", &endpoint).ok(201);
    let first = served.get("/v1/webhooks").ok(200)["items"][0]["id"].clone();
    served.until("something was delivered", || (!receiver.taken().is_empty()).then_some(()));
    receiver.set(Mode::Status(500, Vec::new()));
    let text = |value: &Value| value.as_str().expect("an id").to_owned();
    let known = vec![
        ("name", "live".to_owned()),
        ("nothing", "nothing".to_owned()),
        ("operation", text(&live["id"])),
        ("token", token.id),
        ("endpoint", text(&endpoint["id"])),
        ("front_end", text(&first)),
    ];
    assert_eq!(served.stop(), 0);
    Populated { served, receiver, known }
}

/// The calls that are made about what exists, and what stands in their path.
const ABOUT: [(&str, &str, &str); 22] = [
    ("GET /v1/deployments/{name}", "name", "name"),
    ("PATCH /v1/deployments/{name}", "name", "name"),
    ("GET /v1/deployments/{name}/backups", "name", "name"),
    ("POST /v1/deployments/{name}/backups", "name", "name"),
    ("POST /v1/deployments/{name}/backups/restore", "name", "name"),
    ("GET /v1/deployments/{name}/devices", "name", "name"),
    ("GET /v1/deployments/{name}/events", "name", "name"),
    ("GET /v1/deployments/{name}/operations", "name", "name"),
    ("POST /v1/deployments/{name}/access", "name", "name"),
    ("POST /v1/deployments/{name}/restart", "name", "name"),
    ("POST /v1/deployments/{name}/rotate", "name", "name"),
    ("POST /v1/deployments/{name}/start", "name", "name"),
    ("POST /v1/deployments/{name}/stop", "name", "name"),
    ("POST /v1/deployments/{name}/update", "name", "name"),
    // An approval waits for what nobody carries out here.
    ("POST /v1/deployments/{name}/approve", "name", "nothing"),
    ("GET /v1/operations/{id}", "id", "operation"),
    ("GET /v1/operations/{id}/events", "id", "operation"),
    ("GET /v1/tokens/{id}", "id", "token"),
    ("GET /v1/webhooks/{id}", "id", "endpoint"),
    ("PATCH /v1/webhooks/{id}", "id", "endpoint"),
    ("POST /v1/webhooks/{id}/replay", "id", "front_end"),
    ("GET /v1/webhooks/{id}/deliveries", "id", "front_end"),
];

/// Values that are more than of the right form; what a schema cannot say is refused all the same: a
/// cursor that no list gave, a key that was used for another request.
const RULES: &str = r#"
[dictionaries]
types.values = ["launching", "deploying_app", "PairingRequired"]
names.values = ["live"]
targets.values = ["process", "docker"]
versions.values = ["2026.9.6"]
switches.values = ["on", "off"]
policies.values = ["auto", "ask", "off"]
sizes.values = ["2g", "2048"]
images.values = ["ghcr.io/openclaw/openclaw:2026.9.6"]
models.values = ["anthropic/claude-sonnet-5"]
urls.values = ["https://receiver.example/hook"]

[[operations]]
include-path = "/webhook/event"
parameters = { "body.type" = { dictionary = "types" }, "body.name" = { dictionary = "names" } }

[[operations]]
include-name = "POST /v1/webhooks"
parameters = { "body.url" = { dictionary = "urls" } }

[[operations]]
include-path = ["/launch", "/v1/deployments"]
include-method = "POST"
[operations.parameters]
"body.target" = { dictionary = "targets" }
"body.version" = { dictionary = "versions" }
"body.exec_ask" = { dictionary = "switches" }
"body.approval" = { dictionary = "policies" }
"body.memory" = { dictionary = "sizes" }
"body.image" = { dictionary = "images" }
"body.model" = { dictionary = "models" }

[[operations]]
# One that is followed has no end.
include-path = "/v1/deployments/{name}/logs"
parameters = { "path.name" = "live", "query.follow" = false }

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "410", "422", "502", "503"]
"#;

/// Whatever endpoint comes of it is at an address that there is not: nobody is sent anything, and no
/// cloud is asked what a machine would cost. And an approval waits for what nobody carries out here.
const HOOKS: &str = r#"
import re, schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if not isinstance(body, dict):
        return
    if case.operation.path.startswith("/v1/webhooks") and isinstance(body.get("url"), str):
        body["url"] = re.sub(r"^https://[^/?#]*", "https://receiver.example", body["url"])
    if case.operation.path == "/approve" and body.get("name") == "live":
        body["name"] = "nothing"
    if case.operation.path == "/v1/plan" and body.get("target") in (None, "ec2", "lightsail"):
        body["target"] = "process"
"#;

#[test]
fn every_answer_is_as_it_says() {
    if crate::support::lab::Lab::require(crate::support::lab::Part::Schemathesis).is_none() {
        return;
    }
    let Populated { served, receiver, known } = populated();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // The server itself, without limits on how often somebody may ask; and what it accepts is not
    // carried out, so that nothing that is asked for takes away what the next call is about.
    let running =
        runtime.block_on(serve(sources(served.product()).env("FRONTEND_URL", receiver.url())));
    let about = ABOUT.map(|(call, parameter, what)| {
        let (_, value) = known.iter().find(|(name, _)| *name == what).expect("it exists");
        format!(
            "[[operations]]\ninclude-name = {call:?}\n\
             parameters = {{ \"path.{parameter}\" = {value:?} }}\n"
        )
    });
    let configuration = about.concat() + RULES;
    let options = schemathesis::Options {
        max_examples: 12,
        // Two of its threads at once break Python's own parser now and then.
        workers: 1,
        request_timeout: Duration::from_secs(20),
        configuration,
        hooks: HOOKS.to_owned(),
        ..schemathesis::Options::default()
    };
    let url = running.url();
    let report = schemathesis::run(&root().join("openapi.json"), &url, API_TOKEN, &options);
    let Some(report) = report else { return };
    report.assert_clean();
    assert_eq!(report.tested, report.total, "{}", report.output);
    drop(runtime);
}
