//! The stand-in's faults do what their names say.
//!
//! Owns one short case per fault of `standin.json`. Refuses to compare anything with the real
//! gateway: that is `standin_contract`'s.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::ports::free_port;
use crate::support::standin;

const LIMIT: Duration = Duration::from_secs(20);

struct Lab {
    directory: tempfile::TempDir,
    port: u16,
}

impl Lab {
    fn new(faults: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let lab = Self { directory, port: free_port() };
        std::fs::create_dir_all(lab.state()).expect("the state directory can be made");
        let config = r#"{gateway: {mode: "local"}}"#;
        std::fs::write(lab.state().join("openclaw.json"), config).expect("a configuration");
        std::fs::write(lab.state().join("standin.json"), faults).expect("a fault file");
        lab
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state-dir")
    }

    fn command(&self, schema: u64, arguments: &[&str]) -> Command {
        let package = self.directory.path().join(format!("package-{schema}"));
        let mut command = Command::new(standin::binary());
        command
            .arg(standin::package(&package, "2026.9.6", schema))
            .args(arguments)
            .env_clear()
            .env("OPENCLAW_STATE_DIR", self.state())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, schema: u64, arguments: &[&str]) -> Output {
        self.command(schema, arguments).output().expect("the stand-in runs")
    }

    fn gateway(&self, schema: u64) -> Running {
        let port = self.port.to_string();
        let mut command = self.command(schema, &["gateway", "--port", &port]);
        Running { child: command.stdout(Stdio::null()).spawn().expect("the stand-in runs") }
    }

    /// The exit code of a start that is expected to fail.
    fn failed_start(&self) -> Option<i32> {
        self.run(18, &["gateway", "--port", &self.port.to_string()]).status.code()
    }

    fn startup(&self) -> String {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return String::new();
        };
        let _ = stream.set_read_timeout(Some(LIMIT));
        let _ = stream.write_all(b"GET /startupz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.startup().contains(words) {
            assert!(Instant::now() < deadline, "/startupz never said {words}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Running {
    child: Child,
}

impl Running {
    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().expect("it can be waited for").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_counted_exit_spoils_only_the_first_starts() {
    let lab = Lab::new("{exit_code: 1, times: 2}");
    assert_eq!([lab.failed_start(), lab.failed_start()], [Some(1), Some(1)]);
    let _gateway = lab.gateway(18);
    lab.wait_for("started");
}

#[test]
fn a_late_exit_comes_after_the_start() {
    let lab = Lab::new("{exit_code: 3, exit_after_ms: 300}");
    let mut gateway = lab.gateway(18);
    lab.wait_for("started");
    assert_eq!(gateway.exit_code(), Some(3));
}

#[test]
fn the_doctor_ends_what_waits_for_it() {
    let lab = Lab::new("{exit_code: 78, until_doctor: true}");
    assert_eq!([lab.failed_start(), lab.failed_start()], [Some(78), Some(78)]);
    let doctor = lab.run(18, &["doctor", "--fix", "--yes", "--non-interactive"]);
    assert!(doctor.status.success());
    let _gateway = lab.gateway(18);
    lab.wait_for("started");
}

#[test]
fn a_doctor_can_fail() {
    let lab = Lab::new("{exit_code: 78, until_doctor: true, doctor_exit_code: 1}");
    assert_eq!(lab.run(18, &["doctor", "--fix"]).status.code(), Some(1));
    assert_eq!(lab.failed_start(), Some(78));
}

#[test]
fn a_slow_start_says_so() {
    let lab = Lab::new("{start_delay_ms: 400}");
    let _gateway = lab.gateway(18);
    lab.wait_for("startup-sidecars");
    lab.wait_for("started");
}

#[test]
fn a_start_can_never_end() {
    let lab = Lab::new("{never_started: true}");
    let _gateway = lab.gateway(18);
    lab.wait_for("503");
    assert!(lab.startup().contains("starting"));
}

#[test]
fn a_newer_build_migrates_and_an_older_one_then_refuses() {
    let lab = Lab::new("{schema: 17}");
    {
        let _gateway = lab.gateway(18);
        lab.wait_for("started");
    }
    let kept = lab.state().join("state/openclaw.sqlite.pre-startup-migration-17.bak");
    assert!(kept.exists());
    let older = lab.run(17, &["gateway", "--port", &lab.port.to_string()]);
    assert_eq!(older.status.code(), Some(78));
    let said = String::from_utf8_lossy(&older.stderr).into_owned();
    assert!(said.contains("uses schema 18; this build supports 17"), "{said}");
}

#[test]
fn an_unknown_fault_is_refused() {
    let lab = Lab::new("{exitcode: 1}");
    let refused = lab.run(18, &["gateway", "--port", &lab.port.to_string()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("exitcode"));
}

#[test]
fn it_plays_node() {
    let version = Command::new(standin::binary()).arg("--version").output().expect("it runs");
    assert_eq!(version.stdout, b"v24.21.0\n");
}
