//! The stand-in gateway and the real one, call by call.
//!
//! Both go through one script, and what they answer (with ids, times, versions and ports taken
//! out) must equal the transcript in `snapshots/`. The stand-in is always compared; the real
//! gateway where the lab's cache has it, so that neither the stand-in nor our idea of the protocol
//! drifts. Owns the script and its small client; refuses to use the product's own client, which
//! is tested against the stand-in and must not vouch for it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::support::ports::free_port;
use crate::support::standin;

/// The version whose answers the transcript holds.
const VERSION: &str = "2026.9.6";
const SCHEMA: u64 = 18;
const TOKEN: &str = "contract-0123456789abcdef0123456789abcdef";
const MODEL: &str = "anthropic/claude-sonnet-5";
/// A real gateway on a busy machine needs most of this.
const START_LIMIT: Duration = Duration::from_secs(180);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const OWNER_SCOPES: [&str; 7] = [
    "operator.admin",
    "operator.approvals",
    "operator.pairing",
    "operator.questions",
    "operator.read",
    "operator.talk.secrets",
    "operator.write",
];
const PAGE_SCOPES: [&str; 4] =
    ["operator.admin", "operator.pairing", "operator.read", "operator.write"];

#[tokio::test]
async fn the_standin_answers_as_recorded() {
    let package = tempfile::tempdir().expect("a temporary directory");
    let lab =
        Lab::new(standin::binary(), standin::package(package.path(), VERSION, SCHEMA), |state| {
            std::fs::write(state.join("standin.json"), format!("{{schema: {}}}", SCHEMA + 1))
        });
    insta::assert_snapshot!("gateway_contract", lab.transcript().await);
}

#[tokio::test]
async fn the_real_gateway_answers_as_recorded() {
    let npm = lab_cache().join("npm").join(VERSION).join("node_modules");
    let (node, script) = (npm.join(".bin/node"), npm.join("openclaw/openclaw.mjs"));
    if !node.exists() || !script.exists() {
        let reason = format!("no OpenClaw {VERSION} in {}", npm.display());
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
        say(&format!("skipped: {reason}"));
        return;
    }
    let lab = Lab::new(node, script, |state| {
        let database = rusqlite::Connection::open(state.join("state/openclaw.sqlite"))
            .map_err(std::io::Error::other)?;
        let set = database.pragma_update(None, "user_version", SCHEMA.cast_signed() + 1);
        set.map_err(std::io::Error::other)
    });
    insta::assert_snapshot!("gateway_contract", lab.transcript().await);
}

/// A skipped test tells its user why.
#[allow(clippy::print_stderr)]
fn say(text: &str) {
    eprintln!("{text}");
}

fn lab_cache() -> PathBuf {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    set("OPENCLAW_PIPELINE_LAB").unwrap_or_else(|| {
        set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .unwrap_or_default()
            .join("openclaw-pipeline-lab")
    })
}

/// One installation with its state directory, and what is noted of it.
struct Lab {
    node: PathBuf,
    script: PathBuf,
    directory: tempfile::TempDir,
    port: u16,
    make_newer: fn(&Path) -> std::io::Result<()>,
}

impl Lab {
    fn new(node: PathBuf, script: PathBuf, make_newer: fn(&Path) -> std::io::Result<()>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let lab = Self { node, script, directory, port: free_port(), make_newer };
        std::fs::create_dir_all(lab.state()).expect("the state directory can be made");
        lab
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state-dir")
    }

    fn own_origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn write_config(&self, mode: Option<&str>, origins: &[&str]) {
        let mut config = json!({
            "gateway": {
                "mode": mode, "bind": "loopback", "port": self.port, "auth": {"mode": "token"},
                "controlUi": {"allowedOrigins": origins},
                "nodes": {"pairing": {"autoApproveLocal": false}},
            },
            "agents": {"defaults": {
                "heartbeat": {"every": "0m"}, "model": {"primary": MODEL},
                "workspace": self.directory.path().join("workspace"),
            }},
        });
        if mode.is_none() {
            config["gateway"].as_object_mut().expect("an object").shift_remove("mode");
        }
        let path = self.state().join("openclaw.json");
        let draft = path.with_extension("draft");
        std::fs::write(&draft, config.to_string()).expect("the configuration can be written");
        std::fs::rename(draft, path).expect("the configuration can be put in place");
    }

