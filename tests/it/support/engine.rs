//! The lab's own Docker engine, started once per test process and shared with
//! every other one.
//!
//! Each process that uses it holds a shared lock on `/run/openclaw-lab/users`.
//! The kernel lets go of that lock however the process ends, and the engine's
//! watcher (see `tests/lab/engine`) stops the engine a minute after the last
//! one has gone. So nothing has to run at the end of a test binary, and a
//! killed one leaves no engine behind.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::lab::{Lab, Part, command, skip};

const RUN: &str = "/run/openclaw-lab";

/// The running engine.
#[derive(Debug)]
pub struct Engine {
    host: String,
    /// Held for its lock, for as long as the process lives.
    _user: File,
}

impl Engine {
    /// The engine, started if it is down. `None` (after `skipped: REASON`) where
    /// this machine cannot have one.
    ///
    /// The first call of a process also removes the containers, networks and
    /// volumes that dead test runs have left.
    pub fn get() -> Option<&'static Self> {
        static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
        let engine = ENGINE.get_or_init(|| {
            Lab::require(Part::Engine)?;
            let engine = Self::start();
            engine.sweep();
            Some(engine)
        });
        engine.as_ref().or_else(|| skip("no engine of the lab's"))
    }

    fn start() -> Self {
        std::fs::create_dir_all(RUN).expect("make the lab's run directory");
        let user = File::options()
            .create(true)
            .append(true)
            .open(format!("{RUN}/users"))
            .expect("open the list of the engine's users");
        // Waits while the watcher is stopping an engine, which is then started
        // again below.
        user.lock_shared().expect("join the engine's users");
        let output = command(Lab::script("engine"))
            .args(["start", "--while-used"])
            .output()
            .expect("run tests/lab/engine");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let host = printed
            .trim()
            .strip_prefix("DOCKER_HOST=")
            .unwrap_or_else(|| {
                panic!("no engine: {}{printed}", String::from_utf8_lossy(&output.stderr))
            })
            .to_owned();
        Self { host, _user: user }
    }

    /// The value of `DOCKER_HOST` that reaches it.
    pub fn docker_host(&self) -> &str {
        &self.host
    }

    /// A `docker` command for it.
    pub fn command(&self) -> Command {
        let mut docker = command("docker");
        docker.env("DOCKER_HOST", &self.host).env_remove("DOCKER_CONTEXT");
        docker
    }

    /// Runs `docker ARGS` and returns what came of it.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command().args(args).output().expect("run docker")
    }

    /// Runs `docker ARGS`, which must succeed, and returns what it printed.
    pub fn docker(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(
            output.status.success(),
            "docker {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Whether it holds an image of that name.
    pub fn has_image(&self, image: &str) -> bool {
        self.output(&["image", "inspect", "--format", "{{.Id}}", image]).status.success()
    }

    /// A name for a container, volume or deployment that no other test has, and
    /// by which the next run finds it if this one is killed.
    pub fn name(what: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("{}{}-{what}", super::tag(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// An image made of another one and a few files, which is removed with the answer.
    pub fn derived(&'static self, what: &str, from: &str, files: &[(&str, &str)]) -> Derived {
        let context = tempfile::tempdir().expect("a build context");
        let mut dockerfile = format!("FROM {from}\n");
        for (number, (path, content)) in files.iter().enumerate() {
            let file = format!("file{number}");
            std::fs::write(context.path().join(&file), content).expect("a file");
            writeln!(dockerfile, "COPY --chown=1000:1000 {file} {path}").expect("a line");
        }
        std::fs::write(context.path().join("Dockerfile"), dockerfile).expect("a Dockerfile");
        let image = format!("{}:{}", super::lab::REPOSITORY, Self::name(what));
        let built = self
            .command()
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "--quiet", "--tag", &image])
            .arg(context.path())
            .output()
            .expect("run docker");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Derived { engine: self, image }
    }

    /// Removes what runs that have ended left behind, by the tag in the name.
    pub fn sweep(&self) {
        let lists: [(&[&str], &[&str]); 4] = [
            (&["ps", "--all", "--format", "{{.Names}}"], &["rm", "--force", "--volumes"]),
            (&["network", "ls", "--format", "{{.Name}}"], &["network", "rm"]),
            (&["volume", "ls", "--format", "{{.Name}}"], &["volume", "rm", "--force"]),
            (&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"], &["image", "rm"]),
        ];
        for (list, remove) in lists {
            let left: BTreeSet<_> = self
                .docker(list)
                .lines()
                .filter(|name| super::owner(name).is_some_and(super::is_gone))
                .map(str::to_owned)
                .collect();
            if left.is_empty() {
                continue;
            }
            // Another process may be sweeping the same ones: failing is fine.
            let names: Vec<_> = left.iter().map(String::as_str).collect();
            self.output(&[remove, &names].concat());
        }
    }
}

/// An image of a test's own.
pub struct Derived {
    engine: &'static Engine,
    image: String,
}

impl Derived {
    /// Its name and tag.
    pub fn image(&self) -> &str {
        &self.image
    }
}

impl Drop for Derived {
    fn drop(&mut self) {
        self.engine.output(&["image", "rm", "--force", &self.image]);
    }
}
