//! The installation's own cluster: made by the real Terraform with its real provider in the simulated
//! cloud, and, in its place, the lab's real cluster, whose API takes whom that cloud knows. Gateways are
//! stand-ins.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Global, Namespace};
use crate::support::eks_identity::Identity;
use crate::support::lab::command;
use crate::support::listeners;
use crate::support::machine_case::{Case, patient};
use crate::support::product::{Done, Run, until};
use crate::support::source::root;
use crate::support::standin;

/// The installation, its cloud, and what stands for its cluster.
struct Own<'a> {
    cluster: &'a Cluster,
    case: Case,
    identity: Identity,
}

impl<'a> Own<'a> {
    fn of(cluster: &'a Cluster) -> Option<Self> {
        let images = standin::images()?;
        let mut case = Case::start("eks")?;
        case.product.set("OPENCLAW_PIPELINE_IMAGE", &images[0]);
        case.product.with_hosts(cluster.hosts());
        let identity = Identity::begin(&case.cloud, cluster);
        Some(Self { cluster, case, identity })
    }

    fn run<const N: usize>(&self, args: [&str; N]) -> Run {
        self.case.product.run(args)
    }

    #[track_caller]
    fn works<const N: usize>(&self, args: [&str; N]) -> Done {
        let done = patient(self.run(args));
        assert_eq!(done.code, 0, "{}\n{:?}", done.stderr, self.identity.refused());
        done
    }

    #[track_caller]
    fn fails<const N: usize>(&self, args: [&str; N], code: i32) -> Done {
        let done = patient(self.run(args));
        assert_eq!(done.code, code, "{}", done.stderr);
        done
    }

    /// The installation's id, as everything that it makes carries it.
    fn installation(&self) -> String {
        let state = self.case.cloud.state();
        state[0].tags["openclaw-pipeline:installation"].clone()
    }

    fn status(&self) -> Value {
        let done = self.works(["status", "cluster", "--json"]);
        serde_json::from_str(&done.stdout).expect("an object")
    }
}

#[test]
fn a_cluster_is_made_used_and_removed() {
    // Load balancers of other tests would keep it from being removed.
    let Some(cluster) = Cluster::alone() else { return };
    let Some(own) = Own::of(&cluster) else { return };
    let namespace = Namespace::of(&cluster, "openclaw-mine");
    // Nothing is there, and nothing is made by a look.
    own.fails(["cluster", "show"], 3).says("cluster apply");
    own.fails(["launch", "mine", "--target", "eks"], 2).says("openclaw-pipeline cluster apply");
    own.works(["cluster", "init"]);
    own.works(["cluster", "plan"]).answers("the cluster").answers("aws_eks_cluster.gateways");
    own.case.cloud.assert_empty();

    it_is_made_although_it_is_interrupted(&own);
    let name = own.identity.learn(&own.case.cloud);
    let shown = own.works(["cluster", "show", "--json"]);
    shown.answers(&name).answers("update-kubeconfig");
    assert_eq!(own.status()["status"], "running");
    own.works(["cluster", "plan"]).answers("nothing would change");
    it_outlives_what_its_values_say(&own);
    own.works(["list"]).answers("the cluster itself");
    own.works(["doctor", "--orphans"]).answers(" 0 to none");

    // One that is on its way there keeps it, too: nothing but that it was asked for is on record.
    let live = Case::at(own.run(["launch", "mine", "--target", "eks", "--no-link"]), "prepare");
    live.signal(Signal::KILL);
    assert_eq!(live.done().code, -9);
    own.fails(["cluster", "destroy", "--yes"], 4).says("mine is being launched on the cluster");
    // A gateway that names no cluster is on it, and everything gets to it with AWS's credentials.
    own.works(["launch", "mine", "--target", "eks", "--no-link"]);
    assert!(own.identity.known() > 0, "{:?}", own.identity.refused());
    let inside = own.run(["shell", "mine"]).stdin("echo in $(hostname)\n").done();
    assert!(inside.stdout.contains("in openclaw-"), "{inside:?}");
    own.works(["logs", "mine"]);
    // A token is good for this cluster alone. (One of the same second is the same, and known there.)
    own.identity.is_of("another-cluster");
    until("it is refused", || (patient(own.run(["logs", "mine"])).code != 0).then_some(()));
    let refused = own.identity.refused();
    assert!(refused.iter().any(|it| it.contains("SignatureDoesNotMatch")), "{refused:?}");
    own.identity.is_of(&name);
    until("it is known again", || (patient(own.run(["logs", "mine"])).code == 0).then_some(()));
    for secret in ["lab-secret-access-key", "AKIALAB0000000000001", "k8s-aws-v1."] {
        let mut grep = command("grep");
        let found =
            grep.args(["-rlaF", secret]).arg(own.case.product.home()).output().expect("grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{secret} is kept");
    }

    // It is not taken away from under it, nor from under one that was put there by its context.
    let refused = own.fails(["cluster", "destroy", "--yes"], 4);
    refused.says("mine").says("openclaw-pipeline destroy mine");
    own.works(["destroy", "mine", "--yes"]);
    assert!(!namespace.is_there());
    let kubeconfig = cluster.kubeconfig().to_string_lossy().into_owned();
    let launch = own.run(["launch", "mine", "--target", "eks", "--no-link", "--context", "lab"]);
    let launched = patient(launch.env("KUBECONFIG", &kubeconfig));
    assert_eq!(launched.code, 0, "{}", launched.stderr);
    own.fails(["cluster", "destroy", "--yes"], 4).says("openclaw-pipeline destroy mine");
    own.works(["destroy", "mine", "--yes"]);
    it_is_not_taken_from_under_a_gateway_that_came_by_another_address(&own);
    // Whoever cannot look at what is on it does not remove it: another address of today's, here a proxy.
    let unseen =
        patient(own.run(["cluster", "destroy", "--yes"]).env("HTTPS_PROXY", "http://127.0.0.1:1"));
    assert_eq!(unseen.code, 5, "{}", unseen.stderr);
    unseen.says("nothing was removed").says("cluster apply").says("cluster destroy --unseen");
    own.works(["cluster", "plan"]).answers("nothing would change");
    it_is_removed_and_says_what_stays(&own);
}

