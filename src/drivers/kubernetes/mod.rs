//! Kubernetes: what is asked of a cluster's API, and what it answers.
//!
//! Owns how a cluster is found and spoken to: kubeconfig files, a pod's own service account,
//! credentials that a program gives; objects that are applied, read and removed. Everything is asked of
//! the API itself. Refuses to know what the objects are for, to guess which cluster is meant, and to
//! start a program but by the one door.

mod asking;
mod bearer;
mod changes;
mod client;
mod credential;
mod eks;
mod error;
mod kubeconfig;
mod objects;
mod pods;
mod review;
mod within;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

use self::bearer::Bearer;
use crate::domain::{EksCluster, Failure};
use crate::drivers::aws::Environment;

pub use changes::Changes;
pub use client::{Container, UNREACHED};
pub use credential::CLOUDS;
pub use error::{ApiError, Problem};
pub use objects::{Kind, MANAGER, Object};
pub use pods::{Attached, LogPart, Reader, Resizing, Streams, Writer};
pub use review::Right;
pub use within::Pod as OwnPod;

/// How long a connection to the API may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How a cluster is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whereabouts {
    /// A context of these files, of which the first that knows a name counts.
    Kubeconfig {
        /// The files.
        files: Vec<PathBuf>,
        /// The context. `None`: the one that the files say is current.
        context: Option<String>,
    },
    /// The one that this program itself runs on, as the service account of its pod.
    Within(within::Pod),
    /// One of EKS, as whoever this program's own AWS credentials belong to.
    Eks(EksCluster),
}

/// A cluster's API.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    server: String,
    answered: Arc<AtomicBool>,
    bearer: Option<Arc<Bearer>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Finds a cluster, and learns how it is spoken to. Nothing is asked of it yet.
    pub async fn find(
        place: &Whereabouts,
        credentials: &Environment,
        cancel: &CancellationToken,
    ) -> Result<Self, Failure> {
        let mut config = Self::config(place, credentials, cancel).await?;
        let token = config.auth_info.token.take();
        if token.is_some() {
            // The token counts where there are both, and nothing may take its place on the way.
            config.auth_info.token_file = None;
        }
        let bearer = token.map(|it| Bearer::new(&it, place, credentials)).transpose()?;
        Self::of(config, bearer)
    }

    async fn config(
        place: &Whereabouts,
        credentials: &Environment,
        cancel: &CancellationToken,
    ) -> Result<Config, Failure> {
        match place {
            Whereabouts::Kubeconfig { files, context } => {
                kubeconfig::read(files, context.as_deref(), cancel).await
            }
            Whereabouts::Within(pod) => pod.config(),
            Whereabouts::Eks(cluster) => eks::config(cluster, credentials).await,
        }
    }

    fn of(mut config: Config, bearer: Option<Bearer>) -> Result<Self, Failure> {
        config.connect_timeout = Some(CONNECT);
        // Calls are made again by `asking`, which knows what may be, and keeps what was answered.
        config.default_retry = false;
        // Whoever was first may have installed another one, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = config.cluster_url.to_string();
        let builder = ClientBuilder::try_from(config).map_err(|error| match error {
            // It names the proxy's address, which may hold a password.
            kube::Error::ProxyProtocolUnsupported { .. } => Failure::prerequisite(format!(
                "the cluster at {server} cannot be spoken to: its proxy is of no kind that is known"
            ))
            .remedy(
                "name one that begins with http://, https:// or socks5:// (HTTPS_PROXY, or proxy-url \
                 in the kubeconfig); NO_PROXY names what is spoken to without one",
            ),
            error => Failure::prerequisite(format!(
                "the cluster at {server} cannot be spoken to: {}",
                error::words(&error)
            ))
            .remedy("check the certificates and the address that the kubeconfig has for it"),
        })?;
        let client = match &bearer {
            Some(bearer) => builder.with_layer(&MapRequestLayer::new(bearer.carried())).build(),
            None => builder.build(),
        };
        Ok(Self { client, server, answered: Arc::default(), bearer: bearer.map(Arc::new) })
    }

    /// Its address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Its version, as (major, minor): whatever a vendor puts behind the number is left out.
    pub async fn version(&self) -> Result<(u32, u32), ApiError> {
        let info = self.ask(|| self.client.apiserver_version()).await?;
        let number = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or_default()
        };
        Ok((number(&info.major), number(&info.minor)))
    }

    /// Whether it answers now. What is too busy is not asked again.
    pub async fn answers(&self) -> Result<(), ApiError> {
        self.ask_once(|| self.client.apiserver_version()).await.map(drop)
    }

    fn nothing_there(&self) -> ApiError {
        ApiError::new(Problem::Other, "nothing was connected", &self.server)
    }
}
