//! Requests that are sent again: with the same `Idempotency-Key`, nothing is done twice, whatever
//! happened to the first answer.

use std::collections::BTreeSet;

use openclaw_pipeline::exec::LockFile;
use serde_json::{Value, json};

use crate::support::asking::ask;
use crate::support::product::{BROKEN, send};
use crate::support::server::{API_TOKEN, Answer, Call, SLOW, Served};

fn body(name: &str) -> Value {
    json!({ "name": name, "target": "process", "port": 40_001, "version": BROKEN.0 })
}

fn launch(served: &Served, key: &str, body: &Value) -> Call {
    served.call("POST", "/launch").key(key).json(body)
}

fn names(served: &Served) -> Vec<String> {
    let all = served.get("/status").ok(200)["deployments"].clone();
    let name = |it: &Value| it["name"].as_str().expect("a name").to_owned();
    all.as_array().expect("a list").iter().map(name).collect()
}

/// The same answer, and that it was given before.
#[track_caller]
fn assert_again(first: &Answer, again: &Answer) {
    assert_eq!((again.status, again.text()), (first.status, first.text()));
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!(
        (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
        ("", "true")
    );
}

#[test]
fn the_same_request_gets_the_same_answer() {
    let mut served = Served::with_versions();
    let first = launch(&served, "key-1", &body("main")).send();
    served.ended(&first.ok(202));
    assert_again(&first, &launch(&served, "key-1", &body("main")).send());
    assert_eq!(served.stop(), 0);
    served.start_again();
    assert_again(&first, &launch(&served, "key-1", &body("main")).send());
    served.kill();
    served.start_again();
    assert_again(&first, &launch(&served, "key-1", &body("main")).send());
    assert_eq!(names(&served), ["main"]);
    let other = launch(&served, "key-2", &body("main")).send();
    assert_eq!(other.ok(202)["name"], "main1");
    assert_eq!(served.product().events("main").iter().filter(|it| *it == "launching").count(), 1);
    served.ended(&other.json());
}

#[test]
fn an_answer_outlives_what_it_was_about() {
    let served = Served::with_versions();
    served.ended(&launch(&served, "made", &body("main")).send().ok(202));
    let destroy = || served.call("DELETE", "/v1/deployments/main").key("gone").send();
    let gone = destroy();
    served.ended(&gone.ok(202));
    served.get("/v1/deployments/main").problem(404);
    assert_again(&gone, &destroy());
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    let served = Served::with_versions();
    let first = launch(&served, "key", &body("main")).send();
    served.ended(&first.ok(202));
    launch(&served, "key", &body("other")).send().problem(422);
    let elsewhere = served.call("POST", "/v1/deployments").key("key").json(&body("main"));
    elsewhere.send().problem(422);
    served.call("POST", "/v1/deployments/main/stop").key("key").send().problem(422);
    served.call("DELETE", "/v1/deployments/main").key("key").send().problem(422);
    assert_eq!(names(&served), ["main"]);
    assert_again(&first, &launch(&served, "key", &body("main")).send());
    // What was refused has used no key.
    let mut wrong = body("third");
    wrong["target"] = json!("moon");
    launch(&served, "free", &wrong).send().names("target");
    served.ended(&launch(&served, "free", &body("third")).send().ok(202));
}

#[test]
fn two_at_once_are_one() {
    let served = Served::with_versions();
    let answers = |call: &(dyn Fn() -> Call + Sync)| -> BTreeSet<String> {
        // Of its own each time: a token begins no more than so much work in a minute.
        let token = served.token(["--scope", "admin"]).text;
        std::thread::scope(|scope| {
            let one = || call().token(&token).send();
            let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            let all = all.into_iter().map(|it| it.join().expect("an answer"));
            all.map(|answer| answer.ok(202).to_string()).collect()
        })
    };
    for turn in 0..3 {
        let key = format!("launch-{turn}");
        let launched = answers(&|| launch(&served, &key, &body("main")));
        assert_eq!(launched.len(), 1, "{launched:?}");
        served.ended(&serde_json::from_str(launched.first().expect("one")).expect("JSON"));
        assert_eq!(names(&served).len(), turn + 1);
    }
    served.launch("runs");
    for action in ["restart", "backups", "stop"] {
        let path = format!("/v1/deployments/runs/{action}");
        let begun = answers(&|| served.call("POST", &path).key(action));
        assert_eq!(begun.len(), 1, "{action}: {begun:?}");
        served.ended(&serde_json::from_str(begun.first().expect("one")).expect("JSON"));
    }
    let gone = answers(&|| served.call("DELETE", "/v1/deployments/runs").key("gone"));
    assert_eq!(gone.len(), 1, "{gone:?}");
    served.ended(&serde_json::from_str(gone.first().expect("one")).expect("JSON"));
    served.call("DELETE", "/v1/deployments/runs").key("other").send().problem(404);
    let all = served.get("/v1/operations?deployment=runs").ok(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(5), "{all:#}");
    served.assert_well();
}

/// The store is kept from writing by the test, for longer than a deployment's lock is waited for:
/// a loaded disk does the same.
#[test]
fn those_that_come_while_the_first_is_slow_to_begin_get_its_answer() {
    let served = Served::with_versions();
    served.launch("runs");
    let token = served.token(["--scope", "admin"]).text;
    let restart = || served.call("POST", "/v1/deployments/runs/restart").token(&token);
    let database = served.product().home().join("pipeline.db");
    let store = rusqlite::Connection::open(database).expect("opens");
    store.execute_batch("BEGIN IMMEDIATE").expect("it is the test's");
    let lock = served.product().home().join("locks/runs");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let all = [(); 3].map(|()| scope.spawn(|| restart().key("again").send()));
        served.until("one of them has the lock", || LockFile::is_held(&lock).ok()?.then_some(()));
        // What is not the same has waited for the lock when it is answered, and so would they.
        restart().key("other").send().problem(409);
        store.execute_batch("COMMIT").expect("it is the server's again");
        all.into_iter().map(|it| it.join().expect("an answer")).collect()
    });
    let begun: BTreeSet<_> = answers.iter().map(|it| it.ok(202).to_string()).collect();
    assert_eq!(begun.len(), 1, "{begun:?}");
    let again = answers.iter().filter(|it| it.headers.contains_key("idempotency-replayed"));
    assert_eq!(again.count(), answers.len() - 1);
    served.ended(&answers[0].json());
}

