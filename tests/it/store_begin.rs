//! Beginning work: names that count up, an owner's limits, and what a request brings along.

use std::collections::BTreeSet;
use std::sync::Arc;

use openclaw_pipeline::domain::{
    Aftermath, Change, DeploymentName, DeploymentSpec, DeploymentStatus, Failure, FailureKind,
    Operation, OperationKind, OperationStatus,
};
use openclaw_pipeline::store::{
    Along, Begin, Finish, NewDeployment, NobodyComes, OwnClusterStands, OwnerLimits, Result,
    Spending, Store, StoreError, new_id,
};
use proptest::prelude::*;
use rusqlite::Transaction;
use serde_json::json;

use crate::support::bench::{Bench, OLD};

fn name(text: &str) -> DeploymentName {
    text.parse().expect("a name")
}

fn launch(bench: &Bench, name: &DeploymentName, owner: Option<&str>) -> Begin {
    let create = NewDeployment {
        id: new_id(),
        sealed: Vec::new(),
        spec: bench.spec(OLD),
        owner: owner.map(str::to_owned),
    };
    Begin { create: Some(create), ..Begin::new(OperationKind::Launch, name.clone()) }
}

fn counted(store: &Store, bench: &Bench, base: &str) -> Result<String> {
    let begun = store.begin_counting(&name(base), |name| Ok(launch(bench, name, None)))?;
    Ok(begun.deployment.to_string())
}

fn ended(store: &Store, operation: &Operation, change: Change) {
    let lease = store.acquire(&operation.id, "test").expect("takes it up");
    let status = OperationStatus::Succeeded;
    let finish = Finish { status, change: Some(change), error: None, event: None };
    store.finish(&lease, &finish).expect("ends");
}

/// A deployment that has come to this status.
fn there(store: &Store, bench: &Bench, text: &str, status: DeploymentStatus) {
    let kind = OperationKind::Launch;
    let operation = store.begin(&launch(bench, &name(text), None)).expect("begins");
    match status {
        DeploymentStatus::Launching => {}
        DeploymentStatus::Failed => {
            ended(store, &operation, Change::Fail { kind, left: Aftermath::Broken });
        }
        DeploymentStatus::Destroyed => {
            ended(store, &operation, Change::Succeed(kind));
            let kind = OperationKind::Destroy;
            let operation = store.begin(&Begin::new(kind, name(text))).expect("begins");
            ended(store, &operation, Change::Succeed(kind));
        }
        _ => ended(store, &operation, Change::Succeed(kind)),
    }
}

fn refused(result: Result<impl std::fmt::Debug>) -> Failure {
    match result {
        Err(StoreError::Refused(failure)) => failure,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_name_that_is_taken_counts_up() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    assert_eq!(counted(&store, &bench, "main").expect("begins"), "main");
    let failure = refused(counted(&store, &bench, "main"));
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert_eq!(failure.message, "main is being launched");

    let launching = store.active_operation(&name("main")).expect("reads").expect("is there");
    ended(&store, &launching, Change::Succeed(OperationKind::Launch));
    // One that is being launched under a number is in nobody's way, and a failed one keeps its.
    assert_eq!(counted(&store, &bench, "main").expect("begins"), "main1");
    there(&store, &bench, "main2", DeploymentStatus::Failed);
    there(&store, &bench, "main3", DeploymentStatus::Destroyed);
    assert_eq!(counted(&store, &bench, "main").expect("begins"), "main3");
    assert_eq!(counted(&store, &bench, "main").expect("begins"), "main4");
    assert_eq!(store.deployments(false).expect("reads").len(), 5);
}

#[test]
fn a_name_that_gets_too_long_is_refused() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let long = "a".repeat(40);
    there(&store, &bench, &long, DeploymentStatus::Running);
    let failure = refused(counted(&store, &bench, &long));
    assert_eq!(failure.kind, FailureKind::BadInput);
    assert!(failure.message.contains(&format!("{long}1")), "{failure}");
    assert!(failure.message.contains("40 characters"), "{failure}");
    // With one digit it fits, with two it does not.
    let base = "b".repeat(39);
    for number in ["", "1", "2", "3", "4", "5", "6", "7", "8"] {
        there(&store, &bench, &format!("{base}{number}"), DeploymentStatus::Running);
    }
    assert_eq!(counted(&store, &bench, &base).expect("begins"), format!("{base}9"));
    assert_eq!(refused(counted(&store, &bench, &base)).kind, FailureKind::BadInput);
}

