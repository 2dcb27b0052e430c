//! A deployment's life on the `process` target, by the command line alone: launch, look, stop,
//! start, restart, destroy, and several side by side.

use serde_json::Value;

use crate::support::ports::free_port;
use crate::support::product::Product;

#[test]
fn a_launch_shows_its_steps_and_answers_with_the_link() {
    let product = Product::new();
    let done = product.launch();
    let origin = format!("http://127.0.0.1:{}", product.port());
    assert!(done.stdout.starts_with(&format!("{origin}/#bootstrapToken=")), "{}", done.stdout);
    assert_eq!(done.stdout.lines().count(), 1, "the answer is the link and nothing else");
    for said in [
        "note: no provider key was given",
        "[1/6] check what the process target needs",
        "[2/6] get OpenClaw 2026.9.6",
        "[3/6] write the gateway's configuration",
        &format!("[4/6] start the gateway on port {}", product.port()),
        &format!("[5/6] prove the gateway at {origin}/"),
        "[6/6] let up to 3 of your browsers in during the next 10 minutes",
        "It lets one browser in, once, within ten minutes.",
        "openclaw-pipeline logs -f main",
        "openclaw-pipeline stop main",
        "openclaw-pipeline destroy main",
    ] {
        done.says(said);
    }
    product.assert_one_gateway("main");
}

#[test]
fn a_launch_for_a_machine_is_one_object_a_line() {
    let product = Product::new();
    let done = product.run(["launch", "--target", "process", "--json"]).ok();
    let objects = done.objects();
    let steps: Vec<_> = objects.iter().filter(|it| it.get("step").is_some()).collect();
    let told: Vec<(&str, &str)> =
        steps.iter().map(|it| (text(&it["step"]), text(&it["status"]))).collect();
    let expected: Vec<(&str, &str)> =
        ["prepare", "fetch", "configure", "start", "prove", "open_window"]
            .into_iter()
            .flat_map(|step| [(step, "running"), (step, "succeeded")])
            .collect();
    assert_eq!(told, expected);
    for (index, step) in steps.iter().enumerate() {
        if index % 2 == 0 {
            assert_eq!((&step["number"], &step["of"]), (&(index / 2 + 1).into(), &6.into()));
            assert_eq!(step["again"], false);
            assert!(step["message"].is_string());
        } else {
            assert!(step["took_ms"].is_u64());
        }
    }
    let rest = objects.iter().filter(|it| it.get("step").is_none() && it.get("note").is_none());
    assert_eq!(rest.count(), 1, "notes, steps and the answer");
    let answer = done.json();
    let address = format!("http://127.0.0.1:{}/", product.port());
    assert_eq!(answer["name"], "main");
    assert_eq!(answer["status"], "running");
    assert_eq!(answer["target"], "process");
    assert_eq!(answer["address"], address.as_str());
    assert_eq!(answer["version"], "2026.9.6");
    assert_eq!(answer["ran_already"], false);
    assert_eq!(answer["kind"], "one_time");
    assert!(text(&answer["url"]).contains("#bootstrapToken="));
    assert!(text(&answer["expires_at"]).ends_with('Z'));
}

#[test]
fn a_second_launch_finds_that_it_runs_and_touches_nothing() {
    let product = Product::new();
    product.launch();
    let gateway = product.gateway("main").expect("a gateway");
    let operations = product.json(["operations", "list"])["items"].as_array().map(Vec::len);
    let again = product.launch();
    again.says("main runs already.").says("openclaw-pipeline open main");
    assert_eq!(again.stdout, format!("http://127.0.0.1:{}/\n", product.port()), "a bare address");
    let json = product.json(["launch"]);
    assert_eq!((&json["ran_already"], &json["url"]), (&true.into(), &Value::Null));
    assert_eq!(product.gateway("main"), Some(gateway), "the same process");
    assert_eq!(product.json(["operations", "list"])["items"].as_array().map(Vec::len), operations);
    product.assert_one_gateway("main");
}

#[test]
fn without_a_link_the_bare_address_is_printed() {
    let product = Product::new();
    let done = product.run(["launch", "--target", "process", "--no-link"]).ok();
    assert_eq!(done.stdout, format!("http://127.0.0.1:{}/\n", product.port()));
    done.says("openclaw-pipeline open main");
}

