//! Group commit, from outside: what was answered is there, whatever happens to its writer.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use openclaw_pipeline::domain::{DeploymentName, EventType, Failure, FailureKind, OperationKind};
use openclaw_pipeline::store::{Begin, NewDeployment, NewEvent, Store, new_id};
use serde_json::json;

use crate::support::bench::{Bench, OLD};
use crate::support::disk::{Tmpfs, fill};

/// Where the process that is killed finds its store.
const HOME: &str = "STORE_OF_THE_TEST";
/// How often a writer is killed.
const KILLS: usize = 12;

fn event(message: &str) -> NewEvent {
    NewEvent::new(EventType::HealthCheck, message)
}

fn launch(bench: &Bench, name: &str) -> Begin {
    let (sealed, spec) = (vec![("secrets.current".to_owned(), vec![1; 500])], bench.spec(OLD));
    let create = NewDeployment { id: new_id(), sealed, spec, owner: None };
    let event = Some(NewEvent::new(EventType::Launching, "launching"));
    let name = name.parse().expect("a name");
    Begin { create: Some(create), event, ..Begin::new(OperationKind::Launch, name) }
}

/// An answer among what a test says otherwise: what was written, and which.
fn known(line: &str) -> Option<(bool, String)> {
    let (what, which) = line.trim_end().split_once(' ')?;
    matches!(what, "event" | "operation").then(|| (what == "event", which.to_owned()))
}

/// Says on its output what was answered, until it is killed.
async fn write_for_ever(store: Store, writer: usize) {
    let bench = Bench::new();
    let own = new_id();
    let said = |line: String| writeln!(std::io::stdout(), "{line}").expect("somebody reads");
    for number in 0.. {
        if number % 3 == 0 {
            let name = format!("w{writer}-{number}-{}", &own[24..]);
            let begun = store.begin_async(launch(&bench, &name)).await.expect("begins");
            said(format!("operation {}", begun.id));
        } else {
            let told = store.append_event_async(DeploymentName::main(), event(&own)).await;
            said(format!("event {}", told.expect("commits").sequence));
        }
    }
}

#[test]
fn what_was_answered_outlives_a_kill() {
    if let Some(home) = std::env::var_os(HOME) {
        let store = Store::open(home.as_ref()).expect("opens");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let writers: Vec<_> =
            (0..16).map(|writer| runtime.spawn(write_for_ever(store.clone(), writer))).collect();
        for writer in writers {
            runtime.block_on(writer).expect("no panic");
        }
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut answered = Vec::new();
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "store_group::what_was_answered_outlives_a_kill", "--nocapture"])
            .env(HOME, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        // At another instant each time: after its first answers, and in the thick of it.
        let enough = answered.len() + 1 + kill * kill * 4;
        while answered.len() < enough {
            let mut line = String::new();
            assert!(output.read_line(&mut line).expect("reads") > 0, "it ended by itself");
            answered.extend(known(&line));
        }
        child.kill().expect("kills");
        child.wait().expect("is gone");
        // What it had answered by then. Half a line is no answer.
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("reads");
        answered
            .extend(rest.split_inclusive('\n').filter(|it| it.ends_with('\n')).filter_map(known));
    }
    let store = Store::open(dir.path()).expect("opens, and is sound");
    let events = store.events(None, 0, usize::MAX).expect("reads");
    let told: HashSet<_> = events.iter().filter_map(|it| it.operation_id.as_deref()).collect();
    for (is_event, which) in &answered {
        if *is_event {
            let sequence: i64 = which.parse().expect("a number");
            assert!(events.binary_search_by_key(&sequence, |it| it.sequence).is_ok());
        } else {
            let operation = store.operation(which).expect("reads").expect("was answered");
            let deployment = store.deployment(&operation.deployment).expect("reads");
            assert!(deployment.is_some(), "an operation without its deployment");
            assert!(told.contains(which.as_str()), "and without the event that tells of it");
        }
    }
    assert!(answered.len() > 1000, "{}", answered.len());
}

#[test]
fn every_way_to_write_goes_on_beside_the_others() {
    const EACH: usize = 100;
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let name = DeploymentName::main();
    let grouped: Vec<_> = (0..8)
        .map(|_| {
            let (store, name) = (store.clone(), name.clone());
            runtime.spawn(async move {
                for _ in 0..EACH {
                    let append = store.append_event_async(name.clone(), event("grouped"));
                    append.await.expect("commits");
                }
            })
        })
        .collect();
    std::thread::scope(|scope| {
        for own in [false, true, true] {
            let (shared, name, home) = (store.clone(), &name, bench.home());
            scope.spawn(move || {
                // One over the same connection, two over ones of their own, as other processes.
                let store = if own { Store::open(home).expect("opens") } else { shared };
                for _ in 0..EACH {
                    let told = store.append_event(name, &event("by itself")).expect("commits");
                    let last = store.last_events(Some(name), 1000).expect("reads");
                    assert!(last.iter().any(|it| it.sequence == told.sequence), "not seen");
                }
            });
        }
    });
    for writer in grouped {
        runtime.block_on(writer).expect("no panic");
    }
    let events = store.events(None, 0, usize::MAX).expect("reads");
    let numbers = events.iter().map(|event| event.sequence);
    assert!(numbers.eq(1..=11 * i64::try_from(EACH).expect("small")), "none lost, none twice");
}

#[test]
fn names_and_limits_hold_in_a_shared_commit() {
    let bench = Arc::new(Bench::new());
    let store = Store::open(bench.home()).expect("opens");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ended = runtime.block_on(async {
        let tries = (0..50).map(|_| {
            let (store, bench) = (store.clone(), bench.clone());
            let make = move |name: &DeploymentName| Ok(launch(&bench, name.as_str()));
            tokio::spawn(
                async move { store.begin_counting_async(DeploymentName::main(), make).await },
            )
        });
        let tries: Vec<_> = tries.collect();
        let mut ended = Vec::new();
        for one in tries {
            ended.push(one.await.expect("no panic").map_err(Failure::from));
        }
        ended
    });
    let (begun, others): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    assert_eq!(begun.len(), 1, "the others found it being launched");
    assert!(others.into_iter().all(|it| it.expect_err("refused").kind == FailureKind::Conflict));
    assert_eq!(store.deployments(true).expect("reads").len(), 1);
    assert_eq!(store.events(None, 0, 100).expect("reads").len(), 1, "refused ones tell nothing");
}

#[test]
fn on_a_full_disk_the_reserve_is_for_what_waits_too() {
    let bench = Bench::new();
    let Some(_disk) = Tmpfs::on(bench.home(), "size=150m,mode=700") else { return };
    let reserve = bench.home().join("reserve");
    let store = Store::open(bench.home()).expect("opens");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let append = |bytes: usize| {
        let large = event("large").with(json!("x".repeat(bytes)));
        let told = runtime.block_on(store.append_event_async(DeploymentName::main(), large));
        told.map_err(Failure::from)
    };
    append(1).expect("commits");
    let filler = fill(bench.home());
    assert!(reserve.exists());
    append(600 << 10).expect("the reserve is for this");
    assert!(!reserve.exists(), "it was given back");
    let failure = append(8 << 20).expect_err("there is no room");
    assert!(failure.message.contains("full"), "{failure}");
    assert!(failure.remedy.is_some());
    std::fs::remove_file(filler).expect("removed");
    append(8 << 20).expect("there is room again");
    assert_eq!(store.events(None, 0, 100).expect("reads").len(), 3);
}
