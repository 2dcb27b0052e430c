//! Why a pod does not come up, and what is to be done about it.
//!
//! Owns reading a pod's status and the events around it. Pure: it decides on what it is given. What
//! the cluster says is cleaned and bounded before it is repeated.

use serde_json::Value;

use super::names;
use super::state::sortable;
use crate::domain::Failure;
use crate::domain::text::clean;
use crate::drivers::kubernetes::Object;

/// The exit code that says that the state needs the gateway's own doctor.
pub(super) const NEEDS_DOCTOR: i32 = 78;
/// The exit code of what the kernel killed.
const KILLED: i32 = 137;
/// The event of a probe that failed.
const UNHEALTHY: &str = "Unhealthy";
/// The event of a node that ends a container.
const KILLING: &str = "Killing";
/// The event of a claim whose volume somebody else is to make.
const PROVISIONING: &str = "ExternalProvisioning";
/// The events that count although they are no warnings.
pub(super) const TELLING: [&str; 2] = [KILLING, PROVISIONING];
/// The longest words of the cluster's, in characters.
const WORDS: usize = 400;

/// What is seen of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing of it is there.
    Absent,
    /// None of its pods is to be there.
    Stopped,
    /// It runs, and is ready.
    Running,
    /// It comes up; what it does just now.
    Coming(String),
    /// Its process ended.
    Ended {
        /// Its exit code.
        code: Option<i32>,
        /// Why, where its log does not say it.
        why: Option<String>,
    },
    /// It does not come up without help.
    Stuck(Trouble),
}

/// What keeps a pod from coming up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What it is, with the cluster's own words.
    pub(super) what: String,
    /// What is to be done.
    pub(super) remedy: &'static str,
    /// Whether waiting may help: a node may be added, a volume made.
    pub(super) may_pass: bool,
}

impl Trouble {
    fn new(what: String, remedy: &'static str, may_pass: bool) -> Self {
        Self { what, remedy, may_pass }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::failed(trouble.what).remedy(trouble.remedy)
    }
}

fn statuses<'a>(pod: &'a Object, list: &str) -> impl Iterator<Item = &'a Value> {
    pod.data["status"][list].as_array().into_iter().flatten()
}

pub(super) fn container<'a>(pod: &'a Object, list: &str, name: &str) -> Option<&'a Value> {
    statuses(pod, list).find(|it| it["name"] == name)
}

/// Whether the gateway's process runs in a pod.
pub(super) fn runs(pod: &Object) -> bool {
    let gateway = container(pod, "containerStatuses", names::GATEWAY);
    gateway.is_some_and(|it| it["state"]["running"].is_object())
}

/// Whether the gateway runs, and either said by its probe that it is ready, or is not to have said so
/// yet.
pub(super) fn is_well(pod: &Object) -> bool {
    let Some(gateway) = container(pod, "containerStatuses", names::GATEWAY) else { return false };
    let is_ready =
        gateway["ready"] == true && condition(pod, "Ready").is_none_or(|it| it["status"] == "True");
    runs(pod) && (is_ready || gateway["started"] == false)
}

/// Whether a run of it ended before the present one.
pub(super) fn ended_before(pod: &Object) -> bool {
    let gateway = container(pod, "containerStatuses", names::GATEWAY);
    gateway.is_some_and(|it| it["lastState"]["terminated"].is_object())
}

/// The digest of the image that a pod's main container runs, with its repository.
pub(super) fn image_of(pod: &Object) -> Option<String> {
    let id = container(pod, "containerStatuses", names::GATEWAY)?["imageID"].as_str()?;
    let id = id.strip_prefix("docker-pullable://").unwrap_or(id);
    id.contains("@sha256:").then(|| id.to_owned())
}

/// What a container said at its end, if anything that is JSON; `None` while it has not ended.
pub(super) fn last_word(pod: &Object, name: &str) -> Option<Value> {
    let ended = container(pod, "containerStatuses", name)?["state"].get("terminated")?;
    let said = ended["message"].as_str().unwrap_or_default();
    Some(serde_json::from_str(said).unwrap_or_default())
}

fn exit_code(state: &Value) -> Option<i32> {
    state["terminated"]["exitCode"].as_i64().and_then(|it| i32::try_from(it).ok())
}

