//! Events that somebody outside tells of.
//!
//! Owns what may be told, and in which words it is kept: a hint, cleaned of control characters and
//! of every secret of its deployment, with the details that the type has a place for. Refuses the
//! types that the product alone makes, and to change any state by one.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::App;
use crate::domain::approval::{ApprovalMode, DEFAULT_WINDOW_S};
use crate::domain::{Deployment, DeploymentName, EventType, Failure};
use crate::exec::{boot_id, boottime};
use crate::operations::vault::Slot;
use crate::secrets::Redactor;
use crate::store::{Answer, AuditRecord, IdempotencyKey, NewEvent, Opening, Window};

/// The longest message, in characters.
const MESSAGE_CHARS: usize = 2000;
/// The longest text among the details, in characters.
const DETAIL_CHARS: usize = 300;

/// The types that may be told from outside.
pub const TYPES: [EventType; 13] = [
    EventType::Launching,
    EventType::CreatingKey,
    EventType::CreatingConfig,
    EventType::CreatingEc2,
    EventType::CreatingInstance,
    EventType::CreatingCluster,
    EventType::DeployingApp,
    EventType::PullingImage,
    EventType::StartingApp,
    EventType::HealthCheck,
    EventType::SettingUpCloudflare,
    EventType::CloudflareReady,
    EventType::PairingRequired,
];

/// An event as somebody outside tells it.
#[derive(Debug)]
pub struct Told {
    /// What happened.
    pub kind: EventType,
    /// In a sentence.
    pub message: String,
    /// When, as the sender's clock has it.
    pub timestamp: Option<String>,
    /// Details.
    pub data: Option<Value>,
}

/// The type that a text names, in either spelling.
pub fn kind(text: &str) -> Result<EventType, Failure> {
    let short = text.get(..text.len().min(40)).unwrap_or_default();
    EventType::parse(short).filter(|kind| TYPES.contains(kind)).ok_or_else(|| {
        let known: Vec<&str> = TYPES.iter().map(|kind| kind.as_str()).collect();
        Failure::bad_input(format!(
            "{:?} is no type that can be told from outside; these are: {}",
            crate::domain::text::clean(text, 40),
            known.join(", ")
        ))
    })
}

/// When something happened, as the sender says.
pub fn timestamp(given: Option<String>) -> Result<Option<String>, Failure> {
    let Some(given) = given else { return Ok(None) };
    match OffsetDateTime::parse(&given, &Rfc3339) {
        Ok(at) => Ok(at.to_offset(time::UtcOffset::UTC).format(&Rfc3339).ok()),
        Err(_) => Err(Failure::bad_input(format!(
            "a time is RFC 3339, such as 2026-01-31T12:00:00Z; {:?} is not",
            crate::domain::text::clean(&given, 40)
        ))),
    }
}

/// The details that are kept.
fn details(told: &Told, hide: &Redactor) -> Value {
    let plain = |value: &Value| -> Option<Value> {
        Some(Value::String(hide.redact_line(value.as_str()?, DETAIL_CHARS)))
    };
    let mut kept = Map::new();
    let data = told.data.as_ref().and_then(Value::as_object);
    for (key, value) in data.into_iter().flatten() {
        let value = match (told.kind, key.as_str()) {
            (EventType::PairingRequired, "request_id") => plain(value),
            (EventType::CloudflareReady, "url") => plain(value).filter(is_bare_address),
            (EventType::PairingRequired | EventType::CloudflareReady, _) => None,
            (_, "step") => plain(value),
            (_, "progress") => {
                value.as_f64().filter(|it| (0.0..=100.0).contains(it)).map(|it| json!(it))
            }
            _ => None,
        };
        if let Some(value) = value {
            kept.insert(key.clone(), value);
        }
    }
    if let Some(timestamp) = &told.timestamp {
        kept.insert("reported_at".into(), json!(timestamp));
    }
    if kept.is_empty() { Value::Null } else { Value::Object(kept) }
}

/// An address that lets nobody in: no user, no query, no fragment.
fn is_bare_address(value: &Value) -> bool {
    value.as_str().is_some_and(|url| {
        url.starts_with("https://") && !url.contains(['@', '#', '?', '"', '<', '>', ' ', '\\'])
    })
}

