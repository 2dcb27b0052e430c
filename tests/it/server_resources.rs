//! The resources under `/v1`: deployments through their life, operations, backups, links, logs.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::asking::ask;
use crate::support::executable::executable;
use crate::support::product::{BROKEN, NEWEST, OLDER};
use crate::support::server::{SLOW, Served};

fn begin(served: &Served, name: &str, version: (&str, u64)) -> Value {
    served.post("/v1/deployments", &Served::launch_of(name, version)).ok(202)
}

fn of(name: &str, action: &str) -> String {
    format!("/v1/deployments/{name}/{action}")
}

/// Does something to `main`, and waits until it is over; answers the operation.
#[track_caller]
fn done(served: &Served, action: &str, body: &Value) -> Value {
    let begun = served.post(&of("main", action), body).ok(202);
    let ended = served.ended(&begun);
    assert_eq!(ended["status"], "succeeded", "{action}: {ended:#}");
    ended
}

fn status(served: &Served, name: &str) -> String {
    let deployment = served.get(&format!("/v1/deployments/{name}")).ok(200);
    deployment["status"].as_str().expect("a status").to_owned()
}

#[test]
fn long_work_is_an_operation_with_its_steps() {
    let served = Served::with_versions();
    let begun = served.post("/v1/deployments", &Served::launch_body("main")).ok(202);
    let members: Vec<&String> = begun.as_object().expect("an object").keys().collect();
    assert_eq!(members[..6], ["id", "kind", "deployment", "status", "steps", "error"]);
    assert_eq!((&begun["kind"], &begun["deployment"]), (&json!("launch"), &json!("main")));
    assert_eq!((&begun["status"], &begun["error"]), (&json!("running"), &Value::Null));
    let ended = served.ended(&begun);
    assert_eq!((&ended["id"], &ended["status"]), (&begun["id"], &json!("succeeded")));
    let steps = ended["steps"].as_array().expect("steps");
    assert_eq!(steps.last().expect("one")["name"], "open_window");
    for step in steps {
        let members: Vec<&String> = step.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["name", "status", "started_at", "ended_at", "message"]);
        assert_eq!(step["status"], "succeeded");
        for moment in ["started_at", "ended_at"] {
            let moment = step[moment].as_str().expect("a moment");
            assert!(moment.len() >= 20 && moment.ends_with('Z'), "{moment}");
        }
    }
    let shown = served.get("/v1/deployments/main").ok(200);
    assert_eq!(shown["operation"], ended, "what was last done to it");
    served.get("/v1/operations/unknown").refuses(404, "no such operation");
}

#[test]
fn a_gateway_is_stopped_started_and_restarted() {
    let served = Served::with_versions();
    served.launch("main");
    done(&served, "stop", &json!({}));
    assert_eq!(status(&served, "main"), "stopped");
    assert_eq!(served.product().gateways(), Vec::<i32>::new());
    for action in ["update", "rotate"] {
        served.post(&of("main", action), &json!({})).refuses(409, "main is stopped");
    }
    served.post(&of("main", "access"), &json!({})).problem(409);
    served.get(&of("main", "devices")).problem(409);
    done(&served, "start", &json!({}));
    assert_eq!(status(&served, "main"), "running");
    done(&served, "restart", &json!({}));
    served.assert_one_gateway("main");
    for action in ["stop", "start", "restart", "backups", "rotate", "update"] {
        served.post(&of("nobody", action), &json!({})).refuses(404, "no deployment nobody");
    }
    served.assert_well();
}

