//! What a deployment's objects on a cluster are called, and whose they are.
//!
//! Owns the names, which are the manifests' own, and the labels that bind a namespace to one deployment
//! of one installation. Refuses a namespace without them: somebody else's is never changed or removed.

use serde_json::{Value, json};

use crate::domain::text::clean;
use crate::domain::{Failure, cluster};
use crate::drivers::kubernetes::Object;
use crate::targets::Site;

/// The gateway's deployment, service, network policy, disruption budget and container.
pub(super) const GATEWAY: &str = "openclaw";
/// What the gateway is told in secret.
pub(super) const SECRETS: &str = "openclaw-secrets";
/// The scripts that run in its pod, and the keys that are managed.
pub(super) const CONFIG: &str = "openclaw-config";
/// Its volumes.
pub(super) const CLAIMS: [&str; 2] = ["openclaw-config", "openclaw-workspace"];
/// The user's own configuration, for the first start.
pub(super) const FILE: &str = "openclaw-file";
/// The Gateway that leads there, and its route. Controllers call what they make for one as it is called,
/// beside what is the gateway's own.
pub(super) const ENTRY: &str = "openclaw-entry";
/// The container that merges the configuration, before the gateway starts.
pub(super) const CONFIGURE: &str = "configure";
/// The pod that gets an image ready.
pub(super) const PULL: &str = "openclaw-pull";
/// The pod that has the volumes while the gateway is stopped.
pub(super) const ASIDE: &str = "openclaw-aside";
/// The label of the gateway's pods, by which its service finds them.
pub(super) const OF_GATEWAY: &str = "app.kubernetes.io/name=openclaw";

/// The installation that a namespace belongs to.
pub(super) const INSTALLATION: &str = "pipeline.openclaw.io/installation";
/// The deployment's own id.
pub(super) const DEPLOYMENT: &str = "pipeline.openclaw.io/deployment";
/// The deployment's name.
const NAME: &str = "pipeline.openclaw.io/name";
/// The operation that made it there.
const OPERATION: &str = "pipeline.openclaw.io/operation";

/// The mark of a namespace whose deployment was removed, and its volumes were not.
pub(super) const KEPT: &str = "pipeline.openclaw.io/kept";

/// The namespace that every cluster has for as long as it is there.
pub(super) const OF_CLUSTER: &str = "kube-system";

/// The deployment's namespace.
pub(super) fn namespace(site: &Site) -> String {
    cluster::namespace(&site.deployment.name)
}

/// The labels of everything that is the deployment's.
pub(super) fn labels(site: &Site) -> Value {
    let mut labels = json!({
        INSTALLATION: site.layout.installation(),
        DEPLOYMENT: site.deployment.id,
        NAME: site.deployment.name,
    });
    if let Some(operation) = made_by(site) {
        labels[OPERATION] = json!(operation);
    }
    labels
}

/// The same for what AWS makes of an object: tags, as its controllers take them.
pub(super) fn tags(site: &Site) -> String {
    let whose = [
        ("installation", Some(site.layout.installation())),
        ("deployment", Some(site.deployment.id.as_str())),
        ("operation", made_by(site)),
    ];
    let tags = whose
        .into_iter()
        .filter_map(|(what, whose)| whose.map(|whose| format!("openclaw-pipeline:{what}={whose}")));
    tags.collect::<Vec<_>>().join(",")
}

/// The operation that made the deployment's place.
fn made_by(site: &Site) -> Option<&str> {
    let facts = site.deployment.facts.cluster.as_ref()?;
    Some(facts.made_by.as_str()).filter(|it| !it.is_empty())
}

/// Whether an object is this deployment's.
pub(super) fn is_own(object: &Object, site: &Site) -> bool {
    label(object, DEPLOYMENT) == Some(&site.deployment.id)
}

/// Whether an object is going away.
pub(super) fn is_going(object: &Object) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

/// Whether a pod is over and will not run again.
pub(super) fn has_ended(pod: &Object) -> bool {
    ["Failed", "Succeeded"].iter().any(|it| pod.data["status"]["phase"] == *it)
}

/// Whether an object says that its deployment is gone and its volumes are kept.
pub(super) fn is_kept(object: &Object) -> bool {
    label(object, KEPT).is_some()
}

