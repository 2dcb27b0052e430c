//! The lab's cloud: AWS's API on loopback, with a machine behind every instance.
//!
//! Owns one simulator per value, which ends with it and removes what it made; one whose test was
//! killed ends by itself, because its input closes. Refuses to speak AWS's protocols: whoever is
//! tested does that, and this side asks the simulator itself (see
//! `tests/lab/cloud/simulator/control.py`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::engine::Engine;
use super::lab::{Lab, Part, command, own_image, skip};

/// How long an answer may take. A script in a machine is among them.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something that somebody made and that still exists.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Resource {
    /// Such as `ec2:instance`, `lightsail:static-ip`, `iam:role`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id, as the service has it.
    pub id: String,
    /// Its name; empty where it has none.
    pub name: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// An instance and the machine that it is.
#[derive(Clone, Debug, Deserialize)]
pub struct Machine {
    /// `ec2` or `lightsail`.
    pub service: String,
    /// The instance's id on EC2, its name on Lightsail.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `pending`, `running` and so on; `failed` where the lab could not start it.
    pub state: String,
    /// The container's name in the lab's engine.
    pub container: String,
    /// The address that leads to it, if one does.
    pub public: Option<Ipv4Addr>,
    /// Why it failed.
    pub trouble: Option<String>,
}

/// A call of the API that was made.
#[derive(Clone, Debug, Deserialize)]
pub struct Call {
    /// Such as `ec2`.
    pub service: String,
    /// Such as `RunInstances`.
    pub action: String,
    /// What it was answered.
    pub status: u16,
    /// The access key that it was signed with.
    pub key: String,
}

#[derive(Deserialize)]
struct Ready {
    port: u16,
    inside: String,
    operator: Ipv4Addr,
}

/// A running simulator.
pub struct Cloud {
    process: Child,
    port: u16,
    inside: String,
    operator: Ipv4Addr,
    settings: PathBuf,
    log: tempfile::NamedTempFile,
}

