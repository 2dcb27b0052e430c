//! The proof that a gateway works by the route its user will take.
//!
//! Owns the order of the checks and the remedy for each failure. Refuses shortcuts: what was not
//! seen over the route is not proven. It leaves no device and no pending request behind.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::GatewayClient;
use super::connect::{ConnectOptions, connect_retrying};
use super::dial::Dial;
use super::models::{self, Availability};
use super::probe::{self, ProbeError, Startup};
use super::refusal::ConnectError;
use super::rpc::RpcError;
use super::wait::Backoff;
use crate::secrets::Secret;

/// How long a model may be missing although its provider's catalogue is complete.
const MODEL_PATIENCE: Duration = Duration::from_secs(5);

/// How long the gateway may take to ask the model's provider for its catalogue. It asks one
/// provider after the other, starting only once it is up (measured: three seconds each without a
/// network).
const CATALOGUE_PATIENCE: Duration = Duration::from_secs(60);

/// How often the loopback is asked whether a gateway that is not reached has started. It may take
/// a process on another machine, and most gateways are reached before.
const INSIDE_EVERY: Duration = Duration::from_secs(10);

/// What to do about that.
const PROXY_REMEDY: &str = "Name the proxy in gateway.trustedProxies, on a cluster by \
                            OPENCLAW_PIPELINE_INGRESS_PROXIES.";

/// The code of a refusal of what comes through a proxy that the gateway was not told of.
const PROXY_UNKNOWN: &str = "proxy_attribution_required";

/// A route to a gateway, as its user will take it.
#[derive(Debug, Clone)]
pub struct Route {
    /// The `Host` header, with the port unless it is the scheme's own.
    pub host_header: String,
    /// The page's origin: scheme, host and port.
    pub origin: String,
    /// The gateway's shared token.
    pub token: Secret,
    /// The model to be found available, `provider/id`.
    pub expected_model: Option<String>,
    /// How long the page's origin, or a proxy on its way, may be refused: a gateway that runs takes
    /// a changed configuration over a moment after it was written.
    pub refused_patience: Duration,
    /// How long a gateway that has started may be out of reach by this route, where its own
    /// loopback tells that it has.
    pub reach_patience: Duration,
    /// Take a model that the catalogue does not hold. It may be newer than the gateway, or
    /// misspelled; the caller has to say so to its user.
    pub accept_unlisted_model: bool,
}

/// What was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The gateway's release.
    pub server_version: Option<String>,
    /// The negotiated protocol version.
    pub protocol: u32,
    /// What the catalogue says of the expected model; `None` when none was expected.
    pub model: Option<Availability>,
    /// How long the proof took.
    pub elapsed: Duration,
}

