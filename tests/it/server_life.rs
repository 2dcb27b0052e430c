//! The server's life: it is killed and goes on, is told to stop, is told to read its settings anew,
//! takes the work of commands, and lets browsers in.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::asking::ask;
use crate::support::ports::free_port;
use crate::support::product::{Product, until};
use crate::support::server::{API_TOKEN, Call, Served};
use crate::support::silent::{hold_back, let_listen, silent};

/// The types of a deployment's events, in order.
fn kinds(served: &Served, name: &str) -> Vec<String> {
    let page =
        served.call("GET", &format!("/v1/deployments/{name}/events?limit=200")).send().ok(200);
    let items = page["items"].as_array().expect("events");
    items.iter().map(|it| it["type"].as_str().expect("a type").to_owned()).collect()
}

/// Waits until a step of an operation runs.
fn in_step(served: &Served, operation: &str, step: &str) {
    until("the step runs", || {
        let operation = served.get(&format!("/v1/operations/{operation}")).ok(200);
        let steps = operation["steps"].as_array().expect("steps").clone();
        steps.iter().any(|it| it["name"] == step && it["status"] == "running").then_some(())
    });
}

/// A server whose gateways do not listen yet.
fn held(flags: &[&str]) -> Served {
    let mut product = silent();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    Served::on(product, flags)
}

fn id(begun: &Value) -> String {
    begun["id"].as_str().or_else(|| begun["operation_id"].as_str()).expect("an id").to_owned()
}

#[test]
fn a_launch_goes_on_after_a_kill_in_each_of_its_steps_and_tells_everything_once() {
    let mut served = Served::begin();
    for (number, step) in ["configure", "start", "prove"].into_iter().enumerate() {
        let name = format!("killed{number}");
        let body = Served::launch_body(&name);
        let begun = served.call("POST", "/launch").key(&name).json(&body).send().ok(202);
        // The stand-in is quick: the kill hits the step, or what comes after it.
        until("the step has begun", || {
            let operation = served.get(&format!("/v1/operations/{}", id(&begun))).ok(200);
            let steps = operation["steps"].as_array().expect("steps").clone();
            steps.iter().any(|it| it["name"] == step && it["status"] != "pending").then_some(())
        });
        served.kill();
        served.start_again();
        let again = served.call("POST", "/launch").key(&name).json(&body).send().ok(202);
        assert_eq!(again, begun, "the same request, the same answer");
        let ended = served.ended(&begun);
        assert_eq!(ended["status"], "succeeded", "{ended:#}");
        let kinds = kinds(&served, &name);
        for once in ["launching", "completed"] {
            assert_eq!(kinds.iter().filter(|kind| *kind == once).count(), 1, "{kinds:?}");
        }
        assert_eq!(served.product().gateways().len(), number + 1, "one of each");
        assert_eq!(served.product().keepers().len(), number + 1, "one of each");
    }
    // Every event that there was, in order and without a gap, for whoever followed from the start.
    let first = served.call("GET", "/v1/events?limit=1").header("accept", "application/json");
    let first = first.send().ok(200);
    assert!(first["next_cursor"].is_string(), "{first}");
    let mut stream = served.call("GET", "/v1/events").header("last-event-id", "0").stream();
    let mut sequences = Vec::new();
    while sequences.len() < 15 {
        sequences.push(stream.next().json()["sequence"].as_i64().expect("a number"));
    }
    assert_eq!(sequences, (1..=15).collect::<Vec<i64>>());
    served.assert_well();
}

#[test]
fn a_stop_interrupts_what_runs_and_the_next_server_goes_on() {
    let mut served = held(&["--grace", "0"]);
    let begun = served.post("/launch", &Served::launch_body("box")).ok(202);
    in_step(&served, &id(&begun), "prove");
    assert_eq!(served.stop(), 0);
    assert_eq!(served.product().json(["operations", "show", &id(&begun)])["status"], "running");
    let_listen(served.product());
    served.start_again();
    let ended = served.ended(&begun);
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    served.assert_well();
}

