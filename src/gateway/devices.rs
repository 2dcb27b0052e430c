//! Devices that ask to be let in, and those that are.
//!
//! Owns the reading of the pairing list and what a request means for it. Refuses to guess:
//! whatever cannot be read plainly is left out and counted, so that nothing half understood is
//! ever approved.

use serde::Deserialize;
use serde_json::Value;

use super::text::clean_text;

/// The longest id, role or scope that is taken as such.
const MAX_ID_CHARS: usize = 128;
/// The most roles or scopes of one device.
const MAX_NAMES: usize = 64;
/// The most requests or devices read from one list.
const MAX_ENTRIES: usize = 1000;

/// A device that asks to be let in. Free text is clean; ids, roles and scopes are exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRequest {
    /// Names this request. Another one supersedes it when the device asks for more.
    pub request_id: String,
    /// Hash of the device's public key.
    pub device_id: String,
    /// The key itself.
    pub public_key: Option<String>,
    /// The role asked for, `operator` or `node`.
    pub role: Option<String>,
    /// All roles asked for.
    pub roles: Vec<String>,
    /// The scopes asked for; those of superseded requests of the device included.
    pub scopes: Vec<String>,
    /// Where it connected from, as the gateway saw it.
    pub remote_ip: Option<String>,
    /// `openclaw-control-ui` for a browser. Claimed by the device.
    pub client_id: Option<String>,
    /// `webchat` for a browser. Claimed by the device.
    pub client_mode: Option<String>,
    /// Claimed by the device.
    pub display_name: Option<String>,
    /// Claimed by the device.
    pub platform: Option<String>,
    /// The gateway found the device among the paired ones when it asked.
    pub is_repair: bool,
    /// When it asked, milliseconds since 1970 by the gateway's clock.
    pub ts: u64,
}

/// A device that is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairedDevice {
    /// Hash of the device's public key.
    pub device_id: String,
    /// The key itself.
    pub public_key: Option<String>,
    /// The approved roles.
    pub roles: Vec<String>,
    /// The approved scopes.
    pub scopes: Vec<String>,
    /// Where it connected from last.
    pub remote_ip: Option<String>,
    /// Claimed by the device.
    pub client_id: Option<String>,
    /// Claimed by the device.
    pub display_name: Option<String>,
    /// Claimed by the device.
    pub platform: Option<String>,
    /// `owner`, `silent`, `bootstrap`, …
    pub approved_via: Option<String>,
    /// When, milliseconds since 1970 by the gateway's clock.
    pub approved_at_ms: Option<u64>,
    /// Whether it is connected now.
    pub connected: bool,
}

/// Who waits and who is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairingList {
    /// Requests that wait, oldest first.
    pub pending: Vec<PendingRequest>,
    /// Devices that are in.
    pub paired: Vec<PairedDevice>,
    /// Requests left out because an id, role or scope of theirs is not plain.
    pub unreadable_pending: usize,
    /// Devices left out for the same reason. While any is, no request counts as new.
    pub unreadable_paired: usize,
}

/// What a request means for the gateway's list of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The device is not in.
    New,
    /// It is in, and asks for a role that it does not have.
    RoleUpgrade,
    /// It is in, and asks for scopes that it does not have.
    ScopeUpgrade,
    /// It is in under another key.
    ChangedKey,
    /// It is in and asks again: its platform or the like changed.
    Refresh,
    /// It was in when it asked, or the list cannot be read in full: not known to be new.
    Uncertain,
}

impl PendingRequest {
    /// What the request means, given the list that it came with (or a newer one).
    pub fn standing(&self, list: &PairingList) -> Standing {
        let Some(device) = list.paired.iter().find(|paired| paired.device_id == self.device_id)
        else {
            let certain = !self.is_repair && list.unreadable_paired == 0;
            return if certain { Standing::New } else { Standing::Uncertain };
        };
        if device.public_key != self.public_key {
            Standing::ChangedKey
        } else if self.all_roles().any(|role| !device.roles.iter().any(|has| has == role)) {
            Standing::RoleUpgrade
        } else if self.scopes.iter().any(|scope| !device.scopes.contains(scope)) {
            Standing::ScopeUpgrade
        } else {
            Standing::Refresh
        }
    }

    /// Whether the device is surely not in yet: neither an upgrade nor a changed key.
    pub fn is_new_device(&self, list: &PairingList) -> bool {
        self.standing(list) == Standing::New
    }

    /// Every role asked for, `role` and `roles` alike.
    pub fn all_roles(&self) -> impl Iterator<Item = &str> {
        self.role.iter().chain(&self.roles).map(String::as_str)
    }

