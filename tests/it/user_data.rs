//! What a new machine runs at its first boot, run here: a folder stands for its disk, and small
//! scripts for the tools that would change this machine.
//!
//! Refuses to say that it works on Amazon Linux: what `dnf`, `sshd`, `systemctl`, `iptables` and
//! `docker` do is only written down. The lab's machines run the same script with real ones.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::executable::executable;
use crate::support::lab;
use crate::support::source::read;

const IMAGE: &str = "ghcr.io/openclaw/openclaw:2026.9.6";

/// What EC2 takes at most. Lightsail takes no less.
const BYTES: usize = 16 * 1024;

/// What the script needs of every machine, and takes from this one. It finds nothing else.
const COMMON: [&str; 20] = [
    "base64",
    "cat",
    "chmod",
    "cp",
    "cut",
    "flock",
    "grep",
    "id",
    "mkdir",
    "mv",
    "rm",
    "sed",
    "sh",
    "sha256sum",
    "sleep",
    "ssh-keygen",
    "tail",
    "touch",
    "tr",
    "uname",
];

/// Nobody's.
const HOST_KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACAeqHbur76CWqc3RkMVIJAoFOaZRrs/gWDYqqo4jpnCjgAAAIjjOr7/4zq+
/wAAAAtzc2gtZWQyNTUxOQAAACAeqHbur76CWqc3RkMVIJAoFOaZRrs/gWDYqqo4jpnCjg
AAAED+3mDb+XJdlVo6xmq9wDBQc/LaH9yjDjrf2IQZB/6ztx6odu6vvoJapzdGQxUgkCgU
5plGuz+BYNiqqjiOmcKOAAAAAXQBAgME
-----END OPENSSH PRIVATE KEY-----";

/// A value that the module pins, by its name.
fn pinned(name: &str) -> String {
    let main = read("terraform/ec2/main.tf");
    let after = main.split_once(&format!("{name} ")).expect("a pinned value").1;
    after.split('"').nth(1).expect("its value").to_owned()
}

/// The script as Terraform fills it in.
pub fn rendered(host_key: &str, image: &str) -> String {
    let values = [
        ("host_key", host_key.to_owned()),
        ("image", image.to_owned()),
        ("compose_version", pinned("compose_version")),
        ("compose_sha256_x86_64", pinned("x86_64 ")),
        ("compose_sha256_aarch64", pinned("aarch64")),
    ];
    let mut text = read("terraform/ec2/user-data.sh");
    for (name, value) in values {
        text = text.replace(&format!("${{{name}}}"), &STANDARD.encode(value));
    }
    text
}

/// A machine that is a folder.
struct Machine {
    disk: tempfile::TempDir,
}

