//! Receivers that fail, each in its own way, and none to the harm of another; and dispatchers that
//! are killed.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openclaw_pipeline::store::{
    DeliveryStatus, Endpoint, EndpointStatus, Filter, Replay, ReplayStatus, Scope,
};
use openclaw_pipeline::webhooks::{Options, Schedule};
use rcgen::generate_simple_self_signed;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::outbox::{Outbox, quick, until};
use crate::support::receiver::{Mode, Receiver};

/// Pauses that nobody waits out in a test.
fn patient() -> Schedule {
    Schedule { first: Duration::from_secs(600), ..quick() }
}

/// Gives up at the fifth failure.
fn impatient() -> Schedule {
    Schedule { give_up: Duration::ZERO, grace: Duration::ZERO, ..quick() }
}

fn status(status: u16) -> Mode {
    Mode::Status(status, Vec::new())
}

#[tokio::test]
async fn whatever_a_receiver_does_its_events_arrive_when_it_works_again() {
    for (mode, says) in [
        (Mode::Refuse, "nobody listens there"),
        (Mode::Hang, "no answer within 0.4 s"),
        (status(500), "it answered 500"),
        (status(503), "it answered 503"),
        (status(404), "it answered 404"),
    ] {
        let (outbox, receiver) = (Outbox::new(), Receiver::start());
        let (frontend, _) = outbox.frontend(&receiver);
        receiver.set(mode.clone());
        let hangs = matches!(mode, Mode::Hang);
        let attempt = if hangs { Duration::from_millis(400) } else { quick().attempt };
        let _running = outbox.run(Schedule { attempt, ..quick() });
        let told: Vec<i64> = (0..3).map(|_| outbox.tell("main")).collect();
        let first = || outbox.listed(&frontend, DeliveryStatus::Pending).into_iter().next();
        until("it is tried twice", || first().is_some_and(|it| it.attempts >= 2)).await;
        let tried = first().expect("it is pending");
        assert_eq!(tried.last_error.as_deref(), Some(says), "{mode:?}");
        assert!(tried.next_attempt_at.is_some());
        receiver.set(Mode::Ok);
        outbox.drained(&frontend).await;
        assert_eq!(receiver.orders(), BTreeMap::from([("main".to_owned(), told)]), "{mode:?}");
    }
}

