//! A stand-in for `cloudflared`: it cannot be had here, nor can it reach its network.
//!
//! Owns what the product sees of it: its banner, `/quicktunnel` and `/ready` on the metrics port,
//! its end on a token that is none. It keeps connections to the lab's edge (`Edge` in
//! `tests/it/support/edge.rs`), over which requests come with the headers that Cloudflare adds, and
//! hands them to the gateway. Refuses options that the product does not give.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Where the lab's edge listens for tunnels, as every machine of the lab reaches it.
const EDGE: &str = "10.213.0.1:7844";
/// How many connections wait for a request.
const SPARE: u32 = 4;
/// The pause before the edge is tried again.
const AGAIN: Duration = Duration::from_millis(300);

/// What it was called with.
struct Call {
    metrics: String,
    url: Option<String>,
    token: Option<String>,
}

#[derive(Default)]
struct State {
    host: Mutex<String>,
    url: Mutex<String>,
    connections: AtomicU32,
}

fn said<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs it; `arguments` begin behind its name.
pub fn run(arguments: &[String]) -> ExitCode {
    let call = match parse(arguments) {
        Ok(call) => call,
        Err(message) => {
            log("ERR", &message);
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(call)),
        Err(error) => {
            log("ERR", &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<Call, String> {
    let mut call = Call { metrics: String::new(), url: None, token: None };
    let mut words = arguments.iter().map(String::as_str);
    if words.next() != Some("tunnel") {
        return Err("the stand-in knows `tunnel` alone".into());
    }
    let mut is_run = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().map(str::to_owned).ok_or("flag needs an argument");
        match word {
            "--no-autoupdate" => {}
            "--metrics" => call.metrics = value()?,
            "--url" => call.url = Some(value()?),
            "run" => is_run = true,
            other => return Err(format!("flag provided but not defined: {other}")),
        }
    }
    if is_run {
        call.token = Some(std::env::var("TUNNEL_TOKEN").unwrap_or_default());
    }
    Ok(call)
}

fn log(level: &str, text: &str) {
    eprintln!("2026-01-31T12:00:00Z {level} {text}");
}

async fn serve(call: Call) -> ExitCode {
    let state = Arc::new(State::default());
    let metrics = match TcpListener::bind(&call.metrics).await {
        Ok(listener) => listener,
        Err(error) => {
            log("ERR", &format!("metrics: {error}"));
            return ExitCode::FAILURE;
        }
    };
    tokio::spawn(figures(metrics, Arc::clone(&state)));
    if call.token.is_none() {
        log(
            "INF",
            "Thank you for trying Cloudflare Tunnel. Doing so, without a Cloudflare account",
        );
        log("INF", "Requesting new quick Tunnel on trycloudflare.com...");
    }
    loop {
        match session(&call, &state).await {
            // As the real one ends on a token that is none.
            Ok(Some(refused)) => {
                log("ERR", &refused);
                return ExitCode::from(255);
            }
            Ok(None) => log("INF", "Retrying connection in up to 1s"),
            Err(error) => log("ERR", &format!("failed to dial to edge with quic: {error}")),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One registration with the edge, until it ends; the edge's refusal, if it was one.
async fn session(call: &Call, state: &Arc<State>) -> std::io::Result<Option<String>> {
    let stream = TcpStream::connect(EDGE).await?;
    let mut stream = BufReader::new(stream);
    let hello = match &call.token {
        Some(token) => format!("NAMED {token}\n"),
        None => "QUICK\n".to_owned(),
    };
    stream.write_all(hello.as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let (verb, rest) = line.trim().split_once(' ').unwrap_or_default();
    if verb == "ERR" {
        return Ok(Some(rest.to_owned()));
    }
    if verb != "HOST" {
        // It hung up.
        return Ok(None);
    }
    let mut words = rest.split(' ');
    let host = words.next().unwrap_or_default().to_owned();
    let url = call.url.clone().or_else(|| words.next().map(str::to_owned)).unwrap_or_default();
    if call.token.is_none() {
        log("INF", "+--------------------------------------------------------------------------+");
        log("INF", "|  Your quick Tunnel has been created! Visit it at (it may take some time): |");
        log("INF", &format!("|  https://{host}  |"));
        said(&state.host).clone_from(&host);
    }
    url.trim_start_matches("http://").clone_into(&mut said(&state.url));
    for _ in 0..SPARE {
        spare(host.clone(), Arc::clone(state));
    }
    state.connections.store(SPARE, Ordering::SeqCst);
    log("INF", "Registered tunnel connection connIndex=0 event=0 protocol=quic");
    // It ends with the edge.
    let _ = stream.read(&mut [0; 1]).await;
    state.connections.store(0, Ordering::SeqCst);
    Ok(None)
}

/// A connection that waits for a request, and makes room for the next one when it comes.
fn spare(host: String, state: Arc<State>) {
    tokio::spawn(async move {
        let Ok(mut edge) = TcpStream::connect(EDGE).await else { return };
        let _ = edge.set_nodelay(true);
        if edge.write_all(format!("SPARE {host}\n").as_bytes()).await.is_err() {
            return;
        }
        let mut first = [0; 1];
        if !matches!(edge.peek(&mut first).await, Ok(1)) {
            return;
        }
        spare(host, Arc::clone(&state));
        let url = said(&state.url).clone();
        let Ok(mut gateway) = TcpStream::connect(&url).await else {
            log("ERR", "Unable to reach the origin service: connection refused");
            let _ = edge
                .write_all(
                    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .await;
            return;
        };
        let _ = gateway.set_nodelay(true);
        let _ = tokio::io::copy_bidirectional(&mut edge, &mut gateway).await;
    });
}

/// The metrics port.
async fn figures(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let request = crate::http::read_request(&mut stream, Vec::new()).await;
            let Ok(Some(request)) = request else { return };
            let connections = state.connections.load(Ordering::SeqCst);
            let answers: HashMap<&str, (u16, String)> = HashMap::from([
                ("/quicktunnel", (200, json!({ "hostname": *said(&state.host) }).to_string())),
                (
                    "/ready",
                    (
                        if connections > 0 { 200 } else { 503 },
                        json!({ "status": if connections > 0 { 200 } else { 503 },
                                "readyConnections": connections })
                        .to_string(),
                    ),
                ),
            ]);
            let (status, body) =
                answers.get(request.path.as_str()).cloned().unwrap_or((503, String::new()));
            let _ = crate::http::respond(&mut stream, &request, status, "application/json", &body)
                .await;
        });
    }
}