/// What the container said that merged the configuration.
pub(super) fn configured(pod: &Object) -> Option<Value> {
    let status = container(pod, "initContainerStatuses", names::CONFIGURE)?;
    let said = status["state"]["terminated"]["message"].as_str()?;
    serde_json::from_str(said).ok()
}

fn condition<'a>(pod: &'a Object, kind: &str) -> Option<&'a Value> {
    let mut conditions = pod.data["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|it| it["type"] == kind)
}

/// When an event was seen last, to sort by.
pub(super) fn time_of(event: &Object) -> String {
    let times = [
        &event.data["series"]["lastObservedTime"],
        &event.data["lastTimestamp"],
        &event.data["eventTime"],
        &event.data["firstTimestamp"],
    ];
    times.into_iter().find_map(Value::as_str).map(sortable).unwrap_or_default()
}

/// What is seen of a pod that is to be there and is not ready, with the warnings around it.
pub(super) fn of(pod: Option<&Object>, warnings: &[Value], memory_mib: u32) -> Seen {
    let Some(pod) = pod else {
        let failed = last(warnings, &["FailedCreate"]);
        return failed.map_or_else(
            || Seen::Coming("waiting for a pod".into()),
            |it| Seen::Stuck(not_made(&said(it))),
        );
    };
    if names::is_going(pod) {
        return Seen::Coming("waiting for the pod before it to end".into());
    }
    for (list, name) in
        [("initContainerStatuses", names::CONFIGURE), ("containerStatuses", names::GATEWAY)]
    {
        if let Some(trouble) = container(pod, list, name).and_then(waits) {
            return Seen::Stuck(trouble);
        }
    }
    if let Some(trouble) =
        container(pod, "initContainerStatuses", names::CONFIGURE).and_then(not_configured)
    {
        return Seen::Stuck(trouble);
    }
    if runs(pod) {
        let trouble = not_on(pod, warnings).or_else(|| not_answering(pod, warnings));
        return trouble.map_or(Seen::Running, Seen::Stuck);
    }
    if let Some(why) = pod.data["status"]["reason"].as_str().filter(|it| *it == "Evicted") {
        let words = clean(pod.data["status"]["message"].as_str().unwrap_or(why), WORDS);
        let remedy = "give the nodes more room, or the gateway less to keep";
        return Seen::Stuck(Trouble::new(format!("its pod was evicted: {words}"), remedy, true));
    }
    let gateway = container(pod, "containerStatuses", names::GATEWAY);
    if let Some((code, why)) = gateway.and_then(|it| ended(it, memory_mib)) {
        let why = why.or_else(|| ended_by_probe(pod, warnings, code));
        return Seen::Ended { code, why };
    }
    if let Some(trouble) = not_placed(pod, warnings) {
        return Seen::Stuck(trouble);
    }
    let mounts = ["FailedMount", "FailedAttachVolume", "FailedMapVolume"];
    if let Some(it) = last_of(pod, warnings, &mounts) {
        return Seen::Stuck(not_mounted(&said(it)));
    }
    if let Some(it) = last_of(pod, warnings, &["FailedCreatePodSandBox"]) {
        let remedy = "look at the node's network and container runtime";
        return Seen::Stuck(Trouble::new(
            format!("the node cannot make its pod: {}", said(it)),
            remedy,
            true,
        ));
    }
    let merges = container(pod, "initContainerStatuses", names::CONFIGURE)
        .is_some_and(|it| it["state"]["running"].is_object());
    if merges {
        return Seen::Coming("merging the configuration".into());
    }
    let has_node = pod.data["spec"]["nodeName"].is_string();
    match last(warnings, &[PROVISIONING]).filter(|_| !has_node) {
        Some(volume) => Seen::Coming(format!("its volume is not there yet: {}", said(volume))),
        None => Seen::Coming("its pod is being made ready".into()),
    }
}

/// The same of a pod beside the gateway's.
pub(super) fn of_helper(pod: &Object, warnings: &[Value]) -> Seen {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let mut all = lists.into_iter().flat_map(|list| statuses(pod, list));
    if let Some(trouble) = all.find_map(waits) {
        return Seen::Stuck(trouble);
    }
    let mounts = ["FailedMount", "FailedAttachVolume", "FailedMapVolume"];
    if let Some(it) = last_of(pod, warnings, &mounts) {
        return Seen::Stuck(not_mounted(&said(it)));
    }
    not_placed(pod, warnings).map_or_else(|| Seen::Coming(String::new()), Seen::Stuck)
}

