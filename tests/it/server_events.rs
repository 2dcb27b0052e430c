//! Events: as a stream that resumes without a gap, as a list, and as somebody outside tells them.

use openclaw_pipeline::store::Store;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::asking::ask;
use crate::support::client::{Call, Sent, Stream};
use crate::support::product::BROKEN;
use crate::support::server::{Answer, Made, Served};

fn tell(served: &Served, name: &str, message: &str) -> Answer {
    let event = json!({ "type": "deploying_app", "name": name, "message": message });
    served.post("/webhook/event", &event)
}

fn list(served: &Served, path: &str) -> Vec<Value> {
    let page = served.call("GET", path).header("accept", "application/json").send().ok(200);
    page["items"].as_array().expect("items").clone()
}

fn follow(served: &Served, path: &str) -> Stream {
    let stream = served.call("GET", path).header("accept", "text/event-stream").stream();
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    stream
}

fn resume(served: &Served, last: &str) -> Stream {
    served.call("GET", "/v1/events").header("last-event-id", last).stream()
}

#[test]
fn a_stream_has_the_events_as_they_are_committed() {
    let served = Served::with_versions();
    served.put("main");
    let mut stream = follow(&served, "/v1/events?after=0");
    assert_eq!(stream.headers["cache-control"], "no-store");
    let first = stream.next();
    let event = first.json();
    let members: Vec<&String> = event.as_object().expect("an object").keys().collect();
    assert_eq!(members[..4], ["type", "name", "message", "timestamp"]);
    assert_eq!((first.kind.as_str(), &event["type"]), ("launching", &json!("launching")));
    assert_eq!(first.id, event["sequence"].to_string());
    assert_eq!(event["source"], "pipeline");
    let known = list(&served, "/v1/events");
    let rest: Vec<Sent> = (1..known.len()).map(|_| stream.next()).collect();
    let all: Vec<Value> = std::iter::once(event).chain(rest.iter().map(Sent::json)).collect();
    assert_eq!(all, known, "a list and a stream say the same");
    let sequences: Vec<i64> = all.iter().filter_map(|it| it["sequence"].as_i64()).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    // What comes now comes at once.
    tell(&served, "main", "something new").ok(200);
    let new = stream.next().json();
    assert_eq!((&new["message"], &new["source"]), (&json!("something new"), &json!("external")));
    // Without a word where to begin, it begins now.
    let mut later = follow(&served, "/v1/events");
    assert_eq!(later.frame().as_deref(), Some(": connected"));
    tell(&served, "main", "newer still").ok(200);
    assert_eq!(later.next().json()["message"], "newer still");
}

#[test]
fn a_stream_resumes_without_a_gap_while_events_come() {
    const COUNT: usize = 120;
    let served = Served::with_versions();
    served.put("main");
    let before = list(&served, "/v1/events?limit=200").len();
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..COUNT {
                tell(&served, "main", &number.to_string()).ok(200);
            }
        });
        let (mut seen, mut last) = (Vec::new(), "0".to_owned());
        // Leaves again and again, each time after another number of events.
        for turn in 0.. {
            let mut stream = resume(&served, &last);
            for _ in 0..=turn % 7 {
                if seen.len() == before + COUNT {
                    return seen;
                }
                let event = stream.next();
                last.clone_from(&event.id);
                seen.push(event.json());
            }
        }
        seen
    });
    assert_eq!(seen, list(&served, "/v1/events?limit=200"), "each once, in order");
    let told = seen.iter().filter(|it| it["source"] == "external");
    let told: Vec<String> = told.map(|it| it["message"].as_str().expect("a text").into()).collect();
    assert_eq!(told, (0..COUNT).map(|it| it.to_string()).collect::<Vec<_>>());
    served.assert_well();
}

#[test]
fn many_follow_at_once_and_each_sees_all() {
    let served = Served::with_versions();
    served.put("main");
    let mut streams: Vec<Stream> = (0..20).map(|_| follow(&served, "/v1/events")).collect();
    for stream in &mut streams {
        stream.frame().expect("it begins");
    }
    for number in 0..30 {
        tell(&served, "main", &number.to_string()).ok(200);
    }
    for stream in &mut streams {
        for number in 0..30 {
            assert_eq!(stream.next().json()["message"], number.to_string());
        }
    }
}

#[test]
fn where_a_stream_cannot_begin_is_said() {
    let served = Served::with_versions();
    served.put("main");
    for wrong in ["x", "-1", "1.5", "", "99999999999999999999", "1, 2"] {
        let refused = served.call("GET", "/v1/events").header("last-event-id", wrong).send();
        refused.names("Last-Event-ID");
    }
    served
        .call("GET", "/v1/events")
        .header("last-event-id", "1000000")
        .send()
        .refuses(400, "1000000");
    served.get("/v1/events?after=x").names("after");
    served.get("/v1/events?types=launching,nonsense").names("types");
    served.get("/v1/events?name=nobody%2F").problem(404);
    served.get("/v1/events?since=1").names("since");
}

