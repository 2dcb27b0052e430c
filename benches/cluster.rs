//! Launching on a cluster, against the same by hand: `kubectl apply` of the manifests until the pod is
//! ready.
//!
//! The cluster is the lab's: its programs, its node and the gateway are real, on this machine's
//! hardware. Product and floor take turns.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::stats::{Samples, ms};
use super::support::cluster::{Cluster, Namespace};
use super::support::lab::{Lab, Part, REPOSITORY};
use super::support::real::{CURRENT, Real, TOKEN};
use super::support::source::root;

/// How many pairs.
const PAIRS: usize = 5;
/// The key that both sides give.
const KEY: &str = "sk-ant-a-key-that-only-looks-like-one";

/// `launch-eks`.
pub fn run() {
    let Some(lab) = Lab::require(Part::Cluster) else { return };
    let Some(cluster) = Cluster::alone() else { return };
    let real = Real::on_cluster(&lab, &cluster);
    let image = format!("{REPOSITORY}:{CURRENT}");
    // The node has the image then, and the cluster the class of the volumes.
    launch(&real, "warm", &image);
    real.ok(&["destroy", "warm", "--yes"]);
    let (mut ours, mut theirs) = (Samples(Vec::new()), Samples(Vec::new()));
    let mut steps: BTreeMap<String, Samples> = BTreeMap::new();
    for number in 0..PAIRS {
        let name = format!("pair{number}");
        let _namespace = Namespace::of(&cluster, &format!("openclaw-{name}"));
        let begun = Instant::now();
        let ended = launch(&real, &name, &image);
        ours.0.push(begun.elapsed());
        for (step, took) in ended {
            steps.entry(step).or_insert_with(|| Samples(Vec::new())).0.push(took);
        }
        real.ok(&["destroy", &name, "--yes"]);

        theirs.0.push(by_hand(&cluster, &format!("openclaw-floor{number}"), &image));
        let last = |samples: &Samples| samples.0.last().map_or(0.0, Duration::as_secs_f64);
        println!("  pair {number}: launch {:.1} s, by hand {:.1} s", last(&ours), last(&theirs));
    }
    let (launch, floor) = (ours.median(), theirs.median());
    println!("launch to proven, eks, on a cluster that is there:");
    println!("{}", ours.line("launch"));
    println!("{}", theirs.line("kubectl apply by hand, until ready"));
    for (step, took) in &steps {
        println!("{}", took.line(&format!("  of it: {step}")));
    }
    println!(
        "  launch = {:.3} x floor; allowed 1.05 x floor + 1000 ms = {:.1} ms; used {:.1} ms\n",
        ms(launch) / ms(floor),
        ms(floor) * 1.05 + 1000.0,
        ms(launch)
    );
    assert!(ms(launch) <= ms(floor) * 1.05 + 1000.0, "a launch takes longer than it may");
}

/// The whole command, from its start to its exit; answers how long each of its steps took.
fn launch(real: &Real, name: &str, image: &str) -> Vec<(String, Duration)> {
    let args = ["--json", "launch", name, "--target", "eks", "--image", image, "--no-link"];
    let said = real.ok(&[&args[..], &["--approval", "off"]].concat());
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ended = lines.filter_map(|line| {
        let took = Duration::from_millis(line["took_ms"].as_u64()?);
        Some((line["step"].as_str()?.to_owned(), took))
    });
    ended.collect()
}

/// The manifests as they are shipped, in a namespace of their own, with the image and the secret.
fn by_hand(cluster: &Cluster, name: &str, image: &str) -> Duration {
    let _namespace = Namespace::of(cluster, name);
    let objects = manifests(name, image);
    let begun = Instant::now();
    cluster.told(&["apply", "-f", "-"], &objects);
    let status =
        ["rollout", "status", "deployment/openclaw", "--timeout=300s", "--namespace", name];
    cluster.said(&status);
    begun.elapsed()
}

fn manifests(namespace: &str, image: &str) -> String {
    let folder = root().join("k8s");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the manifests").flatten().map(|it| it.path()).collect();
    // Beside them is a folder with the server's.
    files.retain(|path| path.is_file());
    files.sort();
    // What the others are in comes first.
    files.sort_by_key(|path| !path.ends_with("namespace.yaml"));
    let texts = files.iter().map(|path| fs::read_to_string(path).expect("a manifest"));
    let data = [("OPENCLAW_GATEWAY_TOKEN", TOKEN), ("ANTHROPIC_API_KEY", KEY)]
        .map(|(name, value)| format!("  {name}: {}\n", BASE64.encode(value)))
        .concat();
    texts
        .collect::<Vec<_>>()
        .join("\n---\n")
        .replace("namespace: openclaw\n", &format!("namespace: {namespace}\n"))
        .replacen("name: openclaw\n", &format!("name: {namespace}\n"), 1)
        .replace("image: ghcr.io/openclaw/openclaw:latest\n", &format!("image: {image}\n"))
        .replace("type: Opaque\n", &format!("type: Opaque\ndata:\n{data}"))
}
