//! Getting in and looking on: links, devices and approvals, logs, and the gateway's own command
//! line.

use std::io::Write as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::asking::ask;
use crate::support::product::{Product, until};

#[test]
fn open_gives_a_new_one_time_link_each_time() {
    let product = Product::new();
    product.launch();
    let open = || product.json(["open"]);
    let (first, second) = (open(), open());
    for link in [&first, &second] {
        assert_eq!(link["kind"], "one_time");
        assert!(link["expires_at"].as_str().expect("an end").ends_with('Z'));
        let url = link["url"].as_str().expect("a link");
        let port = product.port();
        assert!(url.starts_with(&format!("http://127.0.0.1:{port}/#bootstrapToken=")), "{url}");
        assert!(url.ends_with(&format!("gatewayUrl=ws%3A%2F%2F127.0.0.1%3A{port}")), "{url}");
    }
    assert_ne!(first["url"], second["url"]);
    let text = product.run(["open", "main"]).ok();
    text.answers("#bootstrapToken=").says("It lets one browser in, once");
    assert_eq!(text.stdout.lines().count(), 1);
}

#[test]
fn a_version_without_one_time_links_gives_the_token_and_says_so() {
    let product = Product::new();
    product.launch();
    product.fault("main", "{no_owner_links: true}");
    let link = product.json(["open"]);
    assert_eq!(link["kind"], "shared_token");
    assert_eq!(link["expires_at"], Value::Null);
    let url = link["url"].as_str().expect("a link");
    assert!(url.ends_with("/#token=tok~Zx81%2FqQ%2B0123456789abcdef%3D"), "{url}");
    let text = product.run(["open"]).ok();
    text.says("It carries the gateway's token: whoever has it controls the gateway.");
}

#[test]
fn a_link_that_cannot_be_made_is_no_reason_to_hand_out_the_token() {
    let product = Product::new();
    product.launch();
    // Where the links lie nothing can be written.
    let links = product.state("main").join("state/standin-links");
    let _ = std::fs::remove_dir_all(&links);
    std::fs::write(&links, "").expect("a file in its place");
    let failed = product.run(["open"]).code(1);
    failed.says("no link could be made: browser handoff could not be issued").says("doctor main");
    assert_eq!(failed.stdout, "");
    std::fs::remove_file(&links).expect("removed");
    product.run(["open"]).ok();

    let keepers = product.keepers();
    for pid in keepers.into_iter().chain(product.gateways()) {
        crate::support::product::send(pid, Signal::KILL);
    }
    until("nothing runs", || product.processes().is_empty().then_some(()));
    let refused = product.run(["open"]).code(4);
    refused.says("main is degraded").says("openclaw-pipeline doctor main");
    assert_eq!(refused.stdout, "");
}

#[test]
fn devices_wait_are_let_in_and_put_out_by_hand() {
    let product = Product::new();
    product.run(["launch", "--target", "process", "--approval", "off"]).ok();
    product.run(["devices"]).ok().answers("No browser has asked yet.");
    product.run(["approve"]).ok().answers("No browser is waiting.");
    product.run(["stop"]).ok();
    ask(
        &product,
        "main",
        &[
            ("req-browser", "operator", &["operator.read", "operator.write"]),
            ("req-node", "node", &[]),
            ("req-stranger", "operator", &["operator.read"]),
        ],
    );
    product.run(["start"]).ok();
    let list = product.json(["devices"]);
    assert_eq!(list["pending"].as_array().map(Vec::len), Some(3));
    assert_eq!(list["pending"][0]["address"], "203.0.113.7");
    assert_eq!(list["paired"], json!([]));
    product.run(["devices"]).ok().answers("WAITING").answers("req-browser");

    product.run(["devices", "--reject", "req-stranger"]).ok().answers("turned away");
    product.run(["devices", "--reject", "req-stranger"]).code(3).says("no such request");
    product.run(["approve", "--request", "req-nobody"]).code(3).says("no pending request");
    let approved = product.run(["approve"]).ok();
    approved.answers("is in").answers("waits: it asks for the role node");
    product.run(["approve", "--request", "req-node"]).ok().answers("is in");
    let list = product.json(["devices"]);
    assert_eq!(list["pending"], json!([]));
    assert_eq!(list["paired"].as_array().map(Vec::len), Some(2));
    let status = product.json(["status"]);
    let reasons: Vec<&Value> =
        status["approvals"].as_array().expect("a list").iter().map(|it| &it["reason"]).collect();
    assert_eq!(reasons, ["by hand", "by hand", "by hand"]);

    product.run(["devices", "--remove", "device-of-"]).code(2).says("more than one device");
    product.run(["devices", "--remove", "device-of-req-node"]).ok().answers("is out");
    product.run(["devices", "--remove", "device-of-req-node"]).code(3).says("no such device");
    assert_eq!(product.json(["devices"])["paired"].as_array().map(Vec::len), Some(1));
    let events = product.events("main");
    let made = |kind: &str| events.iter().filter(|it| *it == kind).count();
    assert_eq!((made("approve_triggered"), made("approve_success")), (2, 2));
    assert_eq!(made("approve_failed"), 2, "the one that was turned away, and the unknown one");
    assert_eq!(made("failed"), 0, "the deployment is well");
    // Whoever was turned away or put out is on record, as whoever was let in.
    let approvals = product.json(["status"])["approvals"].clone();
    let decided: Vec<(&str, &str)> = approvals
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (it["decision"].as_str().expect("one"), it["device_id"].as_str().expect("one")))
        .collect();
    assert_eq!(decided[0], ("removed", "device-of-req-node"));
    assert_eq!(decided[3], ("rejected", "device-of-req-stranger"));
}