#[test]
fn what_is_kept_no_longer_cannot_be_resumed_after() {
    let mut served = Served::with_versions();
    served.put("main");
    served.put("other");
    let json = |path: &str| served.call("GET", path).header("accept", "application/json");
    let cursor = |path: &str| {
        let page = json(path).send().ok(200);
        page["next_cursor"].as_str().expect("there is more").to_owned()
    };
    let cursors = ["/v1/events", "/v1/deployments/main/events"]
        .map(|path| (path, cursor(&format!("{path}?limit=1"))));
    let operation = list(&served, "/v1/deployments/other/operations").remove(0);
    let of_operation =
        format!("/v1/operations/{}/events", operation["id"].as_str().expect("an id"));
    served.stop();
    let database = Connection::open(served.product().home().join("pipeline.db")).expect("opens");
    // As if all of it had been told, and three of them long ago.
    database
        .execute_batch(
            "UPDATE events SET timestamp = '2020-01-01T00:00:00.000Z' WHERE sequence <= 3;
             UPDATE endpoints SET position = (SELECT max(sequence) FROM events);
             DELETE FROM deliveries;",
        )
        .expect("writes");
    served.start_again();
    let gone = served.until("old events are removed", || {
        let from = served.call("GET", "/v1/events").header("last-event-id", "2");
        (from.stream().status == 410).then(|| from.send().problem(410))
    });
    assert_eq!(gone["oldest"], 4, "{gone}");
    // In whichever way a position is given.
    let json = |path: &str| served.call("GET", path).header("accept", "application/json");
    let resumed = |call: Call| call.header("last-event-id", "2").send();
    let mut answers = vec![
        served.get("/v1/events?after=2"),
        json("/v1/events?after=2").send(),
        resumed(json("/v1/events")),
        resumed(served.call("GET", &of_operation)),
        resumed(json(&of_operation)),
    ];
    answers.extend(
        cursors.iter().map(|(path, cursor)| json(&format!("{path}?cursor={cursor}")).send()),
    );
    for answer in answers {
        assert_eq!(answer.problem(410)["oldest"], 4);
    }
    json("/v1/events?after=1000000").send().names("after");
    // Without a position, it is what there still is.
    assert_eq!(list(&served, &of_operation)[0]["sequence"], 4);
    assert_eq!(follow(&served, &of_operation).next().id, "4");
    assert_eq!(json("/v1/events?after=3&limit=1").send().ok(200)["items"][0]["sequence"], 4);
    let known = list(&served, "/v1/events");
    assert_eq!(known[0]["sequence"], 4);
    // After the last that was removed there is no gap.
    assert_eq!(resume(&served, "3").next().id, "4");
}

#[test]
fn streams_and_lists_are_filtered() {
    let served = Served::with_versions();
    served.put("team-a");
    served.put("main");
    served.put("team-b");
    let kinds = |path: &str| -> Vec<(String, String)> {
        let text = |it: &Value, member: &str| it[member].as_str().expect("a text").to_owned();
        list(&served, path).iter().map(|it| (text(it, "name"), text(it, "type"))).collect()
    };
    let of_main = kinds("/v1/events?name=main");
    assert!(!of_main.is_empty() && of_main.iter().all(|(name, _)| name == "main"), "{of_main:?}");
    let typed = kinds("/v1/events?types=launching,failed");
    let expected: Vec<_> = ["team-a", "main", "team-b"]
        .iter()
        .flat_map(|name| ["launching", "failed"].map(|kind| ((*name).to_owned(), kind.to_owned())))
        .collect();
    assert_eq!(typed, expected);
    let mut stream = follow(&served, "/v1/events?after=0&types=failed");
    let names: Vec<Value> = (0..3).map(|_| stream.next().json()["name"].clone()).collect();
    assert_eq!(names, ["team-a", "main", "team-b"]);

    // A token's names are all that there is to it.
    let team = served.token(["--scope", "read", "--prefix", "team-"]).text;
    let call = |path: &str| served.call("GET", path).token(&team);
    let page = call("/v1/events").header("accept", "application/json").send().ok(200);
    let all = page["items"].as_array().expect("items").iter();
    assert!(all.clone().count() >= 4);
    assert!(all.clone().all(|it| it["name"] != "main"), "{page:#}");
    let mut stream = call("/v1/events?after=0").stream();
    for event in all {
        assert_eq!(stream.next().json(), *event);
    }
    tell(&served, "main", "not theirs").ok(200);
    tell(&served, "team-b", "theirs").ok(200);
    assert_eq!(stream.next().json()["message"], "theirs", "live events are filtered as well");
    for path in ["/v1/events?name=main", "/v1/deployments/main/events", "/v1/deployments/main"] {
        call(path).send().refuses(404, "no deployment main");
    }
}