#[test]
fn what_is_at_work_is_not_disturbed() {
    let served = Served::with_versions();
    let begun = begin(&served, "main", SLOW);
    for action in ["stop", "start", "restart", "backups", "rotate", "update"] {
        let refused = served.post(&of("main", action), &json!({}));
        refused.refuses(409, "main");
    }
    served.delete("/v1/deployments/main").refuses(409, "main");
    let resumed = served.call("POST", &operation(&begun, "/resume")).send();
    assert_eq!(resumed.ok(202)["id"], begun["id"], "it is at work, and is tried now");
    let cancelled = served.call("POST", &operation(&begun, "/cancel")).send();
    assert_eq!(cancelled.ok(202)["id"], begun["id"]);
    let ended = served.ended(&begun);
    assert_eq!(ended["status"], "cancelled", "{ended:#}");
    let again = |action: &str| served.call("POST", &operation(&begun, action)).send();
    again("/cancel").refuses(409, "is over: cancelled");
    again("/resume").refuses(409, "is over: cancelled");
    assert_eq!(served.product().events("main").last().map(String::as_str), Some("cancelled"));
    served.call("POST", "/v1/operations/unknown/cancel").send().problem(404);
    served.ended(&served.delete("/v1/deployments/main").ok(202));
    assert_eq!(served.product().gateways(), Vec::<i32>::new());
}

fn operation(begun: &Value, rest: &str) -> String {
    format!("/v1/operations/{}{rest}", begun["id"].as_str().expect("an id"))
}

#[test]
fn an_update_keeps_a_backup_that_can_be_gone_back_to() {
    let served = Served::with_versions();
    served.ended(&begin(&served, "main", OLDER));
    let version = || served.get("/v1/deployments/main").ok(200)["version"].clone();
    assert_eq!(version(), OLDER.0);
    served.post(&of("main", "update"), &json!({ "version": "x", "image": "y" })).names("image");
    served.post(&of("main", "update"), &json!({ "version": "-x" })).names("version");
    done(&served, "update", &json!({ "version": NEWEST.0 }));
    assert_eq!(version(), NEWEST.0);
    let backups = || served.get(&of("main", "backups")).ok(200)["items"].clone();
    let made = backups();
    assert_eq!(made.as_array().map(Vec::len), Some(1), "{made}");
    assert_eq!((&made[0]["version"], &made[0]["reason"]), (&json!(OLDER.0), &json!("update")));
    assert_eq!(made[0]["sha256"].as_str().map(str::len), Some(64));
    done(&served, "backups", &json!({}));
    assert_eq!(backups().as_array().map(Vec::len), Some(2));

    let restore = of("main", "backups/restore");
    served.post(&restore, &json!({ "backup": "unknown" })).names("backup");
    done(&served, "backups/restore", &json!({ "backup": made[0]["id"] }));
    assert_eq!(version(), OLDER.0);
    let (old, all) = (made[0]["id"].as_str().expect("an id"), backups());
    assert_eq!(all.as_array().map(Vec::len), Some(3), "what was there was backed up first");
    served.delete(&of("main", &format!("backups/{old}"))).ok(204);
    served.delete(&of("main", &format!("backups/{old}"))).problem(404);
    // They outlive the deployment.
    served.ended(&served.delete("/v1/deployments/main?backup=true").ok(202));
    served.get("/v1/deployments/main").problem(404);
    assert_eq!(backups().as_array().map(Vec::len), Some(3));
    served.assert_well();
}

#[test]
fn a_version_that_fails_is_gone_back_from() {
    let served = Served::with_versions();
    served.launch("main");
    let begun = served.post(&of("main", "update"), &json!({ "version": BROKEN.0 })).ok(202);
    let ended = served.ended(&begun);
    assert_eq!(ended["status"], "failed", "{ended:#}");
    assert!(ended["error"]["message"].is_string() && ended["error"]["kind"] == "failed", "{ended}");
    assert_eq!(served.get("/v1/deployments/main").ok(200)["version"], NEWEST.0);
    served.assert_one_gateway("main");
}

#[test]
fn secrets_are_rotated() {
    let served = Served::with_versions();
    let mut body = Served::launch_body("main");
    body["openai_api_key"] = json!("sk-openai-0123456789-distinctive");
    served.ended(&served.post("/v1/deployments", &body).ok(202));
    let credentials = || served.get("/v1/deployments/main").ok(200)["credentials"].clone();
    assert_eq!(credentials(), json!(["OPENAI_API_KEY"]));
    let rotate = of("main", "rotate");
    served.post(&rotate, &json!({ "token": "short" })).names("token");
    let unknown = json!({ "credentials": { "nobodys_api_key": "x" } });
    served.post(&rotate, &unknown).names("credentials.nobodys_api_key");
    served.post(&rotate, &json!({ "drop": ["NO_SUCH_KEY"] })).problem(404);
    let new = json!({
        "new_token": true,
        "credentials": { "anthropic_api_key": "sk-ant-0123456789-distinctive" },
        "drop": ["OPENAI_API_KEY"],
    });
    done(&served, "rotate", &new);
    assert_eq!(credentials(), json!(["ANTHROPIC_API_KEY"]));
    let token = json!({ "token": "a-token-of-its-own-0123456789" });
    done(&served, "rotate", &token);
    let shown = served.get("/v1/operations").text() + &served.log();
    for secret in ["sk-ant-0123456789-distinctive", "a-token-of-its-own-0123456789"] {
        assert!(!shown.contains(secret));
    }
    served.assert_one_gateway("main");
}

