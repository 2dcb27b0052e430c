//! Pods as they were seen, and what is said of each.

use serde_json::json;

use super::*;

fn pod(gateway: &Value) -> Object {
    let mut gateway = gateway.clone();
    gateway["name"] = json!(names::GATEWAY);
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "openclaw-a" },
        "status": { "containerStatuses": [gateway] },
    }))
    .expect("a pod")
}

fn event(reason: &str, message: &str) -> Value {
    json!({ "reason": reason, "message": message, "involvedObject": { "name": "openclaw-a" } })
}

#[test]
fn a_gateway_that_does_not_answer_its_probe_is_told_with_its_words() {
    let failed = [event(UNHEALTHY, "Readiness probe failed: timed out")];
    let running = |started: bool| {
        let state = json!({ "running": {} });
        pod(&json!({ "started": started, "ready": false, "state": state }))
    };
    // Before it has come up, that is as it is meant to be.
    assert_eq!(of(Some(&running(false)), &failed, 2048), Seen::Running);
    assert_eq!(of(Some(&running(true)), &[], 2048), Seen::Running);
    let Seen::Stuck(trouble) = of(Some(&running(true)), &failed, 2048) else {
        panic!("it is not well");
    };
    assert!(trouble.what.ends_with("timed out") && trouble.remedy.contains("logs"), "{trouble:?}");
}

#[test]
fn who_ended_a_gateway_is_told() {
    let ended = |code: i32, reason: &str| {
        let state = json!({ "terminated": { "exitCode": code, "reason": reason } });
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        pod(&json!({ "ready": false, "state": waiting, "lastState": state }))
    };
    let events = [
        event(UNHEALTHY, "Liveness probe failed: no answer"),
        event(KILLING, "Container openclaw failed liveness probe, will be restarted"),
    ];
    let why = |pod: &Object, events: &[Value]| match of(Some(pod), events, 2048) {
        Seen::Ended { why, .. } => why,
        seen => panic!("{seen:?}"),
    };
    let told = why(&ended(143, "Error"), &events).expect("told");
    assert!(told.contains("its node ended it") && told.ends_with("no answer"), "{told}");
    let memory = why(&ended(KILLED, "OOMKilled"), &events).expect("told");
    assert!(memory.contains("more than its 2048 MiB"), "{memory}");
    // What it did itself stands in its log.
    assert_eq!(why(&ended(1, "Error"), &events), None);
    assert_eq!(why(&ended(143, "Error"), &events[..1]), None);
    let stopped = [event(KILLING, "Stopping container openclaw")];
    assert_eq!(why(&ended(143, "Error"), &stopped), None);
}

#[test]
fn each_trouble_has_its_own_remedy() {
    let unplaced = |words: &str| -> Object {
        let condition = json!({ "type": "PodScheduled", "status": "False", "message": words });
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "openclaw-a" },
            "status": { "conditions": [condition] },
        }))
        .expect("a pod")
    };
    let remedy = |pod: Option<&Object>, warnings: &[Value]| match of(pod, warnings, 2048) {
        Seen::Stuck(trouble) => trouble.remedy,
        seen => panic!("{seen:?}"),
    };
    for (words, does) in [
        ("0/2 nodes are available: 2 Insufficient memory.", "add a node"),
        ("0/2 nodes are available: 2 Too many pods.", "add a node"),
        ("pod has unbound immediate PersistentVolumeClaims", "storage class"),
        ("persistentvolumeclaim \"openclaw-config\" not found", "storage class"),
        ("0/3 nodes are available: 3 node(s) didn't find available persistent volumes", "class"),
        ("0/2 nodes are available: 2 node(s) exceed max volume count.", "add a node, or"),
        (
            "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had volume node affinity \
             conflict.",
            "add a node in that zone",
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity.",
            "zone",
        ),
        ("0/2 nodes are available: 2 node(s) had untolerated taint", "look at the nodes"),
    ] {
        let does_it = remedy(Some(&unplaced(words)), &[]);
        assert!(does_it.contains(does), "{words}: {does_it}");
    }
    let made = [event("ProvisioningFailed", "no such provisioner")];
    assert!(remedy(Some(&unplaced("none")), &made).contains("storage class"));
    // Nothing is said of a pod whose node is chosen, and whose volume is not made yet.
    let mut chosen = unplaced("none");
    chosen.data["status"] = json!({ "phase": "Pending" });
    assert!(remedy(Some(&chosen), &made).contains("its driver"));
    let waits = [event("ExternalProvisioning", "Waiting for a volume to be created")];
    let coming =
        Seen::Coming("its volume is not there yet: Waiting for a volume to be created".into());
    assert_eq!(of(Some(&chosen), &waits, 2048), coming);
    chosen.data["spec"] = json!({ "nodeName": "a" });
    assert_eq!(of(Some(&chosen), &waits, 2048), Seen::Coming("its pod is being made ready".into()));
    for (words, does) in [
        ("pods \"a\" is forbidden: exceeded quota: small", "raise the namespace's quota"),
        ("violates PodSecurity \"restricted\"", "admission rules"),
    ] {
        assert!(remedy(None, &[event("FailedCreate", words)]).contains(does), "{words}");
    }
}

#[test]
fn what_a_pod_waits_for_is_told_with_what_brings_it() {
    let waiting = |reason: &str, message: &str| {
        let state = json!({ "waiting": { "reason": reason, "message": message } });
        pod(&json!({ "image": "example.com/one:1", "started": false, "state": state }))
    };
    let pull = "ErrImagePull";
    for (reason, said, words, does) in [
        (pull, "example.com/one:1: not found", "cannot be pulled: example.com", "name and tag"),
        ("ImagePullBackOff", "401 Unauthorized", "cannot be pulled", "access to the registry"),
        (pull, "dial tcp: i/o timeout", "cannot be pulled", "the nodes reach the registry"),
        ("InvalidImageName", "couldn't parse", "is no name of an image", "check the image's name"),
        ("ErrImageNeverPull", "", "is not on the node", "put it into a registry"),
        (
            "CreateContainerConfigError",
            "secret \"openclaw-secrets\" not found",
            "cannot be made: secret",
            "launching it again puts back",
        ),
        ("RunContainerError", "exec: no such file", "cannot be made: exec", "describe pod"),
    ] {
        match of(Some(&waiting(reason, said)), &[], 2048) {
            Seen::Stuck(it) => {
                assert!(it.what.contains(words), "{reason}: {}", it.what);
                assert!(it.remedy.contains(does), "{reason}: {}", it.remedy);
            }
            seen => panic!("{reason}: {seen:?}"),
        }
    }
    // What it waits for by itself is no trouble.
    let coming = Seen::Coming("its pod is being made ready".into());
    assert_eq!(of(Some(&waiting("ContainerCreating", "")), &[], 2048), coming);
    // A volume that does not come to its node.
    for reason in ["FailedMount", "FailedAttachVolume", "FailedMapVolume"] {
        let warnings = [event(reason, "Multi-Attach error for volume")];
        match of(Some(&waiting("ContainerCreating", "")), &warnings, 2048) {
            Seen::Stuck(it) => {
                assert!(it.what.contains("is not there: Multi-Attach"), "{}", it.what);
                assert!(it.remedy.contains("driver"), "{}", it.remedy);
            }
            seen => panic!("{reason}: {seen:?}"),
        }
    }
}
