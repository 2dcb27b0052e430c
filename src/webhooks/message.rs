//! What is sent: an event as JSON, and its signatures.
//!
//! Owns the body's shape, and the seal that binds a secret to its endpoint. Refuses to sign with a
//! secret that is out of date.

use serde::Serialize;
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::domain::{Event, EventSource, EventType, Failure};
use crate::secrets::{SealingKey, Secret};
use crate::store::SealedSecrets;

/// An event as receivers get it.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: EventType,
    name: &'a str,
    message: &'a str,
    timestamp: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    data: &'a Value,
    id: &'a str,
    sequence: i64,
    operation_id: Option<&'a str>,
    source: EventSource,
}

/// The body that tells of an event.
pub fn body(event: &Event) -> Result<String, Failure> {
    let body = Body {
        kind: event.kind,
        name: event.name.as_str(),
        message: &event.message,
        timestamp: &event.timestamp,
        data: &event.data,
        id: &event.id,
        sequence: event.sequence,
        operation_id: event.operation_id.as_deref(),
        source: event.source,
    };
    serde_json::to_string(&body).map_err(|error| Failure::failed(format!("the event: {error}")))
}

/// The signatures of a body, one for each secret.
pub fn signatures(
    secrets: &[Secret],
    id: &str,
    timestamp: i64,
    body: &str,
) -> Result<String, Failure> {
    let sign = |secret: &Secret| {
        Webhook::new(secret.expose())
            .and_then(|webhook| webhook.sign(id, timestamp, body.as_bytes()))
            // Its own words might quote the secret.
            .map_err(|_| Failure::failed("the endpoint's secret cannot be used for signing"))
    };
    Ok(secrets.iter().map(sign).collect::<Result<Vec<_>, _>>()?.join(" "))
}

/// Seals an endpoint's secret.
pub fn seal(key: &SealingKey, endpoint: &str, secret: &Secret) -> Vec<u8> {
    key.seal(&context(endpoint), secret.expose().as_bytes())
}

/// An endpoint's secrets that sign at a moment, the one in force first.
pub fn open(
    key: &SealingKey,
    endpoint: &str,
    sealed: &SealedSecrets,
    now_ms: i64,
) -> Result<Vec<Secret>, Failure> {
    let before = sealed.before.as_ref().filter(|(_, until_ms)| now_ms < *until_ms);
    let all = [Some(&sealed.current), before.map(|(secret, _)| secret)];
    all.into_iter().flatten().map(|it| key.open_secret(&context(endpoint), it)).collect()
}

fn context(endpoint: &str) -> Vec<u8> {
    format!("endpoint/{endpoint}/secret").into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secrets::webhook::generate_webhook_secret;

    fn event() -> Event {
        serde_json::from_value(json!({
            "sequence": 7, "id": "an-id", "type": "completed", "name": "main",
            "operation_id": "an-operation", "message": "it works", "source": "pipeline",
            "timestamp": "2026-09-06T10:00:00.000Z", "data": { "url": "http://127.0.0.1:1/" },
        }))
        .expect("an event")
    }

    #[test]
    fn the_body_is_the_contracts() {
        let expected = "{\"type\":\"completed\",\"name\":\"main\",\"message\":\"it works\",\
                        \"timestamp\":\"2026-09-06T10:00:00.000Z\",\
                        \"data\":{\"url\":\"http://127.0.0.1:1/\"},\"id\":\"an-id\",\
                        \"sequence\":7,\"operation_id\":\"an-operation\",\"source\":\"pipeline\"}";
        assert_eq!(body(&event()).expect("a body"), expected);
        let bare = Event { data: Value::Null, operation_id: None, ..event() };
        let bare = body(&bare).expect("a body");
        assert!(!bare.contains("data") && bare.contains("\"operation_id\":null"), "{bare}");
    }

    #[test]
    fn every_secret_signs_and_the_specifications_example_comes_out() {
        let known = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let one = signatures(
            std::slice::from_ref(&known),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(one.expect("signs"), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = signatures(&[known, generate_webhook_secret()], "a", 1, "{}").expect("signs");
        let both: Vec<&str> = both.split(' ').collect();
        assert_eq!(both.len(), 2);
        assert!(both.iter().all(|it| it.starts_with("v1,")) && both[0] != both[1]);
        let failure = signatures(&[Secret::new("whsec_s3cr3t!")], "a", 1, "").expect_err("broken");
        assert!(!failure.message.contains("s3cr3t"), "{failure}");
    }

    #[test]
    fn the_secret_before_signs_until_its_time_is_up() {
        let key = SealingKey::generate();
        let (old, new) = (generate_webhook_secret(), generate_webhook_secret());
        let current = seal(&key, "an-id", &new);
        let sealed = SealedSecrets { current, before: Some((seal(&key, "an-id", &old), 1000)) };
        let opened = |now_ms| {
            let opened = open(&key, "an-id", &sealed, now_ms).expect("opens");
            opened.into_iter().map(|it| it.expose().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(opened(999), [new.expose(), old.expose()]);
        assert_eq!(opened(1000), [new.expose()]);
        assert!(open(&key, "another", &sealed, 0).is_err(), "bound to its endpoint");
    }
}
