//! Commands that look and change nothing: settings, the examination, operations, completions;
//! and the exit codes.

use serde_json::Value;

use crate::support::product::{NEWEST, Product, TOKEN};

#[test]
fn config_explain_shows_values_their_origin_and_no_secret() {
    let product = Product::new();
    std::fs::write(product.work().join(".env"), "EXEC_ASK=off\nOPENAI_API_KEY=sk-s3cr3t\n")
        .expect("written");
    let config = product.path("user/.config/openclaw-pipeline");
    std::fs::create_dir_all(&config).expect("a directory");
    std::fs::write(config.join("config.env"), "HEARTBEAT=30m\nEXEC_ASK=on\n").expect("written");
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
    std::fs::write(product.work().join(".env"), &text).expect("written");
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
    let id = items[1]["id"].as_str().expect("an id");
    let shown = product.json(["operations", "show", id]);
    assert_eq!((&shown["status"], &shown["deployment"]), (&"succeeded".into(), &"main".into()));
    for step in shown["steps"].as_array().expect("steps") {
        assert!(step["started_at"].is_string() && step["ended_at"].is_string());
        assert!(step.get("output").is_none(), "what steps hand on is not for outside readers");
    }
    product.run(["operations", "show", id]).ok().answers("succeeded    prove");
    product.run(["operations", "list", "main"]).ok().answers("ASKED FOR");
    let none = product.json(["operations", "list", "other"]);
    assert_eq!(none["items"], serde_json::json!([]));
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

    product.launch();
    // The token that the gateway runs with is not the recorded one any more.
    let config = product.state("main").join("openclaw.json");
    let whole = std::fs::read_to_string(&config).expect("there");
    let origin = format!("http://127.0.0.1:{}", product.port());
    let stale = whole.replace(&origin, "http://elsewhere.example:1");
    std::fs::write(&config, stale.replace("http://localhost", "http://other")).expect("written");
    let unreachable = product.run(["openclaw", "main", "--", "config", "validate"]).ok();
    unreachable.answers("Config valid");
    product.run(["restart"]).ok();
    let mended = std::fs::read_to_string(&config).expect("there");
    assert!(mended.contains(&origin), "a restart writes the managed origins again");
    product.run(["doctor", "main"]).ok();
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
