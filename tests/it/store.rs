//! The store: one operation at a time, fencing, commit order, and what it refuses to open.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use openclaw_pipeline::app::App;
use openclaw_pipeline::domain::{
    Aftermath, Change, DeploymentName, DeploymentStatus, EventType, Facts, Failure, FailureKind,
    Operation, OperationKind, OperationStatus, StepStatus,
};
use openclaw_pipeline::store::{
    ApprovalEnd, ApprovalRecord, Begin, Finish, Lease, NewDeployment, NewEvent, StepUpdate, Store,
    StoreError, Window, new_id,
};
use serde_json::{Value, json};

use crate::support::bench::{Bench, OLD};
use crate::support::disk::{Tmpfs, fill};

fn name(text: &str) -> DeploymentName {
    text.parse().expect("a name")
}

fn launch(store: &Store, bench: &Bench, name: &DeploymentName) -> Result<Operation, StoreError> {
    let (id, sealed, spec) = (new_id(), Vec::new(), bench.spec(OLD));
    let create = NewDeployment { id, sealed, spec, owner: None };
    store.begin(&Begin {
        create: Some(create),
        event: Some(NewEvent::new(EventType::Launching, "launching")),
        ..Begin::new(OperationKind::Launch, name.clone())
    })
}

fn restart(store: &Store, name: &DeploymentName) -> Result<Operation, StoreError> {
    store.begin(&Begin::new(OperationKind::Restart, name.clone()))
}

fn destroy(store: &Store, name: &DeploymentName) -> Result<Operation, StoreError> {
    store.begin(&Begin::new(OperationKind::Destroy, name.clone()))
}

fn completed(store: &Store, lease: &Lease) -> Result<DeploymentStatus, StoreError> {
    store.finish(
        lease,
        &Finish {
            status: OperationStatus::Succeeded,
            change: Some(Change::Succeed(OperationKind::Launch)),
            error: None,
            event: Some(NewEvent::new(EventType::Completed, "done")),
        },
    )
}

fn refused(result: Result<impl std::fmt::Debug, StoreError>) -> Failure {
    match result {
        Err(StoreError::Refused(failure)) => failure,
        other => panic!("not refused: {other:?}"),
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

#[test]
fn one_operation_at_a_time_also_from_two_connections() {
    let bench = Bench::new();
    let (one, other) = (Store::open(bench.home()), Store::open(bench.home()));
    let (one, other) = (one.expect("opens"), other.expect("opens"));
    let operation = launch(&one, &bench, &bench.name).expect("begins");
    for store in [&one, &other] {
        let failure = refused(restart(store, &bench.name));
        assert_eq!(failure.kind, FailureKind::Conflict);
        assert!(failure.message.contains(&operation.id), "{failure}");
        assert!(failure.remedy.is_some_and(|it| it.contains(&operation.id)));
    }
    // Another deployment is another matter.
    launch(&other, &bench, &name("other")).expect("begins");
}

#[test]
fn sealed_values_are_kept_if_their_operation_begins_and_only_then() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let operation = launch(&store, &bench, &bench.name).expect("begins");
    let id = store.deployment(&bench.name).expect("reads").expect("there").id;
    let rotate = || {
        store.begin(&Begin {
            sealed: vec![("secrets.next".into(), vec![1])],
            ..Begin::new(OperationKind::Rotate, bench.name.clone())
        })
    };
    let sealed = || store.sealed(&id, "secrets.next").expect("reads");
    refused(rotate());
    assert_eq!(sealed(), None);
    let lease = store.acquire(&operation.id, "test").expect("takes it up");
    completed(&store, &lease).expect("ends");
    rotate().expect("begins");
    assert_eq!(sealed(), Some(vec![1]));
}

#[test]
fn of_many_that_begin_at_once_one_does() {
    let bench = Bench::new();
    Store::open(bench.home()).expect("opens");
    let begun = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let store = Store::open(bench.home()).expect("opens");
                    launch(&store, &bench, &bench.name).map_err(Failure::from)
                })
            })
            .collect();
        let ended = tries.into_iter().map(|it| it.join().expect("no panic"));
        let (begun, refused): (Vec<_>, Vec<_>) = ended.partition(Result::is_ok);
        let kinds = refused.into_iter().map(|it| it.expect_err("refused").kind);
        assert!(kinds.into_iter().all(|kind| kind == FailureKind::Conflict));
        begun.len()
    });
    assert_eq!(begun, 1);
}

