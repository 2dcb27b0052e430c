//! The `gateway` command: one process, one port, probes and `WebSocket` connections.
//!
//! Owns the start's checks in the real one's order, the listener, the hot configuration, what is
//! told to every connection, and the end. Refuses to start as the real one does: without
//! `gateway.mode` "local", open without a token, or on a state newer than the build.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;

use crate::connect;
use crate::faults::{self, Faults, Loaded};
use crate::files::log;
use crate::http;
use crate::install::Install;
use crate::pairing::Store;
use crate::policy::Peer;

/// The exit code for what a restart cannot repair.
pub const EXIT_CONFIG: u8 = 78;

const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n  <head>\n    <meta charset=\"UTF-8\" />\n    \
                    <title>OpenClaw Control</title>\n  </head>\n  <body></body>\n</html>\n";

/// What every connection is told.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An event for those who hold the scope.
    Event(&'static str, Value, Option<&'static str>),
    /// A device was removed: its connections end.
    DeviceRemoved(String),
    /// The configuration changed: origins are looked at again.
    PolicyChanged,
    /// The gateway ends.
    Stopping,
}

/// The running gateway, shared by all connections.
pub struct Gateway {
    /// What it stands on.
    pub install: Install,
    /// What it was told to do wrong.
    pub faults: Faults,
    /// The shared token.
    pub token: String,
    /// This process's name in `hello-ok`.
    pub boot_id: String,
    config: Mutex<Value>,
    pairing: Mutex<Store>,
    connected: Mutex<HashMap<String, usize>>,
    notices: broadcast::Sender<Notice>,
    started: AtomicBool,
    born: Instant,
}

impl Gateway {
    /// The configuration that holds: the newest that could be read.
    pub fn config(&self) -> Value {
        lock(&self.config).clone()
    }