/// Whose a namespace is, as its labels say.
#[derive(Debug, Clone, Copy)]
pub(in crate::targets) struct Whose<'a> {
    /// The installation that made it.
    pub installation: &'a str,
    /// The deployment's id.
    pub deployment: Option<&'a str>,
    /// The deployment's name.
    pub name: Option<&'a str>,
    /// Whether its deployment was removed, and its volumes were not.
    pub is_kept: bool,
}

impl<'a> Whose<'a> {
    /// Whose it is; `None` where no installation made it.
    pub fn of(namespace: &'a Object) -> Option<Self> {
        let said = |name: &str| label(namespace, name).map(String::as_str);
        let installation = said(INSTALLATION)?;
        let (deployment, name) = (said(DEPLOYMENT), said(NAME));
        Some(Self { installation, deployment, name, is_kept: is_kept(namespace) })
    }
}

fn label<'a>(object: &'a Object, name: &str) -> Option<&'a String> {
    object.metadata.labels.as_ref()?.get(name)
}

/// Refuses a namespace that a launch may not take: one that is neither this deployment's, nor was kept
/// by this installation for the next deployment of this name.
pub(super) fn refuse_to_take(object: &Object, site: &Site) -> Result<(), Failure> {
    let is_mine = label(object, INSTALLATION).is_some_and(|it| it == site.layout.installation());
    let is_meant = label(object, NAME).is_some_and(|it| it == site.deployment.name.as_str());
    if is_kept(object) && is_mine && is_meant { Ok(()) } else { refuse_others(object, site) }
}

/// Refuses to make anew what a deployment had before, which holds its data: it is elsewhere, or gone.
pub(super) fn refuse_lost(found: Option<&Object>, site: &Site) -> Result<(), Failure> {
    let Some(known) = &site.deployment.facts.cluster else { return Ok(()) };
    let is_it = |it: &Object| it.metadata.uid.as_ref() == Some(&known.uid);
    if known.uid.is_empty() || found.is_some_and(is_it) {
        return Ok(());
    }
    let name = &site.deployment.name;
    Err(Failure::conflict(format!(
        "{name} has its volumes in a namespace {} that is not on this cluster; nothing was changed",
        known.namespace
    ))
    .remedy(format!(
        "name the context of the cluster that it is on; if it is gone for good, {} and launch it anew",
        name.destroying()
    )))
}

/// Refuses to take a deployment for gone that is not on this cluster: it may go on elsewhere.
pub(super) fn refuse_elsewhere(cluster: &str, server: &str, site: &Site) -> Result<(), Failure> {
    let known = site.deployment.facts.cluster.as_ref().map_or("", |it| &it.cluster);
    if known.is_empty() || cluster.is_empty() || known == cluster {
        return Ok(());
    }
    let name = &site.deployment.name;
    Err(Failure::conflict(format!(
        "{name} was put on another cluster than the one at {server}, and may go on there; nothing was \
         changed"
    ))
    .remedy(format!(
        "let the context that {name} was launched with lead to its own cluster again, or name one \
         that does: openclaw-pipeline launch {name} --target eks --context CONTEXT; then try again. \
         Where that cluster is gone: {} --unseen",
        name.destroying()
    )))
}

/// Refuses a namespace that is not this deployment's.
pub(super) fn refuse_others(object: &Object, site: &Site) -> Result<(), Failure> {
    if is_own(object, site) {
        return Ok(());
    }
    let name = namespace(site);
    let whose = match (label(object, DEPLOYMENT), label(object, INSTALLATION)) {
        (Some(_), Some(other)) if other == site.layout.installation() => {
            "it is what an earlier deployment of this name left".to_owned()
        }
        (Some(id), _) => {
            format!("it belongs to a deployment of another installation ({})", clean(id, 60))
        }
        _ => "it carries no label of this program".to_owned(),
    };
    Err(Failure::conflict(format!(
        "the namespace {name} is there and is not this deployment's: {whose}"
    ))
    .remedy(format!(
        "launch under another name, or, if nobody needs it and what it holds, remove it yourself: \
         kubectl delete namespace {name}"
    )))
}
