//! What befalls gateways on a cluster: its API is restarted, pods are killed, nodes are lost, volumes
//! are never made, images are not there, quotas are used up. Each is told with its reason and remedy, and
//! leaves nothing behind that a removal does not take. The gateway is the stand-in.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Global, until};
use crate::support::cluster_case::{Case, works};
use crate::support::machine_case;
use crate::support::product::Run;

/// How long a pod may take in these, where it does not come up. The one that pulls has as long, and comes up.
fn soon(run: Run) -> Run {
    run.env("OPENCLAW_PIPELINE_BOOT_TIMEOUT", "25s")
}

fn is_up(case: &Case) {
    until("it runs again", || {
        let status = case.status();
        (status["status"] == "running").then_some(()).ok_or(format!("{status:#}"))
    });
}

#[test]
fn a_pod_that_does_not_come_up_is_told_with_the_real_reason() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "reasons") else { return };

    // An image that does not exist, found before the gateway's own pod is made.
    let none = "ghcr.io/openclaw/openclaw:no-such-tag";
    let words = ["step fetch", "openclaw:no-such-tag cannot be pulled", "name and tag"];
    case.launch_fails(soon(case.launch().arg("--image").arg(none)), 1, &words);
    let doctor = case.run(["doctor"]).done();
    doctor.answers("launch failed").answers(words[1]).answers(words[2]);
    // The same deployment with one that does goes on.
    works(case.launch());
    // And one that is lost on its way to a node, as its doctor sees it there.
    let lost = json!({ "spec": { "template": { "spec": { "containers": [
        { "name": "openclaw", "image": none, "imagePullPolicy": "Always" },
    ] } } } });
    case.said(&["patch", "deployment", "openclaw", "--patch", &lost.to_string()]);
    until("its doctor says so", || {
        let done = case.run(["doctor"]).done();
        let told = words[1..].iter().all(|it| done.stdout.contains(it));
        told.then_some(()).ok_or(done.stdout)
    });
    case.destroys_all();

    // A claim that never binds: nothing makes volumes of this class, at once or for a node.
    let unplaced =
        ["step start", "no node takes its pod", "check the storage class and its driver"];
    let unmade = ["step start", "its volume is not there yet", "nobody.example.com"];
    for (binding, words) in [("Immediate", unplaced), ("WaitForFirstConsumer", unmade)] {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": { "name": "nobody" }, "provisioner": "nobody.example.com",
            "volumeBindingMode": binding,
        });
        let _class = Global::of(&cluster, &class);
        case.launch_fails(soon(case.launch().arg("--storage-class").arg("nobody")), 1, &words);
        let doctor = case.run(["doctor"]).done();
        doctor.answers("launch failed").answers(words[1]).answers(words[2]);
        // And of a pod that waits for it now.
        case.said(&["scale", "deployment/openclaw", "--replicas=1"]);
        until("its doctor sees it", || {
            let done = case.run(["doctor"]).done();
            let is_told = !done.stdout.contains("launch failed") && done.stdout.contains(words[1]);
            is_told.then_some(()).ok_or(done.stdout)
        });
        case.destroys_all();
    }

    // No node that takes it; its doctor says the same, with the same remedy.
    works(case.launch());
    works(case.run(["stop"]));
    let nowhere =
        json!({ "spec": { "template": { "spec": { "nodeSelector": { "is": "nowhere" } } } } });
    case.said(&["patch", "deployment", "openclaw", "--patch", &nowhere.to_string()]);
    let words = ["step start", "no node takes its pod", "look at the nodes"];
    case.launch_fails(soon(case.run(["start"])), 1, &words);
    case.said(&["scale", "deployment/openclaw", "--replicas=1"]);
    until("its doctor says so", || {
        let done = case.run(["doctor"]).done();
        let told = words[1..].iter().all(|it| done.stdout.contains(it));
        told.then_some(()).ok_or(done.stdout)
    });
    case.destroys_all();

    // A quota that has no room for the gateway's pod.
    let mut live = case.launch_at("start");
    live.signal(Signal::KILL);
    while live.line().is_some() {}
    live.done();
    case.said(&["scale", "deployment/openclaw", "--replicas=0"]);
    until("its pods are gone", || {
        let pods = case.get(&["pods", "--selector=app.kubernetes.io/name=openclaw"]);
        let left = pods["items"].as_array().expect("a list").len();
        (left == 0).then_some(()).ok_or(format!("{pods:#}"))
    });
    quota(&case, "limits.memory", "1Gi");
    let words =
        ["the cluster makes no pod", "exceeded quota: small", "raise the namespace's quota"];
    case.launch_fails(soon(case.launch()), 1, &words);
    case.said(&["delete", "resourcequota", "small"]);
    works(case.launch());
    case.destroys_all();
}

