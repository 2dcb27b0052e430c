//! A certificate that nobody signed but itself.
//!
//! Owns how it is made, and the fingerprint by which whoever was told of it knows it again. Refuses
//! to be trusted without that.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::Secret;
use crate::domain::Failure;

/// A certificate and its key, as PEM.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: Secret,
}

/// Makes one for these names and addresses.
pub fn self_signed(names: &[String]) -> Result<Certificate, Failure> {
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| Failure::failed(format!("no certificate could be made: {error}")))?;
    Ok(Certificate {
        certificate: made.cert.pem(),
        key: Secret::new(made.signing_key.serialize_pem()),
    })
}

/// The fingerprint of the first certificate of a chain, as browsers and `openssl x509 -fingerprint
/// -sha256` show it.
pub fn fingerprint_of_chain(pem: &str) -> Result<String, Failure> {
    let first = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| Failure::bad_input("this is no certificate as PEM"))?;
    Ok(fingerprint(&first))
}

/// The fingerprint of a certificate.
pub fn fingerprint(certificate: &[u8]) -> String {
    let digest = Sha256::digest(certificate);
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_one_and_known_again() {
        let names = ["192.0.2.7".to_owned(), "pipeline.example".to_owned()];
        let of = |it: &Certificate| fingerprint_of_chain(&it.certificate).expect("one");
        let (one, other) = (self_signed(&names).expect("made"), self_signed(&names).expect("made"));
        assert_eq!(of(&one), of(&one));
        assert_ne!(of(&one), of(&other));
        assert_eq!(of(&one).len(), 32 * 3 - 1);
        assert!(!format!("{one:?}").contains("PRIVATE KEY"));
        assert!(fingerprint_of_chain(one.key.expose()).is_err());
    }
}
