//! A deployment's lock: one executor, its children, and what a death or a stop leaves.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use openclaw_pipeline::domain::{FailureKind, OperationKind};
use openclaw_pipeline::exec::lock::Holder;
use openclaw_pipeline::exec::{Cmd, LockFile, ProcessId, wait};
use rustix::process::Signal;
use tokio::process::Child;

use crate::support::bench::Bench;

/// How long a probe looks before it gives up: far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn lock_path(bench: &Bench) -> PathBuf {
    let path = bench.engine().layout().lock(&bench.name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("can be made");
    path
}

fn id(child: &Child) -> ProcessId {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
    ProcessId::of(pid).expect("it runs")
}

/// A child that holds the deployment's lock, as that of an executor does.
fn holding(bench: &Bench) -> Child {
    let path = lock_path(bench);
    let lock = LockFile::try_acquire(&path, "update").expect("tries").expect("is free");
    let log = File::create(bench.home().join("log")).expect("a log");
    let mut cmd = Cmd::new("sleep");
    let child = cmd.arg("600").hold(&lock).expect("duplicates").supervised(&log).expect("starts");
    // The executor goes; its child keeps the lock.
    drop((cmd, lock));
    assert!(LockFile::is_held(&path).expect("looks"));
    child
}

/// Writes down who took the lock.
fn taken_by(bench: &Bench, process: ProcessId) {
    let holder = Holder { process, purpose: "update".into() };
    let text = serde_json::to_vec(&holder).expect("is plain");
    std::fs::write(lock_path(bench), text).expect("writes");
}

/// A process that has ended.
async fn dead() -> ProcessId {
    let log = tempfile::tempfile().expect("a file");
    let mut child = Cmd::new("sleep").arg("600").supervised(&log).expect("starts");
    let process = id(&child);
    child.kill().await.expect("ends");
    assert!(!process.is_alive());
    process
}

/// The state of a process, as `/proc` has it: `S`, `T`, …
fn state(process: &ProcessId) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
    Some(stat.rsplit(')').next()?.split_whitespace().next()?.to_owned())
}

#[tokio::test]
async fn the_second_executor_is_told_who_the_first_one_is() {
    let bench = Bench::new();
    let first = bench.engine().lock(&bench.name, "launch").await.expect("is free");
    bench.begin(&bench.engine(), OperationKind::Launch).expect("begins");
    let failure = bench.engine().lock(&bench.name, "destroy").await.expect_err("is held");
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.message.contains("launch"), "{failure}");
    assert!(failure.message.contains(&std::process::id().to_string()), "{failure}");
    assert!(failure.remedy.is_some());
    // Another deployment's lock is another one.
    let other = "other".parse().expect("a name");
    bench.engine().lock(&other, "launch").await.expect("is free");
    drop(first);
    bench.lock(&bench.engine(), "destroy").await;
}

#[tokio::test]
async fn one_whose_operation_is_over_is_waited_for_until_it_lets_go() {
    let bench = Bench::new();
    bench.succeed(OperationKind::Launch).await;
    let engine = bench.engine();
    let first = bench.lock(&engine, "launch").await;
    let lets_go = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(first);
    };
    let (second, ()) = tokio::join!(engine.lock(&bench.name, "stop"), lets_go);
    second.expect("it is waited for");
}

#[tokio::test]
async fn what_a_dead_executor_left_running_ends_before_anyone_goes_on() {
    let bench = Bench::new();
    let mut child = holding(&bench);
    taken_by(&bench, dead().await);
    // Somebody who only looks is not what is left of it.
    let _looking = File::open(lock_path(&bench)).expect("opens");
    let lock = bench.engine().lock(&bench.name, "launch").await.expect("is taken over");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    let status = ended.expect("the child was ended").expect("is waited for");
    assert!(!status.success(), "it ended by itself");
    let holder = LockFile::holder(&lock_path(&bench)).expect("is recorded");
    assert_eq!(holder.purpose, "launch");
    assert_eq!(holder.process, ProcessId::current().expect("this process"));
    drop(lock);
}

#[tokio::test]
async fn a_stopped_executor_is_not_taken_over() {
    let bench = Bench::new();
    bench.begin(&bench.engine(), OperationKind::Launch).expect("begins");
    let mut child = holding(&bench);
    let process = id(&child);
    taken_by(&bench, process.clone());
    assert!(process.signal(Signal::STOP).expect("signals"));
    let stopped =
        wait::until(PATIENCE, || async { (state(&process).as_deref() == Some("T")).then_some(()) });
    stopped.await.expect("it stops");

    let failure = bench.engine().lock(&bench.name, "launch").await.expect_err("is held");
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.message.contains(&process.pid.to_string()), "{failure}");
    assert!(process.is_alive() && LockFile::is_held(&lock_path(&bench)).expect("looks"));

    assert!(process.signal(Signal::CONT).expect("signals"));
    let goes_on = wait::until(PATIENCE, || async {
        state(&process).is_some_and(|state| state != "T").then_some(())
    });
    goes_on.await.expect("it goes on");
    assert!(LockFile::is_held(&lock_path(&bench)).expect("looks"), "it was taken over meanwhile");
    bench.engine().lock(&bench.name, "launch").await.expect_err("it works on");
    child.kill().await.expect("ends");
    bench.lock(&bench.engine(), "launch").await;
}
