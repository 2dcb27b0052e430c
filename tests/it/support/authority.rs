//! A certificate that whoever is told believes, and nobody else.
//!
//! Owns an authority of its own for each, whose key nobody keeps. Refuses to give a second one out.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

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
}