/// Lets the case's namespace have this much, and no more.
fn quota(case: &Case, what: &str, most: &str) {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "small" },
        "spec": { "hard": { (what): most } },
    });
    let apply = ["--namespace", case.namespace.name(), "apply", "-f", "-"];
    case.cluster.told(&apply, &quota.to_string());
    until("it counts", || {
        let counted = case.get(&["resourcequota", "small"])["status"]["hard"][what].clone();
        if counted.is_null() { Err(counted.to_string()) } else { Ok(()) }
    });
}

#[test]
fn a_quota_that_is_used_up_is_named_with_what_it_counts() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "quota") else { return };
    let refused = |what: &str| {
        let counted = format!("requested: {what}=1");
        let words = ["the cluster refuses", "exceeded quota: small", &counted, "raise the quota"];
        case.launch_fails(soon(case.launch()), 5, &words);
    };
    // Volumes are asked for when the image is there.
    let mut live = case.launch_at("fetch");
    live.signal(Signal::KILL);
    while live.line().is_some() {}
    live.done();
    assert_eq!(case.get(&["pvc"])["items"], json!([]));
    quota(&case, "persistentvolumeclaims", "0");
    refused("persistentvolumeclaims");
    case.said(&["delete", "resourcequota", "small"]);
    works(case.launch());
    // A load balancer, for one that had none.
    works(case.run(["deploy", "--no-link", "--expose", "none"]));
    quota(&case, "services.loadbalancers", "0");
    let exposed = || case.run(["deploy", "--no-link", "--expose", "http"]);
    let words = ["exceeded quota: small", "requested: services.loadbalancers=1", "raise the quota"];
    case.launch_fails(soon(exposed()), 5, &words);
    case.said(&["delete", "resourcequota", "small"]);
    works(exposed());
    case.destroys_all();
}

#[test]
fn a_gateway_that_ends_is_told_in_its_own_words_and_comes_back() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "ends") else { return };
    case.launched();

    // Its pod is killed: the cluster makes another one, and its data is there.
    case.inside("echo kept >/home/node/openclaw/workspace/note");
    case.said(&["delete", "pod", "--selector=app.kubernetes.io/name=openclaw", "--grace-period=1"]);
    is_up(&case);
    assert_eq!(case.inside("cat /home/node/openclaw/workspace/note").trim(), "kept");

    // Its node evicts it: what is left of that pod is in nobody's way.
    let selector = "--selector=app.kubernetes.io/name=openclaw";
    let evicted = case.get(&["pods", selector])["items"][0]["metadata"]["name"].clone();
    let evicted = evicted.as_str().expect("a pod");
    let status = json!({ "status": { "phase": "Failed", "reason": "Evicted", "message": "full" } });
    case.said(&["patch", "pod", evicted, "--subresource=status", "--patch", &status.to_string()]);
    until("another one is made", || {
        let pods = case.get(&["pods", selector])["items"].as_array().map_or(0, Vec::len);
        if pods == 2 { Ok(()) } else { Err(pods.to_string()) }
    });
    is_up(&case);
    works(case.run(["stop"]));
    assert_eq!(case.get(&["pods", selector])["items"], json!([]));
    assert_eq!(case.status()["status"], "stopped");
    works(case.run(["start"]));

    // It crashes at each start, and its restart says why.
    let fault = json!({ "exit_code": 1 });
    case.inside(&format!("echo '{fault}' >/home/node/.openclaw/standin.json"));
    let done = case.run(["restart"]).code(1);
    done.says("the gateway does not stay up (exit code 1)");
    assert_ne!(case.status()["status"], "running");
    let doctor = case.run(["doctor"]).done();
    doctor.answers("exit code 1");
    works(case.run(["stop"]));
    // It needs more memory than it may have.
    let fault = json!({ "needs_mib": 4096 });
    let change = format!("echo '{fault}' >/home/node/.openclaw/standin.json\n");
    assert_eq!(case.run(["shell"]).stdin(&change).done().code, 0);
    let done = case.run(["start"]).code(1);
    done.says("killed for using more than its 2048 MiB of memory");
    let doctor = case.run(["doctor"]).done();
    doctor.answers("more than its 2048 MiB").answers("--memory 4g");
    works(case.run(["stop"]));
    let mend = "rm /home/node/.openclaw/standin.json\n";
    assert_eq!(case.run(["shell"]).stdin(mend).done().code, 0);
    works(case.run(["start"]));
    // One that ended and runs again is told all the same.
    let doctor = case.run(["doctor"]).done();
    assert!(!doctor.stdout.contains("started anew"), "{}", doctor.stdout);
    case.inside(
        "for it in /proc/[0-9]*; do grep -q standin $it/comm && kill -KILL ${it#/proc/}; done; true",
    );
    until("its doctor says so", || {
        let done = case.run(["doctor"]).done();
        let told =
            done.stdout.contains("it runs, and was started anew once; the last time it ended");
        told.then_some(()).ok_or(done.stdout)
    });

    // It hangs: its node asks it in vain, and says so.
    case.inside(
        "for it in /proc/[0-9]*; do grep -q standin $it/comm && kill -STOP ${it#/proc/}; done; true",
    );
    until("its doctor says so", || {
        let done = case.run(["doctor"]).done();
        let told = done.stdout.contains("it runs and does not answer: Readiness probe failed");
        told.then_some(()).ok_or(done.stdout)
    });
    case.inside(
        "for it in /proc/[0-9]*; do grep -q standin $it/comm && kill -CONT ${it#/proc/}; done; true",
    );
    is_up(&case);
    case.destroys_all();
}

