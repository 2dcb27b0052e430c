//! Commands that look and change nothing: settings, the examination, operations, completions;
//! and the exit codes.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::executable::executable;
use crate::support::ports::free_port;
use crate::support::product::{NEWEST, NODE, Product, TOKEN, send, until};

#[test]
fn config_explain_shows_values_their_origin_and_no_secret() {
    let product = Product::new();
    fs::write(product.work().join(".env"), "EXEC_ASK=off\nOPENAI_API_KEY=sk-s3cr3t\n")
        .expect("written");
    let config = product.path("user/.config/openclaw-pipeline");
    fs::create_dir_all(&config).expect("a directory");
    fs::write(config.join("config.env"), "HEARTBEAT=30m\nEXEC_ASK=on\n").expect("written");
    let text = product.run(["config", "explain"]).ok();
    text.answers("VARIABLE").answers(".env line 1").answers("config file line 1");
    let rows = product.json(["config", "explain"])["settings"].clone();
    let row = |name: &str| {
        let rows = rows.as_array().expect("rows");
        rows.iter().find(|row| row["variable"] == name).expect("a row").clone()
    };
    let shown = |name: &str| {
        let row = row(name);
        let text = |key: &str| row[key].as_str().expect("text").to_owned();
        (text("value"), text("origin"))
    };
    assert_eq!(shown("EXEC_ASK"), ("off".into(), ".env line 1".into()));
    assert_eq!(shown("HEARTBEAT"), ("30m".into(), "config file line 1".into()));
    assert_eq!(shown("NAME"), ("main".into(), "default".into()));
    assert_eq!(shown("GATEWAY_PORT"), (product.port().to_string(), "environment".into()));
    let length = TOKEN.len();
    assert_eq!(
        shown("OPENCLAW_GATEWAY_TOKEN"),
        (format!("set, {length} characters"), "environment".into())
    );
    assert_eq!(shown("OPENAI_API_KEY"), ("set, 9 characters".into(), ".env line 2".into()));
    assert!(!text.stdout.contains("s3cr3t") && !text.stdout.contains(TOKEN));
    // A wrong value is named, and does not keep anybody from looking.
    let wrong = product.run(["config", "explain"]).env("GATEWAY_PORT", "x").code(2);
    wrong.answers("a number from 1 to 65535");
    product.run(["list"]).env("GATEWAY_PORT", "x").ok();
}

#[test]
fn env_is_a_file_that_can_be_used() {
    let product = Product::new();
    let text = product.run(["env"]).ok().stdout;
    for name in ["ANTHROPIC_API_KEY", "GATEWAY_PORT", "OPENCLAW_PIPELINE_APPROVAL", "EXEC_ASK"] {
        assert!(text.contains(name), "{name}");
    }
    fs::write(product.work().join(".env"), &text).expect("written");
    let explained = product.run(["config", "explain"]).ok();
    assert!(!explained.stderr.contains("not a setting"), "{}", explained.stderr);
    assert_eq!(product.json(["env"])["env"], text.trim_end_matches('\n').to_owned() + "\n");
}

#[test]
fn completions_are_made_for_the_usual_shells() {
    let product = Product::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = product.run(["completions", shell]).ok();
        for word in ["openclaw-pipeline", "launch", "rotate", "destroy"] {
            script.answers(word);
        }
        // As a command; the descriptions may say the word.
        for hidden in ["__keep", "'keep:", "-a \"keep\""] {
            assert!(!script.stdout.contains(hidden), "{shell}: what is hidden stays hidden");
        }
    }
    product.run(["completions", "tcsh"]).code(2);
    // It asks nothing of the data directory.
    assert!(!product.home().join("pipeline.db").exists());
}

#[test]
fn operations_are_listed_and_shown() {
    let product = Product::new();
    product.launch();
    product.run(["backup"]).ok();
    let items = product.json(["operations", "list"])["items"].clone();
    let kinds: Vec<&Value> =
        items.as_array().expect("a list").iter().map(|item| &item["kind"]).collect();
    assert_eq!(kinds, ["backup", "launch"], "the newest first");
    let last = product.run(["events", "--limit", "1", "--json"]).ok().json();
    assert_eq!(last["type"], "backed_up", "the last ones unless others are asked for");
    let after = product.run(["events", "--after", "0", "--limit", "1", "--json"]).ok().json();
    assert_eq!(after["type"], "launching");
    for command in [["events", "nobody"], ["backups", "nobody"]] {
        product.run(command).code(3);
    }
    product.run(["operations", "list", "nobody"]).code(3);
    let id = items[1]["id"].as_str().expect("an id");
    let shown = product.json(["operations", "show", id]);
    assert_eq!((&shown["status"], &shown["deployment"]), (&"succeeded".into(), &"main".into()));
    for step in shown["steps"].as_array().expect("steps") {
        assert!(step["started_at"].is_string() && step["ended_at"].is_string());
        assert!(step.get("output").is_none(), "what steps hand on is not for outside readers");
    }
    product.run(["operations", "show", id]).ok().answers("succeeded    prove");
    product.run(["operations", "list", "main"]).ok().answers("ASKED FOR");
    product.run(["operations", "resume", id]).code(4).says("is over: it succeeded");
}

