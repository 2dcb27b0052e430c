//! The Makefile: every target is a call that the program takes, and secrets take one way only.
//!
//! Runs the real `make` with a program of the test's own in place of the real one. Refuses to
//! build or launch anything: that is what the other subjects do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::Parser as _;
use openclaw_pipeline::cli::Cli;

use crate::support::executable::executable;
use crate::support::source::{read, root};

/// A program that writes down how it was called: its arguments, then its environment.
struct Recorder {
    directory: tempfile::TempDir,
}

/// One call.
#[derive(Debug)]
struct Call {
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

impl Recorder {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let recorder = Self { directory };
        let program = recorder.program();
        let calls = recorder.directory.path().join("calls");
        let script = format!(
            "#!/bin/sh\nfile='{}'/call-$$\nprintf '%s\\n' \"$@\" >\"$file.args\"\n\
             env >\"$file.env\"\n",
            calls.display()
        );
        fs::create_dir_all(&calls).expect("a directory");
        fs::create_dir_all(program.parent().expect("a parent")).expect("a directory");
        executable(&program, &script);
        recorder
    }

    /// It lies below a blank, because a checkout may.
    fn program(&self) -> PathBuf {
        self.directory.path().join("with blank/openclaw-pipeline")
    }

    fn make(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let program = format!("PROGRAM={}", self.program().display());
        self.make_of(&[args, &[&program]].concat(), env)
    }

    /// The same with the program that `make` itself builds.
    fn make_of(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        Command::new("make")
            .args(args)
            .current_dir(root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("make runs")
    }

    /// The calls that one `make` led to.
    fn calls(&self, args: &[&str], env: &[(&str, &str)]) -> Vec<Call> {
        self.written(args, &self.make(args, env))
    }

    /// The same with the program that `make` itself builds.
    fn calls_of(&self, args: &[&str], env: &[(&str, &str)]) -> Vec<Call> {
        self.written(args, &self.make_of(args, env))
    }

    fn written(&self, args: &[&str], output: &Output) -> Vec<Call> {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "make {args:?}: {errors}");
        let text = |path: &Path| fs::read_to_string(path).expect("what was written down");
        let mut calls = Vec::new();
        for entry in fs::read_dir(self.directory.path().join("calls")).expect("calls").flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "args") {
                let env = text(&path.with_extension("env"));
                let pairs = env.lines().filter_map(|line| line.split_once('='));
                calls.push(Call {
                    args: text(&path).lines().map(str::to_owned).collect(),
                    env: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
                });
                fs::remove_file(path.with_extension("env")).expect("removed");
                fs::remove_file(path).expect("removed");
            }
        }
        calls
    }
}

/// The targets whose recipe calls the program.
fn callers() -> Vec<String> {
    let text = read("Makefile");
    let mut target = "";
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some((head, _)) = line.split_once(':')
            && !line.starts_with(['\t', '#', '.', ' '])
        {
            target = head;
        } else if line.starts_with("\t$(program)") && found.last().is_none_or(|it| it != target) {
            found.push(target.to_owned());
        }
    }
    found
}