impl Machine {
    /// A fresh one: sshd with keys of its own, no Docker, tools that write down what they are asked.
    fn fresh() -> Self {
        let machine = Self { disk: tempfile::tempdir().expect("a directory") };
        for folder in ["bin", "etc/ssh/sshd_config.d", "usr/local/sbin", "etc/systemd/system"] {
            fs::create_dir_all(machine.path(folder)).expect("a directory");
        }
        for name in COMMON {
            let mut places =
                ["/usr/bin", "/bin"].map(|it| PathBuf::from(it).join(name)).into_iter();
            let place = places.find(|it| it.exists()).unwrap_or_else(|| panic!("{name}"));
            std::os::unix::fs::symlink(place, machine.path("bin").join(name)).expect("a tool");
        }
        machine.write("etc/ssh/sshd_config", "Port 22\nHostKey /etc/ssh/ssh_host_rsa_key\n");
        machine.write("etc/fstab", "");
        machine.has_memory_kib(3_926_000);
        machine.write("swaps", "Filename Type Size Used Priority\n");
        machine.tool("dd", "for word; do case $word in of=*) : >\"${word#of=}\" ;; esac; done");
        for name in ["systemctl", "usermod", "mkswap", "swapon"] {
            machine.tool(name, "");
        }
        machine.tool("iptables", "case \"$*\" in *' -C '*|*' -L '*) exit 1 ;; esac");
        machine.tool(
            "sshd",
            "[ \"$1\" = -T ] || exit 0\n\
             cat ETC/ssh/sshd_config.d/*.conf ETC/ssh/sshd_config | grep -v '^Include' |\n\
             while read -r name rest; do echo \"$(echo \"$name\" | tr A-Z a-z) $rest\"; done",
        );
        machine.tool("dnf", "cp BIN/docker.rpm BIN/docker");
        machine.tool(
            "docker.rpm",
            "case \"$*\" in 'image inspect'*) exit 1 ;; pull*) echo 'Pull complete' ;; esac",
        );
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.disk.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).expect("a file");
    }

    fn has_memory_kib(&self, total: u64) {
        self.write("meminfo", &format!("MemTotal:        {total} kB\nMemFree: 1 kB\n"));
    }

    fn here(&self, text: &str) -> String {
        let disk = self.disk.path().display().to_string();
        text.replace("ETC/", &format!("{disk}/etc/")).replace("BIN/", &format!("{disk}/bin/"))
    }

    /// A tool that writes down its call and then does what is said.
    fn tool(&self, name: &str, does: &str) {
        let calls = self.path("calls");
        let text = format!(
            "#!/bin/sh\necho \"${{0##*/}} $*\" >>'{}'\n{}\n",
            calls.display(),
            self.here(does)
        );
        executable(&self.path("bin").join(name), &text);
    }

    fn calls(&self) -> Vec<String> {
        self.read("calls").lines().map(str::to_owned).collect()
    }

    /// Boots: runs the script with this disk in place of the machine's.
    fn boot(&self, script: &str) -> Output {
        let disk = self.disk.path().display().to_string();
        let (before, rest) = script.split_once(" PATH=").expect("its search path");
        let (_, after) = rest.split_once('\n').expect("more lines");
        let mut text = format!("{before} PATH={disk}/bin\n{after}");
        for place in ["/etc/", "/var/l", "/usr/local/", "/swapfile"] {
            text = text.replace(place, &format!("{disk}{place}"));
        }
        text = text.replace("/proc/", &format!("{disk}/"));
        self.write("user-data", &text);
        // Debian's and Amazon's shells differ.
        Command::new("sh").arg(self.path("user-data")).output().expect("sh starts")
    }

    fn state(&self) -> Value {
        let text = self.read("var/lib/openclaw-pipeline/boot.json");
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Waits until what was begun in the background has said this.
    fn pulls(&self, until: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let path = self.path("var/log/openclaw-pipeline/pull.log");
            let log = fs::read_to_string(path).unwrap_or_default();
            if log.contains(until) {
                return log;
            }
            assert!(Instant::now() < deadline, "no {until:?} in {log:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn it_passes_shellcheck_and_is_small_enough() {
    let script = rendered(HOST_KEY, IMAGE);
    assert!(!script.contains("${"), "something is left to fill in");
    assert!(script.len() < BYTES, "{} bytes", script.len());
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), script).expect("the script");
    match Command::new("shellcheck").arg(file.path()).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        Err(error) => _ = lab::skip::<()>(&format!("shellcheck: {error}")),
    }
}