/// What is recorded of such a one does not say which cluster it is on: the cluster does.
fn it_is_not_taken_from_under_a_gateway_that_came_by_another_address(own: &Own<'_>) {
    let namespace = Namespace::of(own.cluster, "openclaw-aside");
    let text = std::fs::read_to_string(own.cluster.kubeconfig()).expect("the administrator's");
    let mut config: Value = serde_json::from_str(&text).expect("JSON is YAML");
    let server = config["clusters"][0]["cluster"]["server"].as_str().expect("it").to_owned();
    let place = server.trim_start_matches("https://");
    let (host, _) = place.rsplit_once(':').expect("a port");
    let tunnel = listeners::address_of(place);
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://{tunnel}"));
    config["clusters"][0]["cluster"]["tls-server-name"] = json!(host);
    let path = own.case.product.path("tunnel.json");
    std::fs::write(&path, config.to_string()).expect("written");
    let launch = own.run(["launch", "aside", "--target", "eks", "--no-link", "--context", "lab"]);
    let launched = patient(launch.env("KUBECONFIG", &path));
    assert_eq!(launched.code, 0, "{}", launched.stderr);
    let before = own.case.cloud.state();
    for more in [&[][..], &["--volumes"]] {
        let destroy = own.run(["cluster", "destroy", "--yes"]);
        let refused = patient(more.iter().fold(destroy, |run, arg| run.arg(arg)));
        assert_eq!(refused.code, 4, "{}", refused.stderr);
        refused.says("openclaw-aside").says("openclaw-pipeline destroy aside");
    }
    // Nothing of it went, and the cluster is no worse for the refusal.
    let all = ["get", "service,pvc,deployment", "--namespace=openclaw-aside", "--output=name"];
    let left = own.cluster.said(&all);
    assert_eq!(left.lines().count(), 4, "{left}");
    assert_eq!(own.case.cloud.state(), before);
    assert_eq!(own.status()["status"], "running");
    own.works(["destroy", "aside", "--yes"]);
    assert!(!namespace.is_there());
}

/// Each end is gone on with by the same command.
fn it_is_made_although_it_is_interrupted(own: &Own<'_>) {
    let cloud = &own.case.cloud;
    cloud.fault(&json!({ "action": "CreateCluster", "held": true }));
    let live = Case::at(own.run(["cluster", "apply"]), "create_cluster");
    until("the cluster is asked for", || (cloud.struck("CreateCluster") > 0).then_some(()));
    live.signal(Signal::KILL);
    assert_eq!(live.done().code, -9);
    cloud.heal();
    until("it is made", || (cloud.called("CreateCluster") > 0).then_some(()));
    let slow = json!({ "action": "CreateNodegroup", "delay_ms": 3000 });
    cloud.fault(&slow);
    let live = Case::at(own.run(["cluster", "apply"]), "create_cluster");
    live.signal(Signal::INT);
    let done = live.done();
    assert_eq!(done.code, 130, "{}", done.stderr);
    let live = Case::at(own.run(["cluster", "apply"]), "connect");
    live.signal(Signal::KILL);
    assert_eq!(live.done().code, -9);
    // Where it was as good as made, what is asked for now counts, too.
    let ranges = "198.51.100.0/24";
    let live = Case::at(own.run(["cluster", "apply", "--ssh-cidr", ranges]), "connect");
    // Its API takes nobody before its name is known here.
    own.identity.learn(&own.case.cloud);
    let done = live.done();
    assert_eq!(done.code, 0, "{}\n{:?}", done.stderr, own.identity.refused());
    let state = own.case.product.deployment("cluster").join("terraform.tfstate");
    assert!(std::fs::read_to_string(state).expect("its state").contains(ranges));
    own.works(["cluster", "apply"]);
    let events = own.works(["events", "cluster"]);
    events.answers("creating_cluster").answers("completed");
}

