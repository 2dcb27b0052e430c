//! The lab's edge: what stands for Cloudflare's network before a stand-in `cloudflared`.
//!
//! Owns the host names that it gives out (a new one for each quick tunnel), a certificate authority
//! that only this lab believes, and passing on what comes by HTTPS, with the headers that Cloudflare
//! adds. It is **no** Cloudflare: neither QUIC nor HTTP/2 is spoken, and nothing leaves the machine.
//! One at a time on a machine: its addresses are fixed, because the stand-in's image has them.
//!
//! Whoever is tested finds the names in a hosts file of its own ([`Edge::hosts`], see
//! `Product::with_hosts`); the machine's is left alone.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::PublicKeyData as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::Digest as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::authority::Issued;
use super::lab::command;

/// Where tunnels connect to, on the lab's bridge.
const FOR_TUNNELS: &str = "10.213.0.1:7844";
/// Where browsers come to: an address that is nobody's, on this machine's loopback.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// The named tunnel that the edge knows, and its token.
pub const NAMED: (&str, &str) = ("ai.tunnel.example", "eyJhIjoibGFiLXRva2VuIn0-0123456789");
/// Where a named tunnel leads to, as its owner says at their account.
const INGRESS: &str = "http://openclaw-gateway:18789";
/// How long a request waits for a tunnel.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    spare: Mutex<HashMap<String, VecDeque<TcpStream>>>,
    hosts: Mutex<PathBuf>,
    given: AtomicUsize,
    is_silent: AtomicBool,
    is_unnamed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The edge; gone when dropped.
pub struct Edge {
    state: Arc<State>,
    end: CancellationToken,
    directory: tempfile::TempDir,
    key_digest: String,
    worker: Option<std::thread::JoinHandle<()>>,
    _turn: fs::File,
}

impl Edge {
    /// Starts it, when no other test has one.
    pub fn start() -> Self {
        let turn = fs::File::create("/run/lock/openclaw-lab-edge").expect("root may");
        turn.lock().expect("its turn");
        let added = command("ip")
            .args(["addr", "replace", &format!("{ADDRESS}/32"), "dev", "lo"])
            .status()
            .expect("run ip");
        assert!(added.success(), "no address for the edge");
        let directory = tempfile::tempdir().expect("a directory");
        let hosts = directory.path().join("hosts");
        let own = fs::read_to_string("/etc/hosts").unwrap_or_default();
        fs::write(&hosts, own).expect("written");
        let state = Arc::new(State::default());
        lock(&state.hosts).clone_from(&hosts);
        let (tls, authority, key_digest) = certificates();
        // A copy of the system's roots is not needed: nothing else is called over TLS.
        fs::write(directory.path().join("authority.pem"), authority).expect("written");
        let end = CancellationToken::new();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let worker = std::thread::spawn({
            let (state, end) = (Arc::clone(&state), end.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    let tunnels = TcpListener::bind(FOR_TUNNELS).await.expect("the lab's bridge");
                    let https = TcpListener::bind((ADDRESS, 443)).await.expect("HTTPS's port");
                    ready.send(()).expect("somebody waits");
                    tokio::select! {
                        () = accept_tunnels(tunnels, Arc::clone(&state)) => {}
                        () = accept_browsers(https, tls, state) => {}
                        () = end.cancelled() => {}
                    }
                });
                runtime.shutdown_background();
            }
        });
        let edge = Self { state, end, directory, key_digest, worker: Some(worker), _turn: turn };
        is_ready.recv().expect("it listens");
        edge.name(NAMED.0);
        edge
    }

    /// The hosts file with its names.
    pub fn hosts(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }

    /// The certificate of its authority, a PEM file.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    /// The digest of its certificate's key, as a browser takes it.
    pub fn key_digest(&self) -> &str {
        &self.key_digest
    }

    /// How many quick tunnels it gave a name.
    pub fn given(&self) -> usize {
        self.state.given.load(Ordering::SeqCst)
    }

    /// Answers no tunnel any more, or again.
    pub fn silence(&self, is_silent: bool) {
        self.state.is_silent.store(is_silent, Ordering::SeqCst);
    }

    /// Gives names out that lead nowhere, or again such that lead here.
    pub fn unname(&self, is_unnamed: bool) {
        self.state.is_unnamed.store(is_unnamed, Ordering::SeqCst);
    }

    /// A connection to one of its host names, as a browser makes it.
    pub async fn connect(&self, host: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let pem = fs::read(self.authority()).expect("the authority");
        let root = CertificateDer::from_pem_slice(&pem).expect("a certificate");
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect((ADDRESS, 443)).await.expect("the edge listens");
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(name, tcp).await.expect("the edge's certificate")
    }

    fn name(&self, host: &str) {
        add_name(&self.state, host);
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        let address = format!("{ADDRESS}/32");
        let _ = command("ip").args(["addr", "del", &address, "dev", "lo"]).status();
    }
}

