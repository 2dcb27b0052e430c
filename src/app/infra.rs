//! The machine of a deployment by itself: its parts before a launch, what a launch would change and
//! cost, and what Terraform's state holds.
//!
//! Owns what is asked of a target that makes machines, and the price of the answer. Refuses to change
//! anything in the cloud and to record a deployment: a launch does that.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::App;
use super::exposing::Unheard;
use super::launching::{LaunchRequest, Launched};
use super::orders::Order;
use super::requests::LaunchOrder;
use crate::assets;
use crate::config::variables::DEFAULT_PORT;
use crate::config::{Settings, Variable};
use crate::domain::{
    Deployment, DeploymentName, DeploymentSpec, DeploymentStatus, Facts, Failure, TargetKind,
};
use crate::drivers::aws::prices::{Monthly, Prices, shown};
use crate::drivers::terraform::Change;
use crate::exec::{Cmd, LockFile};
use crate::operations::Sink;
use crate::targets::machine::{MachineTarget, Written, in_words};
use crate::targets::{Site, Work};

/// The disk of a machine on EC2 unless its values say another, in GiB.
const DISK_GIB: u32 = 30;

/// Whose machine is meant.
#[derive(Debug)]
pub struct MachineRequest<'a> {
    /// The deployment, which need not be there yet.
    pub name: DeploymentName,
    /// The target; `None` is the deployment's own, or EC2.
    pub target: Option<TargetKind>,
    /// Everything else.
    pub settings: &'a Settings,
}

/// What a launch would change.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// The deployment.
    pub name: DeploymentName,
    /// Its target.
    pub target: TargetKind,
    /// The region of its machine.
    pub region: String,
    /// The machine's size.
    pub size: String,
    /// What would become of which resource.
    pub changes: Vec<PlannedChange>,
    /// What the machine costs.
    pub cost: Price,
}

/// What would become of a resource.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedChange {
    /// `create`, `update`, `delete` or `replace`.
    pub action: &'static str,
    /// What it is, in words.
    pub what: String,
    /// Its address in the module.
    pub address: String,
}

impl From<Change> for PlannedChange {
    fn from(change: Change) -> Self {
        let Change { address, kind, verb, .. } = change;
        Self { action: verb.as_str(), what: in_words(&kind).to_owned(), address }
    }
}

/// What a machine costs per month.
#[derive(Debug, Clone, Serialize)]
pub struct Price {
    /// `~$36.4/month`, or `unknown`.
    pub per_month: String,
    /// The sum in US dollars; none if a part is not known.
    pub usd_per_month: Option<f64>,
    /// The parts, written in the same way.
    pub parts: Vec<Value>,
    /// The date of the oldest price among them.
    pub as_of: Option<String>,
}

/// What a state holds.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// Where it is.
    pub state: String,
    /// Its resources: type, name and id of each.
    pub resources: Vec<Value>,
}

impl App {
    /// Makes the key of a machine, unless it is there; answers its file.
    pub async fn make_key(
        &self,
        request: &MachineRequest<'_>,
        sink: &dyn Sink,
    ) -> Result<PathBuf, Failure> {
        let site = self.machine_site(request, sink).await?;
        let _lock = self.lock_idle(&request.name).await?;
        self.maker(&site)?.key_ahead(&site).await
    }

    /// Removes the key of a machine that is not there; answers the files.
    pub async fn remove_key(
        &self,
        request: &MachineRequest<'_>,
        sink: &dyn Sink,
    ) -> Result<Vec<PathBuf>, Failure> {
        let site = self.machine_site(request, sink).await?;
        let lock = self.lock_idle(&request.name).await?;
        let cancel = CancellationToken::new();
        let work = Work { cancel: &cancel, lock: &lock, progress: sink.progress() };
        self.maker(&site)?.remove_key(&site, work).await
    }

    /// Writes the values of a machine that its user may change, unless they are there; answers
    /// their file, and whether it was there.
    pub async fn write_values(
        &self,
        request: &MachineRequest<'_>,
        sink: &dyn Sink,
    ) -> Result<(PathBuf, bool), Failure> {
        let site = self.machine_site(request, sink).await?;
        let _lock = self.lock_idle(&request.name).await?;
        self.maker(&site)?.values_ahead(&site)
    }

    /// Has Terraform get what the machines of a target need; answers where that lies.
    pub async fn init_module(
        &self,
        request: &MachineRequest<'_>,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Failure> {
        let target = self.machine_target(request)?;
        self.maker_of(target)?.init(self.layout(), cancel).await
    }

