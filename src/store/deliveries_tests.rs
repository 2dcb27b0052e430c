//! The outbox in the store: what is fanned out, sent next, recorded, replayed and pruned.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{
    EndpointChange, Fate, Filter, NewEndpoint, NewEvent, NewReplay, Outcome, Replay, ReplayStatus,
    Scope, new_id,
};
use super::*;
use crate::domain::DeploymentName;

struct Scene {
    _dir: tempfile::TempDir,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        Self { _dir: dir, store }
    }

    fn endpoint(&self, is_frontend: bool, filter: Filter) -> Endpoint {
        let id = new_id();
        let (url, secret) = ("http://127.0.0.1:1/".into(), vec![1]);
        let new = NewEndpoint { id, url, filter, is_frontend, owner: None, secret };
        self.store.put_endpoint(&new, None, None).expect("records")
    }

    fn frontend(&self) -> Endpoint {
        self.endpoint(true, Filter::default())
    }

    /// Tells of something, and answers its sequence number.
    fn event(&self, name: &str, kind: EventType) -> i64 {
        let name: DeploymentName = name.parse().expect("a name");
        self.store.append_event(&name, &NewEvent::new(kind, "x")).expect("appends").sequence
    }

    fn fan_out(&self) {
        while self.store.fan_out(None).expect("fans out") {}
    }

    fn due(&self, endpoint: &Endpoint) -> Vec<(String, i64)> {
        let due = self
            .store
            .waiting(endpoint.number, now_ms(), &BTreeSet::new(), 100)
            .expect("reads")
            .due;
        due.into_iter().map(|it| (it.name, it.event.expect("an event").sequence)).collect()
    }

    /// Ends what is due of a deployment so.
    fn end(&self, endpoint: &Endpoint, name: &str, fate: Fate) {
        let due = self
            .store
            .waiting(endpoint.number, now_ms(), &BTreeSet::new(), 100)
            .expect("reads")
            .due;
        let due = due.into_iter().find(|it| it.name == name).expect("it is due");
        let error = (fate != Fate::Delivered).then(|| "it failed".to_owned());
        let outcome = Outcome {
            id: due.id,
            endpoint: due.endpoint,
            name: due.name,
            fate,
            status: None,
            error,
        };
        self.store.record_outcomes(&[outcome], &BTreeSet::new()).expect("records");
    }

    fn listed(&self, endpoint: &Endpoint, status: DeliveryStatus) -> Vec<i64> {
        let listed = self.store.deliveries(endpoint, Some(status), None, 1000).expect("lists");
        let mut listed: Vec<i64> = listed.into_iter().map(|it| it.sequence).collect();
        listed.reverse();
        listed
    }

    fn replay(&self, endpoint: &Endpoint, range: (i64, i64), scope: Scope) -> Replay {
        let new = NewReplay {
            endpoint,
            from_sequence: range.0,
            to_sequence: range.1,
            scope,
            record: None,
            once: None,
        };
        let replay = self.store.begin_replay(&new).expect("begins");
        while self.store.advance_replays().expect("advances") {}
        replay
    }

    fn replayed(&self, replay: &Replay) -> Replay {
        self.store.replay(&replay.id).expect("reads").expect("is there")
    }
}

const AGAIN: Fate = Fate::Again { next_ms: i64::MAX, away: true, held: false };

#[test]
fn the_front_end_is_told_everything_and_others_what_happens_next() {
    let scene = Scene::new();
    scene.event("a", EventType::Launching);
    let (frontend, other) = (scene.frontend(), scene.endpoint(false, Filter::default()));
    let second = scene.event("a", EventType::Completed);
    scene.fan_out();
    assert_eq!(scene.listed(&frontend, DeliveryStatus::Pending), [1, second]);
    assert_eq!(scene.listed(&other, DeliveryStatus::Pending), [second]);
    // Fanning out once more changes nothing.
    assert!(!scene.store.fan_out(None).expect("fans out"));
    assert_eq!(scene.listed(&frontend, DeliveryStatus::Pending), [1, second]);
}