#[test]
fn a_protected_one_is_destroyed_by_an_administrator_alone() {
    let served = Served::with_versions();
    served.launch("main");
    let patch = |body: &Value| served.call("PATCH", "/v1/deployments/main").json(body).send();
    assert_eq!(patch(&json!({ "protected": true })).ok(200)["protected"], true);
    patch(&json!({})).names("protected");
    patch(&json!({ "protected": true, "name": "other" })).names("name");
    let destroyer = served.token(["--scope", "destroy"]);
    let destroy = || served.call("DELETE", "/v1/deployments/main").token(&destroyer.text).send();
    destroy().refuses(403, "main is protected");
    assert_eq!(status(&served, "main"), "running");
    patch(&json!({ "protected": false })).ok(200);
    let begun = destroy().ok(202);
    assert_eq!(begun["kind"], "destroy");
    served.ended(&begun);
    served.get("/v1/deployments/main").refuses(404, "no deployment main");
    served.delete("/v1/deployments/main").problem(404);
    assert_eq!(served.get("/status").ok(200)["deployments"], json!([]));
    served.product().assert_nothing_runs_but(served.pid());
    assert!(!served.product().deployment("main").join("state").exists(), "its data is gone");
    // Its name is free again, and its history stays.
    let again = begin(&served, "main", BROKEN);
    served.ended(&again);
    let history = served.get("/v1/deployments/main/operations").ok(200);
    assert_eq!(history["items"].as_array().map(Vec::len), Some(3), "{history:#}");
}

/// Everything of a list, page by page.
fn walk(served: &Served, path: &str, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut at = format!("{path}{}limit={limit}", if path.contains('?') { '&' } else { '?' });
    loop {
        let page = served.get(&at).ok(200);
        let members: Vec<&String> = page.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["items", "next_cursor"]);
        let items = page["items"].as_array().expect("items").clone();
        assert!(items.len() <= limit, "{page:#}");
        all.extend(items);
        let Some(cursor) = page["next_cursor"].as_str() else { return all };
        let (first, _) = at.split_once("&cursor=").unwrap_or((&at, ""));
        at = format!("{first}&cursor={cursor}");
    }
}

