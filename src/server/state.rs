//! What every request is answered from.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::cache::Cache;
use super::crowd::Crowds;
use super::tail::Tail;
use super::turns::Turns;
use crate::app::rate::{RateLimiter, RateLimits};
use crate::app::{App, Authenticator, Denials, Executor, LOOKS, own_names};
use crate::config::Settings;
use crate::domain::{DeploymentName, Failure, Principal};
use crate::telemetry::metrics::Metrics;

/// What can change while the server lives.
#[derive(Debug)]
pub struct Live {
    /// The settings.
    pub settings: Settings,
    /// Origins whose pages may call.
    pub cors_origins: Vec<String>,
    /// Further names by which the server is called.
    pub hosts: Vec<String>,
    /// Whether the API launches on this machine.
    pub local_targets: bool,
}

impl Live {
    /// What the settings say of a server that others can reach, or cannot.
    fn new(settings: Settings, is_loopback: bool) -> Result<Self, Failure> {
        if let Some(failure) = settings.broken() {
            return Err(failure.clone());
        }
        if let Some((_, failure)) = settings.problems().into_iter().next() {
            return Err(failure);
        }
        settings.states_are_many()?;
        Ok(Self {
            cors_origins: settings.cors_origins()?,
            hosts: settings.hosts()?,
            local_targets: settings.local_targets()?.unwrap_or(is_loopback),
            settings,
        })
    }
}

/// What a server is made of.
pub struct Parts {
    /// The program.
    pub app: App,
    /// Who carries operations out.
    pub executor: Executor,
    /// The end of the events.
    pub tail: Tail,
    /// Who knows tokens.
    pub authenticator: Arc<Authenticator>,
    /// What counts what happens.
    pub metrics: Metrics,
    /// The settings.
    pub settings: Settings,
    /// How often somebody may ask.
    pub rate: RateLimits,
    /// Whether this machine alone reaches the server.
    pub is_loopback: bool,
    /// Whether callers come by TLS.
    pub is_tls: bool,
    /// Whether they come through a proxy.
    pub behind_proxy: bool,
}

/// What every request is answered from.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    live: RwLock<Arc<Live>>,
    cache: Cache,
    rate: RateLimiter,
    crowds: Crowds,
    denials: Denials,
    /// Of those who look at a gateway, which takes a connection to it.
    looks: Semaphore,
    /// Of those who want a link, which takes memory of the gateway's.
    links: Turns<DeploymentName>,
    /// Of those that send the same request at once: a token's id and its key.
    keys: Turns<(String, String)>,
    open: Arc<Principal>,
    own_names: Vec<String>,
}

impl Server {
    /// A server.
    pub fn new(parts: Parts) -> Result<Self, Failure> {
        let live = Live::new(parts.settings.clone(), parts.is_loopback)?;
        let inner = Inner {
            live: RwLock::new(Arc::new(live)),
            cache: Cache::default(),
            rate: RateLimiter::new(parts.rate),
            crowds: Crowds::default(),
            denials: Denials::new(parts.app.store().clone()),
            looks: Semaphore::new(LOOKS),
            links: Turns::default(),
            keys: Turns::default(),
            open: Arc::new(Principal::open()),
            own_names: own_names(),
            parts,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The program.
    pub fn app(&self) -> &App {
        &self.inner.parts.app
    }

    /// Who carries operations out.
    pub fn executor(&self) -> &Executor {
        &self.inner.parts.executor
    }

    /// The end of the events.
    pub fn tail(&self) -> &Tail {
        &self.inner.parts.tail
    }

    /// Who knows tokens.
    pub fn authenticator(&self) -> &Authenticator {
        &self.inner.parts.authenticator
    }

    /// What counts what happens.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.parts.metrics
    }

    /// How often somebody may ask.
    pub fn rate(&self) -> &RateLimiter {
        &self.inner.rate
    }

    /// Who follows what.
    pub fn crowds(&self) -> &Crowds {
        &self.inner.crowds
    }

    /// What was not let, on its way to the audit log.
    pub fn denials(&self) -> &Denials {
        &self.inner.denials
    }

    /// Waits until a gateway may be looked at; it may for as long as the answer is kept.
    pub async fn look(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.inner.looks.acquire().await.ok()
    }

    /// Whose turn it is to be given a link.
    pub fn links(&self) -> &Turns<DeploymentName> {
        &self.inner.links
    }

    /// Whose turn it is among those that send the same request: a token's id and its key.
    pub fn keys(&self) -> &Turns<(String, String)> {
        &self.inner.keys
    }

    /// Whoever comes without a token, where none is asked for.
    pub fn open_principal(&self) -> Arc<Principal> {
        Arc::clone(&self.inner.open)
    }

    /// Whether only this machine can reach the server.
    pub fn is_loopback(&self) -> bool {
        self.inner.parts.is_loopback
    }

    /// Whether callers come by TLS, here or at a proxy.
    pub fn is_tls(&self) -> bool {
        self.inner.parts.is_tls
    }

    /// Whether callers come through a proxy, which says where they are.
    pub fn is_behind_proxy(&self) -> bool {
        self.inner.parts.behind_proxy
    }

    /// The names of this machine.
    pub fn own_names(&self) -> &[String] {
        &self.inner.own_names
    }

    /// Answers that were made before.
    pub fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// What can change.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.inner.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes settings that were read anew. Where they say something wrong, the old ones stay.
    pub fn reload(&self, settings: Settings) -> Result<(), Failure> {
        let live = Arc::new(Live::new(settings, self.inner.parts.is_loopback)?);
        let token = live.settings.api_token()?;
        self.inner.parts.authenticator.configure(token.as_ref());
        *self.inner.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        Ok(())
    }
}
