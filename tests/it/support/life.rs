//! The whole life of a gateway on real parts, wherever it runs.
//!
//! Owns a [`Life`]: a launch by a command that is killed on its way and goes on, browsers that are
//! let in after the command has exited, a private client that is not, an update that does not come
//! up and a good one with its data, and destroying. Refuses to know which target it is.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::browser::{Browser, Page};
use super::cloud::{Cloud, Machine};
use super::cluster::Cluster;
use super::control_ui::{self, View};
use super::engine::Engine;
use super::netns::{self, NetNs};
use super::private_client::{self, Asked};
use super::product::until;
use super::real::{CURRENT, PREVIOUS, Real, TOKEN};

/// How long a page may take to show something, on busy cores.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The link that a launch ends with.
pub fn link(said: &str) -> String {
    let link = said.split_whitespace().rfind(|it| it.starts_with("http") && it.contains("/#"));
    link.unwrap_or_else(|| panic!("no link in {said}")).to_owned()
}

/// A browser that was never there opens a link, and is let in.
pub async fn let_in(browser: &Browser, link: &str) -> Page {
    let page = browser.stranger().await;
    page.goto(link).await.expect("opens the link");
    control_ui::wait_until(&page, PATIENCE, |view| *view == View::Connected)
        .await
        .expect("it is let in");
    page
}

