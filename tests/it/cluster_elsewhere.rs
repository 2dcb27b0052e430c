//! Gateways on clusters that are not AWS's: another class of volumes, load balancers that have an
//! address and no name. The gateway is the stand-in.

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::cluster_case::{Case, works};
use crate::support::lab::command;
use crate::support::product::TOKEN;
use crate::support::source::{files, has_extension, read};
use crate::support::spellings::holds_none;

/// The class of a cluster that is not AWS's, its default.
const CLASS: &str = "standard";

/// A cluster as another cloud has it, until this is dropped.
struct NotAws<'a>(&'a Cluster);

impl<'a> NotAws<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        cluster.said(&["delete", "csidriver", "ebs.csi.aws.com"]);
        cluster.said(&["delete", "storageclass", "gp3", "--ignore-not-found"]);
        let default = json!({ "storageclass.kubernetes.io/is-default-class": "true" });
        // What makes its volumes is the lab's one stand-in.
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": { "name": CLASS, "annotations": default },
            "provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer",
        });
        cluster.told(&["apply", "-f", "-"], &class.to_string());
        // As whoever applies AWS's manifests there gets it: nothing makes its volumes.
        let by_name = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": { "name": "gp3" }, "provisioner": "nobody.example.com",
        });
        cluster.told(&["apply", "-f", "-"], &by_name.to_string());
        Self(cluster)
    }
}

impl Drop for NotAws<'_> {
    fn drop(&mut self) {
        let _ = self.0.kubectl(&["delete", "storageclass", CLASS, "gp3"]).output();
        let driver = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
            "metadata": { "name": "ebs.csi.aws.com" }, "spec": { "attachRequired": false },
        });
        self.0.told(&["apply", "-f", "-"], &driver.to_string());
    }
}

/// The node's network keeps pods from the cluster's API, as the gateway's policy has it, until this is
/// dropped.
struct Enforced;

impl Enforced {
    fn begin() -> Self {
        Self::rule("-I");
        Self
    }

    fn rule(how: &str) {
        let mut rule = command("ip");
        rule.args(["netns", "exec", "oclab-kubernetes", "iptables", "--wait", "5", how, "INPUT"]);
        rule.args(["-s", "10.214.128.0/17", "-p", "tcp", "--dport", "6443", "-j", "DROP"]);
        let output = rule.output().expect("ip runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Enforced {
    fn drop(&mut self) {
        Self::rule("-D");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn without_load_balancers_it_is_told_and_reached_by_the_clusters_api() {
    let Some(cluster) = Cluster::alone() else { return };
    let Some(case) = Case::of(&cluster, "unbalanced") else { return };
    let paused = cluster.paused("balancers");
    let launch = case.launch().env("OPENCLAW_PIPELINE_BOOT_TIMEOUT", "25s");
    let words = [
        "its service got no address: nobody says why",
        "nothing that makes load balancers",
        "EXPOSE=none reaches the gateway through the cluster's API",
    ];
    case.launch_fails(launch, 1, &words);
    case.run(["doctor"]).done().answers(words[0]).answers("EXPOSE=none");
    // Where somebody says why, it is told, without what is nobody's to read.
    let said = format!("you have reached the maximum number of rules \u{1b}[2J for {TOKEN}");
    let service = case.get(&["service", "openclaw"]);
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "type": "Warning",
        "metadata": { "name": "openclaw.why", "namespace": case.namespace.name() },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Service", "name": "openclaw",
            "namespace": case.namespace.name(), "uid": service["metadata"]["uid"],
        },
        "reason": "SyncLoadBalancerFailed", "message": said,
        "lastTimestamp": "2026-01-01T00:00:00Z", "source": { "component": "a test" },
    });
    cluster.told(&["apply", "-f", "-"], &event.to_string());
    let launch = case.launch().env("OPENCLAW_PIPELINE_BOOT_TIMEOUT", "25s");
    let words = ["its service got no address: you have reached the maximum number of rules"];
    let done = case.launch_fails(launch, 1, &words);
    let looks = ["doctor", "status", "events"].map(|it| case.run([it]).done());
    looks[0].answers(words[0]);
    for told in [done].iter().chain(&looks) {
        for text in [&told.stdout, &told.stderr] {
            holds_none("what is told", text, &[TOKEN]);
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }
    // By manifests of the user's own, too: none of them is taken that cannot be used.
    let checkout = case.product.path("checkout");
    let manifests = checkout.join("k8s");
    std::fs::create_dir_all(&manifests).expect("made");
    let put = |name: &str, text: &str| std::fs::write(manifests.join(name), text).expect("written");
    for file in files("k8s").into_iter().filter(|it| has_extension(it, "yaml")) {
        if let Some(name) = file.strip_prefix("k8s/").filter(|it| !it.contains('/')) {
            put(name, &read(&file));
        }
    }
    let service = read("k8s/service.yaml");
    for (wrong, words) in [
        (
            read("k8s/server/service.yaml").replace("kind: Service", "kind: Pod"),
            "to hold a Service",
        ),
        (service.replace("  ports:", "  nothing:"), "it has no /spec/ports/0"),
        ("a: [".to_owned(), "k8s/service.yaml cannot be used"),
    ] {
        put("service.yaml", &wrong);
        let launch = case.launch().arg("--expose").arg("none").env("PIPELINE_DIR", &checkout);
        case.launch_fails(launch, 2, &[words, "as it is shipped"]);
    }
    let mine = "  annotations:\n    example.com/mine: \"yes\"\n";
    put(
        "networkpolicy.yaml",
        &read("k8s/networkpolicy.yaml").replacen("metadata:\n", &format!("metadata:\n{mine}"), 1),
    );
    put("service.yaml", &service);
    works(case.launch().arg("--expose").arg("none").env("PIPELINE_DIR", &checkout));
    assert_eq!(case.status()["url"], "http://127.0.0.1:18789/");
    let annotations = &case.get(&["networkpolicy", "openclaw"])["metadata"]["annotations"];
    assert_eq!(annotations["example.com/mine"], "yes", "{annotations}");
    drop(paused);
    case.destroys_all();
}

#[test]
fn one_that_is_on_another_cluster_is_not_taken_for_gone() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "afar") else { return };
    works(case.launch().arg("--expose").arg("none"));
    // As if its context had come to lead to this cluster: nothing of it is here.
    cluster.said(&["delete", "namespace", case.namespace.name()]);
    let database = case.product.home().join("pipeline.db");
    let store = rusqlite::Connection::open(database).expect("opens");
    let afar = "UPDATE deployments SET facts = json_set(facts, '$.cluster.cluster', 'another')";
    assert_eq!(store.execute(afar, []).expect("updates"), 1);
    drop(store);
    let words = ["afar was put on another cluster than the one at", "and may go on there"];
    let destroys = || case.run(["destroy", "--yes"]);
    case.launch_fails(destroys(), 4, &[words[0], words[1], "--unseen"]);
    case.launch_fails(destroys().arg("--keep-volumes"), 4, &words);
    let words = ["has its volumes in a namespace openclaw-afar that is not on this cluster"];
    case.launch_fails(case.launch(), 4, &words);
    assert!(!case.namespace.is_there(), "it was made anew");
    works(destroys().arg("--unseen")).answers("afar is forgotten");
}

