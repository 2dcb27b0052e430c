//! Events at their receivers: what is sent, in which order, to whom, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use openclaw_pipeline::domain::EventType;
use openclaw_pipeline::store::{DeliveryStatus, Filter, now_ms};
use openclaw_pipeline::webhooks::{Options, Schedule, deliver_now, message};

use crate::support::outbox::{Outbox, PATIENCE, quick, until};
use crate::support::receiver::{Mode, Receiver};

#[tokio::test]
async fn an_event_arrives_signed_and_as_the_contract_has_it() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, secret) = outbox.frontend(&receiver);
    let _running = outbox.run(Schedule::default());
    let sequence = outbox.tell_of("main", EventType::Completed);
    outbox.drained(&frontend).await;
    let [request] = &receiver.requests()[..] else { panic!("one request") };
    assert!(request.is_signed_by(&secret));
    assert_eq!(request.header("content-type"), "application/json");
    let event = outbox.store.last_events(None, 1).expect("read").remove(0);
    assert_eq!(request.header("webhook-id"), event.id);
    let body = request.json();
    let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    let expected =
        ["type", "name", "message", "timestamp", "id", "sequence", "operation_id", "source"];
    assert_eq!(keys, expected);
    assert_eq!((&body["type"], &body["name"]), (&"completed".into(), &"main".into()));
    assert_eq!((&body["sequence"], &body["id"]), (&sequence.into(), &event.id.into()));
    assert_eq!(
        (&body["timestamp"], &body["source"]),
        (&event.timestamp.into(), &"pipeline".into())
    );
    let [delivery] = &outbox.listed(&frontend, DeliveryStatus::Delivered)[..] else {
        panic!("one delivery")
    };
    assert_eq!((delivery.attempts, delivery.last_status), (1, Some(204)));
    assert_eq!((delivery.kind.as_str(), &delivery.last_error), ("completed", &None));
}

#[tokio::test]
async fn deployments_are_served_side_by_side_and_each_in_its_order_whatever_fails() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    let mut told: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for number in 0..300 {
        let name = format!("box-{}", number % 20);
        told.entry(name.clone()).or_default().push(outbox.tell(&name));
    }
    receiver.set(Mode::Die(3));
    let _running = outbox.run(quick());
    outbox.drained(&frontend).await;
    assert_eq!(receiver.orders(), told, "each once, in order");
    assert!(receiver.count() > 300, "some were refused first");
    assert!(receiver.most_at_once() <= 16, "{}", receiver.most_at_once());
    let counts = outbox.counts(&frontend);
    assert_eq!(counts.delivered_total, 300);
    assert_eq!(usize::try_from(counts.failed_total).expect("a count"), receiver.count() - 300);
}

#[tokio::test]
async fn a_receiver_that_is_slow_is_sent_a_bounded_number_at_once() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    for number in 0..40 {
        outbox.tell(&format!("box-{number}"));
    }
    receiver.set(Mode::Slow(Duration::from_secs(1)));
    let _running = outbox.run(Schedule::default());
    outbox.drained(&frontend).await;
    assert!((8..=16).contains(&receiver.most_at_once()), "{}", receiver.most_at_once());
}

#[tokio::test]
async fn filters_decide_who_is_told_what() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let events = Some(vec![EventType::Completed]);
    let names = Some(vec!["shop-".parse().expect("a prefix")]);
    let url = format!("{}/hooks?for=me", receiver.url());
    let (other, _) = outbox.endpoint(&url, false, Filter { events, names });
    let _running = outbox.run(quick());
    outbox.tell_of("shop-1", EventType::Launching);
    outbox.tell_of("main", EventType::Completed);
    let wanted = outbox.tell_of("shop-1", EventType::Completed);
    outbox.drained(&other).await;
    let [request] = &receiver.requests()[..] else { panic!("one request") };
    assert_eq!((request.sequence(), request.path.as_str()), (wanted, "/hooks?for=me"));
}

#[tokio::test]
async fn a_rotated_secret_signs_with_both_for_a_day() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, old) = outbox.frontend(&receiver);
    let _running = outbox.run(quick());
    outbox.tell("main");
    outbox.drained(&frontend).await;
    let new = openclaw_pipeline::secrets::webhook::generate_webhook_secret();
    let sealed = message::seal(&outbox.key, &frontend.id, &new);
    let soon = now_ms() + 60_000;
    outbox.store.rotate_endpoint(&frontend.id, &sealed, soon, None, None).expect("rotated");
    outbox.tell("main");
    outbox.drained(&frontend).await;
    outbox
        .store
        .rotate_endpoint(&frontend.id, &sealed, now_ms(), None, None)
        .expect("the day is over");
    outbox.tell("main");
    outbox.drained(&frontend).await;
    let signed: Vec<(bool, bool)> = receiver
        .requests()
        .iter()
        .map(|it| (it.is_signed_by(&old), it.is_signed_by(&new)))
        .collect();
    assert_eq!(signed, [(true, false), (true, true), (false, true)]);
    let both = receiver.requests().remove(1);
    assert_eq!(both.header("webhook-signature").split(' ').count(), 2);
}

#[tokio::test]
async fn two_dispatchers_take_turns_and_nothing_is_sent_twice() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    let first = outbox.run(quick());
    outbox.tell("main");
    outbox.drained(&frontend).await;
    // The second one waits, here as in another process.
    let second = outbox.run(quick());
    for number in 0..20 {
        outbox.tell(&format!("box-{number}"));
    }
    outbox.drained(&frontend).await;
    first.stop().await;
    outbox.tell("main");
    outbox.drained(&frontend).await;
    assert_eq!(receiver.count(), 22);
    second.stop().await;
}

#[tokio::test]
async fn what_is_under_way_at_the_end_is_waited_for_and_not_sent_again() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    receiver.set(Mode::Slow(Duration::from_millis(100)));
    let running = outbox.run(Schedule { linger: PATIENCE, ..quick() });
    outbox.tell("main");
    until("it is under way", || receiver.count() == 1).await;
    running.stop().await;
    assert_eq!(outbox.counts(&frontend).delivered_total, 1);
    let _running = outbox.run(quick());
    outbox.tell("main");
    outbox.drained(&frontend).await;
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn a_command_delivers_what_it_can_and_leaves_the_rest() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    let (other, _) = outbox.other(&receiver);
    for _ in 0..20 {
        outbox.tell("main");
    }
    // It may take an hour, and does not wait for what cannot be sent now.
    let deliver = || {
        let (store, key) = (outbox.store.clone(), outbox.key.clone());
        let hour = Duration::from_secs(3600);
        let delivered = deliver_now(store, key, Options::default(), &frontend, hour);
        async move { tokio::time::timeout(hour / 60, delivered).await.expect("it does not wait") }
    };
    receiver.set(Mode::Refuse);
    deliver().await.expect("no failure of its own");
    assert_eq!(outbox.counts(&frontend).pending, 20);
    // The next command does not wait out the pause that the first one left.
    receiver.set(Mode::Ok);
    deliver().await.expect("delivered");
    assert_eq!((outbox.counts(&frontend).pending, receiver.count()), (0, 20));
    assert_eq!(outbox.counts(&other).delivered_total, 0, "others are for the server");
    // Where a server drains the outbox, that is the one that does it.
    let running = outbox.run(quick());
    outbox.drained(&other).await;
    receiver.set(Mode::Hang);
    outbox.tell("main");
    until("it is under way", || receiver.count() >= 41).await;
    deliver().await.expect("nothing to do");
    running.kill().await;
}