#[test]
fn an_approval_is_made_once_and_tells_again_what_it_did() {
    let mut served = Served::with_versions();
    let mut body = Served::launch_body("main");
    body["approval"] = json!("off");
    served.ended(&served.post("/v1/deployments", &body).ok(202));
    served.ended(&served.call("POST", "/v1/deployments/main/stop").send().ok(202));
    let waiting = ["one", "two", "three"].map(|id| (id, "operator", &["operator.read"][..]));
    ask(served.product(), "main", &waiting);
    served.ended(&served.call("POST", "/v1/deployments/main/start").send().ok(202));
    let path = "/v1/deployments/main/approve";
    let approve = |served: &Served, path: &str, key: &str, id: &str| {
        served.call("POST", path).key(key).json(&json!({ "request_id": id })).send()
    };
    let first = approve(&served, path, "one", "one");
    assert_eq!(first.ok(200)["approved"].as_array().map(Vec::len), Some(1));
    assert_again(&first, &approve(&served, path, "one", "one"));
    approve(&served, path, "one", "two").problem(422);
    approve(&served, "/approve", "one", "one").problem(422);
    let front_end = approve(&served, "/approve", "two", "two");
    front_end.ok(200);
    assert_again(&front_end, &approve(&served, "/approve", "two", "two"));
    // What it came to is told again, too, and not tried again.
    let refused = approve(&served, path, "no", "nobody").problem(404);
    assert_eq!(approve(&served, path, "no", "nobody").problem(404)["detail"], refused["detail"]);
    // Those that come while it is at work wait for it.
    let all: BTreeSet<String> = std::thread::scope(|scope| {
        let one = || approve(&served, path, "three", "three");
        let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|it| it.join().expect("an answer").ok(200).to_string()).collect()
    });
    assert_eq!(all.len(), 1, "{all:?}");
    let begun = |served: &Served| {
        let all = served.get("/v1/operations?deployment=main&limit=200").ok(200);
        let all = all["items"].as_array().expect("items").clone();
        all.iter().filter(|it| it["kind"] == "approve").count()
    };
    assert_eq!(begun(&served), 4);
    served.kill();
    served.start_again();
    assert_again(&first, &approve(&served, path, "one", "one"));
    assert_eq!(begun(&served), 4);
}

#[test]
fn cancelling_and_hastening_are_answered_again() {
    let served = Served::with_versions();
    let body = Served::launch_of("main", SLOW);
    let begun = served.post("/v1/deployments", &body).ok(202);
    let path = format!("/v1/operations/{}", begun["id"].as_str().expect("an id"));
    let call =
        |action: &str, key: &str| served.call("POST", &format!("{path}/{action}")).key(key).send();
    let resumed = call("resume", "go on");
    resumed.ok(202);
    call("cancel", "go on").problem(422);
    let cancelled = call("cancel", "end");
    cancelled.ok(202);
    assert_eq!(served.ended(&begun)["status"], "cancelled");
    // It is over by now, which the first answer did not know.
    assert_again(&cancelled, &call("cancel", "end"));
    assert_again(&resumed, &call("resume", "go on"));
    call("cancel", "other").refuses(409, "is over");
    let told = served.product().events("main").into_iter().filter(|it| it == "cancelled").count();
    assert_eq!(told, 1);
}