#[test]
fn a_fresh_machine_gets_ready() {
    let machine = Machine::fresh();
    let output = machine.boot(&rendered(HOST_KEY, IMAGE));
    let log = machine.read("var/log/openclaw-pipeline/boot.log");
    assert!(output.status.success(), "{log}");
    assert_eq!(machine.state(), json!({ "state": "done", "step": "done", "message": "ready" }));

    // The first connection finds the key that was sent along, and no other.
    assert_eq!(machine.read("etc/ssh/openclaw-one-time-host-key"), format!("{HOST_KEY}\n"));
    let mode = fs::metadata(machine.path("etc/ssh/openclaw-one-time-host-key")).expect("the key");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let named = machine.read("etc/ssh/sshd_config.d/00-openclaw-pipeline-host-key.conf");
    assert!(named.trim_end().ends_with("/etc/ssh/openclaw-one-time-host-key"), "{named}");
    assert!(machine.read("etc/ssh/sshd_config").contains("#HostKey"));
    let settings = machine.read("etc/ssh/sshd_config.d/00-openclaw-pipeline.conf");
    assert!(settings.contains("PasswordAuthentication no"), "{settings}");
    // Its own key is ready to take that one's place.
    let own = machine.read("etc/ssh/openclaw-own-host-key.pub");
    assert!(own.starts_with("ssh-ed25519 "), "{own}");

    let calls = machine.calls();
    let at = |call: &str| {
        calls.iter().position(|it| it == call).unwrap_or_else(|| {
            panic!("no {call:?} in {calls:#?}");
        })
    };
    assert!(at("systemctl restart sshd") < at("dnf install -y docker"), "sshd comes first");
    assert!(at("dnf install -y docker") < at("systemctl start docker"));
    let block = "iptables -w 30 -I DOCKER-USER -d 169.254.169.254/32 -j DROP";
    assert!(at(block) < at("systemctl start docker"), "no container runs before the block");
    let unit = machine.read("etc/systemd/system/docker.service.d/openclaw-pipeline.conf");
    assert!(unit.contains("ExecStartPre="), "{unit}");
    let engine: Value =
        serde_json::from_str(&machine.read("etc/docker/daemon.json")).expect("settings");
    assert_eq!(engine["live-restore"], true);
    assert_eq!(engine["log-opts"]["max-size"], "10m");

    let pull = machine.pulls("openclaw-pipeline: pulled");
    assert!(pull.starts_with("Pull complete\n"), "{pull}");
    assert!(machine.calls().contains(&format!("docker pull {IMAGE}")));
    // What everybody on the machine can read holds no key.
    for file in ["boot.log", "pull.log"] {
        let text = machine.read(&format!("var/log/openclaw-pipeline/{file}"));
        assert!(!text.contains("PRIVATE KEY") && !text.contains("b3BlbnNzaC1r"), "{text}");
    }
}

#[test]
fn a_second_boot_keeps_what_became_of_the_first() {
    let machine = Machine::fresh();
    assert!(machine.boot(&rendered(HOST_KEY, IMAGE)).status.success());
    machine.pulls("openclaw-pipeline: pulled");
    // The first connection has put the machine's own key in place.
    let switch = machine.path("usr/local/sbin/openclaw-pipeline-own-host-key");
    let path = machine.path("bin");
    let switched = Command::new("sh").arg(&switch).env("PATH", path).status().expect("sh starts");
    assert!(switched.success());
    let own = machine.read("etc/ssh/openclaw-own-host-key");
    let named = machine.read("etc/ssh/sshd_config.d/00-openclaw-pipeline-host-key.conf");
    assert!(named.trim_end().ends_with("/etc/ssh/openclaw-own-host-key"), "{named}");
    assert!(!machine.path("etc/ssh/openclaw-one-time-host-key").exists());
    // And its user has settings of his own.
    machine.write("etc/docker/daemon.json", "{ \"debug\": true }");
    machine.tool("docker", "");

    assert!(machine.boot(&rendered(HOST_KEY, IMAGE)).status.success());
    assert_eq!(machine.state()["state"], "done");
    assert_eq!(machine.read("etc/ssh/openclaw-own-host-key"), own);
    assert_eq!(
        machine.read("etc/ssh/sshd_config.d/00-openclaw-pipeline-host-key.conf"),
        named,
        "the one-time key is back"
    );
    assert!(!machine.path("etc/ssh/openclaw-one-time-host-key").exists());
    assert_eq!(machine.read("etc/docker/daemon.json"), "{ \"debug\": true }");
    let calls = machine.calls();
    let count = |call: &str| calls.iter().filter(|it| it.starts_with(call)).count();
    assert_eq!(count("dnf install"), 1);
    assert_eq!(count("docker pull"), 1, "an image that is there is kept");
}

