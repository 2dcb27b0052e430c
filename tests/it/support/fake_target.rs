//! A target in memory: the world that the operations change, and the switches that make it fail.
//!
//! Owns a small model of what a real target leaves behind (what was fetched, what is placed, what
//! runs, the gateway's data). The model lives outside of whoever changes it, so that the death of
//! an executor loses nothing of the world. Each method looks before it acts, as the real ones do,
//! and a new version migrates the data so that an older one cannot start on it. Refuses to be
//! asked for a child process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use openclaw_pipeline::domain::{Failure, FailureKind, TargetKind};
use openclaw_pipeline::exec::Cmd;
use openclaw_pipeline::gateway::Dial;
use openclaw_pipeline::targets::{
    Artefact, Clusters, LogOptions, ManagedConfig, NotUp, Observed, Placed, Site, Target, Tunnels,
    Work,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::fake_own_cluster::Made;
use super::memory_gateway::{MemoryGateway, State, Up};

/// The gateway's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The newest version that has run on it: an older one refuses it.
    pub migrated_to: String,
    /// What the user put there.
    pub marks: Vec<String>,
}

/// What is there of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct World {
    /// The versions that were fetched.
    pub fetched: BTreeSet<String>,
    /// The port that it was placed with; `None` where nothing is placed.
    pub placed: Option<u16>,
    /// The version that was started last and not stopped since.
    pub started: Option<String>,
    /// Whether that one ended by itself.
    pub crashed: bool,
    /// The data.
    pub data: Option<Data>,
    /// Whether somebody watches for browsers.
    pub watched: bool,
    /// Whether a tunnel leads to it.
    pub tunnel: bool,
    /// Whether it has its place on a cluster.
    pub claimed: bool,
    /// The installation's own cluster.
    pub own_cluster: Option<Made>,
    /// The ports that a gateway could not have.
    pub lost: BTreeSet<u16>,
    /// How many more will be lost, and whether before or after the start.
    pub to_lose: Option<(usize, When)>,
}

/// Where in a call something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before it changed anything.
    Before,
    /// After it did what it is for.
    After,
}

#[derive(Debug, Default)]
struct Switches {
    fail: Option<When>,
    hang: Option<(usize, When)>,
    calls: usize,
    never_start: BTreeSet<String>,
    heeds_cancel: bool,
}

#[derive(Debug)]
struct Inner {
    kind: TargetKind,
    world: Mutex<World>,
    switches: Mutex<Switches>,
    hung: Notify,
    gateway: MemoryGateway,
}

/// The target. Copies are the same one.
#[derive(Debug, Clone)]
pub struct FakeTarget(Arc<Inner>);

impl Default for FakeTarget {
    fn default() -> Self {
        Self::of(TargetKind::Process, World::default(), State::default())
    }
}

impl FakeTarget {
    /// One whose gateways are on a cluster.
    pub fn on_cluster() -> Self {
        Self::of(TargetKind::Eks, World::default(), State::default())
    }

    fn of(kind: TargetKind, world: World, state: State) -> Self {
        let switches = Switches { heeds_cancel: true, ..Switches::default() };
        Self(Arc::new(Inner {
            kind,
            world: Mutex::new(world),
            switches: Mutex::new(switches),
            hung: Notify::new(),
            gateway: MemoryGateway::new(state),
        }))
    }

    /// Another target whose world is as this one's is now; its switches are off.
    pub fn fork(&self) -> Self {
        let fork = Self::of(self.0.kind, self.world().clone(), self.gateway().state().clone());
        fork.switches().never_start.clone_from(&self.switches().never_start);
        fork
    }

    /// The world.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gateway.
    pub fn gateway(&self) -> &MemoryGateway {
        &self.0.gateway
    }

    fn switches(&self) -> MutexGuard<'_, Switches> {
        self.0.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call fails; `None` takes that back. Answers whether a failure still waited.
    pub fn fail_next(&self, when: Option<When>) -> bool {
        std::mem::replace(&mut self.switches().fail, when).is_some()
    }

