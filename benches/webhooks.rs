//! Events on their way to receivers on loopback: how long each takes, what a receiver that fails
//! costs the others, and what a million that wait cost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use openclaw_pipeline::domain::{DeploymentName, EventType};
use openclaw_pipeline::store::{Endpoint, NewEvent};
use openclaw_pipeline::webhooks::Schedule;

use super::stats::{Samples, ms};
use super::support::outbox::Outbox;
use super::support::receiver::{Mode, Receiver};

/// How many deployments tell of something.
const BOXES: u32 = 20;
/// How long events come at a steady rate.
const STEADY: Duration = Duration::from_secs(20);
/// The pause between two of them: 100 a second.
const PACE: Duration = Duration::from_millis(10);
/// How many events come while the receiver is there half the time.
const ROUGH: u32 = 10_000;
/// How long it is away, and there, in turn.
const AWAY: Duration = Duration::from_millis(500);
/// How many events are drained at once, with and without a receiver that fails beside.
const BATCH: u32 = 30_000;
/// How often.
const TURNS: usize = 15;
/// How many events wait.
const WAITING: u32 = 1_000_000;

pub fn run() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("events to receivers on loopback:");
    runtime.block_on(async {
        steady().await;
        rough().await;
        beside().await;
        waiting().await;
    });
    println!();
}

/// From the moment at which an event is accepted to the one at which its receiver has it.
async fn steady() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    let running = outbox.run(Schedule::default());
    let mut pace = tokio::time::interval(PACE);
    let (begun, mut accepted) = (Instant::now(), BTreeMap::new());
    for number in 0_u32.. {
        if begun.elapsed() >= STEADY {
            break;
        }
        pace.tick().await;
        let (name, event) = event(number % BOXES);
        let told = outbox.store.append_event_async(name, event).await.expect("told");
        accepted.insert(told.sequence, Instant::now());
    }
    outbox.drained(&frontend).await;
    let arrived = receiver.taken();
    assert_eq!(arrived.len(), accepted.len(), "each once");
    let took = arrived.iter().map(|it| it.at.saturating_duration_since(accepted[&it.sequence()]));
    println!("{}   allowed p99 20 ms", Samples(took.collect()).line("accepted to arrived, 100/s"));
    running.stop().await;
}

fn event(number: u32) -> (DeploymentName, NewEvent) {
    let name = format!("box-{number}").parse().expect("a name");
    (name, NewEvent::new(EventType::HealthCheck, "a message of some length"))
}

/// The receiver is there half the time.
async fn rough() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    let running = outbox.run(Schedule::default());
    let begun = Instant::now();
    let tells = async {
        let mut writers = tokio::task::JoinSet::new();
        for box_number in 0..BOXES {
            let store = outbox.store.clone();
            writers.spawn(async move {
                for _ in 0..ROUGH / BOXES {
                    let (name, event) = event(box_number);
                    store.append_event_async(name, event).await.expect("told");
                }
            });
        }
        while writers.join_next().await.is_some() {}
    };
    tokio::select! {
        () = comes_and_goes(&receiver) => {}
        () = async { tells.await; outbox.drained(&frontend).await } => {}
    }
    let mut orders = receiver.orders();
    let arrived: usize = orders.values().map(Vec::len).sum();
    for order in orders.values_mut() {
        assert!(order.windows(2).all(|pair| pair[0] <= pair[1]), "out of order");
        order.dedup();
    }
    let different: usize = orders.values().map(Vec::len).sum();
    println!(
        "  {ROUGH} events, receiver away every other {} ms: {different} arrived in order, {} of \
         them twice, in {:.1} s",
        AWAY.as_millis(),
        arrived - different,
        begun.elapsed().as_secs_f64()
    );
    running.stop().await;
}

async fn comes_and_goes(receiver: &Receiver) {
    let mut turns = tokio::time::interval(AWAY);
    loop {
        for mode in [Mode::Ok, Mode::Refuse] {
            turns.tick().await;
            receiver.set(mode);
        }
    }
}

/// How long a batch takes one receiver, alone and beside one that fails, in turn.
async fn beside() {
    let modes = [None, Some(Mode::Hang), Some(Mode::Refuse), Some(Mode::Status(500, Vec::new()))];
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); modes.len()];
    for _ in 0..TURNS {
        for (mode, took) in modes.iter().zip(&mut took) {
            took.push(drain(mode.clone()).await);
        }
    }
    // Each is compared with the one of its own turn: the machine is not as fast in each of them.
    let alone: Vec<f64> = took[0].iter().copied().map(ms).collect();
    println!(
        "  {BATCH} events to one receiver alone: {:.0} ms (median of {TURNS} turns)",
        median(&alone)
    );
    for (what, took) in ["hangs", "refuses", "answers 500"].iter().zip(&took[1..]) {
        let more: Vec<f64> = took
            .iter()
            .zip(&alone)
            .map(|(took, alone)| (ms(*took) / alone - 1.0) * 100.0)
            .collect();
        println!("    beside one that {what}: {:+.1} % (median); allowed +5 %", median(&more));
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

async fn drain(other: Option<Mode>) -> Duration {
    let (outbox, receiver, failing) = (Outbox::new(), Receiver::start(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    let mut failing_one: Option<Endpoint> = None;
    if let Some(mode) = other {
        failing.set(mode);
        failing_one = Some(outbox.other(&failing).0);
    }
    // Both have their deliveries before the clock starts: what is measured is the sending.
    outbox.tell_many(BATCH, BOXES);
    while outbox.store.fan_out(None).expect("fanned out") {}
    let begun = Instant::now();
    let running = outbox.run(Schedule::default());
    outbox.drained(&frontend).await;
    // To the last one's arrival, not to when that was looked at.
    let took = receiver.taken().iter().map(|it| it.at).max().expect("some") - begun;
    running.kill().await;
    if let Some(endpoint) = failing_one {
        assert_eq!(outbox.counts(&endpoint).pending, i64::from(BATCH), "none of them arrived");
    }
    took
}

/// A million events wait for a receiver that is away.
async fn waiting() {
    let (outbox, receiver) = (Outbox::new(), Receiver::start());
    let (frontend, _) = outbox.frontend(&receiver);
    outbox.tell_many(WAITING, BOXES);
    let begun = Instant::now();
    while outbox.store.fan_out(None).expect("fanned out") {}
    let fanned = begun.elapsed();
    receiver.set(Mode::Refuse);
    let before = resident_mib();
    let running = outbox.run(Schedule::default());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let tried = outbox.counts(&frontend).failed_total;
    receiver.set(Mode::Ok);
    outbox.tell("main");
    let (begun, goal) = (Instant::now(), 5_000);
    while receiver.count() < goal {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    println!(
        "  {WAITING} waiting: fanned out in {:.1} s, {tried} tries in 5 s while the receiver is \
         away, then {goal} in {:.1} s; {:.0} MiB more in memory",
        fanned.as_secs_f64(),
        took.as_secs_f64(),
        resident_mib() - before
    );
    running.kill().await;
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}