#[test]
fn fifty_that_count_at_once_get_fifty_names() {
    const MANY: usize = 50;
    let bench = Bench::new();
    let shared = Store::open(bench.home()).expect("opens");
    there(&shared, &bench, "main", DeploymentStatus::Running);
    // Half of them over one connection, half over one each, as other processes have.
    let names: BTreeSet<String> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..MANY)
            .map(|number| {
                let (shared, bench) = (shared.clone(), &bench);
                scope.spawn(move || {
                    let store = match number % 2 {
                        0 => shared,
                        _ => Store::open(bench.home()).expect("opens"),
                    };
                    counted(&store, bench, "main").expect("begins")
                })
            })
            .collect();
        tries.into_iter().map(|it| it.join().expect("no panic")).collect()
    });
    assert_eq!(names, (1..=MANY).map(|number| format!("main{number}")).collect());
}

#[test]
fn of_fifty_that_launch_a_free_name_at_once_one_does() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let begun = std::thread::scope(|scope| {
        let tries: Vec<_> =
            (0..50).map(|_| scope.spawn(|| counted(&store, &bench, "main"))).collect();
        let (begun, others): (Vec<_>, Vec<_>) =
            tries.into_iter().map(|it| it.join().expect("no panic")).partition(Result::is_ok);
        assert!(others.into_iter().all(|it| refused(it).kind == FailureKind::Conflict));
        begun.len()
    });
    assert_eq!(begun, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_name_is_the_smallest_that_is_free(
        there_are in prop::collection::btree_map(
            prop_oneof![
                (1..14u32).prop_map(|number| format!("n{number}")),
                // Near misses, which are no numbers of `n`.
                prop::sample::select(vec!["n01", "n1a", "n1-1", "n-1", "na", "m1", "n1x"])
                    .prop_map(str::to_owned),
            ],
            prop::sample::select(vec![
                DeploymentStatus::Running,
                DeploymentStatus::Failed,
                DeploymentStatus::Launching,
                DeploymentStatus::Destroyed,
            ]),
            0..16,
        ),
    ) {
        let bench = Bench::new();
        let store = Store::open(bench.home()).expect("opens");
        there(&store, &bench, "n", DeploymentStatus::Running);
        for (name, status) in &there_are {
            there(&store, &bench, name, *status);
        }
        let free = |name: &String| {
            there_are.get(name).is_none_or(|status| *status == DeploymentStatus::Destroyed)
        };
        let expected = (1..=16).map(|number| format!("n{number}")).find(free).expect("one is free");
        prop_assert_eq!(counted(&store, &bench, "n").expect("begins"), expected);
    }
}

#[test]
fn an_owner_has_no_more_than_its_limits() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let begin = |text: &str, deployments, launches| {
        let limits = OwnerLimits { owner: "token".into(), deployments, launches };
        store.begin(&Begin { limits: Some(limits), ..launch(&bench, &name(text), Some("token")) })
    };
    let first = begin("a", Some(2), Some(1)).expect("begins");
    assert_eq!(
        store.deployment(&name("a")).expect("reads").expect("there").owner.as_deref(),
        Some("token")
    );
    // Others' do not count.
    there(&store, &bench, "others", DeploymentStatus::Running);
    let failure = refused(begin("b", Some(2), Some(1)));
    assert_eq!(failure.kind, FailureKind::Forbidden);
    assert_eq!(failure.message, "this token's limit for launches at once is 1, and it has 1");
    assert_eq!(store.deployment(&name("b")).expect("reads"), None, "nothing of it was written");
    ended(&store, &first, Change::Succeed(OperationKind::Launch));
    let second = begin("b", Some(2), Some(1)).expect("begins");
    ended(&store, &second, Change::Succeed(OperationKind::Launch));
    let failure = refused(begin("c", Some(2), Some(1)));
    assert_eq!(failure.message, "this token's limit for deployments is 2, and it has 2");
    assert!(failure.remedy.is_some());
    begin("c", None, None).expect("no limit");

    // What is destroyed no longer counts.
    for text in ["a", "c"] {
        if let Some(launching) = store.active_operation(&name(text)).expect("reads") {
            ended(&store, &launching, Change::Succeed(OperationKind::Launch));
        }
        let kind = OperationKind::Destroy;
        let operation = store.begin(&Begin::new(kind, name(text))).expect("begins");
        ended(&store, &operation, Change::Succeed(kind));
    }
    begin("d", Some(2), Some(1)).expect("begins");
}