    /// The pairing records. Never hold this while announcing.
    pub fn pairing(&self) -> MutexGuard<'_, Store> {
        lock(&self.pairing)
    }

    /// Whether clients are let in.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    /// Hears what every connection is told from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Tells every connection.
    pub fn notify(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }

    /// Tells those who may pair devices how a request ended.
    pub fn announce_resolved(&self, request_id: &str, device_id: &str, decision: &str) {
        let payload = json!({
            "requestId": request_id, "deviceId": device_id, "decision": decision,
            "ts": crate::files::now_ms(),
        });
        self.notify(Notice::Event("device.pair.resolved", payload, Some("operator.pairing")));
    }

    /// The devices that are connected now.
    pub fn connected_devices(&self) -> Vec<String> {
        lock(&self.connected).keys().cloned().collect()
    }

    /// Counts a device's connection in (`true`) or out.
    pub fn count_device(&self, device_id: &str, connected: bool) {
        let mut devices = lock(&self.connected);
        let count = devices.entry(device_id.to_owned()).or_default();
        *count = if connected { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            devices.remove(device_id);
        }
    }

    /// Milliseconds since the start.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Reads the configuration again; a broken one changes nothing.
    pub fn reload(&self) {
        let Some(read) = self.install.config() else {
            return;
        };
        match read {
            Ok(config) => {
                let mut current = lock(&self.config);
                if *current != config {
                    *current = config;
                    drop(current);
                    log("[reload] config hot reload applied (gateway.controlUi.allowedOrigins)");
                    self.notify(Notice::PolicyChanged);
                }
            }
            Err(error) => {
                log(&format!(
                    "[reload] config reload skipped (invalid config): : JSON5 parse failed: {error}"
                ));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the gateway until a signal or a fault ends it.
pub fn run(install: Install, port_flag: Option<u16>) -> ExitCode {
    let loaded = match Loaded::read(&install) {
        Ok(loaded) => loaded,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let config = match checked_config(&install) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    log("[gateway] loading configuration…");
    log("[gateway] resolving authentication…");
    if let Some(stamp) = faults::schema_stamp(&install, &loaded.faults)
        && stamp > install.schema
    {
        eprintln!("{}", newer_schema_message(&install, stamp));
        return ExitCode::from(EXIT_CONFIG);
    }
    let open = config.pointer("/gateway/bind").and_then(Value::as_str) == Some("lan");
    let token = Install::token(&config);
    if open && token.is_none() {
        log("Refusing to bind gateway to lan without auth.\n\
             Set OPENCLAW_GATEWAY_TOKEN or OPENCLAW_GATEWAY_PASSWORD, or pass --token/--password \
             to start with auth.");
        return ExitCode::from(EXIT_CONFIG);
    }
    log("[gateway] starting...");
    for line in &loaded.faults.says {
        println!("{line}");
    }
    if loaded.faults.detached_tools {
        start_detached_tools();
    }
    let _needed = vec![1_u8; loaded.faults.needs_mib << 20];
    let exit = loaded.exit_of_this_start();
    if let Some(code) = exit.filter(|_| loaded.faults.exit_after_ms == 0) {
        log("Gateway failed to start: stand-in fault");
        return ExitCode::from(code);
    }
    if let Err(error) = faults::migrate(&install, &loaded.faults) {
        log(&format!("Gateway failed to start: {error}"));
        return ExitCode::FAILURE;
    }
    let host = if open { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let address = SocketAddr::from((host, port_flag.unwrap_or_else(|| Install::port(&config))));
    let gateway = Arc::new(Gateway {
        pairing: Mutex::new(Store::open(&install.state_dir)),
        install,
        // Without any token the real one makes a random one; nobody knows either.
        token: token.unwrap_or_else(|| crate::files::random_token(32)),
        boot_id: uuid::Uuid::new_v4().to_string(),
        config: Mutex::new(config),
        connected: Mutex::default(),
        notices: broadcast::channel(256).0,
        started: AtomicBool::new(false),
        born: Instant::now(),
        faults: loaded.faults,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(serve(gateway, address, exit));
            // Connections that are still open are not waited for.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("standin-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As a tool does that makes itself a daemon; it ignores what a terminal would say to it.
fn start_detached_tools() {
    for script in ["setsid sleep 6001 & exit", "exec setsid sh -c 'sleep 6002; exit'"] {
        let mut shell = std::process::Command::new("sh");
        let silent = std::process::Stdio::null;
        shell.args(["-c", script]).stdin(silent()).stdout(silent()).stderr(silent());
        if let Err(error) = shell.spawn() {
            log(&format!("standin-gateway: a tool: {error}"));
        }
    }
}

fn checked_config(install: &Install) -> Result<Value, String> {
    let audit =
        "Config write audit: SQLite diagnostic_events/config-audit state (latest 50000 rows)";
    let Some(read) = install.config() else {
        return Err("Missing config. Run `openclaw setup` or set gateway.mode=local (or pass \
                    --allow-unconfigured)."
            .to_owned());
    };
    // A file that cannot be parsed has no gateway.mode: so says the real one too.
    let config = read.unwrap_or_default();
    match config.pointer("/gateway/mode").and_then(Value::as_str) {
        Some("local") => Ok(config),
        Some(mode) => Err(format!(
            "Gateway start blocked: set gateway.mode=local (current: {mode}) or pass \
             --allow-unconfigured.\n{audit}"
        )),
        None => Err(format!(
            "Gateway start blocked: existing config is missing gateway.mode. Treat this as \
             suspicious or clobbered config. Re-run `openclaw onboard --mode local` or `openclaw \
             setup`, set gateway.mode=local manually, or pass --allow-unconfigured.\n{audit}"
        )),
    }
}

fn newer_schema_message(install: &Install, stamp: u64) -> String {
    format!(
        "Gateway failed to start: Gateway refused startup because 1 OpenClaw database schema(s) \
         are newer than this build. state database {} uses schema {stamp}; this build supports \
         {}. Refused by OpenClaw {} (standin) installed at {}. Run a build at least as new as the \
         writer that supports these schemas, or stop the service and restore your pre-upgrade \
         backup created with openclaw backup create. See \
         https://docs.openclaw.ai/reference/database-schemas.",
        faults::database_path(install).display(),
        install.schema,
        install.version,
        install.package_dir.display(),
    )
}

async fn serve(gateway: Arc<Gateway>, address: SocketAddr, exit: Option<u8>) -> ExitCode {
    // Signals count from here on: a SIGTERM during a slow start ends it.
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return ExitCode::FAILURE;
    };
    let stubborn = gateway.faults.ignore_sigterm;
    let signalled = async {
        loop {
            let name = tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
            if !(stubborn && name == "SIGTERM") {
                return name;
            }
        }
    };
    let doomed = async {
        match exit {
            Some(code) => {
                tokio::time::sleep(Duration::from_millis(gateway.faults.exit_after_ms)).await;
                code
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        name = signalled => stop(&gateway, name).await,
        code = doomed => {
            log("[gateway] uncaught exception: stand-in fault");
            ExitCode::from(code)
        }
        code = listen(&gateway, address) => code,
    }
}

async fn stop(gateway: &Gateway, name: &str) -> ExitCode {
    log(&format!("[admission] closed: stop ({name})"));
    log(&format!("[gateway] received {name}; shutting down"));
    if gateway.faults.drain_ms > 0 {
        log(&format!(
            "[gateway] draining active work before stop with timeout 315000ms: embeddedRuns={}",
            gateway.faults.active_runs
        ));
        tokio::time::sleep(Duration::from_millis(gateway.faults.drain_ms)).await;
    }
    log("[gateway] active-work drain settled; beginning server close");
    gateway.notify(Notice::Event("shutdown", json!({"reason": "gateway stopping"}), None));
    gateway.notify(Notice::Stopping);
    // Each connection drops its receiver when it has said goodbye.
    let farewell = async {
        while gateway.notices.receiver_count() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    log("[shutdown] completed cleanly in 1ms");
    ExitCode::SUCCESS
}

async fn listen(gateway: &Arc<Gateway>, address: SocketAddr) -> ExitCode {
    tokio::time::sleep(Duration::from_millis(gateway.faults.listen_delay_ms)).await;
    while gateway.faults.listen_after.as_ref().is_some_and(|file| !file.exists()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    log("[gateway] starting HTTP server...");
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            let port = address.port();
            log(&format!(
                "Gateway failed to start: another gateway instance is already listening on \
                 ws://{address} | {error}\nIf the gateway is supervised, stop it with: openclaw \
                 gateway stop"
            ));
            log(&format!("Port {port} is already in use."));
            return ExitCode::FAILURE;
        }
    };
    log("[gateway] http server listening (0 plugins)");
    let starting = Arc::clone(gateway);
    tokio::spawn(async move {
        if starting.faults.never_started {
            return;
        }
        tokio::time::sleep(Duration::from_millis(starting.faults.start_delay_ms)).await;
        starting.started.store(true, Ordering::SeqCst);
        log("[gateway] ready");
    });
    let watching = Arc::clone(gateway);
    tokio::spawn(async move { watch_config(&watching).await });
    loop {
        if let Ok((stream, peer)) = listener.accept().await {
            let gateway = Arc::clone(gateway);
            tokio::spawn(async move {
                let _ = converse(gateway, stream, peer.ip()).await;
            });
        }
    }
}

/// Applies a changed configuration a moment after it was written, as the real one does (in about
/// a second): who writes an origin must wait until it holds.
async fn watch_config(gateway: &Gateway) {
    let stamp = || {
        let data = std::fs::metadata(&gateway.install.config_path).ok()?;
        Some((data.modified().ok()?, data.len(), data.ino()))
    };
    let mut last = None;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        let now = stamp();
        if now.is_some() && now != last {
            last = now;
            gateway.reload();
        }
    }
}

async fn converse(
    gateway: Arc<Gateway>,
    mut stream: TcpStream,
    address: IpAddr,
) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(request) = http::read_request(&mut stream, std::mem::take(&mut buffer)).await? {
        let client = crate::policy::client(&request.headers, address, &gateway.config());
        // Only that it lives is told to whomever an unknown proxy speaks for.
        if !request.is_websocket() && (client.is_some() || request.path == "/healthz") {
            let (status, kind, body) = probe(&gateway, &request.path);
            http::respond(&mut stream, &request, status, kind, &body).await?;
            buffer = request.rest;
            continue;
        }
        let Some(address) = client else {
            log(&format!(
                "gateway: observed unattributable proxy-shaped traffic from {address}; \
                 Gateway-authenticated routes reject it"
            ));
            let body = json!({"error": {"code": "proxy_attribution_required"}}).to_string();
            return http::respond(&mut stream, &request, 403, "application/json", &body).await;
        };
        http::accept_websocket(&mut stream, request.header("sec-websocket-key")).await?;
        let peer = Peer {
            address,
            host: request.header("host").to_owned(),
            origin: request.header("origin").to_owned(),
        };
        connect::session(gateway, stream, request.rest, peer).await;
        return Ok(());
    }
    Ok(())
}

fn probe(gateway: &Gateway, path: &str) -> (u16, &'static str, String) {
    let started = gateway.is_started();
    let uptime = gateway.uptime_ms();
    let json = "application/json";
    match path {
        "/healthz" | "/health" => (200, json, r#"{"ok":true,"status":"live"}"#.to_owned()),
        "/startupz" | "/startup" if has_startup_probe(&gateway.install.version) => {
            let version = &gateway.install.version;
            if started {
                let body = json!({
                    "ok": true, "status": "started", "version": version, "uptimeMs": uptime,
                });
                return (200, json, body.to_string());
            }
            let body = json!({
                "ok": false, "status": "starting", "version": version, "uptimeMs": uptime,
                "pendingReason": "startup-sidecars",
            });
            (503, json, body.to_string())
        }
        "/readyz" | "/ready" => {
            let mut failing = gateway.faults.readyz_failing.clone();
            if !started {
                failing = vec!["startup-sidecars".to_owned()];
            }
            let ready = failing.is_empty();
            let body = json!({"ready": ready, "failing": failing, "uptimeMs": uptime});
            (if ready { 200 } else { 503 }, json, body.to_string())
        }
        _ => (200, "text/html", PAGE.to_owned()),
    }
}

/// `/startupz` came with 2026.8; before that it answers with the page.
fn has_startup_probe(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (2026, 8)
}