#[test]
fn filters_take_types_and_beginnings_of_names() {
    let scene = Scene::new();
    let events = Some(vec![EventType::Completed, EventType::Failed]);
    let names = Some(["shop-", "blog"].map(|it| it.parse().expect("a prefix")).to_vec());
    let by_type = scene.endpoint(false, Filter { events: events.clone(), names: None });
    let by_name = scene.endpoint(false, Filter { events: None, names: names.clone() });
    let by_both = scene.endpoint(false, Filter { events, names });
    let [a, b, c] = [
        scene.event("shop-1", EventType::Launching),
        scene.event("shop-1", EventType::Completed),
        scene.event("main", EventType::Failed),
    ];
    scene.fan_out();
    assert_eq!(scene.listed(&by_type, DeliveryStatus::Pending), [b, c]);
    assert_eq!(scene.listed(&by_name, DeliveryStatus::Pending), [a, b]);
    assert_eq!(scene.listed(&by_both, DeliveryStatus::Pending), [b]);
}

#[test]
fn of_each_deployment_the_oldest_is_due_and_no_other() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    let [a1, b1, a2] = ["a", "b", "a"].map(|name| scene.event(name, EventType::Started));
    scene.fan_out();
    assert_eq!(scene.due(&frontend), [("a".into(), a1), ("b".into(), b1)]);
    scene.end(&frontend, "a", Fate::Delivered);
    let mut due = scene.due(&frontend);
    due.sort();
    assert_eq!(due, [("a".into(), a2), ("b".into(), b1)]);
    // What waits for its next try keeps its successors waiting, and nobody else's.
    scene.end(&frontend, "a", AGAIN);
    assert_eq!(scene.due(&frontend), [("b".into(), b1)]);
    scene.end(&frontend, "b", Fate::Delivered);
    assert_eq!(scene.due(&frontend), []);
    assert_eq!(
        scene.store.waiting(frontend.number, now_ms(), &BTreeSet::new(), 0).expect("reads").next_ms,
        Some(i64::MAX)
    );
    // The receiver answers again.
    scene.store.record_outcomes(&[], &[frontend.number].into()).expect("records");
    assert_eq!(scene.due(&frontend), [("a".into(), a2)]);
    let busy = BTreeSet::from(["a".to_owned()]);
    assert!(
        scene.store.waiting(frontend.number, now_ms(), &busy, 100).expect("reads").due.is_empty()
    );
}

#[test]
fn a_dead_letter_lets_its_successor_go_on() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    let [first, second] = ["a", "a"].map(|name| scene.event(name, EventType::Started));
    scene.fan_out();
    scene.end(&frontend, "a", AGAIN);
    scene.store.wake(frontend.number).expect("wakes");
    scene.end(&frontend, "a", Fate::Dead);
    assert_eq!(scene.listed(&frontend, DeliveryStatus::Dead), [first]);
    assert_eq!(scene.due(&frontend), [("a".into(), second)]);
    let counts = scene.store.counts(&frontend).expect("reads");
    assert_eq!((counts.pending, counts.dead, counts.dead_total, counts.failed_total), (1, 1, 1, 2));
    let dead = &scene.store.deliveries(&frontend, None, None, 10).expect("lists")[1];
    assert_eq!((dead.attempts, dead.last_error.as_deref()), (2, Some("it failed")));
    assert!(dead.ended_at.is_some() && dead.next_attempt_at.is_none());
}

#[test]
fn a_receiver_that_is_gone_is_disabled_and_goes_on_when_it_is_enabled() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    let [first, second] = ["a", "b"].map(|name| scene.event(name, EventType::Started));
    scene.fan_out();
    scene.end(&frontend, "a", Fate::Gone);
    let known = scene.store.frontend().expect("reads").expect("is there");
    assert_eq!(known.status, crate::store::EndpointStatus::Disabled);
    assert_eq!(known.reason.as_deref(), Some("it failed"));
    let third = scene.event("a", EventType::Stopped);
    scene.fan_out();
    assert_eq!(scene.listed(&frontend, DeliveryStatus::Pending), [first, second, third]);
    assert!(scene.store.enable_endpoint(&frontend.id, None).expect("enables"));
    let known = scene.store.frontend().expect("reads").expect("is there");
    assert_eq!((known.reason, known.held_until_ms), (None, None));
    assert_eq!(scene.due(&frontend).len(), 2);
}

#[test]
fn another_address_keeps_what_is_pending_and_is_tried_at_once() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    let first = scene.event("a", EventType::Started);
    scene.fan_out();
    scene.end(&frontend, "a", AGAIN);
    let url = Some("http://127.0.0.1:2/".to_owned());
    let change = EndpointChange { url, ..EndpointChange::default() };
    let changed = scene.store.change_endpoint(&frontend.id, &change, None).expect("changes");
    assert_eq!(changed.expect("is there").url, "http://127.0.0.1:2/");
    assert_eq!(scene.due(&frontend), [("a".into(), first)]);
    assert_eq!(scene.store.change_endpoint("none", &change, None).expect("reads"), None);
}

