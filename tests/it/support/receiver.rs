//! A receiver of events that does what it is told: answers, refuses, hangs, redirects, fails.
//!
//! Owns a thread with an HTTP server on a free port of loopback, which remembers every request
//! byte for byte and can be told at any moment how to answer the next one. Refuses to judge: what
//! a request should have been is the test's to say, but for its signature, which
//! [`Request::is_signed_by`] checks as a receiver would.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use openclaw_pipeline::secrets::Secret;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

/// How requests are answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// 204.
    Ok,
    /// This status, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// 204 after so long.
    Slow(Duration),
    /// Nothing, ever.
    Hang,
    /// 200, and a body without an end.
    Endless,
    /// 204 or 500, by a die with so many sides of which one is the 204.
    Die(u32),
    /// Nobody listens. Connections that are there are cut.
    Refuse,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path, with the query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Vec<u8>,
    /// When.
    pub at: Instant,
    /// What it was answered; `None` while it hangs.
    pub status: Option<u16>,
}

impl Request {
    /// The body, as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    /// The event's place in the order.
    pub fn sequence(&self) -> i64 {
        self.json()["sequence"].as_i64().expect("a sequence number")
    }

    /// The deployment.
    pub fn name(&self) -> String {
        self.json()["name"].as_str().expect("a name").to_owned()
    }

    /// Whether a secret's signature is right, and fresh.
    pub fn is_signed_by(&self, secret: &Secret) -> bool {
        let webhook = standardwebhooks::Webhook::new(secret.expose()).expect("a secret");
        webhook.verify(&self.body, &self.headers).is_ok()
    }
}

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    /// How many requests are being answered, and how many at most at once.
    open: usize,
    most: usize,
    /// What a die shows next.
    die: u64,
}

/// A receiver. Its thread ends when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    mode: watch::Sender<Mode>,
}

impl Receiver {
    /// One that answers 204.
    pub fn start() -> Self {
        let (mode, modes) = watch::channel(Mode::Ok);
        let log = Arc::new(Mutex::new(Log { die: 1, ..Log::default() }));
        let (ready, address) = std::sync::mpsc::channel();
        let server = Server { log: log.clone(), modes };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listens");
                let address = listener.local_addr().expect("an address");
                ready.send(address).expect("somebody waits");
                server.run(address, listener).await;
            });
        });
        Self { address: address.recv().expect("it listens"), log, mode }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Has the next requests answered so.
    pub fn set(&self, mode: Mode) {
        let listens = mode != Mode::Refuse;
        let before = self.mode.send_replace(mode);
        if listens != (before != Mode::Refuse) {
            let connects = || std::net::TcpStream::connect(self.address).is_ok() == listens;
            super::product::until("it listens, or not any more", || connects().then_some(()));
        }
    }

    /// What came, in its order.
    pub fn requests(&self) -> Vec<Request> {
        self.log().requests.clone()
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.log().requests.len()
    }

    /// What was answered well, in its order.
    pub fn taken(&self) -> Vec<Request> {
        let taken = |it: &Request| it.status.is_some_and(|status| (200..300).contains(&status));
        self.requests().into_iter().filter(taken).collect()
    }

    /// The places in the order of what was answered well, by deployment.
    pub fn orders(&self) -> BTreeMap<String, Vec<i64>> {
        let mut orders: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for request in self.taken() {
            orders.entry(request.name()).or_default().push(request.sequence());
        }
        orders
    }

    /// The most requests that were answered at once.
    pub fn most_at_once(&self) -> usize {
        self.log().most
    }

    /// Forgets what came.
    pub fn forget(&self) {
        let mut log = self.log();
        log.requests.clear();
        log.most = log.open;
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Server {
    log: Arc<Mutex<Log>>,
    modes: watch::Receiver<Mode>,
}

type Answer = hyper::Response<BoxBody<Bytes, Infallible>>;

impl Server {
    /// Listens whenever it is to, until nobody can tell it anything more.
    async fn run(mut self, address: SocketAddr, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            let Some(open) = listener.take() else {
                // A port that is bound and not listened on refuses, and stays this one's.
                let held = socket(address);
                let listens = self.modes.wait_for(|mode| *mode != Mode::Refuse).await;
                if listens.is_err() {
                    return;
                }
                drop(held);
                listener = Some(socket(address).listen(1024).expect("listens again"));
                continue;
            };
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let mut modes = self.modes.clone();
                tokio::select! {
                    accepted = open.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        let server = self.clone();
                        connections.spawn(async move {
                            let answer = service_fn(move |request| server.clone().answer(request));
                            let _ = http1::Builder::new()
                                .serve_connection(TokioIo::new(stream), answer)
                                .await;
                        });
                    }
                    refuses = modes.wait_for(|mode| *mode == Mode::Refuse) => {
                        if refuses.is_err() {
                            return;
                        }
                        break;
                    }
                }
            }
        }
    }

    async fn answer(self, request: hyper::Request<Incoming>) -> Result<Answer, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|it| it.to_bytes().to_vec()).unwrap_or_default();
        let mode = self.modes.borrow().clone();
        let index = {
            let mut log = self.log();
            log.requests.push(Request {
                path: head.uri.to_string(),
                headers: head.headers,
                body,
                at: Instant::now(),
                status: None,
            });
            log.open += 1;
            log.most = log.most.max(log.open);
            log.requests.len() - 1
        };
        let _open = Open(self.log.clone());
        let answer = self.by(mode).await;
        if let Some(request) = self.log().requests.get_mut(index) {
            request.status = Some(answer.status().as_u16());
        }
        Ok(answer)
    }

    async fn by(&self, mode: Mode) -> Answer {
        let (status, headers) = match mode {
            Mode::Ok => (204, Vec::new()),
            Mode::Status(status, headers) => (status, headers),
            Mode::Slow(pause) => {
                tokio::time::sleep(pause).await;
                (204, Vec::new())
            }
            Mode::Hang | Mode::Refuse => std::future::pending().await,
            Mode::Endless => return endless(),
            Mode::Die(sides) => (if self.roll(sides) == 0 { 204 } else { 500 }, Vec::new()),
        };
        let mut answer = hyper::Response::new(Full::new(Bytes::new()).boxed());
        *answer.status_mut() = status.try_into().expect("a status");
        for (name, value) in headers {
            answer.headers_mut().insert(name, HeaderValue::from_str(&value).expect("a value"));
        }
        answer
    }

    /// The same numbers in every run.
    fn roll(&self, sides: u32) -> u32 {
        let mut log = self.log();
        log.die = log.die.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from(log.die >> 33).expect("31 bits") % sides
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
struct Open(Arc<Mutex<Log>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open -= 1;
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("its port can be had again at once");
    socket.bind(address).expect("its own port");
    socket
}

fn endless() -> Answer {
    let chunk = Bytes::from(vec![b'x'; 16 * 1024]);
    let chunks = futures_util::stream::repeat_with(move || Ok(Frame::data(chunk.clone())));
    hyper::Response::new(BodyExt::boxed(StreamBody::new(chunks)))
}
