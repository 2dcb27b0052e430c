//! A certificate that whoever is told believes, and nobody else.
//!
//! Owns an authority of its own for each, whose key nobody keeps. Refuses to give a second one out.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// A certificate for some host names.
pub struct Issued {
    /// Whom to believe for it, PEM.
    pub authority: String,
    /// The certificate.
    pub certificate: rcgen::Certificate,
    /// Its key.
    pub key: KeyPair,
}

impl Issued {
    /// For these names.
    pub fn of(names: impl Into<Vec<String>>) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).expect("a name");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        let pem = authority.self_signed(&authority_key).expect("an authority").pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(names).expect("names");
        let certificate = own.signed_by(&key, &issuer).expect("a certificate");
        Self { authority: pem, certificate, key }
    }

    /// What a server with it speaks TLS by.
    pub fn server(&self) -> Arc<ServerConfig> {
        let chain = vec![self.certificate.der().clone()];
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("its own certificate");
        Arc::new(config)
    }
}