#[test]
fn an_operations_stream_ends_with_it() {
    let served = Served::with_versions();
    let body = Served::launch_of("main", BROKEN);
    let begun = served.post("/v1/deployments", &body).ok(202);
    let path = format!("/v1/operations/{}/events", begun["id"].as_str().expect("an id"));
    let whole = || {
        let mut stream = follow(&served, &path);
        std::iter::from_fn(|| stream.event()).map(|it| it.kind).collect::<Vec<_>>()
    };
    let live = whole();
    assert_eq!(live.first().map(String::as_str), Some("launching"));
    assert_eq!(live.last().map(String::as_str), Some("failed"));
    assert_eq!(live, whole(), "one that is over is told whole");
    let told = served.get("/v1/deployments/main/events").text();
    let home = served.product().home().to_string_lossy().into_owned();
    assert!(!told.contains(&home), "where the server's files are is nobody's business: {told}");
    served.get("/v1/operations/unknown/events").problem(404);
}

#[test]
fn a_silent_stream_says_that_it_lives() {
    let served = Served::with_versions();
    let mut stream = follow(&served, "/v1/events");
    assert_eq!(stream.frame().as_deref(), Some(": connected"));
    assert_eq!(stream.frame().as_deref(), Some(": keep-alive"));
}

#[test]
fn what_is_told_from_outside_is_a_hint() {
    let served = Served::with_versions();
    let mut body = Served::launch_body("main");
    body["token"] = json!("gw~Vb64+token/0123456789==");
    served.ended(&served.post("/v1/deployments", &body).ok(202));
    let post = |event: Value| served.post("/webhook/event", &event);
    let last = || list(&served, "/v1/events?limit=200").pop().expect("an event");
    // No name is `main`; either spelling; the sender's clock beside our own.
    post(json!({ "type": "SettingUpCloudflare", "message": "m", "timestamp": "2026-01-31T12:00:00+02:00",
                 "data": { "step": "dns", "progress": 40, "secret": "x" } })).ok(200);
    let told = last();
    assert_eq!((&told["type"], &told["name"]), (&json!("setting_up_cloudflare"), &json!("main")));
    assert_eq!((&told["source"], &told["operation_id"]), (&json!("external"), &Value::Null));
    assert_eq!(
        told["data"],
        json!({ "step": "dns", "progress": 40.0, "reported_at": "2026-01-31T10:00:00Z" })
    );
    assert_ne!(told["timestamp"], "2026-01-31T10:00:00Z");
    let odd = "\u{1b}[31m gw~Vb64+token/0123456789== \u{202e}\n<b>";
    post(json!({ "type": "launching", "message": odd })).ok(200);
    let message = last()["message"].as_str().expect("a text").to_owned();
    assert!(!message.contains("gw~Vb64") && !message.contains(char::is_control), "{message:?}");
    post(json!({ "type": "launching", "message": "m".repeat(5000) })).ok(200);
    assert!(last()["message"].as_str().expect("a text").chars().count() <= 2001);
    assert_eq!(served.get("/v1/deployments/main").ok(200)["status"], "running", "no state changes");

    let events = list(&served, "/v1/events?limit=200").len();
    for kind in
        ["completed", "Failed", "destroyed", "approve_success", "ApproveFailed", "nonsense", ""]
    {
        let refused = post(json!({ "type": kind, "message": "m" })).names("type");
        let detail = refused["detail"].as_str().expect("a sentence");
        assert!(detail.contains("pairing_required") && detail.contains("health_check"), "{detail}");
    }
    post(json!({ "type": "launching", "message": "m", "name": "nobody" })).refuses(404, "nobody");
    post(json!({ "type": "launching", "message": "m", "name": "No Body" })).problem(404);
    post(json!({ "type": "launching", "message": "m", "timestamp": "yesterday" }))
        .names("timestamp");
    post(json!({ "type": "launching" })).names("message");
    post(json!({ "message": "m" })).names("type");
    post(json!({ "type": "launching", "message": "m", "status": "x" })).names("status");
    let ready = |url: &str| {
        post(json!({ "type": "CloudflareReady", "message": "m", "data": { "url": url } }))
    };
    assert_eq!(list(&served, "/v1/events?limit=200").len(), events, "nothing of it is stored");
    ready("https://a.example").ok(200);
    assert_eq!(last()["data"], json!({ "url": "https://a.example" }));
    ready("javascript:alert(1)").ok(200);
    assert_eq!(last().get("data"), None);
    served.assert_well();
}