#[test]
fn a_launch_goes_on_after_the_clusters_api_was_restarted() {
    let Some(cluster) = Cluster::alone() else { return };
    let Some(case) = Case::of(&cluster, "restarted") else { return };
    let mut live = case.launch_at("fetch");
    cluster.order("restart kube-apiserver");
    while live.line().is_some() {}
    let done = live.done();
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(case.status()["status"], "running");
    // And so does everything else, wherever it is.
    let goes_on = |run: Run, step: &str| {
        let mut live = machine_case::Case::at(run, step);
        cluster.order("restart kube-apiserver");
        while live.line().is_some() {}
        let done = live.done();
        assert_eq!(done.code, 0, "at {step}: {}", done.stderr);
    };
    goes_on(case.run(["restart"]), "stop");
    assert_eq!(case.status()["status"], "running");

    // Killed on its way, and gone on with.
    works(case.run(["stop"]));
    let mut live = case.run(["start", "--json"]).live();
    while let Some(line) = live.line() {
        if line.contains("\"step\":\"start\"") {
            break;
        }
    }
    live.signal(Signal::KILL);
    live.done();
    works(case.run(["start"]));
    goes_on(case.run(["destroy", "--yes"]), "remove");
    assert!(!case.namespace.is_there(), "its namespace is left");
}

#[test]
fn a_launch_that_is_killed_again_and_again_is_gone_on_with() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "killed") else { return };
    // Each goes on with the one before, and comes further: what is between them takes its time.
    for step in ["deploy_app", "configure", "prove"] {
        let mut live = case.launch_at(step);
        live.signal(Signal::KILL);
        while live.line().is_some() {}
        assert_eq!(live.done().code, -9, "{step}");
    }
    // The last one loses its pod on the way, and waits for the one that the cluster makes for it.
    let mut live = case.launch_at("start");
    let selector = "--selector=app.kubernetes.io/name=openclaw";
    until("its pod is there", || {
        let pods = case.get(&["pods", selector])["items"].clone();
        if pods == json!([]) { Err(pods.to_string()) } else { Ok(()) }
    });
    case.said(&["delete", "pod", selector, "--grace-period=0", "--force"]);
    while live.line().is_some() {}
    let done = live.done();
    assert_eq!(done.code, 0, "{}", done.stderr);
    let events = works(case.run(["events"]));
    assert_eq!(events.stdout.matches("completed").count(), 1, "{}", events.stdout);
    case.destroys_all();
}

#[test]
fn a_node_that_is_lost_is_told() {
    let Some(cluster) = Cluster::alone() else { return };
    let Some(case) = Case::of(&cluster, "lost") else { return };
    case.launched();
    let paused = cluster.paused("kubelet");
    until("the node is seen to be lost", || {
        let node = cluster.get(&["nodes"]);
        let conditions = node["items"][0]["status"]["conditions"].as_array().cloned();
        let ready = conditions.into_iter().flatten().find(|it| it["type"] == "Ready");
        let status = ready.unwrap_or_default()["status"].clone();
        (status != "True").then_some(()).ok_or(format!("{status}"))
    });
    until("its doctor says so", || {
        let done = case.run(["doctor"]).done();
        done.stdout.contains("does not answer any more").then_some(()).ok_or(done.stdout)
    });
    drop(paused);
    is_up(&case);
    let value: Value = case.status();
    assert_eq!(value["status"], "running");
    case.destroys_all();
}