/// The targets that users and scripts call by name, by group.
const PROMISED: [(&str, &[&str]); 6] = [
    ("The project", &["quick-start", "test", "bench", "lint", "build", "build-static", "install"]),
    (
        "Docker (local)",
        &[
            "quick-docker",
            "setup-docker-env",
            "reset-env",
            "clone-config",
            "sync-docker-config",
            "install-docker",
            "onboard-docker",
            "update-docker",
            "logs-docker",
            "docker-shell",
            "docker-build",
            "test-docker",
            "verify-auth",
            "check-model",
            "docker-clean",
            "clean",
            "start",
            "open",
            "approve",
        ],
    ),
    (
        "EC2",
        &[
            "ec2-full-setup",
            "quick-ec2",
            "deploy-ec2",
            "ec2-create-key",
            "ec2-delete-key",
            "ec2-config",
            "ec2-init",
            "ec2-plan",
            "ec2-setup",
            "ec2-destroy",
            "ec2-logs",
            "ec2-shell",
            "ec2-tunnel",
            "ec2-url",
            "ec2-restart",
            "ec2-approve",
            "ec2-cloudflare-tunnel",
            "ec2-cloudflare-stop",
        ],
    ),
    (
        "Lightsail",
        &[
            "ls-full-setup",
            "quick-ls",
            "deploy-ls",
            "ls-create-key",
            "ls-delete-key",
            "ls-config",
            "ls-init",
            "ls-plan",
            "ls-setup",
            "ls-destroy",
            "ls-logs",
            "ls-shell",
            "ls-tunnel",
            "ls-url",
            "ls-restart",
            "ls-approve",
            "ls-cloudflare-tunnel",
            "ls-cloudflare-stop",
        ],
    ),
    (
        "EKS",
        &[
            "quick-deploy",
            "deploy-init",
            "deploy-plan",
            "deploy-apply",
            "deploy-destroy",
            "k8s-apply",
            "k8s-status",
            "k8s-logs",
            "k8s-shell",
            "k8s-secret",
            "k8s-url",
        ],
    ),
    (
        "Pipeline server",
        &[
            "server-full-setup",
            "server-setup",
            "server-deploy",
            "server-logs",
            "server-url",
            "server-destroy",
            "server-ls-full-setup",
            "server-ls-setup",
            "server-ls-deploy",
            "server-ls-logs",
            "server-ls-url",
            "server-ls-destroy",
        ],
    ),
];

#[test]
fn every_promised_target_is_there_in_its_group() {
    let recorder = Recorder::new();
    let help = String::from_utf8(recorder.make(&["help"], &[]).stdout).expect("text");
    for (group, promised) in PROMISED {
        let (_, rest) = help.split_once(&format!("\n{group}\n")).expect("the group");
        let listed: Vec<&str> = rest
            .lines()
            .take_while(|line| line.starts_with("  "))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        let missing: Vec<_> = promised.iter().filter(|it| !listed.contains(it)).collect();
        assert!(missing.is_empty(), "{group} lacks {missing:?}");
    }
    // What removed other people's containers stays out.
    assert!(!help.contains("docker-clean-all"), "{help}");
}