#[test]
fn two_boots_pull_once() {
    let machine = Machine::fresh();
    let waits = "pull*) while [ ! -e ETC/go ]; do sleep 0.02; done ;;";
    let inspects = "'image inspect'*) exit 1 ;;";
    machine.tool("docker", &format!("case \"$*\" in {inspects} {waits} esac"));
    assert!(machine.boot(&rendered("", IMAGE)).status.success());
    assert!(machine.boot(&rendered("", IMAGE)).status.success());
    machine.write("etc/go", "");
    machine.pulls("openclaw-pipeline: pulled");
    let calls = machine.calls();
    assert_eq!(calls.iter().filter(|it| it.starts_with("docker pull")).count(), 1, "{calls:?}");
}

#[test]
fn an_image_that_cannot_be_pulled_is_told() {
    let machine = Machine::fresh();
    // Without its pauses.
    fs::remove_file(machine.path("bin/sleep")).expect("a tool");
    machine.tool("sleep", "");
    machine.tool("docker", "case \"$*\" in 'image inspect'*) exit 1 ;; pull*) exit 1 ;; esac");
    assert!(machine.boot(&rendered("", IMAGE)).status.success());
    assert_eq!(machine.state()["state"], "done", "the pull is beside the boot");
    machine.pulls("openclaw-pipeline: failed to pull");
    let calls = machine.calls();
    assert_eq!(calls.iter().filter(|it| it.starts_with("docker pull")).count(), 6, "{calls:?}");
}

/// A machine whose Docker comes without Compose, which the network has as these words.
fn without_compose(served: &str) -> Machine {
    let machine = Machine::fresh();
    fs::remove_file(machine.path("bin/sleep")).expect("a tool");
    machine.tool("sleep", "");
    let plugin = "ETC/../usr/local/lib/docker/cli-plugins/docker-compose";
    machine
        .tool("docker.rpm", &format!("case \"$*\" in 'compose version') [ -x {plugin} ] ;; esac"));
    let fetched = format!("while [ \"$1\" != --output ]; do shift; done; echo '{served}' >\"$2\"");
    machine.tool("curl", &fetched);
    machine
}

