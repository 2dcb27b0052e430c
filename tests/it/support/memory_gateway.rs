//! A gateway in memory: what the operations need of one, without a process.
//!
//! Owns the probes, `connect`, `models.list` and the pairing calls, in the real one's words, over
//! `tokio::io::duplex`. It has no clock and no port, so that a harness can run it thousands of
//! times, under paused time as well. Refuses what the operations do not call; the real words are
//! held against the real gateway elsewhere (`standin_contract.rs`).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use openclaw_pipeline::gateway::{Dial, Duplex};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::broadcast;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// What a gateway that runs was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    /// Its version.
    pub version: String,
    /// The token that it takes.
    pub token: String,
    /// The providers that it has a credential for.
    pub providers: Vec<String>,
}

/// The gateway's state. All but [`State::up`] outlives its process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// The process, while it runs.
    pub up: Option<Up>,
    /// The page's origins that it allows.
    pub origins: Vec<String>,
    /// The default model.
    pub model: Option<String>,
    /// Requests of devices, as `device.pair.list` shows them.
    pub pending: Vec<Value>,
    /// Devices that are in.
    pub paired: Vec<Value>,
    /// Every request id that was approved, in order.
    pub approved: Vec<String>,
    /// The words with which it refuses the next approval.
    pub refuse_approval: Option<String>,
    /// Whether every connection ends right after the next approval took effect.
    pub die_after_approval: bool,
    /// How many of the next approvals end every connection without any effect.
    pub die_before_approval: u32,
}

#[derive(Debug, Clone)]
enum News {
    Event(&'static str, Value),
    Down,
}

/// The gateway. Copies are the same one.
#[derive(Debug, Clone)]
pub struct MemoryGateway {
    state: Arc<Mutex<State>>,
    news: broadcast::Sender<News>,
}

impl MemoryGateway {
    /// A gateway in a state.
    pub fn new(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)), news: broadcast::channel(64).0 }
    }

    /// Its state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts its process.
    pub fn start(&self, up: Up) {
        self.state().up = Some(up);
    }

    /// Ends its process, and with it every connection.
    pub fn stop(&self) {
        self.state().up = None;
        let _ = self.news.send(News::Down);
    }

    /// Ends every connection.
    pub fn hang_up(&self) {
        let _ = self.news.send(News::Down);
    }

    /// A device asks to be let in; those who watch are told.
    pub fn ask(&self, request: Value) {
        self.state().pending.push(request.clone());
        let _ = self.news.send(News::Event("device.pair.requested", request));
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.news.receiver_count()
    }

    /// A way in: the gateway's own loopback, or the published route.
    pub fn dial(&self, loopback: bool) -> Box<dyn Dial> {
        Box::new(Way { gateway: self.clone(), loopback })
    }

    fn scopes(&self, params: &Value, origin: Option<&str>, loopback: bool) -> Result<Value, Value> {
        let state = self.state();
        let refused = |code: &str, message: &str| json!({ "code": "INVALID_REQUEST", "message": message, "details": { "code": code } });
        if let Some(origin) = origin
            && !state.origins.iter().any(|allowed| allowed == origin)
        {
            return Err(refused("CONTROL_UI_ORIGIN_NOT_ALLOWED", "origin not allowed"));
        }
        let token = params["auth"]["token"].as_str();
        if state.up.as_ref().is_none_or(|up| Some(up.token.as_str()) != token) {
            return Err(refused("AUTH_TOKEN_MISMATCH", "unauthorized: gateway token mismatch"));
        }
        let kept = loopback && origin.is_none();
        Ok(if kept { params["scopes"].clone() } else { json!([]) })
    }

    fn call(&self, scopes: &Value, method: &str, params: &Value) -> Result<Value, Value> {
        let holds = |scope: &str| {
            scopes.as_array().is_some_and(|held| held.iter().any(|held| held == scope))
        };
        let needed = if method == "models.list" { "operator.read" } else { "operator.pairing" };
        if !holds(needed) {
            return Err(json!({
                "code": "FORBIDDEN", "message": format!("missing scope: {needed}"),
                "details": { "code": "MISSING_SCOPE", "missingScope": needed },
            }));
        }
        let mut state = self.state();
        match method {
            "models.list" => Ok(models(&state)),
            "device.pair.list" => Ok(json!({ "pending": state.pending, "paired": state.paired })),
            "device.pair.approve" => {
                let id = params["requestId"].as_str().unwrap_or_default();
                if let Some(words) = state.refuse_approval.take() {
                    return Err(json!({ "code": "UNAVAILABLE", "message": words }));
                }
                if state.die_before_approval > 0 {
                    state.die_before_approval -= 1;
                    return Err(Value::Null);
                }
                let Some(place) = state.pending.iter().position(|it| it["requestId"] == id) else {
                    return Err(json!({
                        "code": "INVALID_REQUEST", "message": "unknown requestId",
                    }));
                };
                let device = state.pending.remove(place);
                state.approved.push(id.to_owned());
                state.paired.retain(|paired| paired["deviceId"] != device["deviceId"]);
                let resolved = json!({
                    "requestId": id, "deviceId": device["deviceId"], "decision": "approved",
                });
                state.paired.push(device);
                let broken = std::mem::take(&mut state.die_after_approval);
                let _ = self.news.send(News::Event("device.pair.resolved", resolved));
                if broken {
                    return Err(Value::Null);
                }
                Ok(json!({ "requestId": id }))
            }
            _ => Err(json!({ "code": "INVALID_REQUEST", "message": "unknown method" })),
        }
    }

    fn probe(&self, path: &str) -> (u16, Value) {
        let state = self.state();
        let version = state.up.as_ref().map(|up| up.version.clone());
        match (path, version) {
            ("/startupz", Some(version)) => {
                (200, json!({ "ok": true, "status": "started", "version": version }))
            }
            ("/healthz", Some(_)) => (200, json!({ "ok": true, "status": "live" })),
            _ => (503, Value::Null),
        }
    }
}

