//! Launching what is there already: it comes back as it was, another version is refused, and what
//! of the settings has no effect is said.

use std::fs;

use openclaw_pipeline::exec::addresses::addresses;
use rustix::process::Signal;

use crate::support::ports::free_port;
use crate::support::product::{NEWEST, OLDER, Product, TOKEN, send, until};

/// Ends keeper and gateway as a reboot does.
fn reboot(product: &Product) {
    for pid in product.keepers().into_iter().chain(product.gateways()) {
        send(pid, Signal::KILL);
    }
    until("nothing runs", || product.processes().is_empty().then_some(()));
}

fn link(product: &Product) -> String {
    product.json(["open"])["url"].as_str().expect("a link").to_owned()
}

#[test]
fn what_was_launched_comes_back_as_it_was() {
    let product = Product::new();
    product.install(OLDER);
    let first = product.run(["launch", "--target", "process", "--version", OLDER.0]);
    let first = first.env("EXEC_ASK", "off").env("OPENCLAW_PIPELINE_MEMORY", "1536");
    first.env("OPENCLAW_PIPELINE_APPROVAL", "ask").ok();
    let config = || fs::read_to_string(product.state("main").join("openclaw.json")).expect("it");
    let before = config();
    reboot(&product);
    product.run(["launch"]).ok().answers("#bootstrapToken=");
    product.assert_one_gateway("main");
    assert_eq!(product.json(["status"])["version"], OLDER.0);
    assert_eq!(config(), before, "every setting is as it was");
    reboot(&product);
    product.run(["launch"]).env("OPENCLAW_PIPELINE_VERSION", OLDER.0).ok();

    reboot(&product);
    let refused = product.run(["launch", "--version", NEWEST.0]).code(4);
    refused.says("only an update makes a backup first").says("update main --version 2026.9.6");
    fs::write(product.work().join(".env"), "OPENCLAW_PIPELINE_VERSION=2026.9.6\n").expect("it");
    product.run(["launch"]).code(4).says(".env line 1").says("update");
    product.assert_nothing_runs();
    fs::remove_file(product.work().join(".env")).expect("removed");
    product.run(["launch"]).ok();
    product.run(["update"]).ok();
    reboot(&product);
    product.run(["launch"]).ok();
    assert_eq!(product.json(["status"])["version"], NEWEST.0);
}

#[test]
fn a_version_that_never_worked_can_be_replaced_by_a_launch() {
    let product = Product::new();
    product.install_faulty(OLDER, Some("{exit_code: 1}"));
    let first = product.run(["launch", "--target", "process", "--version", OLDER.0]).done();
    assert_ne!(first.code, 0, "{first:?}");
    product.run(["launch", "--version", NEWEST.0]).ok();
    assert_eq!(product.json(["status"])["version"], NEWEST.0);
}

#[test]
fn a_token_that_was_rotated_away_does_not_come_back() {
    let product = Product::new();
    product.launch();
    product.fault("main", "{no_owner_links: true}");
    product.run(["rotate"]).without("OPENCLAW_GATEWAY_TOKEN").ok();
    let rotated = link(&product);
    product.run(["stop"]).ok();
    let again = product.launch();
    again.says("OPENCLAW_GATEWAY_TOKEN (environment) is not the token of main");
    again.says("openclaw-pipeline rotate main");
    assert!(!again.stderr.contains(TOKEN), "{}", again.stderr);
    assert_eq!(link(&product), rotated, "the rotated one is in force");
}

#[test]
fn what_has_no_effect_on_a_gateway_that_runs_is_said_with_the_command() {
    let product = Product::new();
    product.launch();
    let quiet = product.launch();
    assert!(!quiet.stderr.contains("note:"), "{}", quiet.stderr);
    fs::write(product.work().join("openclaw.json"), "{ channels: {} }\n").expect("written");
    let again = product
        .run(["launch", "--heartbeat", "30m", "--env", "TELEGRAM_BOT_TOKEN=s3cr3t"])
        .env("ANTHROPIC_API_KEY", "sk-ant-s3cr3t")
        .env("OPENCLAW_PIPELINE_VERSION", OLDER.0)
        .env("GATEWAY_PORT", free_port().to_string())
        .env("OPENCLAW_GATEWAY_TOKEN", "another-s3cr3t-token")
        .ok();
    again.says("main runs already.");
    again.says("ANTHROPIC_API_KEY: ").says("openclaw-pipeline rotate main --keys");
    again.says("another TELEGRAM_BOT_TOKEN, GATEWAY_PORT, HEARTBEAT: ").says("stop main");
    again.says("openclaw-pipeline update main --version 2026.9.5");
    again.says("openclaw-pipeline config sync main");
    again.says("is not the token of main");
    assert!(!again.stderr.contains("s3cr3t"), "{}", again.stderr);
    product.assert_one_gateway("main");
}

#[test]
fn a_key_of_a_provider_that_needs_a_plugin_goes_with_a_model_named_outright() {
    let product = Product::new();
    let launch = product.run(["launch", "--target", "process", "--model", "groq/llama-3"]);
    launch.env("GROQ_API_KEY", "gsk-1").ok().says("GROQ_API_KEY has no effect");
    assert_eq!(product.json(["status"])["model"], "groq/llama-3");
}

