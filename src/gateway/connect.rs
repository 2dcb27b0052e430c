//! The handshake: from a byte stream to an accepted connection, or the reason why not.
//!
//! Owns the `connect` request, its limits, and trying again. Refuses to try again what only a
//! person can change.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::client::GatewayClient;
use super::dial::{Dial, Duplex};
use super::protocol::{Frame, Hello, MAX_PROTOCOL, MIN_PROTOCOL, Request};
use super::refusal::ConnectError;
use super::text::clean_text;
use super::wait::Backoff;
use crate::secrets::Secret;

/// The largest message taken. The protocol allows its clients to send 25 MiB, for attachments;
/// what this module asks for is small (a hello is 15 KB, the whole catalogue of models 6 KB), and
/// 64 gateways may be watched at once, any of them hostile.
const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// How long one attempt may take: the gateway's own limit for a handshake.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// How to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The gateway's shared token.
    pub token: Secret,
    /// `Host` header, with the port unless it is the scheme's own.
    pub host: String,
    /// `Origin` header. With one, the gateway checks it and takes away every scope.
    pub origin: Option<String>,
    /// The scopes asked for. Kept only when the connection arrives on the gateway's own loopback.
    pub scopes: Vec<String>,
    /// Names, or beginnings of names, of the events to keep. None is kept otherwise.
    pub events: Vec<String>,
    /// When to give up.
    pub deadline: Instant,
}

impl ConnectOptions {
    /// No origin, no scopes, no events.
    pub fn new(token: Secret, host: impl Into<String>, deadline: Instant) -> Self {
        let (origin, scopes, events) = (None, Vec::new(), Vec::new());
        Self { token, host: host.into(), origin, scopes, events, deadline }
    }

    /// Asks for `scopes`.
    pub fn scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = scopes.iter().map(ToString::to_string).collect();
        self
    }
}

pub(super) type Socket = WebSocketStream<Box<dyn Duplex>>;

/// Upgrades, answers the challenge, and reads the hello.
pub(super) async fn handshake(
    stream: Box<dyn Duplex>,
    options: &ConnectOptions,
) -> Result<(Socket, Hello), ConnectError> {
    let deadline = options.deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
    let mut during = "opening the WebSocket";
    let steps = async {
        let mut socket = upgrade(stream, options).await?;
        during = "waiting for its challenge";
        while !matches!(next_frame(&mut socket).await?,
            Frame::Event(event) if event.name == "connect.challenge")
        {}
        during = "waiting for its answer to the token";
        let params = connect_params(options);
        let request = Request::new("connect", "connect", &params);
        let text = serde_json::to_string(&request).map_err(io::Error::other)?;
        socket.send(Message::text(text)).await?;
        loop {
            let Frame::Res(response) = next_frame(&mut socket).await? else {
                continue;
            };
            if !response.ok {
                return Err(ConnectError::from_wire(response.error.unwrap_or_default()));
            }
            let hello = Hello::deserialize_from(response.payload)?;
            return Ok((socket, hello));
        }
    };
    match tokio::time::timeout_at(deadline, steps).await {
        Ok(result) => result.map_err(|error| error.tidy(&options.token)),
        Err(_) => Err(ConnectError::Timeout { during }),
    }
}

impl Hello {
    fn deserialize_from(payload: Value) -> Result<Self, ConnectError> {
        serde_json::from_value(payload).map_err(|error| ConnectError::Other {
            code: "malformed".into(),
            message: format!("the hello cannot be read: {error}"),
        })
    }
}

async fn upgrade(
    stream: Box<dyn Duplex>,
    options: &ConnectOptions,
) -> Result<Socket, ConnectError> {
    let mut request = format!("ws://{}/", options.host).into_client_request()?;
    if let Some(origin) = &options.origin {
        let origin = HeaderValue::from_str(origin).map_err(WsError::from)?;
        request.headers_mut().insert(header::ORIGIN, origin);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let (socket, _) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}

/// `gateway-client`/`backend` is the one identity that needs no device and leaves no trace.
fn connect_params(options: &ConnectOptions) -> Value {
    json!({
        "minProtocol": MIN_PROTOCOL,
        "maxProtocol": MAX_PROTOCOL,
        "client": {
            "id": "gateway-client",
            "mode": "backend",
            "version": env!("CARGO_PKG_VERSION"),
            "platform": std::env::consts::OS,
        },
        "role": "operator",
        "scopes": options.scopes,
        "caps": [],
        "auth": { "token": options.token.expose() },
    })
}

async fn next_frame(socket: &mut Socket) -> Result<Frame, ConnectError> {
    loop {
        let Some(message) = socket.next().await else {
            return Err(ConnectError::Io(io::ErrorKind::UnexpectedEof.into()));
        };
        let text = match message? {
            Message::Text(text) => text,
            Message::Close(frame) => {
                let Some(frame) = frame else {
                    return Err(ConnectError::Io(io::ErrorKind::ConnectionReset.into()));
                };
                let code = u16::from(frame.code);
                let message = frame.reason.to_string();
                // 1001, 1012 and 1013: going away, restarting, starting.
                return Err(match code {
                    1001 | 1012 | 1013 => {
                        ConnectError::Unavailable { retry_after: None, reason: message }
                    }
                    _ => ConnectError::Other { code: format!("closed_{code}"), message },
                });
            }
            _ => continue,
        };
        return serde_json::from_str(&text).map_err(|error| ConnectError::Other {
            code: "malformed".into(),
            message: format!("not a gateway's frame: {error}"),
        });
    }
}

/// Dials and connects until it works, a refusal is final, or the deadline of `options` passes.
///
/// # Errors
/// The last error. A refused or broken connection, a start-up and a 5xx of a proxy are tried
/// again; a wrong token never is, because ten of them lock the address out for five minutes.
pub async fn connect_retrying(
    dial: &dyn Dial,
    options: &ConnectOptions,
    mut progress: impl FnMut(&str) + Send,
) -> Result<GatewayClient, ConnectError> {
    let mut backoff = Backoff::until(options.deadline);
    let mut said = String::new();
    loop {
        let dialled = tokio::time::timeout_at(options.deadline, dial.dial()).await;
        let result = match dialled {
            Ok(Ok(stream)) => GatewayClient::connect(stream, options).await,
            Ok(Err(error)) => Err(ConnectError::Io(error)),
            Err(_) => Err(ConnectError::Timeout { during: "dialling" }),
        };
        let error = match result {
            Err(error) if error.is_transient() => error,
            settled => return settled,
        };
        let message = clean_text(&error.to_string());
        if message != said {
            progress(&message);
            said = message;
        }
        let asked = match &error {
            ConnectError::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        };
        if !backoff.pause(asked).await {
            return Err(error);
        }
    }
}
