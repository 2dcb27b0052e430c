//! What must not be lost: backups and restores, updates that work and updates that go back, and
//! rotations of the token and of keys.

use serde_json::Value;

use crate::support::product::{BROKEN, NEWEST, OLDER, Product, TOKEN};

/// Something of the user's in the gateway's state.
fn write(product: &Product, text: &str) {
    std::fs::write(product.state("main").join("memory.md"), text).expect("written");
}

fn read(product: &Product) -> String {
    std::fs::read_to_string(product.state("main").join("memory.md")).expect("there")
}

fn launch_older() -> Product {
    let product = Product::new();
    product.install(OLDER);
    product.run(["launch", "--target", "process", "--version", OLDER.0]).ok();
    product
}

/// The steps of an operation with their statuses.
fn steps(operation: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let steps = operation["steps"].as_array().expect("steps");
    steps.iter().map(|it| (text(&it["name"]), text(&it["status"]))).collect()
}

#[test]
fn a_backup_is_listed_and_put_back() {
    let product = Product::new();
    product.run(["backups"]).code(3).says("there is no deployment main");
    product.launch();
    product.run(["backups"]).ok().answers("main has no backup");
    product.run(["restore"]).code(3).says("no such backup");
    product.assert_one_gateway("main");
    write(&product, "first");
    product.run(["backup"]).ok().answers("main is backed up and the archive verified");
    write(&product, "second");
    product.run(["backup"]).ok();
    write(&product, "third");
    let items = product.json(["backups"])["items"].clone();
    let items = items.as_array().expect("a list");
    assert_eq!(items.len(), 2);
    assert_eq!((&items[0]["version"], &items[0]["reason"]), (&"2026.9.6".into(), &"backup".into()));
    product.run(["backups"]).ok().answers("MADE").answers("2026.9.6");

    let restored = product.run(["restore"]).ok();
    restored.answers("main is restored: OpenClaw 2026.9.6 works at");
    assert_eq!(read(&product), "second", "the newest one is the default");
    let oldest = items[1]["id"].as_str().expect("an id");
    product.run(["restore", "--backup", oldest]).ok();
    assert_eq!(read(&product), "first");
    product.assert_one_gateway("main");
    product.run(["restore", "--backup", "no-such"]).code(3).says("no such backup");
    assert_eq!((read(&product).as_str(), product.status("main").as_str()), ("first", "running"));
    product.assert_one_gateway("main");
    // No plain archive and no scratch directory stays.
    let kept = std::fs::read_dir(product.home().join("backups/main")).expect("kept").flatten();
    assert!(kept.map(|it| it.path()).all(|it| it.extension().is_some_and(|it| it == "sealed")));
}

#[test]
fn a_backup_that_fails_changes_nothing() {
    let product = Product::new();
    product.launch();
    product.fault("main", "{backup_exit_code: 1}");
    let gateway = product.gateway("main");
    product.run(["backup"]).code(1).says("could not make a backup");
    assert_eq!(product.gateway("main"), gateway);
    product.assert_one_gateway("main");
    assert_eq!(product.json(["backups"])["items"], serde_json::json!([]));
    // Without a verified backup there is no update either.
    product.install(BROKEN);
    product.run(["update", "--version", BROKEN.0]).code(1).says("step backup");
    assert_eq!(product.gateway("main"), gateway);
    assert_eq!(product.json(["status"])["version"], NEWEST.0);
    product.assert_one_gateway("main");
}

#[test]
fn a_good_update_keeps_the_data() {
    let product = launch_older();
    assert_eq!(product.json(["status"])["version"], OLDER.0);
    write(&product, "mine");
    std::fs::write(product.deployment("main").join("workspace/notes"), "too").expect("written");
    let updated = product.run(["update"]).ok();
    updated.answers("main is updated: OpenClaw 2026.9.6 works at");
    assert_eq!(product.json(["status"])["version"], NEWEST.0);
    assert_eq!(read(&product), "mine");
    let kept = std::fs::read_to_string(product.deployment("main").join("workspace/notes"));
    assert_eq!(kept.expect("there"), "too");
    product.assert_one_gateway("main");
    let names: Vec<String> =
        steps(&product.operation("main", "update")).into_iter().map(|it| it.0).collect();
    assert_eq!(
        names,
        ["check", "fetch_new", "backup", "stop", "switch", "configure", "start", "prove"],
        "the backup comes first"
    );
    let backups = product.json(["backups"])["items"].clone();
    assert_eq!(
        (&backups[0]["reason"], &backups[0]["version"]),
        (&"update".into(), &OLDER.0.into())
    );
    // Back to the version of before, by its backup: state and version go as one.
    write(&product, "changed");
    product.run(["restore"]).ok().answers("OpenClaw 2026.9.5 works at");
    assert_eq!(read(&product), "mine");
    assert_eq!(product.json(["status"])["version"], OLDER.0);
    product.assert_one_gateway("main");
}