/// What failed, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The gateway did not start, or is not there.
    #[error("the gateway has not started: {0}")]
    Startup(#[source] ProbeError),
    /// It has started, and its user's way does not lead to it.
    #[error("the gateway runs, and is not reached by this route: {0}")]
    Unreached(String),
    /// It has started, and refuses what comes through a proxy that it was not told of.
    #[error("the gateway runs, and refuses what comes through the proxy before it")]
    UnknownProxy,
    /// It did not accept the connection.
    #[error("the gateway did not accept a connection by this route: {0}")]
    Connect(#[source] ConnectError),
    /// It did not accept the connection that reads the models.
    #[error("the gateway did not accept a connection on its loopback: {0}")]
    Scoped(#[source] ConnectError),
    /// It did not list its models.
    #[error("the gateway did not list its models: {0}")]
    Models(#[source] RpcError),
    /// The model is known and cannot be used.
    #[error("the model {model} is not available ({})", .reason.as_deref().unwrap_or("no reason given"))]
    ModelUnavailable {
        /// The model.
        model: String,
        /// The gateway's reason, `missing-auth` for one.
        reason: Option<String>,
    },
    /// The model is not in the catalogue.
    #[error("the gateway does not know the model {0}")]
    ModelUnknown(String),
}

impl ProveError {
    /// Whether the gateway refuses what comes through a proxy, because nobody told it of that.
    pub fn is_for_proxy(&self) -> bool {
        match self {
            Self::UnknownProxy => true,
            Self::Connect(ConnectError::Other { code, .. }) => code == PROXY_UNKNOWN,
            _ => false,
        }
    }

    /// What to do about it, in one sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Startup(ProbeError::Unsupported)
            | Self::Connect(ConnectError::DeviceIdentityRequired) => {
                "Use OpenClaw 2026.8.1 or newer, or reach it over HTTPS or a tunnel."
            }
            Self::Startup(ProbeError::NotAGateway(_)) => {
                "Another program answers on that address: check the port and the proxy before it."
            }
            Self::UnknownProxy => PROXY_REMEDY,
            error if error.is_for_proxy() => PROXY_REMEDY,
            Self::Startup(_) => {
                "Look at the gateway's log; also check that the port is open from here."
            }
            Self::Unreached(_) => {
                "Check that firewalls and the network between let this machine reach that port."
            }
            Self::Connect(ConnectError::OriginNotAllowed) => {
                "Add the page's exact origin to gateway.controlUi.allowedOrigins."
            }
            Self::Connect(ConnectError::Unauthorized { .. })
            | Self::Scoped(ConnectError::Unauthorized { .. }) => {
                "The gateway runs with another token: set OPENCLAW_GATEWAY_TOKEN and restart it."
            }
            Self::Connect(ConnectError::RateLimited { .. })
            | Self::Scoped(ConnectError::RateLimited { .. }) => {
                "Wait until the gateway's lock-out ends (five minutes), or restart it."
            }
            Self::Connect(_) => "Look at the gateway's log; also check the proxy before it.",
            Self::Scoped(_) => "Check that the relay into the gateway's container works.",
            Self::Models(error) if error.missing_scope().is_some() => {
                "Read the models over the gateway's own loopback: this route carries no scopes."
            }
            Self::Models(_) => "Look at the gateway's log.",
            Self::ModelUnavailable { .. } => {
                "Give the credential of the model's provider, or choose another model."
            }
            Self::ModelUnknown(_) => {
                "Check the spelling (provider/model), or choose a model that this version lists."
            }
        }
    }
}

/// Proves `route` over `dial`. `scoped_dial` reaches the gateway's own loopback, for the list of
/// models: elsewhere the gateway takes every scope away. Without one, `dial` is used.
///
/// # Errors
/// [`ProveError`], the first check that failed.
pub async fn prove(
    dial: &dyn Dial,
    scoped_dial: Option<&dyn Dial>,
    route: &Route,
    deadline: Instant,
    mut progress: impl FnMut(&str) + Send,
) -> Result<Proof, ProveError> {
    let begun = Instant::now();
    let host = &route.host_header;
    // On the heap: what waits here would make every caller's future large.
    Box::pin(wait_reached(dial, scoped_dial, route, deadline, &mut progress)).await?;

    progress("checking that the token, the page's origin and the model are accepted");
    let mut options = ConnectOptions::new(route.token.clone(), host, deadline);
    options.origin = Some(route.origin.clone());
    let routed = async {
        let refused_since = Instant::now();
        let mut backoff = Backoff::until(deadline);
        let client = loop {
            match connect_retrying(dial, &options, |_| {}).await {
                Err(error)
                    if may_settle(&error)
                        && refused_since.elapsed() < route.refused_patience
                        && backoff.pause(None).await => {}
                connected => break connected.map_err(ProveError::Connect)?,
            }
        };
        let hello = client.hello().clone();
        client.close().await;
        Ok(hello)
    };
    let scoped = async {
        let Some(model) = &route.expected_model else { return Ok(None) };
        let dial = scoped_dial.unwrap_or(dial);
        prove_model(dial, route, model, deadline, &mut progress).await.map(Some)
    };
    // Side by side: reaching the gateway's own loopback may take a process of its own. What is
    // wrong with the route is told before what is wrong with the model.
    tokio::pin!(routed, scoped);
    let mut proven = None;
    let hello = loop {
        tokio::select! {
            biased;
            hello = &mut routed => break hello?,
            model = &mut scoped, if proven.is_none() => proven = Some(model),
        }
    };
    let model = match proven {
        Some(model) => model?,
        None => scoped.await?,
    };
    let server_version = hello.server_version;
    Ok(Proof { server_version, protocol: hello.protocol, model, elapsed: begun.elapsed() })
}

/// Waits until the gateway tells over the route that it has started. What has started and is not
/// reached is not waited for as long as what still starts.
async fn wait_reached(
    dial: &dyn Dial,
    scoped_dial: Option<&dyn Dial>,
    route: &Route,
    deadline: Instant,
    progress: &mut (impl FnMut(&str) + Send),
) -> Result<(), ProveError> {
    let host = &route.host_header;
    let seen = Mutex::new(String::from("nothing answers"));
    let told = |said: &str| {
        said.clone_into(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
        progress(said);
    };
    let reached = probe::wait_started(dial, host, deadline, told);
    let has_started = async {
        let Some(dial) = scoped_dial else { return std::future::pending().await };
        let mut backoff = Backoff::until(deadline);
        while backoff.pause(Some(INSIDE_EVERY)).await {
            if let Ok(Startup::Started { .. }) = probe::startup(dial, host).await {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::pin!(reached);
    let reached = tokio::select! {
        biased;
        reached = &mut reached => Some(reached),
        () = has_started => tokio::time::timeout(route.reach_patience, reached).await.ok(),
    };
    let Some(reached) = reached else {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        return Err(ProveError::Unreached(seen.clone()));
    };
    reached.map(drop).map_err(|error| match error {
        ProbeError::Refused => ProveError::UnknownProxy,
        error => ProveError::Startup(error),
    })
}

/// Whether it may be the configuration of a moment ago that refuses: the origin's list, or the
/// proxies' (which a gateway refuses before there is a WebSocket).
fn may_settle(error: &ConnectError) -> bool {
    match error {
        ConnectError::OriginNotAllowed => true,
        ConnectError::Other { code, .. } => code == PROXY_UNKNOWN || code == "http_403",
        _ => false,
    }
}

async fn prove_model(
    dial: &dyn Dial,
    route: &Route,
    model: &str,
    deadline: Instant,
    progress: &mut (impl FnMut(&str) + Send),
) -> Result<Availability, ProveError> {
    // No origin: with one, the scopes are gone even on the loopback.
    let options = ConnectOptions::new(route.token.clone(), &route.host_header, deadline)
        .scopes(&[models::SCOPE]);
    let client =
        connect_retrying(dial, &options, &mut *progress).await.map_err(ProveError::Scoped)?;
    let result = wait_available(&client, model, deadline, progress).await;
    client.close().await;
    match result.map_err(ProveError::Models)? {
        Availability::Unknown if !route.accept_unlisted_model => {
            Err(ProveError::ModelUnknown(super::clean_text(model)))
        }
        Availability::Unavailable { reason } => {
            Err(ProveError::ModelUnavailable { model: super::clean_text(model), reason })
        }
        found => Ok(found),
    }
}

/// Waits until it is known what the gateway says of a model.
///
/// The catalogue fills after the start: only `Available` is final at once, and a model is missing
/// only when the gateway is done with its provider.
pub async fn wait_available(
    client: &GatewayClient,
    model: &str,
    deadline: Instant,
    progress: &mut (impl FnMut(&str) + Send),
) -> Result<Availability, RpcError> {
    let asked = Instant::now();
    let mut backoff = Backoff::until(deadline);
    let mut told = false;
    loop {
        let list = models::list(client).await?;
        let found = models::availability(&list, model);
        let pending = list.is_pending(model);
        let patience = if pending { CATALOGUE_PATIENCE } else { MODEL_PATIENCE };
        if found == Availability::Available
            || asked.elapsed() >= patience
            || !backoff.pause(None).await
        {
            return Ok(found);
        }
        if pending && !told {
            progress("waiting for the gateway to read its provider's list of models");
            told = true;
        }
    }
}

/// Whether the gateway refuses `token`, as it should refuse the old one after a rotation.
///
/// Ask once, not in a loop: ten wrong tokens from one address lock it out for five minutes
/// (measured; the gateway's own loopback is spared).
///
/// # Errors
/// Whatever says neither yes nor no, a lock-out included.
pub async fn token_refused(
    dial: &dyn Dial,
    host: &str,
    token: &Secret,
    deadline: Instant,
) -> Result<bool, ConnectError> {
    let options = ConnectOptions::new(token.clone(), host, deadline);
    match connect_retrying(dial, &options, |_| {}).await {
        Ok(client) => {
            client.close().await;
            Ok(false)
        }
        Err(ConnectError::Unauthorized { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "prove_tests.rs"]
mod tests;
