//! What a connected client may call.
//!
//! Owns the methods' scopes, their parameters' checks and their answers. Refuses every method
//! that the product does not call as the real gateway refuses an unknown one.

use serde_json::{Value, json};

use crate::files::{self, log};
use crate::gateway::{Gateway, Notice};
use crate::install::variable;
use crate::pairing::Approval;
use crate::policy;

/// The methods that `hello-ok` lists.
pub const METHODS: [&str; 8] = [
    "device.pair.approve",
    "device.pair.list",
    "device.pair.reject",
    "device.pair.remove",
    "gateway.restart.preflight",
    "health",
    "models.list",
    "config.get",
];

/// The events that `hello-ok` lists.
pub const EVENTS: [&str; 5] =
    ["connect.challenge", "tick", "shutdown", "device.pair.requested", "device.pair.resolved"];

/// An answer: a payload, or the whole error object.
pub type Answer = Result<Value, Value>;

/// An error of the kind that most refusals are.
pub fn invalid(message: &str) -> Value {
    json!({"code": "INVALID_REQUEST", "message": message})
}

/// Answers one call of a client that holds `scopes`.
pub fn call(gateway: &Gateway, scopes: &[String], method: &str, params: &Value) -> Answer {
    let (needed, known): (Option<&str>, &[&str]) = match method {
        "device.pair.list" => (Some("operator.pairing"), &[]),
        "device.pair.approve" | "device.pair.reject" => (Some("operator.pairing"), &["requestId"]),
        "device.pair.remove" => (Some("operator.pairing"), &["deviceId"]),
        "gateway.restart.preflight" | "config.get" => (Some("operator.read"), &[]),
        "models.list" => (Some("operator.read"), &["view", "agentId"]),
        "health" => (None, &["probe"]),
        "connect" => return Err(invalid("connect is only valid as the first request")),
        _ => return Err(invalid(&format!("unknown method: {method}"))),
    };
    if let Some(needed) = needed.filter(|needed| !policy::scope_covered(needed, scopes)) {
        return Err(json!({
            "code": "FORBIDDEN",
            "message": format!("missing scope: {needed}"),
            "details": {
                "code": "MISSING_SCOPE", "missingScope": needed, "requiredScopes": [needed],
            },
        }));
    }
    check_params(method, params, known)?;
    match method {
        "device.pair.list" => {
            let connected = gateway.connected_devices();
            let mut pairing = gateway.pairing();
            Ok(pairing.list(|device| connected.iter().any(|one| one == device)))
        }
        "device.pair.approve" => approve(gateway, scopes, text(params, "requestId")),
        "device.pair.reject" => reject(gateway, text(params, "requestId")),
        "device.pair.remove" => remove(gateway, text(params, "deviceId")),
        "gateway.restart.preflight" => Ok(preflight(gateway.faults.active_runs)),
        "models.list" => models(gateway, params),
        "config.get" => Ok(json!({"config": gateway.config(), "valid": true})),
        _ => Ok(json!({
            "ok": true, "ts": files::now_ms(), "durationMs": 0,
            "plugins": {"loaded": [], "errors": [], "unavailable": []},
            "configReload": {"hotReloadStatus": "active"},
            "channels": {}, "channelOrder": [], "channelLabels": {},
            "heartbeatSeconds": 0, "defaultAgentId": "main",
        })),
    }
}

fn text<'a>(params: &'a Value, key: &str) -> &'a str {
    params[key].as_str().unwrap_or_default().trim()
}

fn check_params(method: &str, params: &Value, known: &[&str]) -> Result<(), Value> {
    let complain = |what: &str| Err(invalid(&format!("invalid {method} params: {what}")));
    let empty = serde_json::Map::new();
    let fields = params.as_object().unwrap_or(&empty);
    if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        return complain(&format!("at root: unexpected property '{key}'"));
    }
    if let [required @ ("requestId" | "deviceId")] = known
        && !fields.contains_key(*required)
    {
        return complain(&format!("must have required property '{required}'"));
    }
    Ok(())
}

