//! Gateways and keepers that end: killed, exiting 78, crashing again and again.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::product::{NEWEST, Product, send, until};

/// How often the gateway was started, by its log.
fn starts(product: &Product) -> usize {
    let log = std::fs::read_to_string(product.deployment("main").join("gateway.log"));
    log.unwrap_or_default().matches("[gateway] starting...").count()
}

fn record(product: &Product) -> Value {
    let text = std::fs::read_to_string(product.deployment("main").join("run.json"));
    serde_json::from_str(&text.expect("a record")).expect("JSON")
}

/// Waits until the gateway is another process than `before`, and works.
fn another_than(product: &Product, before: i32) -> i32 {
    until("another gateway runs", || {
        let now = product.gateway("main").filter(|pid| *pid != before)?;
        (product.status("main") == "running").then_some(now)
    })
}

#[test]
fn a_killed_gateway_is_started_again() {
    let product = Product::new();
    product.tool("npm", "#!/bin/sh\necho 11.0.0\n");
    product.launch();
    let (gateway, keepers) = (product.gateway("main").expect("a gateway"), product.keepers());
    send(gateway, Signal::KILL);
    another_than(&product, gateway);
    assert_eq!(product.keepers(), keepers, "by the same keeper");
    product.assert_one_gateway("main");
    until("it works", || product.run(["doctor", "main"]).done().code.eq(&0).then_some(()));
    assert_eq!(record(&product)["restarts"], 1);
}

#[test]
fn a_record_that_cannot_be_written_does_not_end_the_keeper() {
    let product = Product::new();
    product.launch();
    let (gateway, keepers) = (product.gateway("main").expect("a gateway"), product.keepers());
    // What a full disk is for the record, also for a user who may write everywhere.
    let record = product.deployment("main").join("run.json");
    std::fs::remove_file(&record).expect("removed");
    std::fs::create_dir(&record).expect("in its place");
    send(gateway, Signal::KILL);
    let another = until("another gateway runs", || {
        product.gateways().into_iter().find(|pid| *pid != gateway)
    });
    assert_eq!(product.keepers(), keepers, "by the same keeper");
    std::fs::remove_dir(&record).expect("there is space again");
    until("the record is written after all", || {
        (product.gateway("main") == Some(another)).then_some(())
    });
    product.assert_one_gateway("main");
    product.run(["stop"]).ok();
    product.assert_nothing_runs();
}

#[test]
fn a_gateway_past_its_memory_limit_is_started_again_and_says_so() {
    let product = Product::new();
    product.launch();
    product.run(["stop"]).ok();
    // Less than can be asked for, so that it is reached in a moment.
    let db = rusqlite::Connection::open(product.home().join("pipeline.db")).expect("opens");
    let changed = db.execute("UPDATE deployments SET spec = json_set(spec, '$.memory_mib', 1)", []);
    assert_eq!(changed.expect("set"), 1);
    drop(db);
    product.run(["start"]).ok();
    let gateway = product.gateway("main").expect("a gateway");
    until("it is seen to be too large", || {
        let text = std::fs::read_to_string(product.deployment("main").join("run.json")).ok()?;
        let now: Value = serde_json::from_str(&text).ok()?;
        let cause = now["state"]["cause"].as_str()?;
        assert!(cause.contains("more than its limit of 1 MiB"), "{cause}");
        Some(())
    });
    another_than(&product, gateway);
    product.run(["logs"]).ok().answers("more than its limit of 1 MiB, and is restarted");
}

#[test]
fn a_gateway_is_kept_from_updating_and_respawning_itself() {
    let product = Product::new();
    product.launch();
    let pid = product.gateway("main").expect("a gateway");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("its environment");
    let environment = String::from_utf8_lossy(&environment);
    let variables: Vec<&str> = environment.split('\0').collect();
    for pair in
        ["OPENCLAW_NO_RESPAWN=1", "OPENCLAW_NO_AUTO_UPDATE=1", "OPENCLAW_SUPERVISOR_MODE=external"]
    {
        assert!(variables.contains(&pair), "{pair} is missing");
    }
    let ours = variables.iter().find(|pair| pair.starts_with("OPENCLAW_PIPELINE_"));
    assert_eq!(ours, None, "the program's own settings are none of its business");
}

