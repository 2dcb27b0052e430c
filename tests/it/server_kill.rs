//! A server that is killed again and again under load: what it acknowledged is there.
//!
//! A dozen kills here; `OPENCLAW_TEST_KILLS=200` asks for as many as the figure in
//! docs/benchmarks.md has.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::asking::ask;
use crate::support::ports::free_port;
use crate::support::product::{Product, until};
use crate::support::server::{Call, Served};

const TOKEN: &str = "a-token-for-this-test-0123456789";
/// How many gateways there are at once, at most.
const GATEWAYS: usize = 3;

/// What the server acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// Operations, by the key of their request.
    operations: BTreeMap<String, String>,
    /// Messages of events.
    events: BTreeSet<String>,
    /// Requests of devices that were said to be let in.
    approvals: BTreeSet<String>,
}

/// A number from 0 to `below`, of a generator that is the same in every run.
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// Sends a request that may find no server, or one that dies.
fn attempt(call: &Call) -> Option<(u16, Value)> {
    let answer = call.try_send()?;
    Some((answer.status, answer.json()))
}

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kills() {
    let kills: usize =
        std::env::var("OPENCLAW_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", TOKEN);
    let mut served = Served::on(product, &[]);
    let acknowledged = Mutex::new(Acknowledged::default());
    let mut seed = 20_261_125;
    let (mut launches, mut messages) = (0, 0);
    for round in 0..kills {
        let address = served.address();
        // A launch, a restart or a removal, an approval, and events from several sides.
        let mut calls: Vec<(String, Call)> = Vec::new();
        let living = served.get("/v1/deployments?limit=200").ok(200);
        let living = living["items"].as_array().expect("a list").clone();
        let running = living.iter().find(|it| it["status"] == "running");
        let running = running.map(|it| it["name"].as_str().expect("a name").to_owned());
        // In some of the rounds a browser waits, and is let in instead of a change.
        let asked = running.filter(|_| round % 4 == 1);
        if let Some(name) = &asked {
            // Its gateway finds the request when it starts again.
            let request = format!("req-{round}");
            ask(served.product(), name, &[(&request, "operator", &["operator.read"])]);
            let restart = served.call("POST", &format!("/v1/deployments/{name}/restart"));
            let begun = served.until("nothing else is at work on it", || {
                Some(restart.clone().send()).filter(|it| it.status != 409)
            });
            served.ended(&begun.ok(202));
        }
        let living: Vec<String> =
            living.iter().map(|it| it["name"].as_str().expect("a name").to_owned()).collect();
        let call = |method: &str, path: &str| Call::to(address, method, path).token(TOKEN);
        if living.len() < GATEWAYS {
            let key = format!("launch-{launches}");
            // Nobody else than this test lets anybody in.
            let body = json!({ "name": format!("k{launches}"), "target": "process",
                               "port": free_port(), "approval": "off" });
            calls.push((key.clone(), call("POST", "/launch").key(&key).json(&body)));
            launches += 1;
        }
        let changed = living.get(usize::try_from(draw(&mut seed, 3)).expect("fits"));
        if let Some(name) = changed.filter(|_| asked.is_none()) {
            let key = format!("change-{round}");
            let changed = if draw(&mut seed, 3) == 0 {
                call("DELETE", &format!("/v1/deployments/{name}"))
            } else {
                call("POST", &format!("/v1/deployments/{name}/restart"))
            };
            calls.push((key.clone(), changed.key(&key)));
        }
        let name = living.first().cloned();
        std::thread::scope(|scope| {
            if let Some(name) = asked {
                let (acknowledged, approve) = (&acknowledged, call("POST", "/approve"));
                let request = format!("req-{round}");
                let approve = approve.json(&json!({ "name": name, "request_id": request }));
                scope.spawn(move || {
                    if let Some((200, body)) = attempt(&approve) {
                        assert_eq!(body["approved"].as_array().map(Vec::len), Some(1), "{body}");
                        acknowledged.lock().expect("no panic").approvals.insert(request);
                    }
                });
            }
            for (key, call) in calls {
                let acknowledged = &acknowledged;
                scope.spawn(move || {
                    if let Some((202, body)) = attempt(&call) {
                        let id = body["id"].as_str().or(body["operation_id"].as_str());
                        let id = id.expect("an operation").to_owned();
                        acknowledged.lock().expect("no panic").operations.insert(key, id);
                    }
                });
            }
            for _ in 0..4 {
                let Some(name) = name.clone() else { continue };
                let first = messages;
                messages += 50;
                let acknowledged = &acknowledged;
                scope.spawn(move || {
                    for number in first..messages {
                        let message = format!("message {number}");
                        let body =
                            json!({ "type": "health_check", "name": name, "message": message });
                        let call = Call::to(address, "POST", "/webhook/event").token(TOKEN);
                        match attempt(&call.json(&body)) {
                            Some((200, _)) => {
                                acknowledged.lock().expect("no panic").events.insert(message);
                            }
                            Some(_) => {}
                            None => return,
                        }
                    }
                });
            }
            let moment = Duration::from_millis(20 + draw(&mut seed, 1200));
            std::thread::sleep(moment);
            served.kill();
        });
        served.start_again();
    }
    verify(&served, &acknowledged.into_inner().expect("no panic"));
}

