//! A data directory, a world in memory, and engines that come and go over them.
//!
//! Owns what a process death leaves (the directory, the sealing key, the world), making a new
//! engine over it as a new process would, copying the whole to try two ways on from one point,
//! and an outcome that two runs can be compared by. Refuses to keep a connection of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openclaw_pipeline::domain::approval::ApprovalPolicy;
use openclaw_pipeline::domain::{
    ClusterSpec, Deployment, DeploymentName, DeploymentSpec, DeploymentStatus, EventType, ExecAsk,
    Expose, Facts, Failure, MachineSpec, Operation, OperationKind, OperationStatus, StepStatus,
    TargetKind,
};
use openclaw_pipeline::exec::{LockFile, wait};
use openclaw_pipeline::operations::vault::{Slot, Vault};
use openclaw_pipeline::operations::{
    ApproveParams, DestroyParams, Ended, Engine, ExposeParams, LaunchParams, RestoreParams,
    RotateParams, Sink, UpdateParams,
};
use openclaw_pipeline::secrets::{SealingKey, Secret};
use openclaw_pipeline::store::{Begin, NewDeployment, NewEvent, Store, new_id};
use openclaw_pipeline::targets::own_cluster::Clearing;
use openclaw_pipeline::targets::{GatewaySecrets, Layout, Target, Targets};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::fake_target::{FakeTarget, World};
use super::memory_gateway::State;
use super::ports::free_port;

/// The version that is launched.
pub const OLD: &str = "2026.9.5";
/// The version that is updated to.
pub const NEW: &str = "2026.9.6";
/// The request of the browser that waits.
pub const REQUEST: &str = "request-1";

/// A pairing request, as the gateway lists it.
pub fn browser(request: &str, device: &str) -> Value {
    json!({
        "requestId": request, "deviceId": device, "publicKey": format!("key-of-{device}"),
        "role": "operator", "roles": ["operator"],
        "scopes": ["operator.admin", "operator.pairing", "operator.read"],
        "remoteIp": "192.0.2.7", "clientId": "openclaw-control-ui", "clientMode": "webchat",
        "platform": "Linux", "isRepair": false, "ts": 1,
    })
}

/// The secrets with a token.
pub fn secrets(token: &str) -> GatewaySecrets {
    GatewaySecrets {
        token: Secret::new(token),
        credentials: vec![("ANTHROPIC_API_KEY".into(), Secret::new("sk-in-memory"))],
        env: Vec::new(),
        user_config: None,
        tunnel_token: None,
    }
}

/// What a run led to, without what differs from run to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The operation's status.
    pub operation: OperationStatus,
    /// Its steps.
    pub steps: Vec<(String, StepStatus)>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// The deployment's status.
    pub status: DeploymentStatus,
    /// What it is meant to be.
    pub spec: DeploymentSpec,
    /// What is known of it, its times left out.
    pub facts: Facts,
    /// The events since the operation began.
    pub events: Vec<EventType>,
    /// The tokens in the three slots.
    pub tokens: [Option<String>; 3],
    /// Version, artefact and reason of each backup.
    pub backups: Vec<[String; 3]>,
    /// The decisions about devices.
    pub decisions: Vec<[String; 3]>,
    /// The places of the window.
    pub places: Option<u32>,
    /// The world.
    pub world: World,
    /// The gateway.
    pub gateway: State,
}

/// In memory where that is possible: thousands of commits wait for the disk otherwise.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let home = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    home.expect("a directory")
}

/// A data directory and its world.
pub struct Bench {
    home: TempDir,
    key: SealingKey,
    port: Option<u16>,
    /// The world.
    pub target: FakeTarget,
    /// The deployment.
    pub name: DeploymentName,
}

impl Bench {
    /// A new one, with nothing in it.
    pub fn new() -> Self {
        Self {
            home: directory(),
            key: SealingKey::generate(),
            port: Some(free_port()),
            target: FakeTarget::default(),
            name: DeploymentName::main(),
        }
    }

    /// A new one, whose gateways are on a cluster.
    pub fn on_cluster() -> Self {
        Self { target: FakeTarget::on_cluster(), ..Self::new() }
    }

    /// A new one, for the installation's own cluster.
    pub fn of_cluster() -> Self {
        Self { name: DeploymentName::cluster(), ..Self::on_cluster() }
    }

