//! Ways to reach a gateway: one byte stream per call.
//!
//! Owns the two traits and plain TCP. Refuses name resolution and TLS: whoever knows the route
//! (a published port, an SSH tunnel, a relay inside the container) implements [`Dial`] for it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How long one TCP connect may take. A dropped SYN is retried after 1 s and 3 s, so five seconds
/// leave room for two lost packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Opens byte streams to one gateway.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Opens one stream.
    ///
    /// # Errors
    /// Whatever the route says: refused, timed out, the relay's program is missing.
    async fn dial(&self) -> io::Result<Box<dyn Duplex>>;
}

/// Plain TCP to an address.
#[derive(Debug, Clone, Copy)]
pub struct TcpDial {
    /// Where the gateway's port is published.
    pub addr: SocketAddr,
}

impl TcpDial {
    /// Dials `addr`.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr }
    }
}

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self) -> io::Result<Box<dyn Duplex>> {
        let connect = TcpStream::connect(self.addr);
        let Ok(connected) = tokio::time::timeout(CONNECT_TIMEOUT, connect).await else {
            let message = format!("no answer from {} within {CONNECT_TIMEOUT:?}", self.addr);
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        };
        let stream = connected?;
        // Frames are small and answered one by one: waiting to fill a segment only adds latency.
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
