//! The way to a gateway by a host name over HTTPS, with this system's own roots.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::gateway::{Dial, Duplex};

/// How long the way to a host name may take to open: its name, TCP, TLS.
const OPEN_DEADLINE: Duration = Duration::from_secs(15);
/// The port of HTTPS.
const HTTPS: u16 = 443;

/// A dial to a host name over TLS, as a browser does it.
#[derive(Debug)]
pub(super) struct Https {
    host: String,
}

impl Https {
    pub(super) fn new(host: String) -> Self {
        Self { host }
    }

    async fn open(&self) -> io::Result<Box<dyn Duplex>> {
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let config = CONFIG.as_ref().map_err(|why| io::Error::other(why.clone()))?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for address in lookup_host((self.host.as_str(), HTTPS)).await? {
            let stream = match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            stream.set_nodelay(true)?;
            let connector = TlsConnector::from(Arc::clone(config));
            return Ok(Box::new(connector.connect(name, stream).await?));
        }
        Err(last)
    }
}

#[async_trait]
impl Dial for Https {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        let Ok(opened) = tokio::time::timeout(OPEN_DEADLINE, self.open()).await else {
            let message = format!("no answer from {} within {OPEN_DEADLINE:?}", self.host);
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        };
        opened
    }
}

/// Read once: the roots are a file of a quarter of a megabyte.
static CONFIG: LazyLock<Result<Arc<ClientConfig>, String>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = builder.with_platform_verifier().map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_no_client_auth()))
});