fn approve(gateway: &Gateway, scopes: &[String], request_id: &str) -> Answer {
    // The lock ends with this line: announcing takes it again.
    let approval = gateway.pairing().approve(request_id, Some(scopes), "owner");
    let device = match approval {
        Approval::Unknown if policy::scope_covered("operator.admin", scopes) => {
            return Err(invalid("unknown requestId"));
        }
        Approval::Unknown => return Err(invalid("device pairing approval denied")),
        // A scope that the approver lacks is named after the most powerful one that is asked for.
        Approval::MissingScope(scope) => {
            return Err(invalid(&format!("missing scope: {scope}")));
        }
        Approval::Approved(device) => device,
    };
    log(&format!(
        "[gateway] device pairing approved device={} role={}",
        text(&device, "deviceId"),
        text(&device, "role")
    ));
    gateway.announce_resolved(request_id, text(&device, "deviceId"), "approved");
    Ok(json!({"requestId": request_id, "device": device}))
}

fn reject(gateway: &Gateway, request_id: &str) -> Answer {
    let rejected = gateway.pairing().reject(request_id);
    let Some(device_id) = rejected else {
        return Err(invalid("unknown requestId"));
    };
    gateway.announce_resolved(request_id, &device_id, "rejected");
    Ok(json!({"requestId": request_id, "deviceId": device_id}))
}

fn remove(gateway: &Gateway, device_id: &str) -> Answer {
    if !gateway.pairing().remove(device_id) {
        return Err(invalid("unknown deviceId"));
    }
    log(&format!("[gateway] device pairing removed device={device_id}"));
    gateway.notify(Notice::DeviceRemoved(device_id.to_owned()));
    Ok(json!({"deviceId": device_id}))
}

fn preflight(runs: u64) -> Value {
    let message = format!("{runs} embedded run(s) active");
    let blockers = if runs == 0 {
        json!([])
    } else {
        json!([{"kind": "embedded-runs", "count": runs, "message": message}])
    };
    let summary = if runs == 0 {
        "safe to restart now".to_owned()
    } else {
        format!("restart deferred: {message}")
    };
    json!({
        "safe": runs == 0,
        "counts": {
            "queueSize": 0, "pendingReplies": 0, "embeddedRuns": runs, "cronRuns": 0,
            "backgroundExecSessions": 0, "rootRequests": 0, "activeTasks": 0,
            "totalActive": runs,
        },
        "blockers": blockers,
        "summary": summary,
    })
}

/// Whether the environment holds a key that the provider reads without a plugin.
fn has_key(provider: &str) -> bool {
    let names: &[&str] = match provider {
        "anthropic" => &["ANTHROPIC_API_KEY", "ANTHROPIC_OAUTH_TOKEN"],
        "google" => &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        "openai" => &["OPENAI_API_KEY"],
        "xai" => &["XAI_API_KEY"],
        "openrouter" => &["OPENROUTER_API_KEY"],
        _ => &[],
    };
    names.iter().any(|name| variable(name).is_some())
}

/// The default model, and what an Anthropic API key adds. As in the real gateway, `available`
/// tells of the provider's key, not of the model's existence.
fn models(gateway: &Gateway, params: &Value) -> Answer {
    let view = params["view"].as_str().unwrap_or("default");
    if !["default", "configured", "all"].contains(&view) {
        return Err(invalid(
            "invalid models.list params: at /view: must be equal to constant; \
             at /view: must match a schema in anyOf",
        ));
    }
    let config = gateway.config();
    let primary = config.pointer("/agents/defaults/model/primary").and_then(Value::as_str);
    let primary = primary.unwrap_or("openai/gpt-5.5");
    let (provider, id) = primary.split_once('/').unwrap_or(("openai", primary));
    let mut listed = vec![(provider, id)];
    let api_key = variable("ANTHROPIC_API_KEY").is_some();
    if api_key {
        listed.extend([("anthropic", "claude-sonnet-4-6"), ("anthropic", "claude-sonnet-5")]);
    }
    listed.sort_unstable();
    listed.dedup();
    let models: Vec<Value> = listed
        .into_iter()
        .map(|(owner, name)| {
            let default = (owner, name) == (provider, id);
            let mut tags = if default { vec!["default"] } else { Vec::new() };
            if owner == "anthropic" && api_key {
                tags.push("configured");
            }
            let shown = if name == "claude-sonnet-5" { "Claude Sonnet 5" } else { name };
            json!({
                "id": name, "name": shown, "provider": owner, "tags": tags,
                "available": has_key(owner) && !gateway.faults.models_unavailable,
            })
        })
        .collect();
    Ok(json!({"models": models}))
}
