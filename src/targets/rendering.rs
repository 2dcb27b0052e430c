//! The gateway's configuration: the user's file with the managed keys merged in.
//!
//! Owns which keys the program manages. Everything else in the file is the user's and is kept as
//! it stands; so are lists, into which the program adds its own entries and from which it takes
//! only entries that it added itself.

mod instructions;

use serde_json::{Map, Value, json};

use super::container::TUNNEL_ADDRESS;
use crate::domain::text::clean;
use crate::domain::{DeploymentSpec, ExecAsk, Failure, OpenClawVersion};

/// The keys that the program manages, with their values.
#[derive(Debug, Clone, PartialEq)]
pub struct ManagedConfig {
    /// The version that reads it. It refuses keys that it does not know; `None` is taken for the
    /// newest.
    pub version: Option<OpenClawVersion>,
    /// The gateway's port, where it runs.
    pub port: u16,
    /// Where it listens there.
    pub bind: Bind,
    /// The page's origins, one for every way in.
    pub origins: Vec<String>,
    /// Origins that were added by the program before.
    pub stale_origins: Vec<String>,
    /// The addresses and ranges whose word on a client's address is taken: a tunnel's, or what leads
    /// there.
    pub proxies: Vec<String>,
    /// Those that were added by the program before, beside the tunnel's.
    pub stale_proxies: Vec<String>,
    /// The model, when there is one.
    pub model: Option<String>,
    /// Whether the user chose that model. One that follows from the keys gives way to the model
    /// that the file names already.
    pub model_is_chosen: bool,
    /// The model that the program wrote last: in the file, it is nobody's choice.
    pub last_model: Option<String>,
    /// How commands are run.
    pub exec_ask: ExecAsk,
    /// How often the idle agent thinks.
    pub heartbeat: String,
    /// Where the workspace lies there.
    pub workspace: String,
    /// Where the gateway writes its own log there; `None` leaves it to the gateway.
    pub log: Option<String>,
    /// Whether the user's own file is put in place of what is there, because they asked for it.
    pub users_file: bool,
}

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// On loopback only.
    Loopback,
    /// Everywhere.
    Lan,
    /// On one address.
    Custom(std::net::IpAddr),
}

impl ManagedConfig {
    /// The managed keys of a specification, but for what only the target knows.
    pub fn of(spec: &DeploymentSpec, port: u16, bind: Bind, workspace: String) -> Self {
        Self {
            version: None,
            port,
            bind,
            origins: Vec::new(),
            stale_origins: Vec::new(),
            proxies: Vec::new(),
            stale_proxies: Vec::new(),
            model: spec.model.clone(),
            model_is_chosen: spec.model_is_chosen,
            last_model: None,
            exec_ask: spec.exec_ask,
            heartbeat: spec.heartbeat.clone(),
            workspace,
            log: None,
            users_file: false,
        }
    }

    fn is_since_8_1(&self) -> bool {
        self.version.is_none_or(|version| version >= OpenClawVersion::new(2026, 8, 1))
    }

    /// The model to write into a tree; `None` leaves what it has.
    fn model_for(&self, tree: &Value) -> Option<&str> {
        let model = self.model.as_deref()?;
        let theirs =
            default_model(tree).filter(|theirs| self.last_model.as_deref() != Some(theirs));
        (self.model_is_chosen || theirs.is_none()).then_some(model)
    }

