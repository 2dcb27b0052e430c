//! The `docker` target in a test's own hands, on the lab's engine, with a gateway that does wrong
//! on demand.
//!
//! The gateway is a script in the real image, so that it starts in a moment. The target finds its
//! engine by the environment alone, so each test runs again in a process of its own, which has the
//! lab's engine there.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use openclaw_pipeline::domain::Failure;
use openclaw_pipeline::exec::LockFile;
use openclaw_pipeline::secrets::Secret;
use openclaw_pipeline::targets::container::container;
use openclaw_pipeline::targets::docker::DockerTarget;
use openclaw_pipeline::targets::rendering::Bind;
use openclaw_pipeline::targets::{
    GatewaySecrets, Layout, ManagedConfig, Observed, Progress, Site, Target, Work,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::engine::{Derived, Engine};
use super::lab::{CURRENT, Lab, Part, REPOSITORY, search_path};
use super::ports::free_port;

/// A value that is a value whatever reads it.
pub const MORE: &str = "more\nlines, $HOME, ${PATH:-x} and $$ \"as they are\"";

/// How long something may take on busy cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway that exits with 78 until it is mended, and whose backup tool does as it is told.
const GATEWAY: &str = r#"
import fs from "node:fs";
const state = "/home/node/.openclaw/";
const args = process.argv.slice(2);
const mark = (name) => fs.appendFileSync(state + name, "x");
const has = (name) => fs.existsSync(state + name);
switch (args[0]) {
  case "gateway":
    mark("starts");
    if (!has("mended")) {
      console.error("Error: the state has schema 18; this build supports 17");
      process.exit(78);
    }
    process.on("SIGTERM", () => setTimeout(() => { mark("drained"); process.exit(0); }, 500));
    setInterval(() => {}, 1000);
    break;
  case "doctor":
    mark("doctored");
    break;
  case "mend":
    mark("mended");
    break;
  case "show":
    console.log(JSON.stringify({
      env: process.env,
      cap: fs.readFileSync("/proc/self/status", "utf8").match(/CapEff:\s*(\S+)/)[1],
      marks: Object.fromEntries(fs.readdirSync(state).map((name) =>
        [name, fs.lstatSync(state + name).size])),
    }));
    break;
  case "link":
    fs.rmSync(state + "openclaw.json", { force: true });
    fs.symlinkSync(args[1], state + "openclaw.json");
    break;
  case "backup":
    if (args[1] === "create") {
      const archivePath = args[args.indexOf("--output") + 1] + "/archive.tar.gz";
      if (has("hostile")) fs.symlinkSync("/etc/hostname", archivePath);
      else fs.writeFileSync(archivePath, "an archive");
      console.log(JSON.stringify({ archivePath, verified: true }));
    } else {
      const into = args[args.indexOf("--target") + 1] + "/x/payload/posix/home/node/.openclaw";
      fs.mkdirSync(into, { recursive: true });
      fs.copyFileSync(args[2], into + "/restored");
      fs.writeFileSync(into + "/mended", "");
    }
}
"#;

/// The engine, in a process whose environment names it; the test of this name runs again in one.
pub fn engine(test: &str) -> Option<&'static Engine> {
    let engine = Engine::get()?;
    if std::env::var("DOCKER_HOST").is_ok_and(|host| host == engine.docker_host()) {
        return Some(engine);
    }
    again(engine, test, &[]);
    None
}

pub fn again(engine: &Engine, test: &str, env: &[(&str, &Path)]) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &format!("fault_docker::{test}"), "--nocapture"]);
    command.env("DOCKER_HOST", engine.docker_host()).env_remove("DOCKER_CONTEXT");
    command.env("PATH", search_path()).envs(env.iter().copied());
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

pub fn scripted(engine: &'static Engine) -> Option<Derived> {
    Lab::require(Part::Image(CURRENT))?;
    let base = format!("{REPOSITORY}:{CURRENT}");
    Some(engine.derived("scripted", &base, &[("/app/openclaw.mjs", GATEWAY)]))
}

#[derive(Default)]
pub struct Notes(pub Mutex<Vec<String>>);

impl Progress for Notes {
    fn amount(&self, _done: u64, _total: u64, _what: &str) {}

    fn note(&self, line: &str) {
        self.0.lock().expect("not poisoned").push(line.to_owned());
    }
}

/// A deployment of its own; what it left on the engine goes with it.
pub struct Placed {
    engine: &'static Engine,
    _dir: tempfile::TempDir,
    lock: LockFile,
    cancel: CancellationToken,
    pub notes: Notes,
    pub target: DockerTarget,
    pub site: Site,
}

