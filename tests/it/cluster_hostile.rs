//! A gateway on a cluster is hostile code, and so is whoever comes to it: what it prints and what devices
//! say of themselves comes out clean, nobody lets themselves in, a tag that somebody moved is nobody's
//! order, what outlives a killed command in a pod is ended, and a clock that steps moves nothing. The
//! gateway is the stand-in.

use openclaw_pipeline::store::{Store, Window};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::asking::pairing;
use crate::support::clock::Clock;
use crate::support::cluster::{Cluster, until};
use crate::support::cluster_case::{Case, KEY, works};
use crate::support::product::{Done, TOKEN};
use crate::support::spellings::holds_none;
use crate::support::standin;

/// Where the gateway keeps what it was told of devices.
const PAIRING: &str = "/home/node/.openclaw/state/standin-pairing.json";
const FAULTS: &str = "/home/node/.openclaw/standin.json";

/// That nothing of it is a secret, in any spelling, or an order for a terminal.
#[track_caller]
fn clean(what: &str, text: &str) {
    holds_none(what, text, &[TOKEN, KEY]);
    let control = |it: char| it.is_control() && it != '\n';
    assert!(!text.contains(control) && !text.contains("\\u001b"), "{what}: {text:?}");
}

#[track_caller]
fn quiet(done: &Done) {
    clean("stdout", &done.stdout);
    clean("stderr", &done.stderr);
}

/// Writes a file in the pod, by its owner's shell: the gateway runs, or is stopped.
#[track_caller]
fn write(case: &Case, file: &str, text: &str) {
    let script = format!("cat >{file} <<'EOF'\n{text}\nEOF\n");
    assert_eq!(case.run(["shell"]).stdin(&script).done().code, 0);
}

/// The approval window as it is recorded.
fn window(case: &Case) -> Window {
    let store = Store::open(&case.product.home()).expect("opens");
    let deployment = store.deployment(&case.name.parse().expect("a name")).expect("reads");
    store.window(&deployment.expect("there").id).expect("reads").expect("a window")
}

#[test]
fn what_it_prints_comes_out_clean() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "prints") else { return };
    case.launched();
    // Everything that it knows, in every spelling, and orders for a terminal.
    let mut says = Vec::new();
    for secret in [TOKEN, KEY] {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE};
        says.extend([secret.to_owned(), secret.replace('/', "%2F").replace('+', "%2b")]);
        for before in ["", "1", "12"] {
            let midst = format!("{before}{secret} and more");
            says.extend([STANDARD.encode(&midst), URL_SAFE.encode(&midst)]);
        }
    }
    says.push("\u{1b}]0;owned\u{7}\u{1b}[2J an order \u{202e} for a terminal".to_owned());
    says.push(format!("the last of it: {TOKEN}"));
    write(&case, FAULTS, &json!({ "says": says }).to_string());
    quiet(&works(case.run(["restart"])));
    let logs = works(case.run(["logs", "--tail", "100"]));
    quiet(&logs);
    logs.answers("an order").answers("the last of it: [redacted]");
    let raw = works(case.run(["logs", "--tail", "100", "--raw"]));
    raw.answers(TOKEN).answers("\u{1b}]0;owned");

    // It says it again while it does not come up.
    write(&case, FAULTS, &json!({ "says": says, "exit_code": 1 }).to_string());
    let failed = case.run(["restart"]).code(1);
    failed.says("does not stay up (exit code 1)");
    quiet(&failed);
    for looking in [
        ["doctor"].as_slice(),
        &["doctor", "--json"],
        &["status"],
        &["status", "--json"],
        &["events", "--json"],
        &["logs", "--json"],
    ] {
        let run = case.run([looking[0]]);
        let done = looking[1..].iter().fold(run, |run, arg| run.arg(arg)).done();
        assert!(!done.stdout.is_empty(), "{looking:?}: {}", done.stderr);
        quiet(&done);
    }
    quiet(&case.product.run(["operations", "list", "--json"]).ok());
    case.destroys_all();
}

#[test]
fn devices_say_what_they_like_and_are_let_in_by_hand_alone() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "devices") else { return };
    works(case.launch().arg("--approval").arg("off"));
    works(case.run(["stop"]));
    let mut asked = pairing(&[
        ("req-browser", "operator", &["operator.read"]),
        ("req-node", "node", &[]),
        ("req-stranger", "operator", &["operator.read"]),
    ]);
    asked["pending"][2]["platform"] = json!(format!("\u{1b}[2J{TOKEN} \u{202e}"));
    write(&case, PAIRING, &asked.to_string());
    works(case.run(["start"]));
    let list: Value = case.run(["devices", "--json"]).ok().json();
    assert_eq!(list["pending"].as_array().map(Vec::len), Some(3), "{list:#}");
    for json in [false, true] {
        let run = case.run(["devices"]);
        quiet(&if json { run.arg("--json") } else { run }.ok());
    }
    quiet(&case.run(["devices", "--reject", "req-stranger"]).ok());
    let approved = case.run(["approve"]).ok();
    approved.answers("is in").answers("waits: it asks for the role node");
    case.run(["devices", "--remove", "device-of-req-browser"]).ok().answers("is out");
    let list = case.run(["devices", "--json"]).ok().json();
    assert_eq!(list["paired"], json!([]));
    assert_eq!(list["pending"][0]["request_id"], "req-node");

    // Other keys, and another token, for a gateway that runs.
    let before = case.said(&["get", "secret", "openclaw-secrets", "--output=jsonpath={.data}"]);
    let other = "sk-ant-another-key-that-only-looks-like-one";
    let rotated = case.run(["rotate", "--keys", "--token"]).without("OPENCLAW_GATEWAY_TOKEN");
    quiet(&works(rotated.env("ANTHROPIC_API_KEY", other)));
    let after = case.said(&["get", "secret", "openclaw-secrets", "--output=jsonpath={.data}"]);
    assert_ne!(before, after);
    assert_eq!(case.inside("printf %s \"$ANTHROPIC_API_KEY\""), other);
    assert_ne!(case.inside("printf %s \"$OPENCLAW_GATEWAY_TOKEN\""), TOKEN);
    assert_eq!(case.status()["status"], "running");
    case.destroys_all();
}