/// Gateways, their volumes and addresses hang by it.
fn it_outlives_what_its_values_say(own: &Own<'_>) {
    let path = own.case.product.deployment("cluster").join("terraform.tfvars");
    let before = std::fs::read_to_string(&path).expect("its values");
    std::fs::write(&path, format!("{before}vpc_cidr = \"10.9.0.0/16\"\n")).expect("written");
    own.works(["cluster", "plan"]).answers("nothing would change");
    // Nor by a module of the user's own, that minds it.
    let checkout = own.case.product.path("checkout");
    let modules = checkout.join("terraform");
    std::fs::create_dir_all(&modules).expect("made");
    for entry in std::fs::read_dir(root().join("terraform")).expect("the module") {
        let from = entry.expect("an entry").path();
        if from.extension().is_some_and(|it| it == "tf") {
            let text = std::fs::read_to_string(&from).expect("read");
            let text = text.replace("ignore_changes = [cidr_block, ", "ignore_changes = [");
            std::fs::write(modules.join(from.file_name().expect("a name")), text).expect("written");
        }
    }
    let apply = own.run(["cluster", "apply"]).env("PIPELINE_DIR", checkout);
    let refused = patient(apply);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    refused.says("would take away").says("nothing was changed").says("terraform.tfvars");
    // What a state has lost is not made once more, and neither taken away beneath gateways.
    let state = own.case.product.deployment("cluster").join("terraform.tfstate");
    let whole = std::fs::read_to_string(&state).expect("its state");
    let mut lacking: Value = serde_json::from_str(&whole).expect("JSON");
    let resources = lacking["resources"].as_array_mut().expect("a list");
    resources.retain(|it| it["type"] != "aws_eks_node_group");
    let there = own.case.cloud.state();
    for worse in [lacking.to_string(), String::new()] {
        std::fs::write(&state, worse).expect("written");
        let swept = own.fails(["doctor", "--orphans", "--remove", "--yes"], 1);
        swept.answers(" 0 to none").answers("not looked for");
        assert_eq!(own.case.cloud.state(), there);
    }
    std::fs::write(&state, lacking.to_string()).expect("written");
    let refused = own.fails(["cluster", "apply"], 4);
    refused.says("the EKS node group ").says("stands in no state").says("put the state back");
    assert_eq!(own.case.cloud.state(), there);
    std::fs::write(&state, whole).expect("written");
    // What a run could not write in the end is its state, before anything else is done.
    let errored = state.with_file_name("terraform").join("errored.tfstate");
    std::fs::rename(&state, &errored).expect("moved");
    own.works(["cluster", "plan"]).answers("nothing would change");
    assert!(state.exists() && !errored.exists(), "it was left where it was");
    // Who is let in no more is named by the apply that does it.
    let others = "arn:aws:iam::123456789012:role/others";
    std::fs::write(&path, format!("{before}admin_arns = [\"{others}\"]\n")).expect("written");
    let applied = own.works(["cluster", "apply"]);
    assert!(!applied.stderr.contains(others), "{}", applied.stderr);
    std::fs::write(&path, &before).expect("written");
    own.works(["cluster", "apply"]).says(&format!("{others} administers the cluster no more"));
    // Another size exchanges the nodes of the group that is there, one by one.
    std::fs::write(&path, before.replace("t3.medium", "t3.large")).expect("written");
    let planned = own.works(["cluster", "plan", "--json"]);
    let planned: Value = serde_json::from_str(&planned.stdout).expect("an object");
    let changes = planned["changes"].as_array().expect("a list");
    let updates = changes.iter().all(|it| it["action"] == "update");
    let is_group = |it: &Value| it["address"] == "aws_eks_node_group.gateways";
    assert!(updates && changes.iter().any(is_group), "{planned:#}");
    std::fs::write(&path, before).expect("written");
}

