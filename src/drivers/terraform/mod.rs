//! Terraform, or `OpenTofu` in its place.
//!
//! Owns how a module is initialised once for a machine, planned, applied and destroyed, with a state
//! for each deployment in a file or a bucket, and what its messages mean. Where a state already holds something, what
//! would change is looked at before it is applied. Refuses a plan that takes away what was not to be
//! taken away, a version that is too old, and more runs at once than the memory holds.

mod admission;
mod backend;
mod messages;
mod plan;
mod refusal;
mod show;
mod state;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::domain::Failure;
use crate::exec::command::Stream;
use crate::exec::{Cmd, ExecError, LockFile, Output, wait};
use crate::secrets::private::create_private_directory;
use backend::UnderWay;
use plan::Foretold;

pub use admission::Admission;
pub use backend::Bucket;
pub use messages::{Diagnostic, Message, Said};
pub use plan::{Change, Plan, Verb};
pub use refusal::is_name_taken;
pub use state::{Held, State, account_of, before_recovery};

/// What says that a module is initialised.
const READY: &str = "ready";
/// Where Terraform keeps what it initialised.
const DATA: &str = ".terraform";
/// The oldest version that is driven: the one before lacks native locking in S3.
const OLDEST: [u32; 2] = [1, 10];
/// How long a look at the program may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);
/// How long an initialisation may take: a provider has 150 MB to be downloaded.
const INIT_DEADLINE: Duration = Duration::from_secs(1800);
/// How long an apply may take.
const APPLY_DEADLINE: Duration = Duration::from_secs(3600);
/// How long an interrupted run may take to let what is under way come to its end and save its state.
const GRACE: Duration = Duration::from_secs(300);
/// How long somebody else's initialisation of the same module is waited for.
const INIT_WAIT: Duration = Duration::from_secs(1800);
/// Where the providers are, once for all modules.
const PLUGINS: &str = "plugins";
/// What is handed on of the user's own settings, beside whatever begins with `AWS_`.
const SETTINGS: [&str; 5] =
    ["TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR", "TF_LOG", "TF_LOG_PATH", "TF_APPEND_USER_AGENT"];

/// The program.
#[derive(Debug, Clone)]
pub struct Terraform {
    program: String,
    admission: Admission,
}

/// What one run works on.
#[derive(Debug, Clone, Copy)]
pub struct Workspace<'a> {
    /// The module, initialised: what [`Terraform::prepare`] answers.
    pub module: &'a Path,
    /// The run's own directory. It gets the module's files, and what a run leaves in an emergency.
    pub dir: &'a Path,
    /// Its state.
    pub state: StateAt<'a>,
    /// The files with the values of its variables, the later ones before the earlier ones.
    pub variables: &'a [PathBuf],
}

/// Where a state is.
#[derive(Debug, Clone, Copy)]
pub enum StateAt<'a> {
    /// A file.
    File(&'a Path),
    /// An object in a bucket.
    S3(&'a Bucket),
}

/// What a run is lent.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Says that the operation is interrupted.
    pub cancel: &'a CancellationToken,
    /// The lock that the child inherits.
    pub lock: &'a LockFile,
    /// Who hears what happens.
    pub told: &'a (dyn Fn(&Message) + Send + Sync),
}

/// What a module gave.
pub type Outputs = BTreeMap<String, Value>;

/// What `version -json` says.
#[derive(Debug, Deserialize)]
struct VersionSaid {
    terraform_version: String,
}

