//! What may be an endpoint, whose it is, and what of it is shown.

use super::*;
use crate::config::Sources;
use crate::domain::{FailureKind, PrincipalKind};
use crate::store::{Answer, NewEvent};

struct Scene {
    _directory: tempfile::TempDir,
    app: App,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (home, key) = (directory.path().join("data"), directory.path().join("key/sealing.key"));
        let app = App::open_at(&home, &key).expect("opened");
        Self { _directory: directory, app }
    }

    fn add(&self, by: &Principal, filter: Filter) -> Result<(EndpointReport, Secret), Failure> {
        self.app.add_endpoint(by, "https://app.example/hooks", filter, &record(by), None)
    }

    fn secrets(&self) -> Vec<String> {
        let known = self.app.store().frontend().expect("read").expect("is there");
        let key = self.app.engine().vault().key();
        let opened = message::open(key, &known.id, &known.secrets, now_ms()).expect("opened");
        opened.iter().map(|it| it.expose().to_owned()).collect()
    }
}

fn record(by: &Principal) -> AuditRecord {
    AuditRecord::of(by, "webhooks.test")
}

fn operator() -> Principal {
    Principal::operator()
}

/// An administrator who reaches some names only.
fn narrow() -> Principal {
    let name_prefix = Some("shop-".parse().expect("a prefix"));
    Principal { name_prefix, ..Principal::unlimited("an-id", "narrow", PrincipalKind::Token) }
}

fn settings(variables: &[(&str, &str)]) -> Settings {
    let start = Sources::new("/w").env("HOME", "/home/u");
    let sources = variables.iter().fold(start, |it, (name, value)| it.env(*name, *value));
    Settings::resolve(&sources).expect("resolved")
}

#[test]
fn the_front_ends_endpoint_follows_the_settings() {
    let scene = Scene::new();
    let first = scene.app.frontend_endpoint(&settings(&[])).expect("made");
    assert_eq!(first.endpoint.url, "http://localhost:3000/api/webhook/pipeline");
    assert_eq!((first.endpoint.position, first.endpoint.is_frontend), (0, true));
    let generated = first.generated.expect("made just now");
    assert_eq!(scene.secrets(), [generated.expose()]);

    // Once more: nothing changes, and nothing is shown.
    let again = scene.app.frontend_endpoint(&settings(&[])).expect("there");
    assert_eq!((again.endpoint.id, again.generated.is_none()), (first.endpoint.id.clone(), true));

    // Another address, and a secret of the operator's own: the one before signs as well.
    let given = generate_webhook_secret();
    let other = settings(&[
        ("FRONTEND_URL", "https://app.example/"),
        ("OPENCLAW_PIPELINE_WEBHOOK_SECRET", given.expose()),
    ]);
    scene.app.store().disable_endpoint(&first.endpoint.id, "gone", None).expect("disabled");
    for _ in 0..2 {
        let moved = scene.app.frontend_endpoint(&other).expect("moved");
        assert_eq!(moved.endpoint.id, first.endpoint.id);
        assert_eq!(moved.endpoint.url, "https://app.example/api/webhook/pipeline");
        assert_eq!(moved.endpoint.status, EndpointStatus::Enabled);
        assert!(moved.generated.is_none());
        assert_eq!(scene.secrets(), [given.expose(), generated.expose()]);
    }
    let wrong = settings(&[("FRONTEND_URL", "http://0:3000")]);
    let failure = scene.app.frontend_endpoint(&wrong).expect_err("nobody's address");
    assert!(failure.message.starts_with("FRONTEND_URL"), "{failure}");
}

#[tokio::test]
async fn a_command_beside_a_server_does_not_move_the_front_end() {
    let scene = Scene::new();
    let beside = settings(&[("FRONTEND_URL", "http://127.0.0.1:1")]);
    let known = scene.app.frontend_endpoint(&settings(&[])).expect("made").endpoint;
    let cancel = CancellationToken::new();
    let (app, its) = (scene.app.clone(), settings(&[]));
    let server = tokio::spawn({
        let cancel = cancel.clone();
        async move { app.deliver(&its, cancel).await }
    });
    let delivers = || std::future::ready(webhooks::is_delivering(scene.app.store()).ok());
    let begun = async || delivers().await.filter(|it| *it);
    crate::exec::wait::until(Duration::from_secs(10), begun).await.expect("it delivers");
    let second = Duration::from_secs(1);
    scene.app.deliver_now(&beside, second).await.expect("left to the server");
    assert_eq!(scene.app.store().frontend().expect("read").expect("there").url, known.url);
    cancel.cancel();
    server.await.expect("no panic").expect("ended");
    scene.app.deliver_now(&beside, second).await.expect("nothing to do");
    let moved = scene.app.store().frontend().expect("read").expect("there");
    assert_eq!(moved.url, "http://127.0.0.1:1/api/webhook/pipeline");
    // Nor does a command whose settings name none.
    scene.app.deliver_now(&settings(&[]), second).await.expect("nothing to do");
    assert_eq!(scene.app.store().frontend().expect("read").expect("there").url, moved.url);
}