#[test]
fn doctor_finds_a_healthy_machine() {
    let product = Product::new();
    product.tool("npm", "#!/bin/sh\necho 11.2.3\n");
    product.tool("node", "#!/bin/sh\necho v22.0.0\n");
    product.launch();
    let found = product.run(["doctor"]).ok();
    found.answers("ok       disk").answers("ok       npm          11.2.3");
    found.answers("ok       node         v22.0.0").answers("note     docker");
    found.answers(&format!("OpenClaw 2026.9.6 works at http://127.0.0.1:{}/", product.port()));
    found.answers("its approval window is open for");
    assert_eq!(product.json(["doctor"])["ok"], true);
    product.run(["stop"]).ok();
    product.run(["doctor", "main"]).ok().answers("stopped on request");
    product.run(["doctor", "nobody"]).code(3);
}

#[test]
fn doctor_finds_what_is_wrong_and_says_what_to_do() {
    let product = Product::new();
    product.tool("npm", "#!/bin/sh\necho broken npm >&2; exit 1\n");
    let ill = product.run(["doctor"]).env("GATEWAY_PORT", "x").code(1);
    ill.answers("PROBLEM  GATEWAY_PORT").answers("PROBLEM  npm").answers("broken npm");
    ill.answers("PROBLEM  docker").answers("note     node");
    product.tool("npm", "#!/bin/sh\necho 11.2.3\n");
    product.tool(
        "docker",
        "#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///x' >&2; exit 1\n",
    );
    let note = product.run(["doctor"]).ok();
    note.answers("note     docker       no Docker engine answers").answers("start Docker");
    assert_eq!(product.json(["doctor"])["findings"][1]["verdict"], "note");
}

#[test]
fn a_list_asks_the_engine_once_and_does_not_wait_for_it() {
    let product = Product::new();
    product.launch();
    let store = rusqlite::Connection::open(product.home().join("pipeline.db")).expect("opens");
    let on_docker = "UPDATE deployments SET spec = json_set(spec, '$.target', 'docker')";
    assert_eq!(store.execute(on_docker, []).expect("updates"), 1);
    let id: String =
        store.query_row("SELECT id FROM deployments", [], |row| row.get(0)).expect("an id");
    drop(store);
    let listed = || product.json(["list"])["items"][0]["status"].clone();
    let calls = product.path("docker-calls");
    let engine = |words: &str| {
        product.tool("docker", &format!("#!/bin/sh\necho x >>'{}'\n{words}\n", calls.display()));
    };
    engine(&format!("echo openclaw-other; echo openclaw-main-{}", &id[id.len() - 8..]));
    assert_eq!(listed(), "running");
    assert_eq!(fs::read_to_string(&calls).expect("calls"), "x\n", "one call for all");
    engine("echo openclaw-other");
    assert_eq!(listed(), "degraded");
    // An engine that says nothing says nothing about the gateway.
    engine("exit 1");
    assert_eq!(listed(), "running");
    engine("exec /bin/sleep 60");
    let begun = std::time::Instant::now();
    assert_eq!(listed(), "running");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    fs::remove_file(product.path("bin/docker")).expect("removed");
    assert_eq!(listed(), "running", "without docker at all");
}

#[test]
fn doctor_judges_node_and_npm() {
    let product = Product::new();
    product.tool("npm", "#!/bin/sh\necho 6.14.4\n");
    product.tool("node", "#!/bin/sh\necho v12.22.9\n");
    let old = product.run(["doctor"]).code(1);
    old.answers("PROBLEM  npm          6.14.4 cannot read the lockfiles");
    old.answers("install npm 7 or newer").answers("note     node         v12.22.9 is older");
    product.tool("npm", "#!/bin/sh\necho 11.2.3\n");
    product.run(["doctor"]).ok().answers("ok       runtime      Node.js v24.21.0");
    // Another Node.js in the place of the one that was installed.
    let bin = own_node(&product);
    fs::remove_file(&bin).expect("removed");
    executable(&bin, "#!/bin/sh\necho v18.0.0\n");
    let wrong = product.run(["doctor"]).code(1);
    wrong.answers("PROBLEM  runtime").answers("should be v24.21.0 and answers v18.0.0");
    wrong.answers("remove ").answers("launch again");
    executable(&bin, "#!/bin/sh\necho broken >&2\nexit 1\n");
    product.run(["doctor"]).code(1).answers("answers an error: broken");
}

