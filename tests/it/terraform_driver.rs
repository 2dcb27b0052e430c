//! Terraform, the real program, on modules that need no provider.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;

use openclaw_pipeline::domain::{Failure, FailureKind};
use openclaw_pipeline::drivers::terraform::{
    Message, Run, Said, State, StateAt, Terraform, Verb, Workspace,
};
use openclaw_pipeline::exec::LockFile;
use tokio_util::sync::CancellationToken;

use crate::support::executable::executable;
use crate::support::lab::skip;

const MODULE: &str = r#"
variable "value" {}
resource "terraform_data" "first" { input = var.value }
resource "terraform_data" "second" { triggers_replace = [var.value] }
output "given" { value = var.value }
output "id" { value = terraform_data.first.id }
"#;

struct Bench {
    dir: tempfile::TempDir,
    terraform: Terraform,
    lock: LockFile,
    cancel: CancellationToken,
}

impl Bench {
    /// `None` where there is no Terraform: what it says is tested without it all the same.
    async fn new() -> Option<Self> {
        let terraform = Terraform::new("terraform");
        if let Err(failure) = terraform.require().await {
            return skip(&failure.message);
        }
        let dir = tempfile::tempdir().expect("a directory");
        let lock = LockFile::try_acquire(&dir.path().join("lock"), "test").expect("tries");
        let lock = lock.expect("is free");
        Some(Self { dir, terraform, lock, cancel: CancellationToken::new() })
    }

    async fn module(&self, text: &str) -> Result<PathBuf, Failure> {
        let within = self.dir.path().join("modules");
        fs::create_dir_all(&within).expect("a directory");
        self.terraform.prepare(&within, &[("main.tf", text)], &self.cancel).await
    }

    fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn variables(&self, value: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{value}.tfvars"));
        fs::write(&path, format!("value = \"{value}\"\n")).expect("a file");
        path
    }
}

#[tokio::test]
async fn what_is_applied_is_told_and_what_would_be_lost_is_refused() {
    let Some(bench) = Bench::new().await else { return };
    let module = bench.module(MODULE).await.expect("initialised");
    assert_eq!(bench.module(MODULE).await.expect("once"), module);
    let (state, told) = (bench.dir.path().join("x.tfstate"), Mutex::new(Vec::new()));
    let hear = |message: &Message| told.lock().expect("held").push(message.said.clone());
    let run = Run { cancel: &bench.cancel, lock: &bench.lock, told: &hear };
    let variables = [bench.variables("one")];
    let dir = bench.run();
    let workspace = Workspace {
        module: &module,
        dir: &dir,
        state: StateAt::File(&state),
        variables: &variables,
    };
    let outputs = bench.terraform.apply(workspace, run).await.expect("applied");
    assert_eq!(outputs["given"], "one");
    let heard = std::mem::take(&mut *told.lock().expect("held"));
    assert!(heard.contains(&Said::Planned { add: 2, change: 0, remove: 0 }), "{heard:?}");
    let ends = |it: &&Said| matches!(it, Said::Ends { failed: false, id: Some(_), .. });
    assert_eq!(heard.iter().filter(ends).count(), 2);
    let held = State::read(&state).expect("a state");
    assert!(held.has("terraform_data") && held.held.len() == 2, "{held:?}");

    let variables = [bench.variables("two")];
    let workspace = Workspace { variables: &variables, ..workspace };
    let file = bench.dir.path().join("plan");
    let plan = bench.terraform.plan(workspace, &file, run).await.expect("planned");
    let verb =
        |address: &str| plan.changes.iter().find(|it| it.address == address).map(|it| it.verb);
    assert_eq!(verb("terraform_data.first"), Some(Verb::Update));
    assert_eq!(verb("terraform_data.second"), Some(Verb::Replace));
    let refused = plan.keep(&["terraform_data"]).expect_err("a replacement");
    assert_eq!(refused.kind, FailureKind::Conflict);
    assert!(refused.message.contains("replace terraform_data.second"), "{refused}");
    plan.keep(&["aws_instance"]).expect("none of these");
    let mode = fs::metadata(&file).expect("a plan").permissions().mode();
    assert_eq!(mode & 0o077, 0, "a plan holds the variables' values");
    let outputs = bench.terraform.apply_plan(workspace, &file, run).await.expect("applied");
    assert_eq!(outputs["given"], "two");
    let plan = bench.terraform.plan(workspace, &file, run).await.expect("planned");
    assert!(plan.is_empty(), "{plan:?}");

    bench.terraform.destroy(workspace, run).await.expect("destroyed");
    assert_eq!(State::read(&state).expect("a state").held, []);
}

