//! The configuration that the product writes, judged by the real `openclaw config validate` of
//! every version that it is rendered for.
//!
//! 2026.7.1 is older than what can be launched; it is here because it knows fewer keys than the
//! later ones, so that rendering by version is seen to matter.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use openclaw_pipeline::domain::{ExecAsk, OpenClawVersion};
use openclaw_pipeline::targets::ManagedConfig;
use openclaw_pipeline::targets::rendering::{Bind, merge};
use serde_json::Value;

use crate::support::lab::{self, Lab, Part};
use crate::support::real::Real;

/// A configuration as a user keeps it: JSON5, in every part that is managed too, with settings
/// that cannot stand beside the managed ones.
const RICH: &str = r#"
// my gateway
{
  env: { vars: { TZ: "Europe/Vienna" } },
  gateway: {
    mode: "remote", port: 1234, bind: "custom", customBindHost: "10.1.2.3",
    auth: { mode: "password", password: "hunter2", token: "t", rateLimit: { maxAttempts: 10 } },
    controlUi: { allowedOrigins: ["https://claw.example"], basePath: "/claw" },
    trustedProxies: ["10.0.0.1"],
    nodes: {},
  },
  channels: {
    telegram: {
      enabled: true, botToken: "1:a", dmPolicy: "allowlist", allowFrom: ["123456789"],
      groups: { "*": { requireMention: true } },
    },
    whatsapp: { allowFrom: ["+15555550123"] },
    discord: { enabled: true, token: "x", allowFrom: ["123456789012345678"] },
  },
  session: { dmScope: "per-channel-peer", maintenance: { maxDiskBytes: "500mb" } },
  messages: { ackReaction: "👀", groupChat: { mentionPatterns: ["@openclaw"] } },
  agents: { defaults: {
    model: { primary: "openai/gpt-5.5", fallbacks: ["google/gemini-3.5-flash"] },
    heartbeat: { every: "15m", target: "last" },
    timeoutSeconds: 600, userTimezone: "Europe/Vienna",
  } },
  models: { providers: { local: {
    baseUrl: "http://127.0.0.1:11434/v1", api: "openai-completions", apiKey: "k",
    models: [{ id: "m", name: "M", contextWindow: 32768, maxTokens: 4096, input: ["text"] }],
  } } },
  tools: {
    exec: { security: "full", ask: "off" },
    web: { search: { enabled: false } },
    deny: ["browser"],
  },
  plugins: { entries: { "memory-core": {
    enabled: true, config: { dreaming: { enabled: true, frequency: "0 3 * * *" } },
  } } },
  skills: { load: { watch: false } },
  cron: { enabled: true },
  hooks: { enabled: true, token: "hook-secret", path: "/hooks" },
  logging: { level: "info" },
  update: { channel: "beta", auto: { enabled: true } },
  discovery: { mdns: { mode: "minimal" } },
  browser: { enabled: false },
}
"#;

/// What is rendered: together, every value of every choice, with and without a user's file.
fn renderings(
    version: Option<OpenClawVersion>,
) -> Vec<(&'static str, &'static str, ManagedConfig)> {
    let base = ManagedConfig {
        version,
        port: 18789,
        bind: Bind::Loopback,
        origins: vec!["http://127.0.0.1:18789".into(), "http://localhost:18789".into()],
        proxies: vec!["192.168.213.2".into(), "10.42.0.0/16".into()],
        stale_proxies: Vec::new(),
        stale_origins: Vec::new(),
        model: None,
        model_is_chosen: true,
        last_model: None,
        exec_ask: ExecAsk::On,
        heartbeat: "0m".into(),
        workspace: "/srv/workspace".into(),
        log: None,
        users_file: false,
    };
    let model = Some("anthropic/claude-sonnet-5".to_owned());
    let log = Some("/srv/tmp/openclaw.log".to_owned());
    let custom = Bind::Custom(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)));
    vec![
        ("nothing of the user's, all defaults", "", base.clone()),
        (
            "nothing of the user's, one address, no questions",
            "",
            ManagedConfig {
                bind: custom.clone(),
                exec_ask: ExecAsk::Off,
                model: model.clone(),
                log: log.clone(),
                ..base.clone()
            },
        ),
        (
            "a user's, everywhere, no questions, a heartbeat",
            RICH,
            ManagedConfig {
                bind: Bind::Lan,
                exec_ask: ExecAsk::Off,
                heartbeat: "30m".into(),
                model,
                ..base.clone()
            },
        ),
        (
            "a user's on loopback, with a heartbeat and the user's model",
            RICH,
            ManagedConfig { heartbeat: "30m".into(), log, ..base.clone() },
        ),
        ("a user's on one address", RICH, ManagedConfig { bind: custom, ..base }),
    ]
}

