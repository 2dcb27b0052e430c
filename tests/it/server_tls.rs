//! The server's own TLS: a certificate and its key from files, read anew when told to.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::product::{Product, until};
use crate::support::server::Served;

/// A certificate for localhost, and where its files lie.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(product: &Product) -> Self {
        Self { certificate: product.path("chain.pem"), key: product.path("key.pem") }
    }

    /// Makes a certificate, and puts it there.
    fn put(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        fs::write(&self.certificate, cert.pem()).expect("written");
        fs::write(&self.key, signing_key.serialize_pem()).expect("written");
        cert.der().clone()
    }
}

/// Asks whether the server lives, believing this certificate alone; answers everything it said.
fn ask(to: SocketAddr, believed: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(believed.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = StreamOwned::new(connection, TcpStream::connect(to)?);
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    // A server that closes without a goodbye has said everything all the same.
    let _ = stream.read_to_string(&mut answer);
    Ok(answer)
}

#[test]
fn tls_by_files_that_are_read_anew() {
    let product = Product::new();
    let files = Files::of(&product);
    let first = files.put();
    let (certificate, key) = (files.certificate.clone(), files.key.clone());
    let path = |path: &PathBuf| path.to_str().expect("a path").to_owned();
    let served =
        Served::on(product, &["--tls-cert", &path(&certificate), "--tls-key", &path(&key)]);
    assert!(served.url().starts_with("https://"), "{}", served.url());
    let to = served.address();
    let answer = ask(to, &first).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(r#"{"status":"ok"}"#),
        "{answer}"
    );
    assert!(answer.contains("strict-transport-security"), "{answer}");
    // Plain HTTP is no answer.
    let mut plain = TcpStream::connect(to).expect("it listens");
    plain.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");

    let second = files.put();
    served.signal(Signal::HUP);
    until("it takes the new one", || ask(to, &second).is_ok_and(|it| !it.is_empty()).then_some(()));
    ask(to, &first).expect_err("the old one is not shown any more");

    fs::write(&files.certificate, "no certificate").expect("written");
    served.signal(Signal::HUP);
    until("it says so", || served.log().contains("could not be read anew").then_some(()));
    assert!(ask(to, &second).is_ok_and(|it| !it.is_empty()), "what was in force stays");
}

#[test]
fn files_that_cannot_be_used_are_refused_with_a_remedy() {
    let product = Product::new();
    let files = Files::of(&product);
    files.put();
    let path = |path: &PathBuf| path.to_str().expect("a path").to_owned();
    let (certificate, key) = (path(&files.certificate), path(&files.key));
    let one = product.run(["serve", "--port", "0", "--tls-cert", &certificate]).code(2);
    one.says("OPENCLAW_PIPELINE_TLS_KEY");
    fs::write(&files.key, "no key").expect("written");
    let both = product
        .run(["serve", "--port", "0", "--tls-cert", &certificate, "--tls-key", &key])
        .code(2);
    both.says("cannot be used").says("name PEM files");
}
