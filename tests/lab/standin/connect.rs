//! One WebSocket connection: the challenge, the `connect` handshake, and what follows.
//!
//! Owns the handshake's rules in the real gateway's order, since the first that fails names the
//! error. Refuses frames that the real one refuses, with its codes and close reasons. It does not
//! verify a device's signature: it requires all of the device's fields, the key's fingerprint, a
//! fresh time and the challenge's nonce.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::files::{self, log};
use crate::gateway::{Gateway, Notice};
use crate::pairing::{self, Approval};
use crate::policy::{self, Peer};
use crate::rpc;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);
const SIGNATURE_SKEW_MS: u64 = 120_000;
const TICK_MS: u64 = 30_000;

const CLIENT_IDS: [&str; 17] = [
    "webchat-ui",
    "openclaw-control-ui",
    "openclaw-browser-copilot",
    "openclaw-tui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-linux",
    "openclaw-ios",
    "openclaw-watchos",
    "openclaw-android",
    "node-host",
    "openclaw-worker",
    "test",
    "fingerprint",
    "openclaw-probe",
];
const CLIENT_MODES: [&str; 8] =
    ["webchat", "cli", "ui", "backend", "node", "worker", "probe", "test"];

type Socket = WebSocketStream<TcpStream>;

/// A refused handshake: the error, and how the connection closes.
struct Refusal {
    error: Value,
    code: u16,
    reason: String,
}

impl Refusal {
    fn new(error: Value) -> Self {
        let reason = error["message"].as_str().unwrap_or_default().to_owned();
        Self { error, code: 1008, reason }
    }

    fn invalid(message: &str) -> Self {
        Self::new(rpc::invalid(message))
    }

    fn coded(code: &str, message: &str, details: &Value) -> Self {
        Self::new(json!({"code": code, "message": message, "details": details}))
    }
}

/// A client that was let in.
struct Client {
    role: String,
    scopes: Vec<String>,
    device_id: Option<String>,
    origin_checked: bool,
}

/// Serves one connection from its challenge to its end.
pub async fn session(gateway: Arc<Gateway>, stream: TcpStream, rest: Vec<u8>, peer: Peer) {
    let mut socket = WebSocketStream::from_partially_read(stream, rest, Role::Server, None).await;
    let nonce = uuid::Uuid::new_v4().to_string();
    let challenge = json!({
        "type": "event", "event": "connect.challenge",
        "payload": {"nonce": nonce, "ts": files::now_ms()},
    });
    // Heard from before the handshake ends, so that no event falls between hello and loop.
    let notices = gateway.subscribe();
    if send(&mut socket, &challenge).await.is_err() {
        return;
    }
    let Ok(Some(frame)) = tokio::time::timeout(HANDSHAKE_LIMIT, next_frame(&mut socket)).await
    else {
        return close(&mut socket, 1000, "").await;
    };
    let id = frame["id"].clone();
    match admit(&gateway, &peer, &nonce, &frame) {
        Ok((client, hello)) => {
            let answer = json!({"type": "res", "id": id, "ok": true, "payload": hello});
            if let Some(device) = &client.device_id {
                gateway.count_device(device, true);
            }
            if send(&mut socket, &answer).await.is_ok() {
                serve(&gateway, &mut socket, &peer, &client, notices).await;
            }
            if let Some(device) = &client.device_id {
                gateway.count_device(device, false);
            }
        }
        Err(refusal) => {
            log(&format!(
                "[ws] closed before connect remote={} origin={} host={} code={} reason={}",
                peer.address, peer.origin, peer.host, refusal.code, refusal.reason
            ));
            if id.is_string() {
                let answer = json!({"type": "res", "id": id, "ok": false, "error": refusal.error});
                let _ = send(&mut socket, &answer).await;
            }
            drop(notices);
            close(&mut socket, refusal.code, &refusal.reason).await;
        }
    }
}