impl Placed {
    pub fn new(engine: &'static Engine, image: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = LockFile::try_acquire(&dir.path().join("lock"), "test");
        let port = free_port();
        let deployment = json!({
            "id": uuid::Uuid::now_v7().to_string(),
            "name": Engine::name("fault"),
            "status": "launching",
            "spec": {
                "target": "docker", "bind": "127.0.0.1", "heartbeat": "0m", "memory_mib": 1024,
                "approval": { "mode": "off", "window_s": 600, "devices": 3 }, "image": image,
            },
            "facts": { "port": port },
            "created_at": "", "updated_at": "",
        });
        let site = Site {
            layout: Layout::new(dir.path()),
            deployment: serde_json::from_value(deployment).expect("a deployment"),
            secrets: GatewaySecrets {
                token: Secret::new("a-token-that-is-long-enough-for-all"),
                credentials: vec![("ANTHROPIC_API_KEY".into(), Secret::new("a-key"))],
                env: vec![
                    ("MORE".into(), Secret::new(MORE)),
                    // A user's name that would steer compose.
                    ("DOCKER_HOST".into(), Secret::new("tcp://192.0.2.1:2375")),
                ],
                user_config: None,
                tunnel_token: None,
            },
        };
        Self {
            engine,
            _dir: dir,
            lock: lock.expect("tries").expect("is free"),
            cancel: CancellationToken::new(),
            notes: Notes::default(),
            target: DockerTarget::new(),
            site,
        }
    }

    pub fn work(&self) -> Work<'_> {
        Work { cancel: &self.cancel, lock: &self.lock, progress: &self.notes }
    }

    pub fn name(&self) -> String {
        container(&self.site)
    }

    pub async fn fetch(&mut self) {
        let artefact = self.target.fetch(&self.site, self.work()).await.expect("is here");
        self.site.deployment.facts.take_artefact(artefact.id, artefact.version);
    }

    pub async fn place(&self) -> Result<(), Failure> {
        let spec = &self.site.deployment.spec;
        let config = ManagedConfig::of(spec, 1, Bind::Loopback, String::new());
        self.target.place(&self.site, &config, self.work()).await.map(drop)
    }

    pub async fn start(&self) {
        self.target.start(&self.site, self.work()).await.expect("starts");
    }

    pub async fn stop(&self) {
        self.target.stop(&self.site, self.work()).await.expect("stops");
    }

    pub async fn observe(&self) -> Observed {
        self.target.observe(&self.site).await.expect("looks")
    }

    pub async fn until(&self, what: &str, is: impl Fn(&Observed) -> bool) -> Observed {
        let end = Instant::now() + PATIENCE;
        loop {
            let observed = self.observe().await;
            if is(&observed) {
                return observed;
            }
            assert!(Instant::now() < end, "never {what}: {observed:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn log(&self) -> String {
        let output = self.engine.output(&["logs", &self.name()]);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub async fn openclaw(&self, args: &[&str]) -> String {
        let mut cmd = self.target.openclaw(&self.site, args, false).await.expect("a command");
        let shown = format!("{:?}", cmd.arguments());
        assert!(!shown.contains("a-key") && !shown.contains("a-token"), "{shown}");
        let output = cmd.output().await.expect("runs");
        assert!(output.success(), "{args:?}: {}{}", output.stdout, output.stderr);
        output.stdout
    }

    /// What the gateway's own command sees where it runs.
    pub async fn show(&self) -> Value {
        let said = self.openclaw(&["show"]).await;
        serde_json::from_str(said.lines().last().expect("a line")).expect("JSON")
    }

    pub fn inspect(&self, what: &str, name: &str) -> Value {
        let text = self.engine.docker(&[what, "inspect", name]);
        serde_json::from_str::<Value>(&text).expect("JSON")[0].take()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let label = format!("label=io.openclaw.pipeline.id={}", self.site.deployment.id);
        let kinds: [(&[&str], &[&str]); 3] = [
            (&["container", "ls", "-aq"], &["container", "rm", "--force", "--volumes"]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
            (&["network", "ls", "-q"], &["network", "rm"]),
        ];
        for (list, remove) in kinds {
            let found = self.engine.output(&[list, &["--filter", &label]].concat());
            for id in String::from_utf8_lossy(&found.stdout).split_whitespace() {
                self.engine.output(&[remove, &[id]].concat());
            }
        }
    }
}
