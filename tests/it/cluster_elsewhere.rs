//! Gateways on clusters that are not AWS's: another class of volumes, load balancers that have an
//! address and no name. The gateway is the stand-in.

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::cluster_case::{Case, works};
use crate::support::lab::command;

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
    works(case.run(["launch", "--target", "eks", "--storage-class", CLASS, "--expose", "none"]));
    case.destroys_all();
    drop(elsewhere);
}
