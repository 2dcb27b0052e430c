//! The gateway's configuration: the user's file with the managed keys merged in.
//!
//! Owns which keys the program manages. Everything else in the file is the user's and is kept as
//! it stands; so are lists, into which the program adds its own entries and from which it takes
//! only entries that it added itself.

use serde_json::{Map, Value, json};

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
    /// The model, when one was chosen.
    pub model: Option<String>,
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
            model: spec.model.clone(),
            exec_ask: spec.exec_ask,
            heartbeat: spec.heartbeat.clone(),
            workspace,
            log: None,
            users_file: false,
        }
    }

    /// The managed keys as a tree.
    fn tree(&self) -> Value {
        let mut gateway = json!({
            // Without it the gateway refuses to start.
            "mode": "local",
            "port": self.port,
            // The token comes by environment; naming it here too would be a conflict.
            "auth": { "mode": "token" },
        });
        let since_8_1 =
            self.version.is_none_or(|version| version >= OpenClawVersion::new(2026, 8, 1));
        if since_8_1 {
            // A client with a private address would be paired as an administrator otherwise,
            // whatever Host and Origin it claims.
            gateway["nodes"]["pairing"]["autoApproveLocal"] = json!(false);
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
        if let Some(model) = &self.model {
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
}

/// Merges the managed keys into a configuration (JSON5; empty for none). Fails when the text
/// cannot be read, and changes nothing then.
pub fn merge(current: &str, managed: &ManagedConfig) -> Result<Merged, Failure> {
    let before = parse(current)?;
    let mut after = before.clone();
    let mut notices = Vec::new();
    overlay(&mut after, &managed.tree(), "", &mut notices);
    remove_conflicts(&mut after, &mut notices);
    merge_origins(&mut after, managed);
    let plugins = plugins(&after);
    if !current.trim().is_empty() && after == before {
        return Ok(Merged { text: None, notices, plugins });
    }
    let mut text = serde_json::to_string_pretty(&after).map_err(|error| {
        Failure::failed(format!("the configuration cannot be written: {error}"))
    })?;
    text.push('\n');
    Ok(Merged { text: Some(text), notices, plugins })
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
    let Merged { mut notices, plugins, .. } = merged;
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
    Ok(Placing { text, replaced, notices, plugins })
}

/// Reads a user's configuration.
pub fn parse(text: &str) -> Result<Value, Failure> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
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

/// Puts the managed values over the tree. What stands where a managed object goes and is none is
/// replaced, with a notice.
fn overlay(target: &mut Value, managed: &Value, path: &str, notices: &mut Vec<String>) {
    match (target, managed) {
        (Value::Object(target), Value::Object(managed)) => {
            for (key, value) in managed {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match target.get_mut(key) {
                    // `model: "provider/id"` is the short form of `model: {primary: …}`.
                    Some(existing) if existing.is_string() && value.is_object() => {
                        *existing = value.clone();
                    }
                    Some(existing) => overlay(existing, value, &path, notices),
                    None => {
                        target.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (target, managed) => {
            if target != managed {
                if std::mem::discriminant(target) != std::mem::discriminant(managed) {
                    notices.push(format!("openclaw.json: {path} was replaced; it is managed"));
                }
                *target = managed.clone();
            }
        }
    }
}

/// Takes out what cannot stand beside the managed keys.
fn remove_conflicts(tree: &mut Value, notices: &mut Vec<String>) {
    const CONFLICTS: [(&str, &str, &str); 4] = [
        ("/gateway/auth", "token", "the token comes from OPENCLAW_GATEWAY_TOKEN"),
        ("/gateway/auth", "password", "the gateway's access is by token"),
        ("/tools/exec", "security", "tools.exec.mode says it (EXEC_ASK)"),
        ("/tools/exec", "ask", "tools.exec.mode says it (EXEC_ASK)"),
    ];
    for (parent, key, why) in CONFLICTS {
        let removed = tree.pointer_mut(parent).and_then(Value::as_object_mut);
        if removed.and_then(|object| object.shift_remove(key)).is_some() {
            let path = parent.trim_start_matches('/').replace('/', ".");
            notices.push(format!("openclaw.json: {path}.{key} was taken out: {why}"));
        }
    }
}

/// Adds the page's origins to the list, and takes out those that the program added before and
/// that no way in has any more.
fn merge_origins(tree: &mut Value, managed: &ManagedConfig) {
    let list = &mut tree["gateway"]["controlUi"]["allowedOrigins"];
    let mut origins: Vec<Value> = list.as_array().cloned().unwrap_or_default();
    origins.retain(|origin| {
        let stale = |known: &String| origin == known.as_str();
        !managed.stale_origins.iter().any(stale) || managed.origins.iter().any(stale)
    });
    for origin in &managed.origins {
        if !origins.iter().any(|known| known == origin.as_str()) {
            origins.push(json!(origin));
        }
    }
    *list = Value::Array(origins);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn managed() -> ManagedConfig {
        ManagedConfig {
            version: None,
            port: 18789,
            bind: Bind::Lan,
            origins: vec!["http://127.0.0.1:18789".into(), "http://localhost:18789".into()],
            stale_origins: Vec::new(),
            model: Some("anthropic/claude-sonnet-5".into()),
            exec_ask: ExecAsk::On,
            heartbeat: "0m".into(),
            workspace: "/work".into(),
            log: None,
            users_file: false,
        }
    }

    fn merged(current: &str, managed: &ManagedConfig) -> Value {
        let text = merge(current, managed).expect("merges").text.expect("changes");
        serde_json::from_str(&text).expect("is JSON")
    }

    #[test]
    fn an_empty_configuration_becomes_the_managed_one() {
        let text = merge("", &managed()).expect("merges").text.expect("changes");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_users_keys_stay() {
        let user = r#"{
            // a comment
            gateway: { port: 1, controlUi: { allowedOrigins: ["https://mine"] }, tls: {} },
            channels: { telegram: { enabled: true } },
            agents: { defaults: { model: "openai/gpt-5.5", thinking: "high" } },
        }"#;
        let tree = merged(user, &managed());
        assert_eq!(tree["channels"]["telegram"]["enabled"], true);
        assert_eq!(tree["agents"]["defaults"]["thinking"], "high");
        assert_eq!(tree["agents"]["defaults"]["model"]["primary"], "anthropic/claude-sonnet-5");
        assert_eq!(tree["gateway"]["port"], 18789);
        assert_eq!(tree["gateway"]["controlUi"]["allowedOrigins"][0], "https://mine");
        assert!(tree["gateway"]["tls"].is_object());
    }

    #[test]
    fn an_older_version_gets_no_key_that_it_does_not_know() {
        for (version, knows) in [("2026.7.1", false), ("2026.8.1", true), ("2026.9.6", true)] {
            let version = OpenClawVersion::parse(version);
            let tree = merged("", &ManagedConfig { version, ..managed() });
            assert_eq!(tree["gateway"].get("nodes").is_some(), knows, "{version:?}");
            assert_eq!(tree.get("skills").is_some(), knows, "{version:?}");
            assert!(tree["plugins"].is_object(), "{version:?}");
        }
    }

    #[test]
    fn a_users_model_stays_when_none_was_chosen() {
        let managed = ManagedConfig { model: None, ..managed() };
        let tree = merged("{agents: {defaults: {model: \"x/y\"}}}", &managed);
        assert_eq!(tree["agents"]["defaults"]["model"], "x/y");
    }

    #[test]
    fn merging_again_changes_nothing() {
        let first = merge("", &managed()).expect("merges").text.expect("changes");
        assert_eq!(merge(&first, &managed()).expect("merges").text, None);
    }

    #[test]
    fn stale_origins_of_ours_go_and_the_users_stay() {
        let mut managed = managed();
        managed.origins = vec!["http://new".into()];
        managed.stale_origins = vec!["http://old".into(), "http://new".into()];
        let user = r#"{"gateway":{"controlUi":{"allowedOrigins":["http://old","http://user"]}}}"#;
        let tree = merged(user, &managed);
        let origins = &tree["gateway"]["controlUi"]["allowedOrigins"];
        assert_eq!(*origins, json!(["http://user", "http://new"]));
    }

    #[test]
    fn a_token_in_the_file_goes_with_a_notice_that_does_not_say_it() {
        let user = r#"{"gateway":{"auth":{"token":"very-secret"}},"tools":{"exec":{"ask":"on"}}}"#;
        let merged = merge(user, &managed()).expect("merges");
        let text = merged.text.expect("changes");
        assert!(!text.contains("very-secret"));
        assert_eq!(merged.notices.len(), 2);
        assert!(!merged.notices.join(" ").contains("very-secret"));
    }

    #[test]
    fn a_broken_file_is_refused() {
        for text in ["{", "[]", "\"x\"", "{a: }", "{\"a\": 1} trailing"] {
            assert!(merge(text, &managed()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_in_place_stays_but_for_the_managed_keys() {
        let in_place = || Some("{\"a\": 1}".to_owned());
        let placing = place(in_place(), Some("{b: 2}"), &managed()).expect("merges");
        let text = placing.text.expect("changes");
        assert!(text.contains("\"a\"") && !text.contains("\"b\""));
        assert_eq!(placing.replaced, None);
        let again = place(Some(text), Some("{b: 2}"), &managed()).expect("merges");
        assert_eq!(again.text, None);
    }

    #[test]
    fn the_users_file_is_used_where_nothing_is_in_place() {
        let placing = place(None, Some("{b: 2}"), &managed()).expect("merges");
        assert!(placing.text.expect("writes").contains("\"b\""));
        assert_eq!(placing.replaced, None);
    }

    #[test]
    fn the_users_file_replaces_what_is_in_place_when_it_is_asked_for() {
        let managed = ManagedConfig { users_file: true, ..managed() };
        let in_place = || Some("{\"a\": 1}".to_owned());
        let placing = place(in_place(), Some("{b: 2}"), &managed).expect("merges");
        let text = placing.text.expect("changes");
        assert!(text.contains("\"b\"") && !text.contains("\"a\""));
        assert_eq!(placing.replaced, in_place());
        // Again after an interruption: the old one must not be lost to the new one.
        let again = place(Some(text.clone()), Some("{b: 2}"), &managed).expect("merges");
        assert_eq!((again.text, again.replaced), (None, None));
        // The user's file says what the managed keys say already.
        let same = place(in_place(), Some(&text), &managed).expect("merges");
        assert_eq!(same.text, Some(text));
    }
}