#[test]
fn on_another_cloud_its_own_volumes_and_addresses_are_found_out() {
    let Some(cluster) = Cluster::alone() else { return };
    let Some(case) = Case::of(&cluster, "elsewhere") else { return };
    let elsewhere = NotAws::of(&cluster);
    let enforced = Enforced::begin();
    let done = case.launched();
    assert!(!done.stderr.contains("does not enforce"), "{}", done.stderr);
    case.run(["doctor"]).done().answers("its cluster enforces network policies");
    drop(enforced);
    let claims = case.get(&["pvc"]);
    for claim in claims["items"].as_array().expect("a list") {
        assert_eq!(claim["spec"]["storageClassName"], CLASS, "{claim:#}");
        assert_eq!(claim["status"]["phase"], "Bound");
    }
    let classes = cluster.get(&["storageclasses"]);
    assert_eq!(classes["items"].as_array().map(Vec::len), Some(2), "none was made");
    let service = case.get(&["service", "openclaw"]);
    let ip = text(&service["status"]["loadBalancer"]["ingress"][0]["ip"]);
    assert!(!ip.is_empty(), "{service:#}");
    assert_eq!(case.status()["url"], format!("http://{ip}:18789/"));
    works(case.run(["restart"]));
    case.destroys_all();

    // Without a default, the class has to be named, and then it is taken.
    let no_default = "storageclass.kubernetes.io/is-default-class-";
    cluster.said(&["annotate", "storageclass", CLASS, no_default]);
    let words = ["no default storage class", "it has gp3, standard"];
    case.launch_fails(case.launch(), 5, &words);
    assert!(!case.namespace.is_there(), "something was made");
    let launch = case.run(["launch", "--target", "eks", "--storage-class", CLASS]);
    let done = works(launch.arg("--expose").arg("none"));
    // The driver is that of EBS here, and the class does not have it encrypt them.
    done.says("the storage class standard does not ask for encrypted volumes");
    case.run(["doctor"]).done().answers("the storage class standard does not ask for encrypted");
    case.destroys_all();
    drop(elsewhere);
}