#[test]
fn of_many_launches_at_once_an_owner_gets_no_more_than_its_limit() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let begun = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..20)
            .map(|number| {
                let (store, bench) = (&store, &bench);
                scope.spawn(move || {
                    let (owner, deployments) = ("token".to_owned(), Some(5));
                    let limits = OwnerLimits { owner, deployments, launches: None };
                    let plain = launch(bench, &name(&format!("d{number}")), Some("token"));
                    store.begin(&Begin { limits: Some(limits), ..plain }).is_ok()
                })
            })
            .collect();
        tries.into_iter().map(|it| it.join().expect("no panic")).filter(|begun| *begun).count()
    });
    assert_eq!(begun, 5);
}

#[test]
fn of_many_launches_at_once_an_owner_spends_no_more_than_it_may() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    // Others' do not count.
    there(&store, &bench, "others", DeploymentStatus::Running);
    let try_one = |text: &str, cost: fn(&DeploymentSpec) -> Option<f64>| {
        let spending = Spending { owner: "token".into(), most: 50, cost };
        let along: Vec<Arc<dyn Along>> = vec![Arc::new(spending)];
        store.begin(&Begin { along, ..launch(&bench, &name(text), Some("token")) })
    };
    let begun = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..20)
            .map(|number| {
                let try_one = &try_one;
                scope.spawn(move || try_one(&format!("d{number}"), |_| Some(10.0)).is_ok())
            })
            .collect();
        tries.into_iter().map(|it| it.join().expect("no panic")).filter(|begun| *begun).count()
    });
    assert_eq!(begun, 5);
    let failure = refused(try_one("dear", |_| Some(9.99)));
    assert_eq!(failure.kind, FailureKind::Forbidden);
    assert!(failure.message.contains("it may spend 50 dollars a month"), "{failure}");
    let failure = refused(try_one("unknown", |_| None));
    assert!(failure.message.contains("not known"), "{failure}");
    assert_eq!(store.deployment(&name("unknown")).expect("reads"), None, "nothing was written");
}

#[test]
fn nothing_begins_on_the_own_cluster_once_its_removal_has() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let server = "https://api.example".to_owned();
    let side = rusqlite::Connection::open(store.path()).expect("opens");
    let is_at = |server: &str| {
        let facts = "UPDATE deployments SET facts = json_set(facts, '$.own_cluster.at.server', ?1) \
                     WHERE name = 'cluster'";
        assert_eq!(side.execute(facts, [server]).expect("updates"), 1);
    };
    let try_one = |text: &str| {
        let stands = OwnClusterStands { server: server.clone() };
        let along: Vec<Arc<dyn Along>> = vec![Arc::new(stands)];
        store.begin(&Begin { along, ..launch(&bench, &name(text), None) })
    };
    let refused_to = |text: &str, words: &str| {
        let failure = refused(try_one(text));
        assert_eq!(failure.kind, FailureKind::Conflict);
        assert!(failure.message.contains(words), "{failure}");
        assert!(failure.remedy.is_some(), "no way on");
        assert_eq!(store.deployment(&name(text)).expect("reads"), None, "nothing was written");
    };
    let cluster = DeploymentName::cluster();
    let (make, change) = (OperationKind::Launch, OperationKind::Update);
    let destroy = OperationKind::Destroy;
    refused_to("too-early", "or gone");
    let begun = store.begin(&launch(&bench, &cluster, None)).expect("begins");
    refused_to("while-it-is-made", "is being made");
    ended(&store, &begun, Change::Succeed(make));
    is_at("https://another.example");
    refused_to("elsewhere", "another one");
    is_at(&server);
    try_one("before").expect("it stands");
    let begun = store.begin(&Begin::new(change, cluster.clone())).expect("begins");
    try_one("on-one-that-changes").expect("it stands");
    ended(&store, &begun, Change::Succeed(change));
    let begun = store.begin(&Begin::new(destroy, cluster.clone())).expect("begins");
    refused_to("meanwhile", "is being removed");
    ended(&store, &begun, Change::Fail { kind: destroy, left: Aftermath::Broken });
    refused_to("after", "half removed");
    let begun = store.begin(&Begin::new(change, cluster.clone())).expect("begins");
    refused_to("while-it-is-mended", "half removed");
    ended(&store, &begun, Change::Succeed(change));
    try_one("on-a-mended-one").expect("it stands");
    let begun = store.begin(&Begin::new(destroy, cluster)).expect("begins");
    ended(&store, &begun, Change::Succeed(destroy));
    refused_to("too-late", "or gone");
}

