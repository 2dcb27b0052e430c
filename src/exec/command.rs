//! Building a child process, and running it to its end.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use command_fds::CommandFdExt;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::children;
use super::identity::ProcessId;
use super::lines::{Tail, read_lines};
use super::lock::LockFile;
use super::remote::{self, Remote};

pub use super::lines::Stream;
use crate::domain::Failure;
use crate::secrets::Secret;

/// How a child reaches the network; the addresses may hold a password.
pub const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/// What every child may see of the program's environment.
const ALLOWED: [&str; 11] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "XDG_RUNTIME_DIR",
];

/// What an SSH client needs of it beside that: the user's agent, for one.
const CLIENT: [&str; 2] = ["SSH_AUTH_SOCK", "TERM"];

/// How many lines wait until they are handed on; the child waits for the next.
const LINES_WAITING: usize = 16;
/// How long a child that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Why a child's run is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The program is not there.
    #[error("{0} is not installed, or not in PATH")]
    NotFound(String),
    /// It could not be started or talked to.
    #[error("{program}: {source}")]
    Io {
        /// Which program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ran past its deadline and was ended.
    #[error("{program} did not end within {} s and was ended", deadline.as_secs())]
    Deadline {
        /// Which program.
        program: String,
        /// Its deadline.
        deadline: Duration,
    },
    /// The operation was cancelled and the child ended.
    #[error("{0} was ended because the operation was interrupted")]
    Cancelled(String),
}

impl From<ExecError> for Failure {
    fn from(error: ExecError) -> Self {
        match &error {
            ExecError::NotFound(_) => Self::prerequisite(error.to_string()),
            ExecError::Cancelled(_) => {
                Self::new(crate::domain::FailureKind::Interrupted, error.to_string())
            }
            _ => Self::failed(error.to_string()),
        }
    }
}

/// What a child left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
    /// Whether it was to run on another machine.
    pub there: bool,
}

impl Output {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Whether the other machine was not reached, or lost: the client's own word, which no program
    /// of the product's choosing exits with.
    pub fn unreached(&self) -> bool {
        self.there && self.status.code() == Some(255)
    }

    /// The last line that says something, for an error message: standard error first.
    pub fn last_line(&self) -> String {
        let pick = |text: &str| {
            text.lines()
                .map(|line| crate::domain::text::clean(line.trim(), 300))
                .rfind(|line| !line.is_empty())
        };
        pick(&self.stderr).or_else(|| pick(&self.stdout)).unwrap_or_else(|| self.status.to_string())
    }
}

/// A child process to be.
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    cwd: Option<PathBuf>,
    stdin: Option<Input>,
    deadline: Duration,
    grace: Duration,
    cancel: Option<CancellationToken>,
    locks: Vec<OwnedFd>,
    /// Where the child is written down.
    record: Option<PathBuf>,
    /// The machine that it runs on, where that is another one.
    remote: Option<There>,
}

/// What a child on another machine is reached with.
struct There {
    remote: Remote,
    /// The environment of the client here, of which nothing goes there.
    client: BTreeMap<OsString, OsString>,
}

/// What a child reads on standard input.
enum Input {
    Bytes(Vec<u8>),
    Reader(Box<dyn Read + Send + Sync>),
}

/// What reads a child's standard output as it comes.
type Reading = Box<dyn FnOnce(File) + Send>;