    /// A new one, where nobody names a port.
    pub fn choosing() -> Self {
        Self { port: None, ..Self::new() }
    }

    /// A copy: the directory as it lies there, and the world.
    pub fn fork(&self) -> Self {
        let fork = Self {
            home: directory(),
            key: self.key.clone(),
            port: self.port,
            target: self.target.fork(),
            name: self.name.clone(),
        };
        copy(self.home.path(), fork.home.path());
        fork
    }

    /// The data directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// An engine, as a new process makes it.
    pub fn engine(&self) -> Engine {
        let layout = Layout::new(self.home());
        let targets = Targets::with_stand_in(&layout, Arc::new(self.target.clone()))
            .with_own_cluster(Arc::new(self.target.clone()));
        let store = Store::open(self.home()).expect("the store opens");
        Engine::new(store, layout, targets, Arc::new(Vault::new(self.key.clone())))
    }

    /// The deployment.
    pub fn deployment(&self, engine: &Engine) -> Deployment {
        engine.store().deployment(&self.name).expect("reads").expect("there is a deployment")
    }

    /// The operation that is active.
    pub fn active(&self, engine: &Engine) -> Option<Operation> {
        engine.store().active_operation(&self.name).expect("reads")
    }

    /// The specification of a version.
    pub fn spec(&self, version: &str) -> DeploymentSpec {
        let target = Target::kind(&self.target);
        let ranges = if version == OLD { Vec::new() } else { vec!["192.0.2.0/24".into()] };
        let machine = MachineSpec {
            region: "in-memory-1".into(),
            size: None,
            expose: Expose::Http,
            ssh_cidrs: ranges,
            state: None,
            server: None,
            tunnel_host: None,
            tunnel_image: None,
        };
        if self.name.is_cluster() {
            return DeploymentSpec::without_gateway(target, machine);
        }
        DeploymentSpec {
            target,
            port: self.port,
            bind: std::net::Ipv4Addr::LOCALHOST.into(),
            model: Some("anthropic/claude-sonnet-5".into()),
            model_is_chosen: true,
            exec_ask: ExecAsk::On,
            heartbeat: "0m".into(),
            image: None,
            version: Some(version.into()),
            approval: ApprovalPolicy::default(),
            memory_mib: 1024,
            protected: false,
            keys_of_request: false,
            cluster: (target == TargetKind::Eks).then(ClusterSpec::default),
            // Who reaches it is said of a machine alone.
            machine: (target != TargetKind::Eks).then_some(machine),
        }
    }

    /// Begins an operation as the verbs of `app` do.
    pub fn begin(&self, engine: &Engine, kind: OperationKind) -> Result<Operation, Failure> {
        let store = engine.store();
        let existing = store.deployment(&self.name)?;
        let living = existing.filter(|it| it.status != DeploymentStatus::Destroyed);
        let value = |params| serde_json::to_value(params).expect("parameters are plain");
        let (mut create, mut sealed, mut event) = (None, Vec::new(), None);
        let mut does = kind;
        let params = match kind {
            // A cluster that was made is not made anew.
            OperationKind::Launch
                if living.as_ref().is_some_and(|it| it.facts.own_cluster.is_some()) =>
            {
                does = OperationKind::Update;
                let spec = living.map_or_else(|| self.spec(OLD), |living| living.spec);
                value(json!(UpdateParams { spec }))
            }
            OperationKind::Launch => {
                let spec =
                    living.as_ref().map_or_else(|| self.spec(OLD), |living| living.spec.clone());
                let id = living.as_ref().map_or_else(new_id, |living| living.id.clone());
                let known = engine.vault().seal(&id, Slot::Current, &self.known(engine, &id)?)?;
                let sealed = vec![(Slot::Current.name().to_owned(), known)];
                create = Some(NewDeployment { id, sealed, spec: spec.clone(), owner: None });
                event = Some(NewEvent::new(EventType::Launching, "launching"));
                value(json!(LaunchParams { spec }))
            }
            OperationKind::Update => value(json!(UpdateParams { spec: self.spec(NEW) })),
            OperationKind::Expose => {
                let mut spec = living.map_or_else(|| self.spec(OLD), |living| living.spec);
                let machine = spec.machine.as_mut().expect("it has one");
                machine.expose = match machine.expose {
                    Expose::Tunnel => Expose::Http,
                    _ => Expose::Tunnel,
                };
                // Only that it moves counts: there is no other address in memory.
                let last = if machine.expose == Expose::Tunnel { 2 } else { 1 };
                spec.bind = std::net::Ipv4Addr::new(127, 0, 0, last).into();
                value(json!(ExposeParams { spec }))
            }
            OperationKind::Restore => value(json!(RestoreParams { backup: None })),
            OperationKind::Rotate => {
                let id = living.map(|living| living.id).unwrap_or_default();
                let next = engine.vault().seal(&id, Slot::Next, &secrets("the-new-token"))?;
                sealed.push((Slot::Next.name().to_owned(), next));
                value(json!(RotateParams { token: true, ..RotateParams::default() }))
            }
            OperationKind::Approve => {
                value(json!(ApproveParams { request_id: Some(REQUEST.into()) }))
            }
            OperationKind::Restart
            | OperationKind::Stop
            | OperationKind::Start
            | OperationKind::Backup => json!({}),
            OperationKind::Destroy if self.name.is_cluster() => value(json!(Clearing::default())),
            // Of what does not run nobody asks for a last backup.
            OperationKind::Destroy => {
                let backup = living.is_some_and(|it| it.status == DeploymentStatus::Running);
                value(json!(DestroyParams { backup, ..DestroyParams::default() }))
            }
        };
        let plain = Begin::new(does, self.name.clone());
        Ok(store.begin(&Begin { params, create, sealed, event, ..plain })?)
    }

