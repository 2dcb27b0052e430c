//! What is on record of who did what, and where no token ever stands. Against the real server.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::asking::ask;
use crate::support::product::{BROKEN, Product, send};
use crate::support::server::{API_TOKEN, Served};

fn lines(served: &Served, query: &str) -> Vec<Value> {
    let page = served.get(&format!("/v1/audit?limit=200&{query}")).ok(200);
    page["items"].as_array().expect("lines").clone()
}

#[test]
fn what_was_done_and_what_was_refused_is_on_record() {
    let served = Served::with_versions();
    let deploy = served.token(["--scope", "deploy"]);
    let body = Served::launch_of("main", BROKEN);
    let launched = served.call("POST", "/launch").token(&deploy.text).json(&body);
    let launched = launched.send();
    served.ended(&launched.ok(202));
    let denied = served.call("DELETE", "/v1/deployments/main").token(&deploy.text).send();
    denied.problem(403);
    served.call("GET", "/status").token(&deploy.text).send().problem(403);
    served.call("GET", "/status").without("authorization").send().problem(401);

    let allowed = lines(&served, &format!("actor={}&outcome=allowed", deploy.id));
    assert_eq!(allowed.len(), 1, "{allowed:#?}");
    let line = &allowed[0];
    assert_eq!((&line["action"], &line["name"]), (&json!("POST /launch"), &json!("main")));
    assert_eq!((&line["status"], &line["address"]), (&json!(202), &json!("127.0.0.1")));
    assert_eq!((&line["actor_label"], &line["times"]), (&json!("a test"), &json!(1)));
    assert_eq!(line["request_id"], launched.header("x-request-id"));
    // Denials are gathered, and written down within moments.
    let refused = served.until("denials are on record", || {
        let refused = lines(&served, "outcome=denied");
        (refused.len() >= 3).then_some(refused)
    });
    let of = |action: &str, actor: &str| {
        let found = refused.iter().find(|it| it["action"] == action && it["actor"] == actor);
        found.unwrap_or_else(|| panic!("no {action} of {actor} in {refused:#?}")).clone()
    };
    let removal = of("DELETE /v1/deployments/{name}", &deploy.id);
    assert_eq!((&removal["name"], &removal["status"]), (&json!("main"), &json!(403)));
    assert_eq!(removal["request_id"], denied.header("x-request-id"));
    assert!(removal["detail"].as_str().expect("a reason").contains("scope destroy"), "{removal}");
    assert_eq!(of("GET /status", &deploy.id)["status"], 403);
    assert_eq!(of("GET /status", "")["status"], 401);
    // Each is told with what it was about.
    for name in ["one", "two", "three"] {
        let path = format!("/v1/deployments/{name}");
        served.call("DELETE", &path).token(&deploy.text).send().problem(403);
        served.until("it is on record", || {
            let of_it = lines(&served, &format!("outcome=denied&name={name}"));
            (of_it.len() == 1).then_some(())
        });
    }
    // Also where the body says it.
    let event = json!({ "name": "five", "type": "deploying_app", "message": "it goes on" });
    let calls = [
        ("/launch", json!({ "name": "four" })),
        ("/approve", Value::Null),
        ("/webhook/event", event),
    ];
    let reader = served.token(["--scope", "read"]);
    for ((path, body), name) in calls.into_iter().zip(["four", "main", "five"]) {
        let call = served.call("POST", path).token(&reader.text);
        let call = if body.is_null() { call } else { call.json(&body) };
        call.send().problem(403);
        let query = format!("outcome=denied&name={name}&actor={}", reader.id);
        served.until("it is on record", || {
            let told = lines(&served, &query);
            told.iter().any(|it| it["action"] == format!("POST {path}")).then_some(())
        });
    }
    served.get("/v1/audit?outcome=maybe").names("outcome");
    served.get("/v1/audit?who=me").names("who");
}

