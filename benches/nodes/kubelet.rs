//! What the API server asks a node: a connection to a port of a pod's own.
//!
//! Owns the way as a kubelet has it, by TLS and a WebSocket with a channel for the data and one for
//! what went wrong, each of which begins with the port. Refuses everything else that a kubelet does.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::{Known, lock};

/// This end of the lab's link to the cluster (`tests/lab/kubernetes/run`).
pub const ADDRESS: &str = "10.214.0.1";
/// What the API server hands on of what its client asks for.
const PROTOCOL: &str = "v4.channel.k8s.io";

/// Begins to listen; answers the port.
pub async fn begin(known: Known) -> u16 {
    let made = rcgen::generate_simple_self_signed([ADDRESS.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("its own certificate");
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((ADDRESS, 0)).await.expect("the link's address");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(forward(tls.clone(), stream, Arc::clone(&known)));
        }
    });
    port
}

/// One connection. Whoever lets go of it is not told why: the gateway's own end is enough.
async fn forward(tls: TlsAcceptor, stream: TcpStream, known: Known) -> Option<()> {
    let stream = tls.accept(stream).await.ok()?;
    let mut path = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let take = |asked: &Request, mut answer: Response| -> Result<Response, ErrorResponse> {
        asked.uri().path().clone_into(&mut path);
        answer.headers_mut().insert("sec-websocket-protocol", PROTOCOL.parse().expect("a word"));
        Ok(answer)
    };
    let socket = accept_hdr_async(stream, take).await.ok()?;
    let namespace = path.strip_prefix("/portForward/")?.split('/').next()?;
    let address = lock(&known).address(namespace)?;
    let (mut to, mut from) = socket.split();
    for channel in 0..2 {
        let [low, high] = 18789_u16.to_le_bytes();
        to.send(Message::binary(vec![channel, low, high])).await.ok()?;
    }
    let (mut answers, mut asks) = TcpStream::connect(address).await.ok()?.into_split();
    let inwards = async {
        while let Some(Ok(message)) = from.next().await {
            if let Message::Binary(bytes) = message
                && let Some((0, bytes)) = bytes.split_first()
            {
                asks.write_all(bytes).await.ok()?;
            }
        }
        asks.shutdown().await.ok()
    };
    let outwards = async {
        let mut chunk = vec![0; 16 * 1024];
        loop {
            match answers.read(&mut chunk[1..]).await.ok()? {
                0 => return to.close().await.ok(),
                read => to.send(Message::binary(chunk[..=read].to_vec())).await.ok()?,
            }
        }
    };
    tokio::select! {
        it = inwards => it,
        it = outwards => it,
    }
}
