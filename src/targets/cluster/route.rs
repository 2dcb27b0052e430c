//! The ways to a gateway on a cluster: its load balancer or ingress by name, and its pod's own
//! loopback through the cluster's API.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::{TcpStream, lookup_host};

use super::finding::Finder;
use super::{names, state};
use crate::domain::IngressSpec;
use crate::gateway::{Dial, Duplex};
use crate::targets::Site;
use crate::targets::container::CONTAINER_PORT;
use crate::targets::https::Https;

/// How long the way to a name may take to open.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// The port of plain HTTP.
const HTTP: u16 = 80;

/// A dial to a host name, or an address, by TCP.
struct Named {
    host: String,
    port: u16,
}

/// The way by a load balancer.
pub(super) fn by_name(host: String, port: u16) -> Box<dyn Dial> {
    Box::new(Named { host, port })
}

/// The way by an ingress.
pub(super) fn by_ingress(ingress: &IngressSpec) -> Box<dyn Dial> {
    let host = ingress.host.clone();
    if ingress.tls_secret.is_some() { Box::new(Https::new(host)) } else { by_name(host, HTTP) }
}

impl Named {
    async fn open(&self) -> io::Result<Box<dyn Duplex>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address yet");
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Box::new(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

#[async_trait]
impl Dial for Named {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        let Ok(opened) = tokio::time::timeout(OPEN_DEADLINE, self.open()).await else {
            let message = format!("no answer from {} within {OPEN_DEADLINE:?}", self.host);
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        };
        opened
    }
}

/// A dial to the pod's own loopback, where the program's own connections keep their scopes.
pub(super) struct Forwarded {
    finder: Finder,
    site: Site,
}

impl Forwarded {
    pub(super) fn new(finder: Finder, site: Site) -> Self {
        Self { finder, site }
    }
}

#[async_trait]
impl Dial for Forwarded {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        let cluster = self.finder.find(&self.site).await.map_err(io::Error::other)?;
        let namespace = names::namespace(&self.site);
        let pod = state::running_pod(&cluster, &namespace)
            .await
            .map_err(|error| io::Error::other(error.words))?;
        let pod = pod.ok_or_else(|| {
            io::Error::new(io::ErrorKind::ConnectionRefused, "no pod of the gateway runs")
        })?;
        let stream = cluster
            .connect(&namespace, &pod, CONTAINER_PORT)
            .await
            .map_err(|error| io::Error::other(error.words))?;
        Ok(Box::new(stream))
    }
}