async fn serve(
    gateway: &Gateway,
    socket: &mut Socket,
    peer: &Peer,
    client: &Client,
    mut notices: tokio::sync::broadcast::Receiver<Notice>,
) {
    let mut sequence = 0_u64;
    let period = Duration::from_millis(TICK_MS);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    loop {
        let notice = tokio::select! {
            frame = next_frame(socket) => {
                let Some(frame) = frame else { return };
                let method = frame["method"].as_str().unwrap_or_default();
                let answer = match rpc::call(gateway, &client.scopes, method, &frame["params"]) {
                    Ok(payload) => {
                        json!({"type": "res", "id": frame["id"], "ok": true, "payload": payload})
                    }
                    Err(error) => {
                        json!({"type": "res", "id": frame["id"], "ok": false, "error": error})
                    }
                };
                if send(socket, &answer).await.is_err() {
                    return;
                }
                continue;
            }
            notice = notices.recv() => match notice {
                Ok(notice) => notice,
                Err(_) => continue,
            },
            _ = ticks.tick() => Notice::Event("tick", json!({"ts": files::now_ms()}), None),
        };
        match notice {
            Notice::Event(name, payload, scope) => {
                if scope.is_some_and(|scope| !policy::scope_covered(scope, &client.scopes)) {
                    continue;
                }
                sequence += 1;
                let event =
                    json!({"type": "event", "event": name, "payload": payload, "seq": sequence});
                if send(socket, &event).await.is_err() {
                    return;
                }
            }
            Notice::DeviceRemoved(device) => {
                if client.device_id.as_deref() == Some(&device) {
                    return close(socket, 4001, "device removed").await;
                }
            }
            Notice::PolicyChanged => {
                if client.origin_checked
                    && policy::origin_failure(peer, &gateway.config()).is_some()
                {
                    return close(socket, 1008, "origin not allowed").await;
                }
            }
            Notice::Stopping => {
                drop(notices);
                return close(socket, 1012, "service restart").await;
            }
        }
    }
}

/// Decides on the first frame.
fn admit(
    gateway: &Gateway,
    peer: &Peer,
    nonce: &str,
    frame: &Value,
) -> Result<(Client, Value), Refusal> {
    if frame["type"] != "req" || !frame["id"].is_string() || !frame["method"].is_string() {
        return Err(Refusal::invalid("invalid request frame"));
    }
    if frame["method"] != "connect" {
        return Err(Refusal::invalid("invalid handshake: first request must be connect"));
    }
    let params = &frame["params"];
    if let Some(problem) = params_problem(params) {
        return Err(Refusal::invalid(&format!("invalid connect params: {problem}")));
    }
    let client = &params["client"];
    let client_is = |id: &str, mode: &str| client["id"] == id && client["mode"] == mode;
    if !gateway.is_started() {
        let mut refusal = Refusal::new(json!({
            "code": "UNAVAILABLE", "message": "gateway starting; retry shortly",
            "retryable": true, "retryAfterMs": 500, "details": {"reason": "startup-sidecars"},
        }));
        (refusal.code, refusal.reason) = (1013, "gateway starting".to_owned());
        return Err(refusal);
    }
    let (lowest, highest) = (&params["minProtocol"], &params["maxProtocol"]);
    let probe = client["mode"] == "probe" && highest.as_u64() >= Some(3);
    if lowest.as_u64() > Some(4) || (highest.as_u64() < Some(4) && !probe) {
        let details = json!({
            "code": "PROTOCOL_MISMATCH", "clientMinProtocol": lowest, "clientMaxProtocol": highest,
            "expectedProtocol": 4, "minimumProbeProtocol": 3,
        });
        let mut refusal = Refusal::coded("INVALID_REQUEST", "protocol mismatch", &details);
        refusal.code = 1002;
        return Err(refusal);
    }
    let role = params["role"].as_str().unwrap_or("operator");
    if !["operator", "node"].contains(&role) {
        return Err(Refusal::invalid("invalid role"));
    }
    let control_ui = client["id"] == "openclaw-control-ui";
    let webchat = client["mode"] == "webchat" || client["id"] == "webchat-ui";
    let has_origin = !peer.origin.is_empty();
    let origin_checked = has_origin || control_ui || webchat;
    if origin_checked && let Some(reason) = policy::origin_failure(peer, &gateway.config()) {
        return Err(Refusal::coded(
            "INVALID_REQUEST",
            "origin not allowed (open the Control UI from the gateway host or allow it in \
                 gateway.controlUi.allowedOrigins)",
            &json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": reason}),
        ));
    }
    let credentials = Credentials::read(gateway, params);
    let mut scopes = pairing::strings(&params["scopes"]);
    let local_backend = client_is("gateway-client", "backend") && peer.is_local() && !has_origin;
    let local_cli = client_is("cli", "cli") && peer.is_local() && !has_origin;
    let device = params.get("device");
    if device.is_none() {
        if control_ui && !(local_backend && credentials.shared) {
            return Err(Refusal::coded(
                "INVALID_REQUEST",
                "control ui requires device identity (use HTTPS or localhost secure context)",
                &json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}),
            ));
        }
        if !(credentials.shared && role == "operator") {
            if !credentials.shared && credentials.given {
                return Err(credentials.refusal(client, false));
            }
            return Err(Refusal::coded(
                "NOT_PAIRED",
                "device identity required",
                &json!({"code": "DEVICE_IDENTITY_REQUIRED"}),
            ));
        }
        if !local_backend && !local_cli {
            scopes.clear();
        }
    }
    let mut method = "token";
    let mut issued = None;
    if let Some(device) = device {
        check_device(device, nonce)?;
        method = credentials.method(gateway, device, &scopes, client)?;
        let trusted = local_backend && method != "bootstrap-token";
        if !trusted {
            pair(gateway, peer, params, role, &scopes, method, &credentials)?;
        }
        check_build(gateway, peer, client)?;
        let id = device["id"].as_str().unwrap_or_default();
        issued = gateway.pairing().note_connection(id, true);
    }
    let hello = hello(gateway, role, &scopes, method, issued);
    let device_id = device.and_then(|device| device["id"].as_str()).map(str::to_owned);
    Ok((Client { role: role.to_owned(), scopes, device_id, origin_checked }, hello))
        .inspect(|(client, _)| log(&format!("[ws] connected role={}", client.role)))
}