#[test]
fn strangers_need_https_and_an_address_of_the_internet() {
    let scene = Scene::new();
    let add = |url: &str| {
        let by = operator();
        scene.app.add_endpoint(&by, url, Filter::default(), &record(&by), None)
    };
    for url in ["http://app.example", "https://localhost", "https://127.0.0.1", "x"] {
        let failure = add(url).expect_err(url);
        assert_eq!(failure.kind, FailureKind::BadInput);
        assert!(failure.message.starts_with("url "), "{failure}");
    }
    let (made, secret) = add("https://app.example/hooks?token=1").expect("made");
    assert!(secret.expose().starts_with("whsec_"));
    let shown = serde_json::to_value(&made).expect("JSON");
    let keys: Vec<&String> = shown.as_object().expect("an object").keys().collect();
    let expected = [
        "id",
        "url",
        "events",
        "names",
        "status",
        "reason",
        "is_frontend",
        "owner",
        "created_at",
        "pending",
        "oldest_pending_at",
        "dead",
    ];
    assert_eq!(keys, expected);
    assert!(!shown.to_string().contains("whsec_"));
    assert_eq!((made.endpoint.owner, made.endpoint.is_frontend), (None, false));
    let filter = crate::store::AuditFilter { limit: 10, ..Default::default() };
    let (log, _) = scene.app.store().audit(&filter).expect("read");
    assert_eq!(log.len(), 1, "what was refused was not done");
    assert_eq!(log[0].name.as_deref(), Some(made.endpoint.id.as_str()));
}

