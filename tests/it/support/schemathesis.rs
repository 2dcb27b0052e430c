//! The API tester `schemathesis`, run over a whole `OpenAPI` document against a real server.
//!
//! Owns its configuration and its report. The token reaches it by the environment, never as an
//! argument or in a file; its report shows none (it blanks `Authorization` by itself).

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lab::{Lab, Part, command};

/// The variable that the configuration takes the token from.
const TOKEN: &str = "SCHEMATHESIS_TOKEN";

/// What is tested, and how long. Every answer is checked against the document: status, media type,
/// headers, schema; no 5xx; input that breaks the document is refused, and what needs a token is
/// refused without one.
#[derive(Debug, Clone)]
pub struct Options {
    /// Test cases for each call in the fuzzing phase; the coverage phase has as many as the
    /// document has corners.
    pub max_examples: u32,
    /// Of `examples`, `coverage`, `fuzzing` and `stateful`.
    pub phases: Vec<&'static str>,
    /// Checks that are left out, by their names.
    pub exclude_checks: Vec<&'static str>,
    /// Calls that are left out, as `GET /path`, or `/path` for every method.
    pub exclude: Vec<&'static str>,
    /// Requests side by side.
    pub workers: u32,
    /// After this the run is ended, and that is a failure.
    pub deadline: Duration,
    /// How long one answer may take. An event stream is read for as long, and no longer.
    pub request_timeout: Duration,
    /// How many events of a stream are read at most.
    pub stream_events: u32,
    /// Makes a failure come again.
    pub seed: u64,
    /// More tables for its configuration file (TOML), such as `[[operations]]`.
    pub configuration: String,
    /// Its hooks (Python), such as one that changes a call before it is made.
    pub hooks: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_examples: 20,
            phases: vec!["examples", "coverage", "fuzzing", "stateful"],
            exclude_checks: Vec::new(),
            exclude: Vec::new(),
            workers: 2,
            deadline: Duration::from_secs(300),
            request_timeout: Duration::from_secs(10),
            stream_events: 3,
            seed: 4,
            configuration: String::new(),
            hooks: String::new(),
        }
    }
}

/// What an API did against its document.
#[derive(Debug)]
pub struct Failure {
    /// What kind, such as `JsonSchemaError`.
    pub kind: String,
    /// In a few words.
    pub title: String,
    /// The calls, as `GET /path`.
    pub calls: Vec<String>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// 0 is good, 1 has failures, 2 could not be run.
    pub code: Option<i32>,
    /// The calls of the document.
    pub total: u64,
    /// The calls that were tested.
    pub tested: u64,
    /// The requests.
    pub cases: u64,
    /// What was wrong.
    pub failures: Vec<Failure>,
    /// What could not be tested at all.
    pub errors: Vec<String>,
    /// All that it printed: each failure with the request that shows it and the answer.
    pub output: String,
}

impl Report {
    /// Whether every call was tested and nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.code == Some(0)
            && self.failures.is_empty()
            && self.errors.is_empty()
            && self.tested > 0
    }

    /// Fails with everything that was found, unless it is clean.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{}\n{:#?}\n{:?}", self.output, self.failures, self.errors);
    }

    /// The kinds of failures of a call, such as `GET /path`.
    pub fn kinds(&self, call: &str) -> Vec<&str> {
        let of_call = |failure: &&Failure| failure.calls.iter().any(|it| it == call);
        self.failures.iter().filter(of_call).map(|failure| failure.kind.as_str()).collect()
    }
}

/// Tests the server at this address against the document; `None`, after `skipped: REASON`, where
/// the lab has no schemathesis.
pub fn run(openapi: &Path, base_url: &str, token: &str, options: &Options) -> Option<Report> {
    let lab = Lab::require(Part::Schemathesis)?;
    let dir = tempfile::tempdir().expect("a directory");
    let configuration = dir.path().join("schemathesis.toml");
    std::fs::write(&configuration, configure(openapi, base_url, options)).expect("a file");
    let hooks = dir.path().join("hooks.py");
    std::fs::write(&hooks, &options.hooks).expect("a file");
    let report = dir.path().join("report.json");
    let output = dir.path().join("output");
    let out = std::fs::File::create(&output).expect("a file");
    let mut child = command(lab.schemathesis().join("bin/python"))
        .args(["-m", "schemathesis.cli", "--no-color", "--config-file"])
        .arg(&configuration)
        .arg("run")
        .arg(openapi)
        .arg("--report-json-path")
        .arg(&report)
        .env(TOKEN, token)
        .env("SCHEMATHESIS_HOOKS", &hooks)
        // Under CI it would take another profile of hypothesis, with its own limits.
        .env_remove("CI")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stderr(out.try_clone().expect("a handle"))
        .stdout(out)
        .spawn()
        .expect("schemathesis starts");
    let status = wait(&mut child, options.deadline);
    let output = String::from_utf8_lossy(&std::fs::read(output).expect("its output")).into_owned();
    let Some(status) = status else { panic!("not done after {:?}: {output}", options.deadline) };
    let report = std::fs::read(&report).unwrap_or_default();
    Some(read(status.code(), &serde_json::from_slice(&report).unwrap_or_default(), output))
}

