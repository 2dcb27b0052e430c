//! `cluster`: the installation's own cluster on EKS.

use serde_json::json;

use super::super::args::{OfCluster, OwnCluster};
use super::super::output::to_do;
use super::super::progress::Shown;
use super::super::terminal;
use super::Session;
use super::launch::refuse_broken;
use crate::app::{App, Clearing, LaunchRequest, PlannedCluster};
use crate::config::{Sources, Variable};
use crate::domain::{Deployment, DeploymentName, Failure, TargetKind};

/// The settings among the arguments.
pub(super) fn flags(mut sources: Sources, args: &OfCluster) -> Sources {
    for (variable, value) in [
        (Variable::Region, &args.region),
        (Variable::Size, &args.size),
        (Variable::SshCidr, &args.ssh_cidr),
    ] {
        if let Some(value) = value {
            sources = sources.flag(variable, value.clone());
        }
    }
    sources
}

pub(super) async fn run(session: &Session<'_>, args: OwnCluster) -> Result<u8, Failure> {
    match args {
        OwnCluster::Init => init(session).await,
        OwnCluster::Plan(_) => plan(session).await,
        OwnCluster::Apply { for_launch, .. } => apply(session, for_launch).await,
        OwnCluster::Show => show(session),
        OwnCluster::Destroy { yes, volumes, unseen } => {
            destroy(session, yes, Clearing { volumes, unseen }).await
        }
    }
}

async fn init(session: &Session<'_>) -> Result<u8, Failure> {
    session.stoppable()?;
    let path = session.app()?.init_cluster(session.cancel).await?;
    session.out.answer(&json!({ "module": path }), || path.display().to_string());
    Ok(0)
}

async fn plan(session: &Session<'_>) -> Result<u8, Failure> {
    let app = session.app()?;
    session.stoppable()?;
    if !session.out.is_json() {
        session.out.say("Asking AWS and Terraform; nothing is made…");
    }
    let shown = Shown::quiet(*session.out);
    let planned = app.plan_cluster(&session.settings, &shown, session.cancel).await?;
    session.out.answer(&planned, || as_text(&planned));
    Ok(0)
}

fn as_text(planned: &PlannedCluster) -> String {
    let PlannedCluster { region, changes } = planned;
    if changes.is_empty() {
        return format!("The cluster in {region}: nothing would change.");
    }
    format!(
        "A cluster on EKS in {region}\n\n{}\nAWS asks for the cluster, its nodes, the NAT gateway \
         and each load balancer by the hour: see its price lists.",
        to_do(changes)
    )
}

async fn apply(session: &Session<'_>, for_launch: bool) -> Result<u8, Failure> {
    let app = session.app()?;
    if for_launch {
        refuse_broken(session)?;
        let (name, target) = (session.name(None)?, Some(TargetKind::Eks));
        let user_config = super::user_config()?;
        let request = LaunchRequest { name, target, settings: &session.settings, user_config };
        app.may_launch(&request).await?;
    }
    session.interruptible()?;
    let shown = Shown::new(*session.out);
    let deployment = app.bring_cluster(&session.settings, &shown, session.cancel).await?;
    drop(shown);
    report(session, &deployment);
    if !session.out.is_json() {
        session.out.say("");
        session.out.say("  a gateway on it  openclaw-pipeline launch NAME --target eks");
        session.out.say("  remove           openclaw-pipeline cluster destroy");
    }
    Ok(0)
}

fn report(session: &Session<'_>, deployment: &Deployment) {
    let facts = deployment.facts.own_cluster.as_ref();
    let kubectl = facts.map(|it| {
        format!("aws eks update-kubeconfig --region {} --name {}", it.at.region, it.at.name)
    });
    let value = json!({
        "name": deployment.name,
        "status": deployment.status,
        "cluster": facts.map(|it| &it.at.name),
        "region": facts.map(|it| &it.at.region),
        "version": facts.map(|it| &it.version),
        "url": deployment.url(),
        "kubectl": kubectl,
    });
    session.out.answer(&value, || deployment.url().unwrap_or_default());
    if let (false, Some(facts), Some(kubectl)) = (session.out.is_json(), facts, &kubectl) {
        session.out.say(&format!(
            "The cluster {} in {} runs Kubernetes {}. kubectl gets to know it by\n  {kubectl}",
            facts.at.name, facts.at.region, facts.version
        ));
    }
}

fn show(session: &Session<'_>) -> Result<u8, Failure> {
    let deployment = session.app()?.known_cluster()?;
    if deployment.facts.own_cluster.is_none() {
        return Err(Failure::not_found("the cluster is not made yet")
            .remedy("openclaw-pipeline cluster apply goes on"));
    }
    report(session, &deployment);
    Ok(0)
}

async fn destroy(session: &Session<'_>, yes: bool, asked: Clearing) -> Result<u8, Failure> {
    let app: App = session.app()?;
    let name = DeploymentName::cluster();
    let known = app.known_cluster()?;
    app.refuse_with_gateways()?;
    app.refuse_other_state(&known, &session.settings)?;
    let of = known.facts.own_cluster.as_ref().map(|it| format!(" ({})", it.at.name));
    let line = format!(
        "This removes the cluster{} with its network and nodes, and whatever else runs there.",
        of.unwrap_or_default()
    );
    let of_volumes = if asked.volumes {
        "Volumes that gateways of this installation left there go, too."
    } else {
        "Volumes stay in the account, and are named at the end (--volumes removes them)."
    };
    let removes = "this removes the cluster with its network and nodes";
    terminal::confirm(session.out, name.as_str(), yes, (removes, &[&line, of_volumes]))?;
    session.interruptible()?;
    let shown = Shown::new(*session.out);
    let operation = app.destroy_cluster(asked, &shown, session.cancel).await?;
    drop(shown);
    let message = app.outcome(&operation)?;
    let answer = json!({ "name": name, "operation": operation, "message": message });
    session.out.answer(&answer, || message);
    Ok(0)
}
