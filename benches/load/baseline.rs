//! What a server is measured against: a handler on the same stack that gives the same answer and
//! does nothing for it.
//!
//! Owns a process of its own, because the server has one, too: this program, started again with
//! the answer on its standard input. Its stream says the time ten times a second.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::serve::ListenerExt as _;
use futures_util::stream;
use serde_json::{Value, json};

use super::Answer;
use super::listeners::mark;

/// The argument that makes this program the baseline.
const ARGUMENT: &str = "--baseline";
/// Where its stream of events is.
pub const STREAM: &str = "/stream";
/// What every answer has of its own.
const OWN_HEADERS: [&str; 4] = ["connection", "content-length", "date", "transfer-encoding"];

/// The running baseline. It ends with this.
pub struct Baseline {
    child: Child,
    address: SocketAddr,
}

impl Baseline {
    /// Starts one that gives this answer, whatever is asked.
    pub fn start(answer: &Answer) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let described = json!({
            "status": answer.status, "headers": answer.headers,
            "body": String::from_utf8_lossy(&answer.body),
        });
        let mut input = child.stdin.take().expect("its input");
        input.write_all(described.to_string().as_bytes()).expect("it reads");
        drop(input);
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        output.read_line(&mut line).expect("it says where it is");
        Self { child, address: line.trim().parse().expect("an address") }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Becomes the baseline, where this process was started as one; never returns then.
pub fn become_one_if_asked() {
    if std::env::args().nth(1).as_deref() == Some(ARGUMENT) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).expect("an answer");
        let answer: Value = serde_json::from_str(&text).expect("an answer");
        // As `serve` has it.
        tokio::runtime::Runtime::new().expect("a runtime").block_on(serve(&answer));
    }
}

async fn serve(answer: &Value) {
    let status = answer["status"].as_u64().and_then(|it| u16::try_from(it).ok());
    let status = status.and_then(|it| StatusCode::from_u16(it).ok()).expect("a status");
    let body = Bytes::from(answer["body"].as_str().expect("a body").to_owned());
    let mut headers = HeaderMap::new();
    for pair in answer["headers"].as_array().expect("headers") {
        let text = |index: usize| pair[index].as_str().expect("a text");
        if !OWN_HEADERS.contains(&text(0).to_ascii_lowercase().as_str()) {
            let name: HeaderName = text(0).parse().expect("a name");
            headers.append(name, HeaderValue::from_str(text(1)).expect("a value"));
        }
    }
    let handler = move || {
        let answer = (status, headers.clone(), body.clone());
        async move { answer }
    };
    let router = Router::new().route(STREAM, axum::routing::get(events)).fallback(handler);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let listener = listener.tap_io(|tcp| tcp.set_nodelay(true).expect("an option"));
    axum::serve(listener, router).await.expect("serves until it is killed");
}

/// An event ten times a second, with the time in it.
async fn events() -> Response {
    let ticks = tokio::time::interval(Duration::from_millis(100));
    let events = stream::unfold(ticks, |mut ticks| async {
        ticks.tick().await;
        Some((Ok::<_, Infallible>(format!("data: {}\n\n", mark())), ticks))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}
