//! The volumes of a gateway on a cluster: grown by whoever may, kept when the gateway is removed, and
//! taken up by the next one of its name. The gateway is the stand-in.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Global, until};
use crate::support::cluster_case::{Case, works};

/// The volumes that a namespace's claims are bound to, and how large these are asked to be.
fn volumes(case: &Case) -> Vec<(String, String)> {
    let claims = case.get(&["pvc"]);
    let claims = claims["items"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    claims
        .map(|it| {
            let spec = &it["spec"];
            (text(&spec["volumeName"]), text(&spec["resources"]["requests"]["storage"]))
        })
        .collect()
}

#[test]
fn what_a_last_backup_has_is_put_into_the_next_one_of_the_name() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "saved") else { return };
    case.launched();
    case.inside("echo kept >/home/node/.openclaw/note");
    let before = cluster.get(&["namespace", case.namespace.name()])["metadata"]["uid"].clone();
    works(case.run(["destroy", "--yes", "--backup"]));
    assert!(!case.namespace.is_there(), "its namespace is left");
    case.launched();
    let now = cluster.get(&["namespace", case.namespace.name()])["metadata"]["uid"].clone();
    assert_ne!(now, before);
    assert_eq!(case.inside("ls /home/node/.openclaw | grep -c note || true").trim(), "0");
    works(case.run(["restore"]));
    assert_eq!(case.inside("cat /home/node/.openclaw/note").trim(), "kept");
    assert_eq!(case.status()["status"], "running");
    case.destroys_all();
}

#[test]
fn volumes_that_their_class_retains_are_not_called_removed() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "retained") else { return };
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": { "name": "retains" }, "provisioner": "ebs.csi.aws.com",
        "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer",
    });
    let _class = Global::of(&cluster, &class);
    works(case.launch().arg("--storage-class").arg("retains"));
    let volumes: Vec<String> = volumes(&case).into_iter().map(|(volume, _)| volume).collect();
    let done = works(case.run(["destroy", "--yes"]));
    assert!(!case.namespace.is_there(), "its namespace is left");
    for volume in &volumes {
        done.says(&format!("({volume}) stays: its class retains it"));
        until("it is released", || {
            let status = cluster.get(&["persistentvolume", volume])["status"].clone();
            if status["phase"] == "Released" { Ok(()) } else { Err(status.to_string()) }
        });
        cluster.said(&["delete", "persistentvolume", volume]);
    }
}

#[test]
fn volumes_that_are_kept_are_the_next_ones_of_the_name() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(theirs) = Case::of(&cluster, "kept") else { return };
    let Some(case) = Case::of(&cluster, "kept") else { return };
    case.launched();
    case.inside("echo kept >/home/node/.openclaw/note");
    // One that somebody let grow stays as large as it is.
    let grow = json!({ "spec": { "resources": { "requests": { "storage": "2Gi" } } } }).to_string();
    case.said(&["patch", "pvc", "openclaw-config", "--patch", &grow]);
    until("the volume has grown", || {
        let claim = case.get(&["pvc", "openclaw-config"]);
        let now = claim["status"]["capacity"]["storage"].clone();
        if now == "2Gi" { Ok(()) } else { Err(now.to_string()) }
    });
    works(case.run(["deploy", "--no-link"]));
    let before = volumes(&case);
    assert_eq!(before[0].1, "2Gi");
    // A claim's class is for good.
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": { "name": "other" }, "provisioner": "ebs.csi.aws.com",
    });
    let class = Global::of(&cluster, &class);
    let other = ["deploy", "--no-link", "--storage-class", "other"];
    case.run(other).code(4).says("kept has its volumes, and their class cannot change");

    // At a terminal it is asked for.
    let asks = case.run(["destroy"]).stdin("y\nkept\n").on_a_terminal();
    if let Some(asks) = asks {
        asks.code(0)
            .answers("Keep its volumes, for a later launch of this name?")
            .answers("A last backup first: ");
        case.launched();
        assert_eq!(volumes(&case), before, "they stayed");
    }
    let done = works(case.run(["destroy", "--yes", "--keep-volumes"]));
    done.answers("kept for the next launch of this name: the volume of openclaw-config")
        .answers("kubectl delete namespace openclaw-kept")
        .answers("the service openclaw");
    assert_eq!(case.product.json(["list"])["items"], json!([]));
    assert!(!case.product.deployment(&case.name).exists(), "its files are left");
    assert_eq!(volumes(&case), before);
    let rest = "all,secrets,ingresses,networkpolicies,poddisruptionbudgets";
    until("nothing else is left", || {
        let left = case.get(&[rest]);
        let left = left["items"].as_array().expect("a list");
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let maps = case.said(&["get", "configmaps", "--output=name"]);
    assert_eq!(maps.trim(), "configmap/kube-root-ca.crt");

    // They are nobody else's.
    let words = ["belongs to a deployment of another installation"];
    theirs.launch_fails(theirs.launch(), 4, &words);
    works(theirs.run(["destroy", "--yes"]));
    assert_eq!(volumes(&case), before);

    let run = case.launch().arg("--storage-class").arg("other");
    case.launch_fails(run, 4, &["its volumes are of the class \"gp3\", which cannot change"]);
    works(case.run(["destroy", "--yes"]));
    assert_eq!(volumes(&case), before);
    drop(class);
    case.launched();
    assert_eq!(volumes(&case), before, "taken up as they are");
    assert_eq!(case.inside("cat /home/node/.openclaw/note").trim(), "kept");
    let namespace = cluster.get(&["namespace", "openclaw-kept"]);
    assert_eq!(namespace["metadata"]["labels"]["pipeline.openclaw.io/kept"], Value::Null);
    works(case.run(["restart"]));
    // Asked for nothing, it takes them along.
    case.destroys_all();
}

#[test]
fn an_update_that_could_not_be_gone_back_on_is_refused_before_anything_is_done() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(case) = Case::of(&cluster, "full") else { return };
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "small" },
        "provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer",
        // Of the lab's driver: what its disk has, whatever the claim says.
        "parameters": { "lab.example/size": "48m" },
    });
    let _class = Global::of(&cluster, &class);
    works(case.launch().arg("--storage-class").arg("small"));
    let pods = || {
        let pods = case.get(&["pods"])["items"].clone();
        let pods = pods.as_array().expect("a list").iter();
        pods.map(|it| it["metadata"]["uid"].clone()).collect::<Vec<_>>()
    };
    // With what a launch left that is on its way out.
    let before = pods();
    let words = [
        "step fetch_new: the workspace's volume has ",
        " MiB free, and an update that can be gone back on needs ",
        "raise the claim openclaw-workspace",
    ];
    case.launch_fails(case.run(["update", "--image", &case.images[1]]), 1, &words);
    assert_eq!(case.status()["status"], "running");
    let uid = |it: &Value| it["items"][0]["metadata"]["uid"].clone();
    let gateway = uid(&case.get(&["pods", "--selector=app.kubernetes.io/name=openclaw"]));
    assert!(before.contains(&gateway), "it was stopped for that");
    assert!(pods().iter().all(|it| before.contains(it)), "something was begun for that");
    case.run(["backups"]).code(0).answers("full has no backup");
    case.destroys_all();
}