/// Names and counts alone: values of variables, arguments and input may be secrets.
impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cmd")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Cmd {
    /// A child of this program, with the allow-list's variables, the proxies, and a deadline of a
    /// minute.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut cmd = Self::bare(program);
        cmd.allow(&ALLOWED).allow(&PROXIES);
        cmd
    }

    /// A child with an environment that is empty but for what is said next.
    pub fn bare(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            stdin: None,
            deadline: Duration::from_secs(60),
            grace: GRACE,
            cancel: None,
            locks: Vec::new(),
            record: None,
            remote: None,
        }
    }

    /// A child on another machine, with that machine's own environment and what is said next.
    pub fn there(remote: &Remote, program: impl AsRef<OsStr>) -> Self {
        let mut client = Self::new(&remote.program);
        client.allow(&CLIENT);
        for prefix in &remote.variables {
            client.allow_prefix(prefix);
        }
        let there = There { remote: remote.clone(), client: client.env };
        Self { remote: Some(there), ..Self::bare(program) }
    }

    /// Lets variables of the program's environment through, by name. None goes to another machine.
    pub fn allow(&mut self, names: &[&str]) -> &mut Self {
        if self.remote.is_some() {
            return self;
        }
        for name in names {
            if let Some(value) = std::env::var_os(name) {
                self.env.insert((*name).into(), value);
            }
        }
        self
    }

    /// Takes variables away again, by name.
    pub fn withhold(&mut self, names: &[&str]) -> &mut Self {
        self.env.retain(|name, _| !names.iter().any(|withheld| name == withheld));
        self
    }

    /// Lets variables of the program's environment through by the start of their names.
    pub fn allow_prefix(&mut self, prefix: &str) -> &mut Self {
        for (name, value) in std::env::vars_os() {
            let matches = name.to_str().is_some_and(|name| {
                name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            });
            if matches {
                self.env.insert(name, value);
            }
        }
        self
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&mut self, args: I) -> &mut Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets a variable to a secret.
    pub fn secret_env(&mut self, name: impl AsRef<OsStr>, value: &Secret) -> &mut Self {
        self.env(name, value.expose())
    }

    /// Sets the working directory.
    pub fn cwd(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// Gives it bytes on standard input.
    pub fn stdin(&mut self, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.stdin = Some(Input::Bytes(bytes.into()));
        self
    }

    /// Gives it what a reader yields on standard input, without holding all of it.
    pub fn stdin_from(&mut self, reader: impl Read + Send + Sync + 'static) -> &mut Self {
        self.stdin = Some(Input::Reader(Box::new(reader)));
        self
    }

    /// Sets how long it may take.
    pub fn deadline(&mut self, deadline: Duration) -> &mut Self {
        self.deadline = deadline;
        self
    }

    /// Sets how long it may take to end once it was asked to, before it is killed.
    pub fn grace(&mut self, grace: Duration) -> &mut Self {
        self.grace = grace;
        self
    }

    /// Ends it when the operation is cancelled.
    pub fn cancel_on(&mut self, cancel: &CancellationToken) -> &mut Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Lets it inherit a lock, which then lives as long as it does.
    pub fn hold(&mut self, lock: &LockFile) -> io::Result<&mut Self> {
        self.locks.push(lock.duplicate()?);
        self.record = Some(lock.children());
        Ok(self)
    }

    /// A variable as the child will see it.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.env.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The arguments as text.
    pub fn arguments(&self) -> Vec<String> {
        self.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    /// The program's name, for messages.
    pub fn name(&self) -> String {
        let program = Path::new(&self.program);
        program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
    }

    fn std_command(&mut self) -> std::process::Command {
        let mut command = match &self.remote {
            None => {
                let mut command = std_command_of(&self.program);
                command.args(&self.args).env_clear().envs(&self.env);
                if let Some(cwd) = &self.cwd {
                    command.current_dir(cwd);
                }
                command
            }
            Some(There { remote, client }) => {
                let (has_variables, changes) = (!self.env.is_empty(), self.record.is_some());
                let cwd = self.cwd.as_deref();
                let line = remote.line(&self.program, &self.args, cwd, has_variables, changes);
                let mut command = std_command_of(&remote.program);
                command.args(&remote.args).arg(line).env_clear().envs(client);
                if let Some(dir) = &remote.dir {
                    command.current_dir(dir);
                }
                command
            }
        };
        if !self.locks.is_empty() {
            command.preserved_fds(std::mem::take(&mut self.locks));
        }
        command
    }

    /// What it reads: on another machine its variables come first.
    fn input(&mut self) -> Option<Input> {
        let own = self.stdin.take();
        if self.remote.is_none() || self.env.is_empty() {
            return own;
        }
        let mut first = remote::preamble(&self.env);
        Some(match own {
            None => Input::Bytes(first),
            Some(Input::Bytes(bytes)) => {
                first.extend(bytes);
                Input::Bytes(first)
            }
            Some(Input::Reader(reader)) => {
                Input::Reader(Box::new(Read::chain(io::Cursor::new(first), reader)))
            }
        })
    }

    /// Refuses variables for another machine where no input of its own carries them there.
    fn require_no_variables(&self) -> Result<(), ExecError> {
        if self.remote.is_none() || self.env.is_empty() {
            return Ok(());
        }
        let why = "no variables reach another machine this way";
        Err(self.io(io::Error::new(io::ErrorKind::InvalidInput, why)))
    }

    /// Starts it in a process group of its own, with all three streams piped.
    fn spawn_piped(&mut self, has_input: bool) -> Result<tokio::process::Child, ExecError> {
        let mut command = self.std_command();
        command.process_group(0);
        let stdin = if has_input { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let child = command.spawn().map_err(|error| self.io(error))?;
        if let (Some(path), Some(pid)) = (&self.record, child.id()) {
            let recorded = i32::try_from(pid)
                .map_err(io::Error::other)
                .and_then(ProcessId::of)
                .and_then(|child| children::record(path, &child));
            // On a full disk too, what gives space back has to run; the lock still tells of it.
            if let Err(error) = recorded {
                tracing::warn!(%error, "a child could not be written down");
            }
        }
        Ok(child)
    }

    pub(super) fn spawn_relay(&mut self) -> Result<tokio::process::Child, ExecError> {
        self.require_no_variables()?;
        let mut command = self.std_command();
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        command.spawn().map_err(|error| self.io(error))
    }

    fn io(&self, source: io::Error) -> ExecError {
        if source.kind() == io::ErrorKind::NotFound {
            ExecError::NotFound(self.name())
        } else {
            ExecError::Io { program: self.name(), source }
        }
    }

    /// Runs it to its end and keeps what it said.
    pub async fn output(&mut self) -> Result<Output, ExecError> {
        self.lines(|_, _| {}).await
    }

    /// Runs it to its end, handing each line on as it comes. Carriage returns end lines too:
    /// progress bars use them.
    pub async fn lines(
        &mut self,
        mut each: impl FnMut(Stream, &str) + Send,
    ) -> Result<Output, ExecError> {
        let each = |stream, line: &str| {
            each(stream, line);
            std::future::ready(())
        };
        self.run(each, None).await
    }

    /// The same, as fast as the lines are taken: the next one is read when what was made of the
    /// one before is over, and the child waits for that.
    pub async fn lines_at_pace<F: Future<Output = ()> + Send>(
        &mut self,
        each: impl FnMut(Stream, &str) -> F + Send,
    ) -> Result<Output, ExecError> {
        self.run(each, None).await
    }

    /// Runs it to its end while `read` takes its standard output as bytes, on a thread of its
    /// own. Answers what `read` did, also when the child failed: one that stops reading early
    /// makes it fail.
    pub async fn read_by<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(File) -> T + Send + 'static,
    ) -> Result<(Output, T), ExecError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let reading: Reading = Box::new(move |stdout| {
            let _ = sender.send(read(stdout));
        });
        let output = self.run(|_, _| std::future::ready(()), Some(reading)).await?;
        let gone = |_| self.io(io::ErrorKind::BrokenPipe.into());
        Ok((output, receiver.await.map_err(gone)?))
    }

    async fn run<F: Future<Output = ()> + Send>(
        &mut self,
        mut each: impl FnMut(Stream, &str) -> F + Send,
        reading: Option<Reading>,
    ) -> Result<Output, ExecError> {
        let input = self.input();
        let mut child = self.spawn_piped(input.is_some())?;
        let mut group = Group::of(&child);
        let stdin = child.stdin.take().zip(input);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (sender, mut receiver) = tokio::sync::mpsc::channel(LINES_WAITING);
        let mut readers = tokio::task::JoinSet::new();
        match (stdout, reading) {
            (Some(stdout), Some(reading)) => {
                let stdout = stdout.into_owned_fd().map_err(|error| self.io(error))?;
                readers.spawn_blocking(move || reading(stdout.into()));
            }
            (Some(stdout), None) => {
                readers.spawn(read_lines(stdout, Stream::Stdout, sender.clone()));
            }
            (None, _) => {}
        }
        if let Some(stderr) = stderr {
            readers.spawn(read_lines(stderr, Stream::Stderr, sender.clone()));
        }
        drop(sender);
        // A child that does not read its input ends by itself or by its deadline; that it closed
        // the pipe is no error of ours.
        match stdin {
            Some((mut pipe, Input::Bytes(bytes))) => {
                readers.spawn(async move {
                    let _ = pipe.write_all(&bytes).await;
                });
            }
            Some((pipe, Input::Reader(mut reader))) => {
                let pipe = pipe.into_owned_fd().map_err(|error| self.io(error))?;
                readers.spawn_blocking(move || {
                    let _ = io::copy(&mut reader, &mut File::from(pipe));
                });
            }
            None => {}
        }
        let mut out = (Tail::default(), Tail::default());
        let run = async {
            while let Some((stream, line)) = receiver.recv().await {
                match stream {
                    Stream::Stdout => out.0.push(&line),
                    Stream::Stderr => out.1.push(&line),
                }
                each(stream, &line).await;
            }
            child.wait().await
        };
        let cancel = self.cancel.clone().unwrap_or_default();
        let ended = tokio::select! {
            status = run => status.map_err(|error| self.io(error)),
            () = cancel.cancelled() => Err(ExecError::Cancelled(self.name())),
            () = tokio::time::sleep_until(tokio::time::Instant::now() + self.deadline) => {
                Err(ExecError::Deadline { program: self.name(), deadline: self.deadline })
            }
        };
        match ended {
            Ok(status) => {
                group.0 = None;
                let there = self.remote.is_some();
                Ok(Output { status, stdout: out.0.text(), stderr: out.1.text(), there })
            }
            Err(error) => {
                group.end(&mut child, self.grace).await;
                Err(error)
            }
        }
    }

    /// Runs it with the program's own terminal, in the foreground.
    pub fn interactive(&mut self) -> Result<ExitStatus, ExecError> {
        self.require_no_variables()?;
        if let Some(There { remote, .. }) = &mut self.remote {
            remote.args.insert(remote.terminal_at.min(remote.args.len()), "-t".into());
        } else {
            self.allow(&["TERM", "COLORTERM"]);
        }
        let mut command = self.std_command();
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        command.status().map_err(|error| self.io(error))
    }

    /// Starts it as a child that this process supervises, with its output going to a file: it
    /// goes on writing there should this process die. It leads a process group of its own.
    pub fn supervised(&mut self, log: &File) -> Result<tokio::process::Child, ExecError> {
        let streams = log.try_clone().and_then(|out| Ok((out, log.try_clone()?)));
        let (out, err) = streams.map_err(|error| self.io(error))?;
        let mut command = self.std_command();
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        tokio::process::Command::from(command).spawn().map_err(|error| self.io(error))
    }

    /// Starts it detached: it outlives this process. Its standard error goes to the file; its
    /// standard output is answered, so that it can say when it is ready.
    pub fn detached(&mut self, log: &File) -> Result<tokio::process::Child, ExecError> {
        let err = log.try_clone().map_err(|error| self.io(error))?;
        let mut command = self.std_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(err);
        tokio::process::Command::from(command).spawn().map_err(|error| self.io(error))
    }
}

fn std_command_of(program: &OsStr) -> std::process::Command {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    std::process::Command::new(program)
}

/// The process group of a child. It is killed when it is dropped: also by a caller that stops
/// waiting for the child.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Asks the group to end, and kills what has not when its leader has, or in the end. A leader
    /// that ended says nothing of the others: what a shell runs in the background ignores SIGINT.
    async fn end(&mut self, child: &mut tokio::process::Child, grace: Duration) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::INT);
            let _ = tokio::time::timeout(grace, child.wait()).await;
        }
        self.kill();
        let _ = child.kill().await;
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
