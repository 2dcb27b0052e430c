//! How the server is shipped: as an image, by compose, and as a unit of systemd. Each runs for
//! real, in the lab's engine.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::engine::Engine;
use crate::support::lab::{Lab, Part, command, own_image, skip};
use crate::support::ports::free_port;
use crate::support::source::{read, root};

const TOKEN: &str = "ocp-operator-0123456789abcdef0123456789abcdef";
/// What an image has beside its program, at most: the larger it is, the longer a new machine waits.
/// (The program's own size is a figure of the benchmarks.)
const BESIDE_BYTES: u64 = 1 << 20;
/// How long something may take on busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The status and the body of an answer of the server on loopback.
fn call(port: u16, request: &str, token: Option<&str>, body: &str) -> Option<(u16, String)> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).ok()?;
    tcp.set_read_timeout(Some(PATIENCE)).ok()?;
    let bearer = token.map(|it| format!("authorization: Bearer {it}\r\n")).unwrap_or_default();
    write!(
        tcp,
        "{request} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n{bearer}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut text = String::new();
    tcp.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

// ------------------------------------------------------------------ the image

#[test]
fn the_image_is_the_program_and_nothing_else() {
    if Lab::require(Part::Server).is_none() {
        return;
    }
    let Some(engine) = Engine::get() else { return };
    let image = own_image("server");
    let inspected: Value =
        serde_json::from_str(&engine.docker(&["image", "inspect", &image])).expect("JSON");
    let (inspected, config) = (&inspected[0], &inspected[0]["Config"]);
    let bytes = inspected["Size"].as_u64().expect("a size");
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/openclaw-pipeline"]));
    assert_eq!(config["Cmd"], json!(["serve"]));
    assert_eq!(config["ExposedPorts"], json!({ "4000/tcp": {} }));
    assert_eq!(config["Volumes"], json!({ "/data": {}, "/key": {} }));

    let name = Engine::name("image");
    engine.docker(&["create", "--name", &name, &image]);
    let exported = engine.output(&["export", &name]).stdout;
    engine.docker(&["rm", "--volumes", &name]);
    let mut archive = tar::Archive::new(&exported[..]);
    let (mut files, mut own, mut program) = (Vec::new(), Vec::new(), 0);
    for entry in archive.entries().expect("an archive") {
        let entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let header = entry.header();
        if header.uid().expect("a user") != 0 {
            own.push((path, header.mode().expect("a mode") & 0o7777));
        } else if entry.size() > 0 {
            program = program.max(entry.size());
            files.push(path);
        }
    }
    files.sort();
    assert_eq!(files, ["etc/ssl/certs/ca-certificates.crt", "usr/local/bin/openclaw-pipeline"]);
    assert!(bytes - program < BESIDE_BYTES, "{bytes} bytes with a program of {program}");
    own.sort();
    let private = |path: &str| (path.to_owned(), 0o700);
    assert_eq!(own, [private("data/"), private("key/"), ("tmp/".to_owned(), 0o1777)]);

    let run = ["run", "--rm", "--read-only", "--network", "none", "--cap-drop", "ALL", &image];
    let version = engine.docker(&[&run[..], &["--version"]].concat());
    assert_eq!(version, format!("openclaw-pipeline {}", env!("CARGO_PKG_VERSION")));
    let refused = engine.output(&run);
    let refusal = said(&refused);
    assert_eq!(refused.status.code(), Some(2), "no token, and beyond loopback: {refusal}");
    assert!(refusal.contains("token"), "{refusal}");
}

// ------------------------------------------------------------------ by compose

/// A project of the shipped compose file, which is gone when it is dropped.
struct Project {
    dir: tempfile::TempDir,
    name: String,
}

impl Project {
    fn new(env: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = root().join("docker-compose.yml");
        fs::copy(file, dir.path().join("docker-compose.yml")).expect("copies");
        fs::write(dir.path().join(".env"), env).expect("a file");
        Self { dir, name: Engine::name("compose") }
    }

    fn run(&self, args: &[&str]) -> Output {
        let engine = Engine::get().expect("it runs");
        let mut compose = command("docker-compose");
        compose.args(["-p", &self.name]).args(args).current_dir(self.dir.path());
        compose.env("DOCKER_HOST", engine.docker_host()).env_remove("DOCKER_CONTEXT");
        compose.output().expect("docker-compose runs")
    }

    fn ok(&self, args: &[&str]) {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
    }

    /// Its containers, whatever state they are in.
    fn containers(&self) -> Vec<Value> {
        let engine = Engine::get().expect("it runs");
        let label = format!("label=com.docker.compose.project={}", self.name);
        let ids = engine.docker(&["ps", "-aq", "--filter", &label]);
        let inspect = |id| serde_json::from_str(&engine.docker(&["inspect", id])).expect("JSON");
        ids.lines().map(inspect).map(|mut it: Value| it[0].take()).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.run(&["down", "--volumes", "--timeout", "5"]);
    }
}

#[test]
fn the_server_runs_by_compose() {
    if Lab::require(Part::Server).is_none() {
        return;
    }
    let Some(engine) = Engine::get() else { return };
    let port = free_port();
    let project = Project::new(&format!(
        "OPENCLAW_PIPELINE_SERVER_IMAGE={}\nSERVER_PORT={port}\nOPENCLAW_PIPELINE_API_TOKEN={TOKEN}\n",
        own_image("server")
    ));
    project.ok(&["up", "-d", "pipeline-server"]);
    until("the server answers", || {
        call(port, "GET /readyz", None, "").filter(|(status, _)| *status == 200)
    });
    assert_eq!(call(port, "GET /status", None, "").expect("an answer").0, 401);
    assert_eq!(call(port, "GET /status", Some(TOKEN), "").expect("an answer").0, 200);

    let containers = project.containers();
    assert_eq!(containers.len(), 1, "the gateway is not its business");
    let (container, host) = (&containers[0], &containers[0]["HostConfig"]);
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["CapAdd"], Value::Null);
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true"]));
    assert_eq!((&host["PidsLimit"], &host["Memory"]), (&json!(256), &json!(512 << 20)));
    assert_eq!(host["PortBindings"]["4000/tcp"][0]["HostIp"], "127.0.0.1");
    assert_eq!(container["Config"]["User"], "65532:65532");
    let mounts = container["Mounts"].as_array().expect("mounts");
    let mounts = mounts.iter().map(|mount| (&mount["Type"], &mount["Destination"]));
    let mut mounts: Vec<_> = mounts.map(|(kind, to)| format!("{kind} {to}")).collect();
    mounts.sort();
    assert_eq!(mounts, ["\"volume\" \"/data\"", "\"volume\" \"/key\""], "and no engine's socket");

    // What it stored outlives the container: a token that was made is known.
    let made = call(port, "POST /v1/tokens", Some(TOKEN), r#"{"label":"kept","scopes":["read"]}"#);
    let (status, made) = made.expect("an answer");
    let made: Value = serde_json::from_str(&made).unwrap_or_else(|error| panic!("{error}: {made}"));
    assert_eq!(status, 201, "{made}");
    let kept = made["token"].as_str().expect("a token");
    let first = &container["Id"];
    project.ok(&["up", "-d", "--force-recreate", "pipeline-server"]);
    assert_ne!(project.containers()[0]["Id"], *first);
    until("the next one answers", || {
        call(port, "GET /status", Some(kept), "").filter(|(status, _)| *status == 200)
    });
    let volume = format!("{}_pipeline-key:/key", project.name);
    let stat = ["stat", "-c", "%a %u", "/key/sealing.key"];
    let look = ["run", "--rm", "--volume", &volume, &own_image("compiler")];
    assert_eq!(engine.docker(&[&look[..], &stat].concat()), "600 65532");

    // Beyond loopback, and a container's address is, nothing is launched on the machine itself.
    let launch = call(port, "POST /launch", Some(TOKEN), r#"{"name":"x","target":"process"}"#);
    let (status, refusal) = launch.expect("an answer");
    assert!((400..404).contains(&status), "{status} {refusal}");
}

#[test]
fn the_server_is_not_started_unless_it_is_asked_for() {
    let Some(engine) = Engine::get() else { return };
    if !engine.has_image(&own_image("base")) {
        skip::<()>("no base image: run tests/lab/setup image 2026.9.6");
        return;
    }
    let gateway = Engine::name("gateway");
    let project = Project::new(&format!(
        "OPENCLAW_PIPELINE_IMAGE={}\nOPENCLAW_CONTAINER={gateway}\nOPENCLAW_CPUS=1\n",
        own_image("base")
    ));
    project.ok(&["up", "--no-start"]);
    let names: Vec<_> = project.containers().iter().map(|it| it["Name"].clone()).collect();
    assert_eq!(names, [format!("/{gateway}")]);
}

// ------------------------------------------------------------------ by systemd

const UNIT: &str = "packaging/openclaw-pipeline.service";

fn analyze(args: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(args).env("SYSTEMD_PAGER", "cat").output() {
        Ok(output) => Some(output),
        Err(error) => skip(&format!("systemd-analyze: {error}: run tests/lab/setup packages")),
    }
}

#[test]
fn the_unit_is_one_and_is_hardened() {
    let dir = tempfile::tempdir().expect("a directory");
    let unit = dir.path().join("openclaw-pipeline.service");
    let installed = "/usr/local/bin/openclaw-pipeline";
    let text = read(UNIT);
    assert!(text.contains(installed));
    let here = text.replace(installed, env!("CARGO_BIN_EXE_openclaw-pipeline"));
    fs::write(&unit, here).expect("a file");
    let unit = unit.to_string_lossy();
    let Some(verified) = analyze(&["verify", "--man=no", &unit]) else { return };
    assert_eq!((said(&verified).as_str(), verified.status.code()), ("", Some(0)));
    // In tenths, of 10.
    let judged = analyze(&["security", "--offline=true", "--threshold=25", "--no-pager", &unit]);
    let judged = judged.expect("it is here");
    assert!(judged.status.success(), "{}", said(&judged));
    assert!(said(&judged).contains(" OK"), "{}", said(&judged));
}

#[test]
fn the_unit_leaves_a_gateway_what_it_needs() {
    let text = read(UNIT);
    let set = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name}=")));
    // Each was seen to end a real gateway, or what it keeps: its locks, its code, its /tmp, itself.
    for switch in ["RestrictSUIDSGID", "MemoryDenyWriteExecute", "PrivateTmp", "RemoveIPC"] {
        assert!(!set(switch), "{switch}");
    }
    assert!(!set("DynamicUser") && text.contains("\nKillMode=process\n"));
    assert!(text.contains("\nOOMPolicy=continue\n"));
}

/// A machine with a systemd of its own.
struct Machine {
    engine: &'static Engine,
    name: String,
}

impl Machine {
    fn start(engine: &'static Engine) -> Self {
        let machine = Self { engine, name: Engine::name("systemd") };
        let mut run = vec!["run", "--detach", "--name", &machine.name, "--env", "container=docker"];
        run.extend(["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"]);
        run.extend(["--security-opt", "apparmor=unconfined", "--tmpfs", "/run"]);
        run.extend(["--security-opt", "systempaths=unconfined"]);
        run.extend(["--volume", "/sys/fs/cgroup:/sys/fs/cgroup"]);
        let image = own_image("systemd");
        // Mounts for a service come from a namespace beside it, and have to get there.
        run.extend([&image, "sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd"]);
        engine.docker(&run);
        until("systemd is up", || {
            let state = said(&machine.output("systemctl is-system-running"));
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        machine
    }

    fn output(&self, script: &str) -> Output {
        self.engine.output(&["exec", &self.name, "bash", "-c", script])
    }

    fn run(&self, script: &str) -> String {
        let output = self.output(script);
        assert!(output.status.success(), "{script}: {}\n{}", said(&output), self.log());
        said(&output).trim().to_owned()
    }

    fn put(&self, from: &Path, to: &str) {
        let to = format!("{}:{to}", self.name);
        self.engine.docker(&["cp", &from.to_string_lossy(), &to]);
    }

    fn write(&self, to: &str, text: &str) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("a text");
        self.put(file.path(), to);
        self.run(&format!("chmod 644 {to}"));
    }

    fn keeper_works(&self, pid: &str) {
        self.run(&format!("kill -0 {pid} && rm -f /var/lib/openclaw-pipeline/alive"));
        let alive = "test -e /var/lib/openclaw-pipeline/alive";
        until("the child works on", || self.output(alive).status.success().then_some(()));
    }

    /// The program, out of the server's image.
    fn put_program(&self) {
        let dir = tempfile::tempdir().expect("a directory");
        let name = Engine::name("program");
        self.engine.docker(&["create", "--name", &name, &own_image("server")]);
        let program = dir.path().join("openclaw-pipeline");
        let from = format!("{name}:/usr/local/bin/openclaw-pipeline");
        self.engine.docker(&["cp", &from, &program.to_string_lossy()]);
        self.engine.docker(&["rm", "--volumes", &name]);
        self.put(&program, "/usr/local/bin/openclaw-pipeline");
    }

    fn log(&self) -> String {
        said(&self.output("journalctl --unit openclaw-pipeline --no-pager --output cat"))
    }

    fn show(&self, property: &str) -> String {
        self.run(&format!("systemctl show --property {property} --value openclaw-pipeline"))
    }

    /// The status of an answer of the server.
    fn get(&self, path: &str) -> String {
        self.run(&format!(
            "exec 3<>/dev/tcp/127.0.0.1/4000; printf 'GET {path} HTTP/1.1\\r\\nhost: localhost\\r\\n\
             authorization: Bearer {TOKEN}\\r\\nconnection: close\\r\\n\\r\\n' >&3; head -n 1 <&3"
        ))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.engine.output(&["rm", "--force", "--volumes", &self.name]);
    }
}

/// Leaves a child behind, as a launch leaves the keeper of a gateway: it tells that it has its /tmp.
const KEEPER: &str = "cd /var/lib/openclaw-pipeline\n[ ! -e keeper ] || exit 0\ntouch /tmp/kept\n\
    setsid sh -c 'echo $$ >keeper; while sleep 1; do [ -e /tmp/kept ] && touch alive; done' \
    >/dev/null 2>&1 &\nuntil [ -s keeper ]; do sleep 0.1; done\n";

#[test]
fn the_unit_runs_under_systemd_and_a_restart_ends_no_gateway() {
    for part in [Part::Server, Part::Systemd] {
        if Lab::require(part).is_none() {
            return;
        }
    }
    let Some(engine) = Engine::get() else { return };
    let machine = Machine::start(engine);
    machine.put_program();
    machine.put(&root().join(UNIT), "/etc/systemd/system/openclaw-pipeline.service");
    machine.run("mkdir -p /etc/sysusers.d /etc/openclaw-pipeline");
    let sysusers = root().join("packaging/openclaw-pipeline.sysusers");
    machine.put(&sysusers, "/etc/sysusers.d/openclaw-pipeline.conf");
    machine.write("/usr/local/bin/keeper", KEEPER);
    let post = "[Service]\nExecStartPost=/bin/sh /usr/local/bin/keeper\n";
    machine.run("mkdir /etc/systemd/system/openclaw-pipeline.service.d");
    machine.write("/etc/systemd/system/openclaw-pipeline.service.d/keeper.conf", post);
    machine.run(&format!(
        "systemd-sysusers && umask 077 && cd /etc/openclaw-pipeline \
         && head -c 32 /dev/urandom | base64 >sealing.key \
         && echo OPENCLAW_PIPELINE_API_TOKEN={TOKEN} >server.env \
         && systemctl daemon-reload && systemctl start openclaw-pipeline"
    ));
    // Started only once it said that it is ready.
    assert_eq!(machine.show("ActiveState"), "active");
    assert_eq!(machine.get("/readyz"), "HTTP/1.1 200 OK");
    assert_eq!(machine.get("/status"), "HTTP/1.1 200 OK");
    let pid = machine.show("MainPID");
    let status = machine.run(&format!("cat /proc/{pid}/status"));
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("CapBnd:\t0000000000000000"));
    assert_eq!(machine.run("stat -c '%a %U' /var/lib/openclaw-pipeline"), "700 openclaw-pipeline");
    let environment = machine.run(&format!("tr '\\0' '\\n' </proc/{pid}/environ"));
    assert!(environment.contains("KEY_FILE=/run/credentials/"), "{environment}");

    machine.run("echo OPENCLAW_PIPELINE_HOSTS=pipeline.example >/etc/openclaw-pipeline/config.env");
    machine.run("systemctl reload openclaw-pipeline");
    until("the settings are read anew", || machine.log().contains("read anew").then_some(()));

    let keeper = machine.run("cat /var/lib/openclaw-pipeline/keeper");
    machine.run("systemctl restart openclaw-pipeline");
    assert_ne!(machine.show("MainPID"), pid);
    machine.keeper_works(&keeper);
    machine.run("kill -KILL $(systemctl show --property MainPID --value openclaw-pipeline)");
    until("it is started again", || (machine.show("NRestarts") == "1").then_some(()));
    until("it is ready again", || (machine.show("ActiveState") == "active").then_some(()));
    machine.run("systemctl stop openclaw-pipeline");
    assert_eq!(
        (machine.show("ActiveState"), machine.show("Result")),
        ("inactive".into(), "success".into())
    );
    machine.keeper_works(&keeper);

    // What it refuses is not tried for ever.
    machine.run("echo OPENCLAW_PIPELINE_BIND=0.0.0.0 >>/etc/openclaw-pipeline/server.env");
    let refused = machine.output("systemctl start openclaw-pipeline");
    assert!(!refused.status.success());
    assert_eq!(machine.show("ActiveState"), "failed", "{}", machine.log());
}