#[test]
fn what_the_operator_decided_meanwhile_is_not_undone_by_an_executor() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let operation = launch(&store, &bench, &bench.name).expect("begins");
    let lease = store.acquire(&operation.id, "test").expect("takes it up");
    let mut copy = store.deployment(&bench.name).expect("reads").expect("is there").spec;
    copy.keys_of_request = true;
    copy.version = Some("9".into());
    let spec = || store.deployment(&bench.name).expect("reads").expect("is there").spec;
    for protected in [true, false] {
        store.set_protected(&bench.name, protected).expect("writes");
        copy.protected = !protected;
        store.set_spec(&lease, &copy).expect("writes");
        assert_eq!(spec().protected, protected);
    }
    assert_eq!(spec().version.as_deref(), Some("9"));
    assert!(!spec().keys_of_request, "keys of others are not taken out again");
}

#[test]
fn an_executor_whose_operation_was_taken_over_writes_nothing_more() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let operation = launch(&store, &bench, &bench.name).expect("begins");
    let old = store.acquire(&operation.id, "the old one").expect("takes it up");
    store.step_intent(&old, 0, "prepare", "prepare", None).expect("writes");
    let new = store.acquire(&operation.id, "the new one").expect("takes it over");
    assert!(new.epoch > old.epoch);

    let before = store.events(None, 0, 100).expect("reads");
    let output = Value::Null;
    let update =
        StepUpdate { position: 0, status: StepStatus::Succeeded, message: None, output: &output };
    let event = NewEvent::new(EventType::HealthCheck, "late");
    let facts = Facts { port: Some(1), ..Facts::default() };
    let late = [
        store.step_intent(&old, 1, "fetch", "fetch", Some(&event)),
        store.step_outcome(&old, &update),
        store.set_facts(&old, &facts),
        store.set_spec(&old, &bench.spec("9")),
        completed(&store, &old).map(drop),
    ];
    for result in late {
        assert!(matches!(result, Err(StoreError::LeaseLost)), "{result:?}");
    }
    assert_eq!(store.events(None, 0, 100).expect("reads"), before);
    let found = store.operation(&operation.id).expect("reads").expect("is there");
    assert_eq!(found.steps.len(), 1);
    assert_eq!(found.steps[0].status, StepStatus::Running);
    let deployment = store.deployment(&bench.name).expect("reads").expect("is there");
    assert_eq!(deployment.facts, Facts::default());
    assert_eq!(deployment.status, DeploymentStatus::Launching);

    store.step_outcome(&new, &update).expect("the new one writes");
    assert_eq!(completed(&store, &new).expect("ends"), DeploymentStatus::Running);
    // An operation that ended is nobody's.
    let late = store.step_outcome(&new, &update);
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    let late = store.acquire(&operation.id, "anybody");
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
}