impl App {
    /// Stores an event that somebody outside tells of, and looks who waits where it says so. Who
    /// may open a new window for one device comes with their line of the audit log.
    pub async fn told_from_outside(
        &self,
        name: &DeploymentName,
        told: Told,
        opens: Option<AuditRecord>,
        once: Option<(IdempotencyKey, Answer)>,
    ) -> Result<(), Failure> {
        let deployment = self.deployment(name)?;
        let vault = self.engine().vault();
        let known = vault.peek(self.store(), &deployment.id, Slot::Current)?;
        let hide = Redactor::new(known.iter().flat_map(crate::targets::GatewaySecrets::all));
        let message = hide.redact_line(&told.message, MESSAGE_CHARS);
        let event = NewEvent::external(told.kind, message).with(details(&told, &hide));
        let asks = told.kind == EventType::PairingRequired;
        let opening = match opens.filter(|_| asks) {
            Some(record) => for_one(&deployment, record)?,
            None => None,
        };
        self.store().tell(name.clone(), event, opening, once).await?;
        if asks {
            self.watch_now();
        }
        Ok(())
    }
}

/// A new window, for ten minutes and one device; none where nobody is let in by it.
fn for_one(deployment: &Deployment, record: AuditRecord) -> Result<Option<Opening>, Failure> {
    if deployment.spec.approval.mode == ApprovalMode::Off {
        return Ok(None);
    }
    let opened_s = i64::try_from(boottime().as_secs()).unwrap_or(i64::MAX);
    let window = Window {
        boot_id: boot_id()?,
        opened_s,
        deadline_s: opened_s.saturating_add(i64::from(DEFAULT_WINDOW_S)),
        remaining: 1,
    };
    Ok(Some(Opening { deployment_id: deployment.id.clone(), window, record }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    #[test]
    fn both_spellings_are_taken_and_no_other_type() {
        for (text, expected) in [
            ("PairingRequired", EventType::PairingRequired),
            ("pairing_required", EventType::PairingRequired),
            ("CreatingEc2", EventType::CreatingEc2),
            ("SettingUpCloudflare", EventType::SettingUpCloudflare),
        ] {
            assert_eq!(kind(text).expect(text), expected);
        }
        for text in
            ["completed", "Failed", "approve_success", "destroyed", "", "PAIRING", &"x".repeat(999)]
        {
            let failure = kind(text).expect_err(text);
            assert!(failure.message.contains("pairing_required"), "{failure}");
        }
    }

    #[test]
    fn details_are_an_allow_list_and_hold_no_secret() {
        let secret = Secret::new("0123456789abcdef-the-token");
        let hide = Redactor::new([&secret]);
        let told = |kind, data: Value| Told {
            kind,
            message: String::new(),
            timestamp: None,
            data: Some(data),
        };
        let data = json!({ "step": "it says 0123456789abcdef-the-token\u{1b}[2J", "progress": 40,
                           "token": "x", "url": "https://x", "nested": { "a": 1 } });
        let kept = details(&told(EventType::DeployingApp, data), &hide);
        let text = kept.to_string();
        assert!(!text.contains("the-token") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(kept["progress"], json!(40.0));
        assert_eq!(kept.as_object().expect("an object").len(), 2, "{text}");
        for (url, stays) in [
            ("https://a.example", true),
            ("https://a.example/#token=x", false),
            ("https://u:p@a.example", false),
            ("javascript:alert(1)", false),
        ] {
            let kept = details(&told(EventType::CloudflareReady, json!({ "url": url })), &hide);
            assert_eq!(kept != Value::Null, stays, "{url}");
        }
        let kept = details(&told(EventType::DeployingApp, json!({ "progress": 1e300 })), &hide);
        assert_eq!(kept, Value::Null);
    }

    #[test]
    fn times_are_utc_afterwards() {
        let given = Some("2026-01-31T12:00:00+02:00".to_owned());
        assert_eq!(timestamp(given).expect("a time").as_deref(), Some("2026-01-31T10:00:00Z"));
        timestamp(Some("yesterday".into())).expect_err("no time");
        assert_eq!(timestamp(None).expect("none"), None);
    }
}
