//! The load generator: so many connections that are kept, each with one request at a time and the
//! next one as soon as it is answered (a closed loop), and how long each answer took.
//!
//! Owns sending and measuring. It speaks just enough of HTTP/1.1 by itself, because what the
//! generator takes of the cores is missing to the server that is measured. Refuses answers without
//! a `content-length`, and judges no answer: it counts them by status.

pub mod baseline;
pub mod listeners;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::stats::{Samples, ms};

/// No answer that is measured is larger.
const ANSWER_BYTES: usize = 16 << 20;
/// How long one answer may take before the run fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    /// One without a body.
    pub fn get(path: &str) -> Self {
        Self { head: format!("GET {path} HTTP/1.1\r\n"), body: Vec::new() }
    }

    /// One with a body of JSON.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        let request = Self { head: format!("POST {path} HTTP/1.1\r\n"), body: body.into() };
        request.header("content-type", "application/json")
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.head, "{name}: {value}\r\n");
        self
    }

    /// Adds a token.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn bytes(&self, to: SocketAddr) -> Vec<u8> {
        let mut bytes = format!("{}host: {to}\r\n", self.head).into_bytes();
        if !self.body.is_empty() {
            bytes.extend(format!("content-length: {}\r\n", self.body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A connection that is kept.
struct Connection {
    tcp: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(to: SocketAddr) -> Self {
        let tcp = TcpStream::connect(to).await.unwrap_or_else(|error| panic!("{to}: {error}"));
        tcp.set_nodelay(true).expect("an option");
        Self { tcp, buffer: Vec::with_capacity(16 << 10) }
    }

    /// Sends a request; answers where the head of its answer ends, and where the body.
    async fn exchange(&mut self, request: &[u8]) -> (usize, usize) {
        self.buffer.clear();
        self.tcp.write_all(request).await.expect("the server reads");
        let mut ends = None;
        loop {
            if ends.is_none() {
                ends = head_end(&self.buffer)
                    .map(|end| (end, end + content_length(&self.buffer[..end])));
            }
            match ends {
                Some((head, end)) if self.buffer.len() >= end => return (head, end),
                _ => {}
            }
            assert!(self.buffer.len() < ANSWER_BYTES, "an answer without an end");
            let read = self.tcp.read_buf(&mut self.buffer).await.expect("the server answers");
            assert!(read > 0, "the server hung up: {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    fn status(&self) -> u16 {
        let digits = self.buffer.get(9..12).and_then(|it| std::str::from_utf8(it).ok());
        digits.and_then(|it| it.parse().ok()).expect("a status")
    }
}

fn head_end(buffer: &[u8]) -> Option<usize> {
    buffer.windows(4).position(|it| it == b"\r\n\r\n").map(|at| at + 4)
}

fn headers(head: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let text = std::str::from_utf8(head).expect("a head is text");
    text.lines().skip(1).filter_map(|line| line.split_once(": "))
}

fn content_length(head: &[u8]) -> usize {
    let mut lengths = headers(head).filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().and_then(|(_, value)| value.parse().ok());
    length.unwrap_or_else(|| panic!("no length: {:?}", String::from_utf8_lossy(head)))
}

/// One request on a connection of its own, and its answer.
pub async fn fetch(to: SocketAddr, request: &Request) -> Answer {
    let mut connection = Connection::open(to).await;
    let bytes = request.bytes(to);
    let exchange = connection.exchange(&bytes);
    let (head, end) = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Answer {
        status: connection.status(),
        headers: headers(&connection.buffer[..head]).map(own).collect(),
        body: connection.buffer[head..end].to_vec(),
    }
}

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections, and with that requests at once.
    pub connections: usize,
    /// Requests are sent for so long before any counts.
    pub warm_up: Duration,
    /// And for so long after that.
    pub time: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Measured {
    /// How many answers there were in the time, by status.
    pub statuses: BTreeMap<u16, u64>,
    /// How long it took.
    pub time: Duration,
    /// How long each answer took.
    pub latencies: Samples,
}

impl Measured {
    /// Answers a second.
    #[allow(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    pub fn rate(&self) -> f64 {
        self.latencies.0.len() as f64 / self.time.as_secs_f64()
    }

    /// Fails where an answer had another status.
    pub fn expect(self, status: u16) -> Self {
        assert!(self.statuses.keys().eq([&status]), "not all {status}: {:?}", self.statuses);
        self
    }

    /// In a line.
    pub fn line(&self, what: &str) -> String {
        format!(
            "  {what:<34} {:>9.0} /s   p50 {:>8.2} ms   p99 {:>8.2} ms   n={}",
            self.rate(),
            ms(self.latencies.percentile(50)),
            ms(self.latencies.percentile(99)),
            self.latencies.0.len(),
        )
    }
}

/// Sends requests until the time is over. `make` gets a number that grows with each request.
pub async fn run(
    to: SocketAddr,
    load: Load,
    make: impl Fn(u64) -> Request + Send + Sync + 'static,
) -> Measured {
    let make = Arc::new(make);
    let number = Arc::new(AtomicU64::new(0));
    let mut open = Vec::new();
    for _ in 0..load.connections {
        open.push(Connection::open(to).await);
    }
    let begin = Instant::now() + load.warm_up;
    let end = begin + load.time;
    let tasks: Vec<_> = open
        .into_iter()
        .map(|connection| {
            let (make, number) = (Arc::clone(&make), Arc::clone(&number));
            tokio::spawn(async move {
                let make = |number| make(number).bytes(to);
                work(connection, make, &number, begin, end).await
            })
        })
        .collect();
    let (mut statuses, mut latencies) = (BTreeMap::new(), Vec::new());
    for task in tasks {
        for (status, took) in task.await.expect("a connection works") {
            *statuses.entry(status).or_default() += 1;
            latencies.push(took);
        }
    }
    Measured { statuses, time: load.time, latencies: Samples(latencies) }
}

/// What one connection does; the answers that came within the time.
async fn work(
    mut connection: Connection,
    make: impl Fn(u64) -> Vec<u8>,
    number: &AtomicU64,
    begin: Instant,
    end: Instant,
) -> Vec<(u16, Duration)> {
    let mut answers = Vec::new();
    loop {
        let request = make(number.fetch_add(1, Ordering::Relaxed));
        let sent = Instant::now();
        if sent >= end {
            return answers;
        }
        let exchange = connection.exchange(&request);
        tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
        let now = Instant::now();
        if now >= begin && now < end {
            answers.push((connection.status(), now - sent));
        }
    }
}

/// Does something at a steady rate, whether what was begun is done or not, and waits for all of it.
pub async fn at_rate<F: Future<Output = T> + Send + 'static, T: Send + 'static>(
    per_second: u32,
    times: u64,
    each: impl Fn(u64) -> F,
) -> Vec<T> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut begun = Vec::new();
    for number in 0..times {
        ticks.tick().await;
        begun.push(tokio::spawn(each(number)));
    }
    let mut done = Vec::new();
    for task in begun {
        done.push(task.await.expect("it does not panic"));
    }
    done
}

/// Lets this process, and those that it starts, have so many files open.
pub fn allow_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let maximum = limit.maximum.map(|maximum| maximum.max(count));
        let raised = Rlimit { current: Some(count), maximum };
        setrlimit(Resource::Nofile, raised).expect("the machine allows so many open files");
    }
}

/// The generator's own figures: what it measures of a handler that does nothing, and of a stream.
pub fn run_alone() {
    allow_files(16_384);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("the load generator, against what does nothing:");
    runtime.block_on(async {
        let body = vec![b'x'; 2000];
        let headers = vec![("content-type".into(), "text/plain".into())];
        let baseline = baseline::Baseline::start(&Answer { status: 200, headers, body });
        for connections in [1, 16, 64] {
            let (warm_up, time) = (Duration::from_secs(1), Duration::from_secs(4));
            let load = Load { connections, warm_up, time };
            let measured = run(baseline.address(), load, |_| Request::get("/x")).await.expect(200);
            println!("{}", measured.line(&format!("{connections} connections, 2 kB")));
        }
        let to = baseline.address();
        let steady = at_rate(100, 300, move |_| async move {
            let begun = Instant::now();
            let answer = fetch(to, &Request::post("/x", "{}").token("any")).await;
            assert_eq!((answer.status, answer.body.len()), (200, 2000));
            begun.elapsed()
        });
        println!("{}", Samples(steady.await).line("connections at 100 /s"));
        let stream = Request::get(baseline::STREAM);
        let marked = listeners::marked;
        let listeners = listeners::Listeners::connect(to, &stream, 1000, marked).await;
        let heard = listeners.hear(Duration::from_secs(5)).await;
        println!("{}", heard.line("1000 listeners, 10 events/s"));
    });
    println!();
}
