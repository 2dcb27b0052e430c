//! What is printed: commands that can be pasted, JSON wherever it is asked for, progress without a
//! terminal, and a Ctrl-C that is answered.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use clap::CommandFactory as _;
use openclaw_pipeline::cli::Cli;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::product::{Live, NEWEST, Product, send, until};

/// The program as cargo built it.
const BUILT: &str = env!("CARGO_BIN_EXE_openclaw-pipeline");

#[test]
fn a_command_that_is_printed_can_be_pasted() {
    let product = Product::new();
    let launched = product.launch();
    launched.says(&format!("\n  stop    {BUILT} stop main\n"));
    product.run(["status", "nobody"]).code(3).says(&format!("to do: {BUILT} list shows"));
    product.run(["backups"]).ok().answers(&format!("Make one: {BUILT} backup main"));
    // What is stored and what a machine reads name the program alone.
    let json = product.run(["status", "nobody", "--json"]).code(3).json();
    assert_eq!(json["error"]["remedy"], "openclaw-pipeline list shows what there is");
    assert!(product.run(["env"]).ok().stdout.contains("openclaw-pipeline config explain"));
    // Another program of that name in PATH is not this one.
    product.tool("openclaw-pipeline", "#!/bin/sh\nexit 9\n");
    product.run(["status", "nobody"]).code(3).says(&format!("to do: {BUILT} list shows"));
    let tool = product.path("bin/openclaw-pipeline");
    fs::remove_file(&tool).expect("removed");
    symlink(BUILT, &tool).expect("a link");
    product.run(["status", "nobody"]).code(3).says("to do: openclaw-pipeline list shows");
}

/// Reads on until a step begins.
fn at_step(live: &mut Live, step: &str) {
    let wanted = format!("\"step\":\"{step}\",\"status\":\"running\"");
    while let Some(line) = live.line() {
        if line.contains(&wanted) {
            return;
        }
    }
    panic!("the step {step} never began");
}

