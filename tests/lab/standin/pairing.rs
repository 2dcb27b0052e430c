//! Device pairing: pending requests, paired devices, their tokens, and one-time owner links.
//!
//! Owns `state/standin-pairing.json`, written whole at every change, so that a killed gateway
//! comes back with what it had acknowledged. Refuses requests that are older than five minutes.
//! The command line reads the same file; one-time links live in files of their own because the
//! command line makes them while the gateway runs.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::files;
use crate::policy;

const REQUEST_LIFETIME_MS: u64 = 5 * 60 * 1000;
const LINK_LIFETIME_MS: u64 = 10 * 60 * 1000;

/// The scopes that a one-time owner link grants, all of which its user must ask for.
pub const OWNER_SCOPES: [&str; 7] = [
    "operator.admin",
    "operator.approvals",
    "operator.pairing",
    "operator.questions",
    "operator.read",
    "operator.talk.secrets",
    "operator.write",
];

/// What a pairing request led to.
pub struct Requested {
    /// The request as everyone sees it.
    pub request: Value,
    /// Whether it is new, or an earlier one that covers this.
    pub created: bool,
    /// Earlier requests that it takes the place of.
    pub superseded: Vec<Value>,
}

/// What came of an approval.
pub enum Approval {
    /// There is no such request.
    Unknown,
    /// The approver lacks this scope.
    MissingScope(String),
    /// The device is paired; the record as it is shown.
    Approved(Value),
}

/// The pairing records of one state directory.
pub struct Store {
    path: PathBuf,
    pending: Vec<Value>,
    paired: Vec<Value>,
}

impl Store {
    /// Reads what is stored; nothing stored is no device.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join("state/standin-pairing.json");
        let stored = files::read_json(&path).unwrap_or_default();
        let list = |key: &str| stored[key].as_array().cloned().unwrap_or_default();
        let mut store = Self { pending: list("pending"), paired: list("paired"), path };
        store.forget_expired();
        store
    }

    fn save(&self) {
        let state = json!({"pending": self.pending, "paired": self.paired});
        files::write_json(&self.path, &state).expect("the state directory can be written");
    }

    fn forget_expired(&mut self) {
        let now = files::now_ms();
        self.pending.retain(|request| {
            let fresh = request["refreshedAtMs"].as_u64().or(request["ts"].as_u64()).unwrap_or(0);
            fresh + REQUEST_LIFETIME_MS > now
        });
    }

    /// `device.pair.list`: the newest request first, tokens summarised.
    pub fn list(&mut self, connected: impl Fn(&str) -> bool) -> Value {
        self.forget_expired();
        let pending: Vec<Value> = self.pending.iter().rev().map(public_request).collect();
        let paired: Vec<Value> = self
            .paired
            .iter()
            .map(|device| {
                let online = connected(device["deviceId"].as_str().unwrap_or_default());
                public_device(device, Some(online))
            })
            .collect();
        json!({"pending": pending, "paired": paired})
    }

    /// The paired record of a device, when its key is this one.
    pub fn paired(&self, device_id: &str, public_key: &str) -> Option<&Value> {
        let found = self.paired.iter().find(|device| device["deviceId"] == device_id);
        found.filter(|device| device["publicKey"] == public_key)
    }

    /// A device asks to be paired. `details` holds everything of the request but what is ours.
    pub fn request(&mut self, details: Value) -> Requested {
        self.forget_expired();
        let Value::Object(details) = details else { unreachable!("details are an object") };
        let device_id = details["deviceId"].clone();
        let repair = self.paired.iter().any(|device| device["deviceId"] == device_id);
        let (earlier, others): (Vec<Value>, Vec<Value>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|request| request["deviceId"] == device_id);
        self.pending = others;
        let (request, created) = match earlier.as_slice() {
            [only] if covers(only, &details) => {
                let mut refreshed = only.clone();
                refreshed["refreshedAtMs"] = json!(files::now_ms());
                (refreshed, false)
            }
            _ => (build_request(details, &earlier, repair), true),
        };
        self.pending.push(request.clone());
        self.save();
        let superseded = if created { earlier } else { Vec::new() };
        Requested { request: public_request(&request), created, superseded }
    }

    /// Approves a request with the approver's scopes; `None` approves whatever is asked for.
    pub fn approve(
        &mut self,
        request_id: &str,
        approver: Option<&[String]>,
        via: &str,
    ) -> Approval {
        self.forget_expired();
        let Some(index) = self.pending.iter().position(|one| one["requestId"] == request_id) else {
            return Approval::Unknown;
        };
        let scopes = strings(&self.pending[index]["scopes"]);
        if let Some(missing) = approver.and_then(|held| policy::missing_scope(&scopes, held)) {
            return Approval::MissingScope(missing.to_owned());
        }
        let request = self.pending.remove(index);
        let now = files::now_ms();
        let mut device = Map::new();
        for key in [
            "deviceId",
            "publicKey",
            "displayName",
            "platform",
            "deviceFamily",
            "clientId",
            "clientMode",
            "role",
            "roles",
            "scopes",
            "remoteIp",
        ] {
            if let Some(value) = request.get(key) {
                device.insert(key.to_owned(), value.clone());
            }
        }
        let earlier = self.paired.iter().position(|one| one["deviceId"] == request["deviceId"]);
        let earlier = earlier.map(|index| self.paired.remove(index));
        let created = earlier.as_ref().map_or(json!(now), |device| device["createdAtMs"].clone());
        device.insert("approvedVia".to_owned(), json!(via));
        device.insert("createdAtMs".to_owned(), created);
        device.insert("approvedAtMs".to_owned(), json!(now));
        device.insert(
            "tokens".to_owned(),
            json!({"operator": {
                "role": request["role"], "scopes": scopes, "token": files::random_token(32),
                "createdAtMs": now,
            }}),
        );
        let device = Value::Object(device);
        let shown = public_device(&device, None);
        self.paired.push(device);
        self.save();
        Approval::Approved(shown)
    }

    /// Rejects a request; the device that had asked, if there was one.
    pub fn reject(&mut self, request_id: &str) -> Option<String> {
        self.forget_expired();
        let index = self.pending.iter().position(|one| one["requestId"] == request_id)?;
        let request = self.pending.remove(index);
        self.save();
        request["deviceId"].as_str().map(str::to_owned)
    }

    /// Removes a paired device; whether there was one.
    pub fn remove(&mut self, device_id: &str) -> bool {
        let before = self.paired.len();
        self.paired.retain(|device| device["deviceId"] != device_id);
        let removed = self.paired.len() < before;
        if removed {
            self.save();
        }
        removed
    }

    /// Notes a connection of a paired device and returns its token and when it was issued.
    pub fn note_connection(&mut self, device_id: &str, issue: bool) -> Option<(String, u64)> {
        let now = files::now_ms();
        let device = self.paired.iter_mut().find(|device| device["deviceId"] == device_id)?;
        device["lastSeenAtMs"] = json!(now);
        device["lastSeenReason"] = json!("connect");
        let token = device.pointer_mut("/tokens/operator")?;
        if issue && token.get("rotatedAtMs").is_none() {
            token["token"] = json!(files::random_token(32));
            token["rotatedAtMs"] = json!(now);
        }
        let issued = token["rotatedAtMs"].as_u64().or(token["createdAtMs"].as_u64());
        let result = (token["token"].as_str()?.to_owned(), issued?);
        self.save();
        Some(result)
    }

    /// Whether this is the device's own token.
    pub fn is_device_token(&self, device_id: &str, token: &str) -> bool {
        self.paired.iter().any(|device| {
            device["deviceId"] == device_id
                && device.pointer("/tokens/operator/token").is_some_and(|own| own == token)
        })
    }
}

