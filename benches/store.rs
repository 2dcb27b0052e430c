//! Durable writes of the store, against bare commits of SQLite with the same durability.
//!
//! The two take turns in one directory, so that a slow minute of the disk falls on both.

use std::path::Path;
use std::time::{Duration, Instant};

use openclaw_pipeline::domain::{DeploymentName, DeploymentSpec, EventType, OperationKind};
use openclaw_pipeline::store::{Begin, NewDeployment, NewEvent, Store, new_id};

use super::stats::Samples;
use super::support::bench::{Bench, OLD};

/// How many writers wait at once.
const WRITERS: usize = 16;
/// How long each turn takes.
const TURN: Duration = Duration::from_secs(2);
/// How many turns each has.
const TURNS: u32 = 5;

/// What one turn did.
struct Turn {
    writes: usize,
    took: Duration,
    each: Vec<Duration>,
}

pub fn run() {
    let dir = tempfile::tempdir().expect("a directory");
    let bare = bare_database(&dir.path().join("bare.db"));
    let home = dir.path().join("home");
    let store = Store::open(&home).expect("the store opens");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let spec = Bench::new().spec(OLD);
    let (mut floor, mut events, mut launches) = (Vec::new(), Vec::new(), Vec::new());
    let mut looks = Vec::new();
    for turn in 0..TURNS {
        floor.push(bare_turn(&bare, TURN));
        let (its, other) = (store.clone(), store.clone());
        let looking = std::thread::spawn(move || look(&other));
        events.push(runtime.block_on(turn_of(move |_| event(its.clone()))));
        looks.extend(looking.join().expect("no panic"));
        let (its, spec) = (store.clone(), spec.clone());
        launches.push(runtime.block_on(turn_of(move |number| {
            launch(its.clone(), format!("d{turn}-{number}"), spec.clone())
        })));
    }
    println!("durable writes, {WRITERS} at once, {TURNS} turns of {} s each:", TURN.as_secs());
    let floor = report("bare commits, one at a time", floor);
    for (what, turns) in [("events", events), ("launches begun", launches)] {
        let rate = report(what, turns);
        println!("  {what} = {:.2} x bare commits; allowed 0.50 x", rate / floor);
    }
    let looks = Samples(looks);
    let us = |percent| looks.percentile(percent).as_secs_f64() * 1_000_000.0;
    println!(
        "  a look at the last events meanwhile: median {:.0} us, p99 {:.0} us",
        us(50),
        us(99)
    );
    println!();
}

/// What `POST /webhook/event` writes.
async fn event(store: Store) {
    let event = NewEvent::external(EventType::HealthCheck, "a message of some length");
    store.append_event_async(DeploymentName::main(), event).await.expect("commits");
}

/// Looks at the store again and again while others write; answers how long each look took.
fn look(store: &Store) -> Vec<Duration> {
    let (begun, mut each) = (Instant::now(), Vec::new());
    while begun.elapsed() < TURN {
        let one = Instant::now();
        store.last_events(None, 10).expect("reads");
        each.push(one.elapsed());
        // Now and then, as somebody who looks does, and not without a pause.
        std::thread::sleep(Duration::from_millis(2));
    }
    each
}

/// What a launch writes before it is accepted.
async fn launch(store: Store, name: String, spec: DeploymentSpec) {
    let sealed = vec![("secrets.current".to_owned(), vec![0; 600])];
    let create = NewDeployment { id: new_id(), sealed, spec, owner: None };
    let begin = Begin {
        create: Some(create),
        event: Some(NewEvent::new(EventType::Launching, "launching it")),
        ..Begin::new(OperationKind::Launch, name.parse().expect("a name"))
    };
    store.begin_async(begin).await.expect("commits");
}

/// A table with what a row of events has at least, and the store's own durability.
fn bare_database(path: &Path) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(path).expect("opens");
    db.pragma_update(None, "journal_mode", "wal").expect("a log");
    db.pragma_update(None, "synchronous", "full").expect("waits for the disk");
    db.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT NOT NULL)").expect("made");
    db
}

/// Bare commits a second on the disk of a file, over so long.
#[allow(clippy::cast_precision_loss)]
pub fn bare_rate(path: &Path, time: Duration) -> f64 {
    let _ = std::fs::remove_file(path);
    let turn = bare_turn(&bare_database(path), time);
    turn.writes as f64 / turn.took.as_secs_f64()
}

fn bare_turn(db: &rusqlite::Connection, time: Duration) -> Turn {
    let mut insert = db.prepare("INSERT INTO t (text) VALUES (?1)").expect("prepares");
    let (begun, mut each) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let one = Instant::now();
        insert.execute(["a message of some length"]).expect("commits");
        each.push(one.elapsed());
    }
    Turn { writes: each.len(), took: begun.elapsed(), each }
}

/// Writers that each begin their next write when the one before is on the disk.
async fn turn_of<F: Future<Output = ()> + Send + 'static>(
    write: impl Fn(usize) -> F + Send + Sync + Clone + 'static,
) -> Turn {
    let begun = Instant::now();
    let writer = |writer: usize| {
        let write = write.clone();
        async move {
            let mut each = Vec::new();
            while begun.elapsed() < TURN {
                let one = Instant::now();
                write(each.len() * WRITERS + writer).await;
                each.push(one.elapsed());
            }
            each
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|number| tokio::spawn(writer(number))).collect();
    let mut each = Vec::new();
    for writer in writers {
        each.extend(writer.await.expect("no panic"));
    }
    Turn { writes: each.len(), took: begun.elapsed(), each }
}

/// Prints it; answers the writes of one second.
#[allow(clippy::cast_precision_loss)]
fn report(what: &str, turns: Vec<Turn>) -> f64 {
    let writes: usize = turns.iter().map(|turn| turn.writes).sum();
    let took: Duration = turns.iter().map(|turn| turn.took).sum();
    let rate = writes as f64 / took.as_secs_f64();
    let samples = Samples(turns.into_iter().flat_map(|turn| turn.each).collect());
    println!("{}   {rate:.0} a second", samples.line(what));
    rate
}