#[test]
fn who_signs_in_is_on_record() {
    let served = Served::with_versions();
    let reader = served.token(["--scope", "read"]);
    let sign_in = |token: &str| {
        let call = served.call("POST", "/v1/session").without("authorization");
        call.json(&json!({ "token": token })).send()
    };
    sign_in(&reader.text).ok(200);
    let line = |outcome: &str| {
        served.until("the sign-in is on record", || {
            let told = lines(&served, &format!("outcome={outcome}"));
            told.into_iter().find(|it| it["action"] == "POST /v1/session")
        })
    };
    let signed_in = line("allowed");
    assert_eq!(
        (&signed_in["actor"], &signed_in["actor_label"]),
        (&json!(reader.id), &json!("a test"))
    );
    sign_in("no token of this server at all").problem(401);
    assert_eq!(line("denied")["actor"], "");
}

/// Sends a request, and hangs up while the gateway that it is about stands still.
fn hang_up(served: &Served, method: &str, path: &str, body: &Value) {
    let gateway = served.product().gateway("main").expect("it runs");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {API_TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        served.address(),
        body.len()
    );
    send(gateway, Signal::STOP);
    let mut client = TcpStream::connect(served.address()).expect("it listens");
    client.write_all(request.as_bytes()).expect("it reads");
    // Nothing shows from outside that the server is at it, or knows that nobody waits.
    std::thread::sleep(Duration::from_millis(500));
    drop(client);
    std::thread::sleep(Duration::from_millis(200));
    send(gateway, Signal::CONT);
}

#[test]
fn who_hangs_up_is_on_record() {
    let served = Served::with_versions();
    let mut body = Served::launch_body("main");
    body["approval"] = json!("off");
    served.ended(&served.post("/v1/deployments", &body).ok(202));
    served.ended(&served.call("POST", "/v1/deployments/main/stop").send().ok(202));
    let waiting = ["one", "two"].map(|id| (id, "operator", &["operator.read"][..]));
    ask(served.product(), "main", &waiting);
    served.ended(&served.call("POST", "/v1/deployments/main/start").send().ok(202));
    let calls = [
        ("POST", "approve", json!({ "request_id": "one" })),
        ("POST", "reject", json!({ "request_id": "two" })),
        ("DELETE", "devices/device-of-one", Value::Null),
    ];
    for (method, rest, body) in calls {
        hang_up(&served, method, &format!("/v1/deployments/main/{rest}"), &body);
        let rest = if rest.starts_with("devices") { "devices/{device_id}" } else { rest };
        let action = format!("{method} /v1/deployments/{{name}}/{rest}");
        let line = served.until(&action, || {
            let mut of_main = lines(&served, "name=main&outcome=allowed").into_iter();
            of_main.find(|it| it["action"] == action)
        });
        assert_eq!(line["actor"], "configured", "{line}");
        // An approval is on record before it is over.
        served.until("it is over", || {
            let running = served.get("/v1/deployments/main/operations?status=running").ok(200);
            (running["items"] == json!([])).then_some(())
        });
    }
    served.until("all of it is done", || {
        let devices = served.get("/v1/deployments/main/devices").ok(200);
        let of = |which: &str| devices[which].as_array().map(Vec::len);
        ((of("pending"), of("paired")) == (Some(0), Some(0))).then_some(())
    });
    let all = lines(&served, "name=main&outcome=allowed");
    let approvals: Vec<&Value> = all
        .iter()
        .filter(|it| it["action"].as_str().is_some_and(|it| it.ends_with("/approve")))
        .collect();
    assert_eq!(approvals.len(), 1, "{approvals:#?}");
    let detail = approvals[0]["detail"].as_str().expect("a detail");
    assert!(detail.starts_with("operation "), "{detail}");
}

