//! Finds the lab's cache and says which of its parts this machine has.
//!
//! A part that is missing is a skipped test for a user and a failed one where
//! `CI=true`: nothing is ever passed for want of a part.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The version the lab's `latest` is; `tests/lab/common.sh` names it too, and a
/// test holds the two together.
pub const CURRENT: &str = "2026.9.6";
/// The version before it.
pub const PREVIOUS: &str = "2026.9.5";
/// The gateway image's name, without a tag.
pub const REPOSITORY: &str = "ghcr.io/openclaw/openclaw";

/// A part of the lab that a test may need.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Network namespaces: Linux, root and `ip`.
    NetNs,
    /// Debian's `chromium` (and [`Part::NetNs`], where it runs).
    Browser,
    /// The programs the lab's own Docker engine needs.
    Engine,
    /// An image of the gateway by its tag. Asks the engine, which must run: see
    /// `Engine::image`.
    Image(&'a str),
    /// An `openclaw` installed from npm, and the node to run it.
    Npm(&'a str),
    /// The API tester, schemathesis.
    Schemathesis,
    /// The pipeline server's image, of the sources as they are.
    Server,
    /// An image with a systemd in it.
    Systemd,
    /// The simulated cloud, but for its machines' image: asks no engine.
    Cloud,
    /// The linter for Terraform.
    Tflint,
    /// A Kubernetes cluster's programs.
    Cluster,
}

/// The lab on this machine: where its scripts and its cache stand.
#[derive(Clone, Debug)]
pub struct Lab {
    home: PathBuf,
}

impl Lab {
    /// The lab, if it has `part`. Otherwise prints `skipped: REASON` and returns
    /// `None`, or panics where `CI=true`.
    pub fn require(part: Part<'_>) -> Option<Self> {
        let lab = Self::locate();
        match lab.missing(part) {
            None => Some(lab),
            Some(reason) => skip(&reason),
        }
    }

    fn locate() -> Self {
        Self { home: Self::cache() }
    }

    /// Where its cache is, or would be.
    pub fn cache() -> PathBuf {
        let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        from("OPENCLAW_PIPELINE_LAB").unwrap_or_else(|| {
            let cache = from("XDG_CACHE_HOME")
                .or_else(|| from("HOME").map(|home| home.join(".cache")))
                .unwrap_or_else(|| PathBuf::from("/nonexistent"));
            cache.join("openclaw-pipeline-lab")
        })
    }

    /// The lab's cache.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// One of the lab's scripts, such as `engine`.
    pub fn script(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
    }

    /// The lab's own node (24), which every `openclaw` here runs with.
    pub fn node(&self) -> PathBuf {
        self.npm(CURRENT).join("node_modules/.bin/node")
    }

    /// The folder in which `npm install openclaw@VERSION` ran. It holds
    /// `node_modules/openclaw/openclaw.mjs` and `node_modules/.bin/node`.
    pub fn npm(&self, version: &str) -> PathBuf {
        self.home.join("npm").join(version)
    }

    /// The Python environment that holds schemathesis.
    pub fn schemathesis(&self) -> PathBuf {
        self.home.join("schemathesis")
    }

    /// The linter for Terraform. `tests/lab/common.sh` names its version; there is one at most.
    pub fn tflint(&self) -> Option<PathBuf> {
        let versions = std::fs::read_dir(self.home.join("tflint")).into_iter().flatten().flatten();
        versions.map(|it| it.path().join("tflint")).find(|it| it.is_file())
    }

    fn missing(&self, part: Part<'_>) -> Option<String> {
        match part {
            Part::NetNs => missing_programs(&["ip"]),
            Part::Browser => missing_programs(&["ip", "chromium"]),
            Part::Engine => missing_programs(&["dockerd", "docker", "iptables", "ip", "curl"]),
            Part::Image(tag) => match super::engine::Engine::get() {
                None => Some("the lab's engine is not to be had".to_owned()),
                Some(engine) if engine.has_image(&format!("{REPOSITORY}:{tag}")) => None,
                Some(_) => Some(format!("no image {tag}: run tests/lab/setup image {tag}")),
            },
            Part::Npm(version) => {
                let script = self.npm(version).join("node_modules/openclaw/openclaw.mjs");
                (!script.exists())
                    .then(|| format!("no openclaw@{version}: run tests/lab/setup npm {version}"))
            }
            Part::Server => missing_image("server"),
            Part::Systemd => missing_image("systemd"),
            Part::Cloud => missing_programs(&["docker", "ip", "mkfs.ext4", "ssh", "terraform"])
                .or_else(|| {
                    let part = |name: &str| self.home.join("cloud").join(name).exists();
                    let whole = part("venv/recipe") && part("terraform.rc");
                    (!whole).then(|| "no simulated cloud: run tests/lab/setup cloud".to_owned())
                }),
            Part::Cluster => missing_programs(&["containerd", "etcd", "ip", "iptables", "openssl"])
                .or_else(|| {
                    let is_there = self.home.join("kubernetes/bin/recipe").exists();
                    (!is_there).then(|| "no cluster: run tests/lab/setup kubernetes".to_owned())
                }),
            Part::Tflint => {
                self.tflint().is_none().then(|| "no tflint: run tests/lab/setup tflint".to_owned())
            }
            Part::Schemathesis => (!self.schemathesis().join("recipe").exists())
                .then(|| "no schemathesis: run tests/lab/setup schemathesis".to_owned()),
        }
    }
}

/// Why there is no image of the repository's own. It is made first where the one that is there is
/// of other sources, which takes a few minutes.
fn missing_image(what: &'static str) -> Option<String> {
    static MADE: Mutex<BTreeMap<&str, Option<String>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(what).or_insert_with(|| make_image(what)).clone()
}

fn make_image(what: &str) -> Option<String> {
    let Some(engine) = super::engine::Engine::get() else {
        return Some("the lab's engine is not to be had".to_owned());
    };
    let setup = command(Lab::script("setup")).arg(what).stdin(Stdio::null()).output();
    let output = setup.expect("run tests/lab/setup");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/lab/setup {what}: {said}");
    let missing = !engine.has_image(&own_image(what));
    missing.then(|| said.lines().find(|it| it.contains("skipped")).unwrap_or(&said).to_owned())
}

/// The name of an image of the lab's own.
pub fn own_image(what: &str) -> String {
    let tag = if what == "server" { "latest" } else { "bookworm" };
    format!("openclaw-lab/{what}:{tag}")
}

/// Reports a test as skipped. Goes past the test harness, which swallows what a
/// passing test prints.
pub fn skip<T>(reason: &str) -> Option<T> {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "missing under CI: {reason}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{test}: skipped: {reason}");
    None
}

fn missing_programs(programs: &[&str]) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("this needs Linux".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("this needs root".to_owned());
    }
    let missing: Vec<_> = programs.iter().copied().filter(|program| !on_path(program)).collect();
    (!missing.is_empty())
        .then(|| format!("{} missing: run tests/lab/setup packages", missing.join(", ")))
}

fn on_path(program: &str) -> bool {
    search_path().split(':').any(|folder| Path::new(folder).join(program).is_file())
}

/// `PATH`, with the folders for the administrator's programs, which a user's
/// own may lack.
pub fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

/// The same for a test of the cloud, whose Terraform is quicker.
pub fn cloud_search_path() -> String {
    format!("{}:{}", super::source::root().join("tests/lab/cloud/bin").display(), search_path())
}

/// A command with that search path.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path());
    command
}