    /// The command line as the product writes it.
    fn command(&self, arguments: &[&str], key: bool) -> Command {
        let mut command = Command::new(&self.node);
        let bin = self.node.parent().unwrap_or(Path::new("/")).display().to_string();
        command
            .arg("--max-old-space-size=1536")
            .arg(&self.script)
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{bin}:/usr/bin:/bin"))
            .env("HOME", self.directory.path())
            .env("OPENCLAW_STATE_DIR", self.state())
            .env("OPENCLAW_CONFIG_PATH", self.state().join("openclaw.json"))
            .env("OPENCLAW_GATEWAY_TOKEN", TOKEN)
            .env("OPENCLAW_SUPERVISOR_MODE", "external")
            .env("OPENCLAW_NO_RESPAWN", "1")
            .env("OPENCLAW_NO_AUTO_UPDATE", "1")
            .stdin(Stdio::null());
        if key {
            command.env("ANTHROPIC_API_KEY", "sk-ant-contract");
        }
        command
    }

    /// Runs a command to its end.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::from(self.command(arguments, true));
        let output = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(START_LIMIT, output).await;
        output.expect("the command ends in time").expect("the command can be run")
    }

    async fn start(&self, key: bool) -> Gateway {
        let log = self.directory.path().join("gateway.log");
        let file = std::fs::File::create(&log).expect("the log can be made");
        let port = self.port.to_string();
        let child = self
            .command(&["gateway", "--port", &port], key)
            .stdout(file.try_clone().expect("the log's handle can be cloned"))
            .stderr(file)
            .spawn()
            .expect("the gateway can be run");
        let mut gateway = Gateway { child };
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let body = self.get("/startupz").await.map(|answer| answer.2).unwrap_or_default();
            if body.contains("\"started\"") {
                return gateway;
            }
            let over = gateway.child.try_wait().expect("the gateway can be waited for");
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(over.is_none(), "the gateway ended with {over:?}: {}", said());
            assert!(Instant::now() < deadline, "the gateway did not start: {}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One probe: status, content type, body.
    async fn get(&self, path: &str) -> Option<(String, String, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let port = self.port;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        // The length decides, not the end of the connection, which need not come.
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let header = |name: &str| {
                    let found = head.lines().find_map(|line| {
                        let (key, value) = line.split_once(": ")?;
                        key.eq_ignore_ascii_case(name).then(|| value.to_owned())
                    });
                    found.unwrap_or_default()
                };
                if body.len() >= header("content-length").parse().unwrap_or(usize::MAX) {
                    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    return Some((status, header("content-type"), body.to_owned()));
                }
            }
            if stream.read_buf(&mut answer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Goes through the whole script.
    async fn transcript(&self) -> String {
        let mut notes = Notes::default();
        self.refuses_without_mode(&mut notes).await;
        self.write_config(Some("local"), &[&self.own_origin()]);
        let mut gateway = self.start(true).await;
        self.probes(&mut notes).await;
        self.handshakes(&mut notes).await;
        self.calls(&mut notes, "with its key").await;
        self.pairing(&mut notes).await;
        self.origins_are_hot(&mut notes).await;
        self.owner_link(&mut notes).await;
        self.commands(&mut notes).await;
        self.stops(&mut notes, &mut gateway).await;
        let mut keyless = self.start(false).await;
        self.calls(&mut notes, "without a key").await;
        keyless.terminate().await;
        self.refuses_newer_state(&mut notes).await;
        notes.text
    }

    async fn refuses_without_mode(&self, notes: &mut Notes) {
        self.write_config(None, &[]);
        let port = self.port.to_string();
        let output = self.run(&["gateway", "--port", &port]).await;
        let said = said(&output);
        let message = said.lines().find(|line| line.starts_with("Gateway start blocked"));
        notes.add(
            "start without gateway.mode",
            &json!({"exit": output.status.code(), "message": message}),
        );
    }

    async fn probes(&self, notes: &mut Notes) {
        for path in ["/startupz", "/healthz", "/readyz", "/nothing-here"] {
            let (status, kind, body) = self.get(path).await.expect("the probe is answered");
            let shown = match serde_json::from_str::<Value>(&body) {
                Ok(body) => pick(&body, &["ok", "status", "version", "ready", "failing"]),
                Err(_) => json!(body.starts_with("<!doctype html>")),
            };
            notes.add(path, &json!({"status": status, "type": kind, "body": shown}));
        }
    }

    async fn handshakes(&self, notes: &mut Notes) {
        let own = self.own_origin();
        let backend = Login::backend();
        let page = Login::page(&own, None);
        let variants = [
            ("connect: backend", backend.clone()),
            ("connect: wrong token", Login { auth: json!({"token": "wrong"}), ..backend.clone() }),
            ("connect: no token", Login { auth: json!({}), ..backend.clone() }),
            ("connect: right origin", Login { origin: Some(own.clone()), ..backend.clone() }),
            (
                "connect: right origin, wrong token",
                Login {
                    origin: Some(own.clone()),
                    auth: json!({"token": "wrong"}),
                    ..backend.clone()
                },
            ),
            (
                "connect: wrong origin",
                Login { origin: Some("http://evil.example".to_owned()), ..backend.clone() },
            ),
            ("connect: page without device", page.clone()),
            ("connect: page without origin", Login { origin: None, ..page }),
            (
                "connect: command line",
                Login { client: client("cli", "cli", None), ..backend.clone() },
            ),
            (
                "connect: unknown client",
                Login { client: client("nobody", "backend", None), ..backend.clone() },
            ),
            ("connect: old protocol", Login { protocol: 3, ..backend.clone() }),
        ];
        for (label, login) in variants {
            let mut socket = Socket::open(self.port, login.origin.as_deref()).await;
            let answer = socket.login(&login).await;
            notes.login(label, &answer);
            if answer["ok"] == true {
                let listed = socket.call("device.pair.list", json!({})).await;
                let shown = pick(&listed, &["ok", "error"]);
                notes.add(&format!("{label}, then device.pair.list"), &shown);
            } else {
                notes.add(&format!("{label}, then"), &socket.closed().await);
            }
        }
        let mut socket = Socket::open(self.port, None).await;
        let answer = socket.call("health", json!({})).await;
        notes.add("first frame is not connect", &pick(&answer, &["ok", "error"]));
        notes.add("first frame is not connect, then", &socket.closed().await);
    }

    async fn calls(&self, notes: &mut Notes, label: &str) {
        let (mut socket, hello) = self.backend().await;
        let methods = strings(&hello["features"]["methods"]);
        let needed = ["device.pair.list", "device.pair.approve", "models.list", "health"];
        let listed = needed.iter().all(|name| methods.iter().any(|one| one == name));
        notes.add("hello lists what is needed", &json!(listed));
        notes.add("hello", &pick(&hello, &["type", "protocol"]));
        let models = socket.call("models.list", json!({})).await;
        let (provider, id) = MODEL.split_once('/').expect("provider/model");
        let model = models["payload"]["models"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["provider"] == provider && one["id"] == id));
        let shown = pick(model.unwrap_or(&Value::Null), &["id", "provider", "name", "available"]);
        notes.add(&format!("models.list {label}"), &shown);
        let idle = socket.until_safe().await;
        notes.add("gateway.restart.preflight", &idle);
        let health = socket.call("health", json!({})).await;
        notes.add("health", &pick(&health["payload"], &["ok", "channels", "defaultAgentId"]));
        for (method, params) in [
            ("no.such.method", json!({})),
            ("device.pair.approve", json!({})),
            ("device.pair.approve", json!({"requestId": "none"})),
            ("device.pair.reject", json!({"requestId": "none"})),
            ("device.pair.remove", json!({"deviceId": "none"})),
            ("connect", json!({})),
        ] {
            let answer = socket.call(method, params.clone()).await;
            notes.add(&format!("{method} {params}"), &pick(&answer, &["ok", "error"]));
        }
    }

    async fn backend(&self) -> (Socket, Value) {
        let mut socket = Socket::open(self.port, None).await;
        let answer = socket.login(&Login::backend()).await;
        assert_eq!(answer["ok"], true, "the backend client is let in: {answer}");
        (socket, answer["payload"].clone())
    }

    async fn pairing(&self, notes: &mut Notes) {
        let (mut owner, hello) = self.backend().await;
        let build = hello["server"]["buildId"].as_str();
        let key = SigningKey::from_bytes(&random());
        let login = Login {
            key: Some(key.clone()),
            scopes: PAGE_SCOPES.map(str::to_owned).to_vec(),
            ..Login::page(&self.own_origin(), build)
        };
        let mut page = Socket::open(self.port, login.origin.as_deref()).await;
        let asked = page.login(&login).await;
        notes.login("page asks", &asked);
        notes.add("page asks, then", &page.closed().await);
        let event = owner.event("device.pair.requested").await;
        notes.add("event", &event);
        let list = owner.call("device.pair.list", json!({})).await;
        notes.add("device.pair.list, one asks", &list["payload"]);
        let mut again = Socket::open(self.port, login.origin.as_deref()).await;
        let same = again.login(&login).await;
        let request = asked["error"]["details"]["requestId"].clone();
        assert!(request.is_string(), "the refusal names its request: {asked}");
        let kept = same["error"]["details"]["requestId"] == request;
        notes.add("page asks again: the request stays", &json!(kept));
        let fewer = Login { scopes: vec!["operator.read".to_owned()], ..login.clone() };
        let mut narrow = Socket::open(self.port, login.origin.as_deref()).await;
        let fewer = narrow.login(&fewer).await;
        let kept = fewer["error"]["details"]["requestId"] == request;
        notes.add("page asks for less: the request stays", &json!(kept));

        let mut weak = Socket::open(self.port, None).await;
        let scopes = vec!["operator.pairing".to_owned()];
        weak.login(&Login { scopes, ..Login::backend() }).await;
        let params = json!({"requestId": request});
        let refused = weak.call("device.pair.approve", params.clone()).await;
        notes.add("approved by one without admin", &pick(&refused, &["ok", "error"]));
        let approved = owner.call("device.pair.approve", params).await;
        notes.add("approved", &pick(&approved, &["ok", "error", "payload"]));
        notes.add("event", &owner.event("device.pair.resolved").await);

        let mut page = Socket::open(self.port, login.origin.as_deref()).await;
        let paired = page.login(&login).await;
        notes.login("page connects", &paired);
        let list = owner.call("device.pair.list", json!({})).await;
        notes.add("device.pair.list, one is connected", &list["payload"]);
        let device_token = paired["payload"]["auth"]["deviceToken"].clone();
        let own = Login { auth: json!({"deviceToken": device_token}), ..login.clone() };
        let mut by_token = Socket::open(self.port, login.origin.as_deref()).await;
        notes.login("page connects by its own token", &by_token.login(&own).await);
        let params = json!({"deviceId": fingerprint(&key)});
        let removed = owner.call("device.pair.remove", params).await;
        notes.add("removed", &pick(&removed, &["ok", "error", "payload"]));
        notes.add("removed, then the page", &page.closed().await);
        let list = owner.call("device.pair.list", json!({})).await;
        notes.add("device.pair.list, none", &list["payload"]);

        let other = Login { key: Some(SigningKey::from_bytes(&random())), ..login };
        let mut page = Socket::open(self.port, other.origin.as_deref()).await;
        page.login(&other).await;
        let event = owner.event("device.pair.requested").await;
        let params = json!({"requestId": event["requestId"]});
        let rejected = owner.call("device.pair.reject", params).await;
        notes.add("rejected", &pick(&rejected, &["ok", "error", "payload"]));
        notes.add("event", &owner.event("device.pair.resolved").await);
    }

    async fn origins_are_hot(&self, notes: &mut Notes) {
        let new = "https://new.example";
        let login = Login { origin: Some(new.to_owned()), ..Login::backend() };
        let before = Socket::open(self.port, Some(new)).await.login(&login).await;
        notes.login("a new origin, before", &before);
        let mut held = Socket::open(self.port, Some(&self.own_origin())).await;
        held.login(&Login { origin: Some(self.own_origin()), ..Login::backend() }).await;
        self.write_config(Some("local"), &[&self.own_origin(), new]);
        let deadline = Instant::now() + ANSWER_LIMIT;
        let after = loop {
            let answer = Socket::open(self.port, Some(new)).await.login(&login).await;
            if answer["ok"] == true || Instant::now() > deadline {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        notes.login("a new origin, after", &after);
        let alive = held.call("health", json!({})).await;
        notes.add("the old origin's connection", &pick(&alive, &["ok"]));
    }

    async fn owner_link(&self, notes: &mut Notes) {
        let output = self.run(&["dashboard", "--json"]).await;
        let link: Value = serde_json::from_slice(&output.stdout).expect("dashboard prints JSON");
        let keys: Vec<&String> = link.as_object().expect("an object").keys().collect();
        let url = link["browserUrl"].as_str().expect("the link has a browserUrl");
        let (page, fragment) = url.split_once('#').expect("the link has a fragment");
        let fields: Vec<(&str, &str)> =
            fragment.split('&').filter_map(|field| field.split_once('=')).collect();
        let names: Vec<&str> = fields.iter().map(|field| field.0).collect();
        notes.secret(&self.port.to_string(), "<port>");
        notes.add(
            "dashboard --json",
            &json!({
                "exit": output.status.code(), "keys": keys, "page": page, "fragment": names,
            }),
        );
        let token = fields.iter().find(|field| field.0 == "bootstrapToken").expect("a token").1;
        let (_, hello) = self.backend().await;
        let build = hello["server"]["buildId"].as_str();
        let login = |scopes: &[&str]| Login {
            key: Some(SigningKey::from_bytes(&random())),
            auth: json!({"bootstrapToken": token}),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            ..Login::page(&self.own_origin(), build)
        };
        for (label, scopes) in [
            ("owner link with fewer scopes", &PAGE_SCOPES[..]),
            ("owner link", &OWNER_SCOPES[..]),
            ("owner link again", &OWNER_SCOPES[..]),
        ] {
            let mut page = Socket::open(self.port, Some(&self.own_origin())).await;
            notes.login(label, &page.login(&login(scopes)).await);
        }
    }

    async fn commands(&self, notes: &mut Notes) {
        let output = self.run(&["devices", "list", "--json"]).await;
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let counts = ["pending", "paired"].map(|key| list[key].as_array().map(Vec::len));
        notes.add("devices list --json", &json!({"exit": output.status.code(), "counts": counts}));
        let output = self.run(&["config", "validate", "--json"]).await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let valid = &report["valid"];
        notes.add("config validate", &json!({"exit": output.status.code(), "valid": valid}));
        let backups = self.directory.path().join("backups");
        std::fs::create_dir_all(&backups).expect("a directory for backups");
        let output = backups.display().to_string();
        let output =
            self.run(&["backup", "create", "--verify", "--output", &output, "--json"]).await;
        let made: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let shown = pick(&made, &["verified", "dryRun", "onlyConfig"]);
        notes.add("backup create", &json!({"exit": output.status.code(), "report": shown}));
        let archive = made["archivePath"].as_str().unwrap_or_default();
        let target = self.directory.path().join("restored").display().to_string();
        for label in ["backup restore", "backup restore into a full directory"] {
            let output =
                self.run(&["backup", "restore", archive, "--target", &target, "--json"]).await;
            let back: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let inside = made.pointer("/assets/0/archivePath").and_then(Value::as_str);
            let config = Path::new(&target).join(inside.unwrap_or_default()).join("openclaw.json");
            notes.add(
                label,
                &json!({
                    "exit": output.status.code(), "ok": back["ok"], "error": back["error"]["type"],
                    "config is back": config.exists(),
                }),
            );
        }
    }

    async fn stops(&self, notes: &mut Notes, gateway: &mut Gateway) {
        let (mut socket, _) = self.backend().await;
        let status = gateway.terminate().await;
        notes.add("event", &socket.event("shutdown").await);
        notes.add("SIGTERM, then connections", &socket.closed().await);
        notes.add("SIGTERM, then the gateway", &json!({"exit": status.code()}));
    }

    async fn refuses_newer_state(&self, notes: &mut Notes) {
        (self.make_newer)(&self.state()).expect("the state can be made newer");
        let port = self.port.to_string();
        let fragment = format!("schema {}; this build supports {SCHEMA}", SCHEMA + 1);
        let start = self.run(&["gateway", "--port", &port]).await;
        let doctor = self.run(&["doctor", "--fix", "--yes", "--non-interactive"]).await;
        notes.add(
            "a newer state",
            &json!({
                "gateway exits": start.status.code(),
                "gateway says so": said(&start).contains(&fragment),
                "doctor exits": doctor.status.code(),
            }),
        );
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// A running gateway, killed when the test is done with it.
struct Gateway {
    child: Child,
}

impl Gateway {
    async fn terminate(&mut self) -> ExitStatus {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it can be told");
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway did not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one `connect` says.
#[derive(Clone)]
struct Login {
    client: Value,
    auth: Value,
    scopes: Vec<String>,
    origin: Option<String>,
    protocol: u32,
    key: Option<SigningKey>,
}

impl Login {
    fn backend() -> Self {
        Self {
            client: client("gateway-client", "backend", None),
            auth: json!({"token": TOKEN}),
            scopes: PAGE_SCOPES.map(str::to_owned).to_vec(),
            origin: None,
            protocol: 4,
            key: None,
        }
    }

    fn page(origin: &str, build: Option<&str>) -> Self {
        let client = client("openclaw-control-ui", "webchat", build);
        Self { client, origin: Some(origin.to_owned()), ..Self::backend() }
    }
}

fn client(id: &str, mode: &str, build: Option<&str>) -> Value {
    let mut client = json!({"id": id, "mode": mode, "version": "1.0.0", "platform": "Linux"});
    if let Some(build) = build {
        client["buildId"] = json!(build);
    }
    client
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

fn fingerprint(key: &SigningKey) -> String {
    let digest = sha2::Sha256::digest(key.verifying_key().as_bytes());
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One WebSocket connection.
struct Socket {
    stream: WebSocketStream<TcpStream>,
    challenge: Value,
    events: VecDeque<Value>,
    close: Option<Value>,
    calls: u32,
}

impl Socket {
    async fn open(port: u16, origin: Option<&str>) -> Self {
        let mut request =
            format!("ws://127.0.0.1:{port}/").into_client_request().expect("a request");
        if let Some(origin) = origin {
            let value = HeaderValue::from_str(origin).expect("an origin fits a header");
            request.headers_mut().insert("Origin", value);
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let tcp = TcpStream::connect(address).await.expect("the gateway listens");
        let (stream, _) = tokio_tungstenite::client_async(request, tcp).await.expect("a WebSocket");
        let (challenge, events, close) = (Value::Null, VecDeque::new(), None);
        let mut socket = Self { stream, challenge, events, close, calls: 0 };
        socket.challenge = socket.event("connect.challenge").await;
        socket
    }

    /// The next frame that is no event; `None` when the connection closed.
    async fn answer(&mut self, wanted: impl Fn(&Self) -> bool) -> Option<Value> {
        let deadline = tokio::time::Instant::now() + ANSWER_LIMIT;
        while !wanted(self) {
            let next = tokio::time::timeout_at(deadline, self.stream.next()).await;
            match next.expect("the gateway answers in time") {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(text.as_str()).expect("JSON");
                    if frame["type"] != "event" {
                        return Some(frame);
                    }
                    self.events.push_back(frame);
                }
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.map(|frame| {
                        json!({"code": u16::from(frame.code), "reason": frame.reason.as_str()})
                    });
                    self.close = frame;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
        None
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls.to_string();
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        self.stream.send(Message::text(frame.to_string())).await.expect("the frame is sent");
        loop {
            let answer = self.answer(|_| false).await.expect("an answer, not an end");
            if answer["id"] == id.as_str() {
                return answer;
            }
        }
    }

    async fn login(&mut self, login: &Login) -> Value {
        let mut params = json!({
            "minProtocol": login.protocol, "maxProtocol": login.protocol,
            "client": login.client, "role": "operator", "scopes": login.scopes,
            "caps": [], "auth": login.auth,
        });
        if let Some(key) = &login.key {
            params["device"] = self.device(login, key);
        }
        self.call("connect", params).await
    }

    /// The device's proof, by the third form of the payload (`buildDeviceAuthPayloadV3`).
    fn device(&self, login: &Login, key: &SigningKey) -> Value {
        let id = fingerprint(key);
        let credential = ["token", "deviceToken", "bootstrapToken"]
            .into_iter()
            .find_map(|name| login.auth[name].as_str())
            .unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let payload = [
            "v3",
            &id,
            &text(&login.client["id"]),
            &text(&login.client["mode"]),
            "operator",
            &login.scopes.join(","),
            &self.challenge["ts"].to_string(),
            credential,
            &text(&self.challenge["nonce"]),
            &text(&login.client["platform"]).to_lowercase(),
            "",
        ]
        .join("|");
        json!({
            "id": id,
            "publicKey": URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
            "signature": URL_SAFE_NO_PAD.encode(key.sign(payload.as_bytes()).to_bytes()),
            "signedAt": self.challenge["ts"], "nonce": self.challenge["nonce"],
        })
    }

    /// The payload of the next event of this name.
    async fn event(&mut self, name: &str) -> Value {
        let is = |event: &Value| event["event"] == name;
        let _ = self.answer(|socket| socket.events.iter().any(is)).await;
        let found = self.events.iter().position(is).expect("the event comes");
        self.events.remove(found).map(|event| event["payload"].clone()).unwrap_or_default()
    }

    /// How the connection closed.
    async fn closed(&mut self) -> Value {
        let _ = self.answer(|socket| socket.close.is_some()).await;
        self.close.clone().unwrap_or_default()
    }

    /// The preflight once it calls a restart safe: a real gateway works a while after its start.
    async fn until_safe(&mut self) -> Value {
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let answer = self.call("gateway.restart.preflight", json!({})).await;
            if answer["payload"]["safe"] == true || Instant::now() > deadline {
                return answer["payload"].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn strings(list: &Value) -> Vec<String> {
    let entries = list.as_array().into_iter().flatten();
    entries.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn pick(value: &Value, keys: &[&str]) -> Value {
    let found = keys.iter().filter_map(|key| Some(((*key).to_owned(), value.get(key)?.clone())));
    Value::Object(found.collect())
}

/// The transcript: one line per observation, what differs from run to run taken out.
#[derive(Default)]
struct Notes {
    text: String,
    secrets: Vec<(String, &'static str)>,
}

impl Notes {
    fn secret(&mut self, value: &str, name: &'static str) {
        self.secrets.push((value.to_owned(), name));
    }

    fn add(&mut self, label: &str, value: &Value) {
        let mut line = normal("", value).to_string();
        for (secret, name) in &self.secrets {
            line = line.replace(secret.as_str(), name);
        }
        let _ = writeln!(self.text, "{label}: {line}");
    }

    /// A `connect` with what the product reads of its answer.
    fn login(&mut self, label: &str, answer: &Value) {
        let mut auth = pick(
            &answer["payload"]["auth"],
            &["method", "role", "scopes", "deviceToken", "issuedAtMs"],
        );
        if answer["ok"] != true {
            auth = answer["error"].clone();
        }
        if let Some(request) = answer.pointer("/error/details/requestId").and_then(Value::as_str) {
            self.secret(request, "<requestId>");
        }
        self.add(label, &auth);
    }
}

/// A value without ids, times and versions, its keys in order.
fn normal(key: &str, value: &Value) -> Value {
    const VOLATILE: [&str; 8] = [
        "requestId",
        "deviceId",
        "publicKey",
        "deviceToken",
        "version",
        "ts",
        "gatewayBuildId",
        "nonce",
    ];
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|field| field.0);
            let fields = sorted.into_iter().map(|(key, value)| (key.clone(), normal(key, value)));
            Value::Object(fields.collect())
        }
        Value::Array(list) => list.iter().map(|value| normal("", value)).collect(),
        _ if VOLATILE.contains(&key) || key.ends_with("AtMs") => json!(format!("<{key}>")),
        // The close reason of a refused page ends with its request's id.
        Value::String(text) if key == "reason" => match text.split_once("(requestId: ") {
            Some((reason, _)) => json!(format!("{reason}(requestId: <requestId>)")),
            None => value.clone(),
        },
        other => other.clone(),
    }
}