fn not_mounted(words: &str) -> Trouble {
    let remedy = "look at the volume's driver and at the node (kubectl describe pvc)";
    Trouble::new(format!("its volume is not there: {words}"), remedy, true)
}

/// A container that waits for what does not come by itself.
fn waits(status: &Value) -> Option<Trouble> {
    let waiting = &status["state"]["waiting"];
    let words = || clean(waiting["message"].as_str().unwrap_or_default(), WORDS);
    let image = clean(status["image"].as_str().unwrap_or_default(), 200);
    let trouble = match waiting["reason"].as_str()? {
        "ErrImagePull" | "ImagePullBackOff" => {
            let remedy = image_remedy(&words());
            // The second time it backs off.
            let once = waiting["reason"] == "ErrImagePull";
            Trouble::new(format!("the image {image} cannot be pulled: {}", words()), remedy, once)
        }
        "InvalidImageName" => Trouble::new(
            format!("{image} is no name of an image: {}", words()),
            "check the image's name",
            false,
        ),
        "ErrImageNeverPull" => Trouble::new(
            format!("the image {image} is not on the node"),
            "put it into a registry that the node reaches",
            false,
        ),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Trouble::new(
                format!("its container cannot be made: {}", words()),
                "kubectl describe pod says more, and launching it again puts back what it is made of",
                true,
            )
        }
        _ => return None,
    };
    Some(trouble)
}

/// What is to be done about an image that does not come.
fn image_remedy(words: &str) -> &'static str {
    let said = words.to_lowercase();
    if said.contains("not found") || said.contains("manifest unknown") {
        "check the image's name and tag"
    } else if said.contains("unauthorized") || said.contains("denied") || said.contains("forbidden")
    {
        "give the nodes access to the registry (imagePullSecrets of the service account \
         \"default\" there), or check the image's name"
    } else {
        "check that the nodes reach the registry"
    }
}

/// A merge of the configuration that failed.
fn not_configured(status: &Value) -> Option<Trouble> {
    let ended = [&status["state"], &status["lastState"]];
    let failed = ended.into_iter().find(|it| exit_code(it).is_some_and(|code| code != 0))?;
    if exit_code(&status["state"]) == Some(0) {
        return None;
    }
    let message = failed["terminated"]["message"].as_str().unwrap_or_default();
    let told: Option<Value> = serde_json::from_str(message).ok();
    let why = told.as_ref().and_then(|it| it["error"].as_str()).unwrap_or(message);
    let why = if why.is_empty() { "it said nothing" } else { why };
    Some(Trouble::new(
        format!("the gateway's configuration cannot be merged: {}", clean(why, WORDS)),
        "mend openclaw.json where it lies (openclaw-pipeline stop NAME, then shell NAME), or move it \
         away; then start it",
        false,
    ))
}

/// A gateway's process that ended.
pub(super) fn ended(status: &Value, memory_mib: u32) -> Option<(Option<i32>, Option<String>)> {
    let state = [&status["state"], &status["lastState"]]
        .into_iter()
        .find(|it| it["terminated"].is_object())?;
    let code = exit_code(state);
    let is_oom = state["terminated"]["reason"] == "OOMKilled";
    let why = (is_oom && code == Some(KILLED))
        .then(|| format!("it was killed for using more than its {memory_mib} MiB of memory"));
    Some((code, why))
}

/// A gateway that came up, runs, and does not answer its probe any more.
fn not_answering(pod: &Object, warnings: &[Value]) -> Option<Trouble> {
    let gateway = container(pod, "containerStatuses", names::GATEWAY)?;
    // Before it has come up, probes fail as they are meant to.
    if gateway["started"] != true || gateway["ready"] != false {
        return None;
    }
    // One that failed before it had come up tells nothing of now.
    let of_now = |it: &&Value| !said(it).starts_with("Startup");
    let failed = all_of(pod, warnings, &[UNHEALTHY]).find(of_now)?;
    Some(Trouble::new(
        format!("it runs and does not answer: {}", said(failed)),
        "its log may say why (openclaw-pipeline logs NAME); openclaw-pipeline restart NAME starts it \
         anew",
        true,
    ))
}

