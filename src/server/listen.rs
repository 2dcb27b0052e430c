//! Taking connections.
//!
//! Owns the bounds of a connection: how many there are, how long a handshake, a request's head and
//! an answer's writing may take, how large a head may be. Refuses whoever is beyond them by closing
//! the connection; nothing else waits for it. Where there are as many as there may be, one that only
//! waits gives way.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::seats::{Seat, Seats, Sending};
use crate::app::back_off;
use crate::app::is_near;
use crate::telemetry::metrics::{Held, Metrics};

/// How many connections there are at once.
pub(super) const CONNECTIONS: usize = 4096;
/// How many of them come from one address that is not this machine's.
const CONNECTIONS_OF_ONE: u32 = 512;
/// How long it may take until one that gives way is gone.
const GIVING_WAY: Duration = Duration::from_secs(1);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take to come, also the next one on a connection that waits.
const HEAD: Duration = Duration::from_secs(15);
/// How long a client may take to read a piece of its answer.
const WRITE: Duration = Duration::from_secs(30);
/// How large a request's head may be, in bytes, and how many headers it may have.
const HEAD_BYTES: usize = 64 << 10;
const HEADERS: usize = 100;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// Whether it is of this machine or of a private network, as a proxy in front of this server is.
    pub fn is_near(self) -> bool {
        is_near(self.0.to_canonical())
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Self>().copied();
        Ok(peer.unwrap_or(Self(IpAddr::from([0, 0, 0, 0]))))
    }
}

/// What the TLS of new connections is made with; it may be replaced.
pub type Tls = Arc<RwLock<Arc<rustls::ServerConfig>>>;

/// How connections are taken.
#[derive(Clone)]
pub struct Listening {
    /// Who answers.
    pub router: Router,
    /// TLS, where there is any.
    pub tls: Option<Tls>,
    /// Whether many clients come from one address.
    pub behind_proxy: bool,
    /// What counts them.
    pub metrics: Metrics,
}

/// Takes connections until `end`, and then lets those that are at work come to an end within
/// `grace`.
pub async fn listen(
    listener: TcpListener,
    listening: Listening,
    end: CancellationToken,
    grace: Duration,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let seats = Arc::new(Seats::default());
    let counts = Arc::new(Counts::default());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, perhaps: others end.
                tracing::warn!(%error, "a connection could not be taken");
                back_off(Duration::from_millis(50)).await;
                continue;
            }
        };
        let one = address.ip().to_canonical();
        let unbounded = one.is_loopback() || (listening.behind_proxy && Peer(one).is_near());
        let Some(place) = Counts::take(&counts, one, unbounded) else { continue };
        let Some(slot) = slot(&slots, &seats).await else {
            tracing::debug!("there are as many connections as there may be");
            continue;
        };
        let (listening, end, seat) = (listening.clone(), end.clone(), seats.take());
        connections.spawn(async move {
            let _held: (OwnedSemaphorePermit, Place, Held) =
                (slot, place, listening.metrics.connection());
            tokio::select! {
                () = serve(stream, address, listening, &seat, end) => {}
                () = seat.given_up() => tracing::debug!("a connection that waited gave way"),
            }
        });
    }
    drop(listener);
    connections.close();
    // What streams does not end by itself: it is cut off.
    let _ = tokio::time::timeout(grace, connections.wait()).await;
}

/// Room for one more connection, if need be that of one that waits.
async fn slot(slots: &Arc<Semaphore>, seats: &Seats) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Some(slot);
    }
    if !seats.make_room() {
        return None;
    }
    let free = Arc::clone(slots).acquire_owned();
    tokio::time::timeout(GIVING_WAY, free).await.ok()?.ok()
}

/// How many connections come from each address.
#[derive(Debug, Default)]
struct Counts {
    of: Mutex<HashMap<IpAddr, u32>>,
}

/// A connection's place among those of its address.
struct Place {
    counts: Arc<Counts>,
    of: Option<IpAddr>,
}

impl Counts {
    fn take(this: &Arc<Self>, address: IpAddr, unbounded: bool) -> Option<Place> {
        let counts = Arc::clone(this);
        if unbounded {
            return Some(Place { counts, of: None });
        }
        let mut of = this.of.lock().unwrap_or_else(PoisonError::into_inner);
        let count = of.entry(address).or_default();
        if *count >= CONNECTIONS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Place { counts, of: Some(address) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.of else { return };
        let mut of = self.counts.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = of.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                of.remove(&address);
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    listening: Listening,
    seat: &Arc<Seat>,
    end: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE));
    let stream = Box::pin(stream);
    let Some(tls) = &listening.tls else {
        return answer(stream, address, listening.router, seat, end).await;
    };
    let config = Arc::clone(&tls.read().unwrap_or_else(PoisonError::into_inner));
    match tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => answer(stream, address, listening.router, seat, end).await,
        Ok(Err(error)) => tracing::debug!(%error, "no handshake"),
        Err(_) => tracing::debug!("the handshake took too long"),
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    router: Router,
    seat: &Arc<Seat>,
    end: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let working = seat.work();
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(Peer(address.ip())));
        let answered = router.clone().oneshot(request);
        async move { Ok::<_, Infallible>(answered.await?.map(|body| Sending::new(body, working))) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = end.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