#[test]
fn a_state_and_its_event_commit_together_or_not_at_all() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let operation = launch(&store, &bench, &bench.name).expect("begins");
    let lease = store.acquire(&operation.id, "test").expect("takes it up");
    let count = || store.events(None, 0, 100).expect("reads").len();
    let status = || store.deployment(&bench.name).expect("reads").expect("is there").status;
    let told = count();

    // The event cannot be written: the state stays.
    let side = rusqlite::Connection::open(store.path()).expect("opens");
    side.execute_batch("ALTER TABLE events RENAME TO events_away").expect("renames");
    assert!(completed(&store, &lease).is_err());
    side.execute_batch("ALTER TABLE events_away RENAME TO events").expect("renames");
    assert_eq!((status(), count()), (DeploymentStatus::Launching, told));
    assert!(store.active_operation(&bench.name).expect("reads").is_some());

    // The state may not change so: the event is not told.
    let illegal = store.finish(
        &lease,
        &Finish {
            status: OperationStatus::Succeeded,
            change: Some(Change::Begin(OperationKind::Destroy)),
            error: None,
            event: Some(NewEvent::new(EventType::Destroyed, "gone")),
        },
    );
    illegal.expect("destroying may begin at any time");
    let begun = restart(&store, &bench.name);
    assert_eq!(refused(begun).kind, FailureKind::Conflict, "nothing begins while destroying");
    let last = store.events(None, 0, 100).expect("reads").pop().expect("an event");
    assert_eq!((last.kind, status()), (EventType::Destroyed, DeploymentStatus::Destroying));
    assert_eq!(count(), told + 1, "the refused beginning told nothing");
}

#[test]
fn events_are_numbered_in_the_order_of_their_commits() {
    const EACH: usize = 40;
    let bench = Bench::new();
    Store::open(bench.home()).expect("opens");
    let names = ["a", "b", "c", "d"].map(name);
    std::thread::scope(|scope| {
        let home = bench.home();
        for name in &names {
            scope.spawn(move || {
                let store = Store::open(home).expect("opens");
                for number in 0..EACH {
                    let event = NewEvent::new(EventType::HealthCheck, number.to_string());
                    store.append_event(name, &event).expect("commits");
                    // What is committed is seen, and nothing comes before it any more.
                    let last = store.events(Some(name), 0, 1000).expect("reads").pop();
                    assert_eq!(last.expect("its own").message, number.to_string());
                }
            });
        }
    });
    let store = Store::open(bench.home()).expect("opens");
    let events = store.events(None, 0, 1000).expect("reads");
    assert_eq!(events.len(), names.len() * EACH);
    assert!(events.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    for name in &names {
        let own = events.iter().filter(|event| event.name == *name);
        let told: Vec<usize> = own.map(|it| it.message.parse().expect("a number")).collect();
        assert_eq!(told, (0..EACH).collect::<Vec<_>>());
    }
    // Reading on after a number gives the rest, and no number is given twice.
    let after = events[99].sequence;
    assert_eq!(store.events(None, after, 1000).expect("reads"), events[100..]);
    let last = events.last().expect("events").sequence;
    let side = rusqlite::Connection::open(store.path()).expect("opens");
    side.execute("DELETE FROM events", []).expect("prunes");
    let event = NewEvent::new(EventType::HealthCheck, "next");
    store.append_event(&names[0], &event).expect("commits");
    let next = store.events(None, 0, 10).expect("reads").remove(0);
    assert!(next.sequence > last);
}

#[test]
fn a_newer_schema_is_refused() {
    let bench = Bench::new();
    let path = Store::open(bench.home()).expect("opens").path().to_owned();
    let side = rusqlite::Connection::open(&path).expect("opens");
    side.pragma_update(None, "user_version", 99).expect("writes");
    drop(side);
    let failure = refused(Store::open(bench.home()));
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.message.contains("newer") && failure.message.contains("99"), "{failure}");
    assert!(failure.remedy.is_some());
}

#[test]
fn a_damaged_database_is_refused_and_kept_as_it_is() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    for number in 0..200 {
        launch(&store, &bench, &name(&format!("d{number}"))).expect("begins");
    }
    let path = store.path().to_owned();
    drop(store);
    let sound = std::fs::read(&path).expect("reads");
    let mut broken_page = sound.clone();
    let middle = sound.len() / 2;
    broken_page[middle..middle + 4096].fill(0xa5);
    for damaged in [b"this is no database at all, whatever its name says".to_vec(), broken_page] {
        std::fs::write(&path, &damaged).expect("writes");
        let failure = refused(Store::open(bench.home()));
        assert!(failure.message.contains("damaged"), "{failure}");
        assert!(failure.message.contains(&path.display().to_string()), "{failure}");
        assert!(failure.remedy.is_some_and(|it| it.contains("copy")));
        assert_eq!(std::fs::read(&path).expect("reads"), damaged, "it was touched");
    }
    std::fs::write(&path, &sound).expect("writes");
    let store = Store::open(bench.home()).expect("the sound one opens again");
    assert_eq!(store.deployments(true).expect("reads").len(), 200);
}