#[test]
fn filters_are_read_and_what_is_none_is_refused() {
    let filter = |events: &[&str], names: &[&str]| {
        let list = |all: &[&str]| {
            (!all.is_empty()).then(|| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        AskedFilter { events: list(events), names: list(names) }.read()
    };
    let read = filter(&["completed", "PairingRequired", "completed"], &["shop-"]).expect("read");
    assert_eq!(read.events.expect("two").len(), 2);
    assert_eq!(filter(&[], &[]).expect("read"), Filter::default());
    let failure = filter(&["launched"], &[]).expect_err("no type");
    assert!(failure.message.contains("\"launched\""), "{failure}");
    assert!(failure.remedy.expect("the list").contains("launching, "));
    let failure = filter(&[], &["../x"]).expect_err("no prefix");
    assert!(failure.message.starts_with("names: "), "{failure}");
    assert!(read_events(&[]).is_err() && read_names(&[]).is_err(), "none is not all");
    assert!(read_names(&vec!["a".to_owned(); 65]).is_err(), "bounded");
}

#[test]
fn whoever_reaches_some_names_only_has_endpoints_for_these_alone() {
    let scene = Scene::new();
    let everything = scene.add(&operator(), Filter::default()).expect("made").0.endpoint;
    let (own, _) = scene.add(&narrow(), Filter::default()).expect("made");
    assert_eq!(own.endpoint.filter.names, Some(vec!["shop-".parse().expect("a prefix")]));
    assert_eq!(own.endpoint.owner.as_deref(), Some("an-id"));
    let beyond = Filter { names: Some(vec!["sh".parse().expect("a prefix")]), ..Filter::default() };
    assert!(scene.add(&narrow(), beyond).is_err());
    let by = narrow();
    let seen: Vec<String> =
        scene.app.endpoints(&by).expect("listed").into_iter().map(|it| it.endpoint.id).collect();
    assert_eq!(seen, std::slice::from_ref(&own.endpoint.id));
    assert_eq!(scene.app.endpoints(&operator()).expect("listed").len(), 2);

    let id = &everything.id;
    let all = EndpointChange { names: Some(None), ..EndpointChange::default() };
    let refused = [
        scene.app.endpoint(&by, id).map(drop),
        scene.app.change_endpoint(&by, id, &all, &record(&by)).map(drop),
        scene.app.enable_endpoint(&by, id, &record(&by)).map(drop),
        scene.app.disable_endpoint(&by, id, &record(&by)).map(drop),
        scene.app.rotate_endpoint_secret(&by, id, &record(&by), None).map(drop),
        scene.app.deliveries(&by, id, None, None, 10).map(drop),
        scene.app.replays(&by, id, 10).map(drop),
        scene.app.remove_endpoint(&by, id, &record(&by)).map(drop),
    ];
    for refused in refused {
        assert_eq!(refused.expect_err("out of reach").kind, FailureKind::NotFound);
    }
    let kept = scene.app.change_endpoint(&by, &own.endpoint.id, &all, &record(&by));
    assert_eq!(kept.expect("changed").endpoint.filter, own.endpoint.filter, "no more than before");

    // An event of another name is not there for them either.
    let other = "main".parse().expect("a name");
    let event = NewEvent::new(crate::domain::EventType::Started, "x");
    let event = scene.app.store().append_event(&other, &event).expect("told");
    let wanted = ReplayWanted::Event(event.id);
    let replay =
        |by: &Principal| scene.app.replay(by, &own.endpoint.id, &wanted, &record(by), None);
    assert_eq!(replay(&by).expect_err("out of reach").kind, FailureKind::NotFound);
    replay(&operator()).expect("begun");
    let reader = Principal {
        scopes: [crate::domain::Scope::Read].into(),
        ..Principal::unlimited("r", "reader", PrincipalKind::Token)
    };
    assert_eq!(scene.app.endpoints(&reader).expect_err("no admin").kind, FailureKind::Forbidden);
}

#[test]
fn the_front_ends_own_endpoint_is_the_settings_to_change() {
    let scene = Scene::new();
    let id = scene.app.frontend_endpoint(&settings(&[])).expect("made").endpoint.id;
    let by = operator();
    let removed = scene.app.remove_endpoint(&by, &id, &record(&by)).expect_err("refused");
    assert_eq!(removed.kind, FailureKind::Conflict);
    let url = Some("https://app.example".to_owned());
    let change = EndpointChange { url, ..EndpointChange::default() };
    let moved = scene.app.change_endpoint(&by, &id, &change, &record(&by)).expect_err("refused");
    assert!(moved.remedy.expect("a remedy").contains("FRONTEND_URL"));
    let events = Some(Some(vec![crate::domain::EventType::Failed]));
    let change = EndpointChange { events, ..EndpointChange::default() };
    scene.app.change_endpoint(&by, &id, &change, &record(&by)).expect("its filter is free");
}

#[test]
fn ranges_are_within_the_history_and_ids_are_known() {
    assert!(range(1, 5, None).is_err());
    assert_eq!(range(1, 99, Some((3, 7))).expect("clamped"), (3, 7));
    assert_eq!(range(4, 5, Some((3, 7))).expect("as asked"), (4, 5));
    for (from, to) in [(0, 5), (5, 4), (-1, 1)] {
        assert_eq!(range(from, to, Some((1, 9))).expect_err("wrong").kind, FailureKind::BadInput);
    }
    for (from, to) in [(1, 2), (8, 9)] {
        let failure = range(from, to, Some((3, 7))).expect_err("gone, or not yet");
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert!(failure.message.contains("3 to 7"), "{failure}");
    }
    let scene = Scene::new();
    let by = operator();
    let (made, _) = scene.add(&by, Filter::default()).expect("made");
    for wanted in [
        ReplayWanted::Event("none".into()),
        ReplayWanted::Delivery("1".into()),
        ReplayWanted::Delivery("none".into()),
    ] {
        let refused = scene.app.replay(&by, &made.endpoint.id, &wanted, &record(&by), None);
        assert_eq!(refused.expect_err("unknown").kind, FailureKind::NotFound);
    }
    assert_eq!(scene.app.replay_status(&by, "x").expect_err("none").kind, FailureKind::NotFound);
}

#[test]
fn a_request_that_is_sent_again_makes_nothing_twice_and_shows_no_secret_twice() {
    let scene = Scene::new();
    let by = operator();
    let key = |key: &str| {
        IdempotencyKey::new("operator", key, "POST", "/v1/webhooks", b"{}").expect("a key")
    };
    let add = || {
        let (url, key) = ("https://app.example", key("one"));
        scene.app.add_endpoint(&by, url, Filter::default(), &record(&by), Some(&key))
    };
    let (made, _) = add().expect("made");
    let failure = add().expect_err("made already");
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(failure.message.contains(&made.endpoint.id), "{failure}");
    assert_eq!(scene.app.endpoints(&by).expect("listed").len(), 1);

    let name = "main".parse().expect("a name");
    let event = NewEvent::new(crate::domain::EventType::Started, "x");
    scene.app.store().append_event(&name, &event).expect("told");
    let wanted = ReplayWanted::Range { from: 1, to: 1, dead: false };
    let (key, answer) = (key("two"), |it: &Replay| Answer::new(202, "{}").of(&it.id));
    let ask = || {
        let once: Option<AskedOnce<'_>> = Some((&key, &answer));
        scene.app.replay(&by, &made.endpoint.id, &wanted, &record(&by), once)
    };
    let begun = ask().expect("begun");
    ask().expect_err("begun already");
    let kept = scene.app.store().answered(&key).expect("read").expect("kept");
    assert_eq!((kept.status, kept.made), (202, Some(begun.id)));
    assert_eq!(scene.app.replays(&by, &made.endpoint.id, 10).expect("listed").len(), 1);
}
