//! Events: what a front end is told.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::DeploymentName;

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident => $text:literal,)*) => {
        /// The type of an event.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum EventType { $($(#[$doc])* $variant,)* }

        impl EventType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The type as it is sent.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

event_types! {
    /// A launch began.
    Launching => "launching",
    /// A key pair is being made.
    CreatingKey => "creating_key",
    /// The gateway's configuration is being written.
    CreatingConfig => "creating_config",
    /// An EC2 instance is being created.
    CreatingEc2 => "creating_ec2",
    /// An instance is being created.
    CreatingInstance => "creating_instance",
    /// A cluster is being created.
    CreatingCluster => "creating_cluster",
    /// The program or image is being fetched.
    PullingImage => "pulling_image",
    /// The gateway is being put in place.
    DeployingApp => "deploying_app",
    /// The gateway is being started.
    StartingApp => "starting_app",
    /// The gateway is being proven.
    HealthCheck => "health_check",
    /// A tunnel is being set up.
    SettingUpCloudflare => "setting_up_cloudflare",
    /// A tunnel leads to the gateway.
    CloudflareReady => "cloudflare_ready",
    /// A browser asks to be let in.
    PairingRequired => "pairing_required",
    /// The policy is about to let a browser in.
    AutoApproving => "auto_approving",
    /// An approval was asked for by hand.
    ApproveTriggered => "approve_triggered",
    /// A browser was let in.
    ApproveSuccess => "approve_success",
    /// A browser could not be let in.
    ApproveFailed => "approve_failed",
    /// The gateway was proven to work the way its user reaches it.
    Completed => "completed",
    /// An operation failed.
    Failed => "failed",
    /// An operation was cancelled.
    Cancelled => "cancelled",
    /// An update began.
    Updating => "updating",
    /// An update was proven.
    Updated => "updated",
    /// A restart began.
    Restarting => "restarting",
    /// A restart was proven.
    Restarted => "restarted",
    /// The gateway was stopped.
    Stopped => "stopped",
    /// The gateway was started and proven.
    Started => "started",
    /// Token or keys were replaced.
    Rotated => "rotated",
    /// A backup was made and verified.
    BackedUp => "backed_up",
    /// A backup was put back and proven.
    Restored => "restored",
    /// Removal began.
    Destroying => "destroying",
    /// Everything was removed.
    Destroyed => "destroyed",
}

impl EventType {
    /// The type with this name. The knowledge base writes some in `PascalCase`; that spelling is
    /// taken too.
    pub fn parse(text: &str) -> Option<Self> {
        let mut snake = String::with_capacity(text.len() + 4);
        for (index, c) in text.chars().enumerate() {
            if c.is_ascii_uppercase() && index > 0 {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
        }
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text || kind.as_str() == snake)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who says that it happened.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EventSource {
    /// This program: what it tells was true when it was stored.
    #[default]
    Pipeline,
    /// Somebody outside, by the API: a hint, which changes no state.
    External,
}

impl EventSource {
    /// The source as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::External => "external",
        }
    }

    /// The source that is spelled so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pipeline, Self::External].into_iter().find(|source| source.as_str() == text)
    }
}

/// An event as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// One increasing number per installation, in commit order.
    pub sequence: i64,
    /// Its own id.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// To which deployment.
    pub name: DeploymentName,
    /// In which operation.
    pub operation_id: Option<String>,
    /// As a sentence, without a secret.
    pub message: String,
    /// When, RFC 3339 UTC.
    pub timestamp: String,
    /// Who says so.
    #[serde(default)]
    pub source: EventSource,
    /// Details, from an allow-list per type.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        for kind in EventType::ALL {
            assert_eq!(EventType::parse(kind.as_str()), Some(*kind));
        }
        assert_eq!(EventType::parse("PairingRequired"), Some(EventType::PairingRequired));
        assert_eq!(EventType::parse("Completed"), Some(EventType::Completed));
        assert_eq!(EventType::parse("nonsense"), None);
    }

    #[test]
    fn an_event_says_whose_it_is() {
        for source in [EventSource::Pipeline, EventSource::External] {
            assert_eq!(EventSource::parse(source.as_str()), Some(source));
            let sent = serde_json::to_value(source).expect("plain");
            assert_eq!(sent, source.as_str(), "sent as it is stored");
        }
        assert_eq!(EventSource::parse("nonsense"), None);
        assert_eq!(EventSource::default(), EventSource::Pipeline);
    }
}