/// What of `connect` breaks the schema, in the words of the real validator.
fn params_problem(params: &Value) -> Option<String> {
    const ROOT: [&str; 16] = [
        "minProtocol",
        "maxProtocol",
        "client",
        "caps",
        "commands",
        "computerUse",
        "workerRuns",
        "permissions",
        "pathEnv",
        "role",
        "scopes",
        "modelCatalog",
        "device",
        "auth",
        "locale",
        "userAgent",
    ];
    const AUTH: [&str; 6] = [
        "token",
        "bootstrapToken",
        "deviceToken",
        "password",
        "approvalRuntimeToken",
        "agentRuntimeIdentityToken",
    ];
    const CLIENT: [&str; 10] = [
        "id",
        "displayName",
        "version",
        "buildId",
        "platform",
        "deviceFamily",
        "modelIdentifier",
        "timeZone",
        "mode",
        "instanceId",
    ];
    const DEVICE: [&str; 5] = ["id", "publicKey", "signature", "signedAt", "nonce"];
    let object = |at: &str, value: &Value, known: &[&str], required: &[&str]| -> Option<String> {
        let Some(fields) = value.as_object() else {
            return Some(format!("at {at}: must be object"));
        };
        if let Some(key) = required.iter().find(|key| !fields.contains_key(**key)) {
            return Some(format!("at {at}: must have required property '{key}'"));
        }
        let stranger = fields.keys().find(|key| !known.contains(&key.as_str()))?;
        Some(format!("at {at}: unexpected property '{stranger}'"))
    };
    let nonempty = |at: &str, value: &Value| -> Option<String> {
        let text = value.as_str();
        text.is_none_or(str::is_empty).then(|| format!("at {at}: must be a non-empty string"))
    };
    object("root", params, &ROOT, &["minProtocol", "maxProtocol", "client"])
        .or_else(|| {
            object("/client", &params["client"], &CLIENT, &["id", "version", "platform", "mode"])
        })
        .or_else(|| one_of("/client/id", &params["client"]["id"], &CLIENT_IDS))
        .or_else(|| one_of("/client/mode", &params["client"]["mode"], &CLIENT_MODES))
        .or_else(|| nonempty("/client/version", &params["client"]["version"]))
        .or_else(|| nonempty("/client/platform", &params["client"]["platform"]))
        .or_else(|| {
            let device = params.get("device")?;
            object("/device", device, &DEVICE, &DEVICE).or_else(|| {
                let text = ["id", "publicKey", "signature", "nonce"];
                let blank = |key| nonempty(&format!("/device/{key}"), &device[key]);
                text.into_iter().find_map(blank).or_else(|| {
                    let bad = !device["signedAt"].is_u64();
                    bad.then(|| "at /device/signedAt: must be integer".to_owned())
                })
            })
        })
        .or_else(|| object("/auth", params.get("auth")?, &AUTH, &[]))
}