    /// Every role asked for, once each.
    pub fn distinct_roles(&self) -> Vec<String> {
        let mut roles: Vec<String> = self.all_roles().map(str::to_owned).collect();
        roles.sort();
        roles.dedup();
        roles
    }

    /// Whether it asks for the role `operator` and no other.
    pub fn is_operator_only(&self) -> bool {
        self.all_roles().next().is_some() && self.all_roles().all(|role| role == "operator")
    }

    /// The scopes asked for that `ceiling` does not list.
    pub fn scopes_beyond<'a>(&'a self, ceiling: &[&str]) -> Vec<&'a str> {
        let scopes = self.scopes.iter().map(String::as_str);
        scopes.filter(|scope| !ceiling.contains(scope)).collect()
    }

    pub(super) fn read(value: &Value) -> Option<Self> {
        let wire = WireDevice::deserialize(value).ok()?;
        Some(Self {
            request_id: wire.request_id.filter(|id| is_plain(id))?,
            device_id: Some(wire.device_id).filter(|id| is_plain(id))?,
            public_key: wire.public_key.filter(|key| key.len() <= 1024),
            role: plain_option(wire.role)?,
            roles: plain_list(wire.roles)?,
            scopes: plain_list(wire.scopes)?,
            remote_ip: clean(wire.remote_ip),
            client_id: clean(wire.client_id),
            client_mode: clean(wire.client_mode),
            display_name: clean(wire.display_name),
            platform: clean(wire.platform),
            is_repair: wire.is_repair.unwrap_or(false),
            ts: wire.ts.unwrap_or(0),
        })
    }
}

impl PairedDevice {
    pub(super) fn read(value: &Value) -> Option<Self> {
        let wire = WireDevice::deserialize(value).ok()?;
        let mut roles = plain_list(wire.roles)?;
        roles.extend(plain_option(wire.role)?.filter(|role| !roles.contains(role)));
        Some(Self {
            device_id: Some(wire.device_id).filter(|id| is_plain(id))?,
            public_key: wire.public_key.filter(|key| key.len() <= 1024),
            roles,
            scopes: plain_list(wire.scopes)?,
            remote_ip: clean(wire.remote_ip),
            client_id: clean(wire.client_id),
            display_name: clean(wire.display_name),
            platform: clean(wire.platform),
            approved_via: clean(wire.approved_via),
            approved_at_ms: wire.approved_at_ms,
            connected: wire.connected.unwrap_or(false),
        })
    }
}

impl PairingList {
    pub(super) fn read(answer: &Value) -> Self {
        let entries = |key: &str| answer[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let (pending, paired) = (entries("pending"), entries("paired"));
        let mut list = PairingList {
            pending: pending.iter().take(MAX_ENTRIES).filter_map(PendingRequest::read).collect(),
            paired: paired.iter().take(MAX_ENTRIES).filter_map(PairedDevice::read).collect(),
            ..PairingList::default()
        };
        list.pending.sort_by_key(|request| request.ts);
        list.unreadable_pending = pending.len() - list.pending.len();
        // A missing list is not an empty one.
        let unlisted = usize::from(!answer["paired"].is_array());
        list.unreadable_paired = paired.len() - list.paired.len() + unlisted;
        list
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDevice {
    device_id: String,
    request_id: Option<String>,
    public_key: Option<String>,
    role: Option<String>,
    roles: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    remote_ip: Option<String>,
    client_id: Option<String>,
    client_mode: Option<String>,
    display_name: Option<String>,
    platform: Option<String>,
    is_repair: Option<bool>,
    ts: Option<u64>,
    approved_via: Option<String>,
    approved_at_ms: Option<u64>,
    connected: Option<bool>,
}

/// The gateway's own pattern for ids. Roles and scopes fit it as well.
pub(super) fn is_plain(id: &str) -> bool {
    id.len() <= MAX_ID_CHARS
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

#[expect(clippy::option_option, reason = "absent is fine, not plain is not")]
fn plain_option(name: Option<String>) -> Option<Option<String>> {
    match name {
        Some(name) if !is_plain(&name) => None,
        name => Some(name),
    }
}

fn plain_list(names: Option<Vec<String>>) -> Option<Vec<String>> {
    let names = names.unwrap_or_default();
    (names.len() <= MAX_NAMES && names.iter().all(|name| is_plain(name))).then_some(names)
}

fn clean(text: Option<String>) -> Option<String> {
    text.map(|text| clean_text(&text)).filter(|text| !text.is_empty())
}

#[cfg(test)]
#[path = "devices_tests.rs"]
pub(super) mod tests;
