//! The product as its user runs it, on real parts: the built binary, a data directory of its own,
//! real npm packages and images.
//!
//! Owns one installation per test: everything that it launched is destroyed when it is dropped,
//! also when the test failed. What npm installed is kept in the lab's cache between runs, where
//! the product itself put it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cloud::Cloud;
use super::cluster::Cluster;
use super::edge::Edge;
use super::engine::Engine;
use super::lab::{Lab, REPOSITORY, cloud_search_path};
use super::ports::free_port;
use super::product::with_hosts;

/// The token that the tests give, so that they can open the link that carries it.
pub const TOKEN: &str = "real-token-0123456789abcdef0123456789abcdef";
/// The version that updates end at.
pub const CURRENT: &str = "2026.9.6";
/// The version that updates begin with.
pub const PREVIOUS: &str = "2026.9.5";
/// A version made here that does not come up.
pub const BROKEN: &str = "2026.9.5-broken.1";

/// The product.
const PROGRAM: &str = env!("CARGO_BIN_EXE_openclaw-pipeline");

/// An installation of the product.
pub struct Real {
    dir: tempfile::TempDir,
    port: u16,
    docker_host: Option<String>,
    more: Vec<(&'static str, String)>,
    hosts: Option<PathBuf>,
}

impl Real {
    /// An installation whose runtimes come from, and go to, the lab's cache.
    pub fn new(lab: &Lab) -> Self {
        let dir = tempfile::Builder::new().prefix("real").tempdir().expect("a directory");
        let runtime = lab.home().join("runtime");
        fs::create_dir_all(&runtime).expect("the cache");
        fs::create_dir_all(dir.path().join("data")).expect("a data directory");
        fs::create_dir_all(dir.path().join("work")).expect("a working directory");
        std::os::unix::fs::symlink(&runtime, dir.path().join("data/runtime")).expect("a link");
        put_broken(&runtime);
        Self { dir, port: free_port(), docker_host: None, more: Vec::new(), hosts: None }
    }

    /// The same with the lab's engine.
    pub fn with_engine(lab: &Lab, engine: &Engine) -> Self {
        let mut real = Self::new(lab);
        real.docker_host = Some(engine.docker_host().to_owned());
        real
    }

    /// The same in a simulated cloud.
    pub fn in_cloud(lab: &Lab, cloud: &Cloud) -> Self {
        let mut real = Self::new(lab);
        real.more = cloud.environment();
        real.more.push(("OPENCLAW_PIPELINE_SSH_CIDR", format!("{}/32", cloud.operator())));
        real
    }

    /// The same before the lab's edge: its host names are found, its authority is believed, and the
    /// stand-in for cloudflared is what runs.
    pub fn before(mut self, edge: &Edge) -> Self {
        let authority = edge.authority().to_string_lossy().into_owned();
        self.more.push(("SSL_CERT_FILE", authority));
        let image = format!("{REPOSITORY}:cloudflared");
        self.more.push(("OPENCLAW_PIPELINE_TUNNEL_IMAGE", image));
        self.hosts = Some(edge.hosts());
        self
    }

    /// The same in a simulated cloud whose cluster is the lab's, and whose load balancers are found by
    /// their names.
    pub fn on_own_cluster(lab: &Lab, cloud: &Cloud, cluster: &Cluster) -> Self {
        let mut real = Self::in_cloud(lab, cloud);
        real.hosts = Some(cluster.hosts());
        real
    }

    /// The same with the lab's cluster by its name, as a benchmark has it.
    pub fn on_cluster(lab: &Lab, cluster: &Cluster) -> Self {
        let mut real = Self::new(lab);
        real.more.push(("KUBECONFIG", cluster.kubeconfig().to_string_lossy().into_owned()));
        real.more.push(("OPENCLAW_PIPELINE_KUBE_CONTEXT", "lab".into()));
        real.hosts = Some(cluster.hosts());
        real
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The installation's own id, as its store has it.
    pub fn installation(&self) -> String {
        self.ok(&["list"]);
        let store = openclaw_pipeline::store::Store::open(&self.data()).expect("opens");
        store.installation_id().expect("reads")
    }

    /// The port of its gateway.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The sealing key's file.
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// Where its commands run: a user's `openclaw.json` goes here.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A call of the product, from an environment made for it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(PROGRAM);
        command.args(args);
        command
    }

    /// A target of the Makefile, which calls the product.
    pub fn make(&self, args: &[&str]) -> Command {
        let mut command = self.program("make");
        let makefile = concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile");
        // Not in the checkout, whose .env may be somebody's own.
        command.args(["--no-print-directory", "-f", makefile]);
        command.arg(format!("PROGRAM={PROGRAM}")).args(args);
        command
    }

