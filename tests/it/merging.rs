//! What a pod does by scripts of its own (`k8s/configmap.yaml`) is what is done elsewhere: its merge of a
//! gateway's configuration is the program's, held to one corpus; its loop is the compose file's; and a probe
//! of its own believes what the gateway says, not that it answers.
//!
//! The merge is run as it is shipped, but for where its files are.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use openclaw_pipeline::domain::ExecAsk;
use openclaw_pipeline::targets::rendering::{Bind, ManagedConfig, parse, place};
use serde_json::{Value, json};

use crate::support::lab::{CURRENT, Lab, Part};
use crate::support::role::objects;

/// What may lie in place, or be the user's own.
const CORPUS: &[&str] = &[
    "",
    "{}",
    "  // nothing but a comment\n{ }\n",
    "{ ui: { seamColor: '#112233' }, gateway: { port: 1, trustedProxies: ['10.9.0.0/16', '10.0.0.9'] } }",
    "{ gateway: { bind: 'custom', customBindHost: '10.0.0.1', controlUi: { allowedOrigins: \
     ['https://mine', 'http://old.example:18789', 'http://127.0.0.1:18789'] } } }",
    "{ gateway: { controlUi: { allowedOrigins: 'none', other: 1 }, trustedProxies: {} } }",
    "{ gateway: 'odd', agents: [1, 2], tools: null }",
    "{ agents: { defaults: { model: 'openai/gpt-5.5', thinking: 'high' } } }",
    "{ agents: { defaults: { model: { primary: 'openai/gpt-5.5', fallbacks: ['a/b'] } } } }",
    "{ agents: { defaults: { model: { primary: 'anthropic/last' } } } }",
    "{ agents: { defaults: { model: { primary: '' } } } }",
    "{ plugins: { entries: { telegram: { enabled: true }, slack: { enabled: false }, odd: 1, \
     'memory-core': { config: { dreaming: { enabled: true, deep: [1] } } } } } }",
    "{ gateway: { auth: { mode: 'password', password: 'x', token: 'y' }, remote: { url: 'z' } } }",
    "{ session: { maintenance: { maxDiskBytes: 1, mode: 'warn' } }, logging: { level: 'debug' } }",
    "{ 'a.b': { 'c.d': 1 }, \"quo\\\"ted\": '\\u00e4', n: 1e3, big: 12345678901234567890, h: 0xff }",
    "{ list: [ { a: [] }, null, true, -0.5, ], tools: { exec: { mode: 'full', ask: 'always' } } }",
];

/// What cannot be read, of which nothing may become of either.
const UNREADABLE: &[&str] = &["{ broken", "[1]", "'text'", "42", "{ a: 1 } { b: 2 }"];

fn managed() -> ManagedConfig {
    ManagedConfig {
        version: None,
        port: 18789,
        bind: Bind::Lan,
        origins: vec!["http://new.example:18789".into(), "http://127.0.0.1:18789".into()],
        stale_origins: vec!["http://old.example:18789".into()],
        proxies: Vec::new(),
        stale_proxies: vec!["10.9.0.0/16".into()],
        model: Some("anthropic/claude-sonnet-5".into()),
        model_is_chosen: false,
        last_model: Some("anthropic/last".into()),
        exec_ask: ExecAsk::On,
        heartbeat: "0m".into(),
        workspace: "/home/node/openclaw/workspace".into(),
        log: None,
        users_file: false,
    }
}

fn variants() -> Vec<ManagedConfig> {
    let chosen = ManagedConfig { model_is_chosen: true, ..managed() };
    let bare = ManagedConfig {
        model: None,
        last_model: None,
        exec_ask: ExecAsk::Off,
        heartbeat: "30m".into(),
        proxies: vec!["10.8.0.0/16".into(), "10.0.0.9".into()],
        stale_origins: Vec::new(),
        ..managed()
    };
    vec![managed(), chosen, bare]
}

#[test]
fn what_is_managed_by_hand_is_what_the_program_manages() {
    let map = objects("k8s/configmap.yaml").remove(0);
    let text = map["data"]["managed.json"].as_str().expect("the managed keys");
    let by_hand: Value = serde_json::from_str(text).expect("JSON");
    let local = ["127.0.0.1", "localhost"].map(|it| format!("http://{it}:18789"));
    let mut program = ManagedConfig {
        origins: local.into(),
        stale_origins: Vec::new(),
        stale_proxies: Vec::new(),
        last_model: None,
        ..managed()
    }
    .instructions("");
    // There is no tunnel to it that could have been closed, and no file of the user's beside it.
    program["lists"]["gateway.trustedProxies"]["remove"] = json!([]);
    program.as_object_mut().expect("an object").remove("from_users");
    assert_eq!(by_hand, program);
}

