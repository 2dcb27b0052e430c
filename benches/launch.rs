//! `launch` to proven, against starting the same gateway by hand until `/startupz` says started.
//!
//! Pairs are interleaved, so that a slow minute of the machine falls on both. Every start is of a
//! fresh state, with what the target needs installed or present.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::stats::{Samples, ms};
use super::support::engine::Engine;
use super::support::lab::{Lab, Part};
use super::support::ports::free_port;
use super::support::real::{CURRENT, Real, TOKEN};

/// How many pairs.
const PAIRS: usize = 7;
/// The image that both sides of the docker pairs start.
const IMAGE: &str = "ghcr.io/openclaw/openclaw:latest";
/// The key that both sides give.
const KEY: &str = "sk-ant-a-key-that-only-looks-like-one";

pub fn process(lab: &Lab) {
    let real = Real::new(lab);
    real.ok(&["launch", "warm", "--target", "process", "--no-link"]);
    let config = fs::read_to_string(real.data().join("deployments/warm/state/openclaw.json"))
        .expect("the configuration");
    real.ok(&["destroy", "warm", "--yes"]);
    let runtime = real.data().join("runtime");
    let had = real.port().to_string();
    report("process", |pair| {
        (product(&real, pair, "process"), by_hand(&runtime, &config, &had, pair))
    });
}

pub fn docker() {
    let Some(lab) = Lab::require(Part::Engine) else { return };
    let Some(engine) = Engine::get() else { return };
    let real = Real::with_engine(&lab, engine);
    let name = Engine::name("warm");
    real.ok(&["launch", &name, "--target", "docker", "--no-link"]);
    let own = format!("label=io.openclaw.pipeline.deployment={name}");
    let container = engine.docker(&["ps", "--quiet", "--filter", &own]);
    let config = engine.docker(&["exec", &container, "cat", "/home/node/.openclaw/openclaw.json"]);
    real.ok(&["destroy", &name, "--yes"]);
    report("docker", |pair| {
        (product(&real, pair, "docker"), container_by_hand(engine, &config, pair))
    });
}

fn report(target: &str, mut pair: impl FnMut(usize) -> (Duration, Duration)) {
    let (mut product, mut floor) = (Samples(Vec::new()), Samples(Vec::new()));
    for number in 0..PAIRS {
        let (ours, theirs) = pair(number);
        println!("  pair {number}: launch {:.1} s, by hand {:.1} s", s(ours), s(theirs));
        product.0.push(ours);
        floor.0.push(theirs);
    }
    let (ours, theirs) = (product.median(), floor.median());
    println!("launch to proven, {target}:");
    println!("{}", product.line("launch"));
    println!("{}", floor.line("by hand, until started"));
    println!(
        "  launch = {:.3} x floor; allowed 1.05 x floor + 500 ms = {:.1} ms; used {:.1} ms\n",
        ms(ours) / ms(theirs),
        ms(theirs) * 1.05 + 500.0,
        ms(ours)
    );
}

fn s(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// The whole command, from its start to its exit.
fn product(real: &Real, pair: usize, target: &str) -> Duration {
    let name = if target == "docker" { Engine::name("bench") } else { format!("bench{pair}") };
    let begun = Instant::now();
    real.ok(&["launch", &name, "--target", target, "--no-link", "--approval", "off"]);
    let took = begun.elapsed();
    real.ok(&["destroy", &name, "--yes"]);
    took
}

/// The same program with the same configuration and environment, started by hand.
fn by_hand(runtime: &Path, config: &str, had: &str, pair: usize) -> Duration {
    let dir = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let state = dir.path().join("state");
    for part in ["state", "workspace", "home/.cache", "tmp"] {
        fs::create_dir_all(dir.path().join(part)).expect("a directory");
    }
    fs::write(state.join("openclaw.json"), config.replace(had, &port.to_string()))
        .expect("a configuration");
    let node = fs::read_dir(runtime)
        .expect("the runtimes")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("node-"))
        })
        .expect("Node.js");
    let arch = if cfg!(target_arch = "x86_64") { "x64" } else { "arm64" };
    let node = node.join(format!("node_modules/node-linux-{arch}/bin/node"));
    let script = runtime.join(format!("openclaw-{CURRENT}/node_modules/openclaw/openclaw.mjs"));
    let log = fs::File::create(dir.path().join("log")).expect("a log");
    let begun = Instant::now();
    let child = Command::new(&node)
        .arg("--max-old-space-size=1536")
        .arg(script)
        .args(["gateway", "--port", &port.to_string()])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", dir.path().join("home"))
        .env("TMPDIR", dir.path().join("tmp"))
        .env("XDG_CACHE_HOME", dir.path().join("home/.cache"))
        .env("OPENCLAW_STATE_DIR", &state)
        .env("OPENCLAW_CONFIG_PATH", state.join("openclaw.json"))
        .env("OPENCLAW_SUPERVISOR_MODE", "external")
        .env("OPENCLAW_NO_RESPAWN", "1")
        .env("OPENCLAW_NO_AUTO_UPDATE", "1")
        .env("OPENCLAW_GATEWAY_TOKEN", TOKEN)
        .env("ANTHROPIC_API_KEY", KEY)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("starts");
    let mut child = Running(child);
    until_started(port, pair);
    let took = begun.elapsed();
    child.0.kill().expect("ends");
    took
}

/// Ends with the benchmark, also when it failed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn container_by_hand(engine: &Engine, config: &str, pair: usize) -> Duration {
    let name = Engine::name("floor");
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:18789");
    let volume = format!("{name}:/home/node/.openclaw");
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("openclaw.json"), config).expect("a configuration");
    let (token, key) =
        (format!("OPENCLAW_GATEWAY_TOKEN={TOKEN}"), format!("ANTHROPIC_API_KEY={KEY}"));
    let begun = Instant::now();
    let mut create = vec!["create", "--name", &name, "--publish", &publish, "--volume", &volume];
    create.extend(["--memory", "2g", "--pids-limit", "512", "--cap-drop", "ALL"]);
    create.extend(["--security-opt", "no-new-privileges", "--env", &token, "--env", &key]);
    create.extend(["--env", "OPENCLAW_SUPERVISOR_MODE=external", "--env"]);
    create.extend(["OPENCLAW_NO_RESPAWN=1", "--env", "OPENCLAW_NO_AUTO_UPDATE=1"]);
    create.extend(["--env", "NODE_OPTIONS=--max-old-space-size=1536", IMAGE]);
    create.extend(["node", "openclaw.mjs", "gateway", "--port", "18789"]);
    engine.docker(&create);
    let from = dir.path().join("openclaw.json");
    engine.docker(&["cp", &from.to_string_lossy(), &format!("{name}:/home/node/.openclaw/")]);
    engine.docker(&["start", &name]);
    until_started(port, pair);
    let took = begun.elapsed();
    engine.docker(&["rm", "-f", "-v", &name]);
    engine.docker(&["volume", "rm", &name]);
    took
}

/// A bare probe, as often as the product's own at first.
fn until_started(port: u16, pair: usize) {
    use std::io::{Read, Write};
    let end = Instant::now() + Duration::from_secs(300);
    let ask = || -> std::io::Result<String> {
        let mut tcp = std::net::TcpStream::connect(("127.0.0.1", port))?;
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            tcp,
            "GET /startupz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        tcp.read_to_string(&mut text)?;
        Ok(text)
    };
    while !ask().is_ok_and(|text| text.contains("\"status\":\"started\"")) {
        assert!(Instant::now() < end, "pair {pair}: the gateway by hand never started");
        std::thread::sleep(Duration::from_millis(50));
    }
}