fn it_is_removed_and_says_what_stays(own: &Own<'_>) {
    let cluster = own.cluster;
    let left = Namespace::of(cluster, "openclaw-left");
    let others = Namespace::of(cluster, "somebody-elses");
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        namespace("somebody-elses", &json!({})),
        { "apiVersion": "v1", "kind": "Service",
          "metadata": { "name": "web", "namespace": "somebody-elses" },
          "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] } },
        namespace("openclaw-left", &json!({
            "pipeline.openclaw.io/installation": own.installation(),
        })),
        { "apiVersion": "v1", "kind": "Service",
          "metadata": { "name": "openclaw", "namespace": "openclaw-left" },
          "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] } },
        { "apiVersion": "v1", "kind": "PersistentVolumeClaim",
          "metadata": { "name": "openclaw-config", "namespace": "openclaw-left" },
          "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "at-once",
                    "resources": { "requests": { "storage": "1Gi" } } } },
        { "apiVersion": "v1", "kind": "PersistentVolumeClaim",
          "metadata": { "name": "theirs", "namespace": "somebody-elses" },
          "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "at-once",
                    "resources": { "requests": { "storage": "1Gi" } } } },
        { "apiVersion": "v1", "kind": "PersistentVolumeClaim",
          "metadata": { "name": "unmade", "namespace": "somebody-elses" },
          "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "of-nobody",
                    "resources": { "requests": { "storage": "1Gi" } } } },
    ] });
    // Whose claim went with a removal that was killed, and that its driver has not removed yet.
    let volume_before = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": { "name": "released-before",
                      "annotations": { "pv.kubernetes.io/provisioned-by": "slow.example" } },
        "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
                  "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "slow",
                  "claimRef": { "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                                "namespace": "openclaw-left", "name": "gone", "uid": "gone" },
                  "csi": { "driver": "slow.example", "volumeHandle": "vol-released-before" } },
    });
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "at-once" },
        "provisioner": "ebs.csi.aws.com", "volumeBindingMode": "Immediate",
    });
    let _class = Global::of(cluster, &class);
    let released = Global::of(cluster, &volume_before);
    cluster.told(&["apply", "--filename=-"], &objects.to_string());

    let refused = own.fails(["cluster", "destroy", "--yes"], 4);
    refused.says("somebody-elses/web").says("nothing was removed");
    assert!(left.is_there() && others.is_there());
    // A gateway of another installation is somebody's, whether a load balancer leads there or not.
    let mark = |label: &str| {
        own.cluster.said(&["label", "namespace", "somebody-elses", "--overwrite", label]);
    };
    mark("pipeline.openclaw.io/installation=theirs");
    mark("pipeline.openclaw.io/deployment=one-of-theirs");
    let refused = own.fails(["cluster", "destroy", "--yes"], 4);
    refused.says("another installation").says("somebody-elses").says("kubectl delete namespace");
    mark("pipeline.openclaw.io/deployment-");
    mark("pipeline.openclaw.io/installation-");
    assert_eq!(own.status()["status"], "running");
    let service = ["get", "service", "openclaw", "--namespace=openclaw-left", "--output=name"];
    assert!(!cluster.said(&service).is_empty(), "something of its own went");
    cluster.said(&["delete", "service", "web", "--namespace=somebody-elses"]);

    // One of its own is bound to a volume, and may go; somebody else's may not.
    let volume_of = |name: &str, namespace: &str| {
        until("a claim is bound", || {
            let claim = cluster.get(&["pvc", name, "--namespace", namespace]);
            let volume = claim["spec"]["volumeName"].as_str().map(str::to_owned);
            volume.filter(|_| claim["status"]["phase"] == "Bound")
        })
    };
    let volume = volume_of("openclaw-config", "openclaw-left");
    let outlives = volume_of("theirs", "somebody-elses");
    own.fails(["cluster", "destroy"], 2).says("--yes");
    // Killed in each of its steps, it is gone on with; and it goes no further than AWS lets it.
    let cloud = &own.case.cloud;
    // One that is asked for otherwise, and has changed nothing yet, is not gone on with.
    for (step, volumes) in [("look", Some("--volumes")), ("clear", None)] {
        let destroy = own.run(["cluster", "destroy", "--yes"]);
        let live = Case::at(volumes.into_iter().fold(destroy, Run::arg), step);
        live.signal(Signal::KILL);
        assert_eq!(live.done().code, -9);
    }
    cloud.fault(&json!({ "action": "DeleteNodegroup", "held": true }));
    let live = Case::at(own.run(["cluster", "destroy", "--yes"]), "remove");
    until("its nodes are to go", || (cloud.struck("DeleteNodegroup") > 0).then_some(()));
    let launch = own.run(["launch", "late", "--target", "eks", "--no-link"]);
    let late = patient(launch);
    assert_eq!(late.code, 4, "{}", late.stderr);
    late.says("is being removed").says("openclaw-pipeline cluster destroy");
    live.signal(Signal::KILL);
    assert_eq!(live.done().code, -9);
    cloud.heal();
    cloud.refuse("DeleteCluster", "AccessDeniedException", 9);
    // Neither by going on nor anew; what failed is never called done.
    let stays = own.fails(["cluster", "destroy", "--yes"], 5);
    stays.says("the interrupted destroy").says("openclaw-pipeline cluster destroy");
    cloud.heal();
    // What gateways left stays in the account, unless it is asked for.
    let bound = cluster.get(&["pvc", "openclaw-config", "--namespace=openclaw-left"]);
    assert_eq!(bound["spec"]["volumeName"], volume.as_str());
    assert!(bound["metadata"]["deletionTimestamp"].is_null(), "{bound:#}");
    assert_eq!(cluster.get(&["persistentvolume", &volume])["status"]["phase"], "Bound");
    let gone = cluster.kubectl(&service).output().expect("kubectl");
    assert!(!gone.status.success(), "its load balancer would hold the network");
    let destroy = own.run(["cluster", "destroy", "--yes", "--volumes"]);
    // A volume outlives its claim for as long as its driver takes: it is waited for, too.
    let mut live = Case::at(destroy, "clear");
    while !live.line().expect("it waits").contains("the cluster removes the volumes") {}
    let claim = ["get", "pvc", "--namespace=openclaw-left", "--output=name"];
    until("its claim is gone", || cluster.said(&claim).is_empty().then_some(()));
    drop(released);
    let done = live.done();
    assert_eq!(done.code, 0, "{}", done.stderr);
    done.answers(&volume).answers("vol-released-before");
    done.answers("what stays in the account, and costs");
    done.answers(&format!("the volume {outlives} (1Gi) of somebody-elses/theirs"));
    assert!(!done.stdout.contains("somebody-elses/unmade"), "there is no such volume");
    let volumes = cluster.said(&["get", "persistentvolumes", "--output=name"]);
    assert!(!volumes.contains(&volume), "it was called removed, and is there");
    let claims = ["get", "pvc", "--namespace=somebody-elses", "--output=name"];
    assert!(cluster.said(&claims).contains("theirs"), "somebody else's volume went");
    own.case.cloud.assert_empty();
    own.fails(["cluster", "show"], 3);
    own.fails(["cluster", "destroy", "--yes"], 3);
}