#[test]
fn status_and_list_say_what_there_is() {
    let product = Product::new();
    product.run(["list"]).ok().answers("There is no deployment yet");
    assert_eq!(product.json(["list"])["items"], serde_json::json!([]));
    product.run(["launch", "--target", "process"]).env("ANTHROPIC_API_KEY", "sk-ant-a-key").ok();
    let status = product.json(["status"]);
    let address = format!("http://127.0.0.1:{}/", product.port());
    assert_eq!(status["name"], "main");
    assert_eq!(status["status"], "running");
    assert_eq!(status["url"], address.as_str());
    assert_eq!(status["version"], "2026.9.6");
    assert_eq!(status["model"], "anthropic/claude-sonnet-5");
    assert_eq!(status["credentials"], serde_json::json!(["ANTHROPIC_API_KEY"]));
    assert_eq!(status["interrupted"], false);
    assert_eq!(status["operation"]["kind"], "launch");
    assert_eq!(status["operation"]["status"], "succeeded");
    assert_eq!(status["operation"]["steps"].as_array().map(Vec::len), Some(6));
    let text = product.run(["status", "main"]).ok();
    text.answers("main  running").answers(&address).answers("ANTHROPIC_API_KEY");
    text.answers("launch succeeded").answers("prove the gateway");
    let list = product.json(["list"]);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(list["items"][0]["status"], "running");
    let table = product.run(["list"]).ok();
    table.answers("NAME  STATUS   TARGET   VERSION   ADDRESS").answers(&address);
}

#[test]
fn stop_start_and_restart_keep_the_data_and_the_window() {
    let product = Product::new();
    product.launch();
    let first = product.gateway("main").expect("a gateway");
    std::fs::write(product.deployment("main").join("workspace/notes"), "mine").expect("a file");

    let stopped = product.run(["stop"]).ok();
    stopped.answers("main is stopped; its data stays");
    product.assert_nothing_runs();
    assert_eq!(product.status("main"), "stopped");
    let open = product.run(["open"]).code(4);
    open.says("main is stopped").says("openclaw-pipeline start main");
    product.run(["update"]).code(4).says("main is stopped").says("start main");
    // Stopping what is stopped is no failure.
    product.run(["stop"]).ok();

    product.run(["start"]).ok().answers("main is started: OpenClaw 2026.9.6 works at");
    product.assert_one_gateway("main");
    let second = product.gateway("main").expect("a gateway");
    assert_ne!(second, first);

    let restarted = product.run(["restart", "--json"]).ok();
    assert_eq!(restarted.json()["status"], "running");
    assert_eq!(restarted.json()["operation"]["kind"], "restart");
    let third = product.gateway("main").expect("a gateway");
    assert_ne!(third, second);
    product.assert_one_gateway("main");
    let steps = product.operation("main", "restart")["steps"].clone();
    let names: Vec<&str> =
        steps.as_array().expect("steps").iter().map(|it| text(&it["name"])).collect();
    assert_eq!(
        names,
        ["check", "stop", "configure", "start", "prove"],
        "no window is opened again"
    );
    let kept = std::fs::read_to_string(product.deployment("main").join("workspace/notes"));
    assert_eq!(kept.expect("the file"), "mine");
    let log = product.run(["logs", "--tail", "1000"]).ok();
    assert_eq!(log.stdout.matches("[gateway] ready").count(), 3, "three starts");
    assert_eq!(log.stdout.matches("received SIGTERM").count(), 2, "two drains");
}

