//! The calls that front ends have known since before: launching, approving, looking, events, the
//! description. Against the real server, with the stand-in in the place of the gateway.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::asking::ask;
use crate::support::product::{BROKEN, NEWEST};
use crate::support::server::{Answer, SLOW, Served};

/// The members of an object, in their order.
fn members(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Gives a launch up, and waits until it is over.
fn give_up(served: &Served, launched: &Value) {
    let id = launched["operation_id"].as_str().expect("an operation");
    served.call("POST", &format!("/v1/operations/{id}/cancel")).send().ok(202);
    assert_eq!(served.ended(launched)["status"], "cancelled");
}

#[test]
fn they_have_the_form_that_front_ends_know() {
    let served = Served::with_versions();
    assert_eq!(served.get("/health").text(), r#"{"status":"ok"}"#);
    let status = served.get("/status");
    assert_eq!(status.text(), r#"{"running_deployments":[],"count":0,"deployments":[]}"#);
    assert_eq!(status.header("content-type"), "application/json");

    let launched = served.post("/launch", &Served::launch_of("main", SLOW));
    assert_eq!(launched.header("content-type"), "application/json");
    let launched = launched.ok(202);
    assert_eq!(members(&launched), ["status", "name", "message", "operation_id"]);
    assert_eq!((&launched["status"], &launched["name"]), (&json!("accepted"), &json!("main")));
    assert_eq!(launched["message"], "launching main on the process target");
    let status = served.get("/status").ok(200);
    assert_eq!(members(&status), ["running_deployments", "count", "deployments"]);
    assert_eq!(status["running_deployments"], json!(["main"]));
    assert_eq!(status["count"], 1);
    assert_eq!(members(&status["deployments"][0])[..4], ["name", "target", "status", "url"]);
    assert_eq!(status["deployments"][0]["status"], "launching");
    give_up(&served, &launched);

    let event = json!({ "type": "deploying_app", "message": "it goes on" });
    assert_eq!(served.post("/webhook/event", &event).text(), r#"{"status":"forwarded"}"#);
    served.assert_well();
}

#[test]
fn a_launch_is_proven_before_it_is_complete() {
    let served = Served::with_versions();
    let launched = served.post("/launch", &Served::launch_body("main")).ok(202);
    let ended = served.ended(&launched);
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    let status = served.get("/status").ok(200);
    assert_eq!((&status["count"], &status["running_deployments"]), (&json!(0), &json!([])));
    let main = &status["deployments"][0];
    assert_eq!((&main["status"], &main["target"]), (&json!("running"), &json!("process")));
    assert_eq!(main["version"], NEWEST.0);
    let url = main["url"].as_str().expect("an address");
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with('/'), "the bare address: {url}");
    let events = served.product().events("main");
    assert_eq!(events.first().map(String::as_str), Some("launching"));
    assert_eq!(events.last().map(String::as_str), Some("completed"));
    served.assert_one_gateway("main");
}

#[test]
fn a_name_that_is_taken_gets_the_next_free_number() {
    let served = Served::with_versions();
    let launch = |body: &Value| served.post("/launch", body);
    served.launch("main");
    let name = |answer: &Answer| answer.ok(202)["name"].as_str().expect("a name").to_owned();
    let failing = launch(&Served::launch_of("main", BROKEN));
    assert_eq!(name(&failing), "main1");
    let ended = served.ended(&failing.json());
    assert_eq!(ended["status"], "failed", "{ended:#}");
    assert_eq!(ended["error"]["kind"], "failed");
    assert_eq!(served.get("/v1/deployments/main1").ok(200)["status"], "failed");
    // A failed one keeps its name.
    let second = launch(&Served::launch_of("main", BROKEN));
    assert_eq!(name(&second), "main2");
    served.ended(&second.json());

    let fails = |mut body: Value| {
        body["on_conflict"] = json!("fail");
        launch(&body)
    };
    fails(Served::launch_of("main", BROKEN)).refuses(409, "main is there already");
    fails(Served::launch_of("main1", BROKEN)).refuses(409, "main1 is there already");
    let resource = |name: &str| served.post("/v1/deployments", &Served::launch_of(name, BROKEN));
    resource("main").refuses(409, "main is there already");
    resource("main1").refuses(409, "main1 is there already");
    served.ended(&resource("other").ok(202));
    assert_eq!(served.get("/status").ok(200)["deployments"].as_array().map(Vec::len), Some(4));

    // At once, each gets a number of its own.
    let names: BTreeSet<String> = std::thread::scope(|scope| {
        let one = || name(&launch(&Served::launch_of("main", BROKEN)));
        let all: Vec<_> = (0..6).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|it| it.join().expect("a launch")).collect()
    });
    assert_eq!(Vec::from_iter(names), ["main3", "main4", "main5", "main6", "main7", "main8"]);
}

#[test]
fn a_name_that_is_being_launched_is_refused() {
    let served = Served::with_versions();
    let launched = served.post("/launch", &Served::launch_of("main", SLOW)).ok(202);
    for path in ["/launch", "/v1/deployments"] {
        let refused = served.post(path, &Served::launch_of("main", BROKEN));
        let problem = refused.problem(409);
        let detail = problem["detail"].as_str().expect("a sentence");
        assert!(detail.contains("main") && detail.contains("launch"), "{problem}");
    }
    give_up(&served, &launched);
    let taken = served.post("/launch", &Served::launch_of("main", BROKEN)).ok(202);
    assert_eq!(taken["name"], "main1", "one that was given up keeps its name");
    served.ended(&taken);
}

#[test]
fn a_number_that_makes_a_name_too_long_is_refused() {
    let served = Served::with_versions();
    let longest = "a".repeat(40);
    let first = served.post("/launch", &Served::launch_of(&longest, BROKEN)).ok(202);
    assert_eq!(first["name"], longest);
    served.ended(&first);
    let refused = served.post("/launch", &Served::launch_of(&longest, BROKEN));
    refused.refuses(400, "40");
    assert_eq!(served.get("/status").ok(200)["deployments"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_cannot_be_launched_names_its_field() {
    let served = Served::with_versions();
    for (field, wrong) in [
        ("name", json!("Main")),
        ("name", json!("-main")),
        ("name", json!("")),
        ("name", json!("a".repeat(41))),
        ("name", json!("../main")),
        ("target", json!("moon")),
        ("target", json!("")),
        ("token", json!("too-short")),
        ("token", json!("with a blank in the middle of it")),
        ("cloudflare", json!(true)),
        ("version", json!("../../etc")),
        ("image", json!("-v /:/host")),
        ("exec_ask", json!("perhaps")),
        ("heartbeat", json!("often")),
        ("memory", json!("1")),
        ("approval", json!("maybe")),
        ("model", json!("no model\n")),
        ("env", json!({ "OPENCLAW_GATEWAY_TOKEN": "x" })),
        ("env", json!({ "not a name": "x" })),
        ("anthropic_api_key", json!("with\na line")),
        ("nmae", json!("main")),
        ("port", json!(0)),
        ("port", json!(65536)),
        ("on_conflict", json!("overwrite")),
    ] {
        let mut body = Served::launch_body("main");
        body[field] = wrong;
        served.post("/launch", &body).names(field);
    }
    // Where none is said, it is a machine of its own: that takes a key.
    served.post("/v1/deployments", &json!({ "name": "main" })).refuses(400, "credential");
    assert_eq!(
        served.get("/status").text(),
        r#"{"running_deployments":[],"count":0,"deployments":[]}"#
    );
    served.assert_well();
}

#[test]
fn what_forms_leave_empty_is_left_out() {
    let served = Served::with_versions();
    let mut body = Served::launch_body("main");
    for field in ["token", "anthropic_api_key", "model", "image", "version", "heartbeat"] {
        body[field] = json!("");
    }
    body["openai_api_key"] = json!(null);
    body["cloudflare"] = json!(false);
    let ended = served.ended(&served.post("/launch", &body).ok(202));
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
}

#[test]
fn a_launch_has_what_it_asks_for_and_shows_no_secret() {
    let served = Served::with_versions();
    let secrets =
        ["gw~Vb64+token/0123456789==", "sk-ant-api03-distinctive-0123456789", "chat-51-x7Q"];
    let mut body = Served::launch_body("with-all");
    body["token"] = json!(secrets[0]);
    body["anthropic_api_key"] = json!(secrets[1]);
    body["env"] = json!({ "TELEGRAM_BOT_TOKEN": secrets[2] });
    body["model"] = json!("claude-opus-4");
    body["approval"] = json!("off");
    body["protected"] = json!(true);
    let launched = served.post("/launch", &body);
    let ended = served.ended(&launched.ok(202));
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    let shown = served.get("/v1/deployments/with-all");
    let deployment = shown.ok(200);
    assert_eq!(deployment["model"], "anthropic/claude-opus-4");
    assert_eq!(deployment["credentials"], json!(["ANTHROPIC_API_KEY"]));
    assert_eq!(deployment["approval"]["mode"], "off");
    assert_eq!(deployment["protected"], true);
    assert_eq!(deployment["port"], body["port"]);
    let events = served.call("GET", "/v1/events?after=0").header("accept", "application/json");
    for answer in
        [launched, shown, events.send(), served.get("/status"), served.get("/v1/operations")]
    {
        for secret in secrets {
            assert!(!answer.text().contains(secret), "{}", answer.text());
        }
    }
    assert!(secrets.iter().all(|secret| !served.log().contains(secret)));
}

#[test]
fn an_approval_lets_in_who_waits_and_says_who_stays() {
    let served = Served::with_versions();
    let mut body = Served::launch_body("main");
    body["approval"] = json!("off");
    served.ended(&served.post("/launch", &body).ok(202));
    let nobody = served.post("/approve", &json!({}));
    assert_eq!(
        nobody.text(),
        r#"{"status":"ok","name":"main","message":"nobody waits to be let into main","approved":[],"pending":[]}"#
    );
    served.ended(&served.call("POST", "/v1/deployments/main/stop").send().ok(202));
    served.post("/approve", &json!({})).refuses(409, "main is stopped");
    ask(
        served.product(),
        "main",
        &[
            ("req-browser", "operator", &["operator.read"]),
            ("req-node", "node", &[]),
            ("req-stranger", "operator", &["operator.read"]),
        ],
    );
    served.ended(&served.call("POST", "/v1/deployments/main/start").send().ok(202));

    let reject = json!({ "request_id": "req-stranger" });
    served.post("/v1/deployments/main/reject", &reject).ok(204);
    served.post("/v1/deployments/main/reject", &reject).refuses(404, "no such request");
    let nobody = json!({ "name": "main", "request_id": "req-nobody" });
    let refused = served.post("/approve", &nobody);
    refused.refuses(404, "no pending request");
    let events = served.get("/v1/deployments/main/events?limit=200").text();
    assert!(!(refused.text() + &events).contains("req-nobody"), "{events}");
    assert!(!served.product().events("main").contains(&"failed".to_owned()), "{events}");
    assert_eq!(served.product().events("main").last().map(String::as_str), Some("approve_failed"));
    for wrong in ["", "a b", "a\n", "\u{e9}", &"x".repeat(201)] {
        let wrong = json!({ "request_id": wrong });
        served.post("/approve", &wrong).names("request_id");
        for action in ["approve", "reject"] {
            served.post(&format!("/v1/deployments/main/{action}"), &wrong).names("request_id");
        }
    }
    assert_eq!(served.product().events("main").last().map(String::as_str), Some("approve_failed"));
    // Without a body at all: everything of `main`.
    let approved = served.call("POST", "/approve").send().ok(200);
    assert_eq!(members(&approved), ["status", "name", "message", "approved", "pending"]);
    assert_eq!(approved["approved"].as_array().map(Vec::len), Some(1), "{approved}");
    assert_eq!(approved["pending"][0]["request_id"], "req-node");
    let reason = approved["pending"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("role node"), "{reason}");
    let named = json!({ "name": "main", "request_id": "req-node" });
    let approved = served.post("/approve", &named).ok(200);
    assert_eq!(
        (approved["approved"].as_array().map(Vec::len), &approved["pending"]),
        (Some(1), &json!([]))
    );
    served.post("/approve", &json!({ "name": "nobody" })).refuses(404, "no deployment nobody");
    served.post("/approve", &json!({ "name": "no/body" })).problem(404);
    served.post("/v1/deployments/nobody/approve", &json!({})).problem(404);

    let devices = served.get("/v1/deployments/main/devices").ok(200);
    assert_eq!(members(&devices), ["pending", "paired", "unreadable_pending"]);
    assert_eq!(devices["pending"], json!([]));
    assert_eq!(devices["paired"].as_array().map(Vec::len), Some(2));
    served.delete("/v1/deployments/main/devices/device-of-req-node").ok(204);
    served.delete("/v1/deployments/main/devices/device-of-req-node").problem(404);
    assert_eq!(
        served.get("/v1/deployments/main/devices").ok(200)["paired"].as_array().map(Vec::len),
        Some(1)
    );
    served.assert_well();
}

#[test]
fn the_description_is_the_one_of_the_code() {
    let served = Served::with_versions();
    let shown = served.call("GET", "/swagger.json").without("authorization").send();
    let known = openclaw_pipeline::server::description_text().expect("a description");
    assert_eq!(shown.ok(200), serde_json::from_str::<Value>(&known).expect("JSON"));
    assert_eq!(shown.json()["openapi"], "3.1.0");
    let page = served.call("GET", "/swagger").without("authorization").send();
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
}
