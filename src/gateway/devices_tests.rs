//! Pairing lists as captured from 2026.9.6, keys and ids shortened.

use serde_json::json;

use super::*;

pub(in super::super) const DEVICE: &str =
    "8778968738ea59f90ded3247a7ed31b02f0bc31032ecc7b93c07d189d0e375ff";
const KEY: &str = "ZBZOwGq5PJJUggQEdAQrYGOnl7ub75EUlHglg3O1TdE";

pub(in super::super) fn pending() -> Value {
    json!({
        "requestId": "63034ab2-a1ca-4496-baeb-d0e135521ae3", "deviceId": DEVICE, "publicKey": KEY,
        "platform": "linux", "clientId": "openclaw-control-ui", "clientMode": "webchat",
        "role": "operator", "roles": ["operator"], "scopes": ["operator.admin", "operator.read"],
        "remoteIp": "192.0.2.2", "silent": false, "isRepair": false, "ts": 1_795_400_296_143_u64
    })
}

fn paired() -> Value {
    json!({
        "deviceId": DEVICE, "publicKey": KEY, "platform": "linux",
        "clientId": "openclaw-control-ui", "clientMode": "webchat", "role": "operator",
        "roles": ["operator"], "scopes": ["operator.read"], "remoteIp": "192.0.2.2",
        "approvedVia": "owner", "createdAtMs": 1_795_400_296_108_u64,
        "approvedAtMs": 1_795_400_296_108_u64, "connected": false,
        "tokens": [{ "role": "operator", "scopes": ["operator.read"], "createdAtMs": 1 }]
    })
}

fn with(mut value: Value, key: &str, to: Value) -> Value {
    value[key] = to;
    value
}

fn standing(pending: &Value, paired: &Value) -> Standing {
    let list = PairingList::read(&json!({ "pending": [pending], "paired": paired }));
    list.pending[0].standing(&list)
}

#[test]
fn a_first_request_is_new() {
    let list = PairingList::read(&json!({ "pending": [pending()], "paired": [] }));
    let request = &list.pending[0];
    assert!(request.is_new_device(&list) && request.is_operator_only());
    assert_eq!(request.scopes_beyond(&["operator.read"]), ["operator.admin"]);
    assert_eq!(request.remote_ip.as_deref(), Some("192.0.2.2"));
    assert_eq!((list.unreadable_pending, list.unreadable_paired), (0, 0));
}

#[test]
fn upgrades_and_changed_keys_are_told_apart() {
    assert_eq!(standing(&pending(), &json!([paired()])), Standing::ScopeUpgrade);
    let node = with(pending(), "roles", json!(["operator", "node"]));
    assert_eq!(standing(&node, &json!([paired()])), Standing::RoleUpgrade);
    let key = with(pending(), "publicKey", json!("other"));
    assert_eq!(standing(&key, &json!([paired()])), Standing::ChangedKey);
    let same = with(pending(), "scopes", json!(["operator.read"]));
    assert_eq!(standing(&same, &json!([paired()])), Standing::Refresh);
}

#[test]
fn doubt_is_not_new() {
    let repair = with(pending(), "isRepair", json!(true));
    assert_eq!(standing(&repair, &json!([])), Standing::Uncertain);
    assert_eq!(standing(&pending(), &json!([{ "deviceId": 7 }])), Standing::Uncertain);
    assert_eq!(standing(&pending(), &Value::Null), Standing::Uncertain);
}

#[test]
fn what_is_not_plain_is_left_out_and_counted() {
    let odd = [
        with(pending(), "scopes", json!(["operator.read\u{0}"])),
        with(pending(), "scopes", json!(vec!["operator.read"; 65])),
        with(pending(), "requestId", json!("a b")),
        with(pending(), "role", json!("operator\n")),
        json!("text"),
    ];
    let list = PairingList::read(&json!({ "pending": odd, "paired": [] }));
    assert_eq!((list.pending.len(), list.unreadable_pending), (0, 5));
}

#[test]
fn names_are_cleaned() {
    let named = with(pending(), "displayName", json!("\u{1b}[31mAnna\u{7}"));
    let list = PairingList::read(&json!({ "pending": [named], "paired": [] }));
    assert_eq!(list.pending[0].display_name.as_deref(), Some("[31mAnna"));
}

#[test]
fn no_role_is_not_operator() {
    let mut request = pending();
    request["role"] = Value::Null;
    request["roles"] = json!([]);
    assert!(!PendingRequest::read(&request).expect("request").is_operator_only());
}