#[test]
fn docker_compose_is_fetched_once_where_it_is_missing() {
    let machine = without_compose("the plugin");
    let mut script = rendered("", "");
    let served = format!("{:x}", Sha256::digest("the plugin\n"));
    for architecture in ["x86_64 ", "aarch64"] {
        let (old, new) = (STANDARD.encode(pinned(architecture)), STANDARD.encode(&served));
        script = script.replace(&old, &new);
    }
    for _ in 0..2 {
        let output = machine.boot(&script);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let plugin = "usr/local/lib/docker/cli-plugins/docker-compose";
    assert_eq!(machine.read(plugin), "the plugin\n");
    let mode = fs::metadata(machine.path(plugin)).expect("it").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let calls = machine.calls();
    let fetched: Vec<_> = calls.iter().filter(|it| it.starts_with("curl ")).collect();
    let [call] = fetched[..] else { panic!("fetched once: {calls:?}") };
    let version = pinned("compose_version");
    let from = format!("https://github.com/docker/compose/releases/download/v{version}/");
    assert!(call.contains(&from) && call.contains(" --proto =https "), "{call}");
}

#[test]
fn another_docker_compose_than_the_pinned_one_is_not_taken() {
    let machine = without_compose("something else");
    assert!(!machine.boot(&rendered("", "")).status.success());
    let state = machine.state();
    assert_eq!((&state["state"], &state["step"]), (&json!("failed"), &json!("compose")), "{state}");
    assert!(state["message"].as_str().is_some_and(|it| it.contains("did NOT match")), "{state}");
    let plugins = "usr/local/lib/docker/cli-plugins";
    assert!(!machine.path(plugins).join("docker-compose").exists());
    let calls = machine.calls();
    assert_eq!(calls.iter().filter(|it| it.starts_with("curl ")).count(), 5, "tried again");
}

#[test]
fn a_small_machine_gets_swap_once() {
    let machine = Machine::fresh();
    machine.has_memory_kib(1_970_000);
    for _ in 0..2 {
        assert!(machine.boot(&rendered("", "")).status.success());
    }
    let table = machine.read("etc/fstab");
    assert_eq!(table.lines().count(), 1, "{table}");
    let calls = machine.calls();
    assert_eq!(calls.iter().filter(|it| it.starts_with("dd ")).count(), 1, "{calls:?}");

    // One that is sold with 4 GB gets none.
    let machine = Machine::fresh();
    assert!(machine.boot(&rendered("", "")).status.success());
    assert!(!machine.calls().iter().any(|it| it.starts_with("swapon")));
}

#[test]
fn by_hand_there_is_no_key() {
    let machine = Machine::fresh();
    assert!(machine.boot(&rendered("", "")).status.success());
    assert_eq!(machine.state()["state"], "done");
    assert!(!machine.path("etc/ssh/openclaw-own-host-key").exists());
    assert!(!machine.read("etc/ssh/sshd_config").contains('#'), "its own keys are named no more");
    let settings = machine.read("etc/ssh/sshd_config.d/00-openclaw-pipeline.conf");
    assert!(settings.contains("PasswordAuthentication no"), "{settings}");
    assert!(!machine.calls().iter().any(|it| it.starts_with("docker pull")));
}

#[test]
fn a_failure_names_the_step_and_the_reason() {
    let machine = Machine::fresh();
    machine.tool("docker.rpm", "echo 'no \"space\\left\" on it'; printf '\\033[0m\\n\\n'; exit 3");
    let output = machine.boot(&rendered(HOST_KEY, IMAGE));
    assert_eq!(output.status.code(), Some(3));
    // What the shell cannot show is left out, and the last line that says something is told.
    let state = machine.state();
    assert_eq!(state["state"], "failed");
    assert_eq!(state["step"], "docker");
    assert!(!state["message"].as_str().expect("a message").contains('\u{1b}'), "{state}");
    // cloud-init's own log has it, too.
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("step docker failed with 3"), "{told}");
    assert!(told.contains("no \"space\\left\" on it"), "{told}");

    // Once the reason is gone, a second run ends well.
    machine.tool("docker", "");
    assert!(machine.boot(&rendered(HOST_KEY, IMAGE)).status.success());
    assert_eq!(machine.state()["state"], "done");
}

#[test]
fn a_reason_with_quotes_is_still_json() {
    let machine = Machine::fresh();
    let long = "x".repeat(1000);
    let says = format!("echo 'no \"space\\left\" on it: {long}'; exit 1");
    machine.tool("docker.rpm", &says);
    assert!(!machine.boot(&rendered(HOST_KEY, IMAGE)).status.success());
    let message = machine.state()["message"].as_str().expect("a message").to_owned();
    assert!(message.starts_with("no \"space\\left\" on it: xxx"), "{message}");
    assert_eq!(message.len(), 300);
}

#[test]
fn a_key_that_is_none_stops_it_before_sshd_is_touched() {
    let machine = Machine::fresh();
    assert!(!machine.boot(&rendered("no key", IMAGE)).status.success());
    assert_eq!(machine.state()["step"], "ssh");
    let calls = fs::read_to_string(machine.path("calls")).unwrap_or_default();
    assert!(!calls.contains("restart sshd"), "{calls}");
}
