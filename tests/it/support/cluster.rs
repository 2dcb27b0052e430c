//! The lab's Kubernetes cluster: one node of real programs, in namespaces of its own.
//!
//! Owns one at a time, which begins with the first test that needs it, and ends with the last, or with
//! the process, however that ended. Tests share it, each in namespaces of its own; what stops a part of
//! it has it for itself ([`Cluster::alone`]). Stand-ins are its volumes, its load balancers and its DNS, which
//! knows these alone; nothing enforces network policies.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::engine::Engine;
use super::lab::{Lab, Part, command, skip};

/// How long a pod may take on busy cores. Its image may have to be pulled.
pub const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Ready {
    kubeconfig: PathBuf,
}

struct Orders {
    process: Child,
    output: BufReader<ChildStdout>,
}

struct Running {
    kubeconfig: PathBuf,
    log: PathBuf,
    kubectl: PathBuf,
    orders: Mutex<Orders>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let orders = self.orders.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It ends when its input closes, and whoever comes next finds nothing of it.
        drop(orders.process.stdin.take());
        let _ = orders.process.wait();
    }
}

/// The one that runs, if one does.
static CURRENT: Mutex<Weak<Running>> = Mutex::new(Weak::new());
/// Who uses it beside others, and who alone.
static TURNS: RwLock<()> = RwLock::new(());

/// A part that does nothing, until this is dropped.
pub struct Paused<'a> {
    cluster: &'a Cluster,
    part: &'a str,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.cluster.order(&format!("resume {}", self.part));
    }
}

/// A test's share of the cluster.
pub struct Cluster {
    running: Arc<Running>,
    turn: Turn,
}

/// Held, and given back by itself.
enum Turn {
    Shared { _held: RwLockReadGuard<'static, ()> },
    Alone { _held: RwLockWriteGuard<'static, ()> },
}

impl Cluster {
    /// The cluster, beside other tests. `None`, after `skipped: REASON`, where this machine cannot
    /// have one.
    pub fn shared() -> Option<Self> {
        let held = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        let running = running()?;
        Some(Self { running, turn: Turn::Shared { _held: held } })
    }

    /// The cluster for one test alone, which may stop its parts.
    pub fn alone() -> Option<Self> {
        let held = TURNS.write().unwrap_or_else(PoisonError::into_inner);
        let running = running()?;
        Some(Self { running, turn: Turn::Alone { _held: held } })
    }

    /// The file by which its administrator reaches it.
    pub fn kubeconfig(&self) -> &Path {
        &self.running.kubeconfig
    }

    /// The folder of its programs' logs, in which its API server's audit log is.
    pub fn log(&self) -> &Path {
        &self.running.log
    }

    /// `restart kube-apiserver` and the like: see `tests/lab/kubernetes/cluster/__main__.py`.
    pub fn order(&self, order: &str) {
        assert!(matches!(self.turn, Turn::Alone { .. }), "others use it");
        let mut orders = self.running.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let input = orders.process.stdin.as_mut().expect("its input");
        writeln!(input, "{order}").expect("it reads");
        let mut line = String::new();
        orders.output.read_line(&mut line).expect("it answers");
        assert_eq!(line.trim(), "done", "{order}");
    }

    /// Pauses a part of it, until what this answers is dropped.
    pub fn paused<'a>(&'a self, part: &'a str) -> Paused<'a> {
        self.order(&format!("pause {part}"));
        Paused { cluster: self, part }
    }

    /// The administrator's `kubectl`.
    pub fn kubectl(&self, args: &[&str]) -> Command {
        let mut kubectl = command(&self.running.kubectl);
        // What it finds out about the API is kept in the home directory otherwise.
        kubectl.arg("--cache-dir=/run/openclaw-lab/kubernetes/cache").args(args);
        kubectl.env("KUBECONFIG", &self.running.kubeconfig).stdin(Stdio::null());
        kubectl
    }

    /// What `kubectl` prints; it must succeed.
    #[track_caller]
    pub fn said(&self, args: &[&str]) -> String {
        good(&self.kubectl(args).output().expect("run kubectl"), args)
    }

    /// The same, with something on its standard input.
    #[track_caller]
    pub fn told(&self, args: &[&str], input: &str) -> String {
        let mut kubectl = self.kubectl(args);
        kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = kubectl.spawn().expect("run kubectl");
        let mut stdin = child.stdin.take().expect("its input");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        good(&child.wait_with_output().expect("it ends"), args)
    }

    /// What there is, as JSON.
    #[track_caller]
    pub fn get(&self, args: &[&str]) -> Value {
        let said = self.said(&[&["get", "--output=json"], args].concat());
        serde_json::from_str(&said).expect("JSON")
    }

    /// The file in which the names of load balancers stand.
    pub fn hosts(&self) -> PathBuf {
        self.running.kubeconfig.with_file_name("hosts")
    }

    /// The address that a load balancer's host name leads to: they stand in a hosts file, which
    /// whoever is tested is given.
    pub fn address_of(&self, host: &str) -> Option<String> {
        let hosts = std::fs::read_to_string(self.hosts()).expect("the hosts file");
        let mut lines = hosts.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, name)| *name == host).map(|(address, _)| address.to_owned())
    }
}

