//! A client of the API.
//!
//! Owns a [`Call`], which is made on a connection of its own and blocks (a test that wants several
//! at once uses threads), what is answered, and streams piece by piece. Refuses to wait for ever.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::runtime::Runtime;

/// How long an answer may take before the test fails.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// A call to be.
#[derive(Debug, Clone)]
pub struct Call {
    address: SocketAddr,
    method: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// One without a token.
    pub fn to(address: SocketAddr, method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        let headers = HeaderMap::from_iter([(HOST, address.to_string().parse().expect("a host"))]);
        Self { address, method, path, headers, body: Bytes::new() }
    }

    /// Sets a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        self.headers.insert(name, value.parse().expect("a header's value"));
        self
    }

    /// Takes a header away.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// With this token.
    pub fn token(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// With this `Idempotency-Key`.
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// With this JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// With this body.
    pub fn body(self, kind: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self.header(CONTENT_TYPE.as_str(), kind) }
    }

    /// Makes it.
    #[track_caller]
    pub fn send(&self) -> Answer {
        let answered = async {
            let (parts, body) = self.begin().await.into_parts();
            let body = body.collect().await.expect("the answer comes whole").to_bytes();
            Answer { status: parts.status.as_u16(), headers: parts.headers, body }
        };
        let answered = runtime().block_on(async { tokio::time::timeout(LIMIT, answered).await });
        answered.unwrap_or_else(|_| panic!("no answer within {LIMIT:?} to {self:?}"))
    }

    /// Makes it of a server that may be gone, or die before it has answered.
    pub fn try_send(&self) -> Option<Answer> {
        let answered = async {
            let (parts, body) = self.try_begin().await?.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        runtime().block_on(async { tokio::time::timeout(LIMIT, answered).await }).ok()?
    }

    /// Makes it, and reads its answer as a stream.
    pub fn stream(&self) -> Stream {
        let runtime = runtime();
        let response = runtime.block_on(self.begin());
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Stream {
            runtime,
            body,
            status,
            headers,
            was_cut: false,
            read: String::new(),
            frames: VecDeque::new(),
        }
    }

    async fn begin(&self) -> Response<Incoming> {
        self.try_begin().await.unwrap_or_else(|| panic!("no server answers {self:?}"))
    }

    async fn try_begin(&self) -> Option<Response<Incoming>> {
        let stream = tokio::net::TcpStream::connect(self.address).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.path);
        request.headers_mut().expect("a request").clone_from(&self.headers);
        let request = request.body(Full::new(self.body.clone())).expect("a request");
        sender.send_request(request).await.ok()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header; nothing where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// Expects this status; answers the body as JSON, null where there is none.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Expects this status, and a problem that is whole; answers it.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        let text = |member: &str| problem[member].as_str().unwrap_or_default();
        assert!(text("type").starts_with("urn:openclaw-pipeline:"), "{problem}");
        assert!(!text("title").is_empty() && !text("detail").is_empty(), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["error"], problem["detail"], "old clients look there");
        assert!(!text("request_id").is_empty(), "{problem}");
        assert_eq!(text("request_id"), self.header("x-request-id"), "{problem}");
        problem
    }

    /// Expects this status, and a problem that says this; answers it.
    #[track_caller]
    pub fn refuses(&self, status: u16, words: &str) -> Value {
        let problem = self.problem(status);
        let detail = problem["detail"].as_str().expect("a text");
        assert!(detail.contains(words), "no {words:?} in {detail:?}");
        problem
    }

    /// Expects a 400 that names this field; answers it.
    #[track_caller]
    pub fn names(&self, field: &str) -> Value {
        let problem = self.problem(400);
        let named = |errors: &Vec<Value>| errors.iter().any(|it| it["field"] == field);
        assert!(problem["errors"].as_array().is_some_and(named), "no {field:?} in {problem}");
        problem
    }
}

/// An answer that comes piece by piece.
pub struct Stream {
    runtime: Runtime,
    body: Incoming,
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Whether it ended in the midst of its body.
    pub was_cut: bool,
    read: String,
    frames: VecDeque<String>,
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Its `id`.
    pub id: String,
    /// Its `event`.
    pub kind: String,
    /// Its `data`, as it came.
    pub data: String,
}

impl Sent {
    /// Its data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    fn of(frame: &str) -> Option<Self> {
        let field = |name: &str| {
            let lines = frame.lines().filter_map(|line| line.strip_prefix(name));
            lines.map(|rest| rest.strip_prefix(' ').unwrap_or(rest)).collect::<Vec<_>>().join("\n")
        };
        let sent = Self { id: field("id:"), kind: field("event:"), data: field("data:") };
        (!sent.data.is_empty()).then_some(sent)
    }
}

impl Stream {
    /// The next frame, comments included, without the empty line at its end; `None` at the end of
    /// the stream.
    pub fn frame(&mut self) -> Option<String> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            let piece = self.piece()?;
            self.read.push_str(&piece);
            while let Some((frame, rest)) = self.read.split_once("\n\n") {
                self.frames.push_back(frame.to_owned());
                self.read = rest.to_owned();
            }
        }
    }

    /// What comes next, of whatever form; `None` at the end of the stream.
    pub fn piece(&mut self) -> Option<String> {
        let piece = async { tokio::time::timeout(LIMIT, self.body.frame()).await };
        let piece = self.runtime.block_on(piece).expect("something comes")?;
        self.was_cut = piece.is_err();
        let data = piece.ok()?.into_data().unwrap_or_default();
        Some(String::from_utf8_lossy(&data).into_owned())
    }

    /// The next event; `None` at the end of the stream.
    pub fn event(&mut self) -> Option<Sent> {
        loop {
            if let Some(sent) = Sent::of(&self.frame()?) {
                return Some(sent);
            }
        }
    }

    /// The next event, which has to come.
    #[track_caller]
    pub fn next(&mut self) -> Sent {
        self.event().expect("the stream goes on")
    }
}