#[test]
fn its_window_opens_once_and_its_tag_is_nobodys_order() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "once") else { return };
    let of = |tag: &str| standin::tagged(&format!("openclaw-lab/{tag}:latest"), "moving");
    let Some(moving) = of("standin-previous") else { return };
    works(case.launch().arg("--image").arg(&moving));
    let image = || {
        let pod = case.get(&["deployment", "openclaw"])["spec"]["template"]["spec"].clone();
        pod["containers"][0]["image"].as_str().expect("an image").to_owned()
    };
    let (first, opened) = (image(), window(&case));
    assert!(first.contains("@sha256:"), "{first}");
    assert_eq!(case.status()["version"], "2026.9.5");

    // Somebody moves the tag, and everything is done that keeps a gateway as it is.
    of("standin").expect("moved");
    works(case.run(["restart"]));
    case.said(&["delete", "pod", "--selector=app.kubernetes.io/name=openclaw", "--grace-period=1"]);
    works(case.run(["stop"]));
    works(case.run(["start"]));
    works(case.launch().arg("--image").arg(&moving));
    assert_eq!((image(), window(&case)), (first.clone(), opened.clone()));
    assert_eq!(case.status()["version"], "2026.9.5");
    // An update goes to what it names by now, and opens no window either.
    works(case.run(["update", "--image"]).arg(&moving));
    assert_ne!(image(), first);
    assert_eq!(case.status()["version"], "2026.9.6");
    assert_eq!(window(&case), opened);
    case.destroys_all();
}

#[test]
fn what_outlives_a_killed_backup_in_its_pod_is_ended() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "outlived") else { return };
    case.launched();
    write(&case, FAULTS, &json!({ "backup_delay_ms": 600_000 }).to_string());
    // Which does not find itself.
    let making = "grep -lzxs 'creat[e]' /proc/[0-9]*/cmdline | grep -c . || true";
    let is_made = |count: &str| {
        until("so many are under way", || {
            let said = case.inside(making);
            if said.trim() == count { Ok(()) } else { Err(said) }
        });
    };
    let live = case.run(["backup"]).live();
    is_made("1");
    // One whose executor is stopped goes on with it; nobody takes it over.
    live.signal(Signal::STOP);
    let refused = case.run(["backup"]).code(4);
    refused.says(&format!("process {}", live.pid()));
    is_made("1");
    live.signal(Signal::KILL);
    live.done();
    case.inside(&format!("rm {FAULTS}"));
    is_made("1");
    works(case.run(["backup"]));
    is_made("0");
    let left = case.inside("ls -A /home/node/openclaw/scratch");
    assert_eq!(left.trim(), "", "an archive is left");
    case.destroys_all();
}

#[test]
fn a_clock_that_steps_by_an_hour_both_ways_is_nobodys_measure() {
    const HOUR: i64 = 3600;
    let Some(cluster) = Cluster::shared() else { return };
    let Some(mut case) = Case::of(&cluster, "stepped") else { return };
    let clock = Clock::of(&mut case.product);
    // In the midst of a launch, whose lease and deadlines it could end.
    let mut live = case.launch_at("start");
    clock.is_ahead(HOUR);
    while !live.line().expect("it comes to that").contains("\"step\":\"prove\"") {}
    clock.is_ahead(0);
    let done = live.done();
    assert_eq!(done.code, 0, "{}", done.stderr);
    let opened = window(&case);
    clock.is_ahead(HOUR);
    works(case.run(["restart"]));
    assert_eq!(window(&case), opened);
    let ahead = case.status();
    assert_eq!(ahead["status"], "running");
    // An hour back, nothing of what was done since is taken for older than it is.
    clock.is_ahead(0);
    works(case.run(["backup"]));
    assert_eq!(window(&case), opened);
    let all = case.product.json(["operations", "list"])["items"].clone();
    let all = all.as_array().expect("a list");
    let kinds: Vec<&Value> = all.iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["backup", "restart", "launch"]);
    let begun: Vec<&str> =
        all.iter().map(|it| it["created_at"].as_str().expect("a time")).collect();
    assert!(begun[1] > begun[0] && begun[0] > begun[2], "the clock did not step: {begun:?}");
    case.destroys_all();
}