#[tokio::test]
async fn what_waited_for_a_receiver_goes_at_once_when_it_answers_again() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    receiver.set(Mode::Refuse);
    let _running = outbox.run(patient());
    for number in 0..20 {
        outbox.tell(&format!("box-{number}"));
    }
    until("each is tried", || outbox.counts(&frontend).failed_total >= 20).await;
    receiver.set(Mode::Ok);
    // Of another deployment, which has no pause to wait out.
    outbox.tell("main");
    outbox.drained(&frontend).await;
    assert_eq!(receiver.count(), 21);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_sent_nothing_until_it_is_enabled() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    receiver.set(status(410));
    let _running = outbox.run(quick());
    outbox.tell("main");
    until("it is disabled", || outbox.now(&frontend).status == EndpointStatus::Disabled).await;
    assert_eq!(outbox.now(&frontend).reason.as_deref(), Some("it answered 410: it is gone"));
    let tried = receiver.count();
    receiver.set(Mode::Ok);
    outbox.tell("main");
    until("it is kept", || outbox.counts(&frontend).pending == 2).await;
    assert_eq!(receiver.count(), tried);
    outbox.store.enable_endpoint(&frontend.id, None).expect("enabled");
    outbox.drained(&frontend).await;
    assert_eq!(receiver.orders()["main"], [1, 2]);
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_gets_it_from_everybody() {
    for code in [429, 503] {
        let (outbox, receiver) = (Outbox::new(), Receiver::start());
        let (frontend, _) = outbox.frontend(&receiver);
        receiver.set(Mode::Status(code, vec![("retry-after", "1".into())]));
        let _running = outbox.run(Schedule { at_once: 1, ..quick() });
        outbox.tell("a");
        outbox.tell("b");
        until("it is asked once", || receiver.count() == 1).await;
        until("it is heeded", || outbox.now(&frontend).held_until_ms.is_some()).await;
        receiver.set(Mode::Ok);
        outbox.tell("c");
        outbox.drained(&frontend).await;
        let requests = receiver.requests();
        assert_eq!(requests.len(), 4);
        let pause = requests[1].at - requests[0].at;
        assert!(pause >= Duration::from_millis(900), "{pause:?}");
        assert!(pause <= Duration::from_secs(5), "{pause:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_nobody_goes_there() {
    let (outbox, receiver, inside) = (Outbox::new(), Receiver::start(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    let _running = outbox.run(quick());
    for (code, sequence) in [301, 302, 303, 307, 308].into_iter().zip(1_i64..) {
        receiver.set(Mode::Status(code, vec![("location", inside.url())]));
        outbox.tell("main");
        until("it is tried", || {
            let pending = outbox.listed(&frontend, DeliveryStatus::Pending);
            pending.first().is_some_and(|it| it.attempts > 0)
        })
        .await;
        let error = outbox.listed(&frontend, DeliveryStatus::Pending)[0].last_error.clone();
        let says = format!("it answered {code}, and redirects are not followed");
        assert_eq!(error, Some(says));
        receiver.set(Mode::Ok);
        outbox.drained(&frontend).await;
        assert_eq!(outbox.counts(&frontend).delivered_total, sequence);
    }
    assert_eq!(inside.count(), 0);
}

#[tokio::test]
async fn an_answer_without_an_end_is_an_answer() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    receiver.set(Mode::Endless);
    let _running = outbox.run(quick());
    for _ in 0..10 {
        outbox.tell("main");
    }
    outbox.drained(&frontend).await;
    assert_eq!(receiver.count(), 10, "each once");
}

#[tokio::test]
async fn a_receiver_that_fails_does_not_slow_another() {
    for mode in [Mode::Hang, Mode::Refuse, status(500)] {
        let (outbox, good, bad) = (Outbox::new(), Receiver::start(), Receiver::start());
        let (healthy, _) = outbox.frontend(&good);
        let (failing, _) = outbox.other(&bad);
        bad.set(mode.clone());
        let _running = outbox.run(quick());
        for number in 0..100 {
            outbox.tell(&format!("box-{}", number % 25));
        }
        outbox.drained(&healthy).await;
        assert_eq!(good.count(), 100);
        assert!(bad.most_at_once() <= 16);
        assert_eq!(outbox.counts(&failing).pending, 100);
    }
}

#[tokio::test]
async fn dead_letters_let_the_others_go_on_and_can_be_sent_again() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    let told: Vec<i64> = (0..4).map(|_| outbox.tell("main")).collect();
    receiver.set(status(500));
    let running = outbox.run(impatient());
    outbox.drained(&frontend).await;
    let dead = outbox.listed(&frontend, DeliveryStatus::Dead);
    let shown: Vec<(i64, u32)> = dead.iter().map(|it| (it.sequence, it.attempts)).collect();
    assert_eq!(shown, told.iter().map(|it| (*it, 5)).collect::<Vec<_>>());
    assert_eq!(outbox.counts(&frontend).dead_total, 4);
    receiver.set(Mode::Ok);
    let next = outbox.tell("main");
    outbox.drained(&frontend).await;
    assert_eq!(receiver.orders()["main"], [next]);
    let replay = outbox.replay(&frontend, (1, 3), Scope::Dead);
    until("it is done", || ended(&outbox, &replay).status == ReplayStatus::Succeeded).await;
    assert_eq!(receiver.orders()["main"], [next, 1, 2, 3]);
    let left: Vec<i64> =
        outbox.listed(&frontend, DeliveryStatus::Dead).iter().map(|it| it.sequence).collect();
    assert_eq!(left, [4], "the one that was not asked for");
    // The same id as ever, so that a receiver knows what it has seen.
    let ids = |sequence: i64| -> Vec<String> {
        let of = receiver.requests().into_iter().filter(move |it| it.sequence() == sequence);
        of.map(|it| it.header("webhook-id").to_owned()).collect()
    };
    assert!(ids(1).len() == 6 && ids(1).windows(2).all(|pair| pair[0] == pair[1]));
    running.stop().await;
}

#[tokio::test]
async fn where_nobody_listens_events_become_dead_letters_one_after_the_other() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    receiver.set(Mode::Refuse);
    outbox.tell_many(30, 3);
    let _running = outbox.run(impatient());
    outbox.drained(&frontend).await;
    let dead = outbox.listed(&frontend, DeliveryStatus::Dead);
    assert_eq!(dead.len(), 30);
    assert!(dead.iter().all(|it| it.attempts == 5), "{dead:?}");
    assert_eq!(outbox.counts(&frontend).failed_total, 150);
}

#[tokio::test]
async fn nothing_is_given_up_in_the_first_moments_of_a_process() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    outbox.tell("main");
    receiver.set(status(500));
    // Old enough at once, and tried often enough soon.
    let hour = Duration::from_secs(3600);
    let schedule = Schedule { give_up: hour, ..quick() };
    outbox.store.fan_out(None).expect("fanned out");
    let db = rusqlite::Connection::open(outbox.store.path()).expect("opened");
    db.execute("UPDATE deliveries SET created_ms = 0", []).expect("as if it had waited for ever");
    db.execute("UPDATE endpoints SET enabled_ms = 0", []).expect("the same");
    let running = outbox.run(schedule.clone());
    until("it is tried", || outbox.counts(&frontend).failed_total > 8).await;
    assert_eq!(outbox.counts(&frontend).dead_total, 0);
    running.stop().await;
    // With a grace that is over it is.
    let _running = outbox.run(Schedule { grace: Duration::ZERO, ..schedule });
    outbox.drained(&frontend).await;
    assert_eq!(outbox.counts(&frontend).dead_total, 1);
}

