//! Pages: every row once and in order, whatever the filter, with ten thousand deployments there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use openclaw_pipeline::domain::{
    Change, Deployment, DeploymentName, DeploymentStatus, EventType, OperationKind,
    OperationStatus, TargetKind,
};
use openclaw_pipeline::store::{
    Begin, DeploymentFilter, EventFilter, Finish, NewDeployment, NewEvent, OperationFilter, Store,
    new_id,
};

use crate::support::bench::{Bench, OLD};

const MANY: usize = 10_000;
/// What a page may take on busy cores: reading it by an index takes a hundredth of this.
const PATIENCE: Duration = Duration::from_secs(1);

fn name(text: &str) -> DeploymentName {
    text.parse().expect("a name")
}

fn begin(store: &Store, bench: &Bench, kind: OperationKind, text: &str) -> String {
    let spec = bench.spec(OLD);
    let create = NewDeployment { id: new_id(), sealed: Vec::new(), spec, owner: None };
    let create = (kind == OperationKind::Launch).then_some(create);
    store.begin(&Begin { create, ..Begin::new(kind, name(text)) }).expect("begins").id
}

fn end(store: &Store, operation: &str, kind: OperationKind) {
    let lease = store.acquire(operation, "test").expect("takes it up");
    store.step_intent(&lease, 0, "prepare", "prepare", None).expect("writes");
    let (status, change) = (OperationStatus::Succeeded, Some(Change::Succeed(kind)));
    let finish = Finish { status, change, error: None, event: None };
    store.finish(&lease, &finish).expect("ends");
}

fn launched(store: &Store, bench: &Bench, text: &str) -> String {
    let operation = begin(store, bench, OperationKind::Launch, text);
    end(store, &operation, OperationKind::Launch);
    operation
}

/// A store with many deployments, made like one that was launched: `d00001` and so on, each tenth
/// destroyed, each hundredth failed, each third on docker.
fn many(bench: &Bench) -> Store {
    let store = Store::open(bench.home()).expect("opens");
    launched(&store, bench, "d00000");
    let side = rusqlite::Connection::open(store.path()).expect("opens");
    side.execute_batch(&format!(
        "INSERT INTO deployments (name, id, target, status, spec, facts, created_at, updated_at) \
         SELECT printf('d%05d', n.value), printf('id-%d', n.value), \
         iif(n.value % 3 = 0, 'docker', 'process'), \
         CASE WHEN n.value % 100 = 1 THEN 'failed' WHEN n.value % 10 = 2 THEN 'destroyed' \
         ELSE 'running' END, spec, facts, created_at, updated_at FROM deployments, \
         (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n \
         WHERE value < {}) SELECT value FROM n) AS n; \
         INSERT INTO operations (id, kind, deployment, status, params, created_at) \
         SELECT id, 'launch', name, iif(status = 'failed', 'failed', 'succeeded'), '{{}}', \
         created_at FROM deployments WHERE name <> 'd00000'",
        MANY - 1
    ))
    .expect("copies");
    store
}

/// Whether a filter lets one of them through.
fn is_of(filter: &DeploymentFilter, deployment: &Deployment) -> bool {
    let of_status = match filter.status {
        Some(status) => deployment.status == status,
        None => deployment.status != DeploymentStatus::Destroyed,
    };
    // The specification is a copy; the column says which target it is.
    let number: u32 = deployment.name.as_str()[1..].parse().expect("a number");
    let on_docker = number > 0 && number.is_multiple_of(3);
    let target = if on_docker { TargetKind::Docker } else { TargetKind::Process };
    of_status
        && filter.target.is_none_or(|wanted| wanted == target)
        && deployment.name.as_str().starts_with(filter.name_prefix.as_deref().unwrap_or_default())
}

/// All pages of a filter, and the longest that one took.
fn paged(store: &Store, filter: &DeploymentFilter, limit: usize) -> (Vec<String>, Duration) {
    let (mut names, mut longest) = (Vec::new(), Duration::ZERO);
    loop {
        let begun = Instant::now();
        let after: Option<String> = names.last().cloned();
        let page = store.deployments_page(filter, after.as_deref(), limit).expect("reads");
        longest = longest.max(begun.elapsed());
        if page.is_empty() {
            return (names, longest);
        }
        assert!(page.len() <= limit);
        names.extend(page.into_iter().map(|it| it.name.to_string()));
    }
}

