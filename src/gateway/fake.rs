//! A gateway in memory, for the tests of this module: it speaks as 2026.9.6 was heard to.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{ConnectOptions, Dial, Duplex};
use crate::secrets::Secret;

pub(super) const TOKEN: &str = "tok-in-memory";

pub(super) fn options() -> ConnectOptions {
    let deadline = Instant::now() + std::time::Duration::from_secs(10);
    let mut options = ConnectOptions::new(Secret::new(TOKEN), "gateway:18789", deadline);
    options.events = vec!["device.pair.".into()];
    options
}

/// The gateway's end of one connection.
pub(super) struct Peer(WebSocketStream<DuplexStream>);

impl Peer {
    pub(super) async fn accept(stream: DuplexStream) -> Self {
        let socket = tokio_tungstenite::accept_async(stream).await.expect("upgrade");
        let mut peer = Self(socket);
        let challenge = json!({ "nonce": "n", "ts": 1 });
        peer.send(json!({ "type": "event", "event": "connect.challenge", "payload": challenge }))
            .await;
        peer
    }

    /// Accepts the connection, and returns the parameters of `connect`.
    pub(super) async fn welcome(&mut self) -> Value {
        let (id, params) = self.request("connect").await;
        let hello = json!({
            "type": "hello-ok", "protocol": 4, "server": { "version": "2026.9.6" },
            "auth": { "scopes": params["scopes"] }, "features": { "methods": [], "events": [] },
            "policy": { "tickIntervalMs": 30000 }
        });
        self.answer(&id, hello).await;
        params
    }

    /// Refuses the connection with `error`.
    pub(super) async fn refuse(&mut self, error: Value) {
        let (id, _) = self.request("connect").await;
        self.fail(&id, error).await;
    }

    /// The next request, which has to call `method`: its id and parameters.
    pub(super) async fn request(&mut self, method: &str) -> (String, Value) {
        loop {
            let Some(Ok(message)) = self.0.next().await else { panic!("gone before {method}") };
            let Message::Text(text) = message else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).expect("frame");
            assert_eq!((&frame["type"], &frame["method"]), (&json!("req"), &json!(method)));
            return (frame["id"].as_str().expect("id").to_owned(), frame["params"].clone());
        }
    }

    pub(super) async fn answer(&mut self, id: &str, payload: Value) {
        self.send(json!({ "type": "res", "id": id, "ok": true, "payload": payload })).await;
    }

    pub(super) async fn fail(&mut self, id: &str, error: Value) {
        self.send(json!({ "type": "res", "id": id, "ok": false, "error": error })).await;
    }

    pub(super) async fn event(&mut self, name: &str, seq: u64, payload: Value) {
        self.send(json!({ "type": "event", "event": name, "payload": payload, "seq": seq })).await;
    }

    pub(super) async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("send");
    }

    /// The next message of any kind; `None` when the client is gone.
    pub(super) async fn message(&mut self) -> Option<Message> {
        self.0.next().await.and_then(Result::ok)
    }

    pub(super) async fn raw(&mut self, message: Message) {
        self.0.send(message).await.expect("send");
    }
}

/// Two ends of a stream in memory.
pub(super) fn pair() -> (Box<dyn Duplex>, DuplexStream) {
    let (near, far) = duplex(1 << 20);
    (Box::new(near), far)
}

type Serve = dyn Fn(usize, DuplexStream) + Send + Sync;

/// Hands each dialled stream, with its number, to a function.
pub(super) struct FakeDial {
    serve: Arc<Serve>,
    dialled: std::sync::atomic::AtomicUsize,
    refuse_first: usize,
}

impl FakeDial {
    pub(super) fn new<F, Fut>(refuse_first: usize, serve: F) -> Self
    where
        F: Fn(usize, DuplexStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let serve = Arc::new(move |number, stream| drop(tokio::spawn(serve(number, stream))));
        Self { serve, dialled: 0.into(), refuse_first }
    }

    /// Answers each HTTP request with the next of `answers` (path, status, body), and the last
    /// one for ever.
    pub(super) fn http(answers: Vec<(&'static str, u16, String)>) -> Self {
        let answers = Arc::new(answers);
        Self::new(0, move |number, stream| {
            let answers = Arc::clone(&answers);
            async move { http(&answers[number.min(answers.len() - 1)], stream).await }
        })
    }
}

#[async_trait]
impl Dial for FakeDial {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        let number = self.dialled.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if number < self.refuse_first {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = pair();
        (self.serve)(number - self.refuse_first, far);
        Ok(near)
    }
}

pub(super) async fn http(answer: &(&'static str, u16, String), mut stream: DuplexStream) {
    let (path, status, body) = answer;
    let mut request = vec![0; 4096];
    let read = stream.read(&mut request).await.expect("request");
    let line = String::from_utf8_lossy(&request[..read]);
    assert!(line.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{line}");
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
}
