//! The server's own figures: reads against a handler that gives the same bytes, durable writes
//! against bare commits of SQLite, a stream with a thousand listeners, and its memory.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openclaw_pipeline::app::App;
use openclaw_pipeline::config::Sources;
use serde_json::json;

use super::command_line::fill;
use super::load::baseline::Baseline;
use super::load::listeners::{Listeners, mark, marked};
use super::load::{Load, Measured, Request, allow_files, at_rate, fetch, run as load};
use super::store::bare_rate;
use super::support::unlimited::serve;

/// The argument that makes this program the server.
const ARGUMENT: &str = "--server";
/// The operator's token.
const TOKEN: &str = "a-token-for-measuring-0123456789";
/// How often server and baseline take turns.
const TURNS: usize = 5;
/// Connections, and with that requests at once.
const CONNECTIONS: usize = 16;
/// How long one turn takes.
const TURN: Duration = Duration::from_secs(3);
/// How many listen.
const LISTENERS: usize = 1000;
/// How many events a second they hear, and for how long.
const EVENTS: u32 = 10;
const MINUTE: u64 = 60;

/// Becomes the server, where this process was started as one; never returns then. It is the real
/// one, without limits on how often somebody may ask, and without carrying out what it accepts:
/// gateways that start would be what is measured.
pub fn become_one_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return;
    }
    let home = arguments.next().expect("a directory");
    let sources = Sources::new("/")
        .env("HOME", &home)
        .env("OPENCLAW_PIPELINE_HOME", format!("{home}/data"))
        .env("OPENCLAW_PIPELINE_KEY_FILE", format!("{home}/key"))
        .env("OPENCLAW_PIPELINE_API_TOKEN", TOKEN)
        .env("SERVER_PORT", "0");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let running = serve(sources).await;
        println!("{}", running.address());
        std::future::pending::<()>().await;
    });
}

/// A server over a directory. It ends with this.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(home: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg(ARGUMENT)
            .arg(home)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        output.read_line(&mut line).expect("it says where it is");
        Self { child, address: line.trim().parse().expect("an address") }
    }

    /// How much memory it has, in megabytes.
    fn megabytes(&self) -> f64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        let kib: f64 = line.split_whitespace().nth(1).expect("a number").parse().expect("one");
        kib * 1024.0 / 1e6
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installation(deployments: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let app = App::open_at(&dir.path().join("data"), &dir.path().join("key")).expect("opens");
    fill(&app, deployments);
    dir
}