#[test]
fn a_range_is_replayed_behind_what_is_pending() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    let [first, second] = ["a", "a"].map(|name| scene.event(name, EventType::Started));
    scene.fan_out();
    for _ in 0..2 {
        scene.end(&frontend, "a", Fate::Delivered);
    }
    let third = scene.event("a", EventType::Stopped);
    scene.fan_out();
    // The third is pending anyway, and is not sent twice.
    let replay = scene.replay(&frontend, (first, third), Scope::All);
    let known = scene.replayed(&replay);
    assert_eq!((known.status, known.queued), (ReplayStatus::Running, 2));
    for expected in [third, first, second] {
        assert_eq!(scene.due(&frontend), [("a".into(), expected)]);
        scene.end(&frontend, "a", Fate::Delivered);
    }
    let known = scene.replayed(&replay);
    assert_eq!((known.status, known.delivered), (ReplayStatus::Succeeded, 2));
    assert!(known.ended_at.is_some());
    assert_eq!(scene.due(&frontend), []);
}

#[test]
fn a_replay_of_nothing_is_done_at_once() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    scene.event("a", EventType::Started);
    scene.fan_out();
    let replay = scene.replay(&frontend, (1, 1), Scope::Dead);
    assert_eq!(scene.replayed(&replay).status, ReplayStatus::Succeeded);
}

#[test]
fn dead_letters_are_replayed_and_leave_the_list_when_they_arrive() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    let [first, second, third] = ["a", "a", "a"].map(|name| scene.event(name, EventType::Started));
    scene.fan_out();
    scene.end(&frontend, "a", Fate::Dead);
    scene.end(&frontend, "a", Fate::Delivered);
    scene.end(&frontend, "a", Fate::Dead);
    let replay = scene.replay(&frontend, (first, third), Scope::Dead);
    assert_eq!(scene.replayed(&replay).queued, 2);
    // While it is under way, another one finds nothing more to do.
    let twice = scene.replay(&frontend, (first, third), Scope::Dead);
    assert_eq!(scene.replayed(&twice).queued, 0);
    scene.end(&frontend, "a", Fate::Delivered);
    assert_eq!(scene.listed(&frontend, DeliveryStatus::Dead), [third]);
    scene.end(&frontend, "a", Fate::Dead);
    assert_eq!(scene.listed(&frontend, DeliveryStatus::Dead), [third], "once");
    let known = scene.replayed(&replay);
    assert_eq!((known.status, known.delivered, known.dead), (ReplayStatus::Failed, 1, 1));
    assert_eq!(scene.listed(&frontend, DeliveryStatus::Delivered), [second, first]);
}

#[test]
fn a_long_replay_goes_bit_by_bit_and_can_be_cancelled() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    for _ in 0..1200 {
        scene.event("a", EventType::Started);
    }
    let store = &scene.store;
    store
        .write(|tx| Ok(tx.execute("UPDATE endpoints SET position = 1200", [])?))
        .expect("as if it had been told");
    let replay = scene.replay(&frontend, (1, 1200), Scope::All);
    assert_eq!(scene.replayed(&replay).queued, 500, "a window of it");
    assert!(!store.advance_replays().expect("advances"), "no room");
    for _ in 0..250 {
        scene.end(&frontend, "a", Fate::Delivered);
    }
    while store.advance_replays().expect("advances") {}
    let known = scene.replayed(&replay);
    assert_eq!((known.queued, known.position), (750, 750));
    let cancelled =
        store.cancel_replay(&replay.id, None, None).expect("cancels").expect("is there");
    assert_eq!((cancelled.status, cancelled.delivered), (ReplayStatus::Cancelled, 250));
    assert_eq!(scene.due(&frontend), []);
    assert_eq!(store.counts(&frontend).expect("reads").pending, 0);
    assert_eq!(store.cancel_replay("none", None, None).expect("reads"), None);
}