#[test]
fn ten_thousand_deployments_are_paged_by_any_filter() {
    let bench = Bench::new();
    let store = many(&bench);
    let all = store.deployments(true).expect("reads");
    assert_eq!(all.len(), MANY);
    let prefix = |text: &str| Some(text.to_owned());
    let statuses = [
        None,
        Some(DeploymentStatus::Running),
        Some(DeploymentStatus::Failed),
        Some(DeploymentStatus::Destroyed),
        Some(DeploymentStatus::Updating),
    ];
    for status in statuses {
        for target in [None, Some(TargetKind::Docker)] {
            for name_prefix in [None, prefix("d012"), prefix("x"), prefix("d")] {
                let filter = DeploymentFilter { status, target, name_prefix };
                let expected = all.iter().filter(|it| is_of(&filter, it));
                let expected: Vec<_> = expected.map(|it| it.name.to_string()).collect();
                let (names, longest) = paged(&store, &filter, 200);
                assert_eq!(names, expected, "{filter:?}");
                assert!(longest < PATIENCE, "{filter:?}: {longest:?}");
            }
        }
    }
    let (_, longest) = paged(&store, &DeploymentFilter::default(), 50);
    assert!(longest < PATIENCE, "{longest:?}");
    let counts = store.census().expect("reads");
    let count = |status| counts.deployments.iter().find(|(it, _)| *it == status).map(|it| it.1);
    assert_eq!(count(DeploymentStatus::Failed), Some(100));
    assert_eq!(count(DeploymentStatus::Destroyed), Some(1000));
    assert_eq!(count(DeploymentStatus::Running), Some(8900));
    assert_eq!(count(DeploymentStatus::Launching), Some(0));
}

#[test]
fn a_page_goes_on_where_the_one_before_ended_whatever_came_or_went() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    for text in ["a", "b", "c", "d"] {
        launched(&store, &bench, text);
    }
    let all = DeploymentFilter::default();
    let first = store.deployments_page(&all, None, 2).expect("reads");
    assert_eq!(first.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    // The one that the cursor names goes, one comes before it, and one after.
    let destroying = begin(&store, &bench, OperationKind::Destroy, "b");
    end(&store, &destroying, OperationKind::Destroy);
    launched(&store, &bench, "a1");
    launched(&store, &bench, "b1");
    let next = store.deployments_page(&all, Some("b"), 2).expect("reads");
    assert_eq!(next.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["b1", "c"]);
    // A cursor may be anything.
    for cursor in ["", "\0", "zzz{{", "' OR 1=1 --", "ä"] {
        store.deployments_page(&all, Some(cursor), 2).expect("reads");
    }
}

#[test]
fn operations_are_paged_from_the_newest_on() {
    let bench = Bench::new();
    let store = many(&bench);
    let restarted = begin(&store, &bench, OperationKind::Restart, "d00000");
    let launching = begin(&store, &bench, OperationKind::Launch, "x1");

    let paged = |filter: &OperationFilter| {
        let (mut ids, mut before) = (Vec::new(), None);
        loop {
            let begun = Instant::now();
            let page = store.operations_page(filter, before, 200).expect("reads");
            assert!(begun.elapsed() < PATIENCE, "{filter:?}: {:?}", begun.elapsed());
            let Some(last) = page.last() else { return ids };
            assert!(page.windows(2).all(|pair| pair[0].sequence > pair[1].sequence));
            before = Some(last.sequence);
            ids.extend(page.into_iter().map(|it| it.id));
        }
    };
    let all = OperationFilter::default();
    let found = paged(&all);
    assert_eq!(found.len(), MANY + 2);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), MANY + 2, "none twice");
    assert_eq!(found[..2], [launching.as_str(), restarted.as_str()]);

    let of = |deployment: Option<&str>, status, prefix: Option<&str>| {
        paged(&OperationFilter {
            deployment: deployment.map(name),
            status,
            name_prefix: prefix.map(str::to_owned),
        })
    };
    let (running, failed) = (Some(OperationStatus::Running), Some(OperationStatus::Failed));
    assert_eq!(of(None, running, None), [launching.as_str(), restarted.as_str()]);
    assert_eq!(of(None, failed, None).len(), 100);
    assert_eq!(of(None, failed, Some("d00")).len(), 10);
    assert_eq!(of(None, None, Some("d00")).len(), 1001);
    assert_eq!(of(None, running, Some("x")), [launching.as_str()]);
    assert_eq!(of(Some("d00000"), None, None).len(), 2);
    assert_eq!(of(Some("d00000"), running, None), [restarted.as_str()]);
    assert_eq!(of(Some("d00000"), None, Some("d")).len(), 2);
    assert_eq!(of(Some("d00000"), None, Some("x")), [""; 0], "out of reach");

    // For whoever goes on with them, the oldest first.
    assert_eq!(store.operations_running().expect("reads"), [restarted, launching]);
    let counts = store.census().expect("reads");
    assert_eq!(counts.running, 2);
    assert!(counts.oldest_running.is_some_and(|age| age < Duration::from_secs(3600)));
}