/// A data directory on a disk of 150 MiB.
fn small_disk() -> Option<(Bench, Tmpfs)> {
    let bench = Bench::new();
    let disk = Tmpfs::on(bench.home(), "size=150m,mode=700")?;
    Some((bench, disk))
}

#[test]
fn what_was_done_is_recorded_on_a_full_disk_and_nothing_new_begins() {
    let Some((bench, _disk)) = small_disk() else { return };
    let reserve = bench.home().join("reserve");
    let store = Store::open(bench.home()).expect("opens");
    let operation = launch(&store, &bench, &bench.name).expect("begins");
    let lease = store.acquire(&operation.id, "test").expect("takes it up");
    store.step_intent(&lease, 0, "fetch", "fetch", None).expect("writes");
    assert!(reserve.exists());

    let filler = fill(bench.home());
    // More than the database's log has room for already.
    let output = json!("x".repeat(600 << 10));
    let update =
        StepUpdate { position: 0, status: StepStatus::Succeeded, message: None, output: &output };
    store.step_outcome(&lease, &update).expect("the reserve is for this");
    assert!(!reserve.exists(), "it was given back");
    let found = store.operation(&operation.id).expect("reads").expect("is there");
    assert_eq!(found.steps[0].status, StepStatus::Succeeded);
    completed(&store, &lease).expect("ends");

    let failure = refused(restart(&store, &bench.name));
    assert_eq!(failure.kind, FailureKind::Prerequisite);
    assert!(failure.message.contains("the disk of") && failure.message.contains("is full"));
    assert!(failure.message.contains("nothing is begun below 64 MiB"), "{failure}");
    assert!(failure.remedy.is_some_and(|it| it.contains("free some space")));

    // What was freed is not taken away again by whoever looks next.
    let some = std::fs::metadata(&filler).expect("is there").len() - (20 << 20);
    std::fs::File::options().write(true).open(&filler).expect("opens").set_len(some).expect("cut");
    Store::open(bench.home()).expect("opens");
    assert!(!reserve.exists(), "the room that was just made was taken");
    std::fs::remove_file(&filler).expect("removed");
    Store::open(bench.home()).expect("opens");
    assert!(reserve.exists(), "and there is ample room again");
    restart(&store, &bench.name).expect("begins");
}

#[test]
fn a_deployment_can_be_destroyed_on_a_full_disk() {
    let Some((bench, _disk)) = small_disk() else { return };
    let store = Store::open(bench.home()).expect("opens");
    let operation = launch(&store, &bench, &bench.name).expect("begins");
    let lease = store.acquire(&operation.id, "test").expect("takes it up");
    completed(&store, &lease).expect("ends");
    // The last one to close it takes the log and its index with it: they are to be made anew.
    drop(store);
    assert!(!bench.home().join("pipeline.db-shm").exists());
    fill(bench.home());
    let store = Store::open(bench.home()).expect("opens with what the reserve gave back");
    assert!(!bench.home().join("reserve").exists());
    destroy(&store, &bench.name).expect("begins");
}

#[test]
fn the_database_is_for_its_user_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("a/home");
    let store = Store::open(&home).expect("opens");
    store.append_event(&name("a"), &NewEvent::new(EventType::HealthCheck, "x")).expect("commits");
    assert_eq!(mode(&home), 0o700);
    // The database, its log and its index.
    let entries = std::fs::read_dir(&home).expect("lists").flatten();
    let of_it =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("pipeline.db");
    let modes: Vec<u32> = entries.filter(of_it).map(|entry| mode(&entry.path())).collect();
    assert_eq!(modes, [0o600; 3]);
}