#[test]
fn the_own_cluster_is_not_removed_while_a_launch_is_on_its_way_there() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let cluster = DeploymentName::cluster();
    let made = store.begin(&launch(&bench, &cluster, None)).expect("begins");
    ended(&store, &made, Change::Succeed(OperationKind::Launch));
    let remove = || {
        let along: Vec<Arc<dyn Along>> = vec![Arc::new(NobodyComes)];
        store.begin(&Begin { along, ..Begin::new(OperationKind::Destroy, cluster.clone()) })
    };
    // Its record was written before there was a cluster; what it asks for says where it goes.
    let on_it = json!({ "spec": { "cluster": { "own": { "server": "https://api.example" } } } });
    let elsewhere = json!({ "spec": { "cluster": { "own": null } } });
    let coming = Begin { params: on_it, ..launch(&bench, &name("coming"), None) };
    let other = Begin { params: elsewhere, ..launch(&bench, &name("other"), None) };
    store.begin(&other).expect("begins");
    let begun = store.begin(&coming).expect("begins");
    let failure = refused(remove());
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.message.starts_with("coming is being launched"), "{failure}");
    assert_eq!(store.active_operation(&cluster).expect("reads"), None, "nothing has begun");
    let kind = OperationKind::Launch;
    ended(&store, &begun, Change::Fail { kind, left: Aftermath::Broken });
    remove().expect("nobody comes any more");
}

/// A row in a table of the test's own.
#[derive(Debug)]
struct Noted {
    /// What `look` refuses with.
    refuses: Option<&'static str>,
    /// Whether the row cannot be written.
    breaks: bool,
}

impl Along for Noted {
    fn look(&self, _tx: &Transaction<'_>) -> Result<()> {
        self.refuses.map_or(Ok(()), |why| Err(Failure::conflict(why).into()))
    }

    fn write(&self, tx: &Transaction<'_>, begun: &Operation) -> Result<()> {
        tx.execute("INSERT INTO noted (operation) VALUES (?1)", [&begun.id])?;
        if self.breaks { Err(Failure::failed("broken").into()) } else { Ok(()) }
    }
}

#[test]
fn what_a_request_brings_along_commits_with_the_operation_or_not_at_all() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let side = rusqlite::Connection::open(store.path()).expect("opens");
    side.execute_batch("CREATE TABLE noted (operation TEXT)").expect("makes a table");
    let noted = || {
        let mut statement = side.prepare("SELECT operation FROM noted").expect("prepares");
        let found = statement.query_map([], |row| row.get::<_, String>(0)).expect("reads");
        found.map(|it| it.expect("a row")).collect::<Vec<_>>()
    };
    let with = |text: &str, along: Noted| {
        let plain = launch(&bench, &name(text), None);
        store.begin(&Begin { along: vec![Arc::new(along)], ..plain })
    };
    let begun = with("a", Noted { refuses: None, breaks: false }).expect("begins");
    assert_eq!(noted(), [begun.id.as_str()]);

    let failure = refused(with("b", Noted { refuses: None, breaks: true }));
    assert_eq!(failure.message, "broken");
    assert_eq!(store.deployment(&name("b")).expect("reads"), None);
    assert_eq!(noted(), [begun.id.as_str()], "the row went with it");

    // Its own refusal goes before that of the name, which is taken by now.
    let again = || Noted { refuses: Some("made before"), breaks: false };
    assert_eq!(refused(with("a", again())).message, "made before");
    let counting = store.begin_counting(&name("a"), |name| {
        Ok(Begin { along: vec![Arc::new(again())], ..launch(&bench, name, None) })
    });
    assert_eq!(refused(counting).message, "made before");
}