    fn program(&self, program: &str) -> Command {
        let mut command = match &self.hosts {
            Some(hosts) => with_hosts(hosts, program),
            None => Command::new(program),
        };
        command
            .env_clear()
            .env("PATH", cloud_search_path())
            .env("HOME", std::env::var_os("HOME").unwrap_or_default())
            .env("OPENCLAW_PIPELINE_HOME", self.data())
            .env("OPENCLAW_PIPELINE_KEY_FILE", self.key())
            .env("OPENCLAW_GATEWAY_TOKEN", TOKEN)
            // Of its own: a gateway that restarts must find its port as it left it, whatever other
            // tests launch meanwhile.
            .env("GATEWAY_PORT", self.port.to_string())
            .env("ANTHROPIC_API_KEY", "sk-ant-a-key-that-only-looks-like-one")
            .current_dir(self.work())
            .stdin(Stdio::null());
        for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "DOCKER_CONFIG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.more.iter().map(|(name, value)| (name, value)));
        if let Some(host) = &self.docker_host {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the product runs")
    }

    /// Runs it to its end, which has to be a good one; answers its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        good(&mut self.command(args))
    }

    /// The same of a target of the Makefile.
    pub fn made(&self, args: &[&str]) -> String {
        good(&mut self.make(args))
    }

    /// The same of one that does not end by itself: it is read until it says something, and then
    /// interrupted, as by a terminal. `then` gets the line that says it.
    pub fn made_until(&self, args: &[&str], says: &str, then: impl FnOnce(&str)) {
        let (said, both) = std::io::pipe().expect("a pipe");
        let mut make = self.make(args);
        make.stdout(both.try_clone().expect("a pipe")).stderr(both).process_group(0);
        let mut child = make.spawn().expect("it starts");
        drop(make);
        let mut before = Vec::new();
        let line = BufReader::new(said).lines().map_while(Result::ok).find(|line| {
            before.push(line.clone());
            line.contains(says)
        });
        if let Some(line) = &line {
            then(line);
        }
        let group = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::INT);
        child.wait().expect("it ends");
        assert!(line.is_some(), "{args:?} never said {says:?}: {before:#?}");
    }

    /// The last object that it answers.
    pub fn json(&self, args: &[&str]) -> Value {
        let args = [&["--json"], args].concat();
        let text = self.ok(&args);
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    /// Starts it, waits until it says that a step runs, and kills it.
    pub fn kill_in_step(&self, args: &[&str], step: &str) {
        let args = [&["--json"], args].concat();
        let mut child: Child = self.command(&args).stdout(Stdio::piped()).spawn().expect("starts");
        let stdout = child.stdout.take().expect("its output");
        let running = format!("\"step\":\"{step}\"");
        let mut lines = BufReader::new(stdout).lines().map(|line| line.expect("a line"));
        let mut said = Vec::new();
        let came = lines.any(|line| {
            let came = line.contains(&running) && line.contains("\"running\"");
            said.push(line);
            came
        });
        child.kill().expect("kills");
        let status = child.wait().expect("is gone");
        assert!(came, "{args:?} ended with {status} and never came to {step}: {said:#?}");
    }

    /// The events of a deployment, oldest first, as their types.
    pub fn events(&self, name: &str) -> Vec<String> {
        self.ok(&["--json", "events", name])
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("an event"))
            .map(|event| event["type"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Waits until an event of a type is there.
    pub fn wait_for_event(&self, name: &str, kind: &str, within: Duration) {
        let end = Instant::now() + within;
        while !self.events(name).iter().any(|event| event == kind) {
            assert!(Instant::now() < end, "no {kind} among {:?}", self.events(name));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The standard output of a call that ends well.
fn good(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(
        output.status.success(),
        "{:?}: {}\n{}\n{}",
        command.get_args().collect::<Vec<_>>(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for Real {
    fn drop(&mut self) {
        let listed = self.run(&["--json", "list"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        for item in listed["items"].as_array().into_iter().flatten() {
            let name = item["name"].as_str().unwrap_or_default();
            if std::thread::panicking() {
                let logs = self.run(&["logs", name, "--tail", "40"]);
                let logs = String::from_utf8_lossy(&logs.stdout);
                let _ = writeln!(std::io::stderr(), "{name}:\n{logs}");
            }
            self.run(&["destroy", name, "--yes"]);
        }
    }
}

/// Lays out a version whose gateway ends at once, as an installation of the product's.
fn put_broken(runtime: &Path) {
    let place = runtime.join(format!("openclaw-{BROKEN}"));
    if place.exists() {
        return;
    }
    let staging = tempfile::tempdir_in(runtime).expect("a directory");
    let package = staging.path().join("node_modules/openclaw");
    fs::create_dir_all(&package).expect("a package");
    let script = "console.error('Gateway failed to start: this release is broken');\n\
                  process.exit(1);\n";
    fs::write(package.join("openclaw.mjs"), script).expect("a script");
    let manifest =
        serde_json::json!({ "version": BROKEN, "files": 1, "bytes": script.len() }).to_string();
    fs::write(staging.path().join("installed.json"), manifest).expect("a manifest");
    // Another test may have put it there meanwhile; theirs is as good.
    let _ = fs::rename(staging.keep(), place);
}