fn verify(served: &Served, acknowledged: &Acknowledged) {
    // Whoever looks as often as this is made to wait now and then.
    let calm = |call: Call| {
        served.until("an answer", || Some(call.send()).filter(|it| it.status != 429)).ok(200)
    };
    let get = |path: &str| calm(served.call("GET", path).header("accept", "application/json"));
    until("every operation is over", || {
        let running = get("/v1/operations?status=running");
        running["items"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    for (key, id) in &acknowledged.operations {
        let operation = get(&format!("/v1/operations/{id}"));
        assert_ne!(operation["status"], "running", "{key}: {operation:#}");
        assert_ne!(operation["status"], "cancelled", "{key}: {operation:#}");
    }
    // Every event that was acknowledged is there, once, in one order without a gap.
    let (mut cursor, mut sequence, mut found) =
        (None::<String>, 0, BTreeMap::<String, usize>::new());
    let mut let_in = BTreeSet::new();
    loop {
        let from = cursor.as_deref().map(|it| format!("&cursor={it}")).unwrap_or_default();
        let page = get(&format!("/v1/events?limit=200{from}"));
        for event in page["items"].as_array().expect("a list") {
            sequence += 1;
            assert_eq!(event["sequence"], sequence, "no gap");
            *found.entry(event["message"].as_str().expect("text").to_owned()).or_default() += 1;
            if event["type"] == "approve_success" {
                let_in.insert(event["data"]["request_id"].as_str().expect("an id").to_owned());
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    for message in &acknowledged.events {
        assert_eq!(found.get(message), Some(&1), "{message}");
    }
    for request in &acknowledged.approvals {
        assert!(let_in.contains(request), "{request} of {let_in:?}");
    }
    // One gateway for each deployment that is meant to run: two executors would have left two.
    let list = get("/v1/deployments?status=running&limit=200");
    let running = list["items"].as_array().expect("a list").len();
    assert_eq!(served.product().gateways().len(), running, "{list:#}");
    let launched = acknowledged.operations.keys().filter(|key| key.starts_with("launch")).count();
    assert!(launched > 0 && !acknowledged.events.is_empty(), "there was load");
    let told = format!(
        "{launched} launches, {} operations, {} approvals and {} events were acknowledged, and all \
         are there",
        acknowledged.operations.len(),
        acknowledged.approvals.len(),
        acknowledged.events.len()
    );
    let _ = writeln!(std::io::stderr(), "{told}");
    served.assert_well();
}