/// What `openclaw config validate --json` says of a configuration.
fn judged(lab: &Lab, version: &str, config: &str) -> Value {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("openclaw.json");
    std::fs::write(&path, config).expect("write the configuration");
    let output = Command::new(lab.node())
        .arg(lab.npm(version).join("node_modules/openclaw/openclaw.mjs"))
        .args(["config", "validate", "--json"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", dir.path())
        .env("OPENCLAW_STATE_DIR", dir.path().join("state"))
        .env("OPENCLAW_CONFIG_PATH", &path)
        .current_dir(Path::new("/"))
        .output()
        .expect("run openclaw");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let answer: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| {
        panic!("{version}: {error}: {stdout}{}", String::from_utf8_lossy(&output.stderr))
    });
    assert_eq!(answer["valid"] == true, output.status.success(), "{version}: {answer}");
    answer
}

fn rendered(current: &str, managed: &ManagedConfig) -> String {
    merge(current, managed).expect("merges").text.expect("there is something to write")
}

/// Every rendering for a version passes, and what is wrong does not.
fn judge(version: &str) {
    let Some(lab) = Lab::require(Part::Npm(version)) else { return };
    let parsed = OpenClawVersion::parse(version);
    assert!(parsed.is_some(), "{version}");
    for (what, current, managed) in renderings(parsed) {
        let text = rendered(current, &managed);
        let answer = judged(&lab, version, &text);
        assert_eq!(answer["valid"], true, "{version}, {what}: {answer}\n{text}");
    }

    let managed = renderings(parsed).remove(0).2;
    let wrong = rendered(r"{ gateway: { nonsense: true } }", &managed);
    let answer = judged(&lab, version, &wrong);
    assert_eq!(answer["valid"], false, "{version} takes anything: {answer}");
    assert_eq!(answer["issues"][0]["path"], "gateway", "{answer}");
}

#[test]
fn openclaw_2026_9_6_accepts_what_is_rendered_for_it() {
    judge(lab::CURRENT);
}

#[test]
fn openclaw_2026_9_5_accepts_what_is_rendered_for_it() {
    judge(lab::PREVIOUS);
}

#[test]
fn openclaw_2026_8_1_accepts_what_is_rendered_for_it() {
    judge("2026.8.1");
}

#[test]
fn openclaw_2026_7_1_accepts_what_is_rendered_for_it_and_not_for_a_newer_one() {
    judge("2026.7.1");
    let Some(lab) = Lab::require(Part::Npm("2026.7.1")) else { return };
    let newer = rendered("", &renderings(None).remove(0).2);
    let answer = judged(&lab, "2026.7.1", &newer);
    assert_eq!(answer["valid"], false, "rendering by version is not needed any more: {answer}");
}

#[test]
fn a_launch_of_a_version_that_is_too_old_fails_before_anything_is_fetched() {
    let Some(lab) = Lab::require(Part::Npm(lab::CURRENT)) else { return };
    let real = Real::new(&lab);
    let output =
        real.run(&["launch", "old", "--target", "process", "--version", "2026.7.1", "--no-link"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("OpenClaw 2026.7.1 is too old"), "{said}");
    assert!(said.contains("choose 2026.8.1 or newer"), "{said}");
    assert!(!real.data().join("runtime/openclaw-2026.7.1").exists(), "it was installed");
    assert!(!real.data().join("deployments/old/run.json").exists(), "it was started");
}