#[test]
fn a_server_that_stops_takes_no_more_work() {
    let mut served = held(&["--grace", "120"]);
    let begun = served.post("/launch", &Served::launch_body("slow")).ok(202);
    in_step(&served, &id(&begun), "prove");
    served.get("/readyz").ok(200);
    served.signal(Signal::TERM);
    served.until("it stops", || (served.get("/readyz").status == 503).then_some(()));
    let refused = served.post("/launch", &Served::launch_body("late"));
    refused.refuses(503, "stopping");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|it| it > 0), "{refused:?}");
    served.get("/v1/deployments/late").problem(404);
    served.get("/livez").ok(200);
    let_listen(served.product());
    assert_eq!(served.exit(), 0);
    served.assert_well();
}

#[test]
fn what_runs_may_come_to_its_end_before_the_server_stops() {
    let mut served = held(&["--grace", "120"]);
    let begun = served.post("/launch", &Served::launch_body("box")).ok(202);
    in_step(&served, &id(&begun), "prove");
    served.signal(Signal::TERM);
    served.until("it stops", || (served.get("/readyz").status == 503).then_some(()));
    let_listen(served.product());
    assert_eq!(served.exit(), 0);
    assert_eq!(served.product().json(["operations", "show", &id(&begun)])["status"], "succeeded");
    // The window that the launch opened is a keeper's from here on.
    ask(served.product(), "box", &[("req-1", "operator", &["operator.read"])]);
    served.product().run(["restart", "box"]).ok();
    until("a keeper lets the browser in", || {
        served.product().events("box").contains(&"approve_success".to_owned()).then_some(())
    });
    served.assert_well();
}

#[test]
fn a_cancelled_operation_stays_cancelled_through_a_kill() {
    let mut served = held(&[]);
    let_listen(served.product());
    served.launch("box");
    hold_back(served.product());
    let begun = served.post("/v1/deployments/box/restart", &json!({})).ok(202);
    let cancel = format!("/v1/operations/{}/cancel", id(&begun));
    served.call("POST", &cancel).send().ok(202);
    served.kill();
    served.start_again();
    let ended = served.ended(&begun);
    assert_eq!(ended["status"], "cancelled", "{ended:#}");
    assert!(kinds(&served, "box").contains(&"cancelled".to_owned()));
    served.call("POST", &cancel).send().problem(409);
    served.assert_well();
}

#[test]
fn commands_hand_their_work_to_the_server_and_follow_it() {
    let served = held(&[]);
    let_listen(served.product());
    let port = free_port().to_string();
    let launched = served
        .product()
        .run(["launch", "box", "--target", "process", "--port", &port, "--no-link"])
        .ok();
    launched.says("prove the gateway").says("✓");
    let operation = served.product().operation("box", "launch");
    assert!(served.log().contains(&id(&operation)), "the server carried it out");
    // What the server is at work on, a command follows.
    hold_back(served.product());
    let begun = served.post("/v1/deployments/box/restart", &json!({})).ok(202);
    let mut followed = served.product().run(["restart", "box", "--json"]).live();
    let says = "following the restart that the server is at work on";
    while !followed.line().expect("it follows").contains(says) {}
    let_listen(served.product());
    assert_eq!(followed.done().code, 0);
    assert_eq!(served.ended(&begun)["status"], "succeeded");
    // And gives up, but not what is over.
    hold_back(served.product());
    let begun = served.post("/v1/deployments/box/restart", &json!({})).ok(202);
    let give_up = || served.product().run(["operations", "cancel", &id(&begun)]);
    give_up().ok().answers("is given up");
    assert_eq!(served.ended(&begun)["status"], "cancelled");
    give_up().code(4).says("is over: it was cancelled");
    let_listen(served.product());
    // A failure of it is the command's.
    served.product().fault("box", "exit=1");
    served.product().run(["restart", "box"]).code(1).says("step prove");
    served.assert_well();
}