impl Terraform {
    /// The program of this name or path.
    pub fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), admission: Admission::of_this_machine() }
    }

    /// Its version, where it is there and new enough.
    pub async fn require(&self) -> Result<String, Failure> {
        let remedy = "install Terraform 1.10 or newer, or OpenTofu with TF_BIN=tofu";
        let mut cmd = self.cmd();
        let output = match cmd.args(["version", "-json"]).deadline(LOOK_DEADLINE).output().await {
            Err(ExecError::NotFound(_)) => {
                return Err(Failure::prerequisite(format!(
                    "{} is not installed, or not in PATH",
                    self.program
                ))
                .remedy(remedy));
            }
            other => other?,
        };
        // A CLI configuration that cannot be read is a warning before the answer.
        let said: Option<VersionSaid> =
            output.stdout.find('{').and_then(|at| serde_json::from_str(&output.stdout[at..]).ok());
        let Some(VersionSaid { terraform_version: version }) = said else {
            let said = output.last_line();
            return Err(Failure::prerequisite(format!("{} is no Terraform: {said}", self.program))
                .remedy(remedy));
        };
        let parts: Vec<u32> = version.split(['.', '-']).map_while(|it| it.parse().ok()).collect();
        if parts.as_slice() < OLDEST.as_slice() {
            let [major, minor] = OLDEST;
            return Err(Failure::prerequisite(format!(
                "{} is version {version}, and {major}.{minor} or newer is needed",
                self.program
            ))
            .remedy(remedy));
        }
        Ok(version)
    }

    fn cmd(&self) -> Cmd {
        let mut cmd = Cmd::new(&self.program);
        cmd.allow(&SETTINGS).allow_prefix("AWS_");
        cmd.env("TF_IN_AUTOMATION", "1").env("TF_INPUT", "0").env("CHECKPOINT_DISABLE", "1");
        cmd
    }

    /// A call in a run's own directory, with the providers that the module was initialised with.
    fn cmd_in(&self, workspace: Workspace<'_>) -> Cmd {
        let mut cmd = self.cmd();
        cmd.cwd(workspace.dir);
        if let StateAt::File(_) = workspace.state {
            cmd.env("TF_DATA_DIR", workspace.module.join(DATA));
        }
        cmd
    }

    /// Makes a module's directory ready: its files as they are given, initialised. Done once for a
    /// machine and a digest of the files, whoever needs it first; the others wait. Modules share
    /// their providers, unless the user has a place for them.
    pub async fn prepare(
        &self,
        within: &Path,
        files: &[(&str, &str)],
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Failure> {
        let dir = within.join(digest(files));
        let ready = dir.join(READY);
        if ready.exists() {
            return Ok(dir);
        }
        create_private_directory(&dir)?;
        // One at a time: a cache of plugins is not made for several that fill it at once.
        let path = within.join("init.lock");
        let lock = wait::until(INIT_WAIT, || {
            let lock = LockFile::try_acquire(&path, "terraform init");
            async move { lock.transpose() }
        });
        let lock = tokio::select! {
            lock = lock => lock.ok_or_else(|| Failure::failed("terraform init does not end"))??,
            () = cancel.cancelled() => return Err(Failure::interrupted()),
        };
        if ready.exists() {
            return Ok(dir);
        }
        for (name, text) in files {
            fs::write(dir.join(name), text)?;
        }
        let mut cmd = self.cmd();
        cmd.args(["init", "-input=false", "-no-color", "-json"]).cwd(&dir);
        if !has_own_plugins(&cmd) {
            let plugins = within.join(PLUGINS);
            create_private_directory(&plugins)?;
            // A provider of 700 MB is taken from there for the next module; no lock file of a user
            // is at stake.
            cmd.env("TF_PLUGIN_CACHE_DIR", plugins);
            cmd.env("TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE", "1");
        }
        cmd.deadline(INIT_DEADLINE).cancel_on(cancel).hold(&lock)?;
        let output = cmd.output().await?;
        if !output.success() {
            return Err(refusal::of_init(&output));
        }
        fs::write(&ready, "")?;
        Ok(dir)
    }

    /// Applies a module whose state holds nothing yet.
    pub async fn apply(&self, workspace: Workspace<'_>, run: Run<'_>) -> Result<Outputs, Failure> {
        self.run(&["apply", "-auto-approve"], workspace, workspace.variables, run).await
    }

    /// What an apply would change. The plan's file is the caller's to apply or to remove: it holds
    /// the variables' values.
    pub async fn plan(
        &self,
        workspace: Workspace<'_>,
        file: &Path,
        run: Run<'_>,
    ) -> Result<Plan, Failure> {
        let out = out_flag(file);
        create_empty(file)?;
        let foretold = Foretold::default();
        let told = |message: &Message| {
            foretold.told(message);
            (run.told)(message);
        };
        let heard = Run { told: &told, ..run };
        self.run(&["plan", &out], workspace, workspace.variables, heard).await?;
        if let Some(plan) = foretold.plan() {
            return Ok(plan);
        }
        let _admitted = self.admission.admit(run.cancel).await?;
        let mut cmd = self.cmd_in(workspace);
        cmd.args(["show", "-json"]).arg(file).deadline(LOOK_DEADLINE * 4);
        cmd.cancel_on(run.cancel).hold(run.lock)?;
        // One line, longer than a line that is handed on.
        let read = |mut stdout: std::fs::File| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut stdout, &mut text).map(|_| text)
        };
        let (output, text) = cmd.read_by(read).await?;
        if !output.success() {
            return Err(Failure::failed(format!("terraform show: {}", output.last_line())));
        }
        Plan::parse(&text?)
    }

    /// Applies a plan that was looked at.
    pub async fn apply_plan(
        &self,
        workspace: Workspace<'_>,
        file: &Path,
        run: Run<'_>,
    ) -> Result<Outputs, Failure> {
        let file = file.to_string_lossy();
        self.run(&["apply", "-auto-approve"], workspace, &[], run.with(&file)).await
    }

    /// Destroys everything that the state holds.
    pub async fn destroy(&self, workspace: Workspace<'_>, run: Run<'_>) -> Result<(), Failure> {
        self.run(&["destroy", "-auto-approve"], workspace, workspace.variables, run).await.map(drop)
    }

    async fn run(
        &self,
        verb: &[&str],
        workspace: Workspace<'_>,
        variables: &[PathBuf],
        run: impl Into<Running<'_>>,
    ) -> Result<Outputs, Failure> {
        let running = run.into();
        self.enter(workspace, running.run).await?;
        let _admitted = self.admission.admit(running.run.cancel).await?;
        let said = match workspace.state {
            StateAt::File(_) => self.say(verb, workspace, variables, &running).await?,
            StateAt::S3(bucket) => {
                let (dir, under_way) = (workspace.dir, UnderWay::begin(workspace.dir)?);
                let mut said = self.say(verb, workspace, variables, &running).await?;
                if !said.output.success()
                    && self.break_lock(bucket, dir, &under_way, &said.errors, running.run).await?
                {
                    said = self.say(verb, workspace, variables, &running).await?;
                }
                under_way.ended(&said.errors)?;
                said
            }
        };
        let HasSaid { output, outputs, errors } = said;
        if output.success() { Ok(outputs) } else { Err(refusal::of(&errors, &output)) }
    }

    async fn say(
        &self,
        verb: &[&str],
        workspace: Workspace<'_>,
        variables: &[PathBuf],
        Running { run, last }: &Running<'_>,
    ) -> Result<HasSaid, Failure> {
        let mut cmd = self.cmd_in(workspace);
        cmd.args(verb).args(["-input=false", "-json"]);
        match workspace.state {
            StateAt::File(path) => cmd.arg("-lock-timeout=60s").arg(flag("-state=", path)),
            // One that was left there goes on after its owner.
            StateAt::S3(_) => cmd.arg("-lock-timeout=10s"),
        };
        for file in variables {
            cmd.arg(flag("-var-file=", file));
        }
        cmd.args(*last).deadline(APPLY_DEADLINE).grace(GRACE);
        cmd.cancel_on(run.cancel).hold(run.lock)?;
        let (mut outputs, mut errors) = (Outputs::new(), Vec::new());
        let output = cmd
            .lines(|stream, line| {
                let Some(message) =
                    (stream == Stream::Stdout).then(|| Message::parse(line)).flatten()
                else {
                    return;
                };
                match &message.said {
                    Said::Outputs { values, .. } => outputs.clone_from(values),
                    Said::Diagnostic(diagnostic) if diagnostic.is_error() => {
                        errors.push(diagnostic.clone());
                    }
                    _ => {}
                }
                (run.told)(&message);
            })
            .await?;
        Ok(HasSaid { output, outputs, errors })
    }

    /// Puts the module's files into a run's own directory, and what an earlier run could not write
    /// in the end where it belongs.
    async fn enter(&self, workspace: Workspace<'_>, run: Run<'_>) -> Result<(), Failure> {
        copy_module(workspace)?;
        match workspace.state {
            StateAt::File(path) => state::recover(workspace.dir, path),
            StateAt::S3(bucket) => self.enter_bucket(workspace, bucket, run).await,
        }
    }
}