fn one_of(at: &str, value: &Value, allowed: &[&str]) -> Option<String> {
    let known = value.as_str().is_some_and(|value| allowed.contains(&value));
    (!known).then(|| format!("at {at}: must be equal to one of the allowed values"))
}

/// What the client offers to prove itself with.
struct Credentials {
    shared: bool,
    given: bool,
    auth: Value,
}

impl Credentials {
    fn read(gateway: &Gateway, params: &Value) -> Self {
        let auth = params["auth"].clone();
        let offered = |key: &str| auth[key].as_str().map_or("", str::trim).to_owned();
        let (token, password) = (offered("token"), offered("password"));
        let given = !token.is_empty() || !password.is_empty();
        let shared = given && [token, password].contains(&gateway.token);
        Self { shared, given, auth }
    }

    fn offered(&self, key: &str) -> Option<&str> {
        self.auth[key].as_str().map(str::trim).filter(|value| !value.is_empty())
    }

    /// How a client with a device proved itself.
    fn method(
        &self,
        gateway: &Gateway,
        device: &Value,
        scopes: &[String],
        client: &Value,
    ) -> Result<&'static str, Refusal> {
        let state_dir = &gateway.install.state_dir;
        let link = self.offered("bootstrapToken");
        if link.is_some_and(|link| pairing::link_is_good(state_dir, link, scopes)) {
            return Ok("bootstrap-token");
        }
        if self.shared {
            return Ok("token");
        }
        let id = device["id"].as_str().unwrap_or_default();
        let own = self.offered("deviceToken").or_else(|| self.offered("token"));
        if own.is_some_and(|token| gateway.pairing().is_device_token(id, token)) {
            return Ok("device-token");
        }
        Err(self.refusal(client, true))
    }

    fn refusal(&self, client: &Value, device: bool) -> Refusal {
        let ui = client["id"] == "openclaw-control-ui"
            || client["id"] == "openclaw-tui"
            || client["mode"] == "webchat";
        let cli = client["id"] == "cli";
        let explicit = self.offered("deviceToken").is_some();
        let (code, reason, message, next) = if explicit {
            (
                "AUTH_DEVICE_TOKEN_MISMATCH",
                "device_token_mismatch",
                "unauthorized: device token mismatch (rotate/reissue device token)".to_owned(),
                "update_auth_credentials",
            )
        } else if self.given {
            let hint = if cli {
                "use this gateway's gateway.auth.token or pair the device"
            } else if ui {
                "open the dashboard URL and paste the token in Control UI settings"
            } else {
                "provide gateway auth token"
            };
            (
                "AUTH_TOKEN_MISMATCH",
                "token_mismatch",
                format!("unauthorized: gateway token mismatch ({hint})"),
                if device { "retry_with_device_token" } else { "update_auth_credentials" },
            )
        } else if self.offered("bootstrapToken").is_some() {
            (
                "AUTH_BOOTSTRAP_TOKEN_INVALID",
                "bootstrap_token_invalid",
                "unauthorized: setup code invalid, expired, revoked, or already used (create a \
                 new code; review `openclaw devices list`)"
                    .to_owned(),
                "review_auth_configuration",
            )
        } else {
            let hint = if ui {
                "paste in Control UI settings or openclaw doctor --generate-gateway-token; restart"
            } else {
                "provide gateway auth token"
            };
            (
                "AUTH_TOKEN_MISSING",
                "token_missing",
                format!("unauthorized: gateway token missing ({hint})"),
                "update_auth_configuration",
            )
        };
        Refusal::coded(
            "INVALID_REQUEST",
            &message,
            &json!({
                "code": code, "authReason": reason,
                "canRetryWithDeviceToken": next == "retry_with_device_token",
                "recommendedNextStep": next,
            }),
        )
    }
}

