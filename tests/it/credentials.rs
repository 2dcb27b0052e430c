//! Every provider credential of the contract, from the environment of a real `launch` to the
//! header of a request that the real gateway sends.
//!
//! One gateway, whose providers are a stub on loopback through the user's own `openclaw.json`;
//! it is launched with every key but the Claude Code token, and gets that one by `rotate --keys`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use openclaw_pipeline::domain::Provider;
use openclaw_pipeline::domain::credential::CREDENTIALS;
use openclaw_pipeline::gateway::{ConnectOptions, Dial, GatewayClient, TcpDial};
use openclaw_pipeline::secrets::Secret;
use openclaw_pipeline::targets::process::{RunRecord, RunState};
use serde_json::{Value, json};

use crate::support::lab::{CURRENT, Lab, Part};
use crate::support::ports::free_port;
use crate::support::real::{Real, TOKEN};
use crate::support::stub_provider::{ANSWER, Received, StubProvider};

const NAME: &str = "keys";
/// How long a turn may take; the first one loads the agent.
const TURN: Duration = Duration::from_secs(120);
/// How long messages are sent before they count as not arriving.
const ARRIVING: Duration = Duration::from_secs(300);

/// A provider as the stub plays it: its API, and where that lies below its base address.
struct Played {
    provider: Provider,
    api: &'static str,
    base: &'static str,
    path: &'static str,
}

const PLAYED: [Played; 5] = [
    Played {
        provider: Provider::Anthropic,
        api: "anthropic-messages",
        base: "anthropic",
        path: "/anthropic/v1/messages",
    },
    Played {
        provider: Provider::Google,
        api: "google-generative-ai",
        base: "google/v1beta",
        path: "/google/v1beta/models/gemini-3.5-flash:streamGenerateContent",
    },
    Played {
        provider: Provider::OpenAi,
        api: "openai-responses",
        base: "openai/v1",
        path: "/openai/v1/responses",
    },
    Played {
        provider: Provider::Xai,
        api: "openai-responses",
        base: "xai/v1",
        path: "/xai/v1/responses",
    },
    Played {
        provider: Provider::OpenRouter,
        api: "openai-completions",
        base: "openrouter/api/v1",
        path: "/openrouter/api/v1/chat/completions",
    },
];

/// The key that the tests give for a variable.
fn key(variable: &str) -> String {
    let prefix = if variable == "CLAUDE_CODE_OAUTH_TOKEN" { "sk-ant-oat01" } else { "sk-test" };
    format!("{prefix}-{}", variable.to_lowercase().replace('_', "-"))
}

/// The user's `openclaw.json`: every provider is the stub.
fn users_config(stub: &StubProvider) -> String {
    let providers: BTreeMap<&str, Value> = PLAYED
        .iter()
        .map(|played| {
            let config = json!({ "baseUrl": stub.url(played.base), "api": played.api });
            (played.provider.id(), config)
        })
        .collect();
    let allow: Vec<String> =
        PLAYED.iter().map(|played| format!("{}/*", played.provider.id())).collect();
    json!({
        "models": { "providers": providers },
        "agents": { "defaults": { "modelPolicy": { "allow": allow } } },
        "memory": { "search": { "enabled": false } },
        // With an OpenRouter key the gateway would look for a plugin on the npm registry.
        "tools": { "web": { "search": { "enabled": false } } },
    })
    .to_string()
}