/// What a run said.
struct HasSaid {
    output: Output,
    outputs: Outputs,
    errors: Vec<Diagnostic>,
}

fn copy_module(workspace: Workspace<'_>) -> Result<(), Failure> {
    create_private_directory(workspace.dir)?;
    for entry in fs::read_dir(workspace.module)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_file() && name != READY {
            fs::copy(entry.path(), workspace.dir.join(name))?;
        }
    }
    Ok(())
}

/// A run, with the argument that comes last.
struct Running<'a> {
    run: Run<'a>,
    last: Option<&'a str>,
}

impl<'a> Run<'a> {
    fn with(self, last: &'a str) -> Running<'a> {
        Running { run: self, last: Some(last) }
    }
}

impl<'a> From<Run<'a>> for Running<'a> {
    fn from(run: Run<'a>) -> Self {
        Self { run, last: None }
    }
}

fn flag(name: &str, path: &Path) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(name);
    flag.push(path);
    flag
}

fn out_flag(file: &Path) -> String {
    format!("-out={}", file.display())
}

/// A file for its owner alone, before anything is written to it.
fn create_empty(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = fs::remove_file(file);
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map(drop)
}

/// Whether the user has a place of their own for providers.
fn has_own_plugins(cmd: &Cmd) -> bool {
    let path = |name: &str| cmd.variable(name).map(PathBuf::from);
    let of_home = path("HOME")
        .into_iter()
        .flat_map(|home| [".terraformrc", ".tofurc"].map(|file| home.join(file)));
    let mut settings = path("TF_CLI_CONFIG_FILE").into_iter().chain(of_home);
    let says_so = |file: PathBuf| {
        fs::read_to_string(file).is_ok_and(|text| text.contains("plugin_cache_dir"))
    };
    path("TF_PLUGIN_CACHE_DIR").is_some() || settings.any(says_so)
}

/// What tells one module from another.
fn digest(files: &[(&str, &str)]) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for (name, text) in files {
        for part in [name, text] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    let first = hash.finalize().iter().take(8).fold(0_u64, |sum, it| sum << 8 | u64::from(*it));
    format!("{first:016x}")
}

#[cfg(test)]
mod tests;
