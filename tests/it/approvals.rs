//! Letting browsers in: the watch and the hand, against a gateway in memory.

use std::time::Duration;

use openclaw_pipeline::domain::approval::ApprovalMode;
use openclaw_pipeline::domain::{EventType, FailureKind};
use openclaw_pipeline::exec::{boot_id, boottime, wait};
use openclaw_pipeline::gateway::Pairing;
use openclaw_pipeline::operations::approval::{
    by_hand, choose, connect_patiently, is_worth_watching, window_now,
};
use openclaw_pipeline::store::{ApprovalRecord, Window};
use serde_json::{Value, json};

use crate::support::bench::browser;
use crate::support::scene::{PATIENCE, SCOPES, Scene};

fn with(request: &str, device: &str, changes: &Value) -> Value {
    let mut asked = browser(request, device);
    for (key, value) in changes.as_object().expect("changes") {
        asked[key] = value.clone();
    }
    asked
}

fn let_in(request: &str) -> [(EventType, String); 3] {
    [EventType::PairingRequired, EventType::AutoApproving, EventType::ApproveSuccess]
        .map(|kind| (kind, request.to_owned()))
}

#[tokio::test]
async fn a_new_browser_is_let_in_under_its_exact_id() {
    let scene = Scene::new().await;
    let before = scene.places();
    scene.watch_asking(browser("request-7", "device-7")).await;
    let gateway = scene.gateway().state().clone();
    assert_eq!(gateway.approved, ["request-7"]);
    assert!(gateway.pending.is_empty());
    assert_eq!(scene.told(), let_in("request-7"));
    assert_eq!(scene.places(), before - 1);
    let [record] = &scene.decisions()[..] else { panic!("one decision") };
    assert_eq!(record.decision, "approved");
    assert_eq!((record.request_id.as_str(), record.device_id.as_str()), ("request-7", "device-7"));
    assert_eq!((record.address.as_str(), record.role.as_str()), ("192.0.2.7", "operator"));
    assert_eq!(record.scopes, SCOPES);
    for word in ["new device", "ceiling", "window open"] {
        assert!(record.reason.contains(word), "{}", record.reason);
    }
}

#[tokio::test]
async fn a_browser_that_asked_before_anybody_watched_is_let_in() {
    let scene = Scene::new().await;
    scene.gateway().ask(browser("request-1", "device-1"));
    scene.watch_until(1).await;
    assert_eq!(scene.told(), let_in("request-1"));
    assert_eq!(scene.gateway().state().approved, ["request-1"]);
}

#[tokio::test]
async fn a_broken_connection_is_made_again_and_nothing_is_decided_twice() {
    let scene = Scene::new().await;
    let left = with("request-1", "device-1", &json!({ "role": "node", "roles": ["node"] }));
    scene.gateway().ask(left);
    let breaks = async {
        let first = wait::until(PATIENCE, || async {
            (scene.decisions().len() == 1 && scene.gateway().connections() > 0).then_some(())
        });
        first.await.expect("it decides");
        scene.gateway().hang_up();
        let gone =
            wait::until(PATIENCE, || async { (scene.gateway().connections() == 0).then_some(()) });
        gone.await.expect("it breaks");
        scene.gateway().ask(browser("request-2", "device-2"));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = scene.watch_until(2) => {}
        () = breaks => {}
    }
    let decided: Vec<String> = scene.decisions().into_iter().map(|it| it.decision).collect();
    assert_eq!(decided, ["left", "approved"]);
    let mut told = vec![(EventType::PairingRequired, "request-1".to_owned())];
    told.extend(let_in("request-2"));
    assert_eq!(scene.told(), told);
}

#[tokio::test]
async fn what_asks_for_more_waits_for_a_person() {
    for (changes, why) in [
        (json!({ "role": "node", "roles": ["node"] }), "role node"),
        (json!({ "roles": ["operator", "node"] }), "only operator"),
        (json!({ "scopes": ["operator.admin", "operator.everything"] }), "operator.everything"),
        (json!({ "isRepair": true }), "known"),
    ] {
        let scene = Scene::new().await;
        let before = scene.places();
        scene.watch_asking(with("request-1", "device-1", &changes)).await;
        let [record] = &scene.decisions()[..] else { panic!("one decision") };
        assert_eq!(record.decision, "left", "{changes}");
        assert!(record.reason.contains(why), "{changes}: {}", record.reason);
        assert_eq!(scene.told(), [(EventType::PairingRequired, "request-1".to_owned())]);
        assert_eq!(scene.gateway().state().approved, Vec::<String>::new(), "{changes}");
        assert_eq!(scene.places(), before, "{changes}");
    }
}

