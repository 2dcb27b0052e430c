//! `status`, `list` and `--help` as whole processes, with 1,000 deployments in the store.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use openclaw_pipeline::app::App;
use openclaw_pipeline::domain::approval::ApprovalPolicy;
use openclaw_pipeline::domain::{
    Change, DeploymentSpec, ExecAsk, OperationKind, OperationStatus, TargetKind,
};
use openclaw_pipeline::operations::vault::Slot;
use openclaw_pipeline::secrets::Secret;
use openclaw_pipeline::store::{Begin, Finish, NewDeployment, new_id};
use openclaw_pipeline::targets::GatewaySecrets;

use super::stats::Samples;

/// How often each command is run.
const RUNS: usize = 50;

pub fn run() {
    let dir = tempfile::tempdir().expect("a directory");
    let (home, key) = (dir.path().join("data"), dir.path().join("key"));
    fill(&App::open_at(&home, &key).expect("a data directory"), 1000);
    println!("whole processes, 1,000 deployments in the store:");
    // The baseline: what starting any process costs here.
    measure("true (a bare process)", || Command::new("true"));
    for args in [&["--help"][..], &["list"], &["status", "d500"], &["--json", "list"]] {
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-pipeline"));
            command
                .args(args)
                .env_clear()
                .env("HOME", dir.path())
                .env("OPENCLAW_PIPELINE_HOME", &home)
                .env("OPENCLAW_PIPELINE_KEY_FILE", &key)
                .current_dir(dir.path());
            command
        };
        measure(&args.join(" "), command);
        println!("  {:<34} peak {:.1} MB", "", peak_mb(&command()));
    }
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_openclaw-pipeline")).expect("it is there");
    let mb = |bytes: u64| bytes / 100_000;
    println!("the binary: {}.{} MB\n", mb(size.len()) / 10, mb(size.len()) % 10);
}

fn measure(what: &str, command: impl Fn() -> Command) {
    let once = || -> Duration {
        let mut command = command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let status = command.status().expect("runs");
        let took = begun.elapsed();
        assert!(status.success(), "{what}: {status}");
        took
    };
    once();
    let samples = Samples((0..RUNS).map(|_| once()).collect());
    println!("{}", samples.line(what));
}

/// The most memory that one run of it held, in megabytes: the kernel's own figure, read from a
/// process that waits for it and for nothing else.
fn peak_mb(command: &Command) -> f64 {
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M"]).arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            timed.env(name, value);
        }
    }
    let Ok(output) = timed.stdout(Stdio::null()).output() else { return f64::NAN };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().last().and_then(|kib| kib.trim().parse::<f64>().ok()).unwrap_or(f64::NAN) / 1000.0
}

/// Deployments that are meant to run, `d0` and so on.
pub fn fill(app: &App, count: u32) {
    let spec = DeploymentSpec {
        target: TargetKind::Process,
        port: None,
        bind: std::net::Ipv4Addr::LOCALHOST.into(),
        model: Some("anthropic/claude-sonnet-5".into()),
        model_is_chosen: false,
        exec_ask: ExecAsk::On,
        heartbeat: "0m".into(),
        image: None,
        version: Some("2026.9.6".into()),
        approval: ApprovalPolicy::default(),
        memory_mib: 2048,
        protected: false,
        keys_of_request: false,
        machine: None,
        cluster: None,
    };
    let secrets = GatewaySecrets {
        token: Secret::new("a-token-that-only-looks-like-one"),
        credentials: Vec::new(),
        env: Vec::new(),
        user_config: None,
        tunnel_token: None,
    };
    for number in 0..count {
        let name = format!("d{number}").parse().expect("a name");
        let id = new_id();
        let sealed = app.engine().vault().seal(&id, Slot::Current, &secrets).expect("seals");
        let sealed = vec![(Slot::Current.name().to_owned(), sealed)];
        let create = NewDeployment { id, spec: spec.clone(), sealed, owner: None };
        let operation = app
            .store()
            .begin(&Begin { create: Some(create), ..Begin::new(OperationKind::Launch, name) })
            .expect("begins");
        let lease = app.store().acquire(&operation.id, "bench").expect("acquires");
        for (position, step) in
            ["prepare", "fetch", "configure", "start", "prove"].iter().enumerate()
        {
            app.store().step_intent(&lease, position, step, step, None).expect("a step");
        }
        let change = Some(Change::Succeed(OperationKind::Launch));
        let status = OperationStatus::Succeeded;
        app.store()
            .finish(&lease, &Finish { status, change, error: None, event: None })
            .expect("ends");
    }
}
