//! The installation's own cluster on EKS: what is asked for, and what is recorded of it.
//!
//! Owns that there is one at most, and that a gateway which names no cluster is put on it. Refuses to
//! remove it while gateways of this installation are on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::App;
use super::infra::PlannedChange;
use crate::config::{Settings, Variable};
use crate::domain::{
    Deployment, DeploymentName, DeploymentSpec, DeploymentStatus, EventType, Expose, Facts,
    Failure, MachineSpec, Operation, OperationKind, OperationStatus, TargetKind,
};
use crate::operations::vault::Slot;
use crate::operations::{LaunchParams, Sink};
use crate::secrets::Secret;
use crate::store::{Begin, NewDeployment, NewEvent, NobodyComes, new_id};
use crate::targets::own_cluster::Clearing;
use crate::targets::{GatewaySecrets, Site, Work};

/// How long a look at its API may take. One that takes no calls just now is asked for longer elsewhere.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

/// What making the cluster would change.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PlannedCluster {
    /// The region.
    pub region: String,
    /// What would become of which resource.
    pub changes: Vec<PlannedChange>,
}

impl App {
    /// Makes the cluster, goes on with making it, or brings what is there to what its values and the
    /// settings say.
    pub async fn bring_cluster(
        &self,
        settings: &Settings,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Deployment, Failure> {
        let name = DeploymentName::cluster();
        // What its values said by then may be another thing than what they say now.
        let before = self.store().active_operation(&name)?;
        let was_made = before.is_some_and(|it| has_step(&it, "connect"));
        let finished = self.go_on(&name, sink, cancel).await?.filter(|_| !was_made);
        let lock = self.locked(&name, "cluster", cancel).await?;
        let existing = self.living(&name)?;
        let (spec, id) = self.cluster_spec(settings, existing.as_ref())?;
        let done = finished.filter(|it| it.status == OperationStatus::Succeeded);
        let same = existing.as_ref().is_some_and(|it| it.spec == spec);
        if let (Some(_), true, Some(existing)) = (done, same, &existing) {
            return Ok(existing.clone());
        }
        let params = serde_json::to_value(LaunchParams { spec: spec.clone() })
            .map_err(|error| Failure::failed(format!("the operation's parameters: {error}")))?;
        let is_made = existing.is_some_and(|it| it.facts.own_cluster.is_some());
        let begin = if is_made {
            let text = "bringing the cluster to what its values say";
            let event = Some(NewEvent::new(EventType::Updating, text));
            Begin { params, event, ..Begin::new(OperationKind::Update, name.clone()) }
        } else {
            let nothing = GatewaySecrets::with_token(Secret::new(""));
            let sealed = self.engine().vault().seal(&id, Slot::Current, &nothing)?;
            let sealed = vec![(Slot::Current.name().to_owned(), sealed)];
            let event = Some(NewEvent::new(EventType::Launching, "making a cluster on EKS"));
            let create = Some(NewDeployment { id, spec, sealed, owner: None });
            Begin { params, create, event, ..Begin::new(OperationKind::Launch, name.clone()) }
        };
        let operation = self.store().begin(&begin)?;
        self.finish(&operation, lock, sink, cancel).await?;
        self.deployment(&name)
    }

    /// What it should be, over what is recorded, and its id.
    fn cluster_spec(
        &self,
        settings: &Settings,
        existing: Option<&Deployment>,
    ) -> Result<(DeploymentSpec, String), Failure> {
        let name = DeploymentName::cluster();
        let known = existing.and_then(|it| it.spec.machine.clone());
        let is_made = existing.is_some_and(|it| it.facts.own_cluster.is_some());
        let mut machine = match known {
            Some(known) if is_made => known,
            known => MachineSpec {
                region: settings.region()?,
                size: settings.size()?,
                expose: Expose::None,
                ssh_cidrs: Vec::new(),
                state: known.and_then(|it| it.state),
                tunnel_host: None,
                tunnel_image: None,
                server: None,
            },
        };
        if settings.is_given(Variable::SshCidr) {
            machine.ssh_cidrs = settings.ssh_cidrs()?;
        }
        let mut spec = DeploymentSpec::without_gateway(TargetKind::Eks, machine);
        let id = existing.map_or_else(new_id, |it| it.id.clone());
        self.as_kept((&name, &id), settings, existing, &mut spec)?;
        Ok((spec, id))
    }

    /// What making it would change. Nothing is made.
    pub async fn plan_cluster(
        &self,
        settings: &Settings,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<PlannedCluster, Failure> {
        let name = DeploymentName::cluster();
        let lock = self.lock_idle(&name).await?;
        let existing = self.living(&name)?;
        let (spec, id) = self.cluster_spec(settings, existing.as_ref())?;
        let region = spec.machine.as_ref().map(|it| it.region.clone()).unwrap_or_default();
        let mut deployment = existing.unwrap_or_else(|| Deployment {
            id,
            name: name.clone(),
            status: DeploymentStatus::Launching,
            spec: spec.clone(),
            facts: Facts::default(),
            owner: None,
            created_at: String::new(),
            updated_at: String::new(),
        });
        deployment.spec = spec;
        let secrets = GatewaySecrets::with_token(Secret::new(""));
        let site = Site { layout: self.layout().clone(), deployment, secrets };
        let work = Work { cancel, lock: &lock, progress: sink.progress() };
        let maker = self.engine().targets().cluster_maker();
        maker.preflight(&site, work).await?;
        let scratch = self.scratch(&name, &lock)?;
        let plan = maker.plan(&site, scratch.path(), work).await?;
        let changes = plan.changes.into_iter().map(PlannedChange::from).collect();
        Ok(PlannedCluster { region, changes })
    }

    /// Has Terraform get what a cluster needs; answers where that lies.
    pub async fn init_cluster(&self, cancel: &CancellationToken) -> Result<PathBuf, Failure> {
        self.engine().targets().cluster_maker().init(self.layout(), cancel).await
    }

    /// The cluster, as it is recorded.
    pub fn known_cluster(&self) -> Result<Deployment, Failure> {
        self.living(&DeploymentName::cluster())?.ok_or_else(|| {
            Failure::not_found("this installation has made no cluster")
                .remedy("openclaw-pipeline cluster apply makes one")
        })
    }

    /// Fails where its API does not answer; `None` where that says nothing: it takes no calls just now,
    /// or was never made.
    pub(super) async fn cluster_answers(
        &self,
        deployment: &Deployment,
    ) -> Result<Option<()>, Failure> {
        let Some(facts) = deployment.facts.own_cluster.as_ref() else { return Ok(None) };
        let answers = self.engine().targets().cluster_maker().answers(facts);
        tokio::time::timeout(LOOK_DEADLINE, answers).await.unwrap_or_else(|_| {
            let within = LOOK_DEADLINE.as_secs();
            Err(Failure::prerequisite(format!(
                "the cluster's API does not answer within {within} s"
            ))
            .remedy(
                "check that your address is among OPENCLAW_PIPELINE_SSH_CIDR's; \
                     openclaw-pipeline cluster apply lets the one in that you have now",
            ))
        })
    }

    /// The gateways of this installation that are recorded on it. Who was put there by another of
    /// its addresses is found when it is looked at.
    pub fn on_own_cluster(&self) -> Result<Vec<DeploymentName>, Failure> {
        let known = self.living(&DeploymentName::cluster())?;
        let at = known.and_then(|it| it.facts.own_cluster).map(|it| it.at.server);
        let is_there = |server: &str| {
            at.as_deref().is_some_and(|it| it.trim_end_matches('/') == server.trim_end_matches('/'))
        };
        let is_on_it = |it: &Deployment| {
            it.spec.cluster.as_ref().is_some_and(|cluster| cluster.own.is_some())
                || it.facts.cluster.as_ref().is_some_and(|it| is_there(&it.server))
        };
        let all = self.store().deployments(false)?.into_iter();
        Ok(all.filter(is_on_it).map(|it| it.name).collect())
    }

    /// Puts a gateway that names no cluster on the installation's own, where there is one.
    pub(super) fn as_placed(
        &self,
        existing: Option<&Deployment>,
        spec: &mut DeploymentSpec,
    ) -> Result<(), Failure> {
        let is_placed = existing.is_some_and(|it| it.facts.cluster.is_some());
        let Some(cluster) = spec.cluster.as_mut().filter(|it| !is_placed && it.context.is_none())
        else {
            return Ok(());
        };
        let Some(own) = self.living(&DeploymentName::cluster())? else { return Ok(()) };
        if let Some(facts) = own.facts.own_cluster {
            cluster.own = Some(facts.at);
        }
        Ok(())
    }

    /// Gives an interrupted destroy up that was asked for otherwise, and has changed nothing yet. One
    /// that has goes on as it was asked for.
    async fn give_up_other(
        &self,
        name: &DeploymentName,
        asked: Clearing,
        sink: &dyn Sink,
    ) -> Result<(), Failure> {
        let other = || -> Result<Option<Operation>, Failure> {
            let begun = self.store().active_operation(name)?;
            let is_destroy = |it: &Operation| it.kind == OperationKind::Destroy;
            Ok(begun.filter(|it| is_destroy(it) && it.params != json!(asked)))
        };
        if other()?.is_none() || self.is_served()? {
            return Ok(());
        }
        let _lock = self.engine().lock(name, OperationKind::Destroy.as_str()).await?;
        let Some(begun) = other()? else { return Ok(()) };
        if has_step(&begun, "clear") {
            sink.progress().note(
                "the destroy that was interrupted was asked for with another --volumes or --unseen, \
                 and goes on as it was",
            );
            return Ok(());
        }
        self.engine().cancel(&begun)?;
        Ok(())
    }

    /// Removes the cluster, and, where that is asked for, what gateways left on it.
    pub async fn destroy_cluster(
        &self,
        asked: Clearing,
        sink: &dyn Sink,
        cancel: &CancellationToken,
    ) -> Result<Operation, Failure> {
        let name = DeploymentName::cluster();
        self.known_cluster()?;
        self.refuse_with_gateways()?;
        self.give_up_making(&name, sink).await?;
        self.give_up_other(&name, asked, sink).await?;
        let finished = self.go_on(&name, sink, cancel).await?;
        let done = finished.filter(|it| it.kind == OperationKind::Destroy);
        if let Some(done) = done.filter(|it| it.status == OperationStatus::Succeeded) {
            return Ok(done);
        }
        let lock = self.locked(&name, "destroy", cancel).await?;
        self.refuse_with_gateways()?;
        let (params, along) = (json!(asked), vec![Arc::new(NobodyComes) as _]);
        let begin = Begin { params, along, ..Begin::new(OperationKind::Destroy, name) };
        let operation = self.store().begin(&begin)?;
        self.finish(&operation, lock, sink, cancel).await
    }

    /// Refuses to take the place away where gateways are.
    pub fn refuse_with_gateways(&self) -> Result<(), Failure> {
        let names = self.on_own_cluster()?;
        if names.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = names.iter().map(DeploymentName::to_string).collect();
        Err(Failure::conflict(format!(
            "gateways of this installation are on the cluster: {}; nothing was removed",
            all.join(", ")
        ))
        .remedy(format!("remove each first: {}", names[0].destroying())))
    }
}

/// Whether an operation has begun with a step.
fn has_step(operation: &Operation, name: &str) -> bool {
    operation.steps.iter().any(|it| it.name == name)
}