fn models(state: &State) -> Value {
    let (provider, id) =
        state.model.as_deref().and_then(|it| it.split_once('/')).unwrap_or(("openai", "gpt-5.5"));
    let keyed = state.up.as_ref().is_some_and(|up| up.providers.iter().any(|it| it == provider));
    json!({ "models": [{ "provider": provider, "id": id, "available": keyed }] })
}

struct Way {
    gateway: MemoryGateway,
    loopback: bool,
}

#[async_trait]
impl Dial for Way {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        if self.gateway.state().up.is_none() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        let (gateway, loopback) = (self.gateway.clone(), self.loopback);
        // A client that is killed breaks its connection: that is its own matter.
        tokio::spawn(converse(gateway, far, loopback));
        Ok(Box::new(near))
    }
}

async fn converse(gateway: MemoryGateway, mut stream: DuplexStream, loopback: bool) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let Some(key) = header("sec-websocket-key") else {
        let (status, body) = gateway.probe(&path);
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        return stream.write_all(answer.as_bytes()).await.ok();
    };
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    stream.write_all(switch.as_bytes()).await.ok()?;
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    session(&gateway, socket, header("origin").as_deref(), loopback).await
}

async fn session(
    gateway: &MemoryGateway,
    mut socket: WebSocketStream<DuplexStream>,
    origin: Option<&str>,
    loopback: bool,
) -> Option<()> {
    let mut news = gateway.news.subscribe();
    let challenge = json!({ "nonce": "n", "ts": 1 });
    let challenge = json!({ "type": "event", "event": "connect.challenge", "payload": challenge });
    socket.send(Message::text(challenge.to_string())).await.ok()?;
    let (mut scopes, mut count) = (Value::Null, 0_u64);
    loop {
        let frame = tokio::select! {
            message = socket.next() => match message?.ok()? {
                Message::Text(text) => {
                    let request: Value = serde_json::from_str(&text).ok()?;
                    let method = request["method"].as_str().unwrap_or_default();
                    let params = &request["params"];
                    let answer = if method == "connect" {
                        gateway.scopes(params, origin, loopback).map(|granted| {
                            scopes = granted.clone();
                            let version = gateway.state().up.as_ref().map(|up| up.version.clone());
                            json!({
                                "type": "hello-ok", "protocol": 4,
                                "server": { "version": version },
                                "auth": { "scopes": granted },
                                "policy": { "tickIntervalMs": 120_000 },
                            })
                        })
                    } else {
                        gateway.call(&scopes, method, params)
                    };
                    let id = &request["id"];
                    match answer {
                        Ok(payload) => {
                            json!({ "type": "res", "id": id, "ok": true, "payload": payload })
                        }
                        // It went away with the answer.
                        Err(Value::Null) => return socket.close(None).await.ok(),
                        Err(error) => json!({ "type": "res", "id": id, "ok": false, "error": error }),
                    }
                }
                Message::Close(_) => return Some(()),
                _ => continue,
            },
            told = news.recv() => match told.ok()? {
                News::Event(name, payload) => {
                    count += 1;
                    json!({ "type": "event", "event": name, "payload": payload, "seq": count })
                }
                News::Down => return socket.close(None).await.ok(),
            },
        };
        socket.send(Message::text(frame.to_string())).await.ok()?;
    }
}