/// A pod's files, and the script that merges them.
struct Pod {
    root: tempfile::TempDir,
    lab: Lab,
    script: String,
}

impl Pod {
    fn new(lab: Lab) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let maps = objects("k8s/configmap.yaml");
        let mut script = maps[0]["data"]["configure.mjs"].as_str().expect("the script").to_owned();
        let app = lab.npm(CURRENT);
        for (from, to) in [
            ("/volumes/", root.path().join("volumes/")),
            ("/etc/openclaw-file/", root.path().join("file/")),
            ("/etc/openclaw/", root.path().join("etc/")),
            ("/dev/termination-log", root.path().join("said")),
            ("/app/", app.join("")),
        ] {
            assert!(script.contains(from), "{from} is not in it");
            script = script.replace(from, &to.to_string_lossy());
        }
        for directory in ["etc", "file"] {
            fs::create_dir(root.path().join(directory)).expect("made");
        }
        Self { root, lab, script }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    /// What lies in place after the merge, and what the script says of it.
    fn merges(
        &self,
        in_place: Option<&str>,
        users: Option<&str>,
        managed: &ManagedConfig,
    ) -> Result<(String, Value), Value> {
        let _ = fs::remove_dir_all(self.at("volumes"));
        let file = self.at("volumes/config/state/openclaw.json");
        fs::create_dir_all(file.parent().expect("a parent")).expect("made");
        let put = |path: &Path, text: Option<&str>| match text {
            Some(text) => fs::write(path, text).expect("written"),
            None => drop(fs::remove_file(path)),
        };
        put(&file, in_place);
        put(&self.at("file/openclaw.json"), users);
        let instructions = managed.instructions("an occasion").to_string();
        put(&self.at("etc/managed.json"), Some(&instructions));
        let output = Command::new(self.lab.node())
            .args(["--input-type=module", "--eval", &self.script])
            .env("OPENCLAW_GATEWAY_TOKEN", "a-token-of-sixteen-characters")
            .output()
            .expect("node runs");
        let said = fs::read_to_string(self.at("said")).expect("it says something");
        let said = serde_json::from_str(&said).expect("JSON");
        if !output.status.success() {
            return Err(said);
        }
        Ok((fs::read_to_string(file).expect("a configuration"), said))
    }
}

/// The keys of it.
const BOUND: [&str; 2] = ["maxDiskBytes", "mode"];

/// How much is kept of the sessions is a volume's matter, and the pod's alone.
fn without_bound(text: &str, had: bool) -> Value {
    let mut tree: Value = serde_json::from_str(text).expect("JSON");
    let maintenance = tree.pointer_mut("/session/maintenance").expect("a bound");
    assert_eq!(maintenance["maxDiskBytes"], json!(512 << 20));
    assert_eq!(maintenance["mode"], "enforce", "it only tells of more than that otherwise");
    let maintenance = maintenance.as_object_mut().expect("an object");
    maintenance.retain(|key, _| !BOUND.contains(&key.as_str()));
    if !had {
        let is_empty = |it: &Value| it.as_object().is_some_and(serde_json::Map::is_empty);
        if is_empty(&tree["session"]["maintenance"]) {
            tree["session"].as_object_mut().expect("an object").remove("maintenance");
        }
        if is_empty(&tree["session"]) {
            tree.as_object_mut().expect("an object").remove("session");
        }
    }
    tree
}

/// As the gateway reads it, to which every number is one of floating point.
fn as_read(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(all) => all.into_iter().map(as_read).collect(),
        Value::Object(all) => all.into_iter().map(|(key, it)| (key, as_read(it))).collect(),
        other => other,
    }
}

#[test]
fn what_a_pod_merges_is_what_the_program_merges() {
    let Some(lab) = Lab::require(Part::Npm(CURRENT)) else { return };
    let pod = Pod::new(lab);
    for managed in variants() {
        for text in CORPUS {
            for (in_place, users) in
                [(None, Some(*text)), (Some(*text), None), (Some(*text), Some("{}"))]
            {
                let own = place(in_place.map(str::to_owned), users, &managed);
                let own = own.unwrap_or_else(|error| panic!("{text:?}: {error}"));
                let expected = own.text.or(in_place.map(str::to_owned)).unwrap_or_default();
                let mut expected = parse(&expected).expect("its own");
                let (there, said) = pod
                    .merges(in_place, users, &managed)
                    .unwrap_or_else(|said| panic!("{text:?}: {said}"));
                let had = text.contains("session");
                if had {
                    let users = expected["session"]["maintenance"].as_object_mut();
                    users.expect("an object").retain(|key, _| !BOUND.contains(&key.as_str()));
                }
                assert_eq!(
                    as_read(without_bound(&there, had)),
                    as_read(expected),
                    "{text:?}, {managed:?}"
                );
                assert_eq!(said["model"], json!(own.model), "{text:?}");
                assert_eq!(said["plugins"], json!(own.plugins), "{text:?}");
            }
        }
        for text in UNREADABLE {
            assert!(place(Some((*text).to_owned()), None, &managed).is_err(), "{text:?}");
            let said = pod.merges(Some(text), None, &managed).expect_err(text);
            assert!(
                said["error"].as_str().is_some_and(|it| it.contains("openclaw.json")),
                "{said}"
            );
            let there = fs::read_to_string(pod.at("volumes/config/state/openclaw.json"));
            assert_eq!(there.expect("it is there"), *text, "what cannot be read stays as it is");
        }
    }
}

