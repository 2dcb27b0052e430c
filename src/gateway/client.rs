//! A connection to a gateway: requests by id, events in order, one task that owns the socket.
//!
//! Owns the life of the connection after the handshake. Refuses to reconnect: whoever watches a
//! gateway has to list again after a break, and so has to know of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::connect::{ConnectOptions, Socket, handshake};
use super::dial::Duplex;
use super::events::{EventQueue, Next};
use super::protocol::{Event, Frame, Hello, Request, Response};
use super::refusal::ConnectError;
use super::rpc::RpcError;
use super::text::clean_without;
use crate::secrets::Secret;

/// Requests under way on one connection.
const MAX_PENDING: usize = 64;

/// The largest event kept for the reader; a larger one counts as lost.
const MAX_EVENT_BYTES: usize = 64 << 10;

/// How long the gateway may take to read one of our small frames before it counts as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a farewell may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

struct Outgoing {
    id: String,
    text: String,
    answer: oneshot::Sender<Response>,
}

/// An accepted connection. Dropping it ends it.
pub struct GatewayClient {
    hello: Hello,
    token: Secret,
    next_id: AtomicU64,
    outgoing: mpsc::Sender<Outgoing>,
    events: Arc<EventQueue>,
    task: JoinHandle<()>,
}

impl fmt::Debug for GatewayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayClient").field("hello", &self.hello).finish_non_exhaustive()
    }
}

impl GatewayClient {
    /// Upgrades `stream` to a WebSocket and connects.
    ///
    /// # Errors
    /// See [`ConnectError`]; one attempt takes 15 s at most.
    pub async fn connect(
        stream: Box<dyn Duplex>,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let (socket, hello) = handshake(stream, options).await?;
        let events = Arc::new(EventQueue::default());
        let (outgoing, incoming) = mpsc::channel(MAX_PENDING);
        let pump = Pump {
            socket,
            events: Arc::clone(&events),
            keep: options.events.clone(),
            pending: HashMap::new(),
            last_seq: None,
            silence: hello.tick_interval * 2,
            token: options.token.clone(),
        };
        let task = tokio::spawn(pump.run(incoming));
        let token = options.token.clone();
        Ok(Self { hello, token, next_id: AtomicU64::new(1), outgoing, events, task })
    }

    /// What the gateway said on accepting.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Calls `method` and waits for its result, for `limit` at most.
    ///
    /// # Errors
    /// See [`RpcError`]. After a timeout or a break the gateway may still have acted.
    pub async fn request(
        &self,
        method: &str,
        params: Value,
        limit: Duration,
    ) -> Result<Value, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).to_string();
        let request = Request::new(&id, method, &params);
        let text = serde_json::to_string(&request).map_err(|e| self.malformed(method, &e))?;
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            let outgoing = Outgoing { id, text, answer };
            self.outgoing.send(outgoing).await.map_err(|_| self.ended())?;
            // The task drops the sender in two cases: the connection ended, or too many wait.
            answered.await.map_err(|_| match self.events.closed() {
                Some(reason) => RpcError::Closed(reason),
                None => RpcError::Busy,
            })
        };
        let Ok(response) = timeout(limit, exchange).await else {
            return Err(RpcError::Timeout { method: method.to_owned(), after: limit });
        };
        let response = response?;
        if response.ok {
            return Ok(response.payload);
        }
        let error = response.error.unwrap_or_default();
        Err(RpcError::refused(method, &error, &self.token))
    }

    /// The next event, the news that some were lost, or the end. For one reader.
    pub async fn next_event(&self) -> Next {
        self.events.next().await
    }

    /// Ends the connection with a farewell, and waits until it is gone (one second at most).
    pub async fn close(self) {
        let Self { outgoing, task, .. } = self;
        drop(outgoing);
        let abort = task.abort_handle();
        if timeout(CLOSE_TIMEOUT * 2, task).await.is_err() {
            abort.abort();
        }
    }

    pub(super) fn malformed(&self, method: &str, error: &serde_json::Error) -> RpcError {
        let detail = clean_without(&error.to_string(), &self.token);
        RpcError::Malformed { method: method.to_owned(), detail }
    }

    fn ended(&self) -> RpcError {
        RpcError::Closed(self.events.closed().unwrap_or_else(|| "closed".into()))
    }
}