/// The device's proof, but for its signature.
fn check_device(device: &Value, nonce: &str) -> Result<(), Refusal> {
    let refuse = |code: &str, reason: &str, message: &str| {
        let details = json!({"code": code, "reason": reason});
        Err(Refusal::coded("INVALID_REQUEST", message, &details))
    };
    let key = URL_SAFE_NO_PAD.decode(device["publicKey"].as_str().unwrap_or_default());
    let derived = key.ok().filter(|key| key.len() == 32).map(|key| files::sha256_hex(&key));
    if derived.is_none_or(|derived| device["id"] != derived.as_str()) {
        return refuse(
            "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            "device-id-mismatch",
            "device identity mismatch",
        );
    }
    let age = files::now_ms().abs_diff(device["signedAt"].as_u64().unwrap_or(0));
    if age > SIGNATURE_SKEW_MS {
        return refuse(
            "DEVICE_AUTH_SIGNATURE_EXPIRED",
            "device-signature-stale",
            "device signature expired",
        );
    }
    if device["nonce"] != nonce {
        return refuse(
            "DEVICE_AUTH_NONCE_MISMATCH",
            "device-nonce-mismatch",
            "device nonce mismatch",
        );
    }
    Ok(())
}

/// Lets a paired device in; pairs silently what may be; asks for everything else.
fn pair(
    gateway: &Gateway,
    peer: &Peer,
    params: &Value,
    role: &str,
    scopes: &[String],
    method: &str,
    credentials: &Credentials,
) -> Result<(), Refusal> {
    let (device, client) = (&params["device"], &params["client"]);
    let id = device["id"].as_str().unwrap_or_default();
    let key = device["publicKey"].as_str().unwrap_or_default();
    let approved = gateway.pairing().paired(id, key).map(|one| pairing::strings(&one["scopes"]));
    let reason = match &approved {
        None => "not-paired",
        Some(held) if policy::missing_scope(scopes, held).is_some() => "scope-upgrade",
        Some(_) => return Ok(()),
    };
    let details = json!({
        "deviceId": id, "publicKey": key, "displayName": client["displayName"],
        "platform": client["platform"], "deviceFamily": client["deviceFamily"],
        "clientId": client["id"], "clientMode": client["mode"], "role": role, "roles": [role],
        "scopes": scopes, "remoteIp": peer.reported_ip(),
    });
    let link = credentials.offered("bootstrapToken").filter(|_| method == "bootstrap-token");
    let silent_local = approves_silently(gateway, peer, client, credentials.shared);
    let mut details = details;
    details["silent"] = json!(link.is_some() || silent_local);
    let requested = gateway.pairing().request(details);
    for old in &requested.superseded {
        let text = |key: &str| old[key].as_str().unwrap_or_default().to_owned();
        gateway.announce_resolved(&text("requestId"), &text("deviceId"), "rejected");
    }
    let request_id = requested.request["requestId"].as_str().unwrap_or_default();
    let via = match link {
        Some(link) => {
            pairing::consume_link(&gateway.install.state_dir, link).then_some("bootstrap")
        }
        None => silent_local.then_some("silent"),
    };
    if let Some(via) = via {
        let approval = gateway.pairing().approve(request_id, None, via);
        if matches!(approval, Approval::Approved(_)) {
            log(&format!("[gateway] device pairing auto-approved device={id} role={role}"));
            gateway.announce_resolved(request_id, id, "approved");
            return Ok(());
        }
    }
    if requested.created {
        let name = "device.pair.requested";
        let request = requested.request.clone();
        gateway.notify(Notice::Event(name, request, Some("operator.pairing")));
    }
    Err(pairing_required(reason, request_id, params, role, scopes, approved))
}

/// Whether a client on the gateway's own loopback is paired without being asked.
fn approves_silently(gateway: &Gateway, peer: &Peer, client: &Value, shared: bool) -> bool {
    let config = gateway.config();
    let switched_off =
        config.pointer("/gateway/nodes/pairing/autoApproveLocal") == Some(&json!(false));
    let browser = client["id"] == "openclaw-control-ui" || client["mode"] == "webchat";
    let foreign_page = !peer.origin.is_empty() && !browser;
    // A browser that reaches a container through its bridge counts as local, too.
    let through_bridge = matches!(peer.address.to_canonical(), std::net::IpAddr::V4(address)
        if address.is_private())
        && browser
        && shared
        && ["localhost", "127.0.0.1"].iter().any(|name| peer.host.starts_with(name));
    !switched_off && !foreign_page && (peer.is_local() || through_bridge)
}

