//! Gateways on a Kubernetes cluster, on real parts: the real Terraform and its provider, the lab's cluster
//! in the place of the one that they make, the real OpenClaw, a real browser that comes by the load
//! balancer.

use std::io::Write as _;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::cloud::Cloud;
use crate::support::cluster::{Cluster, Namespace};
use crate::support::crowd;
use crate::support::eks_identity::Identity;
use crate::support::lab::{Lab, Part};
use crate::support::life::{Ground, Life, let_in, link};
use crate::support::netns::NetNs;
use crate::support::real::{CURRENT, PREVIOUS, Real};

fn image(tag: &str) -> String {
    format!("ghcr.io/openclaw/openclaw:{tag}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_made_and_gateways_on_it_live_their_whole_lives() {
    let Some(lab) = Lab::require(Part::Cluster) else { return };
    let _room = crowd::room(2).await;
    let Some(cluster) = tokio::task::block_in_place(Cluster::alone) else { return };
    let namespaces = ["openclaw-first", "openclaw-life"].map(|it| Namespace::of(&cluster, it));
    let Some(cloud) = Cloud::start() else { return };
    let Some(netns) = NetNs::create() else { return };
    let Some(browser) = Browser::launch_with_hosts(&netns, &cluster.hosts()).await else { return };
    let real = Real::on_own_cluster(&lab, &cloud, &cluster);
    let identity = tokio::task::block_in_place(|| Identity::begin(&cloud, &cluster));

    let image_of_first = format!("OPENCLAW_PIPELINE_IMAGE={}", image(CURRENT));
    let said = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| identity.learn(&cloud));
            real.made(&["quick-deploy", "NAME=first", "GATEWAY_PORT=18789", &image_of_first])
        })
    });
    let_in(&browser, &link(&said)).await;
    assert_eq!(real.json(&["status", "first"])["status"], "running");

    by_the_targets_that_a_user_types(&real, &browser, &cluster).await;

    let life = Life {
        real: &real,
        netns: &netns,
        browser: &browser,
        name: "life".into(),
        first: ["--target", "eks", "--image", &image(PREVIOUS)].map(str::to_owned).into(),
        broken: vec!["--image".into(), image("broken")],
        good: vec!["--image".into(), image(CURRENT)],
        killed_in: "start",
        ground: Ground::Pod(&cluster),
        port: 18789,
    };
    life.run().await;
    assert_eq!(real.json(&["status", "first"])["status"], "running", "it has its own life");

    // Nothing goes while a gateway is on it, and nothing is left after that.
    let mut refused = real.make(&["deploy-destroy", "YES=1"]);
    let refused = refused.output().expect("make runs");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("destroy first"), "{why}");
    real.ok(&["destroy", "first", "--yes", "--keep-volumes"]);
    let [first, second] = &namespaces;
    assert!(!second.is_there(), "{} is gone", second.name());
    let kept = volumes_of(&cluster, &namespaces);
    assert_eq!(kept.len(), 2, "those that were to be kept, and no others: {kept:?}");
    let said = real.made(&["deploy-destroy", "YES=1", "VOLUMES=1"]);
    assert!(kept.iter().all(|it| said.contains(it)), "{kept:?}: {said}");
    assert_eq!(volumes_of(&cluster, &namespaces), Vec::<String>::new());
    // The cluster that it was on is gone; the lab's goes on.
    cluster.said(&["delete", "namespace", first.name()]);
    cloud.assert_empty();
    let left = std::fs::read_dir(real.data().join("deployments")).expect("a directory");
    let left: Vec<_> = left.map(|it| it.expect("an entry").file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The volumes of their claims.
fn volumes_of(cluster: &Cluster, namespaces: &[Namespace<'_>]) -> Vec<String> {
    let volumes = cluster.get(&["persistentvolumes"]);
    let is_its = |it: &&Value| {
        namespaces.iter().any(|own| it["spec"]["claimRef"]["namespace"] == own.name())
    };
    let all = volumes["items"].as_array().expect("a list").iter().filter(is_its);
    all.map(|it| it["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

/// The cluster is as it is to be, and the gateway is reached, read, got into and given other keys.
async fn by_the_targets_that_a_user_types(real: &Real, browser: &Browser, cluster: &Cluster) {
    let of = "NAME=first";
    real.made(&["deploy-init"]);
    assert!(real.made(&["deploy-plan"]).contains("nothing would change"));
    real.made(&["deploy-apply"]);
    assert!(real.made(&["k8s-status", of]).contains("running"));
    let_in(browser, &link(&real.made(&["k8s-url", of]))).await;
    real.made_until(&["k8s-logs", of], "[gateway]", |_| {});
    let mut shell = real.make(&["k8s-shell", of]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut typed = shell.stdin.take().expect("its input");
    typed.write_all(b"echo in $(hostname)\n").expect("typed");
    drop(typed);
    let output = shell.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("in openclaw-"), "{said}");
    let mut apply = real.make(&["k8s-apply", of]);
    let applied = apply.env("HEARTBEAT", "45m").output().expect("make runs");
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let config = cluster.get(&["configmap", "openclaw-config", "--namespace=openclaw-first"]);
    let managed = config["data"]["managed.json"].as_str().expect("it");
    assert!(managed.contains("\"45m\""), "{managed}");
    let key = "sk-ant-another-key-of-the-lab";
    let mut given = real.make(&["k8s-secret", of]);
    let given = given.env("ANTHROPIC_API_KEY", key).output().expect("make runs");
    assert!(given.status.success(), "{}", String::from_utf8_lossy(&given.stderr));
    let secret = cluster.get(&["secret", "openclaw-secrets", "--namespace=openclaw-first"]);
    let in_force = STANDARD.decode(secret["data"]["ANTHROPIC_API_KEY"].as_str().expect("it"));
    assert_eq!(in_force.expect("base64"), key.as_bytes());
    assert_eq!(real.json(&["status", "first"])["status"], "running");
}
