//! The server's own TLS: a certificate and its key, read from files, and read anew when told to.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;
use crate::domain::Failure;

/// What new connections are made with.
pub fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, Failure> {
    let certificates = read(&files.certificate, "the certificate", |path| {
        CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()
    })?;
    if certificates.is_empty() {
        return Err(unusable(&files.certificate, "the certificate", "it has no certificate"));
    }
    let key = read(&files.key, "the key", |path| PrivateKeyDer::from_pem_file(path))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::internal(format!("TLS: {error}")))?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| unusable(&files.key, "the key", &error.to_string()))?;
    Ok(Arc::new(config))
}

fn read<T>(
    path: &Path,
    what: &str,
    parse: impl FnOnce(&Path) -> Result<T, rustls::pki_types::pem::Error>,
) -> Result<T, Failure> {
    parse(path).map_err(|error| unusable(path, what, &error.to_string()))
}

fn unusable(path: &Path, what: &str, why: &str) -> Failure {
    Failure::bad_input(format!(
        "{what} in {} cannot be used: {}",
        path.display(),
        crate::domain::text::clean(why, 200)
    ))
    .remedy("name PEM files that this user can read: the chain, and the key that belongs to it")
}