fn texts(items: &[Value], member: &str) -> Vec<String> {
    items.iter().map(|it| it[member].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn lists_go_page_by_page_and_are_filtered() {
    let served = Served::with_versions();
    served.launch("main");
    let begun: Vec<Value> =
        (1..=5).map(|number| begin(&served, &format!("team-{number}"), BROKEN)).collect();
    for begun in &begun {
        served.ended(begun);
    }
    let names = |path: &str, limit| texts(&walk(&served, path, limit), "name");
    let all = ["main", "team-1", "team-2", "team-3", "team-4", "team-5"];
    for limit in [1, 2, 3, 6, 200] {
        assert_eq!(names("/v1/deployments", limit), all, "{limit} at once");
    }
    assert_eq!(names("/v1/deployments?status=failed", 2), all[1..]);
    assert_eq!(names("/v1/deployments?status=running&target=process", 2), all[..1]);
    assert_eq!(names("/v1/deployments?target=docker", 2), all[..0]);

    let operations = walk(&served, "/v1/operations", 2);
    let whose = texts(&operations, "deployment");
    assert_eq!(whose, ["team-5", "team-4", "team-3", "team-2", "team-1", "main"], "newest first");
    assert!(operations.iter().all(|it| it["steps"][0]["name"].is_string()), "with their steps");
    let path = "/v1/operations?deployment=team-2";
    assert_eq!(texts(&walk(&served, path, 1), "deployment"), ["team-2"]);
    assert_eq!(walk(&served, "/v1/operations?status=succeeded", 1).len(), 1);
    assert_eq!(walk(&served, "/v1/deployments/team-1/operations?status=failed", 1).len(), 1);
    let of_main = walk(&served, "/v1/deployments/main/events", 2);
    assert_eq!(texts(&of_main, "type"), served.product().events("main"), "oldest first");
    let launch = format!("/v1/operations/{}/events", operations[5]["id"].as_str().expect("an id"));
    let of_launch = served.call("GET", &launch).header("accept", "application/json").send().ok(200);
    assert_eq!(of_launch["items"], Value::Array(of_main));

    // A page begins where the one before ended, whatever came in between.
    let first = served.get("/v1/operations?limit=2").ok(200);
    served.ended(&begin(&served, "team-6", BROKEN));
    let cursor = first["next_cursor"].as_str().expect("more");
    let next = served.get(&format!("/v1/operations?limit=2&cursor={cursor}")).ok(200);
    assert_eq!(texts(next["items"].as_array().expect("items"), "deployment"), ["team-3", "team-2"]);
    served.get(&format!("/v1/deployments?cursor={cursor}")).names("cursor");
    served.get("/v1/deployments/nobody/events").problem(404);
    served.get("/v1/deployments/nobody/operations").problem(404);
    served.get("/v1/operations?deployment=no%2Fbody").problem(404);
}

#[test]
fn a_link_that_lets_in_is_given_by_one_call_alone() {
    let served = Served::with_versions();
    served.launch("main");
    let given = served.call("POST", &of("main", "access")).send();
    assert_eq!(given.header("cache-control"), "no-store");
    let link = given.ok(200);
    let members: Vec<&String> = link.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["url", "expires_at", "kind"]);
    assert_eq!(link["kind"], "one_time");
    assert!(link["expires_at"].as_str().expect("an end").ends_with('Z'));
    let url = link["url"].as_str().expect("a link");
    let (bare, secret) = url.split_once('#').expect("a fragment");
    assert_eq!(served.get("/v1/deployments/main").ok(200)["url"], bare);
    assert!(secret.contains("bootstrapToken="), "{secret}");
    let secret = secret.split(['=', '&']).nth(1).expect("the secret");
    let shown = ["/status", "/v1/operations", "/v1/audit", "/v1/deployments/main/events"];
    for path in shown {
        assert!(!served.get(path).text().contains(secret), "{path}");
    }
    assert!(!served.log().contains(secret));
    let audit = served.get("/v1/audit?name=main&outcome=allowed").ok(200);
    let actions = texts(audit["items"].as_array().expect("lines"), "action");
    assert!(actions.contains(&"POST /v1/deployments/{name}/access".to_owned()), "{actions:?}");
    served.product().fault("main", "{no_owner_links: true}");
    let link = served.post(&of("main", "access"), &json!({})).ok(200);
    assert_eq!((&link["kind"], &link["expires_at"]), (&json!("shared_token"), &Value::Null));
    served.post(&of("nobody", "access"), &json!({})).problem(404);
}

/// Has every further start of Node.js take its time, and leave a mark where another one runs.
fn watch_node(served: &Served, marks: &Path) {
    let mut found = Vec::new();
    let mut open = vec![served.product().home()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type().expect("a type") {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() && entry.file_name() == "node" => found.push(entry.path()),
                _ => {}
            }
        }
    }
    assert!(!found.is_empty(), "no Node.js");
    fs::create_dir(marks).expect("a directory");
    let marks = marks.display();
    for node in found {
        let real = node.with_file_name("real-node");
        fs::rename(&node, &real).expect("renamed");
        let script = format!(
            "#!/bin/sh\n/bin/mkdir {marks}/$$ {marks}/one || /bin/mkdir -p {marks}/two\n\
             /bin/sleep 0.3\n/bin/rmdir {marks}/one\nexec {} \"$@\"\n",
            real.display()
        );
        executable(&node, &script);
    }
}