#[tokio::test]
async fn a_device_that_was_turned_away_or_put_out_waits_for_a_person() {
    for decision in ["rejected", "removed"] {
        let scene = Scene::new().await;
        scene.gateway().ask(browser("request-1", "device-1"));
        scene.watch_until(1).await;
        let mut by_hand = scene.decisions().pop().expect("a decision");
        assert_eq!(by_hand.decision, "approved");
        by_hand.decision = decision.into();
        scene.engine.store().record_approval(&scene.bench.name, &by_hand, &[]).expect("records");
        scene.gateway().state().paired.clear();
        scene.gateway().ask(browser("request-2", "device-1"));
        scene.watch_until(3).await;
        let last = scene.decisions().pop().expect("a decision");
        assert_eq!((last.request_id.as_str(), last.decision.as_str()), ("request-2", "left"));
        assert_eq!(scene.gateway().state().approved, ["request-1"], "{decision}");
    }
}

#[tokio::test]
async fn an_upgrade_of_a_device_that_is_in_waits_for_a_person() {
    for changes in [json!({ "scopes": ["operator.write"] }), json!({ "publicKey": "another" })] {
        let scene = Scene::new().await;
        scene.gateway().ask(browser("request-1", "device-1"));
        scene.watch_until(1).await;
        scene.gateway().ask(with("request-2", "device-1", &changes));
        scene.watch_until(2).await;
        let record = scene.decisions().pop().expect("a decision");
        assert_eq!((record.request_id.as_str(), record.decision.as_str()), ("request-2", "left"));
        assert_eq!(scene.gateway().state().approved, ["request-1"], "{changes}");
    }
}

#[tokio::test]
async fn no_more_devices_than_the_window_allows() {
    let scene = Scene::new().await;
    let places = scene.places();
    for number in 0..places + 2 {
        let (request, device) = (format!("request-{number}"), format!("device-{number}"));
        scene.gateway().ask(browser(&request, &device));
    }
    // It ends by itself: nothing is left to watch for.
    scene.watch_until(usize::MAX).await;
    assert_eq!(scene.places(), 0);
    assert_eq!(scene.gateway().state().approved.len(), places as usize);
    let left: Vec<ApprovalRecord> =
        scene.decisions().into_iter().filter(|it| it.decision == "left").collect();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|it| it.reason.contains("as many devices as it may")), "{left:?}");
}