/// Where a gateway runs.
#[derive(Clone, Copy)]
pub enum Ground<'a> {
    /// As a process of this machine.
    Process,
    /// In a container of an engine here.
    Engine(&'static Engine),
    /// In a container of a machine of its own.
    Machine(&'a Cloud),
    /// In a pod of a cluster.
    Pod(&'a Cluster),
}

/// One life.
pub struct Life<'a> {
    /// The installation.
    pub real: &'a Real,
    /// Where the browser is.
    pub netns: &'a NetNs,
    /// The browser.
    pub browser: &'a Browser,
    /// The deployment.
    pub name: String,
    /// Its target, and the version that it begins with.
    pub first: Vec<String>,
    /// What does not come up.
    pub broken: Vec<String>,
    /// What does.
    pub good: Vec<String>,
    /// The step in which the launch is killed.
    pub killed_in: &'static str,
    /// Where it runs.
    pub ground: Ground<'a>,
    /// The gateway's port.
    pub port: u16,
}

impl Life<'_> {
    /// All of it.
    pub async fn run(&self) {
        self.launched_through_a_kill();
        self.a_keeper_that_died_is_replaced();
        self.browsers_get_in().await;
        self.a_private_client_is_asked().await;
        let devices = self.devices();
        assert_eq!(devices.len(), 3, "the owner's link and two by the policy: {devices:?}");
        self.it_would_be_let_in_otherwise().await;
        let before = self.devices();

        self.a_broken_update_goes_back();
        assert_eq!(self.devices(), before, "the devices are there after going back");

        self.updated();
        assert_eq!(self.devices(), before, "the devices are there after the update");

        self.gone_back();
        assert_eq!(self.devices(), before, "the devices are there after going back by hand");
        self.destroyed();
    }

    /// The launch is killed in the middle of a step; the same command goes on with it.
    fn launched_through_a_kill(&self) {
        let bind = self.netns.host().to_string();
        let port = self.port.to_string();
        let mut launch = vec!["launch", &self.name, "--port", &port];
        if !matches!(self.ground, Ground::Machine(_) | Ground::Pod(_)) {
            launch.extend(["--bind", &bind]);
        }
        launch.extend(["--no-link", "--approval-devices", "2"]);
        launch.extend(self.first.iter().map(String::as_str));
        self.real.kill_in_step(&launch, self.killed_in);
        let status = self.real.json(&["status", &self.name]);
        assert_eq!(status["status"], "launching");
        assert_eq!(status["interrupted"], true);
        let launched = self.real.json(&launch);
        assert_eq!(launched["status"], "running", "{launched}");
        assert_eq!(launched["version"], PREVIOUS);
        let events = self.real.events(&self.name);
        assert_eq!(events.iter().filter(|kind| *kind == "completed").count(), 1, "{events:?}");
        let again = self.real.json(&launch);
        assert_eq!(again["ran_already"], true);
    }

    /// Who watches for browsers is killed; the next command that looks starts another one. On the
    /// `process` target it supervises the gateway too, and its end is another test's.
    fn a_keeper_that_died_is_replaced(&self) {
        if matches!(self.ground, Ground::Process) {
            return;
        }
        let lock = self.real.data().join("locks").join(format!("{}.keeper", self.name));
        let keeper = || {
            let text = fs::read_to_string(&lock).expect("the keeper's lock");
            let holder: Value = serde_json::from_str(&text).ok()?;
            holder["process"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
        };
        let first = keeper().and_then(rustix::process::Pid::from_raw).expect("a keeper");
        rustix::process::kill_process(first, rustix::process::Signal::KILL).expect("it lived");
        // Its lock is its own until it has ended, which it has not when the signal is sent.
        until("another keeper", || {
            self.real.ok(&["status", &self.name]);
            keeper().filter(|it| *it != first.as_raw_nonzero().get())
        });
    }

    /// Every command has exited: whoever lets these browsers in outlived them.
    async fn browsers_get_in(&self) {
        let access = self.real.json(&["open", &self.name]);
        assert_eq!(access["kind"], "one_time", "{access}");
        let link = access["url"].as_str().expect("a link");
        let owner = self.browser.page().await;
        owner.goto(link).await.expect("opens the owner's link");
        control_ui::wait_until(&owner, PATIENCE, |view| *view == View::Connected)
            .await
            .expect("the owner's link lets a browser in at once");
        let second = self.browser.stranger().await;
        second.goto(link).await.expect("opens it again");
        control_ui::wait_until(&second, PATIENCE, |view| matches!(view, View::Refused(_)))
            .await
            .expect("and only once");

        let address = self.real.json(&["status", &self.name])["url"].clone();
        let address = address.as_str().expect("an address");
        for _ in 0..2 {
            let further = self.browser.stranger().await;
            further.goto(&format!("{address}#token={TOKEN}")).await.expect("opens the page");
            control_ui::wait_until(&further, PATIENCE, |view| *view == View::Connected)
                .await
                .expect("a further browser of the owner's is let in by the policy");
        }
        let events = self.real.events(&self.name);
        for kind in ["pairing_required", "auto_approving", "approve_success"] {
            assert!(events.iter().any(|event| event == kind), "no {kind} in {events:?}");
        }
        let status = self.real.json(&["status", &self.name]);
        let approvals = status["approvals"].as_array().expect("approvals");
        assert_eq!(approvals.len(), 2, "{status}");
        for approval in approvals {
            assert_eq!(approval["decision"], "approved");
            assert_eq!(approval["address"], self.netns.inside().to_string());
            assert_eq!(approval["role"], "operator");
        }
    }

    /// A client with a private address that claims to be local is no administrator by that: it is
    /// asked for approval, and waits.
    async fn a_private_client_is_asked(&self) {
        if !matches!(self.ground, Ground::Process) {
            // As for a gateway that is published on loopback: otherwise the page is refused for
            // its origin already.
            let list = r#""allowedOrigins": ["#;
            self.replace_in_configuration(list, &format!(r#"{list}"http://127.0.0.1:18789","#));
        }
        let asked = self.asks_until(|answer| answer != "INVALID_REQUEST").await;
        assert_eq!(asked.answer, "NOT_PAIRED", "a private client was let in");
        let devices = self.real.json(&["devices", &self.name]);
        let pending = devices["pending"].as_array().expect("requests");
        assert!(pending.iter().any(|it| it["device_id"] == *asked.device), "{devices:#}");
        assert!(!self.devices().contains(&asked.device), "{devices:#}");
    }

    /// What the managed configuration keeps out comes in without it: the same client, with nobody
    /// asked. Otherwise the check before would prove nothing.
    async fn it_would_be_let_in_otherwise(&self) {
        for (from, to, answer) in [("false", "true", "in"), ("true", "false", "NOT_PAIRED")] {
            self.replace_in_configuration(
                &format!("\"autoApproveLocal\": {from}"),
                &format!("\"autoApproveLocal\": {to}"),
            );
            self.asks_until(|said| said == answer).await;
        }
    }

    /// What is changed in the configuration counts a moment later: the gateway reads it again.
    async fn asks_until(&self, is_it: impl Fn(&str) -> bool) -> Asked {
        let end = Instant::now() + PATIENCE;
        loop {
            let asked = self.asks_in_private().await;
            if is_it(&asked.answer) {
                return asked;
            }
            assert!(Instant::now() < end, "{asked:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// A client on the gateway's loopback, or on the bridge that its container is on.
    async fn asks_in_private(&self) -> Asked {
        let address = || {
            let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
            let address = self.docker(&["inspect", "--format", format, &self.container()]);
            format!("{}:18789", address.trim())
        };
        match self.ground {
            Ground::Process => {
                private_client::asks(&format!("127.0.0.1:{}", self.port), TOKEN).await
            }
            Ground::Engine(_) => private_client::asks(&address(), TOKEN).await,
            Ground::Pod(cluster) => {
                let pods = cluster.get(&["pods", "--namespace", &self.namespace()]);
                let ip = pods["items"][0]["status"]["podIP"].as_str().expect("its address");
                let (address, runtime) = (format!("{ip}:18789"), tokio::runtime::Runtime::new());
                let runtime = runtime.expect("a runtime");
                let asks = move || runtime.block_on(private_client::asks(&address, TOKEN));
                let node = "/run/netns/oclab-kubernetes";
                let within = tokio::task::spawn_blocking(move || netns::within(node, asks));
                within.await.expect("it asks")
            }
            Ground::Machine(cloud) => {
                let engine = Engine::get().expect("the machine runs in it");
                let machine = machine(cloud).container;
                let pid = engine.docker(&["inspect", "--format", "{{.State.Pid}}", &machine]);
                let namespace = format!("/proc/{}/ns/net", pid.trim());
                let (address, runtime) = (address(), tokio::runtime::Runtime::new());
                let runtime = runtime.expect("a runtime");
                let asks = move || runtime.block_on(private_client::asks(&address, TOKEN));
                let within = tokio::task::spawn_blocking(move || netns::within(&namespace, asks));
                within.await.expect("it asks")
            }
        }
    }

    /// Docker's command line where the container runs.
    fn docker(&self, args: &[&str]) -> String {
        match self.ground {
            Ground::Process | Ground::Pod(_) => unreachable!("it is in no container of Docker's"),
            Ground::Engine(engine) => engine.docker(args),
            Ground::Machine(cloud) => {
                let quoted = args.iter().map(|arg| format!("'{}'", arg.replace('\'', "'\\''")));
                let script = format!("docker {}", quoted.collect::<Vec<_>>().join(" "));
                cloud.run(&machine(cloud).id, &script).trim_end().to_owned()
            }
        }
    }

    /// Where its objects are on a cluster.
    fn namespace(&self) -> String {
        format!("openclaw-{}", self.name)
    }

    fn container(&self) -> String {
        let own = format!("label=io.openclaw.pipeline.deployment={}", self.name);
        self.docker(&["container", "ls", "--format", "{{.Names}}", "--filter", &own])
    }

    fn replace_in_configuration(&self, from: &str, to: &str) {
        if !matches!(self.ground, Ground::Process) {
            let path = "/home/node/.openclaw/openclaw.json";
            let script = format!("s|{}|{to}|", from.replace('[', "\\["));
            if let Ground::Pod(cluster) = self.ground {
                let (namespace, target) = (self.namespace(), "deployment/openclaw");
                let exec = ["--namespace", &namespace, "exec", target, "-c", "openclaw", "--"];
                cluster.said(&[&exec[..], &["sed", "-i", &script, path]].concat());
                return;
            }
            self.docker(&["exec", &self.container(), "sed", "-i", &script, path]);
            return;
        }
        let own = self.real.data().join("deployments").join(&self.name);
        let path = own.join("state/openclaw.json");
        let text = fs::read_to_string(&path).expect("the gateway's configuration");
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).expect("written");
    }

    fn a_broken_update_goes_back(&self) {
        let mut update = vec!["--json", "update", self.name.as_str()];
        update.extend(self.broken.iter().map(String::as_str));
        let output = self.real.run(&update);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("step prove"), "{said}");
        let status = self.real.json(&["status", &self.name]);
        assert_eq!(status["status"], "running", "{said}\n{status:#}");
        assert_eq!(status["version"], PREVIOUS);
        assert_eq!(status["operation"]["status"], "failed");
    }

    fn updated(&self) {
        let mut update = vec!["update", self.name.as_str()];
        update.extend(self.good.iter().map(String::as_str));
        let updated = self.real.json(&update);
        assert_eq!(updated["status"], "running", "{updated}");
        let status = self.real.json(&["status", &self.name]);
        assert_eq!(status["version"], CURRENT);
        let backups = self.real.json(&["backups", &self.name]);
        let backups = backups["items"].as_array().expect("backups");
        assert_eq!(backups.len(), 2, "one before each update");
        for backup in backups {
            let path = Path::new(backup["path"].as_str().expect("a path"));
            let bytes = fs::read(path).expect("the archive");
            assert!(!bytes.starts_with(&[0x1f, 0x8b]), "it is sealed, not a plain archive");
        }
    }

    /// The state of before the update, with the version that wrote it: the newer one's databases
    /// are none that it could read.
    fn gone_back(&self) {
        let backups = self.real.json(&["backups", &self.name]);
        let id = backups["items"][0]["id"].as_str().expect("the update's backup");
        let restored = self.real.json(&["restore", &self.name, "--backup", id]);
        assert_eq!(restored["status"], "running", "{restored}");
        let status = self.real.json(&["status", &self.name]);
        assert_eq!(status["version"], PREVIOUS);
    }

    fn destroyed(&self) {
        let asked = self.real.run(&["destroy", &self.name]);
        assert_eq!(asked.status.code(), Some(2), "without a terminal and --yes it refuses");
        self.real.ok(&["destroy", &self.name, "--yes"]);
        let gone = self.real.run(&["status", &self.name]);
        assert_eq!(gone.status.code(), Some(3));
        assert_eq!(self.real.events(&self.name).last().map(String::as_str), Some("destroyed"));
    }

    /// The ids of the devices that are in.
    fn devices(&self) -> Vec<String> {
        let devices = self.real.json(&["devices", &self.name]);
        let paired = devices["paired"].as_array().expect("devices");
        let id = |device: &Value| device["device_id"].as_str().unwrap_or_default().to_owned();
        let mut ids: Vec<String> = paired.iter().map(id).collect();
        ids.sort();
        ids
    }
}

/// The one machine of a cloud.
pub fn machine(cloud: &Cloud) -> Machine {
    let mut machines = cloud.instances();
    assert_eq!(machines.len(), 1, "{machines:?}");
    machines.remove(0)
}
