//! The gateways that the simulated nodes run: processes of the stand-in, and the ways to them.
//!
//! Owns each namespace's process, with a port of its own on loopback, and an address on loopback for
//! each load balancer, which leads there. All of them end with this process, however that ended.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::support::ports::free_port;
use super::super::support::product::NEWEST;
use super::super::support::standin;
use super::{Known, lock};

/// One that is to be.
pub struct Gateway {
    configuration: Value,
    environment: Vec<(String, String)>,
}

impl Gateway {
    /// With the managed keys of its configuration, as they are merged into none.
    pub fn new(managed: &Value, environment: Vec<(String, String)>) -> Self {
        let mut configuration = managed["set"].clone();
        for (path, list) in managed["lists"].as_object().into_iter().flatten() {
            let pointer = format!("/{}", path.replace('.', "/"));
            let (parent, key) = pointer.rsplit_once('/').expect("a path");
            if let Some(parent) = configuration.pointer_mut(parent) {
                parent[key] = list["add"].clone();
            }
        }
        configuration["agents"]["defaults"]["model"] =
            json!({ "primary": managed["model"]["primary"] });
        Self { configuration, environment }
    }
}

/// One that runs.
struct Running {
    process: Child,
    port: u16,
    configuration: Value,
    is_ready: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// All that run, by namespace.
pub struct Gateways {
    folder: PathBuf,
    script: PathBuf,
    program: PathBuf,
    running: HashMap<String, Running>,
    addresses: u8,
}

impl Gateways {
    /// None yet, with a folder for theirs.
    pub fn new(folder: &Path) -> Self {
        let script = standin::package(&folder.join("app"), NEWEST.0, NEWEST.1);
        let (folder, program) = (folder.to_path_buf(), standin::binary());
        Self { folder, script, program, running: HashMap::new(), addresses: 0 }
    }

    /// Starts one, in the place of one that was there.
    pub fn start(&mut self, namespace: &str, gateway: Gateway) {
        self.end(namespace);
        let Gateway { configuration, environment } = gateway;
        let (home, port) = (self.folder.join(namespace), free_port());
        fs::create_dir_all(&home).expect("a folder");
        // It has the machine's own network, where an address of everybody's is none of its own.
        let mut here = configuration.clone();
        here["gateway"]["bind"] = json!("loopback");
        here["gateway"]["port"] = json!(port);
        fs::write(home.join("openclaw.json"), here.to_string()).expect("its configuration");
        let log = File::create(home.join("log")).expect("its log");
        let process = Command::new("/usr/bin/setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&self.program)
            .arg(&self.script)
            .args(["gateway", "--port", &port.to_string()])
            .env_clear()
            .env("HOME", &home)
            .env("OPENCLAW_STATE_DIR", &home)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("its log"))
            .stderr(log)
            .spawn()
            .expect("the stand-in starts");
        let running = Running { process, port, configuration, is_ready: false };
        self.running.insert(namespace.to_owned(), running);
    }

    /// Ends one.
    pub fn end(&mut self, namespace: &str) {
        self.running.remove(namespace);
    }

    /// Where one listens.
    pub fn address(&self, namespace: &str) -> Option<SocketAddr> {
        let running = self.running.get(namespace)?;
        Some((Ipv4Addr::LOCALHOST, running.port).into())
    }

    /// Whether one says that it has started; it is ready then.
    pub fn has_started(&mut self, namespace: &str) -> bool {
        let Some(address) = self.address(namespace) else { return false };
        let ask = || -> std::io::Result<String> {
            let mut tcp = TcpStream::connect(address)?;
            tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(tcp, "GET /startupz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
            // It does not close the connection.
            let (mut text, mut chunk) = (String::new(), [0; 1024]);
            while !text.contains('}') {
                match tcp.read(&mut chunk)? {
                    0 => break,
                    read => text.push_str(&String::from_utf8_lossy(&chunk[..read])),
                }
            }
            Ok(text)
        };
        let is_started = ask().is_ok_and(|text| text.contains("\"status\":\"started\""));
        if let Some(running) = self.running.get_mut(namespace) {
            running.is_ready = is_started;
        }
        is_started
    }

    /// Where a load balancer sends whoever comes: to a gateway that is ready.
    fn ready(&self, namespace: &str) -> Option<SocketAddr> {
        self.running.get(namespace).filter(|it| it.is_ready)?;
        self.address(namespace)
    }

    /// What one was configured with, as its pod would have it.
    pub fn configuration(&self, namespace: &str) -> Value {
        self.running.get(namespace).map_or(Value::Null, |it| it.configuration.clone())
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.running.len()
    }
}

/// Gives a load balancer an address, which leads to a namespace's gateway whenever one runs.
pub async fn lead(known: Known, namespace: &str, port: u16) -> Ipv4Addr {
    let address = {
        let mut known = lock(&known);
        known.addresses += 1;
        Ipv4Addr::new(127, 77, 0, known.addresses)
    };
    let listener = TcpListener::bind((address, port)).await.expect("an address on loopback");
    let namespace = namespace.to_owned();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let to = lock(&known).ready(&namespace);
            tokio::spawn(async move {
                // Nothing behind it: whoever came is turned away.
                let Some(to) = to else { return };
                if let Ok(mut to) = tokio::net::TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    });
    address
}