    /// Gateways of this version migrate the data and end by themselves.
    pub fn never_start(&self, version: &str) {
        self.switches().never_start.insert(version.to_owned());
    }

    /// So many ports turn out to be somebody else's: when a gateway is started there, or after.
    pub fn lose_ports(&self, count: usize, when: When) {
        self.world().to_lose = Some((count, when));
    }

    /// Whether a gateway that is started on this port runs and waits for it in vain; `None` where
    /// the port is seen to be somebody else's. What was lost once stays lost.
    fn loses(&self, port: u16) -> Option<bool> {
        let mut world = self.world();
        if world.lost.contains(&port) {
            return world.started.is_some().then_some(true);
        }
        if world.started.is_some() {
            return Some(false);
        }
        let Some((count @ 1.., when)) = &mut world.to_lose else { return Some(false) };
        *count -= 1;
        let waits = *when == When::After;
        world.lost.insert(port);
        waits.then_some(true)
    }

    /// Whether calls end when the operation is cancelled.
    pub fn heed_cancel(&self, heeds: bool) {
        self.switches().heeds_cancel = heeds;
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.switches().calls
    }

    /// The call with this number (from 0, counted from now) never returns.
    pub fn hang_at(&self, call: usize, when: When) {
        let mut switches = self.switches();
        switches.calls = 0;
        switches.hang = Some((call, when));
    }

    /// Waits until that call is there.
    pub async fn hung(&self) {
        self.0.hung.notified().await;
    }

    /// What every call begins with; answers its number.
    pub(super) async fn enter(
        &self,
        method: &'static str,
        work: Option<Work<'_>>,
    ) -> Result<usize, Failure> {
        let number = self.count(method)?;
        self.goes_on(number, work).await?;
        Ok(number)
    }

    pub(super) async fn goes_on(
        &self,
        number: usize,
        work: Option<Work<'_>>,
    ) -> Result<(), Failure> {
        self.hang(number, When::Before).await;
        let cancelled = work.is_some_and(|work| work.cancel.is_cancelled());
        if cancelled && self.switches().heeds_cancel {
            return Err(Failure::new(FailureKind::Interrupted, "interrupted"));
        }
        Ok(())
    }

    fn count(&self, method: &'static str) -> Result<usize, Failure> {
        let number = self.number();
        let mut switches = self.switches();
        if switches.fail == Some(When::Before) {
            switches.fail = None;
            return Err(failing(method));
        }
        Ok(number)
    }

    pub(super) fn number(&self) -> usize {
        let mut switches = self.switches();
        switches.calls += 1;
        switches.calls - 1
    }

    /// What every call ends with.
    pub(super) async fn leave(&self, method: &'static str, number: usize) -> Result<(), Failure> {
        self.hang(number, When::After).await;
        self.fails_after(method)
    }

    fn fails_after(&self, method: &'static str) -> Result<(), Failure> {
        let mut switches = self.switches();
        if switches.fail == Some(When::After) {
            switches.fail = None;
            return Err(failing(method));
        }
        Ok(())
    }