#[test]
fn every_target_is_a_call_that_the_program_takes() {
    let recorder = Recorder::new();
    let targets = callers();
    assert!(targets.len() > 50, "{targets:?}");
    let mut wrong = Vec::new();
    for target in &targets {
        for given in [&[target.as_str()][..], &[target.as_str(), "YES=1"]] {
            for call in recorder.calls(given, &[]) {
                let line = [vec!["openclaw-pipeline".to_owned()], call.args.clone()].concat();
                if let Err(error) = Cli::try_parse_from(&line) {
                    let error = error.to_string();
                    let first = error.lines().next().unwrap_or_default();
                    wrong.push(format!("make {}: {}: {first}", given.join(" "), line.join(" ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "the program refuses:\n{}", wrong.join("\n"));
}

#[test]
fn a_token_travels_by_the_environment_alone() {
    let recorder = Recorder::new();
    let calls = recorder.calls(&["quick-docker", "TOKEN=s3cr3t$$x", "-j2"], &[]);
    assert_eq!(calls.len(), 2, "{calls:?}");
    for call in calls {
        assert_eq!(call.env["OPENCLAW_GATEWAY_TOKEN"], "s3cr3t$$x");
        for absent in ["TOKEN", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES"] {
            assert!(!call.env.contains_key(absent), "{absent} is handed on: {call:?}");
        }
        assert!(!call.args.iter().any(|arg| arg.contains("s3cr3t")), "{call:?}");
    }
    // Somebody else's TOKEN is not the gateway's.
    let calls = recorder.calls(&["open"], &[("TOKEN", "other")]);
    assert!(!calls[0].env.contains_key("OPENCLAW_GATEWAY_TOKEN"), "{calls:?}");
}

#[test]
fn builds_and_tests_get_no_secret() {
    let recorder = Recorder::new();
    for target in ["test", "lint", "build"] {
        let output = recorder.make(&["-n", target, "TOKEN=x"], &[]);
        let recipe = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in recipe.lines().filter(|line| line.contains("cargo ")) {
            assert!(line.starts_with("env -u TOKEN "), "{line}");
            assert!(line.contains("-u OPENCLAW_GATEWAY_TOKEN "), "{line}");
            assert!(line.contains("-u ANTHROPIC_API_KEY "), "{line}");
        }
    }
}

/// The program that `make` itself has built is linked with this machine's libraries, and goes nowhere
/// else.
#[test]
fn what_goes_to_a_servers_machine_is_built_where_nobody_named_it() {
    let recorder = Recorder::new();
    let built = recorder.directory.path().join("built");
    fs::create_dir_all(built.join("quick")).expect("a directory");
    fs::copy(recorder.program(), built.join("quick/openclaw-pipeline")).expect("the built one");
    let tools = recorder.directory.path().join("tools");
    fs::create_dir_all(&tools).expect("a directory");
    let cargo = tools.join("cargo");
    executable(&cargo, "#!/bin/sh\necho \"$RUSTFLAGS: $*\" >>\"${0%/*}/built\"\n");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").expect("a path"));
    let built = built.to_string_lossy().into_owned();
    let env = [("PATH", path.as_str()), ("CARGO_TARGET_DIR", &built)];
    for target in ["server-full-setup", "server-ls-deploy"] {
        let calls = recorder.calls_of(&[target], &env);
        let shipped = &calls[0].env["OPENCLAW_PIPELINE_SERVER_BINARY"];
        assert!(shipped.starts_with(&built) && shipped.ends_with("/release/openclaw-pipeline"));
        let built = fs::read_to_string(tools.join("built")).expect("cargo was called");
        let line = built.lines().last().expect("a line");
        assert!(line.starts_with("-C target-feature=+crt-static: build --release "), "{line}");
    }
    fs::remove_file(tools.join("built")).expect("removed");
    let named = [env[0], env[1], ("OPENCLAW_PIPELINE_SERVER_BINARY", "/of/mine")];
    let calls = recorder.calls_of(&["server-deploy"], &named);
    assert_eq!(calls[0].env["OPENCLAW_PIPELINE_SERVER_BINARY"], "/of/mine");
    let installed = recorder.calls(&["server-deploy"], &env);
    assert!(!installed[0].env.contains_key("OPENCLAW_PIPELINE_SERVER_BINARY"));
    assert!(!tools.join("built").exists(), "nothing was built");
}

#[test]
fn a_name_that_was_typed_is_meant() {
    let recorder = Recorder::new();
    let typed = recorder.calls(&["open", "NAME=My_Box"], &[("NAME", "HOST")]);
    assert_eq!(typed[0].env["name"], "My_Box");
    let preset = recorder.calls(&["open"], &[("NAME", "HOST")]);
    assert_eq!(preset[0].env["NAME"], "HOST");
    assert!(!preset[0].env.contains_key("name"), "{preset:?}");
    let lower = recorder.calls(&["open", "name=box"], &[]);
    assert_eq!(lower[0].env["name"], "box");
}

#[test]
fn yes_is_said_where_something_is_destroyed() {
    let recorder = Recorder::new();
    let asked = recorder.calls(&["docker-clean"], &[]);
    assert_eq!(asked[0].args, ["destroy"]);
    let answered = recorder.calls(&["docker-clean", "YES=1"], &[]);
    assert_eq!(answered[0].args, ["destroy", "--yes"]);
}

#[test]
fn targets_of_a_cloud_refuse_what_is_elsewhere() {
    let recorder = Recorder::new();
    for (of_ec2, of_lightsail) in PROMISED[2].1.iter().zip(PROMISED[3].1) {
        for (target, cloud) in [(of_ec2, "ec2"), (of_lightsail, "lightsail")] {
            let calls = recorder.calls(&[target, "NAME=box"], &[("TF_DIR", "terraform/ec2")]);
            let about = calls.iter().filter(|call| call.args != ["env", "init"]);
            let about: Vec<_> = about.collect();
            assert_eq!(about.len(), 1, "{target}");
            assert_eq!(about[0].args[..2], ["--on", cloud], "{target}");
            // What TF_DIR says, the program compares.
            assert_eq!(about[0].env["TF_DIR"], "terraform/ec2", "{target}");
            assert_eq!(about[0].env["name"], "box", "{target}");
        }
    }
    for target in PROMISED[4].1.iter().filter(|it| it.starts_with("k8s-")) {
        let calls = recorder.calls(&[target, "NAME=box"], &[]);
        assert_eq!(calls.len(), 1, "{target}");
        assert_eq!(calls[0].args[..2], ["--on", "eks"], "{target}");
        assert_eq!(calls[0].env["name"], "box", "{target}");
    }
    let asked = recorder.calls(&["ls-destroy"], &[]);
    assert_eq!(asked[0].args, ["--on", "lightsail", "destroy"]);
    let answered = recorder.calls(&["ec2-destroy", "YES=1"], &[]);
    assert_eq!(answered[0].args, ["--on", "ec2", "destroy", "--yes"]);
    let answered = recorder.calls(&["server-ls-destroy", "YES=1"], &[]);
    assert_eq!(answered[0].args, ["--on", "lightsail", "server", "destroy", "--yes"]);
}

/// What a script leads to: the make target that it calls, or its exit code.
fn leads_to(script: &str, module: Option<&str>) -> Result<String, Option<i32>> {
    let directory = tempfile::tempdir().expect("a directory");
    let make = directory.path().join("make");
    executable(&make, "#!/bin/sh\necho \"$@\"\n");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(root().join("scripts").join(script))
        .env_clear()
        .env("PATH", format!("{}:{path}", directory.path().display()))
        .envs(module.map(|module| ("TF_DIR", module)))
        .output()
        .expect("the script runs");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(output.status.code()) }
}

#[test]
fn scripts_call_the_make_target_that_tf_dir_says() {
    for (script, ec2, lightsail) in [
        ("deploy-ec2.sh", "deploy-ec2", "deploy-ls"),
        ("deploy-server.sh", "server-deploy", "server-ls-deploy"),
        ("ec2-approve.sh", "ec2-approve", "ls-approve"),
        ("setup-cloudflare-tunnel.sh", "ec2-cloudflare-tunnel", "ls-cloudflare-tunnel"),
        ("stop-cloudflare-tunnel.sh", "ec2-cloudflare-stop", "ls-cloudflare-stop"),
    ] {
        assert_eq!(leads_to(script, None), Ok(ec2.into()));
        assert_eq!(leads_to(script, Some("terraform/ec2")), Ok(ec2.into()));
        assert_eq!(leads_to(script, Some("/w/terraform/lightsail/")), Ok(lightsail.into()));
        assert_eq!(leads_to(script, Some("terraform")), Err(Some(2)));
    }
}

#[test]
fn help_is_what_make_says_by_itself() {
    let recorder = Recorder::new();
    let said = |args: &[&str]| String::from_utf8(recorder.make(args, &[]).stdout).expect("text");
    let help = said(&[]);
    assert_eq!(help, said(&["help"]));
    for line in ["\nThe project\n", "\nDocker (local)\n", "\nEC2\n", "  quick-start ", "  approve "]
    {
        assert!(help.contains(line), "{line:?} in {help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}
