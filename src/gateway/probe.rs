//! The three HTTP probes of a gateway, judged by their JSON bodies.
//!
//! Owns plain HTTP GETs over a [`Dial`]. Refuses to trust a status: unknown paths answer 200 with
//! the web page, and so may whatever else listens on that port. Sends no token.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::header;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time::Instant;

use super::dial::Dial;
use super::text::clean_text;
use super::wait::Backoff;

/// The most that is read of a body. The longest probe answers less than 1 KiB.
const MAX_BODY_BYTES: usize = 64 << 10;

/// How long one request may take. A starting gateway accepts connections seconds before it
/// answers them (measured: more than five on two busy cores).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long something else may answer in the gateway's place (a proxy's own page, a program that
/// is going away) before waiting for the gateway is given up.
const STRANGER_PATIENCE: Duration = Duration::from_secs(15);

/// How long a gateway that lives may refuse what comes through a proxy: it takes a changed
/// configuration over a moment after it was written.
const REFUSED_PATIENCE: Duration = Duration::from_secs(30);

/// The status of a request that a gateway refuses because it came through a proxy that it does not
/// trust.
const FORBIDDEN: u16 = 403;

/// What `/startupz` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup {
    /// Not yet, or not any more (`draining`).
    Starting {
        /// What it waits for, as far as it tells: outsiders hear the status only.
        detail: String,
    },
    /// Started.
    Started {
        /// The release. Told on the gateway's loopback only.
        version: Option<String>,
        /// Milliseconds since its start. Told on the gateway's loopback only.
        uptime_ms: Option<u64>,
    },
    /// A live gateway without `/startupz`: older than 2026.8.1.
    Unsupported,
}

/// What `/readyz` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Whether all is well, channels included.
    pub ready: bool,
    /// What is not. Told on the gateway's loopback only.
    pub failing: Vec<String>,
}

/// Why a probe has no answer. The texts are bounded and clean.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Nothing answers: refused, reset, not reachable.
    #[error("nothing answers: {0}")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// A proxy answers that it cannot reach the gateway.
    #[error("a proxy before the gateway answers HTTP {0}")]
    Proxy(u16),
    /// A live gateway refuses the probe.
    #[error("the gateway refuses what comes through the proxy before it")]
    Refused,
    /// Something else answers.
    #[error("what answers there is not an OpenClaw gateway ({0})")]
    NotAGateway(String),
    /// The version has no `/startupz`.
    #[error("the gateway is older than 2026.8.1 and lacks /startupz; use a newer version")]
    Unsupported,
    /// The deadline passed; with what was last seen.
    #[error("the gateway did not start in time; last seen: {0}")]
    Deadline(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    ok: Option<bool>,
    ready: Option<bool>,
    status: Option<String>,
    version: Option<String>,
    uptime_ms: Option<u64>,
    pending_reason: Option<String>,
    failing: Vec<String>,
}

/// Asks `/startupz`. `host` is the `Host` header, with its port.
///
/// # Errors
/// See [`ProbeError`]; one call takes 20 s at most.
pub async fn startup(dial: &dyn Dial, host: &str) -> Result<Startup, ProbeError> {
    let (status, body) = get(dial, host, "/startupz").await?;
    match body.as_ref().and_then(|body| body.status.as_deref()) {
        Some("started") if body.as_ref().and_then(|body| body.ok) == Some(true) => {
            let body = body.unwrap_or_default();
            let version = body.version.as_deref().map(clean_text);
            return Ok(Startup::Started { version, uptime_ms: body.uptime_ms });
        }
        Some(said) => {
            let reason = body.as_ref().and_then(|body| body.pending_reason.as_deref());
            return Ok(Startup::Starting { detail: clean_text(reason.unwrap_or(said)) });
        }
        None if status >= 500 => return Err(ProbeError::Proxy(status)),
        None => {}
    }
    health(dial, host).await?;
    if status == FORBIDDEN {
        // One that has the probe, and does not know the proxy that this came through, or not yet.
        return Err(ProbeError::Refused);
    }
    Ok(Startup::Unsupported)
}