pub fn run(wanted: &impl Fn(&str) -> bool) {
    let wanted = |part: &str| wanted("server") || wanted(&format!("server-{part}"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    allow_files(16_384);
    if wanted("memory") {
        runtime.block_on(memory());
    }
    if wanted("reads") {
        let (_dir, served) = with_a_hundred();
        runtime.block_on(reads(served.address));
    }
    if wanted("writes") {
        let (dir, served) = with_a_hundred();
        runtime.block_on(writes(served.address, dir.path()));
    }
    if wanted("stream") {
        let (_dir, served) = with_a_hundred();
        runtime.block_on(listened(served.address));
    }
}

fn with_a_hundred() -> (tempfile::TempDir, Served) {
    let dir = installation(100);
    let served = Served::start(dir.path());
    (dir, served)
}

/// What it takes with nothing to do.
async fn memory() {
    println!("the server's memory:");
    for (deployments, allowed) in [(0, 20), (10_000, 60)] {
        let dir = installation(deployments);
        let served = Served::start(dir.path());
        // It has looked at everything once by then, as it does when it begins.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let idle = served.megabytes();
        let list = Request::get("/v1/deployments?limit=200").token(TOKEN);
        assert_eq!(fetch(served.address, &list).await.status, 200);
        println!(
            "  idle, {deployments} deployments: {idle:.1} MB, {:.1} MB after a page of them; allowed \
             {allowed} MB",
            served.megabytes()
        );
    }
}

/// Reads, in turns with a handler that gives the same bytes.
async fn reads(to: SocketAddr) {
    println!(
        "reads of the server, {CONNECTIONS} at once, {TURNS} turns of {} s each:",
        TURN.as_secs()
    );
    for path in ["/status", "/v1/deployments/d7"] {
        let request = Request::get(path).token(TOKEN);
        let answer = fetch(to, &request).await;
        assert_eq!(answer.status, 200);
        let bytes = answer.body.len();
        let baseline = Baseline::start(&answer);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let amount =
                Load { connections: CONNECTIONS, warm_up: Duration::from_millis(500), time: TURN };
            let (one, other) = (request.clone(), request.clone());
            ours.push(load(to, amount, move |_| one.clone()).await.expect(200));
            theirs.push(load(baseline.address(), amount, move |_| other.clone()).await.expect(200));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("{}", ours.line(&format!("GET {path}, {bytes} bytes")));
        println!("{}", theirs.line("a handler that gives the same"));
        println!("  = {:.2} x; allowed 0.50 x", ours.rate() / theirs.rate());
    }
}

fn median(mut measured: Vec<Measured>) -> Measured {
    measured.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
    measured.swap_remove(measured.len() / 2)
}

/// Durable writes, in turns with bare commits on the same disk.
async fn writes(to: SocketAddr, home: &Path) {
    println!("its writes, {CONNECTIONS} at once, {TURNS} turns of {} s each:", TURN.as_secs());
    let event = json!({ "type": "health_check", "name": "d7", "message": "it goes on" });
    let event = event.to_string();
    let launch =
        |number: u64| json!({ "name": format!("new-{number}"), "target": "process" }).to_string();
    for (what, status) in [("POST /webhook/event", 200), ("POST /launch, accepted", 202)] {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for turn in 0..TURNS {
            floor.push(bare_rate(&home.join("bare.db"), TURN));
            let amount =
                Load { connections: CONNECTIONS, warm_up: Duration::from_millis(500), time: TURN };
            let event = event.clone();
            let first = u64::try_from(turn).expect("fits") * 1_000_000;
            let make = move |number| match status {
                200 => Request::post("/webhook/event", event.clone()).token(TOKEN),
                _ => Request::post("/launch", launch(first + number)).token(TOKEN),
            };
            ours.push(load(to, amount, make).await.expect(status));
        }
        floor.sort_by(f64::total_cmp);
        let (ours, floor) = (median(ours), floor[floor.len() / 2]);
        println!("{}", ours.line(what));
        println!("  bare commits, one at a time         {floor:>9.0} /s");
        println!("  = {:.2} x; allowed 0.50 x", ours.rate() / floor);
    }
}

/// A thousand listeners on one stream.
async fn listened(to: SocketAddr) {
    let request =
        Request::get("/v1/events?name=d7").token(TOKEN).header("accept", "text/event-stream");
    let listeners = Listeners::connect(to, &request, LISTENERS, marked).await;
    let begun = Instant::now();
    let told = at_rate(EVENTS, u64::from(EVENTS) * MINUTE, move |_| async move {
        let body = json!({ "type": "health_check", "name": "d7", "message": mark() });
        let request = Request::post("/webhook/event", body.to_string()).token(TOKEN);
        fetch(to, &request).await.status
    });
    assert!(told.await.iter().all(|status| *status == 200), "each was taken");
    let heard = listeners.hear(Duration::from_secs(2)).await;
    println!("{}", heard.line(&format!("{LISTENERS} listeners, {EVENTS} events/s")));
    println!(
        "  each heard all {} in {:.0} s; allowed p99 100 ms",
        u64::from(EVENTS) * MINUTE,
        begun.elapsed().as_secs_f64()
    );
    let expected = usize::try_from(u64::from(EVENTS) * MINUTE).expect("fits");
    assert_eq!(heard.events, (expected, expected), "every event to each");
}
