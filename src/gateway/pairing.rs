//! Device pairing: the calls and the events.
//!
//! Owns what is asked of the gateway. Refuses to decide: whether a request is approved is the
//! caller's policy.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::GatewayClient;
use super::devices::{PairingList, PendingRequest, is_plain};
use super::protocol::Event;
use super::rpc::RpcError;
use super::text::clean_text;

/// Events to keep for [`PairingEvent::read`].
pub const EVENTS: &str = "device.pair.";

/// The scopes to ask for: approving a browser hands on `operator.admin`, so the approver holds it.
pub const SCOPES: [&str; 2] = ["operator.admin", "operator.pairing"];

/// How long a request may take. Approvals were measured at 20 to 37 ms, 175 ms at p99; a gateway
/// busy with a start of something else can be a hundred times slower.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a pairing call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// The id is not pending (any more): decided elsewhere, expired after five minutes, or
    /// superseded by a newer request of the same device.
    #[error("no such pairing request or device; it may be decided, expired or superseded")]
    Unknown,
    /// This connection lacks a scope: it did not arrive on the gateway's own loopback.
    #[error("this connection lacks the scope {0}; connect through the relay inside the container")]
    MissingScope(String),
    /// Anything else.
    #[error(transparent)]
    Rpc(RpcError),
}

impl PairingError {
    /// Whether the gateway may have done what was asked.
    pub fn is_uncertain(&self) -> bool {
        matches!(
            self,
            Self::Rpc(RpcError::Timeout { .. } | RpcError::Closed(_) | RpcError::Malformed { .. })
        )
    }
}

impl From<RpcError> for PairingError {
    fn from(error: RpcError) -> Self {
        if let Some(scope) = error.missing_scope() {
            return Self::MissingScope(clean_text(scope));
        }
        match &error {
            RpcError::Refused { refusal, .. } if refusal.message.starts_with("unknown ") => {
                Self::Unknown
            }
            _ => Self::Rpc(error),
        }
    }
}

/// News about pairing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairingEvent {
    /// A device asks. Whether it is new shows only with a list.
    Requested(Box<PendingRequest>),
    /// A request is settled, also when it was superseded (then `approved` is false).
    Resolved {
        /// The request.
        request_id: String,
        /// Whether the device is in.
        approved: bool,
    },
    /// It concerns pairing and cannot be read: list again.
    Unreadable,
}

impl PairingEvent {
    /// Reads an event; `None` when it is about something else.
    pub fn read(event: &Event) -> Option<Self> {
        match event.name.as_str() {
            "device.pair.requested" => {
                let request = PendingRequest::read(&event.payload);
                Some(request.map_or(Self::Unreadable, |request| Self::Requested(Box::new(request))))
            }
            "device.pair.resolved" => {
                let id = event.payload["requestId"].as_str().filter(|id| is_plain(id));
                let Some(id) = id else {
                    return Some(Self::Unreadable);
                };
                let approved = event.payload["decision"] == "approved";
                Some(Self::Resolved { request_id: id.to_owned(), approved })
            }
            _ => None,
        }
    }
}

/// The pairing calls over one connection, which needs [`SCOPES`].
#[derive(Debug, Clone, Copy)]
pub struct Pairing<'a>(pub &'a GatewayClient);

impl Pairing<'_> {
    /// Who waits and who is in.
    pub async fn list(&self) -> Result<PairingList, PairingError> {
        let answer = self.call("device.pair.list", json!({})).await?;
        Ok(PairingList::read(&answer))
    }

    /// Lets exactly this request's device in, with exactly what the request lists: a device that
    /// asks for more gets a new id.
    pub async fn approve(&self, request_id: &str) -> Result<(), PairingError> {
        self.call("device.pair.approve", json!({ "requestId": request_id })).await.map(drop)
    }

    /// Turns the request down.
    pub async fn reject(&self, request_id: &str) -> Result<(), PairingError> {
        self.call("device.pair.reject", json!({ "requestId": request_id })).await.map(drop)
    }

    /// Removes a device, with its pending requests and tokens.
    pub async fn remove(&self, device_id: &str) -> Result<(), PairingError> {
        self.call("device.pair.remove", json!({ "deviceId": device_id })).await.map(drop)
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, PairingError> {
        Ok(self.0.request(method, params, REQUEST_TIMEOUT).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::devices::tests::{DEVICE, pending};
    use super::*;

    #[test]
    fn real_events() {
        let event = |name: &str, payload| Event { name: name.into(), payload, seq: Some(1) };
        let requested = PairingEvent::read(&event("device.pair.requested", pending()));
        assert!(matches!(requested, Some(PairingEvent::Requested(r)) if r.device_id == DEVICE));
        let resolved = json!({
            "requestId": "63034ab2", "deviceId": DEVICE, "decision": "approved", "ts": 1
        });
        assert_eq!(
            PairingEvent::read(&event("device.pair.resolved", resolved)),
            Some(PairingEvent::Resolved { request_id: "63034ab2".into(), approved: true })
        );
        let odd = PairingEvent::read(&event("device.pair.requested", json!({})));
        assert_eq!(odd, Some(PairingEvent::Unreadable));
        assert_eq!(PairingEvent::read(&event("health", json!({}))), None);
    }
}
