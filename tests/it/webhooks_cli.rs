//! `webhooks` by command: secrets shown once, what is pending, sending again, and what is refused.

use openclaw_pipeline::domain::{DeploymentName, EventType};
use openclaw_pipeline::store::{NewEvent, Store};
use serde_json::Value;

use crate::support::product::Product;

const URL: &str = "https://app.example/hooks";

/// Tells of something, as a launch does, and gives it to the endpoints, as a server does.
fn tell(product: &Product) -> String {
    let store = Store::open(&product.home()).expect("opened");
    let event = NewEvent::new(EventType::Completed, "x");
    let event = store.append_event(&DeploymentName::main(), &event).expect("told");
    while store.fan_out(None).expect("fanned out") {}
    event.id
}

fn items(product: &Product, id: &str) -> Vec<Value> {
    product.json(["webhooks", "deliveries", id])["items"].as_array().expect("a list").clone()
}

#[test]
fn an_endpoint_from_its_first_day_to_its_last() {
    let product = Product::bare();
    product.run(["webhooks", "list"]).ok().answers("FRONTEND_URL names. Add another one");
    let added = product.run(["webhooks", "add", URL, "--names", "main,shop-"]).ok();
    let secret = added.stdout.trim().to_owned();
    assert!(secret.starts_with("whsec_") && !secret.contains(['\n', ' ']), "{secret}");
    added.says("shown this once").says("--from 1 --to N");
    let listed = product.json(["webhooks", "list"])["items"][0].clone();
    let id = listed["id"].as_str().expect("an id");
    assert_eq!((&listed["url"], &listed["pending"]), (&URL.into(), &0.into()));
    assert_eq!(listed["names"], serde_json::json!(["main", "shop-"]));
    product.run(["webhooks", "list"]).ok().answers(URL).answers("main,shop-").answers("enabled");

    let (first, second) = (tell(&product), tell(&product));
    let pending = items(&product, id);
    let events: Vec<&str> = pending.iter().filter_map(|it| it["event_id"].as_str()).collect();
    assert_eq!(events, [second.as_str(), first.as_str()], "the newest first");
    assert!(pending.iter().all(|it| it["status"] == "pending" && it["attempts"] == 0));
    product.run(["webhooks", "deliveries", id]).ok().answers("completed").answers("pending");
    product.run(["webhooks", "deliveries", id, "--status", "dead"]).ok().answers("There is none.");
    let one = product.run(["webhooks", "deliveries", id, "--limit", "1"]).ok();
    one.says("There are more");

    // What is on its way is not sent twice; a range can be asked for at any time.
    let twice = product.run(["webhooks", "replay", id, "--event", &first]).code(4);
    twice.says("still on its way");
    let replay = product.json(["webhooks", "replay", id, "--from", "1", "--to", "99", "--dead"]);
    assert_eq!((&replay["status"], &replay["scope"]), (&"running".into(), &"dead".into()));
    assert_eq!(replay["to_sequence"], 2, "no further than there is anything");
    product.run(["webhooks", "replay", id, "--from", "1", "--to", "2"]).ok().answers("is queued");

    let rotated = product.json(["webhooks", "rotate-secret", id]);
    let new = rotated["secret"].as_str().expect("a secret");
    assert!(new.starts_with("whsec_") && new != secret);
    product.run(["webhooks", "enable", id]).ok().answers("2 deliveries wait");
    assert_eq!(product.json(["webhooks", "remove", id])["removed"]["id"], id);
    assert_eq!(product.json(["webhooks", "list"])["items"], serde_json::json!([]));
    product.run(["webhooks", "deliveries", id]).code(3).says("there is no endpoint");

    let log = product.json(["audit"])["items"].clone();
    let actions: Vec<&str> =
        log.as_array().expect("a list").iter().filter_map(|it| it["action"].as_str()).collect();
    let expected = [
        "webhooks.delete",
        "webhooks.enable",
        "webhooks.rotate_secret",
        "webhooks.replay",
        "webhooks.replay",
        "webhooks.create",
    ];
    assert_eq!(actions, expected);
    for secret in [&secret, new] {
        let bare = secret.trim_start_matches("whsec_").as_bytes();
        for entry in std::fs::read_dir(product.home()).expect("a directory").flatten() {
            let kept = std::fs::read(entry.path()).unwrap_or_default();
            assert!(!kept.windows(bare.len()).any(|it| it == bare), "{:?}", entry.path());
        }
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_rule() {
    let product = Product::bare();
    for (args, says) in [
        (["add", "http://app.example", "--names", "a"], "url begins with https://"),
        (["add", "https://localhost", "--names", "a"], "is a loopback address"),
        (["add", "https://u:p@app.example", "--names", "a"], "no user and password"),
        (["add", URL, "--events", "launched"], "\"launched\" is none"),
        (["add", URL, "--events", ""], "\"\" is none"),
        (["add", URL, "--names", "../x"], "a name prefix is"),
        (["replay", "x", "--from", "1"], "--to"),
        (["replay", "x", "--to", "1"], "--from"),
        (["deliveries", "x", "--status", "lost"], "pending, delivered or dead"),
    ] {
        let run = args.iter().fold(product.run(["webhooks"]), |run, arg| run.arg(arg));
        run.code(2).says(says);
    }
    let listed = product.json(["webhooks", "list"])["items"].clone();
    assert_eq!(listed, serde_json::json!([]), "nothing was made");
}