#[test]
fn the_events_tell_the_life_in_order() {
    let product = Product::new();
    product.launch();
    product.run(["restart"]).ok();
    product.run(["stop"]).ok();
    product.run(["start"]).ok();
    product.run(["destroy", "--yes"]).ok();
    let expected = [
        "launching",
        "pulling_image",
        "creating_config",
        "starting_app",
        "health_check",
        "completed",
        "restarting",
        "creating_config",
        "starting_app",
        "health_check",
        "restarted",
        "stopped",
        "creating_config",
        "starting_app",
        "health_check",
        "started",
        "destroying",
        "destroyed",
    ];
    assert_eq!(product.events("main"), expected);
    let events = product.run(["events", "--json"]).ok().objects();
    let sequences: Vec<i64> =
        events.iter().map(|it| it["sequence"].as_i64().expect("a number")).collect();
    assert!(sequences.is_sorted() && sequences.len() == expected.len());
    for event in &events {
        assert_eq!(event["name"], "main");
        assert!(event["operation_id"].is_string(), "{event}");
        assert_eq!(event["source"], "pipeline", "{event}");
        assert!(text(&event["timestamp"]).ends_with('Z'));
    }
    let after = sequences[9].to_string();
    let rest = product.run(["events", "--after", &after, "--limit", "2", "--json"]).ok().objects();
    assert_eq!(rest[0]["sequence"], sequences[10]);
    assert_eq!(rest.len(), 2);
    product.run(["events"]).ok().answers("destroyed");
}

#[test]
fn destroying_asks_removes_all_and_frees_the_name() {
    let product = Product::new();
    product.launch();
    product.run(["backup"]).ok();
    let refused = product.run(["destroy"]).code(2);
    refused.says("there is no terminal to ask at").says("--yes");
    product.assert_one_gateway("main");
    let directory = product.deployment("main");
    let destroyed = format!("main is destroyed: removed the directory {}", directory.display());
    if let Some(asked) = product.run(["destroy"]).stdin("other\n").on_a_terminal() {
        asked.code(2).answers("Type the name to destroy it").answers("nothing was removed");
        product.assert_one_gateway("main");
        let asked = product.run(["destroy"]).stdin("main\n").on_a_terminal().expect("as before");
        asked.ok().answers(&destroyed);
    } else {
        product.run(["destroy", "--yes"]).ok().answers(&destroyed);
    }
    product.assert_nothing_runs();
    assert!(!product.deployment("main").exists());
    assert_eq!(product.json(["list"])["items"], serde_json::json!([]));
    product.run(["status"]).code(3).says("there is no deployment main");
    product.run(["destroy", "--yes"]).code(3);
    assert_eq!(
        std::fs::read_dir(product.home().join("backups/main")).expect("kept").count(),
        1,
        "its backup stays"
    );
    product.launch();
    product.assert_one_gateway("main");
    assert_eq!(product.json(["status"])["operation"]["kind"], "launch");
}

#[test]
fn destroying_can_make_a_last_backup() {
    let product = Product::new();
    product.launch();
    product.run(["destroy", "--yes", "--backup"]).ok();
    product.assert_nothing_runs();
    let kept = std::fs::read_dir(product.home().join("backups/main")).expect("kept");
    let names: Vec<_> = kept.flatten().map(|entry| entry.path()).collect();
    assert!(names.len() == 1 && names[0].extension().is_some_and(|it| it == "sealed"), "{names:?}");
}

#[test]
fn several_deployments_live_side_by_side() {
    let product = Product::new();
    for name in ["one", "two", "three"] {
        let port = free_port().to_string();
        product.run(["launch", name, "--target", "process", "--port", &port]).ok();
    }
    let items = product.json(["list"])["items"].clone();
    let items = items.as_array().expect("a list");
    let urls: std::collections::BTreeSet<&str> = items.iter().map(|it| text(&it["url"])).collect();
    assert_eq!(urls.len(), 3, "each has a port of its own");
    assert!(items.iter().all(|it| it["status"] == "running"));
    assert_eq!(product.gateways().len(), 3);
    product.run(["stop", "two"]).ok();
    assert_eq!(product.gateways().len(), 2);
    assert_eq!([product.status("one"), product.status("three")], ["running", "running"]);
    product.run(["destroy", "one", "--yes"]).ok();
    assert_eq!(product.gateways(), Vec::from_iter(product.gateway("three")));
    assert_eq!(product.status("two"), "stopped");
}

#[test]
fn a_name_is_bound_to_its_target() {
    let product = Product::new();
    product.launch();
    let refused = product.run(["launch", "--target", "docker"]).code(4);
    refused.says("main is there already, on the process target").says("main1");
    product.assert_one_gateway("main");
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