/// Holds a document against the specification's own schema; answers what is wrong with it. `None`,
/// after `skipped: REASON`, where the lab has no schemathesis.
pub fn errors(openapi: &Path) -> Option<String> {
    let lab = Lab::require(Part::Schemathesis)?;
    let program = "import json, sys\n\
                   from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR as v\n\
                   for error in v.iter_errors(json.load(open(sys.argv[1]))): print(error)";
    let output = command(lab.schemathesis().join("bin/python"))
        .args(["-c", program])
        .arg(openapi)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait().expect("it is a child") {
            return Some(status);
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn read(code: Option<i32>, report: &Value, output: String) -> Report {
    let number = |at: &str| report.pointer(at).and_then(Value::as_u64).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let failures = list(&report["failures"]).into_iter().map(|failure| Failure {
        kind: text(&failure["type"]),
        title: text(&failure["title"]),
        calls: list(&failure["operations"]).iter().map(text).collect(),
    });
    Report {
        code,
        total: number("/operations/total"),
        tested: number("/operations/tested"),
        cases: number("/test_cases/generated"),
        failures: failures.collect(),
        errors: list(&report["errors"]).iter().map(|error| text(&error["title"])).collect(),
        output,
    }
}

/// Its configuration file. The token goes to the document's own bearer scheme, so that the check
/// that leaves it out knows what it leaves out.
fn configure(openapi: &Path, base_url: &str, options: &Options) -> String {
    let Options { workers, seed, stream_events, max_examples, .. } = options;
    let timeout = options.request_timeout.as_secs_f64();
    let mut text = format!(
        "base-url = {base_url:?}\nworkers = {workers}\nseed = {seed}\n\
         request-timeout = {timeout:?}\nmax-stream-events = {stream_events}\n\
         continue-on-failure = true\n"
    );
    let scheme = bearer_scheme(openapi);
    if scheme.is_none() {
        let _ = writeln!(text, "headers = {{ Authorization = \"Bearer ${{{TOKEN}}}\" }}");
    }
    // A data base of examples would make a run depend on the one before it. A header that nobody
    // knows is no mistake: proxies add some.
    let _ = writeln!(
        text,
        "[generation]\nmax-examples = {max_examples}\ndatabase = \"none\"\n\
         allow-extra-parameters = false"
    );
    for phase in ["examples", "coverage", "fuzzing", "stateful"] {
        let _ = writeln!(text, "[phases.{phase}]\nenabled = {}", options.phases.contains(&phase));
    }
    if !options.exclude_checks.is_empty() {
        let _ = writeln!(text, "[checks]");
    }
    for check in &options.exclude_checks {
        let _ = writeln!(text, "{check}.enabled = false");
    }
    if let Some(scheme) = scheme {
        let _ = writeln!(text, "[auth.openapi.{scheme:?}]\nbearer = \"${{{TOKEN}}}\"");
    }
    for call in &options.exclude {
        let by = if call.contains(' ') { "name" } else { "path" };
        let _ = writeln!(text, "[[operations]]\ninclude-{by} = {call:?}\nenabled = false");
    }
    text + &options.configuration
}

/// The name of the document's bearer scheme.
fn bearer_scheme(openapi: &Path) -> Option<String> {
    let document: Value = serde_json::from_slice(&std::fs::read(openapi).ok()?).ok()?;
    let schemes = document.pointer("/components/securitySchemes")?.as_object()?;
    let is_bearer = |scheme: &Value| scheme["type"] == "http" && scheme["scheme"] == "bearer";
    schemes.iter().find(|(_, scheme)| is_bearer(scheme)).map(|(name, _)| name.clone())
}