#[test]
fn a_window_that_somebody_opens_is_on_record() {
    let served = Served::with_versions();
    served.launch("main");
    let [connect, gateway] =
        [["--scope", "connect"], ["--events", "main"]].map(|it| served.token(it));
    let tell = |token: &str, kind: &str| {
        let body = json!({ "type": kind, "message": "m" });
        served.call("POST", "/webhook/event").token(token).json(&body).send().ok(200);
    };
    tell(&gateway.text, "pairing_required");
    tell(&connect.text, "deploying_app");
    tell(&connect.text, "pairing_required");
    let all = lines(&served, "outcome=allowed");
    let told: Vec<&Value> = all.iter().filter(|it| it["action"] == "POST /webhook/event").collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    let line = told[0];
    assert_eq!((&line["actor"], &line["name"]), (&json!(connect.id), &json!("main")));
    assert_eq!(line["status"], 200);
}

#[test]
fn a_replay_that_is_given_up_is_on_record_once() {
    let served = Served::with_versions();
    served.put("main");
    let endpoint = served.get("/v1/webhooks").ok(200)["items"][0]["id"].clone();
    let path = format!("/v1/webhooks/{}/replay", endpoint.as_str().expect("an id"));
    let replay = served.post(&path, &json!({ "from_sequence": 1, "to_sequence": 2 })).ok(202);
    let path = format!("/v1/operations/{}/cancel", replay["id"].as_str().expect("an id"));
    for times in 1..=2 {
        served.call("POST", &path).key(&times.to_string()).send().ok(202);
        let all = lines(&served, "outcome=allowed");
        let told = all.iter().filter(|it| it["action"] == "POST /v1/operations/{id}/cancel");
        assert_eq!(told.count(), times, "{all:#?}");
    }
    let again = served.call("POST", &path).key("2").send();
    assert_eq!(
        (again.ok(202)["id"].clone(), again.header("idempotency-replayed")),
        (replay["id"].clone(), "true")
    );
}

/// Every file below a directory.
fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files(&entry.path(), into),
            kind if kind.is_file() => into.push(entry.path()),
            _ => {}
        }
    }
}

#[test]
fn a_token_stands_nowhere() {
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN).set("OPENCLAW_PIPELINE_LOG", "trace");
    let mut served = Served::on(product, &[]);
    let made = served.token(["--scope", "admin"]).text;
    let session = served.call("POST", "/v1/session").json(&json!({ "token": made })).send();
    let cookie = session.header("set-cookie").split(['=', ';']).nth(1).expect("a value").to_owned();
    let key = session.json()["key"].as_str().expect("a key").to_owned();
    let by_api = served.post("/v1/tokens", &json!({ "label": "x", "scopes": ["read"] })).ok(201);
    let by_api = by_api["token"].as_str().expect("a token").to_owned();
    let own = "gw~Vb64+token/0123456789==";
    let mut body = Served::launch_body("main");
    body["token"] = json!(own);
    body["openai_api_key"] = json!("sk-openai-0123456789-distinctive");
    served.ended(&served.post("/launch", &body).ok(202));
    let mut shown = String::new();
    for token in [API_TOKEN, &made, &by_api] {
        served.call("GET", "/status").token(token).send();
        served.call("GET", &format!("/v1/deployments/{token}")).send();
        let wrong = json!({ "name": "main", "tokn": token });
        shown += &served.post("/launch", &wrong).text();
        shown += &served
            .call("POST", "/launch")
            .body("application/json", token.to_owned())
            .send()
            .text();
    }
    served.stop();
    assert!(!shown.contains("ocp_"), "{shown}");
    let mut all = Vec::new();
    files(&served.product().path(""), &mut all);
    assert!(all.iter().any(|path| path.ends_with("serve.log")));
    for path in all {
        let bytes = fs::read(&path).expect("readable");
        let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        for text in [API_TOKEN, &made, &by_api, &cookie, &key] {
            assert!(!has(text), "{} has {text}", path.display());
        }
        if !path.starts_with(served.product().deployment("main")) {
            for text in [own, "sk-openai-0123456789-distinctive"] {
                assert!(!has(text), "{} has {text}", path.display());
            }
        }
    }
}
