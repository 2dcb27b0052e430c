//! Why a gateway did not accept a connection.
//!
//! Owns the meaning of every refusal, as measured with 2026.9.6. Refuses to repeat the token: no
//! error text contains it.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{self, header};

use super::protocol::{MAX_PROTOCOL, MIN_PROTOCOL, WireError};
use super::text::clean_without;
use crate::secrets::Secret;

/// Why a gateway did not accept a connection. The texts are bounded and clean.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It starts, restarts or drains; or a proxy before it answers 5xx. Worth another attempt.
    #[error("the gateway is not available yet ({reason})")]
    Unavailable {
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// Its words.
        reason: String,
    },
    /// Too many wrong tokens came from this address; even the right one is refused meanwhile.
    #[error("too many wrong tokens came from this address; the gateway refuses it for a while")]
    RateLimited {
        /// How long.
        retry_after: Option<Duration>,
    },
    /// `gateway.controlUi.allowedOrigins` lacks the origin. Checked before the token.
    #[error("the gateway does not allow the page's origin")]
    OriginNotAllowed,
    /// The token is wrong.
    #[error("the gateway refuses the token ({code})")]
    Unauthorized {
        /// `AUTH_TOKEN_MISMATCH` when it is another token than the gateway's.
        code: String,
    },
    /// No token was given, or the version lets no one in without a device (before 2026.8.1).
    #[error("the gateway asks for a device identity")]
    DeviceIdentityRequired,
    /// A device has to be approved first.
    #[error("the gateway wants this client to be paired")]
    PairingRequired {
        /// The pending request.
        request_id: Option<String>,
    },
    /// No common protocol version.
    #[error(
        "no common protocol version: the gateway speaks {expected:?}, we {MIN_PROTOCOL} to {MAX_PROTOCOL}"
    )]
    ProtocolMismatch {
        /// The gateway's.
        expected: Option<u64>,
    },
    /// No answer within the time given.
    #[error("no answer from the gateway in time (while {during})")]
    Timeout {
        /// What was waited for.
        during: &'static str,
    },
    /// The stream broke.
    #[error("the connection to the gateway broke: {0}")]
    Io(#[from] io::Error),
    /// Anything else.
    #[error("the gateway refused the connection: {code}: {message}")]
    Other {
        /// Its code, or `http_404`, `closed_1008`, `malformed`.
        code: String,
        /// Its words.
        message: String,
    },
}

impl ConnectError {
    /// Whether another attempt may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. } | Self::Io(_))
    }

    /// Makes every text of the gateway's fit to be shown. Nothing leaves the handshake without it.
    pub(super) fn tidy(mut self, token: &Secret) -> Self {
        let (first, second) = match &mut self {
            Self::Unavailable { reason: text, .. }
            | Self::Unauthorized { code: text }
            | Self::PairingRequired { request_id: Some(text) } => (Some(text), None),
            Self::Other { code, message } => (Some(code), Some(message)),
            _ => (None, None),
        };
        for text in first.into_iter().chain(second) {
            *text = clean_without(text, token);
        }
        self
    }

    pub(super) fn from_wire(error: WireError) -> Self {
        let code = error.detail_code().unwrap_or_default();
        match code {
            "AUTH_RATE_LIMITED" => {
                return Self::RateLimited { retry_after: error.retry_after() };
            }
            "CONTROL_UI_ORIGIN_NOT_ALLOWED" => return Self::OriginNotAllowed,
            "DEVICE_IDENTITY_REQUIRED" | "CONTROL_UI_DEVICE_IDENTITY_REQUIRED" => {
                return Self::DeviceIdentityRequired;
            }
            "PAIRING_REQUIRED" => {
                let request_id = error.detail("requestId").map(str::to_owned);
                return Self::PairingRequired { request_id };
            }
            "PROTOCOL_MISMATCH" => {
                let expected = error.details.get("expectedProtocol").and_then(Value::as_u64);
                return Self::ProtocolMismatch { expected };
            }
            _ if code.starts_with("AUTH_") => {
                return Self::Unauthorized { code: code.to_owned() };
            }
            _ => {}
        }
        let message = error.message.clone();
        if error.code == "UNAVAILABLE" {
            return Self::Unavailable { retry_after: error.retry_after(), reason: message };
        }
        // Versions that do not send a finer code say it in words.
        if message.starts_with("unauthorized") {
            return Self::Unauthorized { code: error.code };
        }
        if message == "protocol mismatch" {
            return Self::ProtocolMismatch { expected: None };
        }
        Self::Other { code: error.code, message }
    }

    fn from_http(response: &http::Response<Option<Vec<u8>>>) -> Self {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(|seconds: u64| Duration::from_secs(seconds.min(600)));
        if status == http::StatusCode::TOO_MANY_REQUESTS {
            return Self::RateLimited { retry_after };
        }
        if status.is_server_error() {
            let reason = format!("HTTP {}", status.as_u16());
            return Self::Unavailable { retry_after, reason };
        }
        // The body, when it came along with the header: `{"error":{"type":…,"message":…}}`.
        let body = response.body().as_deref().unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key| body["error"][key].as_str().map(str::to_owned);
        let code = text("type").unwrap_or_else(|| format!("http_{}", status.as_u16()));
        let message = text("message").unwrap_or_else(|| "no WebSocket answers there".into());
        Self::Other { code, message }
    }
}

impl From<WsError> for ConnectError {
    fn from(error: WsError) -> Self {
        match error {
            WsError::Io(error) => Self::Io(error),
            WsError::Http(response) => Self::from_http(&response),
            WsError::ConnectionClosed | WsError::AlreadyClosed => {
                Self::Io(io::ErrorKind::ConnectionReset.into())
            }
            // The stream ended within the handshake: a published port with nobody behind it yet.
            WsError::Protocol(
                ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake,
            ) => Self::Io(io::ErrorKind::ConnectionReset.into()),
            other => Self::Other { code: "malformed".into(), message: other.to_string() },
        }
    }
}
