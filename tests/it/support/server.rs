//! The real program as a server, and a client of its API.
//!
//! Owns a [`Served`]: `openclaw-pipeline serve` on a [`Product`]'s own installation and a port of
//! its own, with its log; what it launched ends with it, also by a panic. A call is made with
//! [`Call`], on a connection of its own, and blocks: a test that wants several at once uses
//! threads. Refuses to know anything of the server's inside, or to wait for ever.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::product::{Product, free_port, send, until};

/// The operator's token, where there is one: distinctive, so that a leak is found.
pub const API_TOKEN: &str = "api~Wq73/kP+operator-0123456789=";

/// How long an answer may take before the test fails.
const LIMIT: Duration = Duration::from_secs(120);

/// The pause between two looks: a token may look fifty times a second.
const LOOK: Duration = Duration::from_millis(40);

/// A server that runs.
pub struct Served {
    // Reaped before its installation is removed.
    server: Process,
    flags: Vec<String>,
    token: Option<String>,
    product: Product,
}

/// A token that was made by command.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its text.
    pub text: String,
    /// Its id.
    pub id: String,
}

impl Served {
    /// On an installation with the newest version, with the operator's token.
    pub fn begin() -> Self {
        let mut product = Product::new();
        product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
        Self::on(product, &[])
    }

    /// The same without any token: whoever reaches it may call.
    pub fn open() -> Self {
        Self::on(Product::new(), &[])
    }

    /// On an installation as the test prepared it, with these flags.
    pub fn on(product: Product, flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let server = Process::start(&product, &flags);
        let token = product.variable("OPENCLAW_PIPELINE_API_TOKEN");
        Self { server, flags, token, product }
    }

    /// The installation: commands beside the server, files, processes.
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Its base URL, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.server.child.id()).expect("a pid")
    }

    /// Everything that its servers said, the ended ones included.
    pub fn log(&self) -> String {
        let log = fs::read(self.product.path(LOG)).expect("a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// No server panicked, and none answered that it was at fault.
    #[track_caller]
    pub fn assert_well(&self) {
        let log = self.log();
        for sign in ["panicked", "\"level\":\"ERROR\"", "\"status\":500"] {
            let line = log.lines().find(|line| line.contains(sign));
            assert!(line.is_none(), "{sign}: {line:?}");
        }
    }

    /// One gateway that is the recorded one, with one keeper, and a deployment that runs.
    #[track_caller]
    pub fn assert_one_gateway(&self, name: &str) {
        assert_eq!(self.product.status(name), "running");
        let gateways = self.product.gateways();
        assert_eq!(gateways, Vec::from_iter(self.product.gateway(name)), "the one gateway");
        assert_eq!(self.product.keepers().len(), 1, "one keeper");
        assert_eq!(self.product.processes().len(), 3, "{:?}", self.product.processes());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Tells it to stop, and waits until it has; answers its exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        let child = &mut self.server.child;
        let status = until("the server ends", || child.try_wait().expect("it can be waited for"));
        status.code().expect("it ends by itself")
    }

    /// Kills it: nothing of it gets to say anything any more.
    pub fn kill(&mut self) {
        self.server.end();
    }

    /// Starts another one after it, on the same installation, with the same flags.
    pub fn start_again(&mut self) {
        self.server.end();
        self.server = Process::start(&self.product, &self.flags);
    }

    /// A call with the operator's token, where there is one.
    pub fn call(&self, method: &str, path: &str) -> Call {
        let call = Call::to(self.address(), method, path);
        match &self.token {
            Some(token) => call.token(token),
            None => call,
        }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send()
    }

    /// POST of a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path).json(body).send()
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path).send()
    }

    /// Makes a token by command; the arguments are those of `tokens create`.
    pub fn token<const N: usize>(&self, args: [&str; N]) -> Made {
        let run = self.product.run(["tokens", "create", "--json", "--label", "a test"]);
        let made = args.iter().fold(run, |run, arg| run.arg(arg)).ok().json();
        let text = |field: &str| made[field].as_str().expect("a text").to_owned();
        Made { text: text("token"), id: text("id") }
    }

    /// The body of a launch on the stand-in, with a port of its own.
    pub fn launch_body(name: &str) -> Value {
        json!({ "name": name, "target": "process", "port": free_port() })
    }

    /// Launches a gateway on the stand-in, and waits until it is proven; answers the operation.
    pub fn launch(&self, name: &str) -> Value {
        let begun = self.post("/v1/deployments", &Self::launch_body(name)).ok(202);
        let ended = self.ended(&begun);
        assert_eq!(ended["status"], "succeeded", "{ended:#}");
        ended
    }

    /// An operation when it is over. Takes what names it: a 202's body.
    #[track_caller]
    pub fn ended(&self, begun: &Value) -> Value {
        let id = begun["id"].as_str().or_else(|| begun["operation_id"].as_str()).expect("an id");
        let path = format!("/v1/operations/{id}");
        self.until("the operation ends", || {
            let operation = self.get(&path).ok(200);
            (operation["status"] != "running").then_some(operation)
        })
    }

    /// Waits until there is an answer, and looks no more often than a client may.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        until(what, || {
            let answer = probe();
            if answer.is_none() {
                std::thread::sleep(LOOK);
            }
            answer
        })
    }

    /// Sends bytes as they are; answers everything that comes back until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a deadline");
        // A server that refuses early does not read to the end.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            for line in last.into_iter().rev() {
                let _ = writeln!(std::io::stderr(), "serve: {line}");
            }
        }
    }
}

/// The log's place in the installation's directory.
const LOG: &str = "serve.log";

/// One `serve`.
struct Process {
    child: Child,
    address: SocketAddr,
    url: String,
}

impl Process {
    fn start(product: &Product, flags: &[String]) -> Self {
        let log = File::options().create(true).append(true).open(product.path(LOG)).expect("a log");
        let mut command = product.run(["serve", "--json", "--port", "0"]).into_command();
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("its output is text");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|why| {
            let _ = child.wait();
            let log = fs::read_to_string(product.path(LOG)).unwrap_or_default();
            panic!("the server does not start: {why}: {line:?}\n{log}")
        });
        let url = said["url"].as_str().expect("a URL").to_owned();
        let (_, address) = url.split_once("://").expect("a scheme");
        let address = address.parse().expect("an address");
        Self { child, address, url }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

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
        Stream { runtime, body, status, headers, read: String::new(), frames: VecDeque::new() }
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