#[test]
fn doctor_goes_on_when_the_secrets_of_one_are_gone() {
    let product = Product::new();
    product.tool("npm", "#!/bin/sh\necho 11.2.3\n");
    product.launch();
    let port = free_port().to_string();
    product.run(["launch", "two", "--target", "process", "--port", &port]).ok();
    let store = rusqlite::Connection::open(product.home().join("pipeline.db")).expect("opens");
    let gone = "DELETE FROM sealed WHERE deployment_id = \
                (SELECT id FROM deployments WHERE name = 'main')";
    assert_eq!(store.execute(gone, []).expect("deletes"), 1);
    drop(store);
    let ill = product.run(["doctor"]).code(1);
    ill.answers("PROBLEM  main         its secrets cannot be read");
    ill.answers("openclaw-pipeline destroy main").answers("ok       two");
    // The remedy works.
    product.run(["destroy", "--yes"]).ok();
    product.launch();
    product.run(["doctor"]).ok();
}

#[test]
fn doctor_finds_a_gateway_that_runs_with_another_token() {
    let product = Product::new();
    product.tool("npm", "#!/bin/sh\necho 11.2.3\n");
    product.launch();
    let bin = own_node(&product);
    let real = bin.with_file_name("real");
    fs::rename(&bin, &real).expect("moved");
    let script = format!(
        "#!/bin/sh\nOPENCLAW_GATEWAY_TOKEN=another-token-0123456789\n\
         export OPENCLAW_GATEWAY_TOKEN\nexec '{}' \"$@\"\n",
        real.display()
    );
    executable(&bin, &script);
    again(&product);
    let drift = product.run(["doctor", "main"]).code(1);
    drift.answers("PROBLEM  main").answers("The gateway runs with another token");
    drift.answers("openclaw-pipeline restart main");
    assert!(!drift.stdout.contains("another-token"), "{}", drift.stdout);
    fs::rename(&real, &bin).expect("moved back");
    product.run(["restart"]).ok();
    product.run(["doctor", "main"]).ok();
}

#[test]
fn doctor_finds_origins_that_are_stale() {
    let product = Product::new();
    product.tool("npm", "#!/bin/sh\necho 11.2.3\n");
    product.launch();
    let config = product.state("main").join("openclaw.json");
    let whole = fs::read_to_string(&config).expect("there");
    let origin = format!("http://127.0.0.1:{}", product.port());
    fs::write(&config, whole.replace(&origin, "http://elsewhere.example:1")).expect("written");
    again(&product);
    let stale = product.run(["doctor", "main"]).code(1);
    stale.answers(&format!("does not let the page at {origin} in: the list of origins is stale"));
    stale.answers("openclaw-pipeline restart main");
    product.run(["restart"]).ok();
    assert!(fs::read_to_string(&config).expect("there").contains(&origin), "as the remedy says");
    product.run(["doctor", "main"]).ok();
}

#[test]
fn doctor_finds_a_gateway_that_does_not_answer() {
    let product = Product::new();
    product.tool("npm", "#!/bin/sh\necho 11.2.3\n");
    product.launch();
    let gateway = product.gateway("main").expect("a gateway");
    send(gateway, Signal::STOP);
    let mute = product.run(["doctor", "main"]).code(1);
    mute.answers("PROBLEM  main").answers("the gateway has not started");
    mute.answers("check that the port is open").answers("openclaw-pipeline restart main");
    send(gateway, Signal::CONT);
    product.run(["doctor", "main"]).ok();
}

/// The Node.js that gateways of an installation run on.
fn own_node(product: &Product) -> PathBuf {
    let modules = product.home().join(format!("runtime/node-{NODE}/node_modules"));
    let package = fs::read_dir(modules).expect("there").flatten().next().expect("a package");
    package.path().join("bin/node")
}
/// Has the gateway's keeper start it again, with what lies there now.
fn again(product: &Product) {
    let before = product.gateway("main").expect("a gateway");
    send(before, Signal::KILL);
    until("it is started again", || product.gateway("main").filter(|pid| *pid != before));
}

#[test]
fn every_exit_code_has_its_meaning() {
    let product = Product::new();
    product.run(["list"]).code(0);
    let broken = Product::bare();
    broken.install_faulty(NEWEST, Some("{exit_code: 78}"));
    broken.run(["launch", "--target", "process"]).code(1);
    product.run(["launch", "Not a name"]).code(2);
    product.run(["status", "nobody"]).code(3);
    product.launch();
    product.run(["launch", "--target", "docker"]).code(4);
    Product::bare().run(["launch", "--target", "process"]).code(5);
    // 130 is fault_interrupt's.
    for args in [["status", "nobody"], ["open", "nobody"], ["stop", "nobody"], ["start", "nobody"]]
    {
        let done = product.run(args).arg("--json").code(3);
        let error = &done.json()["error"];
        assert_eq!(error["kind"], "not_found");
        assert!(error["message"].as_str().is_some_and(|it| it.contains("nobody")), "{error}");
        assert!(error["remedy"].is_string());
    }
}