#[test]
fn a_command_goes_on_itself_when_the_server_dies() {
    let mut served = held(&[]);
    let_listen(served.product());
    served.launch("box");
    hold_back(served.product());
    let restart = served.product().run(["restart", "box"]).live();
    until("the server is at work on it", || {
        let page = served.get("/v1/operations?status=running").ok(200);
        page["items"].as_array().is_some_and(|items| !items.is_empty()).then_some(())
    });
    served.kill();
    let_listen(served.product());
    let done = restart.done();
    assert_eq!(done.code, 0, "{}", done.stderr);
    let operations = served.product().json(["operations", "list", "box"]);
    let restarts = operations["items"].as_array().expect("a list").clone();
    let restarts: Vec<&Value> = restarts.iter().filter(|it| it["kind"] == "restart").collect();
    assert_eq!(restarts.len(), 1, "{operations:#}");
    assert_eq!(restarts[0]["status"], "succeeded");
    served.product().assert_one_gateway("box");
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let served = Served::begin();
    let second = served.product().run(["serve", "--port", "0"]).code(4);
    second.says("a server holds the data directory already").says(&served.pid().to_string());
    // Nor does it move where events go, or what they are signed with.
    let endpoint = || served.get("/v1/webhooks").ok(200)["items"][0].clone();
    let before = endpoint();
    let elsewhere = served.product().run(["serve", "--port", "0"]);
    let elsewhere = elsewhere.env("FRONTEND_URL", "http://127.0.0.1:9");
    elsewhere
        .env(
            "OPENCLAW_PIPELINE_WEBHOOK_SECRET",
            "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        )
        .code(4);
    assert_eq!(endpoint(), before);
    served.get("/health").ok(200);
}

#[test]
fn a_server_that_cannot_listen_makes_no_secret_that_nobody_is_shown() {
    let product = Product::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    product.run(["serve", "--port", &port]).code(4).says("is taken");
    let listed = product.run(["--json", "webhooks", "list"]).ok().json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(0), "{listed:#}");
}

#[test]
fn the_server_lets_browsers_in_also_after_it_was_killed() {
    let mut served = Served::begin();
    served.launch("box");
    let browsers: [(&str, &str, &[&str]); 2] =
        [("req-1", "operator", &["operator.read"]), ("req-2", "node", &[])];
    ask(served.product(), "box", &browsers);
    served.kill();
    served.start_again();
    let begun = served.post("/v1/deployments/box/restart", &json!({})).ok(202);
    assert_eq!(served.ended(&begun)["status"], "succeeded");
    until("the browser is in", || {
        kinds(&served, "box").contains(&"approve_success".to_owned()).then_some(())
    });
    let devices = served.get("/v1/deployments/box/devices").ok(200);
    assert_eq!(devices["paired"][0]["device_id"], "device-of-req-1", "{devices:#}");
    assert_eq!(devices["pending"][0]["request_id"], "req-2", "{devices:#}");
    // No keeper was needed for that but the one that supervises the gateway.
    assert_eq!(served.product().keepers().len(), 1);
    served.assert_well();
}