fn ended(outbox: &Outbox, replay: &Replay) -> Replay {
    outbox.store.replay(&replay.id).expect("read").expect("is there")
}

#[tokio::test]
async fn a_replay_that_is_killed_over_and_over_loses_nothing_and_doubles_no_row() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    outbox.tell_many(1500, 7);
    let db = rusqlite::Connection::open(outbox.store.path()).expect("opened");
    db.execute("UPDATE endpoints SET position = 1500", []).expect("as if it had been told");
    let replay = outbox.replay(&frontend, (1, 1500), Scope::All);
    let mut kills = 0;
    while ended(&outbox, &replay).status == ReplayStatus::Running {
        let (running, seen) = (outbox.run(quick()), receiver.count());
        let more = || receiver.count() > seen + 60;
        until("some arrive", || more() || ended(&outbox, &replay).ended_at.is_some()).await;
        running.kill().await;
        kills += 1;
    }
    assert!(kills > 2, "{kills}");
    let replay = ended(&outbox, &replay);
    assert_eq!((replay.queued, replay.delivered, replay.dead), (1500, 1500, 0));
    let delivered = outbox.listed(&frontend, DeliveryStatus::Delivered);
    let mut rows: Vec<i64> = delivered.iter().map(|it| it.sequence).collect();
    rows.sort_unstable();
    assert_eq!(rows, (1..=1500).collect::<Vec<_>>(), "a row for each");
    assert!(delivered.iter().all(|it| it.replay.as_ref() == Some(&replay.id)));
    // What was under way at a kill may come once more: in its order all the same.
    let doubled = receiver.taken().len() - 1500;
    assert!(doubled <= kills * 16, "{doubled} after {kills} kills");
    for order in receiver.orders().values() {
        assert!(order.windows(2).all(|pair| pair[0] <= pair[1]), "{order:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_there_half_the_time_gets_everything_once_and_in_order() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    let _running = outbox.run(quick());
    let mut told: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for number in 0..600 {
        match number % 100 {
            0 => receiver.set(Mode::Refuse),
            50 => receiver.set(Mode::Ok),
            _ => {}
        }
        let name = format!("box-{}", number % 10);
        told.entry(name.clone()).or_default().push(outbox.tell(&name));
        tokio::task::yield_now().await;
    }
    receiver.set(Mode::Ok);
    outbox.drained(&frontend).await;
    let mut orders = receiver.orders();
    for order in orders.values_mut() {
        // An answer that was cut by the refusal did not arrive, and its event had to come again.
        order.dedup();
    }
    assert_eq!(orders, told);
    assert!(receiver.taken().len() <= 600 + 6 * 16, "{}", receiver.taken().len());
}

/// Answers every name with loopback.
struct Inside;

impl Resolve for Inside {
    fn resolve(&self, _name: Name) -> Resolving {
        let found = [SocketAddr::from(([127, 0, 0, 1], 0))];
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

#[tokio::test]
async fn a_strangers_name_that_leads_inside_is_not_connected_to() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let url = format!("https://app.example:{}/", receiver.port());
    let (stranger, _) = outbox.endpoint(&url, false, Filter::default());
    let own = format!("http://app.example:{}/", receiver.port());
    let (frontend, _) = outbox.endpoint(&own, true, Filter::default());
    let resolver: Option<Arc<dyn Resolve>> = Some(Arc::new(Inside));
    let _running = outbox.run_with(Options { schedule: quick(), resolver, ..Options::default() });
    outbox.tell("main");
    outbox.drained(&frontend).await;
    until("it is tried", || outbox.counts(&stranger).failed_total > 0).await;
    let [delivery] = &outbox.listed(&stranger, DeliveryStatus::Pending)[..] else {
        panic!("it is pending")
    };
    let error = delivery.last_error.clone().expect("a reason");
    assert!(error.starts_with("app.example leads to an address that is not allowed"), "{error}");
    assert_eq!(receiver.count(), 1, "the operator's own, and nobody else's");
}

/// Answers 204 to whoever shakes hands with a certificate that nobody vouches for; says how many
/// did.
fn unvouched() -> (u16, Arc<AtomicUsize>) {
    let made = generate_simple_self_signed(["app.example".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a certificate and its key");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    let port = listener.local_addr().expect("an address").port();
    let (count, config) = (Arc::new(AtomicUsize::new(0)), Arc::new(config));
    let shaken = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let session = ServerConnection::new(config.clone()).expect("a session");
            let mut stream = StreamOwned::new(session, stream);
            if stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {
                shaken.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
            }
        }
    });
    (port, count)
}

#[tokio::test]
async fn a_receiver_that_nobody_vouches_for_is_told_nothing() {
    let (outbox, (port, shaken)) = (Outbox::new(), unvouched());
    let url = format!("https://app.example:{port}/");
    let (frontend, _) = outbox.endpoint(&url, true, Filter::default());
    let resolver: Option<Arc<dyn Resolve>> = Some(Arc::new(Inside));
    let _running = outbox.run_with(Options { schedule: quick(), resolver, ..Options::default() });
    outbox.tell("main");
    until("it is tried", || outbox.counts(&frontend).failed_total > 2).await;
    let error = outbox.listed(&frontend, DeliveryStatus::Pending)[0].last_error.clone();
    let error = error.expect("a reason").to_lowercase();
    assert!(error.contains("certificate") || error.contains("issuer"), "{error}");
    assert_eq!(shaken.load(Ordering::Relaxed), 0);
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_secret_stands_in_no_row_no_reason_and_no_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // With one subscriber, whether a line is logged at all is asked of the thread that comes to it
    // first, which may be another test's; with two, it is asked of both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, secret) = outbox.frontend(&receiver);
    // A secret that cannot be opened is a reason, too.
    let (broken, _) = outbox.other(&receiver);
    outbox.store.rotate_endpoint(&broken.id, b"\x01not sealed", 0, None, None).expect("rotated");
    for mode in [status(500), Mode::Refuse, Mode::Ok] {
        receiver.set(mode);
        outbox.tell("main");
        let running = outbox.run(quick());
        let tried = |endpoint: &Endpoint| {
            let counts = outbox.counts(endpoint);
            counts.failed_total + counts.delivered_total
        };
        let before = (tried(&frontend), tried(&broken));
        let more = || tried(&frontend) > before.0 && tried(&broken) > before.1;
        until("both are tried", more).await;
        running.stop().await;
    }
    let _running = outbox.run(quick());
    outbox.drained(&frontend).await;
    let pending = outbox.listed(&broken, DeliveryStatus::Pending);
    let error = pending[0].last_error.clone().expect("a reason");
    assert!(error.contains("cannot be opened"), "{error}");
    assert!(receiver.taken().iter().all(|it| it.is_signed_by(&secret)));

    let bare = secret.expose().trim_start_matches("whsec_");
    let mut kept = lines.0.lock().expect("not poisoned").clone();
    assert!(String::from_utf8_lossy(&kept).contains("it answered 500"), "it does log");
    for entry in std::fs::read_dir(outbox.home()).expect("a directory").flatten() {
        kept.extend(std::fs::read(entry.path()).unwrap_or_default());
    }
    assert!(!kept.windows(bare.len()).any(|it| it == bare.as_bytes()), "the secret was kept");
}
