//! The working directory's `.env`, `config sync`, the checks, and the approval settings, as a user
//! gives them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ports::free_port;
use crate::support::product::{Product, send, until};

/// An `.env`'s value, without the quotes that it may have.
fn value(product: &Product, file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(product.work().join(file)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")))?;
    Some(line.trim_matches(['\'', '"']).to_owned())
}

#[test]
fn env_init_makes_a_private_file_and_keeps_one_that_is_there() {
    let mut product = Product::new();
    product.unset("OPENCLAW_GATEWAY_TOKEN");
    product.run(["env", "init"]).ok().answers(".env is made, with a new gateway token");
    let path = product.work().join(".env");
    let bits = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(bits & 0o777, 0o600);
    let made = fs::read_to_string(&path).expect("there");
    let token = value(&product, ".env", "OPENCLAW_GATEWAY_TOKEN").expect("a token");
    assert!(token.len() >= 32, "{token}");
    product.run(["env", "init"]).ok().answers(".env is there already and is kept");
    assert_eq!(product.json(["env", "init"])["made"], false);
    assert_eq!(fs::read_to_string(&path).expect("there"), made);
    // The next launch takes it.
    product.launch();
    assert!(product.run(["open"]).ok().stdout.contains('#'));
    let explained = product.run(["config", "explain"]).ok();
    explained.answers(".env line");
    assert!(!explained.stdout.contains(&token));
}

#[test]
fn env_reset_asks_and_loses_nothing() {
    let product = Product::new();
    // Nothing is there: there is nothing to ask about.
    product.run(["env", "reset"]).ok().answers(".env is made, with a new gateway token");
    let first = value(&product, ".env", "OPENCLAW_GATEWAY_TOKEN").expect("a token");
    let refused = product.run(["env", "reset"]).code(2);
    refused.says("there is no terminal to ask at").says("--yes").says(".env.old");
    assert_eq!(value(&product, ".env", "OPENCLAW_GATEWAY_TOKEN"), Some(first.clone()));
    let reset = product.run(["env", "reset", "--yes"]).ok();
    reset.answers("The old one is .env.old now.");
    assert_ne!(value(&product, ".env", "OPENCLAW_GATEWAY_TOKEN"), Some(first.clone()));
    assert_eq!(value(&product, ".env.old", "OPENCLAW_GATEWAY_TOKEN"), Some(first.clone()));
    assert_eq!(product.json(["env", "reset", "--yes"])["old"], ".env.old.1");
    assert_eq!(value(&product, ".env.old", "OPENCLAW_GATEWAY_TOKEN"), Some(first));
}

#[test]
fn env_clone_takes_what_has_a_variable_and_says_what_it_left() {
    let product = Product::new();
    product.run(["env", "clone"]).code(3).says("there is no openclaw.json");
    let config = product.work().join("openclaw.json");
    fs::write(&config, "{ not closed").expect("written");
    product.run(["env", "clone"]).code(2);
    assert!(!product.work().join(".env").exists());
    fs::write(
        &config,
        r#"{ gateway: { port: 19555 }, tools: { exec: { mode: "full" } },
             env: { vars: { OPENAI_API_KEY: "sk-s3cr3t-key", TELEGRAM_BOT_TOKEN: "1:s3cr3t" } } }"#,
    )
    .expect("written");
    let made = product.run(["env", "clone"]).ok();
    made.answers("taken      GATEWAY_PORT from gateway.port").answers("OPENAI_API_KEY");
    made.answers("not taken  env.vars.TELEGRAM_BOT_TOKEN: it is no setting of this program");
    assert!(!made.stdout.contains("s3cr3t"), "{}", made.stdout);
    assert_eq!(value(&product, ".env", "GATEWAY_PORT").as_deref(), Some("19555"));
    assert_eq!(value(&product, ".env", "EXEC_ASK").as_deref(), Some("off"));
    assert_eq!(value(&product, ".env", "OPENAI_API_KEY").as_deref(), Some("sk-s3cr3t-key"));
    product.run(["env", "clone"]).code(2).says("--yes");
    let again = product.json(["env", "clone", "--yes"]);
    assert_eq!((&again["old"], &again["new_token"]), (&".env.old".into(), &true.into()));
}

#[test]
fn env_remove_puts_it_away() {
    let product = Product::new();
    product.run(["env", "remove"]).ok().answers("There is no .env; nothing to remove");
    product.run(["env", "init"]).ok();
    product.run(["env", "remove"]).ok().answers(".env is .env.old now");
    assert!(!product.work().join(".env").exists() && product.work().join(".env.old").exists());
    assert_eq!(product.json(["env", "remove"])["old"], Value::Null);
}