#[tokio::test]
async fn a_run_that_is_interrupted_saves_its_state() {
    let Some(bench) = Bench::new().await else { return };
    let text = r#"
resource "terraform_data" "quick" {}
resource "terraform_data" "slow" {
  depends_on = [terraform_data.quick]
  provisioner "local-exec" { command = "exec sleep 300" }
}
"#;
    let module = bench.module(text).await.expect("initialised");
    let state = bench.dir.path().join("x.tfstate");
    let cancel = bench.cancel.clone();
    let hear = |message: &Message| {
        if matches!(&message.said, Said::Begins { address, .. } if address == "terraform_data.slow")
        {
            cancel.cancel();
        }
    };
    let run = Run { cancel: &bench.cancel, lock: &bench.lock, told: &hear };
    let dir = bench.run();
    let workspace =
        Workspace { module: &module, dir: &dir, state: StateAt::File(&state), variables: &[] };
    let failure = bench.terraform.apply(workspace, run).await.expect_err("interrupted");
    assert_eq!(failure.kind, FailureKind::Interrupted, "{failure}");
    let held = State::read(&state).expect("a state").held;
    assert!(held.iter().any(|held| held.name == "quick"), "{held:?}");
}

#[tokio::test]
async fn a_module_that_cannot_be_initialised_says_why() {
    let Some(bench) = Bench::new().await else { return };
    let failure = bench.module("resource {").await.expect_err("no module");
    assert!(failure.message.contains("terraform init"), "{failure}");
}

#[tokio::test]
async fn a_program_that_is_missing_or_none_or_too_old_is_said() {
    let missing = Terraform::new("no-such-terraform").require().await.expect_err("missing");
    assert_eq!(missing.kind, FailureKind::Prerequisite);
    assert!(missing.remedy.is_some_and(|it| it.contains("TF_BIN")));
    let dir = tempfile::tempdir().expect("a directory");
    let fake = |text: &str| {
        let path = dir.path().join("fake");
        executable(&path, &format!("#!/bin/sh\necho '{text}'\n"));
        Terraform::new(path.to_str().expect("a path"))
    };
    let old = fake(r#"{"terraform_version":"1.5.7"}"#).require().await.expect_err("too old");
    assert!(old.message.contains("1.5.7") && old.message.contains("1.10"), "{old}");
    let none = fake("hello").require().await.expect_err("none");
    assert!(none.message.contains("is no Terraform"), "{none}");
    fake(r#"{"terraform_version":"1.10.0"}"#).require().await.expect("new enough");
}

/// A program that says where its providers would go, and fails where another one is at it.
const ALONE: &str = r#"#!/bin/sh
[ "$1" = init ] || exit 1
mkdir "$TF_PLUGIN_CACHE_DIR/busy" || exit 1
echo one >>"$TF_PLUGIN_CACHE_DIR/got"
sleep 0.3
rmdir "$TF_PLUGIN_CACHE_DIR/busy"
"#;

#[tokio::test]
async fn modules_share_their_providers_and_get_them_one_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("terraform");
    executable(&program, ALONE);
    let (terraform, cancel) = (Terraform::new(program.to_string_lossy()), CancellationToken::new());
    let within = dir.path().join("modules");
    fs::create_dir_all(&within).expect("a directory");
    let texts = ["# one", "# two", "# three", "# one"].map(|text| [("main.tf", text)]);
    let [a, b, c, d] = texts.each_ref().map(|files| terraform.prepare(&within, files, &cancel));
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let prepared = [a, b, c, d].map(|it| it.expect("initialised"));
    assert_eq!(prepared[0], prepared[3], "the same module is one");
    let got = fs::read_to_string(within.join("plugins/got")).expect("they share a place");
    assert_eq!(got.lines().count(), 3);
}