#[test]
fn what_is_removed_is_gone_at_once_and_its_rows_soon() {
    let scene = Scene::new();
    let (frontend, other) = (scene.frontend(), scene.endpoint(false, Filter::default()));
    for _ in 0..10 {
        scene.event("a", EventType::Started);
    }
    scene.fan_out();
    assert!(scene.store.remove_endpoint(&other.id, None).expect("removes"));
    assert!(!scene.store.remove_endpoint(&other.id, None).expect("reads"), "once");
    assert_eq!(scene.store.endpoints().expect("lists").len(), 1);
    while scene.store.sweep_endpoints().expect("sweeps") {}
    let left: (i64, i64, i64) = scene
        .store
        .read(|db| {
            let counts = "SELECT (SELECT count(*) FROM deliveries), (SELECT count(*) FROM queues), \
                          (SELECT count(*) FROM endpoints)";
            Ok(db.query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
        })
        .expect("reads");
    assert_eq!(left, (10, 1, 1));
    assert_eq!(scene.listed(&frontend, DeliveryStatus::Pending).len(), 10);
}

#[test]
fn what_is_pending_is_kept_with_its_event_and_the_rest_goes_in_time() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    let needed = || scene.store.read(oldest_needed).expect("reads");
    assert_eq!(needed(), Some(1), "nothing was fanned out yet");
    for _ in 0..3 {
        scene.event("a", EventType::Started);
    }
    scene.fan_out();
    scene.end(&frontend, "a", Fate::Delivered);
    scene.end(&frontend, "a", Fate::Dead);
    let day = |days: i64| now_ms() + days * DAY_MS;
    assert_eq!(scene.store.prune_deliveries_at(day(6)).expect("prunes"), 0);
    assert_eq!(scene.store.prune_deliveries_at(day(8)).expect("prunes"), 1);
    assert_eq!(needed(), Some(2), "the dead letter's");
    assert_eq!(scene.store.prune_deliveries_at(day(31)).expect("prunes"), 1);
    assert_eq!(needed(), Some(3), "the pending one's");
    assert_eq!(scene.store.prune_deliveries_at(day(3000)).expect("prunes"), 0);
    scene.end(&frontend, "a", Fate::Delivered);
    scene.store.prune_deliveries_at(day(8)).expect("prunes");
    assert_eq!(needed(), Some(4), "what comes next");
}

#[test]
fn an_event_that_cannot_be_read_does_not_stop_the_others() {
    let scene = Scene::new();
    let frontend = scene.frontend();
    scene.event("a", EventType::Started);
    scene.fan_out();
    let store = &scene.store;
    store.write(|tx| Ok(tx.execute("UPDATE events SET type = 'new'", [])?)).expect("writes");
    let due = store.waiting(frontend.number, now_ms(), &BTreeSet::new(), 10).expect("reads").due;
    assert!(due[0].event.is_none());
}

/// What may happen to a delivery that is due.
fn fates() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((0_usize..3, 0_u8..6), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens in whatever order: each deployment's events end in their order, each once,
    /// and the counts are right.
    #[test]
    fn nothing_is_lost_doubled_or_out_of_order(steps in fates()) {
        let scene = Scene::new();
        let frontend = scene.frontend();
        let mut delivered: Vec<(String, i64)> = Vec::new();
        for (index, what) in steps {
            let name = ["a", "b", "c"][index];
            match what {
                0 | 1 => _ = scene.event(name, EventType::Started),
                2 => scene.fan_out(),
                _ => {}
            }
            scene.store.wake(frontend.number).expect("wakes");
            let head = scene.due(&frontend).into_iter().find(|(it, _)| it == name);
            let Some(head) = head.filter(|_| what > 2) else { continue };
            match what {
                3 => scene.end(&frontend, name, AGAIN),
                4 => scene.end(&frontend, name, Fate::Dead),
                _ => {
                    scene.end(&frontend, name, Fate::Delivered);
                    delivered.push(head);
                }
            }
        }
        scene.fan_out();
        for name in ["a", "b", "c"] {
            let order: Vec<i64> =
                delivered.iter().filter(|it| it.0 == name).map(|it| it.1).collect();
            prop_assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", order);
        }
        let of = |status| scene.listed(&frontend, status);
        let mut all: Vec<i64> = DeliveryStatus::ALL.into_iter().flat_map(of).collect();
        all.sort_unstable();
        let told = scene.store.events(None, 0, 1000).expect("reads");
        prop_assert_eq!(all, told.iter().map(|it| it.sequence).collect::<Vec<_>>());
        let pending = i64::try_from(of(DeliveryStatus::Pending).len()).expect("few");
        let counts = scene.store.counts(&frontend).expect("reads");
        prop_assert_eq!(counts.pending, pending);
        prop_assert_eq!(counts.delivered_total, i64::try_from(delivered.len()).expect("few"));
    }
}