#[test]
fn links_to_one_deployment_are_made_one_after_the_other() {
    let served = Served::with_versions();
    served.launch("main");
    let marks = served.product().path("marks");
    watch_node(&served, &marks);
    let given: Vec<u16> = std::thread::scope(|scope| {
        let one = || served.call("POST", &of("main", "access")).send().status;
        let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|it| it.join().expect("an answer")).collect()
    });
    assert_eq!(given, [200; 4]);
    let marks: Vec<_> = fs::read_dir(marks).expect("readable").flatten().collect();
    assert!(marks.len() >= 4, "one for each, or more: {marks:?}");
    assert!(marks.iter().all(|it| it.file_name() != "two"), "two at once: {marks:?}");
}

#[test]
fn a_name_that_has_no_backup_leaves_nothing_behind() {
    let served = Served::with_versions();
    for name in ["nobody", "nothing"] {
        served.delete(&of(name, "backups/unknown")).refuses(404, "no backup");
    }
    let locks = fs::read_dir(served.product().home().join("locks")).into_iter().flatten().flatten();
    let left: Vec<_> = locks.map(|it| it.file_name()).collect();
    assert!(!left.iter().any(|it| it == "nobody" || it == "nothing"), "{left:?}");
}

#[test]
fn a_device_is_put_out_by_its_whole_id() {
    let served = Served::with_versions();
    let mut body = Served::launch_body("main");
    body["approval"] = json!("off");
    served.ended(&served.post("/v1/deployments", &body).ok(202));
    done(&served, "stop", &json!({}));
    ask(served.product(), "main", &[("one", "operator", &["operator.read"])]);
    done(&served, "start", &json!({}));
    served.post(&of("main", "approve"), &json!({ "request_id": "one" })).ok(200);
    for part in ["device-of-on", "d", "device-of-one2", "DEVICE-OF-ONE"] {
        served.delete(&of("main", &format!("devices/{part}"))).refuses(404, "no such device");
    }
    served.delete(&of("main", "devices/device-of-one")).ok(204);
    let devices = served.get(&of("main", "devices")).ok(200);
    assert_eq!(devices["paired"], json!([]));
}

#[test]
fn logs_are_lines_or_a_stream() {
    let served = Served::with_versions();
    let mut body = Served::launch_body("main");
    body["approval"] = json!("off");
    body["token"] = json!("tok~Zx81/qQ+0123456789abcdef=");
    served.ended(&served.post("/v1/deployments", &body).ok(202));
    let log = served.product().deployment("main").join("gateway.log");
    let write = |line: &str| {
        let mut file = std::fs::File::options().append(true).open(&log).expect("the log");
        writeln!(file, "{line}").expect("written");
    };
    let path = of("main", "logs");
    let plain = served.get(&path);
    assert_eq!(plain.header("content-type"), "text/plain; charset=utf-8");
    assert!(plain.text().contains("[gateway] ready"), "{}", plain.text());
    write("<script>alert(1)</script> \u{1b}[31mtok~Zx81/qQ+0123456789abcdef=\u{1b}[0m over");
    let last = served.get(&format!("{path}?tail=1")).text();
    assert!(last.contains("[redacted]") && !last.contains("tok~"), "{last:?}");
    assert!(!last.trim_end_matches('\n').contains(|c: char| c.is_control()), "{last:?}");
    assert_eq!(served.get(&format!("{path}?tail=0")).text(), "");
    served.get(&format!("{path}?tail=10001")).names("tail");
    served.get(&of("nobody", "logs")).problem(404);

    let follow = format!("{path}?tail=1&follow=true");
    let mut stream = served.call("GET", &follow).header("accept", "text/event-stream").stream();
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(format!("{}\n", stream.next().data), last);
    write("something new");
    assert_eq!(stream.next().data, "something new");
    served.assert_well();
}

#[test]
fn streams_end_when_the_server_stops() {
    let mut served = Served::with_versions();
    let mut events = served.call("GET", "/v1/events").stream();
    events.frame().expect("it begins");
    assert_eq!(served.stop(), 0);
    while events.frame().is_some() {}
    assert!(!events.was_cut, "nobody who follows holds it up until it is cut off");
    served.assert_well();
}