#[test]
fn a_killed_keeper_is_seen_and_the_gateway_is_not_doubled() {
    for mend in [["start", "main"], ["launch", "main"], ["restart", "main"]] {
        let product = Product::new();
        product.launch();
        let gateway = product.gateway("main").expect("a gateway");
        send(product.keepers()[0], Signal::KILL);
        until("the keeper is gone", || product.keepers().is_empty().then_some(()));
        assert_eq!(product.gateways(), [gateway], "the gateway works on");
        assert_eq!(product.status("main"), "degraded", "and nobody would start it again");
        let doctor = product.run(["doctor", "main"]).code(1);
        doctor.answers("its keeper was killed").answers("openclaw-pipeline start main");
        product.run(mend).ok();
        product.assert_one_gateway("main");
        assert_ne!(product.gateway("main"), Some(gateway), "under a keeper of its own");
        assert_eq!(record(&product)["restarts"], 0);
    }
}

#[test]
fn both_killed_is_seen_and_mended() {
    let product = Product::new();
    product.launch();
    send(product.keepers()[0], Signal::KILL);
    for pid in product.gateways() {
        send(pid, Signal::KILL);
    }
    until("both are gone", || product.processes().is_empty().then_some(()));
    // A list looks by itself, and leaves the record to those who look closer.
    product.run(["list"]).ok().answers("degraded");
    assert_eq!(product.json(["list"])["items"][0]["status"], "degraded");
    assert_eq!(product.status("main"), "degraded");
    product.run(["list"]).ok().answers("degraded");
    product.launch();
    product.assert_one_gateway("main");
}

#[test]
fn a_gateway_of_a_killed_keeper_is_stopped_and_destroyed_like_any_other() {
    for args in [vec!["stop"], vec!["destroy", "--yes"]] {
        let product = Product::new();
        product.launch();
        send(product.keepers()[0], Signal::KILL);
        until("the keeper is gone", || product.keepers().is_empty().then_some(()));
        args.iter().skip(1).fold(product.run([args[0]]), |run, arg| run.arg(arg)).ok();
        product.assert_nothing_runs();
    }
}

#[test]
fn exit_78_is_mended_once_by_the_gateways_own_doctor() {
    let product = Product::bare();
    product.install_faulty(NEWEST, Some("{exit_code: 78, until_doctor: true}"));
    product.launch();
    product.assert_one_gateway("main");
    assert_eq!(starts(&product), 2, "once before the doctor, once after");
    let log = product.run(["logs"]).ok();
    log.answers("the gateway exited with 78: running openclaw doctor --fix once");
    log.answers("openclaw doctor --fix: └  Doctor complete.");
}

#[test]
fn exit_78_for_ever_is_held_and_explained() {
    let product = Product::bare();
    product.install_faulty(NEWEST, Some("{exit_code: 78}"));
    let failed = product.run(["launch", "--target", "process"]).code(1);
    failed.says("step prove: the gateway exited with 78 and is held");
    failed.says("stand-in fault").says("openclaw-pipeline openclaw main -- doctor --fix");
    product.assert_nothing_runs();
    assert_eq!(starts(&product), 2, "it is not started in a loop");
    let status = product.run(["status"]).ok();
    status.answers("main  failed").answers("exited with 78 and is held").answers("to do:");
    let doctor = product.run(["doctor", "main"]).code(1);
    doctor.answers("it exited with 78 and is held").answers("doctor --fix; then");
    assert_eq!(product.events("main").last().map(String::as_str), Some("failed"));
    // What the user mends works again.
    std::fs::remove_file(product.runtime(NEWEST.0).join("node_modules/openclaw/standin.json"))
        .expect("mended");
    product.install(NEWEST);
    product.run(["start"]).ok();
    product.assert_one_gateway("main");
}

#[test]
fn a_running_gateway_that_begins_to_exit_78_is_held() {
    let product = Product::new();
    product.launch();
    product.fault("main", "{exit_code: 78, doctor_exit_code: 1}");
    let before = starts(&product);
    send(product.gateway("main").expect("a gateway"), Signal::KILL);
    until("it is held", || (record(&product)["state"]["state"] == "held").then_some(()));
    until("its keeper ends", || product.processes().is_empty().then_some(()));
    assert_eq!(product.status("main"), "degraded");
    product.run(["doctor", "main"]).code(1).answers("exited with 78 and is held");
    assert_eq!(starts(&product), before + 2);
    product.fault("main", "{}");
    product.run(["start"]).ok();
    product.assert_one_gateway("main");
}

#[test]
fn a_launch_of_what_crashes_fails_with_the_gateways_own_words() {
    let product = Product::bare();
    product.install_faulty(NEWEST, Some("{exit_code: 1}"));
    let failed = product.run(["launch", "--target", "process", "--json"]).code(1);
    let answer = failed.json();
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(message.contains("does not stay up (exit code 1)"), "{message}");
    assert!(message.contains("Gateway failed to start: stand-in fault"), "{message}");
    assert_eq!(answer["error"]["kind"], "failed");
    product.assert_nothing_runs();
    assert_eq!(product.status("main"), "failed");
    let doctor = product.run(["doctor", "main"]).code(1);
    doctor.answers("PROBLEM").answers("stand-in fault");
}