#[test]
fn pairing_required_from_a_front_end_opens_a_window_for_one() {
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", "a-token-for-this-test-0123456789");
    product.set("OPENCLAW_PIPELINE_APPROVAL_DEVICES", "1");
    let served = Served::on(product, &[]);
    served.launch("box");
    let connect = served.token(["--scope", "connect"]);
    let events = served.token(["--events", "box"]);
    let asks = |ids: &[&str]| {
        let asked: Vec<(&str, &str, &[&str])> =
            ids.iter().map(|id| (*id, "operator", &["operator.read"][..])).collect();
        let stop = served.post("/v1/deployments/box/stop", &json!({})).ok(202);
        served.ended(&stop);
        ask(served.product(), "box", &asked);
        let start = served.post("/v1/deployments/box/start", &json!({})).ok(202);
        assert_eq!(served.ended(&start)["status"], "succeeded");
    };
    let decided = || {
        let of = |it: &Value| it["request_id"].as_str().unwrap_or_default().to_owned();
        let status = served.product().json(["status", "box"]);
        let approvals = status["approvals"].as_array().expect("approvals").clone();
        approvals.iter().filter(|it| it["decision"] == "approved").map(of).collect::<BTreeSet<_>>()
    };
    asks(&["first"]);
    until("the window's one device is in", || decided().contains("first").then_some(()));
    asks(&["second", "third"]);
    // A hint of whoever stands on the gateway's machine opens nothing.
    let hint = json!({ "type": "PairingRequired", "name": "box", "message": "somebody waits" });
    let post = |token: &str| {
        Call::to(served.address(), "POST", "/webhook/event").token(token).json(&hint).send()
    };
    assert_eq!(post(&events.text).ok(200), json!({ "status": "forwarded" }));
    assert_eq!(post(&connect.text).ok(200), json!({ "status": "forwarded" }));
    until("one more is in", || (decided().len() == 2).then_some(()));
    let devices = served.get("/v1/deployments/box/devices").ok(200);
    assert_eq!(devices["pending"].as_array().map(Vec::len), Some(1), "{devices:#}");
    served.assert_well();
}

#[test]
fn settings_are_read_anew_and_wrong_ones_leave_what_is() {
    let product = Product::new();
    let env = product.work().join(".env");
    fs::write(&env, "OPENCLAW_PIPELINE_CORS_ORIGINS=https://one.example\n").expect("written");
    let served = Served::on(product, &[]);
    let allows = |origin: &str| {
        let answer = served.call("GET", "/health").header("origin", origin).send();
        answer.header("access-control-allow-origin") == origin
    };
    assert!(allows("https://one.example") && !allows("https://two.example"));
    let log = "the settings were read anew";
    fs::write(&env, "OPENCLAW_PIPELINE_CORS_ORIGINS=https://two.example\n").expect("written");
    served.signal(Signal::HUP);
    until("it reads them", || served.log().contains(log).then_some(()));
    assert!(allows("https://two.example") && !allows("https://one.example"));
    fs::write(&env, "OPENCLAW_PIPELINE_CORS_ORIGINS=*\n").expect("written");
    served.signal(Signal::HUP);
    until("it says so", || served.log().contains("could not be read anew").then_some(()));
    assert!(allows("https://two.example"), "what was in force stays");
    // All of it, or nothing: what is right beside what is wrong is not taken either.
    let endpoint = || served.get("/v1/webhooks").ok(200)["items"][0]["url"].clone();
    let before = endpoint();
    let mixed = "FRONTEND_URL=http://127.0.0.1:9\nOPENCLAW_PIPELINE_CORS_ORIGINS=*\n";
    fs::write(&env, mixed).expect("written");
    served.signal(Signal::HUP);
    let says = || served.log().matches("could not be read anew").count();
    until("it says so", || (says() == 2).then_some(()));
    assert_eq!(endpoint(), before);
    fs::write(&env, "FRONTEND_URL=http://127.0.0.1:9\n").expect("written");
    served.signal(Signal::HUP);
    until("it moves", || (endpoint() == "http://127.0.0.1:9/api/webhook/pipeline").then_some(()));
}

#[test]
fn a_server_that_asked_for_a_token_goes_on_asking_when_the_last_one_ends() {
    let mut served = Served::open();
    served.get("/status").ok(200);
    let made = served.token(["--scope", "read"]);
    served.get("/status").problem(401);
    served.product().run(["tokens", "revoke", &made.id]).ok();
    served.get("/status").problem(401);
    served.start_again();
    served.get("/status").ok(200);
}
