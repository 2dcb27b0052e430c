//! A store with an outbox, and a dispatcher over it that can be stopped and started.
//!
//! Owns a data directory, its sealing key, and pauses short enough that nobody waits. Endpoints are
//! put on loopback, where the receivers of tests are: the rule for addresses is relaxed here and
//! nowhere else.

use std::time::Duration;

use openclaw_pipeline::domain::{DeploymentName, EventType, Failure};
use openclaw_pipeline::exec::wait;
use openclaw_pipeline::secrets::webhook::generate_webhook_secret;
use openclaw_pipeline::secrets::{SealingKey, Secret};
use openclaw_pipeline::store::{
    Counts, Delivery, DeliveryStatus, Endpoint, Filter, NewEndpoint, NewEvent, NewReplay, Replay,
    Scope, Store, new_id,
};
use openclaw_pipeline::webhooks::address::Rule;
use openclaw_pipeline::webhooks::{Options, Schedule, message, run};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::receiver::Receiver;

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pauses of milliseconds. An attempt may take longer than anybody waits here: a busy machine is no
/// receiver that hangs.
pub fn quick() -> Schedule {
    Schedule {
        first: Duration::from_millis(2),
        longest: Duration::from_millis(50),
        attempt: 10 * PATIENCE,
        spacing: Duration::from_millis(1),
        linger: Duration::from_millis(200),
        ..Schedule::default()
    }
}

/// A store with an outbox.
pub struct Outbox {
    directory: tempfile::TempDir,
    keys: tempfile::TempDir,
    pub store: Store,
    pub key: SealingKey,
}

/// A dispatcher that runs until it is dropped or stopped.
pub struct Running {
    cancel: DropGuard,
    task: JoinHandle<Result<(), Failure>>,
}

impl Running {
    /// Stops it as SIGTERM does, and waits for its end.
    pub async fn stop(self) {
        drop(self.cancel);
        self.task.await.expect("no panic").expect("it ends well");
    }

    /// Ends it where it stands.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Outbox {
    pub fn new() -> Self {
        let [directory, keys] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let store = Store::open(directory.path()).expect("opens");
        let key = SealingKey::load_or_create(&keys.path().join("key")).expect("a key");
        Self { directory, keys, store, key }
    }

    /// The sealing key's file.
    pub fn key_file(&self) -> std::path::PathBuf {
        self.keys.path().join("key")
    }

    /// The data directory.
    pub fn home(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// An endpoint that is told of everything.
    pub fn frontend(&self, receiver: &Receiver) -> (Endpoint, Secret) {
        self.endpoint(&receiver.url(), true, Filter::default())
    }

    /// Another one.
    pub fn other(&self, receiver: &Receiver) -> (Endpoint, Secret) {
        self.endpoint(&receiver.url(), false, Filter::default())
    }

    pub fn endpoint(&self, url: &str, is_frontend: bool, filter: Filter) -> (Endpoint, Secret) {
        let (id, secret) = (new_id(), generate_webhook_secret());
        let sealed = message::seal(&self.key, &id, &secret);
        let url = url.to_owned();
        let new = NewEndpoint { id, url, filter, is_frontend, owner: None, secret: sealed };
        (self.store.put_endpoint(&new, None, None).expect("recorded"), secret)
    }

    /// Tells of something, and answers its sequence number.
    pub fn tell(&self, name: &str) -> i64 {
        self.tell_of(name, EventType::Started)
    }

    pub fn tell_of(&self, name: &str, kind: EventType) -> i64 {
        let name: DeploymentName = name.parse().expect("a name");
        let event = NewEvent::new(kind, "a message");
        self.store.append_event(&name, &event).expect("appended").sequence
    }

    /// Tells of many things at once: `box-0` to so many of them, in turn.
    pub fn tell_many(&self, events: u32, boxes: u32) {
        let db = rusqlite::Connection::open(self.store.path()).expect("opened");
        let tell = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n \
                    WHERE i + 1 < ?1) INSERT INTO events (id, type, name, message, timestamp) \
                    SELECT 'event-' || i, 'started', 'box-' || (i % ?2), 'a message', ?3 FROM n";
        let now = openclaw_pipeline::store::now();
        db.execute(tell, (events, boxes, now)).expect("told");
    }

    /// Begins a replay.
    pub fn replay(&self, endpoint: &Endpoint, range: (i64, i64), scope: Scope) -> Replay {
        let (from_sequence, to_sequence) = range;
        let (record, once) = (None, None);
        let new = NewReplay { endpoint, from_sequence, to_sequence, scope, record, once };
        self.store.begin_replay(&new).expect("begun")
    }

    /// Runs a dispatcher.
    pub fn run(&self, schedule: Schedule) -> Running {
        self.run_with(Options { schedule, strangers: Rule::Operator, ..Options::default() })
    }

    pub fn run_with(&self, options: Options) -> Running {
        let cancel = CancellationToken::new();
        let (store, key) = (self.store.clone(), self.key.clone());
        let task = tokio::spawn(run(store, key, options, cancel.clone()));
        Running { cancel: cancel.drop_guard(), task }
    }

    pub fn counts(&self, endpoint: &Endpoint) -> Counts {
        self.store.counts(endpoint).expect("counted")
    }

    /// The endpoint as it is now.
    pub fn now(&self, endpoint: &Endpoint) -> Endpoint {
        self.store.endpoint(&endpoint.id).expect("read").expect("is there")
    }

    /// The deliveries of a status, the oldest first.
    pub fn listed(&self, endpoint: &Endpoint, status: DeliveryStatus) -> Vec<Delivery> {
        let mut listed =
            self.store.deliveries(endpoint, Some(status), None, 100_000).expect("listed");
        listed.reverse();
        listed
    }

    /// Waits until everything that was told has been delivered to an endpoint or given up.
    pub async fn drained(&self, endpoint: &Endpoint) {
        until("it is drained", || {
            let last = self.store.last_events(None, 1).expect("read").pop();
            let fanned = last.is_none_or(|it| it.sequence <= self.now(endpoint).position);
            fanned && self.counts(endpoint).pending == 0
        })
        .await;
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let so = wait::until(PATIENCE, || std::future::ready(is_so().then_some(()))).await;
    assert!(so.is_some(), "within {PATIENCE:?} this did not come true: {what}");
}
