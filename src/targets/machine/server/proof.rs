//! The server there, as its user reaches it.
//!
//! Owns a GET by that way, and what has to be answered. Refuses a certificate that is not the one
//! that was told of: nothing is sent to anybody else, and no authority is asked.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::super::{reach, route::Forwarded};
use crate::domain::{Failure, Reach, SERVER_PORT, ServerFacts};
use crate::gateway::{Dial, Duplex, TcpDial};
use crate::secrets::{Secret, certificate};
use crate::targets::Site;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(15);

/// The server there, and the way to it.
pub(super) struct Server {
    dial: Box<dyn Dial>,
    host: String,
    address: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Server {
    /// By the way that its user takes.
    pub(super) fn of(site: &Site, server: &ServerFacts) -> Result<Self, Failure> {
        let address = reach::known(site)?.address;
        let dial: Box<dyn Dial> = match server.reach {
            Reach::Tunnel => Box::new(Forwarded::new(reach::machine(site)?, SERVER_PORT)),
            Reach::Https | Reach::Http => Box::new(TcpDial::new((address, SERVER_PORT).into())),
        };
        let tls = match (server.reach, &server.fingerprint) {
            (Reach::Https, Some(fingerprint)) => Some(pinned(fingerprint.clone())?),
            (Reach::Https, None) => {
                return Err(Failure::internal("a server with TLS and without a certificate"));
            }
            _ => None,
        };
        Ok(Self {
            dial,
            host: format!("{address}:{SERVER_PORT}"),
            address: address.to_string(),
            tls,
        })
    }

    /// The status of a GET.
    pub(super) async fn get(&self, path: &str, token: Option<&Secret>) -> Result<u16, String> {
        let asked = async {
            let stream = self.dial.dial().await.map_err(|error| error.to_string())?;
            match &self.tls {
                None => self.ask(stream, path, token).await,
                Some(config) => {
                    let name = ServerName::try_from(self.address.clone())
                        .map_err(|error| error.to_string())?;
                    let connector = TlsConnector::from(Arc::clone(config));
                    let stream = connector.connect(name, stream).await;
                    self.ask(stream.map_err(|error| error.to_string())?, path, token).await
                }
            }
        };
        match tokio::time::timeout(REQUEST, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", REQUEST.as_secs())),
        }
    }

    async fn ask(
        &self,
        stream: impl Duplex + 'static,
        path: &str,
        token: Option<&Secret>,
    ) -> Result<u16, String> {
        let said = |error: hyper::Error| error.to_string();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
        let mut request = hyper::Request::get(path).header(header::HOST, &self.host);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        tokio::select! {
            answer = sender.send_request(request) => Ok(answer.map_err(said)?.status().as_u16()),
            ended = connection => Err(ended.err().map_or("it hung up".into(), said)),
        }
    }

    /// Why it is not proven; `None` where it is. It takes work, it knows its token, and it lets
    /// nobody in without one.
    pub(super) async fn unproven(&self, token: &Secret) -> Option<String> {
        for (path, token, expected) in
            [("/readyz", None, 200), ("/status", None, 401), ("/status", Some(token), 200)]
        {
            let with = if token.is_some() { " with the token" } else { "" };
            match self.get(path, token).await {
                Ok(status) if status == expected => {}
                Ok(status) => return Some(format!("{path}{with} answers {status}")),
                Err(why) => return Some(format!("{path}{with}: {why}")),
            }
        }
        None
    }
}

fn pinned(fingerprint: String) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::internal(format!("TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Knows one certificate by its fingerprint, and that whoever shows it has its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if certificate::fingerprint(shown) == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("it shows another certificate than its own".into()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