#[test]
fn an_approval_that_the_gateway_refuses_is_a_failure() {
    let product = Product::new();
    product.run(["launch", "--target", "process", "--approval", "off"]).ok();
    product.run(["stop"]).ok();
    // No approver can grant a scope like that.
    ask(&product, "main", &[("req-odd", "operator", &["other.scope"])]);
    product.run(["start"]).ok();
    let refused = product.run(["approve", "--request", "req-odd"]).code(1);
    refused.says("was not let in: ").says("other.scope").says("openclaw-pipeline devices main");
    let json = product.run(["approve", "--request", "req-odd", "--json"]).code(1);
    assert_eq!(json.objects().last().expect("one")["error"]["kind"], "failed");
    // Without a name, one that waits on is no failure.
    product.run(["approve"]).ok().answers("waits: ");
    assert_eq!(product.json(["status"])["approvals"][0]["decision"], "failed");
}

#[test]
fn a_stopped_gateway_is_not_waited_for() {
    let product = Product::new();
    product.launch();
    product.run(["stop"]).ok();
    let operations = product.json(["operations", "list"])["items"].clone();
    let begun = std::time::Instant::now();
    for args in [&["approve"][..], &["devices"], &["devices", "--remove", "x"]] {
        let run = args[1..].iter().fold(product.run([args[0]]), |run, arg| run.arg(arg));
        run.code(4).says("main is stopped").says("openclaw-pipeline start main");
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(product.json(["operations", "list"])["items"], operations, "nothing was begun");
}

#[test]
fn an_open_window_lets_a_browser_in_after_the_command_has_exited() {
    let product = Product::new();
    product.launch();
    product.run(["stop"]).ok();
    ask(&product, "main", &[("req-1", "operator", &["operator.read"]), ("req-2", "node", &[])]);
    product.run(["start"]).ok();
    let decisions = || {
        let approvals = product.json(["status"])["approvals"].clone();
        let all = approvals.as_array().expect("a list").clone();
        let of = |it: &Value, key: &str| it[key].as_str().expect("a word").to_owned();
        let all = all.iter().map(|it| (of(it, "request_id"), of(it, "decision")));
        all.collect::<std::collections::BTreeMap<String, String>>()
    };
    let [browser, node] = [("req-1", "approved"), ("req-2", "left")];
    let expected = [browser, node].map(|(id, decision)| (id.to_owned(), decision.to_owned()));
    until("both are decided", || (decisions() == expected.clone().into()).then_some(()));
    let events = product.events("main");
    let tail: Vec<&str> = events.iter().map(String::as_str).collect();
    for kind in ["pairing_required", "auto_approving", "approve_success"] {
        assert!(tail.contains(&kind), "{tail:?}");
    }
    let list = product.json(["devices"]);
    assert_eq!(list["paired"][0]["device_id"], "device-of-req-1");
    assert_eq!(list["pending"][0]["request_id"], "req-2", "a node is left to a person");
}

#[test]
fn logs_are_shown_followed_and_left_with_ctrl_c() {
    let product = Product::new();
    product.run(["logs"]).code(3).says("there is no deployment main");
    // Without a window no keeper connects, which the log would tell of in between.
    product.run(["launch", "--target", "process", "--approval", "off"]).ok();
    let log = product.deployment("main").join("gateway.log");
    let write = |line: &str| {
        let mut file = std::fs::File::options().append(true).open(&log).expect("the log");
        writeln!(file, "{line}").expect("written");
    };
    write("a line with tok~Zx81/qQ+0123456789abcdef= and \u{1b}[31mcolour");
    product.run(["logs"]).ok().answers("[gateway] ready");
    let last = product.run(["logs", "--tail", "1"]).ok();
    assert_eq!(last.stdout, "a line with [redacted] and colour\n");
    let raw = product.run(["logs", "--tail", "1", "--raw"]).ok();
    assert!(raw.stdout.contains("tok~Zx81/qQ+0123456789abcdef=") && raw.stdout.contains('\u{1b}'));
    let json = product.run(["logs", "--tail", "1", "--json"]).ok().json();
    assert_eq!(json["line"], "a line with [redacted] and colour");

    let mut follow = product.run(["logs", "-f", "--tail", "1"]).live();
    assert_eq!(follow.line().as_deref(), Some("a line with [redacted] and colour"));
    write("something new");
    assert_eq!(follow.line().as_deref(), Some("something new"));
    follow.signal(Signal::INT);
    let done = follow.done();
    assert_eq!(done.code, 0, "{done:?}");
    product.assert_one_gateway("main");
}

#[test]
fn the_gateways_own_command_line_is_passed_through() {
    let product = Product::new();
    product.launch();
    let version = product.run(["openclaw", "main", "--", "--version"]).ok();
    assert_eq!(version.stdout, "OpenClaw 2026.9.6 (standin)\n");
    let refused = product.run(["openclaw", "main", "--", "no-such-command"]).code(1);
    refused.says("unknown command");
    let valid = product.run(["openclaw", "main", "--", "config", "validate"]).ok();
    let config = product.state("main").join("openclaw.json");
    valid.answers(&format!("Config valid: {}", config.display()));
    product.run(["openclaw", "nobody", "--", "--version"]).code(3);
}

#[test]
fn a_shell_opens_where_the_gateway_lives() {
    let product = Product::new();
    product.launch();
    let shell = product.run(["shell"]).env("SHELL", "/bin/sh").stdin("pwd; exit 7\n").code(7);
    assert_eq!(shell.stdout.trim(), product.deployment("main").display().to_string());
}