#[track_caller]
fn good(output: &Output, args: &[&str]) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A namespace of a test's, removed with everything in it.
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Namespace<'a> {
    /// The one of this name, which a test makes. One that an earlier run left is removed first.
    pub fn of(cluster: &'a Cluster, name: &str) -> Self {
        let namespace = Self { cluster, name: name.to_owned() };
        namespace.remove();
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        let found = ["get", "namespace", &self.name, "--ignore-not-found", "--output=name"];
        !self.cluster.said(&found).trim().is_empty()
    }

    fn remove(&self) {
        // Its pods are ended at once: nobody waits for a drain here.
        let grace = ["--grace-period=1", "--ignore-not-found", "--wait"];
        for what in [["delete", "pod", "--all"], ["delete", "namespace", &self.name]] {
            let mut remove = self.cluster.kubectl(&what);
            if what[1] == "pod" {
                // Or whoever made them makes them anew.
                let workloads = ["delete", "deployment", "--all", "--namespace", &self.name];
                let _ = self.cluster.kubectl(&workloads).args(&grace[1..]).output();
                remove.args(["--namespace", &self.name]);
            }
            let _ = remove.args(if what[1] == "pod" { &grace[..] } else { &grace[1..] }).output();
        }
    }
}

/// An object of no namespace that a test makes; gone when dropped, so that no other test meets it.
pub struct Global<'a> {
    cluster: &'a Cluster,
    named: [String; 2],
}

impl<'a> Global<'a> {
    /// Makes it.
    pub fn of(cluster: &'a Cluster, object: &Value) -> Self {
        let text = |it: &Value| it.as_str().expect("a text").to_owned();
        let named = [text(&object["kind"]), text(&object["metadata"]["name"])];
        let made = Self { cluster, named };
        cluster.told(&["apply", "--filename=-"], &object.to_string());
        made
    }
}

impl Drop for Global<'_> {
    fn drop(&mut self) {
        let [kind, name] = &self.named;
        let _ = self.cluster.kubectl(&["delete", kind, name, "--ignore-not-found"]).output();
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}

fn running() -> Option<Arc<Running>> {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = current.upgrade() {
        return Some(running);
    }
    let running = Arc::new(start()?);
    *current = Arc::downgrade(&running);
    Some(running)
}

fn start() -> Option<Running> {
    let lab = Lab::require(Part::Cluster)?;
    Engine::get()?;
    let log = lab.home().join("log/kubernetes.log");
    std::fs::create_dir_all(log.parent().expect("a folder")).expect("a folder");
    let mut process = command(Lab::script("kubernetes/run"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).expect("the log"))
        .spawn()
        .expect("run tests/lab/kubernetes/run");
    let mut output = BufReader::new(process.stdout.take().expect("its output"));
    let mut line = String::new();
    output.read_line(&mut line).expect("read its output");
    let Ok(Ready { kubeconfig }) = serde_json::from_str(&line) else {
        let _ = process.wait();
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        return skip(&format!("no cluster: {line}{said}"));
    };
    Some(Running {
        kubeconfig,
        log: lab.home().join("log/kubernetes"),
        kubectl: lab.home().join("kubernetes/bin/kubectl"),
        orders: Mutex::new(Orders { process, output }),
    })
}

/// Looks again until something is so.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < end, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}
