//! Ctrl-C, and two commands at once on one deployment.

use openclaw_pipeline::exec::LockFile;
use rustix::process::Signal;
use serde_json::json;

use crate::support::product::{Live, NEWEST, Product, turn_at_the_default_port, until};

/// A product whose gateway never comes up until it is told otherwise.
fn slow() -> Product {
    let product = Product::bare();
    product.install_faulty(NEWEST, Some("{never_started: true}"));
    product
}

/// Reads on until a step begins.
fn at_step(live: &mut Live, step: &str) {
    let wanted = format!("\"step\":\"{step}\",\"status\":\"running\"");
    while let Some(line) = live.line() {
        if line.contains(&wanted) {
            return;
        }
    }
    panic!("the step {step} never began");
}

fn heal(product: &Product) {
    std::fs::write(product.state("main").join("standin.json"), "{}").expect("written");
}

#[test]
fn ctrl_c_saves_the_state_and_says_how_to_go_on() {
    for (signal, go_on) in [(Signal::INT, "resume"), (Signal::TERM, "launch")] {
        let product = slow();
        let mut live = product.run(["launch", "--target", "process", "--json"]).live();
        at_step(&mut live, "prove");
        live.signal(signal);
        let done = live.done();
        assert_eq!(done.code, 130, "{done:?}");
        done.says("launch of main was interrupted; its state is saved");
        done.says("operations resume").says("operations cancel");
        let answer = done.json();
        assert_eq!(answer["error"]["kind"], "interrupted");
        assert_eq!(product.status("main"), "launching");
        let status = product.json(["status"]);
        assert_eq!(status["interrupted"], true);
        let id = status["operation"]["id"].as_str().expect("an id");
        assert!(done.stderr.contains(id), "the id to go on with");
        // The gateway itself never comes up: another start without the fault does.
        heal(&product);
        for pid in product.gateways() {
            crate::support::product::send(pid, Signal::KILL);
        }
        if go_on == "resume" {
            product.run(["operations", "resume", id]).ok().answers("launch succeeded");
        } else {
            product.launch().says("going on with the launch that was interrupted");
        }
        product.assert_one_gateway("main");
        assert_eq!(product.json(["operations", "show", id])["status"], "succeeded");
    }
}

#[test]
fn ctrl_c_while_another_one_lets_go_begins_nothing() {
    let product = Product::new();
    product.launch();
    let lock = LockFile::try_acquire(&product.home().join("locks/main"), "launch");
    let lock = lock.expect("tries").expect("is free");
    let stop = product.run(["stop"]).live();
    until("it heeds Ctrl-C", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", stop.pid())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).expect("a mask");
        (caught & 1 << (Signal::INT.as_raw() - 1) != 0).then_some(())
    });
    stop.signal(Signal::INT);
    assert_eq!(stop.done().code, 130);
    drop(lock);
    let operations = product.json(["operations", "list"])["items"].clone();
    assert_eq!(operations.as_array().map(Vec::len), Some(1), "{operations:#}");
    assert_eq!(
        (&operations[0]["kind"], product.status("main").as_str()),
        (&json!("launch"), "running")
    );
}

#[test]
fn an_interrupted_operation_can_be_given_up() {
    let product = slow();
    let mut live = product.run(["launch", "--target", "process", "--json"]).live();
    at_step(&mut live, "prove");
    live.signal(Signal::INT);
    assert_eq!(live.done().code, 130);
    let id = product.json(["status"])["operation"]["id"].as_str().expect("an id").to_owned();
    let cancelled = product.run(["operations", "cancel", &id]).ok();
    cancelled.answers("launch of main is given up; what exists stays");
    cancelled.answers("openclaw-pipeline destroy main");
    assert_eq!(product.json(["operations", "show", &id])["status"], "cancelled");
    assert_eq!(product.status("main"), "failed");
    assert_eq!(product.events("main").last().map(String::as_str), Some("cancelled"));
    product.run(["operations", "resume", &id]).code(4).says("was cancelled");
    product.run(["operations", "cancel", &id]).code(4).says("cancelled");
    product.run(["destroy", "--yes"]).ok();
    product.assert_nothing_runs();
}

#[test]
fn of_two_commands_at_once_one_wins() {
    let product = slow();
    let mut first = product.run(["launch", "--target", "process", "--json"]).live();
    at_step(&mut first, "prove");
    for args in [["launch", "main"], ["stop", "main"], ["restart", "main"], ["backup", "main"]] {
        let second = product.run(args).code(4);
        second.says("main: another command is at work on it (launch, process");
        second.says("wait until it has ended");
    }
    product.run(["destroy", "main", "--yes"]).code(4);
    let id = product.json(["status"])["operation"]["id"].as_str().expect("an id").to_owned();
    product.run(["operations", "cancel", &id]).code(4);
    // Looking is always possible.
    assert_eq!(product.json(["status"])["interrupted"], false);
    product.run(["list"]).ok().answers("launching");
    first.signal(Signal::INT);
    assert_eq!(first.done().code, 130);
}

#[test]
fn two_launches_begun_together_make_one_gateway() {
    let product = Product::new();
    let begin = || product.run(["launch", "--target", "process", "--json"]).live();
    let both = [begin(), begin(), begin()].map(Live::done);
    for done in &both {
        // Done, or found running, or told that another one is at work.
        assert!(done.code == 0 || done.code == 4, "{done:?}");
    }
    assert!(both.iter().any(|done| done.code == 0), "{both:?}");
    product.assert_one_gateway("main");
    let items = product.json(["operations", "list"])["items"].clone();
    let launches = items.as_array().expect("a list");
    assert!(launches.iter().all(|it| it["status"] == "succeeded"), "{launches:?}");
}

#[test]
fn two_deployments_launched_together_both_come_up() {
    let _turn = turn_at_the_default_port();
    let mut product = Product::new();
    product.unset("GATEWAY_PORT");
    let names = ["one", "two"];
    let both = names.map(|name| product.run(["launch", name, "--target", "process"]).live());
    for done in both.map(Live::done) {
        assert_eq!(done.code, 0, "{done:?}");
    }
    assert_eq!(names.map(|name| product.status(name)), ["running", "running"]);
    let ports = names.map(|name| product.json(["status", name])["url"].clone());
    assert_ne!(ports[0], ports[1]);
    assert_eq!((product.gateways().len(), product.keepers().len()), (2, 2));
    product.run(["stop", "one"]).ok();
    assert_eq!(product.gateways(), Vec::from_iter(product.gateway("two")));
}

#[test]
fn looking_disturbs_nobody() {
    let product = Product::new();
    product.launch();
    let done = std::sync::atomic::AtomicBool::new(false);
    let over = || done.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over() {
                product.run(["status"]).ok();
            }
        });
        for _ in 0..5 {
            product.run(["restart"]).ok();
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    until("one gateway", || (product.gateways().len() == 1).then_some(()));
    product.assert_one_gateway("main");
}