/// That the node ended a gateway which did not answer its probe.
fn ended_by_probe(pod: &Object, warnings: &[Value], code: Option<i32>) -> Option<String> {
    let killing = said(last_of(pod, warnings, &[KILLING])?);
    // By a signal that it minds, or one that nobody minds.
    let is_ended = code.is_some_and(|it| [0, 143, KILLED].contains(&it));
    if !is_ended || !killing.contains("failed") {
        return None;
    }
    let words = last_of(pod, warnings, &[UNHEALTHY]).map_or(killing, said);
    Some(format!("its node ended it, because it did not answer: {words}"))
}

/// A pod that no node takes.
fn not_placed(pod: &Object, warnings: &[Value]) -> Option<Trouble> {
    let placed = condition(pod, "PodScheduled");
    // A node is chosen before a volume is made for it, and has the pod only after that: until then
    // nothing is said of the pod itself.
    if placed.is_none_or(|it| it["status"] != "True")
        && let Some(claim) = last(warnings, &["ProvisioningFailed"])
    {
        return Some(Trouble::new(
            format!("its volume is not made: {}", said(claim)),
            "check the storage class, its driver, and what the driver may do (kubectl get \
             storageclass, csidriver; its log says more)",
            true,
        ));
    }
    let placed = placed.filter(|it| it["status"] == "False")?;
    let words = clean(placed["message"].as_str().unwrap_or_default(), WORDS);
    Some(Trouble::new(format!("no node takes its pod: {words}"), placing_remedy(&words), true))
}

/// What is to be done where no node takes a pod, by the scheduler's words. It names every node's own
/// reason, and the first here is what a node more cannot mend, or only a certain one.
fn placing_remedy(words: &str) -> &'static str {
    let says = |signs: &[&str]| signs.iter().any(|it| words.contains(it));
    if says(&["node affinity", "available volume zone"]) && says(&["olume"]) {
        "its volume is in a zone, or on a node, where nothing takes it: add a node in that zone \
         (kubectl describe persistentvolumes, kubectl get nodes --show-labels)"
    } else if says(&["Insufficient", "Too many pods", "max volume count", "enough free storage"]) {
        "add a node, or a larger one"
    } else if says(&["PersistentVolumeClaim", "persistentvolumeclaim", "volume"]) {
        "check the storage class and its driver (kubectl get storageclass, csidriver)"
    } else {
        "look at the nodes (kubectl get nodes, kubectl describe node)"
    }
}

/// A pod whose node is lost.
fn not_on(pod: &Object, warnings: &[Value]) -> Option<Trouble> {
    condition(pod, "Ready").filter(|it| it["status"] != "True")?;
    last_of(pod, warnings, &["NodeNotReady"])?;
    let node = clean(pod.data["spec"]["nodeName"].as_str().unwrap_or_default(), 100);
    Some(Trouble::new(
        format!("its node {node} does not answer any more"),
        "look at the node (kubectl describe node); its volumes follow when the node is gone",
        true,
    ))
}

/// A pod that is not even made.
fn not_made(words: &str) -> Trouble {
    let remedy = if words.contains("exceeded quota") {
        "raise the namespace's quota, or give the gateway less memory (OPENCLAW_PIPELINE_MEMORY)"
    } else if words.contains("PodSecurity") {
        "the cluster forbids such a pod: look at its admission rules"
    } else {
        "look at what the cluster refuses, and at its admission rules"
    };
    Trouble::new(format!("the cluster makes no pod: {words}"), remedy, true)
}

fn last<'a>(warnings: &'a [Value], reasons: &[&str]) -> Option<&'a Value> {
    warnings.iter().rev().find(|it| reasons.iter().any(|reason| it["reason"] == *reason))
}

fn last_of<'a>(pod: &Object, warnings: &'a [Value], reasons: &[&str]) -> Option<&'a Value> {
    all_of(pod, warnings, reasons).next()
}

/// The warnings of a pod with these reasons, the newest first.
fn all_of<'a>(
    pod: &Object,
    warnings: &'a [Value],
    reasons: &[&str],
) -> impl Iterator<Item = &'a Value> {
    let is_its = |it: &Value| {
        let name = &it["involvedObject"]["name"];
        pod.metadata.name.as_deref().is_some_and(|own| name == own)
    };
    warnings
        .iter()
        .rev()
        .filter(move |it| is_its(it) && reasons.iter().any(|one| it["reason"] == *one))
}

fn said(event: &Value) -> String {
    clean(event["message"].as_str().unwrap_or_default(), WORDS)
}

#[cfg(test)]
#[path = "reason_tests.rs"]
mod tests;