/// Asks `/healthz`: that the process lives, and nothing more.
///
/// # Errors
/// See [`ProbeError`].
pub async fn health(dial: &dyn Dial, host: &str) -> Result<(), ProbeError> {
    let (status, body) = get(dial, host, "/healthz").await?;
    match body {
        Some(body) if body.ok == Some(true) && body.status.as_deref() == Some("live") => Ok(()),
        None if status >= 500 => Err(ProbeError::Proxy(status)),
        _ => Err(ProbeError::NotAGateway(format!("/healthz answers HTTP {status}"))),
    }
}

/// Asks `/readyz`: whether all is well, channels included.
///
/// # Errors
/// See [`ProbeError`].
pub async fn ready(dial: &dyn Dial, host: &str) -> Result<Ready, ProbeError> {
    let (status, body) = get(dial, host, "/readyz").await?;
    let Some(Body { ready: Some(ready), failing, .. }) = body else {
        return Err(ProbeError::NotAGateway(format!("/readyz answers HTTP {status}")));
    };
    let failing = failing.iter().take(32).map(|name| clean_text(name)).collect();
    Ok(Ready { ready, failing })
}

/// Asks `/startupz` until the gateway has started. Each change of what it answers is told once.
///
/// # Errors
/// [`ProbeError::Unsupported`] at once; [`ProbeError::NotAGateway`] when something else has
/// answered for 15 s, and [`ProbeError::Refused`] when a gateway has refused the proxy for 30 s; otherwise [`ProbeError::Deadline`] with what was last seen.
pub async fn wait_started(
    dial: &dyn Dial,
    host: &str,
    deadline: Instant,
    mut on_progress: impl FnMut(&str) + Send,
) -> Result<Startup, ProbeError> {
    let mut backoff = Backoff::until(deadline);
    let mut seen = String::from("nothing yet");
    let mut ending_since = None;
    loop {
        let Ok(probed) = tokio::time::timeout_at(deadline, startup(dial, host)).await else {
            return Err(ProbeError::Deadline(seen));
        };
        let now = match probed {
            Ok(started @ Startup::Started { .. }) => return Ok(started),
            Ok(Startup::Unsupported) => return Err(ProbeError::Unsupported),
            Ok(Startup::Starting { detail }) => format!("the gateway is starting ({detail})"),
            Err(error) => {
                let patience = match error {
                    ProbeError::NotAGateway(_) => Some(STRANGER_PATIENCE),
                    ProbeError::Refused => Some(REFUSED_PATIENCE),
                    _ => None,
                };
                match patience {
                    None => ending_since = None,
                    Some(patience) => {
                        let since = *ending_since.get_or_insert_with(Instant::now);
                        if since.elapsed() >= patience {
                            return Err(error);
                        }
                    }
                }
                clean_text(&error.to_string())
            }
        };
        if now != seen {
            on_progress(&now);
            seen = now;
        }
        if !backoff.pause(None).await {
            return Err(ProbeError::Deadline(seen));
        }
    }
}

/// Reads what something beside a gateway tells of itself, by the same rules: the status, and as
/// much of the body as a probe may have.
///
/// # Errors
/// [`ProbeError::Io`] and [`ProbeError::Timeout`].
pub async fn read(
    dial: &dyn Dial,
    host: &str,
    path: &'static str,
) -> Result<(u16, Vec<u8>), ProbeError> {
    let exchange = tokio::time::timeout(REQUEST_TIMEOUT, exchange(dial, host, path));
    Ok(exchange.await.map_err(|_| ProbeError::Timeout(REQUEST_TIMEOUT))??)
}

/// The status, and the body when it is a JSON object.
async fn get(
    dial: &dyn Dial,
    host: &str,
    path: &'static str,
) -> Result<(u16, Option<Body>), ProbeError> {
    let (status, bytes) = read(dial, host, path).await?;
    Ok((status, serde_json::from_slice(&bytes).ok()))
}

async fn exchange(dial: &dyn Dial, host: &str, path: &'static str) -> io::Result<(u16, Vec<u8>)> {
    let stream = TokioIo::new(dial.dial().await?);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(broken)?;
    let request = hyper::Request::get(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                bytes.extend_from_slice(&data);
            }
            // Longer than any probe: the web page. What there is does not parse, and need not.
            if bytes.len() > MAX_BODY_BYTES {
                break;
            }
        }
        Ok((status, bytes))
    };
    // The connection has to be polled for the answer to come; that it ended says nothing, the
    // answer may still be on its way out of the channel.
    let drive = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = drive => never,
    }
}

fn broken(error: hyper::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