    /// What a launch would change, and what the machine costs. Nothing is made.
    pub async fn plan_machine(
        &self,
        request: &MachineRequest<'_>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Planned, Failure> {
        let site = self.machine_site(request, sink).await?;
        let (target, name) = (site.deployment.spec.target, &request.name);
        let lock = self.lock_idle(name).await?;
        let work = Work { cancel, lock: &lock, progress: sink.progress() };
        self.target(&site).preflight(&site, work).await?;
        let scratch = self.scratch(name, &lock)?;
        let maker = self.maker(&site)?;
        let plan = maker.plan(&site, scratch.path(), work).await?;
        let machine = site.deployment.spec.machine.as_ref();
        let region = machine.map(|it| it.region.clone()).unwrap_or_default();
        let bundle = machine.and_then(|it| it.size.clone());
        let bundle = bundle.unwrap_or_else(|| maker.default_size().to_owned());
        let disk_gib = Written::read(&site.dir())?.disk_gib.unwrap_or(DISK_GIB);
        let prices = Prices::read(assets::PRICES)?;
        let cost = match target {
            TargetKind::Lightsail => prices.lightsail(&region, &bundle),
            _ => prices.ec2(&region, &bundle, disk_gib, true),
        };
        let changes = plan.changes.into_iter().map(PlannedChange::from);
        Ok(Planned {
            name: name.clone(),
            target,
            region,
            size: bundle,
            changes: changes.collect(),
            cost: Price::of(&cost),
        })
    }

    /// The same for a launch that is ordered by request.
    pub async fn plan_order(
        &self,
        order: &LaunchOrder,
        cancel: &CancellationToken,
    ) -> Result<Planned, Failure> {
        let LaunchOrder { name, target, settings, .. } = order;
        let request = MachineRequest { name: name.clone(), target: Some(*target), settings };
        self.plan_machine(&request, &Unheard, cancel).await
    }