#[test]
fn events_are_paged_by_any_filter_and_a_page_is_bounded() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let launch = launched(&store, &bench, "a1");
    let kinds = [EventType::HealthCheck, EventType::StartingApp, EventType::PullingImage];
    for number in 0..300 {
        let text = ["a1", "a2", "b1"][number % 3];
        let event = NewEvent::new(kinds[number / 3 % 3], number.to_string());
        store.append_event(&name(text), &event).expect("commits");
    }
    let all = store.events(None, 0, 1000).expect("reads");
    let paged = |filter: &EventFilter, limit| {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let page = store.events_page(filter, after, limit).expect("reads");
            assert!(page.events.len() <= limit && page.seen >= after);
            after = page.seen;
            events.extend(page.events);
            if !page.more {
                return (events, after);
            }
        }
    };
    let last = store.last_sequence().expect("reads");
    let types = vec![EventType::HealthCheck, EventType::PullingImage];
    let prefix = Some("a".to_owned());
    for filter in [
        EventFilter::default(),
        EventFilter { name: Some(name("a2")), ..EventFilter::default() },
        EventFilter { types: types.clone(), ..EventFilter::default() },
        EventFilter { name_prefix: prefix.clone(), types: types.clone(), ..EventFilter::default() },
        EventFilter { name: Some(name("b1")), types, ..EventFilter::default() },
        EventFilter { operation: Some(launch), ..EventFilter::default() },
        EventFilter { name: Some(name("b1")), name_prefix: prefix, ..EventFilter::default() },
    ] {
        let expected: Vec<_> = all
            .iter()
            .filter(|it| filter.name.as_ref().is_none_or(|name| *name == it.name))
            .filter(|it| filter.types.is_empty() || filter.types.contains(&it.kind))
            .filter(|it| filter.operation.is_none() || filter.operation == it.operation_id)
            .filter(|it| {
                let begins = filter.name_prefix.as_deref().unwrap_or_default();
                it.name.as_str().starts_with(begins)
            })
            .cloned()
            .collect();
        for limit in [1, 7, 100, 1000] {
            let (events, seen) = paged(&filter, limit);
            assert_eq!(events, expected, "{filter:?} by {limit}");
            assert!(seen <= last);
            // Where nothing is left, nothing is looked at again.
            let rest = store.events_page(&filter, seen, limit).expect("reads");
            assert_eq!((rest.events.len(), rest.more), (0, false));
        }
    }
}

#[test]
fn a_filter_that_lets_next_to_nothing_through_is_gone_on_with() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let side = rusqlite::Connection::open(store.path()).expect("opens");
    side.execute_batch(
        "INSERT INTO events (id, type, name, message, timestamp) \
         WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n \
         WHERE value < 12000) SELECT 'id-' || value, 'health_check', 'many', '', \
         '2026-01-01T00:00:00.000Z' FROM n",
    )
    .expect("fills");
    store.append_event(&name("rare"), &NewEvent::new(EventType::Completed, "x")).expect("commits");
    let filter = EventFilter { name_prefix: Some("ra".into()), ..EventFilter::default() };
    let (mut seen, mut pages) = (0, Vec::new());
    loop {
        let page = store.events_page(&filter, seen, 50).expect("reads");
        pages.push(page.events.len());
        seen = page.seen;
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, [0, 0, 1], "a page that is empty is not the end");
    assert_eq!(seen, 12_001);
}

#[test]
fn the_last_number_is_known_when_no_event_is_left() {
    let bench = Bench::new();
    let store = Store::open(bench.home()).expect("opens");
    let history = store.history().expect("reads");
    assert_eq!((history.oldest, history.pruned_to, history.last), (None, 0, 0));
    assert!(history.is_complete_after(0));
    for _ in 0..3 {
        let event = NewEvent::new(EventType::HealthCheck, "x");
        store.append_event(&DeploymentName::main(), &event).expect("commits");
    }
    let side = rusqlite::Connection::open(store.path()).expect("opens");
    side.execute_batch("DELETE FROM events").expect("removes");
    assert_eq!(store.last_sequence().expect("reads"), 3);
    assert_eq!(store.history().expect("reads").oldest, None);
}
