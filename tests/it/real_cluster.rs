//! Gateways on a Kubernetes cluster, on real parts: the lab's cluster, the real OpenClaw, a real browser
//! that comes by the load balancer.

use crate::support::browser::Browser;
use crate::support::cluster::{Cluster, Namespace};
use crate::support::lab::{Lab, Part};
use crate::support::life::{Ground, Life};
use crate::support::netns::NetNs;
use crate::support::real::{CURRENT, PREVIOUS, Real};

fn image(tag: &str) -> String {
    format!("ghcr.io/openclaw/openclaw:{tag}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_on_a_cluster_lives_its_whole_life() {
    let Some(lab) = Lab::require(Part::Cluster) else { return };
    let Some(cluster) = tokio::task::block_in_place(Cluster::shared) else { return };
    let namespace = Namespace::of(&cluster, "openclaw-life");
    let Some(netns) = NetNs::create() else { return };
    let Some(browser) = Browser::launch_with_hosts(&netns, &cluster.hosts()).await else { return };
    let real = Real::on_cluster(&lab, &cluster);
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
    assert!(!namespace.is_there(), "its namespace is gone");
    let volumes = cluster.get(&["persistentvolumes"]);
    let is_its = |it: &serde_json::Value| it["spec"]["claimRef"]["namespace"] == "openclaw-life";
    let left = volumes["items"].as_array().expect("a list").iter().filter(|it| is_its(it));
    assert_eq!(left.count(), 0, "and so are its volumes");
    assert!(!real.data().join("deployments/life").exists(), "its directory is gone");
}