#[test]
fn a_version_that_does_not_come_up_goes_back_as_one() {
    let product = launch_older();
    write(&product, "mine");
    // It migrates the state before it fails: the old version could not read that.
    product.install_faulty(BROKEN, Some("{exit_code: 1, exit_after_ms: 1, never_started: true}"));
    let failed = product.run(["update", "--version", BROKEN.0]).code(1);
    failed.says("step prove: the gateway does not stay up (exit code 1)").says("to do:");
    failed.says("uncaught exception: stand-in fault");
    let status = product.json(["status"]);
    assert_eq!((&status["status"], &status["version"]), (&"running".into(), &OLDER.0.into()));
    assert_eq!(status["operation"]["status"], "failed");
    assert_eq!(read(&product), "mine");
    product.assert_one_gateway("main");
    let told = steps(&product.operation("main", "update"));
    let told: Vec<(&str, &str)> = told.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let (forward, back) = told.split_at(8);
    assert_eq!(forward.last(), Some(&("prove", "failed_clean")));
    assert_eq!(
        back,
        ["back_stop", "back_switch", "back_restore", "back_configure", "back_start", "back_prove"]
            .map(|step| (step, "succeeded"))
    );
    let events = product.run(["events", "main", "--json"]).ok().objects();
    let last = events.last().expect("an event");
    assert_eq!(last["type"], "failed");
    let message = last["message"].as_str().expect("a sentence");
    assert!(message.contains("does not stay up"), "{message}");
    assert!(message.contains("2026.9.5"), "it says that it went back: {message}");
    // It is as good as before: the next update works.
    product.run(["update"]).ok().answers("OpenClaw 2026.9.6 works at");
    assert_eq!(read(&product), "mine");
}

#[test]
fn an_update_to_a_version_that_is_held_goes_back_too() {
    let product = launch_older();
    product.install_faulty(BROKEN, Some("{exit_code: 78}"));
    let failed = product.run(["update", "--version", BROKEN.0]).code(1);
    failed.says("exited with 78 and is held");
    assert_eq!(product.json(["status"])["version"], OLDER.0);
    product.assert_one_gateway("main");
}

#[test]
fn an_update_takes_exact_versions_of_this_target() {
    let product = Product::new();
    product.launch();
    product.run(["update", "--version", "latest"]).code(2).says("one exact version");
    product.run(["update", "--image", "ghcr.io/x/y:1"]).code(2).says("has no image");
    product.run(["update", "--image", "x:1", "--version", "2026.9.6"]).code(2);
    product.run(["update", "nobody"]).code(3);
    product.assert_one_gateway("main");
}

#[test]
fn a_new_token_is_in_force_and_the_old_one_is_shown_refused() {
    let product = Product::new();
    product.launch();
    let rotated = product.run(["rotate"]).without("OPENCLAW_GATEWAY_TOKEN").ok();
    rotated.answers("main: rotated the gateway's token");
    product.assert_one_gateway("main");
    let told = steps(&product.operation("main", "rotate"));
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["check", "swap", "stop", "configure", "start", "prove", "refused", "forget"]
    );
    assert!(told.iter().all(|(_, status)| status == "succeeded"), "{told:?}");
    // The new one is generated: the link that carries it does not carry the old one.
    product.fault("main", "{no_owner_links: true}");
    let url = product.json(["open"])["url"].as_str().expect("a link").to_owned();
    let token = url.split_once("#token=").expect("a token").1;
    assert!(token.len() == 43 && !TOKEN.contains(token), "{token}");

    let given = "another-token-0123456789";
    product.run(["rotate", "--token"]).env("OPENCLAW_GATEWAY_TOKEN", given).ok();
    let url = product.json(["open"])["url"].as_str().expect("a link").to_owned();
    assert!(url.ends_with(&format!("#token={given}")), "{url}");
}

#[test]
fn new_keys_reach_the_gateway_and_the_token_stays() {
    let product = Product::new();
    product.launch();
    product.run(["rotate", "--keys"]).code(2).says("none is").says("ANTHROPIC_API_KEY");
    let rotated = product.run(["rotate", "--keys"]).env("OPENAI_API_KEY", "sk-openai-1").ok();
    rotated.answers("main: rotated OPENAI_API_KEY");
    assert_eq!(product.json(["status"])["credentials"], serde_json::json!(["OPENAI_API_KEY"]));
    let told = steps(&product.operation("main", "rotate"));
    assert!(told.contains(&("refused".into(), "skipped".into())), "{told:?}");
    let environment = |name: &str| {
        let pid = product.gateway("main").expect("a gateway");
        let all = std::fs::read_to_string(format!("/proc/{pid}/environ")).expect("readable");
        all.split('\0')
            .find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    };
    assert_eq!(environment("OPENAI_API_KEY").as_deref(), Some("sk-openai-1"));
    assert_eq!(environment("OPENCLAW_GATEWAY_TOKEN").as_deref(), Some(TOKEN));
    product.run(["rotate", "--keys"]).env("OPENAI_API_KEY", "sk-openai-2").ok();
    assert_eq!(environment("OPENAI_API_KEY").as_deref(), Some("sk-openai-2"));
    product.assert_one_gateway("main");
}

#[test]
fn a_rotation_that_does_not_prove_itself_goes_back() {
    let product = Product::new();
    product.run(["launch", "--target", "process"]).env("ANTHROPIC_API_KEY", "sk-ant-old").ok();
    // The start with the new key fails, and the one after the doctor, who starts the count anew.
    product.fault("main", "{exit_code: 78, times: 1}");
    let failed = product.run(["rotate", "--keys"]).env("ANTHROPIC_API_KEY", "sk-ant-new").code(1);
    failed.says("step prove").says("held");
    product.assert_one_gateway("main");
    let pid = product.gateway("main").expect("a gateway");
    let all = std::fs::read_to_string(format!("/proc/{pid}/environ")).expect("readable");
    assert!(all.contains("ANTHROPIC_API_KEY=sk-ant-old"), "the old key is in force again");
    let told = steps(&product.operation("main", "rotate"));
    assert!(told.contains(&("back_prove".into(), "succeeded".into())), "{told:?}");
}

#[test]
fn a_token_that_is_in_force_already_is_no_new_one() {
    let product = Product::new();
    product.launch();
    let gateway = product.gateway("main");
    let refused = product.run(["rotate"]).code(2);
    refused.says("is the one in force already").says("leave it out");
    assert_eq!(product.gateway("main"), gateway);
    product.assert_one_gateway("main");
}
