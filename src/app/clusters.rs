//! The cluster that a launch asks for.
//!
//! Owns what of it may change once a gateway is there. Refuses to move one to another cluster, or to
//! volumes of another class: its data stays where it is.

use crate::config::{Settings, Variable};
use crate::domain::{ClusterSpec, Deployment, DeploymentName, Failure, TargetKind};

/// The cluster of a deployment that is new, where its target has one.
pub(super) fn cluster(
    target: TargetKind,
    settings: &Settings,
) -> Result<Option<ClusterSpec>, Failure> {
    (target == TargetKind::Eks).then(|| settings.cluster()).transpose()
}

/// What says how something else of the cluster's leads to a gateway.
const OF_INGRESS: [Variable; 5] = [
    Variable::IngressClass,
    Variable::GatewayClass,
    Variable::IngressHost,
    Variable::IngressTlsSecret,
    Variable::IngressProxies,
];

/// Refuses a host name by which another gateway on the same cluster is reached: its browsers would come
/// here.
pub(super) fn refuse_taken_host(
    name: &DeploymentName,
    spec: &ClusterSpec,
    others: &[Deployment],
) -> Result<(), Failure> {
    let Some(host) = spec.ingress.as_ref().map(|it| &it.host) else { return Ok(()) };
    let has_it = |it: &Deployment| {
        let Some(cluster) = &it.spec.cluster else { return false };
        let place = |it: &ClusterSpec| (it.own.clone(), it.kubeconfig.clone(), it.context.clone());
        let is_there = cluster.ingress.as_ref().is_some_and(|it| it.host == *host);
        it.name != *name && is_there && place(cluster) == place(spec)
    };
    let Some(other) = others.iter().find(|it| has_it(it)) else { return Ok(()) };
    Err(Failure::conflict(format!("{} is reached by the host name {host}", other.name))
        .remedy(format!("give {name} one of its own with OPENCLAW_PIPELINE_INGRESS_HOST")))
}

/// Takes over what the settings say outright; what they do not say stays.
pub(super) fn change(
    spec: &mut ClusterSpec,
    settings: &Settings,
    existing: &Deployment,
) -> Result<(), Failure> {
    use Variable as V;
    let given = |variables: &[V]| variables.iter().any(|it| settings.is_given(*it));
    let asked = settings.cluster()?;
    let is_made = existing.facts.cluster.is_some();
    if settings.is_given(V::KubeContext) {
        // The same cluster may stand under another name, in another file: its namespace says so.
        spec.own = None;
        spec.kubeconfig = asked.kubeconfig;
        spec.context = asked.context;
    }
    if !is_made {
        // What was refused before anything was made is nothing to stay with.
        let (kubeconfig, context) = (spec.kubeconfig.clone(), spec.context.clone());
        *spec = ClusterSpec { kubeconfig, context, ..asked };
        return Ok(());
    }
    if settings.is_exposure_given() {
        spec.expose = asked.expose;
    }
    if settings.is_given(V::SshCidr) {
        spec.source_ranges = asked.source_ranges;
    }
    if given(&OF_INGRESS) {
        spec.ingress = asked.ingress;
    }
    if settings.is_given(V::StorageClass) && spec.storage_class != asked.storage_class {
        return Err(Failure::conflict(format!(
            "{} has its volumes, and their class cannot change",
            existing.name
        ))
        .remedy("leave OPENCLAW_PIPELINE_STORAGE_CLASS as it was"));
    }
    Ok(())
}