#[test]
fn ctrl_c_is_answered_and_the_second_one_leaves_at_once() {
    let product = Product::new();
    product.launch();
    // Half a minute of draining, which the step waits for whatever happens.
    product.fault("main", "{drain_ms: 30000}");
    product.run(["restart"]).ok();
    let mut live = product.run(["stop", "--json"]).live();
    at_step(&mut live, "stop");
    let (pid, begun) = (live.pid(), Instant::now());
    // Two signals that come together count as one, so more are sent until it is gone.
    until("it left", || {
        live.signal(Signal::INT);
        product.processes().iter().all(|it| it.pid != pid).then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let done = live.done();
    assert_eq!(done.code, 130, "{done:?}");
    done.says("interrupted: finishing the step safely; once more to leave at once");
    done.says("left at once; what was done is recorded");
    assert_eq!(done.json()["error"]["kind"], "interrupted");
    // The next command goes on with it.
    let status = product.json(["status"]);
    assert_eq!(
        (&status["interrupted"], &status["operation"]["kind"]),
        (&true.into(), &"stop".into())
    );
    for pid in product.gateways() {
        send(pid, Signal::KILL);
    }
    product.run(["stop"]).ok();
    product.assert_nothing_runs();
}

#[test]
fn a_launch_that_never_gets_ready_heeds_ctrl_c() {
    let product = Product::bare();
    product.install_faulty(NEWEST, Some("{never_started: true}"));
    let mut live = product.run(["launch", "--target", "process", "--json"]).live();
    at_step(&mut live, "prove");
    let pid = live.pid();
    until("it left", || {
        live.signal(Signal::INT);
        product.processes().iter().all(|it| it.pid != pid).then_some(())
    });
    let done = live.done();
    assert_eq!(done.code, 130, "{done:?}");
    done.says("interrupted: finishing the step safely").says("operations");
    assert_eq!(product.json(["status"])["interrupted"], true);
}

/// Every command in a form that harms nothing, and what it exits with.
const FORMS: [(&str, &[&str], i32); 50] = [
    // Where others reach it, it takes a token; else it answers, and lives on.
    ("serve", &["--bind", "0.0.0.0"], 2),
    ("list", &[], 0),
    ("status", &[], 0),
    ("launch", &["--target", "process"], 0),
    ("logs", &["--tail", "3"], 0),
    ("open", &[], 0),
    ("url", &[], 0),
    // What is about machines refuses a gateway of this one.
    ("tunnel", &[], 4),
    ("expose", &["tunnel"], 2),
    ("deploy", &[], 4),
    ("adopt", &["--state", "none", "--key", "none"], 4),
    ("plan", &[], 4),
    ("infra", &["show"], 4),
    ("infra", &["config", "other"], 0),
    // There is none on a machine of its own.
    ("cluster", &["show"], 3),
    ("cluster", &["destroy", "--yes"], 3),
    ("server", &["deploy"], 3),
    ("server", &["url"], 3),
    ("approve", &[], 0),
    ("devices", &[], 0),
    ("backup", &[], 0),
    ("backups", &[], 0),
    ("rotate", &["--keys"], 2),
    ("update", &["--version", "latest"], 2),
    ("restore", &["--backup", "none"], 3),
    ("destroy", &[], 2),
    ("destroy", &["nobody", "--if-exists"], 0),
    ("doctor", &[], 0),
    ("events", &[], 0),
    ("operations", &["list"], 0),
    ("operations", &["show", "none"], 3),
    ("webhooks", &["list"], 0),
    ("webhooks", &["add", "https://app.example/hooks", "--events", "completed,failed"], 0),
    ("webhooks", &["add", "http://app.example/hooks"], 2),
    ("webhooks", &["remove", "none"], 3),
    ("webhooks", &["enable", "none"], 3),
    ("webhooks", &["rotate-secret", "none"], 3),
    ("webhooks", &["deliveries", "none", "--status", "dead"], 3),
    ("webhooks", &["replay", "none", "--from", "1", "--to", "2"], 3),
    ("tokens", &["create", "--label", "one", "--scope", "read"], 0),
    ("tokens", &["list"], 0),
    ("tokens", &["revoke", "none"], 3),
    ("audit", &[], 0),
    ("config", &["explain"], 0),
    ("check", &["gateway"], 0),
    ("env", &[], 0),
    ("image", &["build", "--version", "latest"], 2),
    ("restart", &[], 0),
    ("stop", &[], 0),
    ("start", &[], 0),
];

/// The commands that print what they print: another program's words, or a script.
const AS_EVER: [&str; 3] = ["shell", "openclaw", "completions"];

#[test]
fn every_command_answers_with_json() {
    let mut product = Product::new();
    product.tool("npm", "#!/bin/sh\necho 11.2.3\n");
    product.launch();
    let told = product.json(["launch"])["ran_already"] == true;
    assert!(told);
    let known: BTreeSet<String> = Cli::command()
        .get_subcommands()
        .filter(|it| !it.is_hide_set())
        .map(|it| it.get_name().to_owned())
        .collect();
    let covered: BTreeSet<String> =
        FORMS.iter().map(|(name, ..)| *name).chain(AS_EVER).map(str::to_owned).collect();
    assert_eq!(known, covered, "a command that this test does not know");
    for (name, args, code) in FORMS {
        let run = args.iter().fold(product.run([name]), |run, arg| run.arg(arg));
        let done = run.arg("--json").code(code);
        let objects = done.objects();
        assert!(!objects.is_empty(), "{name} {args:?} answers nothing");
        assert!(objects.iter().all(Value::is_object), "{name} {args:?}: {objects:?}");
        let error = objects.last().and_then(|it| it.get("error"));
        let failed = error.is_some_and(|error| error["message"].is_string());
        assert_eq!(failed, code != 0, "{name} {args:?}: {objects:?}");
    }
    // What the parser refuses, too, wherever `--json` stands; and settings that cannot be read.
    for args in [&["--json", "lunch"][..], &["status", "--no-such", "--json"], &["--json"]] {
        let done = args[1..].iter().fold(product.run([args[0]]), |run, arg| run.arg(arg)).code(2);
        let error = &done.objects()[0]["error"];
        assert_eq!(error["kind"], "bad_input", "{args:?}");
        assert!(error["message"].as_str().is_some_and(|it| !it.is_empty()), "{args:?}");
        assert!(error["remedy"].is_string(), "{args:?}");
    }
    assert_eq!(product.run(["lunch"]).code(2).stdout, "", "prose goes to standard error");
    product.set("GATEWAY_PORT", "x");
    assert_eq!(product.run(["launch", "--json"]).code(2).json()["error"]["kind"], "bad_input");
    let listed = product.json(["operations", "list"])["items"].clone();
    for operation in listed.as_array().expect("a list") {
        assert!(operation.get("steps").is_none(), "steps are what show is for: {operation}");
    }
}

#[test]
fn a_long_step_says_how_far_it_is_without_a_terminal() {
    let product = Product::bare();
    // An npm that fetches 4,000 packages in a moment, more than any lockfile has, and fails.
    product.tool(
        "npm",
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 11.0.0 && exit 0\ni=0\n\
         while [ $i -lt 4000 ]; do i=$((i+1)); echo npm http fetch GET 200 x >&2; done\nexit 1\n",
    );
    let failed = product.run(["launch", "--target", "process"]).code(1);
    let lines = failed.stderr.lines().filter(|line| line.ends_with(" packages")).count();
    assert!((1..=10).contains(&lines), "{lines} lines: {}", failed.stderr);
    let failed = product.run(["launch", "--target", "process", "--json"]).code(1);
    let objects = failed.objects();
    let amounts: Vec<&Value> = objects.iter().filter(|it| it.get("progress").is_some()).collect();
    assert!((1..=10).contains(&amounts.len()), "{amounts:?}");
    for amount in amounts {
        assert_eq!(
            (&amount["step"], &amount["progress"]["what"]),
            (&"fetch".into(), &"packages".into())
        );
        assert!(amount["progress"]["done"].is_u64() && amount["progress"]["total"].is_u64());
    }
}