/// How many devices the window of a deployment lets in.
fn places(served: &Served, name: &str) -> Option<u32> {
    let store = Store::open(&served.product().home()).expect("opens");
    let deployment = store.deployment(&name.parse().expect("a name")).expect("reads");
    let window = store.window(&deployment.expect("there").id).expect("reads");
    window.map(|window| {
        assert!((590..=600).contains(&(window.deadline_s - window.opened_s)), "{window:?}");
        window.remaining
    })
}

fn pairing(served: &Served, token: &Made, name: &str) -> Answer {
    let body = json!({ "type": "PairingRequired", "name": name, "message": "a browser waits" });
    served.call("POST", "/webhook/event").token(&token.text).json(&body).send()
}

#[test]
fn a_front_ends_word_opens_a_window_and_a_gateways_does_not() {
    let served = Served::with_versions();
    let launch = |name: &str, approval: &str| {
        let mut body = Served::launch_body(name);
        body["approval"] = json!(approval);
        served.ended(&served.post("/v1/deployments", &body).ok(202));
    };
    launch("main", "auto");
    // The launch's own window lets nobody in any more.
    let database = Connection::open(served.product().home().join("pipeline.db")).expect("opens");
    database.execute("UPDATE approval_windows SET remaining = 0", []).expect("writes");
    served.ended(&served.call("POST", "/v1/deployments/main/stop").send().ok(202));
    let waiting = ["req-1", "req-2"].map(|id| (id, "operator", &["operator.read"][..]));
    ask(served.product(), "main", &waiting);
    served.ended(&served.call("POST", "/v1/deployments/main/start").send().ok(202));
    let gateway = served.token(["--events", "main"]);
    pairing(&served, &gateway, "main").ok(200);
    assert_eq!(places(&served, "main"), Some(0), "a gateway opens no window for itself");

    let connect = served.token(["--scope", "connect"]);
    pairing(&served, &connect, "main").ok(200);
    let devices = || served.get("/v1/deployments/main/devices").ok(200);
    served.until("one device is in", || (devices()["paired"].as_array()?.len() == 1).then_some(()));
    served.until("the window is used up", || (places(&served, "main") == Some(0)).then_some(()));
    assert_eq!(devices()["pending"].as_array().map(Vec::len), Some(1), "one device, and no more");
    pairing(&served, &connect, "main").ok(200);
    served.until("the other one is in", || {
        (devices()["paired"].as_array()?.len() == 2).then_some(())
    });

    launch("closed", "off");
    let deploy = served.token(["--scope", "deploy"]);
    pairing(&served, &deploy, "closed").ok(200);
    assert_eq!(places(&served, "closed"), None, "where approval is off it stays off");
}

#[test]
fn a_gateways_token_is_good_for_its_own_events_alone() {
    let served = Served::with_versions();
    served.put("main");
    served.put("other");
    let token = served.token(["--events", "main"]).text;
    let call = |method: &str, path: &str| served.call(method, path).token(&token);
    let event = |name: &str, kind: &str| {
        let body = json!({ "type": kind, "name": name, "message": "m" });
        call("POST", "/webhook/event").json(&body).send()
    };
    event("main", "deploying_app").ok(200);
    event("main", "pairing_required").ok(200);
    for name in ["other", "nobody", "../main", "MAIN"] {
        // The same whether it is there or not.
        event(name, "deploying_app").problem(403);
    }
    event("main", "cloudflare_ready").problem(403);
    event("main", "completed").names("type");
    for (method, path) in [
        ("GET", "/status"),
        ("GET", "/v1/deployments/main"),
        ("GET", "/v1/events"),
        ("POST", "/v1/deployments/main/stop"),
        ("POST", "/v1/deployments/main/access"),
        ("DELETE", "/v1/deployments/main"),
    ] {
        call(method, path).send().problem(403);
    }
    // Its machine may be anybody's: it cannot fill the store.
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let all = [(); 40].map(|()| scope.spawn(|| event("main", "deploying_app")));
        all.into_iter().map(|it| it.join().expect("an answer")).collect()
    });
    let refused: Vec<Answer> = answers.into_iter().filter(|it| it.status != 200).collect();
    assert!(!refused.is_empty());
    for answer in refused {
        answer.problem(429);
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|it| it >= 1), "{answer:?}");
    }
    // Others are not slowed by it.
    served.get("/status").ok(200);
}