    pub(super) async fn hang(&self, number: usize, when: When) {
        let hangs = self.switches().hang.take_if(|hang| *hang == (number, when)).is_some();
        if hangs {
            self.0.hung.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

fn failing(method: &str) -> Failure {
    Failure::failed(format!("the fake target fails at {method}"))
        .remedy(format!("look at {method}"))
}

fn wanted(site: &Site) -> String {
    site.deployment.spec.version.clone().unwrap_or_else(|| "0".into())
}

/// The host name that every tunnel has.
const HOST: &str = "a-host-in-memory.trycloudflare.com";

#[async_trait]
impl Tunnels for FakeTarget {
    async fn raise(&self, _site: &Site, work: Work<'_>) -> Result<String, Failure> {
        let call = self.enter("raise", Some(work)).await?;
        self.world().tunnel = true;
        self.leave("raise", call).await?;
        Ok(HOST.to_owned())
    }

    async fn host(&self, _site: &Site) -> Result<Option<String>, Failure> {
        Ok(self.world().tunnel.then(|| HOST.to_owned()))
    }

    async fn lower(&self, _site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let call = self.enter("lower", Some(work)).await?;
        self.world().tunnel = false;
        self.leave("lower", call).await
    }

    async fn closed(&self, _site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let call = self.enter("closed", Some(work)).await?;
        self.leave("closed", call).await
    }
}

#[async_trait]
impl Target for FakeTarget {
    fn kind(&self) -> TargetKind {
        self.0.kind
    }

    fn clusters(&self) -> Option<&dyn Clusters> {
        (self.0.kind == TargetKind::Eks).then_some(self as &dyn Clusters)
    }

    fn tunnels(&self) -> Option<&dyn Tunnels> {
        Some(self)
    }

    async fn preflight(&self, _site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let call = self.enter("preflight", Some(work)).await?;
        self.leave("preflight", call).await
    }

    async fn fetch(&self, site: &Site, work: Work<'_>) -> Result<Artefact, Failure> {
        let call = self.enter("fetch", Some(work)).await?;
        let version = wanted(site);
        self.world().fetched.insert(version.clone());
        self.leave("fetch", call).await?;
        Ok(Artefact { id: version.clone(), version: Some(version) })
    }

    async fn place(
        &self,
        site: &Site,
        config: &ManagedConfig,
        work: Work<'_>,
    ) -> Result<Placed, Failure> {
        let call = self.enter("place", Some(work)).await?;
        let is_claimed = self.world().claimed || self.clusters().is_none();
        assert!(is_claimed, "placed where nothing was claimed");
        self.world().placed = Some(site.port()?);
        {
            let mut gateway = self.gateway().state();
            gateway.origins.retain(|origin| !config.stale_origins.contains(origin));
            for origin in &config.origins {
                if !gateway.origins.contains(origin) {
                    gateway.origins.push(origin.clone());
                }
            }
            gateway.model.clone_from(&config.model);
        }
        self.leave("place", call).await?;
        Ok(Placed::default())
    }

    async fn check_configuration(&self, _site: &Site) -> Result<(), Failure> {
        let call = self.enter("check_configuration", None).await?;
        self.leave("check_configuration", call).await
    }

    async fn start(&self, site: &Site, work: Work<'_>) -> Result<(), NotUp> {
        let call = self.enter("start", Some(work)).await?;
        let Some(waits) = self.loses(site.port()?) else {
            self.hang(call, When::After).await;
            return Err(NotUp::port_taken(site));
        };
        if waits {
            self.world().started.clone_from(&site.deployment.facts.artefact);
        } else if self.gateway().state().up.is_none() {
            let artefact = site.deployment.facts.artefact.clone().unwrap_or_default();
            let never = self.switches().never_start.contains(&artefact);
            let mut world = self.world();
            assert!(world.placed.is_some(), "started without being placed");
            assert!(world.fetched.contains(&artefact), "{artefact:?} was not fetched");
            let data = world
                .data
                .get_or_insert_with(|| Data { migrated_to: artefact.clone(), marks: Vec::new() });
            let refuses = data.migrated_to > artefact;
            if !refuses {
                data.migrated_to.clone_from(&artefact);
            }
            world.crashed = refuses || never;
            world.started = Some(artefact.clone());
            if !world.crashed {
                let env = site.gateway_env();
                self.gateway().start(Up {
                    version: artefact,
                    token: site.secrets.token.expose().to_owned(),
                    providers: env
                        .iter()
                        .filter(|(name, _)| name == "ANTHROPIC_API_KEY")
                        .map(|_| "anthropic".to_owned())
                        .collect(),
                });
            }
        }
        Ok(self.leave("start", call).await?)
    }

    async fn lost_port(&self, site: &Site) -> Result<bool, Failure> {
        let call = self.enter("lost_port", None).await?;
        let lost = self.world().lost.contains(&site.port()?);
        self.leave("lost_port", call).await?;
        Ok(lost)
    }

    async fn stop(&self, _site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let call = self.enter("stop", Some(work)).await?;
        self.gateway().stop();
        {
            let mut world = self.world();
            world.started = None;
            world.crashed = false;
            world.watched = false;
        }
        self.leave("stop", call).await
    }

    async fn observe(&self, _site: &Site) -> Result<Observed, Failure> {
        let call = self.enter("observe", None).await?;
        let observed = {
            let world = self.world();
            match (&world.placed, &world.started) {
                (None, _) => Observed::Absent,
                (_, None) => Observed::Stopped,
                (_, Some(version)) if world.crashed => Observed::Crashed {
                    code: Some(1),
                    cause: format!("the gateway {version} cannot start on this state"),
                },
                _ => Observed::Running,
            }
        };
        self.leave("observe", call).await?;
        Ok(observed)
    }

    fn route(&self, _site: &Site) -> Result<Box<dyn Dial>, Failure> {
        self.count("route")?;
        self.fails_after("route")?;
        Ok(self.gateway().dial(false))
    }

    fn loopback(&self, _site: &Site) -> Result<Box<dyn Dial>, Failure> {
        self.count("loopback")?;
        self.fails_after("loopback")?;
        Ok(self.gateway().dial(true))
    }

    async fn openclaw(
        &self,
        _site: &Site,
        _args: &[&str],
        _terminal: bool,
    ) -> Result<Cmd, Failure> {
        Err(Failure::failed("a target in memory has no command line"))
    }

    async fn script(&self, _site: &Site, _script: &str) -> Result<Cmd, Failure> {
        Err(Failure::failed("a target in memory runs no script"))
    }

    async fn shell(&self, _site: &Site) -> Result<Cmd, Failure> {
        Err(Failure::failed("a target in memory has no shell"))
    }

    async fn logs(&self, _site: &Site, _options: LogOptions) -> Result<Cmd, Failure> {
        Err(Failure::failed("a target in memory has no log"))
    }

    async fn log_tail(&self, _site: &Site) -> Result<String, Failure> {
        Ok(String::new())
    }

    async fn archive(&self, _site: &Site, into: &Path, work: Work<'_>) -> Result<(), Failure> {
        let call = self.enter("archive", Some(work)).await?;
        let data = self.world().data.clone();
        let data = data.ok_or_else(|| Failure::failed("there is no state to archive"))?;
        std::fs::write(into, serde_json::to_vec(&data).expect("data is plain"))?;
        self.leave("archive", call).await
    }

    async fn restore(&self, _site: &Site, from: &Path, work: Work<'_>) -> Result<(), Failure> {
        let call = self.enter("restore", Some(work)).await?;
        let data = serde_json::from_slice(&std::fs::read(from)?)
            .map_err(|error| Failure::failed(format!("the archive: {error}")))?;
        assert!(self.gateway().state().up.is_none(), "restored under a running gateway");
        self.world().data = Some(data);
        self.leave("restore", call).await
    }

    async fn watch(&self, _site: &Site) -> Result<(), Failure> {
        let call = self.enter("watch", None).await?;
        self.world().watched = true;
        self.leave("watch", call).await
    }

    async fn remove(&self, _site: &Site, work: Work<'_>) -> Result<Vec<String>, Failure> {
        let call = self.enter("remove", Some(work)).await?;
        self.gateway().stop();
        let removed = {
            let mut world = self.world();
            let fetched = std::mem::take(&mut world.fetched);
            let was = std::mem::replace(&mut *world, World { fetched, ..World::default() });
            *self.gateway().state() = State::default();
            if was.placed.is_some() { vec!["the gateway in memory".to_owned()] } else { Vec::new() }
        };
        self.leave("remove", call).await?;
        Ok(removed)
    }
}
