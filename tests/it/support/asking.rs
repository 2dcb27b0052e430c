//! Devices that ask a stand-in gateway to be let in.

use serde_json::{Value, json};

use super::product::Product;

/// Makes the gateway of a deployment find requests of devices at its next start, as if they had just asked.
pub fn ask(product: &Product, name: &str, requests: &[(&str, &str, &[&str])]) {
    let path = product.state(name).join("state/standin-pairing.json");
    std::fs::write(path, pairing(requests).to_string()).expect("a file");
}

/// What a gateway keeps of such requests.
pub fn pairing(requests: &[(&str, &str, &[&str])]) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now");
    let pending: Vec<Value> = requests
        .iter()
        .map(|(id, role, scopes)| {
            json!({
                "requestId": id, "deviceId": format!("device-of-{id}"), "publicKey": "key",
                "role": role, "roles": [role], "scopes": scopes, "remoteIp": "203.0.113.7",
                "clientId": "openclaw-control-ui", "clientMode": "webchat",
                "platform": "Linux x86_64", "isRepair": false,
                "ts": u64::try_from(now.as_millis()).expect("fits"),
            })
        })
        .collect();
    json!({ "pending": pending, "paired": [] })
}