    /// The managed keys as a tree, to be put over another one.
    fn tree(&self, over: &Value) -> Value {
        let mut gateway = json!({
            // Without it the gateway refuses to start.
            "mode": "local",
            "port": self.port,
            // The token comes by environment; naming it here too would be a conflict.
            "auth": { "mode": "token" },
            // What stands in it is merged below; it has to be there for that.
            "controlUi": {},
        });
        let since_8_1 = self.is_since_8_1();
        if since_8_1 {
            // A client with a private address would be paired as an administrator otherwise,
            // whatever Host and Origin it claims. And a node is let in by a person, not because
            // the gateway gets at it with the operator's SSH keys.
            gateway["nodes"]["pairing"] = json!({ "autoApproveLocal": false, "sshVerify": false });
        }
        match &self.bind {
            Bind::Loopback => gateway["bind"] = json!("loopback"),
            Bind::Lan => gateway["bind"] = json!("lan"),
            Bind::Custom(address) => {
                gateway["bind"] = json!("custom");
                gateway["customBindHost"] = json!(address.to_string());
            }
        }
        let exec = match self.exec_ask {
            ExecAsk::On => "ask",
            ExecAsk::Off => "full",
        };
        let mut tree = json!({
            "gateway": gateway,
            "agents": { "defaults": {
                "workspace": self.workspace,
                "heartbeat": { "every": self.heartbeat },
            }},
            "tools": { "exec": { "mode": exec } },
            // The program updates it, with a backup and a way back.
            "update": { "checkOnStart": false, "auto": { "enabled": false } },
            "discovery": { "mdns": { "mode": "off" } },
        });
        if self.heartbeat == "0m" {
            // The heartbeat is not all that an idle gateway thinks about, and pays for.
            tree["plugins"]["entries"]["memory-core"]["config"]["dreaming"]["enabled"] =
                json!(false);
            if since_8_1 {
                tree["skills"]["workshop"]["autonomous"]["mode"] = json!("off");
            }
        }
        if let Some(log) = &self.log {
            tree["logging"]["file"] = json!(log);
        }
        if let Some(model) = self.model_for(over) {
            tree["agents"]["defaults"]["model"] = json!({ "primary": model });
        }
        tree
    }
}

/// A merged configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The file's new text; `None` when what is there says the same already.
    pub text: Option<String>,
    /// What the user should know.
    pub notices: Vec<String>,
    /// The plugins that the configuration switches on.
    pub plugins: Vec<String>,
    /// The default model that it names.
    pub model: Option<String>,
}

/// Merges the managed keys into a configuration (JSON5; empty for none). Fails when the text
/// cannot be read, and changes nothing then.
pub fn merge(current: &str, managed: &ManagedConfig) -> Result<Merged, Failure> {
    let before = parse(current)?;
    let mut after = before.clone();
    let mut replaced = Vec::new();
    overlay(&mut after, &managed.tree(&before), "", &mut replaced);
    merge_origins(&mut after, managed, &mut replaced);
    name_proxies(&mut after, managed, &mut replaced);
    // The program's own, of an earlier run: nobody has to be told.
    let own = managed.last_model.is_some() && default_model(&before) == managed.last_model;
    replaced.retain(|path| !(own && path == MODEL));
    let mut notices = Vec::new();
    if !replaced.is_empty() {
        let replaced: Vec<String> = replaced.iter().map(|path| with_variable(path)).collect();
        notices.push(format!(
            "openclaw.json: replaced, because they are managed: {}",
            replaced.join(", ")
        ));
    }
    remove_conflicts(&mut after, &mut notices);
    warn(&after, &mut notices);
    let (plugins, model) = (plugins(&after), default_model(&after));
    if !current.trim().is_empty() && after == before {
        return Ok(Merged { text: None, notices, plugins, model });
    }
    let mut text = serde_json::to_string_pretty(&after).map_err(|error| {
        Failure::failed(format!("the configuration cannot be written: {error}"))
    })?;
    text.push('\n');
    Ok(Merged { text: Some(text), notices, plugins, model })
}

/// The path of the default model, and of its short form.
const MODEL: &str = "agents.defaults.model.primary";
const SHORT_MODEL: &str = "agents.defaults.model";

/// A managed key with the variable that sets it, where there is one.
fn with_variable(path: &str) -> String {
    let variable = match path {
        MODEL => "DEFAULT_MODEL",
        "gateway.port" => "GATEWAY_PORT",
        "agents.defaults.heartbeat.every" => "HEARTBEAT",
        "tools.exec.mode" => "EXEC_ASK",
        _ => return path.to_owned(),
    };
    format!("{path} (see {variable})")
}

/// The default model that a configuration names.
fn default_model(tree: &Value) -> Option<String> {
    let model = tree.pointer("/agents/defaults/model")?;
    let model = model.as_str().or_else(|| model.get("primary")?.as_str())?;
    (!model.is_empty()).then(|| model.to_owned())
}

/// Whether a user's configuration brings a provider of its own, with the key for it.
pub fn brings_provider(text: &str, provider: &str) -> bool {
    let Ok(tree) = parse(text) else { return false };
    let providers = tree.pointer("/models/providers");
    let key = providers.and_then(|them| them.get(provider)).and_then(|it| it.get("apiKey"));
    key.is_some_and(|key| !key.is_null())
}