fn pairing_required(
    reason: &str,
    request_id: &str,
    params: &Value,
    role: &str,
    scopes: &[String],
    approved: Option<Vec<String>>,
) -> Refusal {
    let (requirement, hint) = if reason == "not-paired" {
        ("device is not approved yet", "Approve this device from the pending pairing requests.")
    } else {
        (
            "device is asking for more scopes than currently approved",
            "Review the requested scopes, then approve the pending upgrade.",
        )
    };
    let message = format!("pairing required: {requirement}");
    let mut details = json!({
        "code": "PAIRING_REQUIRED", "reason": reason, "requestId": request_id,
        "remediationHint": hint,
    });
    if params["client"]["id"] == "openclaw-control-ui" && role == "operator" {
        details["recommendedNextStep"] = json!("wait_then_retry");
        details["retryable"] = json!(true);
        details["pauseReconnect"] = json!(false);
    }
    details["deviceId"] = params["device"]["id"].clone();
    details["requestedRole"] = json!(role);
    details["requestedScopes"] = json!(scopes);
    if let Some(approved) = approved {
        details["approvedRoles"] = json!([role]);
        details["approvedScopes"] = json!(approved);
    }
    let mut refusal = Refusal::coded("NOT_PAIRED", &message, &details);
    refusal.reason = format!("{message} (requestId: {request_id})");
    refusal
}

/// A page of this gateway must be of this gateway's build.
fn check_build(gateway: &Gateway, peer: &Peer, client: &Value) -> Result<(), Refusal> {
    let build = build_id(gateway);
    let own_page = client["id"] == "openclaw-control-ui" && policy::is_own_page(peer);
    if !own_page || client["buildId"] == "dev" || client["buildId"] == build.as_str() {
        return Ok(());
    }
    let message = "protocol mismatch: Control UI updated; reload this page to continue";
    Err(Refusal::new(json!({
        "code": "UNAVAILABLE", "message": message, "retryable": false,
        "details": {
            "code": "PROTOCOL_MISMATCH", "gatewayBuildId": build, "reloadRequired": true,
        },
    })))
}

fn build_id(gateway: &Gateway) -> String {
    format!("{}-standin", gateway.install.version)
}

fn hello(
    gateway: &Gateway,
    role: &str,
    scopes: &[String],
    method: &str,
    issued: Option<(String, u64)>,
) -> Value {
    let mut auth = json!({"method": method, "role": role, "scopes": scopes});
    if let Some((token, at)) = issued {
        auth["recoveryMigrationAllowed"] = json!(true);
        auth["deviceToken"] = json!(token);
        auth["issuedAtMs"] = json!(at);
    }
    let mut snapshot = json!({
        "suspension": {"phase": "accepting"}, "presence": [], "health": {"ok": true},
        "stateVersion": {"presence": 1, "health": 1}, "uptimeMs": gateway.uptime_ms(),
    });
    if scopes.iter().any(|scope| scope == "operator.admin") {
        snapshot["configPath"] = json!(gateway.install.config_path);
        snapshot["stateDir"] = json!(gateway.install.state_dir);
        snapshot["authMode"] = json!("token");
    }
    json!({
        "type": "hello-ok", "protocol": 4,
        "server": {
            "version": gateway.install.version, "buildId": build_id(gateway),
            "bootId": gateway.boot_id, "controlUiBuildSource": "bundled",
            "connId": uuid::Uuid::new_v4().to_string(),
        },
        "features": {"methods": rpc::METHODS, "events": rpc::EVENTS, "capabilities": []},
        "snapshot": snapshot,
        "auth": auth,
        "policy": {
            "maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": TICK_MS,
            "attachments": {"maxBytes": 19_464_192, "maxImageBytes": 6_291_456},
        },
    })
}

/// The next JSON frame; `None` when there is none to come or it cannot be read.
async fn next_frame(socket: &mut Socket) -> Option<Value> {
    loop {
        match socket.next().await?.ok()? {
            Message::Text(text) => return serde_json::from_str(text.as_str()).ok(),
            Message::Binary(bytes) => return serde_json::from_slice(&bytes).ok(),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

async fn send(
    socket: &mut Socket,
    value: &Value,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    socket.send(Message::text(value.to_string())).await
}

/// Says goodbye and gives the other side a moment to say it back.
async fn close(socket: &mut Socket, code: u16, reason: &str) {
    // A close frame holds 125 bytes, two of them the code; the real one cuts its reasons too.
    let mut end = reason.len().min(120);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let frame = CloseFrame { code: CloseCode::from(code), reason: reason[..end].to_owned().into() };
    if socket.close(Some(frame)).await.is_ok() {
        let goodbye = async { while let Some(Ok(_)) = socket.next().await {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), goodbye).await;
    }
}