    /// What Terraform's state of a deployment holds.
    pub async fn held(
        &self,
        name: &DeploymentName,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Held, Failure> {
        let site = self.site_with_machine(name)?;
        let lock = self.lock_idle(name).await?;
        let work = Work { cancel, lock: &lock, progress: sink.progress() };
        let maker = self.maker(&site)?;
        let state = maker.held(&site, work).await?;
        let resource = |it: crate::drivers::terraform::Held| json!({ "type": it.kind, "name": it.name, "id": it.id });
        Ok(Held {
            state: maker.place_of_state(&site),
            resources: state.held.into_iter().map(resource).collect(),
        })
    }

    /// The same in Terraform's own words, without a secret.
    pub async fn shown_state(
        &self,
        name: &DeploymentName,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<String, Failure> {
        let site = self.site_with_machine(name)?;
        let lock = self.lock_idle(name).await?;
        let scratch = self.scratch(name, &lock)?;
        let work = Work { cancel, lock: &lock, progress: sink.progress() };
        self.maker(&site)?.shown(&site, scratch.path(), work).await
    }

    /// Brings a deployment elsewhere to what the settings say now: the machine, its firewall, or its
    /// place on a cluster; the gateway's configuration and keys. What runs is stopped for it, once
    /// nothing of that is refused.
    pub async fn deploy(
        &self,
        request: LaunchRequest<'_>,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Launched, Failure> {
        let name = request.name.clone();
        let existing = self.deployment(&name).map_err(|failure| {
            let target = request.target.unwrap_or(TargetKind::Ec2);
            failure.remedy(format!("openclaw-pipeline launch {name} --target {target} makes one"))
        })?;
        self.refuse_other_target(&existing, request.target)?;
        if existing.spec.target.is_local() {
            refuse_local(&existing)?;
        }
        let plan = self.plan_launch(&request, Some(&existing)).await?;
        if existing.spec.target.has_machine() && !self.is_served()? {
            // A server has credentials of its own.
            let site = self.engine().site(&existing)?;
            self.maker(&site)?.refuse_known_other_account(&site).await?;
        }
        if matches!(existing.status, DeploymentStatus::Running | DeploymentStatus::Degraded) {
            let mut site = self.engine().site(&existing)?;
            if self.target(&site).clusters().is_some() {
                site.deployment.spec = plan.params.spec;
                let lock = self.engine().lock(&name, "deploy").await?;
                let work = Work { cancel, lock: &lock, progress: sink.progress() };
                self.target(&site).preflight(&site, work).await?;
            }
            self.order(&name, Order::Stop, sink, cancel).await?;
        }
        self.launch(request, sink, cancel).await
    }

    /// A shell on the machine itself.
    pub async fn machine_shell(&self, name: &DeploymentName) -> Result<Cmd, Failure> {
        let site = self.site_with_machine(name)?;
        let machine = self.maker(&site)?.ssh(&site)?;
        machine.open().await?;
        let mut cmd = machine.cmd("bash");
        cmd.arg("-l");
        Ok(cmd)
    }

    /// Refuses a deployment that has no machine of its own.
    pub fn refuse_without_machine(&self, name: &DeploymentName) -> Result<(), Failure> {
        refuse_local(&self.deployment(name)?)
    }

    /// The deployment as its target sees it, which has to make machines.
    pub(super) fn site_with_machine(&self, name: &DeploymentName) -> Result<Site, Failure> {
        let deployment = self.deployment(name)?;
        refuse_local(&deployment)?;
        self.engine().site(&deployment)
    }

    /// Who makes the machine of a site.
    pub(super) fn maker(&self, site: &Site) -> Result<&MachineTarget, Failure> {
        self.maker_of(site.deployment.spec.target)
    }

    fn maker_of(&self, target: TargetKind) -> Result<&MachineTarget, Failure> {
        self.engine().targets().machine(target).ok_or_else(|| {
            Failure::bad_input(format!("the {target} target makes no machines"))
                .remedy("say --target ec2 or --target lightsail")
        })
    }

    /// The target that is meant, which has to make machines.
    fn machine_target(&self, request: &MachineRequest<'_>) -> Result<TargetKind, Failure> {
        let Some(existing) = self.living(&request.name)? else {
            return Ok(request.target.unwrap_or(TargetKind::Ec2));
        };
        self.refuse_other_target(&existing, request.target)?;
        refuse_local(&existing)?;
        Ok(existing.spec.target)
    }

    /// The deployment as a launch would make it, or as it is with what a launch would change.
    pub(super) async fn machine_site(
        &self,
        request: &MachineRequest<'_>,
        sink: &dyn Sink,
    ) -> Result<Site, Failure> {
        let target = self.machine_target(request)?;
        self.maker_of(target)?;
        let existing = self.living(&request.name)?;
        let launch = LaunchRequest {
            name: request.name.clone(),
            target: Some(target),
            settings: request.settings,
            user_config: None,
        };
        let plan = self.plan_launch(&launch, existing.as_ref()).await?;
        for notice in &plan.notices {
            sink.progress().note(notice);
        }
        let mut deployment = existing.unwrap_or_else(|| Deployment {
            id: plan.create.id.clone(),
            name: request.name.clone(),
            status: DeploymentStatus::Launching,
            spec: plan.params.spec.clone(),
            facts: Facts::default(),
            owner: None,
            created_at: String::new(),
            updated_at: String::new(),
        });
        deployment.spec = plan.params.spec;
        let port = deployment.spec.port.or(deployment.facts.port).unwrap_or(DEFAULT_PORT);
        deployment.facts.port = Some(port);
        Ok(Site { layout: self.layout().clone(), deployment, secrets: plan.secrets })
    }

    /// The lock of a deployment that nobody is at work on. What a killed operation has left running
    /// is for the one that goes on with it: taking the lock would end it.
    pub(super) async fn lock_idle(&self, name: &DeploymentName) -> Result<LockFile, Failure> {
        if let Some(operation) = self.store().active_operation(name)? {
            return Err(Failure::conflict(format!(
                "the {} of {name} has not come to its end",
                operation.kind
            ))
            .remedy(format!(
                "wait for it, or go on with it where it was interrupted: openclaw-pipeline \
                 operations resume {}",
                operation.id
            )));
        }
        self.engine().lock(name, "infra").await
    }

    /// A directory for a look, which ends with it. Who holds the deployment's lock removes what a
    /// killed look has left.
    pub(super) fn scratch(
        &self,
        name: &DeploymentName,
        _held: &LockFile,
    ) -> Result<tempfile::TempDir, Failure> {
        self.layout().remove_looks(name)?;
        self.layout().look(name)
    }

    /// Puts region and size as they stand in the deployment's own values into its specification:
    /// Terraform takes them from there.
    pub(super) fn as_written(
        &self,
        name: &DeploymentName,
        settings: &Settings,
        spec: &mut DeploymentSpec,
        notices: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let Some(machine) = &mut spec.machine else { return Ok(()) };
        let written = Written::read(&self.layout().deployment(name))?;
        let mut counts = |variable: Variable, has: &str| {
            if settings.is_given(variable) {
                notices.push(format!(
                    "{} ({}) is not used: {name}'s terraform.tfvars says {has}, and that counts",
                    variable.name(),
                    settings.origin(variable)
                ));
            }
        };
        if let Some(region) = written.region.filter(|region| *region != machine.region) {
            counts(Variable::Region, &region);
            machine.region = region;
        }
        if let Some(size) = written.size.filter(|size| machine.size.as_ref() != Some(size)) {
            counts(Variable::Size, &size);
            machine.size = Some(size);
        }
        Ok(())
    }
}

/// Refuses a deployment that has no machine of its own.
fn refuse_local(deployment: &Deployment) -> Result<(), Failure> {
    let (name, target) = (&deployment.name, deployment.spec.target);
    if target.has_machine() {
        return Ok(());
    }
    Err(Failure::conflict(format!(
        "{name} runs on this machine (the {target} target), and has none of its own"
    ))
    .remedy(format!(
        "openclaw-pipeline open {name} gives its link, openclaw-pipeline shell {name} a shell where \
         it runs"
    )))
}

impl Price {
    fn of(monthly: &Monthly) -> Self {
        let written = |usd: Option<f64>| usd.map_or_else(|| "unknown".to_owned(), shown);
        Self {
            per_month: monthly.to_string(),
            usd_per_month: monthly.usd(),
            parts: monthly
                .parts
                .iter()
                .map(|(what, usd)| {
                    json!({ "what": what, "per_month": written(*usd), "usd_per_month": usd })
                })
                .collect(),
            as_of: monthly.as_of.map(|date| date.to_string()),
        }
    }
}
