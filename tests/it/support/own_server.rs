//! The pipeline server on a machine of its own, in the lab's cloud.
//!
//! Owns the program as it is shipped there (the same code, linked to stand alone), the commands that
//! put it there, and calls of the server from the operator's side. Refuses to believe another
//! certificate than the one that the program told of.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::Value;
use sha2::Digest as _;

use super::lab::search_path;
use super::machine_case::{Case, ends};
use super::product::{Run, until};

/// The program, linked so that it runs on every machine. Only its own last step is made anew: what
/// it is made of is that of the tests.
pub fn static_program() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        let target = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/it-HASH");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["rustc", "--quiet", "--locked", "--example", "static-program"]);
        cargo.arg("--target-dir").arg(target.parent().expect("target"));
        cargo.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
        // What cargo says of this test's package would have crates built anew that ask for it.
        for (name, _) in std::env::vars_os() {
            let is_package = ["CARGO_PKG_", "CARGO_MANIFEST_"]
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix));
            if is_package {
                cargo.env_remove(&name);
            }
        }
        let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the static program: {said}");
        target.join("examples/static-program")
    })
    .clone()
}

/// An installation whose server gets the static program.
pub fn case(target: &'static str) -> Option<Case> {
    let mut case = Case::start(target)?;
    case.product.set("OPENCLAW_PIPELINE_SERVER_BINARY", static_program());
    // Terraform itself is shipped there, not the lab's way of running it.
    case.product.set("PATH", search_path());
    Some(case)
}

/// One of the commands `server …`.
pub fn server<const N: usize>(case: &Case, args: [&str; N]) -> Run {
    args.into_iter().fold(case.product.run(["--on", case.target, "server"]), Run::arg)
}

/// The last object that a command answers with `--json`.
#[track_caller]
pub fn answer(run: Run) -> Value {
    ends(run.arg("--json"), 0).objects().pop().expect("an answer")
}

/// Runs a script on the server's machine, as root.
pub fn there(case: &Case, script: &str) -> String {
    case.cloud.run(&case.only().id, script).trim().to_owned()
}

/// The server there, as a client knows it.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Where it is.
    pub address: Ipv4Addr,
    /// The fingerprint of its certificate; none over plain HTTP.
    pub fingerprint: Option<String>,
}

impl Reached {
    /// As the program's answer says.
    #[track_caller]
    pub fn told(answer: &Value) -> Self {
        let address = answer["address"].as_str().expect("an address").parse().expect("an address");
        let fingerprint = answer["certificate_sha256"].as_str().map(str::to_owned);
        Self { address, fingerprint }
    }

    /// Calls it; answers the status and the body.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> std::io::Result<(u16, Value)> {
        let to = (self.address, 4000);
        // Before anything is sent, a machine of the lab's may be slow.
        let tcp = until("it takes connections", || {
            let tried = TcpStream::connect_timeout(&to.into(), Duration::from_secs(10));
            let slow = |error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut;
            (!tried.as_ref().is_err_and(slow)).then_some(tried)
        })?;
        tcp.set_read_timeout(Some(Duration::from_secs(30)))?;
        let bearer = token.map(|it| format!("authorization: Bearer {it}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}:4000\r\nconnection: close\r\n{bearer}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut text = Vec::new();
        match &self.fingerprint {
            None => {
                let mut tcp = tcp;
                tcp.write_all(request.as_bytes())?;
                tcp.read_to_end(&mut text)?;
            }
            Some(fingerprint) => {
                let name = ServerName::from(std::net::IpAddr::from(self.address));
                let connection = ClientConnection::new(believing(fingerprint), name);
                let mut tls = StreamOwned::new(connection.expect("a client"), tcp);
                tls.write_all(request.as_bytes())?;
                // A server that closes without a goodbye has said everything all the same.
                let _ = tls.read_to_end(&mut text);
            }
        }
        let text = String::from_utf8_lossy(&text);
        let status = text.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or_default();
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        Ok((status, serde_json::from_str(body).unwrap_or_default()))
    }

    /// A GET; the server has to answer.
    #[track_caller]
    pub fn get(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        self.call("GET", path, token, "").expect("it answers")
    }
}

fn believing(fingerprint: &str) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believing(fingerprint.to_owned())))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Believing(String);

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digest = sha2::Sha256::digest(shown);
        let said: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        if said.join(":") == self.0 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("another certificate".into()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        let known = provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, shown, signed, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        let known = provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, shown, signed, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