/// The task that owns the socket. It answers pings by polling it (tungstenite queues the pong).
struct Pump {
    socket: Socket,
    events: Arc<EventQueue>,
    keep: Vec<String>,
    pending: HashMap<String, oneshot::Sender<Response>>,
    last_seq: Option<u64>,
    silence: Duration,
    token: Secret,
}

impl Pump {
    async fn run(mut self, mut incoming: mpsc::Receiver<Outgoing>) {
        let reason = self.serve(&mut incoming).await;
        // Before the pending requests are dropped: they report this reason.
        self.events.close(reason);
        let _ = timeout(CLOSE_TIMEOUT, self.socket.close(None)).await;
    }

    async fn serve(&mut self, incoming: &mut mpsc::Receiver<Outgoing>) -> String {
        let mut silent_at = Instant::now() + self.silence;
        loop {
            tokio::select! {
                outgoing = incoming.recv() => {
                    let Some(outgoing) = outgoing else { return "closed by us".into() };
                    if let Err(reason) = self.send(outgoing).await {
                        return reason;
                    }
                }
                message = self.socket.next() => {
                    silent_at = Instant::now() + self.silence;
                    match message {
                        Some(Ok(message)) => {
                            if let Err(reason) = self.take(&message) {
                                return reason;
                            }
                        }
                        Some(Err(error)) => return self.clean(&error.to_string()),
                        None => return "the gateway hung up".into(),
                    }
                }
                () = tokio::time::sleep_until(silent_at) => {
                    return format!("the gateway was silent for {:?}", self.silence);
                }
            }
        }
    }

    async fn send(&mut self, outgoing: Outgoing) -> Result<(), String> {
        // Whoever gave up waiting dropped its end.
        self.pending.retain(|_, answer| !answer.is_closed());
        if self.pending.len() >= MAX_PENDING {
            return Ok(());
        }
        self.pending.insert(outgoing.id, outgoing.answer);
        match timeout(WRITE_TIMEOUT, self.socket.send(Message::text(outgoing.text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.clean(&error.to_string())),
            Err(_) => Err(format!("the gateway read nothing for {WRITE_TIMEOUT:?}")),
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), String> {
        let text = match message {
            Message::Text(text) => text.as_str(),
            Message::Close(Some(frame)) => {
                let reason = format!("closed by the gateway: {} {}", frame.code, frame.reason);
                return Err(self.clean(&reason));
            }
            Message::Close(None) => return Err("closed by the gateway".into()),
            _ => return Ok(()),
        };
        match serde_json::from_str(text) {
            Ok(Frame::Res(response)) => {
                if let Some(answer) = self.pending.remove(&response.id) {
                    // The waiter may have given up in this very moment.
                    let _ = answer.send(response);
                }
            }
            Ok(Frame::Event(event)) => self.take_event(event, text.len()),
            Ok(Frame::Other) => {}
            Err(error) => return Err(self.clean(&format!("not a gateway's frame: {error}"))),
        }
        Ok(())
    }

    fn take_event(&mut self, event: Event, bytes: usize) {
        if let Some(seq) = event.seq {
            // The gateway drops events for a slow connection, yet counts them (measured).
            let gap = self.last_seq.is_some_and(|last| seq > last.saturating_add(1));
            self.last_seq = Some(seq);
            if gap {
                self.events.lag();
            }
        }
        if !self.keep.iter().any(|start| event.name.starts_with(start)) {
            return;
        }
        if bytes > MAX_EVENT_BYTES {
            self.events.lag();
        } else {
            self.events.push(event);
        }
    }

    fn clean(&self, text: &str) -> String {
        clean_without(text, &self.token)
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
