//! The token by which a cluster lets this program in.
//!
//! Owns what each call carries, and that a token is found anew once the cluster does not take it any
//! more: AWS's hold for a quarter of an hour, and what is waited for may outlast that. Refuses to look
//! again for one that was found just now: whoever it belongs to is not let in.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Request};
use kube::client::Body;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Cluster, Whereabouts};
use crate::domain::Failure;
use crate::drivers::aws::Environment;

/// How old a token has to be before another one is looked for.
const OLD: Duration = Duration::from_secs(60);

/// A token, and where another one is found.
pub(super) struct Bearer {
    place: Whereabouts,
    credentials: Environment,
    header: Arc<RwLock<HeaderValue>>,
    since: Mutex<Since>,
}

/// When the token was found.
struct Since {
    at: Instant,
    /// Whether it is another one than at first.
    is_renewed: bool,
}

impl Bearer {
    pub(super) fn new(
        token: &SecretString,
        place: &Whereabouts,
        credentials: &Environment,
    ) -> Result<Self, Failure> {
        Ok(Self {
            place: place.clone(),
            credentials: credentials.clone(),
            header: Arc::new(RwLock::new(header(token)?)),
            since: Mutex::new(Since { at: Instant::now(), is_renewed: false }),
        })
    }

    /// What puts the token that there is then on each call.
    pub(super) fn carried(
        &self,
    ) -> impl Fn(Request<Body>) -> Request<Body> + Clone + Send + Sync + use<> {
        let header = Arc::clone(&self.header);
        move |mut request| {
            let header = header.read().unwrap_or_else(PoisonError::into_inner).clone();
            request.headers_mut().insert(AUTHORIZATION, header);
            request
        }
    }

    /// Finds another token; whether a call may fare better now.
    pub(super) async fn renew(&self) -> bool {
        let mut since = self.since.lock().await;
        if since.at.elapsed() < OLD {
            // Another call may have met the same just before.
            return since.is_renewed;
        }
        match self.find().await {
            Ok(found) => {
                *self.header.write().unwrap_or_else(PoisonError::into_inner) = found;
                *since = Since { at: Instant::now(), is_renewed: true };
                true
            }
            Err(failure) => {
                // Not asked for again by each call that meets the same.
                *since = Since { at: Instant::now(), is_renewed: false };
                tracing::warn!(%failure, "no other token for the cluster");
                false
            }
        }
    }

    async fn find(&self) -> Result<HeaderValue, Failure> {
        let cancel = CancellationToken::new();
        let config = Cluster::config(&self.place, &self.credentials, &cancel);
        let token = Box::pin(config).await?.auth_info.token;
        header(&token.ok_or_else(|| Failure::prerequisite("there is no token there any more"))?)
    }
}

fn header(token: &SecretString) -> Result<HeaderValue, Failure> {
    let header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
    let mut header = header.map_err(|_| {
        Failure::prerequisite("the token for the cluster has characters that no token has")
            .remedy("make the kubeconfig anew, or sign in anew with what gives the token")
    })?;
    header.set_sensitive(true);
    Ok(header)
}