#[test]
fn config_sync_puts_the_users_file_in_place_and_keeps_what_is_managed() {
    let product = Product::new();
    product.run(["config", "sync"]).code(3);
    product.launch();
    let path = product.state("main").join("openclaw.json");
    let own = product.work().join("openclaw.json");
    product.run(["config", "sync"]).code(3).says("there is no openclaw.json");
    fs::write(&own, "{ broken").expect("written");
    let before = fs::read_to_string(&path).expect("there");
    product.run(["config", "sync"]).code(2);
    assert_eq!(fs::read_to_string(&path).expect("there"), before, "nothing is touched");
    let gateway = product.gateway("main");
    fs::write(&own, r#"{ gateway: { port: 1 }, messages: { ackReaction: "ok" } }"#)
        .expect("written");
    product.run(["config", "sync"]).ok().answers("main is restarted");
    let text = fs::read_to_string(&path).expect("there");
    assert!(text.contains("ackReaction"), "{text}");
    assert!(text.contains(&format!("http://127.0.0.1:{}", product.port())), "{text}");
    assert!(!text.contains("\"port\": 1,"), "{text}");
    assert_ne!(product.gateway("main"), gateway, "it runs with it");
    product.assert_one_gateway("main");
    product.run(["stop"]).ok();
    product.run(["config", "sync"]).code(4).says("main is stopped");
}

#[test]
fn check_gateway_proves_it_now() {
    let product = Product::new();
    product.run(["check", "gateway"]).code(3);
    product.launch();
    let works = product.run(["check", "gateway"]).ok();
    works.answers("main works: OpenClaw 2026.9.6 at http://127.0.0.1:");
    assert_eq!(product.json(["check", "gateway"])["works"], true);
    product.run(["stop"]).ok();
    product.run(["check", "gateway"]).code(1).says("main does not run").says("start main");
}

#[test]
fn check_auth_and_model_say_what_the_gateway_can_use() {
    let product = Product::new();
    product.launch();
    let none = product.run(["check", "auth"]).code(1);
    none.says("main was handed no provider key").says("rotate main --keys");
    product.run(["rotate", "--keys"]).env("ANTHROPIC_API_KEY", "sk-ant-s3cr3t").ok();
    let auth = product.run(["check", "auth"]).ok();
    auth.answers("ANTHROPIC_API_KEY: arrived;").answers("models of anthropic can be used");
    let json = product.json(["check", "auth"]);
    assert_eq!(json["credentials"][0]["variable"], "ANTHROPIC_API_KEY");
    assert_eq!((&json["works"], &json["credentials"][0]["works"]), (&true.into(), &true.into()));
    assert!(!auth.stdout.contains("s3cr3t"));
    // Keys that are there at the launch choose the model.
    product.run(["destroy", "--yes"]).ok();
    product.run(["launch", "--target", "process"]).env("ANTHROPIC_API_KEY", "sk-ant-s3cr3t").ok();
    product.run(["check", "model"]).ok().answers("anthropic/claude-sonnet-5: available");
    product.fault("main", "{models_unavailable: true}");
    let before = product.gateway("main").expect("a gateway");
    send(before, Signal::KILL);
    until("it is started again", || product.gateway("main").filter(|pid| *pid != before));
    let model = product.run(["check", "model"]).code(1);
    model.answers("anthropic/claude-sonnet-5: not available").says("to do:");
    product.run(["check", "auth"]).code(1).answers("ANTHROPIC_API_KEY: does not work");
}

#[test]
fn the_approval_settings_reach_the_deployment() {
    let product = Product::new();
    let launch = |name: &str| {
        let port = free_port().to_string();
        product.run(["launch", name, "--target", "process", "--no-link"]).arg("--port").arg(&port)
    };
    let said = launch("short").arg("--approval-window=2m").arg("--approval-devices=1").ok();
    said.says("let up to 1 of your browsers in during the next 2 minutes");
    product.run(["doctor", "short"]).done().answers("its approval window is open for 1");
    product.run(["destroy", "short", "--yes"]).ok();

    let said = launch("none").env("SKIP_APPROVAL", "true").ok();
    assert!(!said.stderr.contains("of your browsers in during"), "{}", said.stderr);
    let steps = product.operation("none", "launch")["steps"].clone();
    let window = steps.as_array().expect("steps").last().expect("one").clone();
    assert_eq!((&window["name"], &window["status"]), (&json!("open_window"), &json!("skipped")));
    let doctor = product.run(["doctor", "none"]).done();
    assert!(!doctor.stdout.contains("approval window"), "{}", doctor.stdout);
    // A link still lets its owner in; what the policy is off for is everybody else.
    assert_eq!(product.json(["open", "none"])["kind"], "one_time");
}