fn plugins(tree: &Value) -> Vec<String> {
    let entries = tree.pointer("/plugins/entries").and_then(Value::as_object);
    let enabled = entries.into_iter().flatten().filter(|(_, entry)| entry["enabled"] == true);
    enabled.map(|(name, _)| name.clone()).collect()
}

/// A configuration to be written.
#[derive(Debug, Clone)]
pub struct Placing {
    /// The text; `None` when what is in place stays.
    pub text: Option<String>,
    /// What is in place and is replaced by the user's own file: it is kept beside it.
    pub replaced: Option<String>,
    /// What the user should know.
    pub notices: Vec<String>,
    /// The plugins that the configuration switches on.
    pub plugins: Vec<String>,
    /// The default model that it names.
    pub model: Option<String>,
}

/// What is kept of a configuration that was replaced, beside the new one.
pub const REPLACED: &str = "openclaw.json.replaced";

/// Decides what is written where `in_place` is (`None` when nothing is yet) for a user whose own
/// file is `users`.
pub fn place(
    in_place: Option<String>,
    users: Option<&str>,
    managed: &ManagedConfig,
) -> Result<Placing, Failure> {
    let from_user = managed.users_file || in_place.is_none();
    let base = match &in_place {
        Some(text) if !from_user => text.as_str(),
        _ => users.unwrap_or_default(),
    };
    let merged = merge(base, managed)?;
    let Merged { mut notices, plugins, model, .. } = merged;
    let text = match merged.text {
        None if !from_user => None,
        None => Some(base.to_owned()),
        text => text,
    };
    // Run again, the step finds its own outcome in place: that is not what was replaced.
    let text = text.filter(|text| in_place.as_ref() != Some(text));
    let replaced = in_place.filter(|_| managed.users_file && text.is_some());
    if replaced.is_some() {
        notices.push(format!("what was in place is kept beside it, as {REPLACED}"));
    }
    Ok(Placing { text, replaced, notices, plugins, model })
}

/// Deeper than any configuration; the parser itself goes on until its stack is full.
const MAX_NESTING: usize = 100;

/// How deep a JSON5 text is nested, brackets in strings and comments left out.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => {
                while let Some(inside) = chars.next() {
                    if inside == '\\' {
                        chars.next();
                    } else if inside == c {
                        break;
                    }
                }
            }
            '/' if chars.next_if_eq(&'/').is_some() => {
                chars.by_ref().find(|c| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}'));
            }
            '/' if chars.next_if_eq(&'*').is_some() => {
                while let Some(inside) = chars.next() {
                    if inside == '*' && chars.next_if_eq(&'/').is_some() {
                        break;
                    }
                }
            }
            '{' | '[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Reads a user's configuration.
pub fn parse(text: &str) -> Result<Value, Failure> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    if nesting(text) > MAX_NESTING {
        return Err(Failure::bad_input(format!(
            "openclaw.json is nested deeper than {MAX_NESTING} levels"
        ))
        .remedy("mend the file, or move it away; nothing was changed"));
    }
    let value: Value = json5::from_str(text).map_err(|error| {
        // The parser's message gives the place and never the value.
        Failure::bad_input(format!("openclaw.json cannot be read as JSON5: {error}"))
            .remedy("mend the file, or move it away; nothing was changed")
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Failure::bad_input("openclaw.json is not an object: it has to start with {")
            .remedy("mend the file, or move it away; nothing was changed"))
    }
}

