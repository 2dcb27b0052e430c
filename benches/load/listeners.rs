//! Many listeners on one stream of server-sent events, and how long after an event was emitted each
//! of them has it.
//!
//! Owns the connections and the clock: an event carries the time at which it was emitted, in its
//! text ([`mark`], [`marked`]), and both ends are on this machine. What an event says beside that
//! is not looked at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::stats::{Samples, ms};
use super::Request;

/// What a mark begins with.
const MARK: &str = "emitted-ns=";

/// A text that says when it was made; put it into an event's message.
pub fn mark() -> String {
    format!("{MARK}{}", now().as_nanos())
}

/// When the event in this `data` was emitted, where it carries a mark.
pub fn marked(data: &str) -> Option<Duration> {
    let (_, rest) = data.split_once(MARK)?;
    let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
    digits.parse().ok().map(Duration::from_nanos)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set")
}

/// Listeners that are connected.
pub struct Listeners {
    tasks: Vec<JoinHandle<Vec<Duration>>>,
    stop: watch::Sender<bool>,
}

/// What they heard.
#[derive(Debug)]
pub struct Heard {
    /// How many events each of them heard: the fewest and the most.
    pub events: (usize, usize),
    /// How long after it was emitted, each event at each listener.
    pub latencies: Samples,
}

impl Heard {
    /// In a line.
    pub fn line(&self, what: &str) -> String {
        let (least, most) = self.events;
        format!(
            "  {what:<34} p50 {:>8.2} ms   p99 {:>8.2} ms   max {:>8.2} ms   events {least} to {most}",
            ms(self.latencies.percentile(50)),
            ms(self.latencies.percentile(99)),
            ms(self.latencies.percentile(100)),
        )
    }
}

impl Listeners {
    /// Connects so many; each of them has the head of its answer when this returns. `emitted` says
    /// when the event in a `data` line was emitted; what it does not know does not count.
    pub async fn connect(
        to: SocketAddr,
        request: &Request,
        count: usize,
        emitted: fn(&str) -> Option<Duration>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let request = Arc::new(request.clone());
        let mut tasks = Vec::new();
        for _ in 0..count {
            let body = open(to, &request).await;
            tasks.push(tokio::spawn(listen(body, emitted, stopped.clone())));
        }
        Self { tasks, stop }
    }

    /// Lets them hear for so long, and then hang up.
    pub async fn hear(self, time: Duration) -> Heard {
        tokio::time::sleep(time).await;
        self.end().await
    }

    /// Has them hang up.
    pub async fn end(self) -> Heard {
        self.stop.send_replace(true);
        let (mut latencies, mut least, mut most) = (Vec::new(), usize::MAX, 0);
        for task in self.tasks {
            let heard = task.await.expect("it listens");
            (least, most) = (least.min(heard.len()), most.max(heard.len()));
            latencies.extend(heard);
        }
        Heard { events: (least, most), latencies: Samples(latencies) }
    }
}

async fn open(to: SocketAddr, request: &Request) -> Incoming {
    let tcp = TcpStream::connect(to).await.unwrap_or_else(|error| panic!("{to}: {error}"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.expect("a connection");
    tokio::spawn(connection);
    let answer = sender.send_request(request.hyper(to)).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{}", request.head);
    // What sends the next request may go; the answer goes on.
    answer.into_body()
}

/// The time that each event took to come here, until it is told to stop.
async fn listen(
    mut body: Incoming,
    emitted: fn(&str) -> Option<Duration>,
    mut stopped: watch::Receiver<bool>,
) -> Vec<Duration> {
    let (mut latencies, mut rest) = (Vec::new(), Vec::new());
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = stopped.wait_for(|stop| *stop) => return latencies,
        };
        let frame = frame.expect("the stream goes on").expect("the stream goes on");
        let at = now();
        rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let when = line.strip_prefix("data:").and_then(emitted);
            latencies.extend(when.map(|when| at.saturating_sub(when)));
        }
    }
}

impl Request {
    fn hyper(&self, to: SocketAddr) -> hyper::Request<Empty<Bytes>> {
        let mut lines = self.head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let mut request = hyper::Request::builder()
            .method(first.next().unwrap_or_default())
            .uri(first.next().unwrap_or_default())
            .header("host", to.to_string())
            .header("accept", "text/event-stream");
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            request = request.header(name, value);
        }
        request.body(Empty::new()).expect("a request")
    }
}