#[test]
fn a_window_opens_once_and_grants_no_more_than_it_has() {
    const PLACES: u32 = 5;
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let window =
        Window { boot_id: "this".into(), opened_s: 10, deadline_s: 610, remaining: PLACES };
    let name = name("main");
    let record = ApprovalRecord {
        request_id: "request".into(),
        device_id: "device".into(),
        address: String::new(),
        role: "operator".into(),
        scopes: Vec::new(),
        decision: String::new(),
        reason: String::new(),
        decided_at: String::new(),
    };
    let take = |store: &Store| store.begin_approval("id", &name, &record).expect("takes");
    assert_eq!(take(&store), None, "there is no window yet");
    assert!(store.open_window("id", &window).expect("opens"));
    let longer = Window { deadline_s: 9999, remaining: 99, ..window.clone() };
    assert!(!store.open_window("id", &longer).expect("looks"));
    assert_eq!(store.window("id").expect("reads"), Some(window));

    let granted = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let store = Store::open(bench.home()).expect("opens");
                    (0..4).filter(|_| take(&store).is_some()).count()
                })
            })
            .collect();
        tries.into_iter().map(|it| it.join().expect("no panic")).sum::<usize>()
    });
    assert_eq!(granted, PLACES as usize);
    assert_eq!(take(&store), None);
    // Used up or not, it does not open again.
    assert!(!store.open_window("id", &longer).expect("looks"));
    let begun = store.approving(&name).expect("reads");
    assert_eq!(begun.len(), PLACES as usize, "one record for each place");
    let end = |decision, give_back_to| ApprovalEnd { decision, reason: "why", give_back_to };
    store.end_approval(begun[0].0, &name, end("failed", Some("id")), &[]).expect("gives back");
    store.end_approval(begun[1].0, &name, end("approved", None), &[]).expect("is in");
    assert_eq!(store.approving(&name).expect("reads").len(), PLACES as usize - 2);
    assert!(take(&store).is_some());
    assert_eq!(take(&store), None);
}

#[test]
fn another_sealing_key_is_refused_and_none_is_made_in_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (home, key) = (dir.path().join("home"), dir.path().join("key"));
    App::open_at(&home, &key).expect("opens");
    App::open_at(&home, &key).expect("opens again");
    assert_eq!(mode(&key), 0o600);

    let elsewhere = dir.path().join("elsewhere");
    App::open_at(&dir.path().join("other"), &elsewhere).expect("opens");
    let failure = App::open_at(&home, &elsewhere).err().expect("another key");
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.remedy.is_some_and(|it| it.contains("OPENCLAW_PIPELINE_KEY_FILE")));

    let missing = dir.path().join("missing");
    let failure = App::open_at(&home, &missing).err().expect("no key");
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
    assert!(!missing.exists(), "a key was made that opens nothing");
    App::open_at(&home, &key).expect("the right one still opens");
}

#[test]
fn a_thousand_deployments_are_listed() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    for number in 0..1000 {
        let name = name(&format!("d{number:04}"));
        let operation = launch(&store, &bench, &name).expect("begins");
        let lease = store.acquire(&operation.id, "test").expect("takes it up");
        let left = Aftermath::Broken;
        let (change, kind) = match number % 2 {
            0 => (Change::Succeed(OperationKind::Launch), OperationStatus::Succeeded),
            _ => (Change::Fail { kind: OperationKind::Launch, left }, OperationStatus::Failed),
        };
        let finish = Finish { status: kind, change: Some(change), error: None, event: None };
        store.finish(&lease, &finish).expect("ends");
    }
    let listed = store.deployments(false).expect("lists");
    assert_eq!(listed.len(), 1000);
    assert!(listed.windows(2).all(|pair| pair[0].name < pair[1].name));
    let running = listed.iter().filter(|it| it.status == DeploymentStatus::Running).count();
    assert_eq!(running, 500);
    assert_eq!(store.operations(None, 50).expect("lists").len(), 50);
}