/// Puts the managed values over the tree, and notes the path of each value that it replaces.
fn overlay(target: &mut Value, managed: &Value, path: &str, replaced: &mut Vec<String>) {
    match (target, managed) {
        (Value::Object(target), Value::Object(managed)) => {
            for (key, value) in managed {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match target.get_mut(key) {
                    Some(existing) => overlay(existing, value, &path, replaced),
                    None => {
                        target.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        // `model: "provider/id"` is the short form of `model: {primary: …}`.
        (target, managed) if path == SHORT_MODEL && target.is_string() => {
            if managed.get("primary") != Some(target) {
                replaced.push(MODEL.to_owned());
            }
            *target = managed.clone();
        }
        (target, managed) => {
            if target != managed {
                replaced.push(path.to_owned());
                *target = managed.clone();
            }
        }
    }
}

/// What cannot stand beside the managed keys: where it is, its name, and why.
const CONFLICTS: [(&str, &str, &str); 4] = [
    ("/gateway/auth", "token", "the token comes from OPENCLAW_GATEWAY_TOKEN"),
    ("/gateway/auth", "password", "the gateway's access is by token"),
    ("/tools/exec", "security", "tools.exec.mode says it (EXEC_ASK)"),
    ("/tools/exec", "ask", "tools.exec.mode says it (EXEC_ASK)"),
];

/// Takes out what cannot stand beside the managed keys.
fn remove_conflicts(tree: &mut Value, notices: &mut Vec<String>) {
    for (parent, key, why) in CONFLICTS {
        let removed = tree.pointer_mut(parent).and_then(Value::as_object_mut);
        if removed.and_then(|object| object.shift_remove(key)).is_some() {
            notices.push(format!("openclaw.json: {}.{key} was taken out: {why}", dotted(parent)));
        }
    }
}

/// Adds the page's origins to the list, and takes out those that the program added before and
/// that no way in has any more.
fn merge_origins(tree: &mut Value, managed: &ManagedConfig, replaced: &mut Vec<String>) {
    let mut origins = taken_list(tree, "/gateway/controlUi", "allowedOrigins", replaced);
    origins.retain(|origin| {
        let stale = |known: &String| origin == known.as_str();
        !managed.stale_origins.iter().any(stale) || managed.origins.iter().any(stale)
    });
    for origin in &managed.origins {
        if !origins.iter().any(|known| known == origin.as_str()) {
            origins.push(json!(origin));
        }
    }
    put(tree, "/gateway/controlUi", "allowedOrigins", origins);
}

/// Says outright that no proxy is believed but the tunnel, what leads there, and those that the user
/// names: who stands before these gateways otherwise is a browser.
fn name_proxies(tree: &mut Value, managed: &ManagedConfig, replaced: &mut Vec<String>) {
    let mut proxies = taken_list(tree, "/gateway", "trustedProxies", replaced);
    // One that was there for a tunnel goes with it: later the address may be anybody's.
    let is_stale = |proxy: &Value| {
        proxy == TUNNEL_ADDRESS || managed.stale_proxies.iter().any(|it| proxy == it.as_str())
    };
    proxies
        .retain(|proxy| !is_stale(proxy) || managed.proxies.iter().any(|it| proxy == it.as_str()));
    for proxy in &managed.proxies {
        if !proxies.iter().any(|known| known == proxy.as_str()) {
            proxies.push(json!(proxy));
        }
    }
    put(tree, "/gateway", "trustedProxies", proxies);
}

/// A list inside of an object; what stands there and is none counts as replaced.
fn taken_list(tree: &Value, parent: &str, key: &str, replaced: &mut Vec<String>) -> Vec<Value> {
    match tree.pointer(parent).and_then(|parent| parent.get(key)) {
        Some(Value::Array(list)) => list.clone(),
        None => Vec::new(),
        Some(_) => {
            replaced.push(format!("{}.{key}", dotted(parent)));
            Vec::new()
        }
    }
}

fn put(tree: &mut Value, parent: &str, key: &str, list: Vec<Value>) {
    // The managed keys were put over the tree: their parents are there, and objects.
    if let Some(parent) = tree.pointer_mut(parent).and_then(Value::as_object_mut) {
        parent.insert(key.to_owned(), Value::Array(list));
    }
}

fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// What is the user's to decide, and lets in more than they may think.
fn warn(tree: &Value, notices: &mut Vec<String>) {
    let listed = |pointer: &str| {
        let list = tree.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    };
    if listed("/gateway/nodes/pairing/autoApproveCidrs").next().is_some() {
        notices.push(
            "openclaw.json: gateway.nodes.pairing.autoApproveCidrs lets nodes from these \
             addresses in without asking anybody"
                .into(),
        );
    }
    let ranges: Vec<String> = listed("/gateway/trustedProxies")
        .filter(|proxy| is_range(proxy))
        .map(|proxy| clean(proxy, 60))
        .collect();
    if !ranges.is_empty() {
        notices.push(format!(
            "openclaw.json: gateway.trustedProxies has ranges ({}): whoever connects from there \
             may claim any address; name each proxy's one address",
            ranges.join(", ")
        ));
    }
}

/// Whether an entry names more than one address.
fn is_range(proxy: &str) -> bool {
    proxy.split_once('/').is_some_and(|(address, bits)| {
        let whole = if address.contains(':') { "128" } else { "32" };
        bits.trim() != whole
    })
}

#[cfg(test)]
#[path = "rendering_tests.rs"]
mod tests;