    fn known(&self, engine: &Engine, id: &str) -> Result<GatewaySecrets, Failure> {
        let known = engine.vault().peek(engine.store(), id, Slot::Current)?;
        Ok(known.unwrap_or_else(|| secrets("the-old-token")))
    }

    /// Begins an operation and executes it to its end.
    pub async fn run(&self, kind: OperationKind) -> Ended {
        let engine = self.engine();
        let operation = self.begin(&engine, kind).expect("begins");
        self.execute(&engine, &operation, &Quiet, &CancellationToken::new()).await
    }

    /// Begins an operation, executes it, and expects it to succeed.
    pub async fn succeed(&self, kind: OperationKind) {
        let ended = self.run(kind).await;
        assert!(ended.failure.is_none(), "{kind}: {:?}", ended.failure);
    }

    /// Takes the deployment's lock. A child that another test starts at this instant inherits
    /// every open file until it runs its program, a lock just released among them.
    pub async fn lock(&self, engine: &Engine, purpose: &str) -> LockFile {
        let taken = wait::until(Duration::from_secs(24 * 3600), || async {
            engine.lock(&self.name, purpose).await.ok()
        });
        taken.await.expect("nobody holds it")
    }

    /// Executes an operation from where it stands.
    pub async fn execute(
        &self,
        engine: &Engine,
        operation: &Operation,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Ended {
        let lock = self.lock(engine, operation.kind.as_str()).await;
        engine.execute(operation, &lock, sink, cancel).await.expect("the store works")
    }

    /// Executes an operation until a call of the target hangs, and never polls it again. `false`
    /// when it ended without one.
    pub async fn killed_in_a_call(&self, kind: OperationKind) -> bool {
        let engine = self.engine();
        let operation = self.begin(&engine, kind).expect("begins");
        let lock = self.lock(&engine, kind.as_str()).await;
        // What its destructors would tidy up stays as it lies: it is forgotten, not dropped. What
        // it borrows goes as a process's things go.
        let token = CancellationToken::new();
        let mut execution = Box::pin(engine.execute(&operation, &lock, &Quiet, &token));
        let hung = tokio::select! {
            _ = &mut execution => false,
            () = self.target.hung() => true,
        };
        if hung {
            std::mem::forget(execution);
        }
        hung
    }

    /// Goes on with the active operation, as a new process does.
    pub async fn resume(&self) -> Ended {
        let engine = self.engine();
        let operation = self.active(&engine).expect("it is still active");
        self.execute(&engine, &operation, &Quiet, &CancellationToken::new()).await
    }

    /// A new one, at where an operation of this kind begins.
    pub async fn arranged(kind: OperationKind) -> Self {
        Self::new().at(kind).await
    }

    /// Brings the bench to where an operation of this kind begins.
    pub async fn at(self, kind: OperationKind) -> Self {
        let bench = self;
        let mark = |mark: &str| {
            let mut world = bench.target.world();
            world.data.as_mut().expect("it has data").marks.push(mark.into());
        };
        match kind {
            OperationKind::Update | OperationKind::Destroy if bench.name.is_cluster() => {
                bench.succeed(OperationKind::Launch).await;
            }
            OperationKind::Launch => {}
            OperationKind::Start => {
                bench.succeed(OperationKind::Launch).await;
                bench.succeed(OperationKind::Stop).await;
            }
            OperationKind::Restore => {
                bench.succeed(OperationKind::Launch).await;
                mark("before the backup");
                bench.succeed(OperationKind::Backup).await;
                bench.succeed(OperationKind::Update).await;
                mark("after the update");
            }
            OperationKind::Approve => {
                bench.succeed(OperationKind::Launch).await;
                bench.target.gateway().ask(browser(REQUEST, "device-1"));
            }
            OperationKind::Restart
            | OperationKind::Stop
            | OperationKind::Update
            | OperationKind::Backup
            | OperationKind::Rotate
            | OperationKind::Expose
            | OperationKind::Destroy => {
                bench.succeed(OperationKind::Launch).await;
                mark("a conversation");
            }
        }
        bench
    }

    /// What the last operation led to.
    pub fn outcome(&self) -> Outcome {
        let engine = self.engine();
        let store = engine.store();
        let last = store.operations(Some(&self.name), 1).expect("reads").remove(0);
        let operation = store.operation(&last.id).expect("reads").expect("is there");
        let deployment = self.deployment(&engine);
        let mut facts = deployment.facts.clone();
        facts.proven_at = facts.proven_at.map(|_| "then".into());
        let events = store.events(Some(&self.name), 0, 10_000).expect("reads");
        let since = events
            .iter()
            .position(|event| event.operation_id.as_deref() == Some(operation.id.as_str()))
            .unwrap_or(events.len());
        let token = |slot| {
            let kept = engine.vault().peek(store, &deployment.id, slot).expect("opens");
            kept.map(|kept| kept.token.expose().to_owned())
        };
        let alone = |event: &EventType| {
            [EventType::ApproveTriggered, EventType::ApproveSuccess, EventType::ApproveFailed]
                .contains(event)
        };
        let kinds = events.iter().map(|event| event.kind);
        let kinds: Vec<EventType> = if since == events.len() {
            // Approvals are told without an operation.
            kinds.filter(alone).collect()
        } else {
            kinds.skip(since).collect()
        };
        let backups = store.backups(&self.name).expect("reads");
        let decisions = store.approvals(&self.name, 100).expect("reads");
        Outcome {
            operation: operation.status,
            steps: operation.steps.iter().map(|it| (it.name.clone(), it.status)).collect(),
            error: operation.error,
            status: deployment.status,
            spec: deployment.spec,
            facts,
            events: kinds,
            tokens: [token(Slot::Current), token(Slot::Next), token(Slot::Previous)],
            backups: backups.into_iter().map(|it| [it.version, it.artefact, it.reason]).collect(),
            decisions: decisions
                .into_iter()
                .map(|it| [it.request_id, it.device_id, it.decision])
                .collect(),
            places: store.window(&deployment.id).expect("reads").map(|it| it.remaining),
            world: self.target.world().clone(),
            gateway: self.target.gateway().state().clone(),
        }
    }

    /// Files whose name ends so, anywhere in the data directory.
    pub fn files_named(&self, name: &str) -> Vec<PathBuf> {
        let (mut found, mut look) = (Vec::new(), vec![self.home().to_owned()]);
        while let Some(dir) = look.pop() {
            for entry in std::fs::read_dir(dir).expect("lists").flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => look.push(entry.path()),
                    _ if entry.path().ends_with(name) => found.push(entry.path()),
                    _ => {}
                }
            }
        }
        found
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("lists").flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("has a type").is_dir() {
            std::fs::create_dir_all(&target).expect("can be made");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

/// A sink that hears nothing.
pub struct Quiet;

impl openclaw_pipeline::targets::Progress for Quiet {
    fn amount(&self, _done: u64, _total: u64, _what: &str) {}

    fn note(&self, _line: &str) {}
}

impl Sink for Quiet {
    fn tell(&self, _told: &openclaw_pipeline::operations::Told<'_>) {}

    fn progress(&self) -> &dyn openclaw_pipeline::targets::Progress {
        self
    }
}
