//! The frames of the gateway's WebSocket protocol.
//!
//! Owns their shapes. Refuses to be strict: unknown frame types, fields and events are passed
//! over, because the gateway adds some with every release and may be newer than this program.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The protocol versions offered. Servers of 2026.9 speak 4 and accept a range that contains it
/// (measured with 3..4); what this module uses did not change since 3.
pub const MIN_PROTOCOL: u32 = 3;
/// See [`MIN_PROTOCOL`].
pub const MAX_PROTOCOL: u32 = 4;

/// The longest pause a gateway can ask for: it locks an address out for five minutes.
const MAX_RETRY_AFTER_MS: u64 = 10 * 60 * 1000;

/// One frame from the gateway.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Frame {
    /// The answer to a request.
    Res(Response),
    /// An event.
    Event(Event),
    /// Something newer than this program.
    #[serde(other)]
    Other,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub struct Response {
    /// The request's id.
    pub id: String,
    /// Whether `payload` (true) or `error` (false) counts.
    #[serde(default)]
    pub ok: bool,
    /// The result.
    #[serde(default)]
    pub payload: Value,
    /// Why not.
    #[serde(default)]
    pub error: Option<WireError>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Its name, `device.pair.requested` for one.
    #[serde(rename = "event")]
    pub name: String,
    /// Its content.
    #[serde(default)]
    pub payload: Value,
    /// Counts the events of this connection from 1; a gap means that some were dropped.
    #[serde(default)]
    pub seq: Option<u64>,
}

/// An error as the gateway sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireError {
    /// `INVALID_REQUEST`, `UNAVAILABLE`, `NOT_PAIRED`, `FORBIDDEN`, …
    pub code: String,
    /// For people. Untrusted.
    pub message: String,
    /// Structured reasons, a `code` of their own among them.
    pub details: Value,
    /// Whether the gateway thinks that trying again helps.
    pub retryable: bool,
    retry_after_ms: Option<f64>,
}

impl WireError {
    /// `details.code`, the finer code: `AUTH_TOKEN_MISMATCH`, `MISSING_SCOPE`, …
    pub fn detail_code(&self) -> Option<&str> {
        self.detail("code")
    }

    /// A text in `details`.
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.details.get(key).and_then(Value::as_str)
    }

    /// How long the gateway asks to wait, at most ten minutes.
    pub fn retry_after(&self) -> Option<Duration> {
        let ms = self.retry_after_ms.filter(|ms| *ms >= 0.0)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let ms = (ms as u64).min(MAX_RETRY_AFTER_MS);
        Some(Duration::from_millis(ms))
    }
}

/// A request frame.
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    method: &'a str,
    params: &'a Value,
}

impl<'a> Request<'a> {
    /// The frame that calls `method`.
    pub fn new(id: &'a str, method: &'a str, params: &'a Value) -> Self {
        Self { kind: "req", id, method, params }
    }
}

/// What the gateway said on accepting the connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireHello")]
pub struct Hello {
    /// The negotiated protocol version.
    pub protocol: u32,
    /// The gateway's release, `2026.9.6` for one.
    pub server_version: Option<String>,
    /// The scopes this connection really has. Empty when it came through a published port or
    /// with an `Origin` header, whatever was asked for.
    pub scopes: Vec<String>,
    /// The methods on offer. `device.pair.setupCode` and others are left out on purpose.
    pub methods: Vec<String>,
    /// The events on offer.
    pub events: Vec<String>,
    /// How often the gateway sends a `tick`; silence for twice as long means that it is gone.
    pub tick_interval: Duration,
}

impl Hello {
    /// Whether this connection holds `scope`, or `operator.admin`, which includes every other.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|held| held == scope || held == "operator.admin")
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireHello {
    protocol: u32,
    server: WireServer,
    auth: WireAuth,
    features: WireFeatures,
    policy: WirePolicy,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireServer {
    version: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireAuth {
    scopes: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireFeatures {
    methods: Vec<String>,
    events: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WirePolicy {
    tick_interval_ms: Option<u64>,
}

impl From<WireHello> for Hello {
    fn from(wire: WireHello) -> Self {
        // Clamped: the gateway may not make us wait for ever, nor hang up on every breath.
        let tick_ms = wire.policy.tick_interval_ms.unwrap_or(30_000).clamp(5_000, 120_000);
        Self {
            protocol: wire.protocol,
            server_version: wire.server.version.as_deref().map(super::clean_text),
            scopes: wire.auth.scopes,
            methods: wire.features.methods,
            events: wire.features.events,
            tick_interval: Duration::from_millis(tick_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_hello() {
        // Captured from 2026.9.6, shortened.
        let hello: Hello = serde_json::from_str(
            r#"{"type":"hello-ok","protocol":4,"server":{"version":"2026.9.6","buildId":"b","connId":"c"},
            "features":{"methods":["health","models.list"],"events":["tick"],"capabilities":[]},"snapshot":{},
            "auth":{"method":"token","role":"operator","scopes":["operator.pairing"],"recoveryScope":"r"},
            "policy":{"maxPayload":26214400,"maxBufferedBytes":52428800,"tickIntervalMs":30000}}"#,
        )
        .expect("hello");
        assert_eq!(hello.protocol, 4);
        assert_eq!(hello.server_version.as_deref(), Some("2026.9.6"));
        assert!(hello.has_scope("operator.pairing") && !hello.has_scope("operator.read"));
        assert_eq!(hello.methods, ["health", "models.list"]);
        assert_eq!(hello.tick_interval, Duration::from_secs(30));
    }

    #[test]
    fn unknown_frames_and_fields_are_passed_over() {
        let frame = serde_json::from_str(r#"{"type":"batch","frames":[]}"#).expect("frame");
        assert!(matches!(frame, Frame::Other));
        let frame = serde_json::from_str(
            r#"{"type":"event","event":"tick","payload":{"ts":1},"seq":3,"stateVersion":{"presence":2}}"#,
        )
        .expect("frame");
        assert!(matches!(frame, Frame::Event(Event { seq: Some(3), .. })));
    }

    #[test]
    fn waiting_times_are_bounded() {
        let parse = |ms: &str| -> Option<Duration> {
            let text = format!(r#"{{"code":"UNAVAILABLE","retryAfterMs":{ms}}}"#);
            serde_json::from_str::<WireError>(&text).expect("error").retry_after()
        };
        assert_eq!(parse("500"), Some(Duration::from_millis(500)));
        assert_eq!(parse("1e300"), Some(Duration::from_secs(600)));
        assert_eq!(parse("-1"), None);
        assert_eq!(parse("null"), None);
    }
}