/// The environment of the gateway's own process.
fn environment(real: &Real) -> BTreeMap<String, String> {
    let dir = real.data().join("deployments").join(NAME);
    let record = RunRecord::read(&dir).expect("the record").expect("a record");
    let RunState::Running { gateway } = record.state else { panic!("{record:?}") };
    let bytes = fs::read(format!("/proc/{}/environ", gateway.pid)).expect("its environment");
    String::from_utf8_lossy(&bytes)
        .split('\0')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

async fn connected(real: &Real) -> GatewayClient {
    let status = real.json(&["status", NAME]);
    let address = status["url"].as_str().expect("an address");
    let host = address.trim_start_matches("http://").trim_end_matches('/');
    let dial = TcpDial::new(host.parse().expect("an address and a port"));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let options = ConnectOptions::new(Secret::new(TOKEN.to_owned()), host, deadline).scopes(&[
        "operator.admin",
        "operator.read",
        "operator.write",
    ]);
    let stream = dial.dial().await.expect("the gateway listens");
    GatewayClient::connect(stream, &options).await.expect("the gateway takes its token")
}

/// Sends a message through the gateway; answers the request that arrived for it at the stub.
async fn sent(
    gateway: &GatewayClient,
    stub: &StubProvider,
    played: &Played,
    round: &str,
) -> Received {
    let (provider, model) = played.provider.default_model().split_once('/').expect("two parts");
    // OpenRouter's own ids begin with its name.
    let model = if provider == "openrouter" { "openrouter/auto" } else { model };
    let (begun, mut attempts) = (Instant::now(), 0);
    let (ended, received) = loop {
        attempts += 1;
        let run = format!("{round}-{provider}-{attempts}");
        stub.take();
        let accepted = gateway
            .request(
                "agent",
                json!({
                    "message": "hi", "sessionKey": format!("agent:main:{run}"),
                    "idempotencyKey": run, "provider": provider, "model": model, "deliver": false,
                }),
                TURN,
            )
            .await
            .expect(provider);
        let wait = json!({ "runId": accepted["runId"], "timeoutMs": 100_000 });
        let ended = gateway.request("agent.wait", wait, TURN).await.expect(provider);
        // On busy cores the gateway gives a turn up now and then, and asks a provider of its own
        // choice, which no test reaches.
        if ended["status"] == "ok" || begun.elapsed() > ARRIVING {
            break (ended, stub.take());
        }
    };
    assert_eq!(ended["status"], "ok", "{provider}: {ended}, {received:#?}");
    assert_eq!(ended["terminalReply"]["text"], ANSWER, "{provider}: {ended}");
    let mut of_it = received.iter().filter(|one| {
        one.path.split('?').next() == Some(played.path)
            && one.model.as_deref().is_none_or(|named| named == model)
    });
    let found = of_it.next().unwrap_or_else(|| panic!("{provider}: {received:#?}")).clone();
    assert_eq!(found.method, "POST");
    found
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The line that says that a key has no effect.
fn without_effect<'a>(said: &'a str, variable: &str) -> Option<&'a str> {
    said.lines().find(|line| line.contains(&format!("{variable} has no effect")))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_credential_arrives_at_its_provider_or_is_said_to_have_no_effect() {
    let Some(lab) = Lab::require(Part::Npm(CURRENT)) else { return };
    let stub = StubProvider::start();
    let real = Real::new(&lab);
    fs::write(real.work().join("openclaw.json"), users_config(&stub)).expect("a file");

    let mut launch =
        real.command(&["launch", NAME, "--target", "process", "--no-link", "--approval", "off"]);
    for credential in CREDENTIALS.iter().filter(|one| one.variable != "CLAUDE_CODE_OAUTH_TOKEN") {
        launch.env(credential.variable, key(credential.variable));
    }
    let told = said(&launch.output().expect("the product runs"));
    for (variable, plugin) in
        [("GROQ_API_KEY", "groq-provider"), ("MISTRAL_API_KEY", "mistral-provider")]
    {
        let line = without_effect(&told, variable).unwrap_or_else(|| panic!("{told}"));
        assert!(line.contains(&format!("plugins install @openclaw/{plugin}")), "{line}");
    }
    assert_eq!(told.matches("has no effect").count(), 2, "{told}");
    let environment_then = environment(&real);
    for credential in CREDENTIALS {
        let withheld = credential.provider.plugin().is_some()
            || credential.variable == "CLAUDE_CODE_OAUTH_TOKEN";
        let given = environment_then.get(credential.gateway_variable);
        assert_eq!(given.is_none(), withheld, "{}", credential.variable);
    }
    let values: Vec<&String> = environment_then.values().collect();
    for variable in ["GROQ_API_KEY", "MISTRAL_API_KEY"] {
        assert!(!values.contains(&&key(variable)), "{variable} under another name");
    }

    let gateway = connected(&real).await;
    for played in &PLAYED {
        let received = sent(&gateway, &stub, played, "launched").await;
        let (header, value) = match played.provider {
            Provider::Anthropic => ("x-api-key", key("ANTHROPIC_API_KEY")),
            Provider::Google => ("x-goog-api-key", key("GEMINI_API_KEY")),
            Provider::OpenAi => ("authorization", format!("Bearer {}", key("OPENAI_API_KEY"))),
            Provider::Xai => ("authorization", format!("Bearer {}", key("XAI_API_KEY"))),
            _ => ("authorization", format!("Bearer {}", key("OPENROUTER_API_KEY"))),
        };
        assert_eq!(received.header(header), Some(value.as_str()), "{received:#?}");
    }
    gateway.close().await;

    let mut rotate = real.command(&["rotate", NAME, "--keys"]);
    rotate
        .env_remove("ANTHROPIC_API_KEY")
        .env("CLAUDE_CODE_OAUTH_TOKEN", key("CLAUDE_CODE_OAUTH_TOKEN"))
        .env("GEMINI_API_KEY", "sk-test-another-one");
    let told = said(&rotate.output().expect("the product runs"));
    let line = without_effect(&told, "ANTHROPIC_API_KEY").unwrap_or_else(|| panic!("{told}"));
    assert!(line.contains("CLAUDE_CODE_OAUTH_TOKEN"), "{line}");

    // Both of Anthropic's are there now: the token is what is sent, and the key is not.
    let gateway = connected(&real).await;
    let received = sent(&gateway, &stub, &PLAYED[0], "rotated").await;
    let bearer = format!("Bearer {}", key("CLAUDE_CODE_OAUTH_TOKEN"));
    assert_eq!(received.header("authorization"), Some(bearer.as_str()), "{received:#?}");
    assert_eq!(received.header("x-api-key"), None, "{received:#?}");
    let received = sent(&gateway, &stub, &PLAYED[1], "rotated").await;
    assert_eq!(received.header("x-goog-api-key"), Some("sk-test-another-one"), "{received:#?}");
    gateway.close().await;
}

#[test]
fn a_model_of_the_users_own_provider_is_proven_before_it_is_said_to_work() {
    let Some(lab) = Lab::require(Part::Npm(CURRENT)) else { return };
    let real = Real::new(&lab);
    let config = |model: &str| {
        let models = json!([{ "id": "m", "name": "M", "contextWindow": 32768, "maxTokens": 4096 }]);
        json!({
            "models": { "providers": { "mine": {
                "baseUrl": "http://127.0.0.1:9/v1", "api": "openai-completions", "apiKey": "k",
                "models": models,
            } } },
            "agents": { "defaults": { "model": model } },
        })
        .to_string()
    };
    let launch = |name: &str, model: &str| {
        fs::write(real.work().join("openclaw.json"), config(model)).expect("a file");
        let args = ["launch", name, "--target", "process", "--no-link", "--approval", "off"];
        let mut launch = real.command(&args);
        launch.env_remove("ANTHROPIC_API_KEY").env("GATEWAY_PORT", free_port().to_string());
        launch.output().expect("the product runs")
    };
    let works = launch("works", "mine/m");
    assert!(works.status.success(), "{}", said(&works));
    real.ok(&["destroy", "works", "--yes"]);
    let unknown = launch("unknown", "mine/not-there");
    let failed = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(1), "{failed}");
    assert!(failed.contains("the gateway does not know the model mine/not-there"), "{failed}");
}