#[test]
fn a_crash_loop_is_bounded_and_explained() {
    let product = Product::new();
    product.launch();
    product.fault("main", "{exit_code: 3}");
    let before = starts(&product);
    send(product.gateway("main").expect("a gateway"), Signal::KILL);
    until("it is seen", || (product.status("main") == "degraded").then_some(()));
    until("it is left alone", || (record(&product)["state"]["state"] == "gave_up").then_some(()));
    until("its keeper ends", || product.processes().is_empty().then_some(()));
    // The one that was killed, and five that crashed.
    assert_eq!(starts(&product), before + 5);
    assert_eq!(product.status("main"), "degraded");
    let doctor = product.run(["doctor", "main"]).code(1);
    doctor.answers("it does not stay up (exit code 3): Gateway failed to start: stand-in fault");
    doctor.answers("openclaw-pipeline logs main");
    product.fault("main", "{}");
    product.run(["start"]).ok();
    product.assert_one_gateway("main");
}

#[test]
fn a_gateway_that_does_not_heed_sigterm_at_its_first_start_is_still_one() {
    let product = Product::bare();
    // It takes a while to come up: the proof waits, and nothing else is started meanwhile.
    product.install_faulty(NEWEST, Some("{listen_delay_ms: 400, start_delay_ms: 400}"));
    product.launch();
    product.assert_one_gateway("main");
    assert_eq!(starts(&product), 1);
}

#[test]
fn a_state_of_a_newer_version_is_explained() {
    let product = Product::new();
    product.launch();
    product.run(["stop"]).ok();
    product.fault("main", "{schema: 19}");
    let failed = product.run(["start"]).code(1);
    failed.says("exited with 78 and is held").says("this build supports 18");
    let doctor = product.run(["doctor", "main"]).code(1);
    doctor.answers("this build supports 18");
    assert_eq!(product.status("main"), "failed");
    product.fault("main", "{}");
    product.run(["start"]).ok();
}

/// The sleeps of the tools that the gateway started and that left its group.
fn tools(product: &Product) -> Vec<i32> {
    let all = product.processes().into_iter();
    all.filter(|it| it.args[0] == "sleep").map(|it| it.pid).collect()
}

#[test]
fn no_tool_outlives_its_gateway() {
    let product = Product::bare();
    product.install_faulty(NEWEST, Some("{detached_tools: true}"));
    product.launch();
    let first = until("its tools run", || Some(tools(&product)).filter(|it| it.len() == 2));
    let gateway = product.gateway("main").expect("a gateway");
    send(gateway, Signal::KILL);
    another_than(&product, gateway);
    let second =
        until("those of the next one", || Some(tools(&product)).filter(|it| it.len() == 2));
    assert!(second.iter().all(|pid| !first.contains(pid)), "{first:?} {second:?}");
    product.run(["stop"]).ok();
    product.assert_nothing_runs();
    product.run(["start"]).ok();
    until("its tools run", || (tools(&product).len() == 2).then_some(()));
    product.run(["destroy", "--yes"]).ok();
    product.assert_nothing_runs();
}

#[test]
fn the_tools_of_a_gateway_without_a_keeper_end_with_it() {
    let product = Product::bare();
    product.install_faulty(NEWEST, Some("{detached_tools: true}"));
    product.launch();
    until("its tools run", || (tools(&product).len() == 2).then_some(()));
    // One of them is nobody's once the keeper that had adopted it is gone.
    send(product.keepers()[0], Signal::KILL);
    until("the keeper is gone", || product.keepers().is_empty().then_some(()));
    product.run(["stop"]).ok();
    until("all but that one ended", || (product.processes().len() <= 1).then_some(()));
}

#[test]
fn a_doctor_of_a_killed_keeper_is_ended_before_anything_is_started() {
    let product = Product::new();
    product.launch();
    product.fault("main", "{exit_code: 78, doctor_delay_ms: 6000000}");
    send(product.gateway("main").expect("a gateway"), Signal::KILL);
    let doctors = || {
        let all = product.processes().into_iter();
        let of_it = all.filter(|it| it.args.iter().any(|arg| arg == "doctor"));
        of_it.map(|it| it.pid).collect::<Vec<_>>()
    };
    let doctor = until("the doctor is at work", || doctors().first().copied());
    send(product.keepers()[0], Signal::KILL);
    until("the keeper is gone", || product.keepers().is_empty().then_some(()));
    assert_eq!(doctors(), [doctor], "it works on");
    product.fault("main", "{}");
    product.run(["start"]).ok();
    product.assert_one_gateway("main");
}