fn namespace(name: &str, labels: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

#[test]
fn what_cannot_be_made_is_refused_before_anything_is() {
    let Some(case) = Case::start("eks") else { return };
    let fails = |args: &[&str], code: i32| {
        let done =
            patient(args.iter().fold(case.product.run(["cluster"]), |run, arg| run.arg(arg)));
        assert_eq!(done.code, code, "{}", done.stderr);
        done
    };
    fails(&["destroy", "--yes"], 3).says("cluster apply");
    fails(&["apply", "--region", "us-east-9"], 2).says("us-east-1");
    fails(&["apply", "--size", "t3.medum"], 2).says("t3.medium");
    fails(&["apply", "--ssh-cidr", "0.0.0.0/0"], 2).says("0.0.0.0/0");
    // Whoever may not look for what a killed run left cannot remove it.
    case.cloud.refuse("ListClusters", "AccessDeniedException", 9);
    fails(&["apply"], 5).says("ListClusters");
    case.cloud.heal();
    case.cloud.assert_empty();
    case.cloud.quotas(&json!({ "L-0263D0A3": 0 }));
    fails(&["apply"], 5).says("elastic IPs");
    // What a gateway on it would be refused for is found out before the cluster costs anything.
    let for_launch = |name: &str, value: &str| {
        let run = case.product.run(["cluster", "apply", "--for-launch"]).env(name, value);
        let done = patient(run);
        assert_eq!(done.code, 2, "{}", done.stderr);
        done
    };
    for_launch("EXPOSE", "tunnel").says("none can be put in front");
    for_launch("name", "Bad_Name").says("Bad_Name");
    for_launch("ANTHROPIC_API_KEY", "").says("no credential of a provider was given");
    case.cloud.assert_empty();
    // What was refused is nothing to be afraid of.
    fails(&["destroy", "--yes"], 0);
    let refused = case.product.run(["launch", "cluster"]).code(2);
    refused.says("reserved");
}