#[test]
fn the_users_own_file_replaces_what_is_in_place_once() {
    let Some(lab) = Lab::require(Part::Npm(CURRENT)) else { return };
    let pod = Pod::new(lab);
    let managed = ManagedConfig { users_file: true, ..managed() };
    let (before, users) = ("{ ui: { theme: 'old' } }", "{ ui: { theme: 'new' } }");
    let own = place(Some(before.to_owned()), Some(users), &managed).expect("merges");
    assert_eq!(own.replaced.as_deref(), Some(before));
    let (there, _) = pod.merges(Some(before), Some(users), &managed).expect("merges");
    let expected: Value = serde_json::from_str(&own.text.expect("a text")).expect("JSON");
    assert_eq!(without_bound(&there, false), expected);
    let kept = fs::read_to_string(pod.at("volumes/config/state/openclaw.json.replaced"));
    assert_eq!(kept.expect("it is kept"), before);
}

#[test]
fn a_pods_loop_is_the_compose_files_but_for_its_end() {
    let scripts = &objects("k8s/configmap.yaml")[0]["data"];
    let pods = scripts["start.sh"].as_str().expect("the loop");
    let compose = &objects("docker-compose.yml")[0]["services"]["openclaw-gateway"];
    let compose = compose["command"][2].as_str().expect("its command").replace("$$", "$");
    let (_, compose) = compose.split_once("\nEOF\n").expect("its configuration's end");
    // After a second 78 a container is held, and a pod ends, which Kubernetes holds.
    let ends = |it: &&str| it.contains("$mended\" ]") || it.contains("[ \"$code\" -eq 78 ]");
    let shared = |text: &str| -> Vec<String> {
        text.lines()
            .take_while(|it| *it != "done")
            .filter(|it| !ends(it))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(shared(pods), shared(compose));
    assert!(pods.ends_with("done\n"), "nothing comes after it");
}

/// What the gateway's page is answered with, at every path that it does not know.
const PAGE: (&str, &str) = ("text/html", "<!doctype html><title>OpenClaw</title>");

#[test]
fn a_probe_believes_the_body_and_not_the_status() {
    let Some(lab) = Lab::require(Part::Npm(CURRENT)) else { return };
    let scripts = &objects("k8s/configmap.yaml")[0]["data"];
    let script = scripts["probe.mjs"].as_str().expect("the probe");
    let json = "application/json";
    for (path, key, value, (kind, body), is_well) in [
        ("/startupz", "status", "started", (json, r#"{"status":"started"}"#), true),
        ("/startupz", "status", "started", (json, r#"{"status":"starting"}"#), false),
        ("/startupz", "status", "started", PAGE, false),
        ("/healthz", "ok", "true", (json, r#"{"ok":true,"status":"live"}"#), true),
        ("/healthz", "ok", "true", (json, r#"{"ok":false}"#), false),
        ("/healthz", "ok", "true", (json, "{}"), false),
        ("/healthz", "ok", "true", PAGE, false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let answerer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).expect("a question");
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
                 connection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).expect("answered");
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let script = script.replace("127.0.0.1:18789", &format!("127.0.0.1:{port}"));
        let file = tempfile::Builder::new().suffix(".mjs").tempfile().expect("a file");
        fs::write(file.path(), &script).expect("written");
        let mut node = Command::new(lab.node());
        let output = node.arg(file.path()).args([path, key, value]).output().expect("node runs");
        assert_eq!(output.status.success(), is_well, "{path} {body}: {output:?}");
        let asked = answerer.join().expect("no panic");
        assert!(asked.starts_with(&format!("GET {path} ")), "{asked}");
    }
    // Nobody answers at all.
    let file = tempfile::Builder::new().suffix(".mjs").tempfile().expect("a file");
    fs::write(file.path(), script.replace(":18789", ":9")).expect("written");
    let mut node = Command::new(lab.node());
    let output =
        node.arg(file.path()).args(["/healthz", "ok", "true"]).output().expect("node runs");
    assert!(!output.status.success());
}