/// Into the same file: it is mounted where its reader looks for it.
fn add_name(state: &State, host: &str) {
    let path = lock(&state.hosts).clone();
    let mut file = fs::OpenOptions::new().append(true).open(path).expect("the hosts file");
    writeln!(file, "{ADDRESS} {host}").expect("written");
}

/// What the edge shows, whom to believe for it, and the digest of its key.
fn certificates() -> (TlsAcceptor, String, String) {
    let names = ["*.trycloudflare.com".to_owned(), NAMED.0.to_owned()];
    let issued = Issued::of(names);
    let digest = STANDARD.encode(sha2::Sha256::digest(issued.key.subject_public_key_info()));
    (TlsAcceptor::from(issued.server()), issued.authority, digest)
}

async fn accept_tunnels(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move { tunnel(stream, state).await });
    }
}

async fn tunnel(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await.is_err() {
        return;
    }
    if let Some(host) = line.trim().strip_prefix("SPARE ") {
        let mut spare = lock(&state.spare);
        spare.entry(host.to_owned()).or_default().push_back(stream.into_inner());
        return;
    }
    if state.is_silent.load(Ordering::SeqCst) {
        // As where nothing gets out, until what waits gives up and something does.
        while state.is_silent.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        return;
    }
    let host = match line.trim().split_once(' ') {
        None if line.trim() == "QUICK" => {
            let number = state.given.fetch_add(1, Ordering::SeqCst);
            let host = format!("lab-{}-{number}-quick.trycloudflare.com", std::process::id());
            if !state.is_unnamed.load(Ordering::SeqCst) {
                add_name(&state, &host);
            }
            host
        }
        Some(("NAMED", token)) if token == NAMED.1 => NAMED.0.to_owned(),
        _ => {
            let _ = stream.write_all(b"ERR Provided Tunnel token is not valid.\n").await;
            return;
        }
    };
    if stream.write_all(format!("HOST {host} {INGRESS}\n").as_bytes()).await.is_err() {
        return;
    }
    // While it is held, the tunnel is up; then its name leads nowhere.
    let _ = stream.read(&mut [0; 1]).await;
    lock(&state.spare).remove(&host);
}

async fn accept_browsers(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let (state, tls) = (Arc::clone(&state), tls.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = tls.accept(stream).await else { return };
            let _ = browse(stream, &peer.ip().to_string(), &state).await;
        });
    }
}

async fn browse(
    mut browser: tokio_rustls::server::TlsStream<TcpStream>,
    client: &str,
    state: &State,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") {
            break end;
        }
        if browser.read_buf(&mut head).await? == 0 || head.len() > 1 << 16 {
            return Ok(());
        }
    };
    let rest = head.split_off(end + 4);
    let (head, host) = rewritten(&String::from_utf8_lossy(&head), client);
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut through = loop {
        let spare = lock(&state.spare).get_mut(&host).and_then(VecDeque::pop_front);
        match spare {
            // One that its tunnel left says so.
            Some(spare) => match spare.try_read(&mut [0; 1]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break spare,
                _ => {}
            },
            None if lock(&state.spare).contains_key(&host)
                && tokio::time::Instant::now() < until =>
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            None => {
                let page = "error code: 1033";
                let answer = format!(
                    "HTTP/1.1 530 <none>\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                    page.len()
                );
                browser.write_all(answer.as_bytes()).await?;
                return browser.shutdown().await;
            }
        }
    };
    through.write_all(head.as_bytes()).await?;
    through.write_all(&rest).await?;
    tokio::io::copy_bidirectional(&mut browser, &mut through).await.map(drop)
}

/// A request's head with what Cloudflare puts there, and the host that it is for. What a client
/// says of itself stays, left of what is known.
fn rewritten(head: &str, client: &str) -> (String, String) {
    let mut lines = head.trim_end().split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let (mut host, mut chain, mut is_upgrade) = (String::new(), String::new(), false);
    let mut kept = vec![first];
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match name.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => chain = format!("{},", value.trim()),
            "x-forwarded-proto" | "cf-connecting-ip" => continue,
            "connection" if !value.to_ascii_lowercase().contains("upgrade") => continue,
            "host" => host = value.trim().to_ascii_lowercase(),
            "upgrade" => is_upgrade = true,
            _ => {}
        }
        if !name.eq_ignore_ascii_case("x-forwarded-for") {
            kept.push(line.to_owned());
        }
    }
    kept.push(format!("X-Forwarded-For: {chain}{client}"));
    kept.push(format!("CF-Connecting-IP: {client}"));
    kept.push("X-Forwarded-Proto: https".to_owned());
    kept.push("CF-Ray: 0123456789abcdef-LAB".to_owned());
    if !is_upgrade {
        // One request of each connection is read here.
        kept.push("Connection: close".to_owned());
    }
    (kept.join("\r\n") + "\r\n\r\n", host)
}