impl Cloud {
    /// Starts one, with nothing in it. `None`, after `skipped: REASON`, where this machine cannot
    /// have one.
    pub fn start() -> Option<Self> {
        let lab = Lab::require(Part::Cloud)?;
        let engine = Engine::get()?;
        if !engine.has_image(&own_image("instance")) {
            return skip("no image of instances: run tests/lab/setup cloud");
        }
        let log = tempfile::NamedTempFile::new().expect("a file");
        let mut process = command(Lab::script("cloud/simulate"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log.path()).expect("the log"))
            .spawn()
            .expect("run tests/lab/cloud/simulate");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        output.read_line(&mut line).expect("read its output");
        let said = std::fs::read_to_string(log.path()).unwrap_or_default();
        let ready: Ready = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("no simulator: {error}: {line}{said}"));
        let settings = lab.home().join("cloud/terraform.rc");
        let Ready { port, inside, operator } = ready;
        Some(Self { process, port, inside, operator, settings, log })
    }

    /// The API's endpoint.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The endpoint as its instances reach it.
    pub fn inside(&self) -> &str {
        &self.inside
    }

    /// The public address of this machine in the cloud's internet: what connects to an instance
    /// from here comes from it. (What runs in a `NetNs` comes from there.)
    pub fn operator(&self) -> Ipv4Addr {
        self.operator
    }

    /// What whoever is tested needs in its environment to find this cloud, and no other.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_ACCESS_KEY_ID", "AKIALAB0000000000001".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "lab-secret-access-key".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("TF_CLI_CONFIG_FILE", self.settings.to_string_lossy().into_owned()),
            ("CHECKPOINT_DISABLE", "1".to_owned()),
        ]
    }

    /// A command with that environment, and nothing else about AWS or Terraform in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = command(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AWS_") || text.starts_with("TF_") {
                command.env_remove(&name);
            }
        }
        command.envs(self.environment());
        command
    }

    /// Everything that exists now: instances that are not terminated, keys, security groups but
    /// the default ones, addresses, volumes, roles and so on, in all regions.
    pub fn state(&self) -> Vec<Resource> {
        self.list("state", "resources")
    }

    /// That nothing exists any more.
    pub fn assert_empty(&self) {
        let left = self.state();
        assert!(left.is_empty(), "left in the cloud: {left:#?}");
    }

    /// Every instance that is not terminated.
    pub fn instances(&self) -> Vec<Machine> {
        self.list("instances", "instances")
    }

    /// The calls of the API so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.list("calls", "calls")
    }

    /// How often an action was called.
    pub fn called(&self, action: &str) -> usize {
        self.calls().iter().filter(|call| call.action == action).count()
    }

    /// Lets the next `times` calls of an action fail with an error of the real service, such as
    /// `RequestLimitExceeded` or `InsufficientInstanceCapacity`.
    pub fn refuse(&self, action: &str, code: &str, times: u32) {
        self.fault(&json!({"action": action, "code": code, "times": times}));
    }

    /// A fault in full: `action`, and of `service`, `times`, `status`, `code`, `message`,
    /// `delay_ms` and `after` (the call is carried out, and its answer lost) what is needed.
    pub fn fault(&self, fault: &Value) {
        self.ask("POST", "faults", Some(fault));
    }

    /// Lets IAM say of these actions, and of no others, that nobody may do them. It says so alone:
    /// the calls themselves are answered as ever.
    pub fn deny(&self, actions: &[&str]) {
        self.ask("POST", "policies", Some(&json!({ "denied": actions })));
    }

    /// How often calls of an action were struck by a fault so far, also those that are held yet.
    pub fn struck(&self, action: &str) -> usize {
        let struck: Vec<String> = self.list("faults", "struck");
        struck.iter().filter(|it| *it == action).count()
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.ask("DELETE", "faults", None);
    }

    /// Makes a newer Amazon Linux 2023 image appear, of both architectures.
    pub fn release_image(&self) {
        self.ask("POST", "ami", None);
    }

    /// Gives the account room for so many machines of a common size on each of the two clouds.
    pub fn make_room(&self, machines: u32) {
        let quotas = json!({ "L-1216C47A": machines * 2, "L-0263D0A3": machines,
                             "L-4259AF9B": machines * 2, "L-BBF0F260": machines });
        self.quotas(&quotas);
    }

    /// Gives the account other quotas, by code.
    pub fn quotas(&self, quotas: &Value) {
        self.ask("POST", "quotas", Some(quotas));
    }

    /// Clusters that are made from now on have their API there, behind a certificate of this
    /// authority (PEM in base64).
    pub fn cluster_at(&self, endpoint: &str, authority: &str) {
        let real = json!({ "endpoint": endpoint, "certificate_authority": authority });
        self.ask("POST", "eks", Some(&real));
    }

    /// Whether machines that are made from now on reach the images' registry.
    pub fn registry(&self, up: bool) {
        self.ask("POST", "registry", Some(&json!({"up": up})));
    }

    /// Sees that machines can pull the stand-in gateway, of the version that the lab has and of
    /// the one before; returns the names of the two images. Small enough for launches by the
    /// dozen. `None`, after `skipped: REASON`, where it is not to be had.
    pub fn standin(&self) -> Option<[String; 2]> {
        super::standin::images()
    }

    /// Does something to a machine: `refuse_ssh`, `accept_ssh`, `new_host_key`, `fill_disk`,
    /// `empty_disk`. EC2's are named by id, Lightsail's by name.
    pub fn befall(&self, instance: &str, what: &str) {
        self.ask("POST", &format!("instances/{instance}/{what}"), None);
    }

    /// Lets a machine's hardware fail. The API then shows it as `terminated`, `stopped` or still
    /// `running`.
    pub fn kill(&self, instance: &str, then: &str) {
        self.ask("POST", &format!("instances/{instance}/kill"), Some(&json!({"then": then})));
    }

    /// Runs a script in a machine, as root, beside SSH; it must succeed.
    pub fn run(&self, instance: &str, script: &str) -> String {
        let path = format!("instances/{instance}/run");
        self.ask("POST", &path, Some(&json!({"script": script})))
    }

    /// The same of one that may be on its way down or up: `None` while it cannot be done.
    pub fn try_run(&self, instance: &str, script: &str) -> Option<String> {
        let path = format!("instances/{instance}/run");
        let (status, answer) = self.exchange("POST", &path, Some(&json!({"script": script})));
        (status == 200).then_some(answer)
    }

    /// Calls the API as somebody beside Terraform does: runs Python in which `boto3` is there,
    /// and returns what it printed.
    pub fn api(&self, script: &str) -> String {
        let python = self.settings.with_file_name("venv").join("bin/python");
        let script = format!("import boto3\n{script}");
        let output = self.command(python).args(["-c", &script]).output().expect("run Python");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {error}{}", self.log());
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn list<T: for<'de> Deserialize<'de>>(&self, path: &str, member: &str) -> Vec<T> {
        let mut answer: Value =
            serde_json::from_str(&self.ask("GET", path, None)).expect("a JSON answer");
        serde_json::from_value(answer[member].take()).expect("the list")
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let (status, answer) = self.exchange(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}{}", self.log());
        answer
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        write!(
            tcp,
            "{method} /_lab/{path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("it reads");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).expect("an answer in time");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// What the simulator has complained about.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Its process, and so the tag in the names of what it made.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, so that it removes nothing.
    pub fn kill_simulator(mut self) {
        self.process.kill().expect("kill it");
        self.process.wait().expect("wait for it");
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It ends when its input does, and removes what is its own first.
        drop(self.process.stdin.take());
        let end = Instant::now() + PATIENCE;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