/// The scopes that a paired device was granted.
pub fn strings(list: &Value) -> Vec<String> {
    let entries = list.as_array().into_iter().flatten();
    entries.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether a pending request already asks for everything that the new one does.
fn covers(earlier: &Value, new: &Map<String, Value>) -> bool {
    let wanted = strings(&new["scopes"]);
    earlier["publicKey"] == new["publicKey"]
        && earlier["role"] == new["role"]
        && policy::missing_scope(&wanted, &strings(&earlier["scopes"])).is_none()
}

fn build_request(details: Map<String, Value>, earlier: &[Value], repair: bool) -> Value {
    let mut request = Map::new();
    request.insert("requestId".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    request.extend(details.into_iter().filter(|(_, value)| !value.is_null()));
    let mut scopes: Vec<String> = Vec::new();
    let asked = earlier.iter().map(|one| strings(&one["scopes"]));
    for scope in asked.chain([strings(&request["scopes"])]).flatten() {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    request.insert("scopes".to_owned(), json!(scopes));
    request.insert("isRepair".to_owned(), json!(repair));
    request.insert("ts".to_owned(), json!(files::now_ms()));
    Value::Object(request)
}

fn public_request(request: &Value) -> Value {
    let mut shown = request.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.shift_remove("refreshedAtMs");
    }
    shown
}

fn public_device(device: &Value, connected: Option<bool>) -> Value {
    let mut shown = device.clone();
    let tokens: Vec<Value> = device["tokens"]
        .as_object()
        .into_iter()
        .flat_map(|tokens| tokens.values())
        .map(|token| {
            let mut summary = token.clone();
            if let Some(fields) = summary.as_object_mut() {
                fields.shift_remove("token");
            }
            summary
        })
        .collect();
    if let Some(fields) = shown.as_object_mut() {
        fields.shift_remove("tokens");
        if let Some(connected) = connected {
            fields.insert("connected".to_owned(), json!(connected));
        }
        fields.insert("tokens".to_owned(), Value::Array(tokens));
    }
    shown
}

/// Makes a one-time owner link's token; returns it and when it expires.
pub fn create_link(state_dir: &Path) -> std::io::Result<(String, u64)> {
    let token = files::random_token(32);
    let expires = files::now_ms() + LINK_LIFETIME_MS;
    files::write_json(&link_path(state_dir, &token), &json!({"expiresAtMs": expires}))?;
    Ok((token, expires))
}

/// Whether a one-time token is still good for these scopes.
pub fn link_is_good(state_dir: &Path, token: &str, scopes: &[String]) -> bool {
    let mut asked: Vec<&str> = scopes.iter().map(String::as_str).collect();
    asked.sort_unstable();
    asked == OWNER_SCOPES
        && files::read_json(&link_path(state_dir, token))
            .and_then(|link| link["expiresAtMs"].as_u64())
            .is_some_and(|expires| expires > files::now_ms())
}

/// Uses a one-time token up; only one caller is told that it had it.
pub fn consume_link(state_dir: &Path, token: &str) -> bool {
    std::fs::remove_file(link_path(state_dir, token)).is_ok()
}

fn link_path(state_dir: &Path, token: &str) -> PathBuf {
    let name = files::sha256_hex(token.as_bytes());
    state_dir.join(format!("state/standin-links/{name}.json"))
}