#[test]
fn an_event_is_taken_once() {
    let served = Served::with_versions();
    served.put("main");
    let tell = |key: &str, message: &str| {
        let body = json!({ "type": "deploying_app", "message": message });
        served.call("POST", "/webhook/event").key(key).json(&body).send()
    };
    let first = tell("key", "it happened");
    first.ok(200);
    assert_again(&first, &tell("key", "it happened"));
    tell("key", "something else happened").problem(422);
    let answers: BTreeSet<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| tell("at once", "many"))).collect();
        all.into_iter().map(|it| it.join().expect("an answer").ok(200).to_string()).collect()
    });
    assert_eq!(answers.len(), 1);
    let events = served.get("/v1/deployments/main/events?limit=200").ok(200);
    let events = events["items"].as_array().expect("items").clone();
    let external: Vec<&Value> =
        events.iter().filter(|it| it["source"] == "external").map(|it| &it["message"]).collect();
    assert_eq!(external, ["it happened", "many"]);
}

#[test]
fn a_key_belongs_to_its_token() {
    let served = Served::with_versions();
    let [one, two] = [(); 2].map(|()| served.token(["--scope", "deploy"]).text);
    let with = |token: &str| launch(&served, "key", &body("main")).token(token).send();
    let first = with(&one);
    served.ended(&first.ok(202));
    let second = with(&two);
    assert_eq!(
        (first.ok(202)["name"].clone(), second.ok(202)["name"].clone()),
        (json!("main"), json!("main1"))
    );
    assert_again(&first, &with(&one));
    assert_again(&second, &with(&two));
}

#[test]
fn a_secret_is_not_shown_again() {
    let served = Served::with_versions();
    let ask = |body: &Value| served.call("POST", "/v1/tokens").key("key").json(body).send();
    let body = json!({ "label": "one", "scopes": ["read"] });
    let made = ask(&body).ok(201);
    let id = made["id"].as_str().expect("an id");
    let refused = ask(&body).problem(409);
    assert!(refused["detail"].as_str().expect("a sentence").contains(id), "{refused}");
    ask(&json!({ "label": "two", "scopes": ["read"] })).problem(422);
    let all = served.get("/v1/tokens").ok(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_key_has_a_form() {
    let served = Served::with_versions();
    for wrong in ["", &"k".repeat(256), "key\tkey"] {
        let refused = launch(&served, wrong, &body("main")).send();
        refused.problem(400);
    }
    let twice = format!(
        "POST /launch HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {API_TOKEN}\r\n\
         idempotency-key: a\r\nidempotency-key: b\r\ncontent-type: application/json\r\n\
         content-length: 2\r\nconnection: close\r\n\r\n{{}}",
        served.address()
    );
    let refused = served.raw(twice.as_bytes());
    assert!(
        refused.starts_with("HTTP/1.1 400 ") && refused.contains("Idempotency-Key"),
        "{refused}"
    );
    assert_eq!(names(&served), Vec::<String>::new());
    served.ended(&launch(&served, &"k".repeat(255), &body("main")).send().ok(202));
}

#[test]
fn a_server_that_is_killed_at_any_moment_does_nothing_twice() {
    let mut served = Served::with_versions();
    for turn in 0..6_u64 {
        let key = format!("key-{turn}");
        let (pid, call) = (served.pid(), launch(&served, &key, &body("main")));
        // Before, while and after the launch is committed.
        std::thread::scope(|scope| {
            scope.spawn(move || call.try_send());
            std::thread::sleep(std::time::Duration::from_millis(3 * turn));
            send(pid, rustix::process::Signal::KILL);
        });
        served.start_again();
        let answer = launch(&served, &key, &body("main")).send();
        let begun = answer.ok(202);
        let again = launch(&served, &key, &body("main")).send();
        assert_eq!(again.text(), answer.text());
        served.ended(&begun);
        let count = usize::try_from(turn).expect("small") + 1;
        served
            .until("all are over", || (served.get("/status").ok(200)["count"] == 0).then_some(()));
        assert_eq!(names(&served).len(), count, "one for each key: {:?}", names(&served));
    }
    served.assert_well();
}