#[test]
fn keys_are_taken_out_and_stopped_gateways_are_not_rotated() {
    let product = Product::new();
    let launch = product.run(["launch", "--target", "process", "--env", "CHANNEL=x"]);
    let launch = launch.env("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat-1");
    launch.env("ANTHROPIC_API_KEY", "sk-ant-1").ok().says("--drop CLAUDE_CODE_OAUTH_TOKEN");
    let environment = || {
        let pid = product.gateway("main").expect("a gateway");
        fs::read_to_string(format!("/proc/{pid}/environ")).expect("readable")
    };
    assert!(environment().contains("sk-ant-oat-1") && environment().contains("CHANNEL=x"));
    product.run(["rotate", "--drop", "XAI_API_KEY"]).code(3).says("has no XAI_API_KEY");
    let rotate = ["rotate", "--drop", "CLAUDE_CODE_OAUTH_TOKEN", "--drop", "CHANNEL"];
    let dropped = product.run(rotate).ok();
    dropped.answers("main: took out CLAUDE_CODE_OAUTH_TOKEN, CHANNEL");
    assert_eq!(product.json(["status"])["credentials"], serde_json::json!(["ANTHROPIC_API_KEY"]));
    assert!(!environment().contains("sk-ant-oat-1") && !environment().contains("CHANNEL=x"));
    assert!(environment().contains(TOKEN), "the token stays");
    let last = product.run(["rotate", "--drop", "ANTHROPIC_API_KEY"]).ok();
    last.says("keeps the model anthropic/");

    product.run(["stop"]).ok();
    let refused = product.run(["rotate"]).without("OPENCLAW_GATEWAY_TOKEN").code(4);
    refused.says("main is stopped").says("openclaw-pipeline start main");
    product.assert_nothing_runs();
}

#[test]
fn a_key_file_that_is_named_in_a_file_reaches_the_keeper() {
    let mut product = Product::new();
    product.unset("OPENCLAW_PIPELINE_KEY_FILE");
    let text = "OPENCLAW_PIPELINE_KEY_FILE=keys/own.key\n";
    fs::write(product.work().join(".env"), text).expect("written");
    product.launch();
    assert!(product.work().join("keys/own.key").exists());
    product.assert_one_gateway("main");
    product.run(["restart"]).ok();

    let mut product = Product::new();
    product.unset("OPENCLAW_PIPELINE_KEY_FILE");
    let config = product.path("user/.config/openclaw-pipeline");
    fs::create_dir_all(&config).expect("a directory");
    fs::write(config.join("config.env"), "OPENCLAW_PIPELINE_KEY_FILE=own.key\n").expect("it");
    product.launch();
    assert!(config.join("own.key").exists());
    product.assert_one_gateway("main");
}

#[test]
fn an_address_of_every_machine_is_allowed_for_and_told() {
    let product = Product::new();
    let before = addresses();
    let launch = product.run(["launch", "--target", "process", "--bind", "0.0.0.0"]).ok();
    let config = fs::read_to_string(product.state("main").join("openclaw.json")).expect("there");
    // Tests beside this one make networks of their own.
    let after = addresses();
    for address in before.iter().filter(|address| after.contains(address)) {
        let origin = format!("http://{address}:{}", product.port());
        assert!(config.contains(&format!("\"{origin}\"")), "{config}");
        launch.says(&format!("{origin}/"));
    }
    product.run(["destroy", "--yes"]).ok();
    for bind in ["::1", "127.0.0.2"] {
        let refused = product.run(["launch", "--target", "process", "--bind", bind]).code(2);
        refused.says("GATEWAY_BIND is").says("127.0.0.1");
    }
}

#[test]
fn a_broken_env_file_keeps_nobody_from_what_needs_nothing_of_it() {
    let product = Product::new();
    product.launch();
    let env = product.work().join(".env");
    fs::write(&env, "KEY=\"-----BEGIN\ns3cr3t\n").expect("written");
    for args in [&["status"][..], &["logs"], &["list"], &["devices"], &["restart"], &["stop"]] {
        let mut run = product.run([]);
        for arg in args {
            run = run.arg(arg);
        }
        let done = run.ok();
        done.says(".env: line 1").says("nothing of that file is used");
        assert!(!done.stderr.contains("s3cr3t"), "{}", done.stderr);
    }
    product.run(["doctor"]).code(1).answers(".env: line 1");
    product.run(["launch"]).code(2).says(".env: line 1");
    product.run(["config", "explain"]).code(2).says(".env: line 1");
    fs::write(&env, b"CAF=\xe9\n").expect("written");
    product.run(["status"]).ok().says("is not UTF-8 text");
    // What it seems to set is not guessed.
    fs::write(&env, "NAME=other\nKEY=\"-----BEGIN\n").expect("written");
    product.run(["destroy", "--yes"]).code(2).says(".env: line 2");
    product.run(["destroy", "main", "--yes"]).ok();
}

#[test]
fn another_database_is_refused_unseen() {
    let product = Product::new();
    let url = "postgres://user:s3cr3t@db.example/x";
    for args in [["launch", "--target=process"], ["list", "--json"]] {
        let refused = product.run(args).env("OPENCLAW_PIPELINE_DATABASE_URL", url).code(2);
        refused.says("OPENCLAW_PIPELINE_DATABASE_URL is sqlite:");
        assert!(!refused.stderr.contains("s3cr3t") && !refused.stdout.contains("s3cr3t"));
    }
    product.run(["list"]).env("OPENCLAW_PIPELINE_DATABASE_URL", "sqlite:").ok();
}