#[tokio::test]
async fn a_refused_approval_gives_its_place_back_and_says_so() {
    let scene = Scene::new().await;
    let before = scene.places();
    scene.gateway().state().refuse_approval = Some("busy\u{7} with something".into());
    scene.watch_asking(browser("request-1", "device-1")).await;
    assert_eq!(scene.places(), before);
    let [record] = &scene.decisions()[..] else { panic!("one decision") };
    assert_eq!(record.decision, "failed");
    assert!(record.reason.contains("busy with something"), "{}", record.reason);
    let kinds: Vec<EventType> = scene.told().into_iter().map(|(kind, _)| kind).collect();
    let expected = [EventType::PairingRequired, EventType::AutoApproving, EventType::ApproveFailed];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn a_device_whose_approval_broke_off_is_found_in() {
    let scene = Scene::new().await;
    let before = scene.places();
    scene.gateway().state().die_after_approval = true;
    scene.watch_asking(browser("request-1", "device-1")).await;
    assert_eq!(scene.gateway().state().approved, ["request-1"]);
    assert_eq!(scene.places(), before - 1, "one too many could come in");
    assert_eq!(scene.told(), let_in("request-1"));
    let [record] = &scene.decisions()[..] else { panic!("one decision") };
    assert_eq!(record.decision, "approved");
}

#[tokio::test]
async fn an_approval_that_did_not_arrive_is_tried_again_and_not_for_ever() {
    let scene = Scene::new().await;
    scene.gateway().state().die_before_approval = 2;
    scene.watch_asking(browser("request-1", "device-1")).await;
    assert_eq!(scene.gateway().state().approved, ["request-1"], "at the third time");
    assert_eq!(scene.told(), let_in("request-1"), "and told once");

    let scene = Scene::new().await;
    let before = scene.places();
    scene.gateway().state().die_before_approval = 99;
    scene.watch_asking(browser("request-1", "device-1")).await;
    let [record] = &scene.decisions()[..] else { panic!("one decision") };
    assert_eq!((record.decision.as_str(), record.reason.as_str()), ("failed", "it still waits"));
    assert_eq!(scene.gateway().state().die_before_approval, 96, "three times");
    assert_eq!(scene.places(), before - 1);
}

#[tokio::test]
async fn what_a_killed_watch_began_is_settled_by_looking() {
    // It had asked, and the device is in.
    let scene = Scene::new().await;
    scene.begun("request-1", "device-1");
    scene.gateway().state().paired.push(browser("request-1", "device-1"));
    scene.watch_until(1).await;
    assert_eq!(scene.decisions()[0].decision, "approved");
    assert_eq!(scene.told(), let_in("request-1"));

    // It had not, and the device waits on.
    let scene = Scene::new().await;
    let before = scene.places();
    scene.begun("request-1", "device-1");
    scene.gateway().ask(browser("request-1", "device-1"));
    scene.watch_until(1).await;
    assert_eq!(scene.decisions()[0].decision, "approved");
    assert_eq!(scene.gateway().state().approved, ["request-1"]);
    assert_eq!(scene.places(), before - 1, "on the place that was taken for it");

    // Nobody knows of it any more: it may have been let in and put out again.
    let scene = Scene::new().await;
    scene.begun("request-1", "device-1");
    scene.watch_until(1).await;
    assert_eq!(scene.decisions()[0].decision, "failed");
    assert_eq!(scene.places(), before - 1);

    // The last place was taken for it: it is settled although no window is open any more.
    let scene = Scene::new().await;
    for device in (0..scene.places()).map(|number| format!("device-{number}")) {
        scene.begun(&device, &device);
        scene.gateway().state().paired.push(browser(&device, &device));
    }
    scene.watch_until(usize::MAX).await;
    assert_eq!(scene.decisions().len(), before as usize);
    assert!(scene.decisions().iter().all(|it| it.decision == "approved"));
}

#[tokio::test]
async fn a_new_watch_decides_nothing_again() {
    let scene = Scene::new().await;
    scene.gateway().ask(with("request-1", "device-1", &json!({ "roles": ["node"] })));
    scene.watch_until(1).await;
    scene.gateway().ask(browser("request-2", "device-2"));
    scene.watch_until(2).await;
    assert_eq!(scene.decisions().len(), 2);
}

#[tokio::test]
async fn a_secret_in_the_gateways_words_is_not_recorded() {
    let scene = Scene::new().await;
    let token = scene.site.secrets.token.expose().to_owned();
    let asked = json!({ "platform": format!("a {token}"), "scopes": ["operator.admin", token] });
    scene.gateway().ask(with("request-1", &format!("x{token}"), &asked));
    scene.watch_until(1).await;
    scene.gateway().state().refuse_approval = Some(format!("no: {token}"));
    scene.gateway().ask(browser("request-2", "device-2"));
    scene.watch_until(2).await;
    let events = scene.engine.store().events(Some(&scene.bench.name), 0, 1000).expect("reads");
    let all = format!("{:?} {events:?}", scene.decisions());
    assert!(all.contains("[redacted]") && !all.contains(&token), "{all}");
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_told_once() {
    let scene = Scene::new().await;
    let odd = with("request-1", "device-1", &json!({ "roles": ["opera\u{7}tor"] }));
    scene.gateway().ask(odd);
    scene.gateway().ask(browser("request-2", "device-2"));
    scene.watch_until(2).await;
    let [unreadable, let_in] = &scene.decisions()[..] else { panic!("two decisions") };
    assert_eq!(unreadable.decision, "left");
    assert!(unreadable.reason.contains("1 that cannot be read"), "{}", unreadable.reason);
    assert_eq!(let_in.decision, "approved");
    let done = scene.hand(None).await.expect("it is done");
    let [waits] = &done.pending[..] else { panic!("one waits: {done:?}") };
    assert!(waits.device.contains("1 that cannot be read"), "{waits:?}");
}

#[tokio::test]
async fn whoever_asks_without_end_does_not_fill_the_store() {
    let scene = Scene::new().await;
    let node = json!({ "role": "node", "roles": ["node"], "ts": 0 });
    let many = (0..1000).map(|n| with(&format!("request-{n}"), &format!("device-{n}"), &node));
    scene.gateway().state().pending.extend(many);
    let asks = async {
        let decided =
            wait::until(PATIENCE, || async { (scene.decisions().len() >= 1000).then_some(()) });
        decided.await.expect("it decides");
        scene.gateway().ask(browser("one-more", "device-x"));
        let more = wait::until(Duration::from_secs(2), || async {
            (scene.decisions().len() > 1000).then_some(())
        });
        assert_eq!(more.await, None, "it is left to the hand");
    };
    tokio::select! {
        () = scene.watch_until(1001) => panic!("it decided about one more"),
        () = asks => {}
    }
}

#[tokio::test]
async fn to_ask_means_to_tell_and_off_means_not_to_look() {
    let mut scene = Scene::new().await;
    scene.site.deployment.spec.approval.mode = ApprovalMode::Ask;
    scene.watch_asking(browser("request-1", "device-1")).await;
    let [record] = &scene.decisions()[..] else { panic!("one decision") };
    assert_eq!(
        (record.decision.as_str(), record.reason.as_str()),
        ("left", "the policy is to ask")
    );
    assert_eq!(scene.told(), [(EventType::PairingRequired, "request-1".to_owned())]);

    let mut scene = Scene::new().await;
    scene.site.deployment.spec.approval.mode = ApprovalMode::Off;
    scene.gateway().ask(browser("request-1", "device-1"));
    scene.watch_until(usize::MAX).await;
    assert!(scene.decisions().is_empty() && scene.told().is_empty());
    assert_eq!(scene.gateway().state().approved, Vec::<String>::new());
}

#[tokio::test]
async fn a_window_that_is_over_or_of_another_boot_is_closed() {
    let scene = Scene::new().await;
    let now = i64::try_from(boottime().as_secs()).expect("a time");
    let this = boot_id().expect("a boot");
    let open = Window { boot_id: this, opened_s: now, deadline_s: now + 600, remaining: 3 };
    let closed = [
        Window { boot_id: "another-boot".into(), ..open.clone() },
        Window { deadline_s: now - 1, opened_s: now - 601, ..open.clone() },
        Window { deadline_s: now, ..open.clone() },
        // A boot time that lies before the opening is none of this boot.
        Window { opened_s: now + 3600, deadline_s: now + 4200, ..open.clone() },
    ];
    scene.gateway().ask(browser("request-1", "device-1"));
    for window in closed {
        scene.set_window(&window);
        let (state, left) = window_now(scene.engine.store(), &scene.site.deployment)
            .expect("reads")
            .expect("a window");
        assert!(!state.open && left.is_zero() && !is_worth_watching(state), "{window:?}");
        scene.watch_until(usize::MAX).await;
        assert!(scene.decisions().is_empty(), "{window:?}");
        assert_eq!(scene.gateway().state().approved, Vec::<String>::new(), "{window:?}");
    }
    scene.set_window(&open);
    scene.watch_until(1).await;
    assert_eq!(scene.gateway().state().approved, ["request-1"]);
}

#[tokio::test]
async fn by_hand_without_an_id_lets_in_what_is_within_the_ceiling() {
    let scene = Scene::new().await;
    let before = scene.places();
    scene.gateway().ask(browser("request-1", "device-1"));
    scene.gateway().ask(with("request-2", "device-2", &json!({ "scopes": ["operator.beyond"] })));
    let done = scene.hand(None).await.expect("it is done");
    assert_eq!(done.approved.len(), 1);
    assert!(done.approved[0].contains("192.0.2.7"), "{:?}", done.approved);
    let [waits] = &done.pending[..] else { panic!("one waits") };
    assert_eq!(waits.request_id, "request-2");
    assert!(waits.reason.contains("operator.beyond"), "{}", waits.reason);
    assert_eq!(scene.gateway().state().approved, ["request-1"]);
    assert_eq!(
        scene.told(),
        [EventType::ApproveTriggered, EventType::ApproveSuccess]
            .map(|kind| (kind, "request-1".to_owned()))
    );
    assert_eq!(scene.decisions()[0].reason, "by hand");
    assert_eq!(scene.places(), before, "the hand takes no place of the window");
}

#[tokio::test]
async fn by_hand_with_an_id_lets_in_that_one_whatever_it_asks_for() {
    let scene = Scene::new().await;
    scene.gateway().ask(browser("request-1", "device-1"));
    scene.gateway().ask(with("request-2", "device-2", &json!({ "scopes": ["operator.beyond"] })));
    let done = scene.hand(Some("request-2")).await.expect("it is done");
    assert_eq!(done.approved.len(), 1);
    let waiting: Vec<&str> = done.pending.iter().map(|it| it.request_id.as_str()).collect();
    assert_eq!(waiting, ["request-1"]);
    assert_eq!(scene.gateway().state().approved, ["request-2"]);
    let missing = scene.hand(Some("request-9")).await;
    assert_eq!(missing, Err(FailureKind::NotFound));
}

#[tokio::test]
async fn by_hand_again_it_finds_what_it_did() {
    let scene = Scene::new().await;
    scene.gateway().ask(browser("request-1", "device-1"));
    let dial = scene.gateway().dial(true);
    let client = connect_patiently(&*dial, &scene.site).await.expect("connects");
    let pairing = Pairing(&client);
    let choice = choose(&scene.site, &pairing, Some("request-1")).await.expect("chooses");
    // Killed after the gateway had acted, before anything was recorded.
    pairing.approve("request-1").await.expect("approves");
    for _ in 0..2 {
        let done = by_hand(scene.engine.store(), &scene.site, &pairing, choice.clone()).await;
        let done = done.expect("it is done");
        assert_eq!((done.approved.len(), done.pending.len()), (1, 0));
    }
    assert_eq!(scene.decisions().len(), 1);
    assert_eq!(scene.gateway().state().approved, ["request-1"]);
    assert_eq!(scene.told().len(), 2);
}
